package rows

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// site is a source database and, on the same server, the databases that its changes are written to.
type site struct {
	t      testing.TB
	srv    *mysqld.Server
	db     string
	conn   *sqlconn.Conn // on the source database
	from   gtid.Set
	copies int
}

func newSite(t testing.TB) *site {
	srv, db := mysqldtest.Shared(t)
	s := &site{t: t, srv: srv, db: db, conn: mysqldtest.Dial(t, srv.Root().WithDB(db))}
	s.exec("SET NAMES utf8mb4")
	return s
}

func (s *site) exec(statements ...string) {
	s.t.Helper()
	for _, sql := range statements {
		_, err := s.conn.Exec(s.t.Context(), sql)
		require.NoError(s.t, err, sql)
	}
}

func (s *site) cells(sql string) string {
	s.t.Helper()
	res, err := s.conn.Query(s.t.Context(), sql)
	require.NoError(s.t, err, sql)
	var out strings.Builder
	for _, row := range res.Rows {
		for i, cell := range row {
			if i > 0 {
				out.WriteByte(' ')
			}
			if cell == nil {
				out.WriteString("NULL")
			} else {
				fmt.Fprintf(&out, "%q", cell)
			}
		}
		out.WriteByte('\n')
	}
	return out.String()
}

func (s *site) executed() gtid.Set {
	res, err := s.conn.Query(s.t.Context(), "SELECT @@GLOBAL.gtid_executed")
	require.NoError(s.t, err)
	return gtid.MustParse(string(res.Rows[0][0]))
}

// record returns what the stream brings of the statements that do runs.
func (s *site) record(do func()) []vstream.Item {
	s.t.Helper()
	from := s.executed()
	do()
	until := s.executed()
	local := vstream.NewLocal(vstream.LocalConfig{DB: s.srv.Repl(), DBName: s.db}, slog.New(slog.DiscardHandler))
	defer local.Close()
	rules := filter.Rules{Rules: []filter.Rule{{Table: "/.*"}}}
	st, err := local.Open(s.t.Context(), vstream.Start{Position: from.String(), Rules: rules})
	require.NoError(s.t, err)
	defer st.Close()
	var all []vstream.Item
	for pos := from; !pos.Contains(until); {
		items, err := st.Recv()
		require.NoError(s.t, err)
		for _, item := range items {
			switch it := item.(type) {
			case *vstream.Table:
				all = append(all, it)
			case *vstream.Transaction:
				all = append(all, it)
				if it.Last {
					require.NoError(s.t, it.Reach(&pos))
				}
			case *vstream.Heartbeat:
				pos = pos.Union(gtid.MustParse(it.Position))
			}
		}
	}
	return all
}

// way is one way to write what was recorded.
type way struct {
	sql         bool // the SQL writer
	mode        Mode
	single      bool
	group       int // transactions per commit
	foreignKeys bool
}

func (w way) writer() string {
	if w.sql {
		return "sql"
	}
	return "native"
}

func (w way) String() string {
	return fmt.Sprintf("%s,%s,single=%t,group=%d,fk=%t", w.writer(), w.mode, w.single, w.group, w.foreignKeys)
}

// ways are all that must give the same tables.
func ways() (all []way) {
	for _, sql := range []bool{false, true} {
		for _, mode := range []Mode{Strict, Upsert} {
			all = append(all, way{sql: sql, mode: mode, group: 1000}, way{sql: sql, mode: mode, group: 2, foreignKeys: true},
				way{sql: sql, mode: mode, group: 3, single: true})
		}
	}
	return all
}

// everyWay writes what do does on the source in all ways, to a copy of its tables each, and compares. Tables of a rename are called otherwise there.
func (s *site) everyWay(t *testing.T, do func(), prepare ...string) {
	t.Helper()
	all := ways()
	copies := make([]string, len(all))
	for i := range all {
		copies[i] = s.copyOf()
	}
	items := s.record(do)
	for i, w := range all {
		t.Run(w.String(), func(t *testing.T) {
			to := s.open(t, copies[i], w)
			to.exec("USE " + copies[i])
			to.exec(prepare...)
			to.exec("USE " + s.db)
			require.NoError(t, to.apply(items, w.group))
			to.equal()
		})
	}
}

// copyOf makes a database with the source's tables as they are now; begin tells which rows they have.
func (s *site) copyOf(tables ...string) string {
	s.t.Helper()
	s.copies++
	db := fmt.Sprintf("%s_%d", s.db[:min(len(s.db), 50)], s.copies)
	s.exec("CREATE DATABASE "+db, "SET foreign_key_checks=0")
	s.t.Cleanup(func() { // the test's context is over by then
		conn, err := sqlconn.Dial(context.Background(), s.srv.Root())
		require.NoError(s.t, err)
		defer conn.Close()
		_, err = conn.Exec(context.Background(), "DROP DATABASE "+db)
		require.NoError(s.t, err)
	})
	if len(tables) == 0 {
		for _, name := range strings.Fields(strings.ReplaceAll(s.cells("SHOW TABLES"), `"`, "")) {
			tables = append(tables, name)
		}
	}
	for _, name := range tables {
		res, err := s.conn.Query(s.t.Context(), "SHOW CREATE TABLE "+name)
		require.NoError(s.t, err)
		s.exec("USE "+db, string(res.Rows[0][1]))
		if columns := s.plain(name); columns != "" {
			s.exec(fmt.Sprintf("INSERT INTO %s.%s (%s) SELECT %[3]s FROM %s.%[2]s", db, name, columns, s.db))
		}
		s.exec("USE " + s.db)
	}
	s.exec("SET foreign_key_checks=1")
	return db
}

// plain lists the columns that can be written.
func (s *site) plain(table string) string {
	def := s.load(s.db, table)
	var names []string
	for _, c := range def.Columns {
		if !c.Generated {
			names = append(names, sqlconn.QuoteIdent(c.Name))
		}
	}
	return strings.Join(names, ",")
}

func (s *site) load(db, table string) *schema.Table {
	defs, err := schema.Load(s.t.Context(), s.conn, db, []string{table})
	require.NoError(s.t, err)
	return defs[0]
}

// target is a session on a database of the target.
type target struct {
	*site
	db      string
	session *Session
	tables  Tables
	mode    Mode
	rename  func(string) string
	bound   map[string]*Table
}

func (s *site) open(test testing.TB, db string, w way) *target {
	own := *s
	own.t = test
	s = &own
	t := &target{site: s, db: db, mode: w.mode, rename: func(name string) string { return name }, bound: map[string]*Table{}}
	conn := mysqldtest.Dial(s.t, s.srv.Root().WithDB(db))
	require.NoError(s.t, Prepare(s.t.Context(), conn))
	t.session = NewSession(conn, SessionConfig{SQL: w.sql})
	t.session.Single(w.single)
	require.NoError(s.t, t.session.CheckForeignKeys(s.t.Context(), w.foreignKeys))
	return t
}

func (t *target) bind(def *vstream.Table) {
	table, err := NewTable(def.Def, t.load(t.db, t.rename(def.Target)), nil)
	require.NoError(t.t, err)
	table.Mode = t.mode
	require.NoError(t.t, table.Bind(t.t.Context(), t.session.Conn(), def.Map, ""))
	t.tables.Set(def.ID, table)
	t.bound[def.Target] = table
}

// apply writes the items, group transactions a commit.
func (t *target) apply(items []vstream.Item, group int) error {
	ctx := t.t.Context()
	n := 0
	for _, item := range items {
		switch it := item.(type) {
		case *vstream.Table:
			if err := t.session.Commit(ctx); err != nil {
				return err
			}
			t.bind(it)
		case *vstream.Transaction:
			if err := t.session.Add(ctx, t.tables.View(), it); err != nil {
				return err
			}
			if it.Last {
				n++
			}
			if it.Last && n%group == 0 {
				if err := t.session.Commit(ctx, "DO 1"); err != nil {
					return err
				}
			}
		}
	}
	return t.session.Commit(ctx, "DO 1")
}

// contents reads a table by the columns of a definition.
func (s *site) contents(db string, def *schema.Table, name string) string {
	s.t.Helper()
	var columns []string
	for _, c := range def.Columns {
		columns = append(columns, rowimage.SelectExpr(c))
	}
	rows := strings.Split(s.cells(fmt.Sprintf("SELECT %s FROM %s.%s", strings.Join(columns, ","), db, name)), "\n")
	slices.Sort(rows)
	return strings.Join(rows, "\n")
}

// equal compares all tables of the target with the source's.
func (t *target) equal() {
	t.t.Helper()
	for name := range t.bound {
		def := t.load(t.site.db, name)
		require.Equal(t.t, t.contents(t.site.db, def, name), t.contents(t.db, def, t.rename(name)), "table %s", name)
	}
}
