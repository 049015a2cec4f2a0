package vstream

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// server is a mysqld with a database for one test.
type server struct {
	*mysqld.Server
	t    testing.TB
	db   string
	conn *sqlconn.Conn
}

func sharedServer(t testing.TB) *server {
	srv, db := mysqldtest.Shared(t)
	return connect(t, srv, db)
}

func connect(t testing.TB, srv *mysqld.Server, db string) *server {
	conn, err := sqlconn.Dial(t.Context(), srv.Root().WithDB(db))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &server{Server: srv, t: t, db: db, conn: conn}
}

func (s *server) exec(sql string) {
	s.t.Helper()
	_, err := s.conn.Exec(s.t.Context(), sql)
	require.NoError(s.t, err, sql)
}

func (s *server) local() *Local {
	l := NewLocal(LocalConfig{DB: s.Repl(), DBName: s.db}, slog.New(slog.DiscardHandler))
	s.t.Cleanup(l.Close)
	return l
}

// executed is what the server has executed now.
func (s *server) executed() gtid.Set {
	res, err := s.conn.Query(s.t.Context(), "SELECT @@GLOBAL.gtid_executed")
	require.NoError(s.t, err)
	return gtid.MustParse(string(res.Rows[0][0]))
}

// contents reads a table as the stream's target has it.
func (s *server) contents(table string) map[string]string {
	s.t.Helper()
	defs, err := schema.Load(s.t.Context(), s.conn, s.db, []string{table})
	require.NoError(s.t, err)
	def := defs[0]
	res, err := s.conn.Query(s.t.Context(), chunkSQL(def, def.KeyColumns(), &WindowRequest{}, 1<<30))
	require.NoError(s.t, err)
	out := map[string]string{}
	for _, cells := range res.Rows {
		row := canonicalRow(def, cells)
		out[keyString(row.Key(def.KeyColumns()))] = rowText(row)
	}
	return out
}

func allTables() filter.Rules { return filter.Rules{Rules: []filter.Rule{{Table: "/.*"}}} }

// copier drives the copy of tables as a target does, and follows the stream to a position.
type copier struct {
	*target
	stream  Stream
	next    uint64
	last    map[string]rowimage.Row
	done    map[string]bool
	copying string
	size    int
}

func newCopier(t testing.TB, size int) *copier {
	return &copier{target: newTarget(t), last: map[string]rowimage.Row{}, done: map[string]bool{}, size: size}
}

func (c *copier) open(source Source, start Start) {
	c.t.Helper()
	st, err := source.Open(c.t.Context(), start)
	require.NoError(c.t, err)
	c.stream, c.tables, c.copying, c.target.open = st, map[uint32]*targetTable{}, "", nil
	c.t.Cleanup(func() { st.Close() })
}

// recv applies one batch.
func (c *copier) recv() error {
	items, err := c.stream.Recv()
	if err != nil {
		return err
	}
	for _, item := range items {
		c.item(item)
		if chunk, ok := item.(*Chunk); ok {
			require.Equal(c.t, c.next, chunk.Window)
			c.last[c.copying], c.done[c.copying] = chunk.Last, chunk.Done
			if chunk.Last == nil {
				require.True(c.t, chunk.Done)
			}
			c.copying = ""
		}
	}
	return nil
}

func (c *copier) copyTable(name string) error {
	for !c.done[name] {
		if c.copying == "" {
			c.next++
			c.copying = name
			if err := c.stream.OpenWindow(WindowRequest{ID: c.next, Table: name, After: c.last[name], MaxRows: c.size}); err != nil {
				return err
			}
		}
		if err := c.recv(); err != nil {
			return err
		}
	}
	return nil
}

// follow applies until the position is reached.
func (c *copier) follow(until gtid.Set) {
	c.t.Helper()
	for !c.position.Contains(until) {
		require.NoError(c.t, c.recv())
	}
}

// write runs random statements on a table (k1, k2, v) until ctx ends.
func write(ctx context.Context, srv *server, table string, seed uint64, key func(*rand.Rand) string) error {
	conn, err := sqlconn.Dial(ctx, srv.Root().WithDB(srv.db))
	if err != nil {
		return err
	}
	defer conn.Close()
	r := rand.New(rand.NewPCG(seed, 1))
	for ctx.Err() == nil {
		var sql strings.Builder
		sql.WriteString("BEGIN")
		for range 1 + r.IntN(4) {
			sql.WriteString(";" + statement(r, table, key))
		}
		sql.WriteString("; COMMIT")
		err := conn.ExecMulti(context.WithoutCancel(ctx), []byte(sql.String()))
		switch sqlconn.ErrCode(err) {
		case 0:
			if err != nil {
				return err
			}
		case 1062, 1213, 1205: // duplicate key, deadlock, lock wait
			if _, err := conn.Exec(context.WithoutCancel(ctx), "ROLLBACK"); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s: %w", sql.String(), err)
		}
	}
	return nil
}

func statement(r *rand.Rand, table string, key func(*rand.Rand) string) string {
	v := fmt.Sprintf("'v%d'", r.IntN(1e6))
	switch r.IntN(6) {
	case 0, 1:
		return fmt.Sprintf("REPLACE INTO %s (k1, k2, v) VALUES (%s, %s)", table, key(r), v)
	case 2:
		return fmt.Sprintf("UPDATE %s SET v = %s WHERE (k1, k2) = (%s)", table, v, key(r))
	case 3:
		return fmt.Sprintf("DELETE FROM %s WHERE (k1, k2) = (%s)", table, key(r))
	case 4:
		k := strings.SplitN(key(r), ", ", 2)
		return fmt.Sprintf("UPDATE IGNORE %s SET k1 = %s, k2 = %s WHERE (k1, k2) = (%s)", table, k[0], k[1], key(r))
	}
	return fmt.Sprintf("UPDATE %s SET v = CONCAT(v, '+') WHERE k1 = %s LIMIT 3", table, strings.SplitN(key(r), ", ", 2)[0])
}

// keyKinds are tables (k1, k2, v) whose keys are compared in different ways.
var keyKinds = []struct {
	name, columns string
	key           func(*rand.Rand) string
}{
	{"integers", "k1 BIGINT, k2 INT UNSIGNED", func(r *rand.Rand) string { return fmt.Sprintf("%d, %d", r.IntN(60)-30, r.IntN(30)) }},
	{"caseless", "k1 VARCHAR(20) COLLATE utf8mb4_0900_ai_ci, k2 CHAR(5) COLLATE utf8mb4_general_ci", func(r *rand.Rand) string {
		words := []string{"a", "A", "ä", "b", "B", "ss", "ß", "straße", "STRASSE", "c ", "c", "z\\n", "", "😀", "日本"}
		return fmt.Sprintf("'%s%d', '%s'", words[r.IntN(len(words))], r.IntN(20), []string{"x", "X", "y", "é", "e"}[r.IntN(5)])
	}},
	{"mixed", "k1 DECIMAL(10,3), k2 VARBINARY(8)", func(r *rand.Rand) string {
		return fmt.Sprintf("%d.%d, X'%02x00'", r.IntN(60)-30, r.IntN(3), r.IntN(8))
	}},
	{"times", "k1 DATETIME(3), k2 ENUM('z','y','x')", func(r *rand.Rand) string {
		return fmt.Sprintf("'2024-01-01 00:%02d:00.%d00', '%c'", r.IntN(60), r.IntN(3), 'x'+rune(r.IntN(3)))
	}},
	{"floats", "k1 FLOAT, k2 BINARY(4)", func(r *rand.Rand) string { return fmt.Sprintf("%d.1, X'%02x'", r.IntN(60)-30, r.IntN(4)) }},
}

// TestCopyWhileWriting copies tables under writers and compares both sides when all windows have closed and the stream has caught up.
func TestCopyWhileWriting(t *testing.T) {
	srv := sharedServer(t)
	for i, kind := range keyKinds {
		t.Run(kind.name, func(t *testing.T) {
			table := "w_" + kind.name
			srv.exec(fmt.Sprintf("CREATE TABLE %s (%s, v VARCHAR(200), PRIMARY KEY (k1, k2))", table, kind.columns))
			r := rand.New(rand.NewPCG(uint64(i), 2))
			for range 40 {
				var values []string
				for range 25 {
					values = append(values, fmt.Sprintf("(%s, 'first')", kind.key(r)))
				}
				srv.exec(fmt.Sprintf("REPLACE INTO %s (k1, k2, v) VALUES %s", table, strings.Join(values, ", ")))
			}
			ctx, stop := context.WithCancel(t.Context())
			var writers errgroup.Group
			for w := range 3 {
				writers.Go(func() error { return write(ctx, srv, table, uint64(i*10+w), kind.key) })
			}
			c := newCopier(t, 37)
			c.open(srv.local(), Start{FromNow: true, Rules: filter.Rules{Rules: []filter.Rule{{Table: table}}}})
			require.NoError(t, c.copyTable(table))
			until := srv.executed()
			c.follow(until)
			stop()
			require.NoError(t, writers.Wait())
			c.follow(srv.executed())
			require.Equal(t, srv.contents(table), c.byName[table].contents())
			t.Logf("%d chunks, %d transactions, %d rows", len(c.chunks), c.txs, len(c.byName[table].rows))
		})
	}
}
