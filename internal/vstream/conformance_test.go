package vstream

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/filter"
	"braid/internal/rowimage"
	"braid/internal/sqlconn"
)

// tabletServer serves a Local over gRPC.
type tabletServer struct {
	tabletpb.UnimplementedTabletServer
	source Source
}

func (s *tabletServer) Stream(rpc grpc.BidiStreamingServer[tabletpb.StreamRequest, tabletpb.StreamResponse]) error {
	return errs.ToGRPC(Serve(rpc, s.source))
}

// remoteOf puts a gRPC connection in front of a source.
func remoteOf(t testing.TB, source Source) Source {
	lis := bufconn.Listen(1 << 16)
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(MaxMessageBytes), grpc.MaxSendMsgSize(MaxMessageBytes))
	tabletpb.RegisterTabletServer(srv, &tabletServer{source: source})
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()
	conn, err := grpc.NewClient("passthrough:///tablet", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	require.NoError(t, err)
	t.Cleanup(func() {
		conn.Close()
		srv.Stop()
		require.NoError(t, <-served)
	})
	return NewRemote(conn)
}

var databases atomic.Int64

// TestConformance holds both Sources to the contract.
func TestConformance(t *testing.T) {
	srv := sharedServer(t)
	for name, source := range map[string]func(testing.TB, *server) Source{
		"local":  func(_ testing.TB, s *server) Source { return s.local() },
		"remote": func(t testing.TB, s *server) Source { return remoteOf(t, s.local()) },
	} {
		for _, c := range []struct {
			name string
			run  func(t *testing.T, s *server, source Source)
		}{
			{"first item is a heartbeat", testFirstHeartbeat},
			{"rows of every statement", testStatements},
			{"resume", testResume},
			{"key range", testKeyRange},
			{"filtered transactions", testFiltered},
			{"ddl", testDDL},
			{"ddl in a window", testDDLInWindow},
			{"earlier definitions", testHistory},
			{"xa", testXA},
			{"compressed and large", testLarge},
			{"dependencies", testDependencies},
			{"windows by key", testKeys},
			{"bytes bound a chunk", testChunkBytes},
			{"many windows", testManyWindows},
			{"shared scan", testSharedScan},
			{"stuck target", testStuckTarget},
			{"tables without a key", testWhole},
			{"errors", testErrors},
			{"cut", testCut},
			{"close", testClose},
		} {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				db := fmt.Sprintf("c_%s_%d", name, databases.Add(1))
				srv.exec("CREATE DATABASE " + sqlconn.QuoteIdent(db))
				s := connect(t, srv.Server, db)
				t.Cleanup(func() { srv.conn.Exec(context.Background(), "DROP DATABASE "+sqlconn.QuoteIdent(db)) })
				c.run(t, s, source(t, s))
			})
		}
	}
}

func testFirstHeartbeat(t *testing.T, s *server, source Source) {
	executed := s.executed()
	st, err := source.Open(t.Context(), Start{FromNow: true, Rules: allTables()})
	require.NoError(t, err)
	defer st.Close()
	items, err := st.Recv()
	require.NoError(t, err)
	first, ok := items[0].(*Heartbeat)
	require.True(t, ok)
	require.Equal(t, executed.String(), first.Position)
	for { // and more come while nothing happens
		items, err := st.Recv()
		require.NoError(t, err)
		if beat, ok := items[0].(*Heartbeat); ok && beat.SourceUS > 0 {
			require.InDelta(t, time.Now().UnixMicro(), beat.SourceUS, 5e6)
			return
		}
	}
}

func testStatements(t *testing.T, s *server, source Source) {
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20), g INT AS (id * 2) STORED, h INT INVISIBLE DEFAULT 7)")
	c := newCopier(t, 10)
	c.open(source, Start{FromNow: true, Rules: filter.Rules{Rules: []filter.Rule{{Table: "t", Target: "renamed"}}}})
	require.NoError(t, c.recv())
	s.exec("INSERT INTO t (id, v) VALUES (1, 'a'), (2, NULL), (3, '')")
	s.exec("BEGIN; UPDATE t SET id = 4 WHERE id = 1; DELETE FROM t WHERE id = 2; UPDATE t SET v = 'x' WHERE id = 3; COMMIT")
	c.follow(s.executed())
	require.Equal(t, s.contents("t"), c.byName["renamed"].contents())
	require.Equal(t, 2, c.txs)
}

// testResume opens a stream in the middle: after any transaction, the rest makes the target equal.
func testResume(t *testing.T, s *server, source Source) {
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
	start := s.executed()
	for i := range 10 {
		s.exec(fmt.Sprintf("REPLACE INTO t VALUES (%d, %d)", i%4, i))
	}
	c := newCopier(t, 10)
	c.position = start
	until := s.executed()
	for !c.position.Contains(until) {
		c.open(source, Start{Position: c.position.String(), Rules: allTables()})
		for n := c.txs; c.txs == n; { // one transaction a stream
			items, err := c.stream.Recv()
			require.NoError(t, err)
			for _, item := range items {
				if c.txs > n {
					break
				}
				c.item(item)
			}
		}
		require.NoError(t, c.stream.Close())
	}
	require.Equal(t, 10, c.txs)
	require.Equal(t, s.contents("t"), c.byName["t"].contents())
}

// testKeyRange splits a table in two and moves rows between the halves.
func testKeyRange(t *testing.T, s *server, source Source) {
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, owner BIGINT, v INT)")
	for i := range 40 {
		s.exec(fmt.Sprintf("INSERT INTO t VALUES (%d, %d, 0)", i, i))
	}
	var halves []*copier
	for _, half := range []string{"-80", "80-"} {
		c := newCopier(t, 7)
		c.open(source, Start{FromNow: true, Rules: filter.Rules{Rules: []filter.Rule{
			{Table: "t", KeyRange: half, Vindex: "hash", VindexColumns: []string{"owner"}},
		}}})
		halves = append(halves, c)
	}
	for _, c := range halves {
		require.NoError(t, c.copyTable("t"))
	}
	s.exec("UPDATE t SET owner = owner + 1, v = v + 1")
	s.exec("UPDATE t SET id = id + 100 WHERE id < 20")
	s.exec("DELETE FROM t WHERE id > 115")
	s.exec("INSERT INTO t VALUES (1000, 1, 1), (1001, 2, 1), (1002, 3, 1), (1003, 4, 1)")
	all := map[string]string{}
	for _, c := range halves {
		c.follow(s.executed())
		rows := c.byName["t"].contents()
		require.NotEmpty(t, rows)
		for k, row := range rows {
			require.NotContains(t, all, k, "a row is on both sides")
			all[k] = row
		}
		require.Equal(t, rowimage.Row{[]byte("39")}, c.chunks[len(c.chunks)-1].Last, "progress counts rows of the other half")
	}
	require.Equal(t, s.contents("t"), all)
	ops := map[Op]bool{}
	for _, c := range halves {
		for _, op := range c.ops {
			ops[op] = true
		}
	}
	require.Len(t, ops, 3, "an update over the border is an insert here and a delete there")
}

// testFiltered: the position moves over transactions that the rules do not follow, soon after the source is quiet.
func testFiltered(t *testing.T, s *server, source Source) {
	s.exec("CREATE TABLE t (id INT PRIMARY KEY)")
	s.exec("CREATE TABLE other (id INT PRIMARY KEY)")
	c := newCopier(t, 10)
	c.open(source, Start{FromNow: true, Rules: filter.Rules{Rules: []filter.Rule{{Table: "t"}}}})
	require.NoError(t, c.recv())
	best := time.Hour
	for i := range 20 {
		s.exec(fmt.Sprintf("INSERT INTO other VALUES (%d)", i))
		from, until := time.Now(), s.executed()
		c.follow(until)
		best = min(best, time.Since(from))
	}
	t.Logf("the position came %v after the commit", best)
	require.Zero(t, c.txs)
	require.Empty(t, c.byName)
	require.Less(t, best, 50*time.Millisecond, "a cutover waits for this")
}

func testDDL(t *testing.T, s *server, source Source) {
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, a INT)")
	s.exec("CREATE TABLE other (id INT PRIMARY KEY)")
	c := newCopier(t, 10)
	c.open(source, Start{FromNow: true, Rules: filter.Rules{Rules: []filter.Rule{{Table: "t"}, {Table: "u"}}}})
	require.NoError(t, c.recv())
	s.exec("INSERT INTO t VALUES (1, 1)")
	c.follow(s.executed())
	s.exec("ALTER TABLE other ADD COLUMN x INT")
	s.exec("ALTER TABLE t ADD COLUMN b VARCHAR(10) FIRST, DROP COLUMN a")
	s.exec("INSERT INTO t VALUES ('x', 2)")
	c.follow(s.executed())
	require.Len(t, c.ddl, 1)
	require.Contains(t, c.ddl[0].SQL, "ADD COLUMN b")
	require.Equal(t, s.db, c.ddl[0].DB)
	def := c.byName["t"].def.Def
	require.Equal(t, []string{"b", "id"}, []string{def.Columns[0].Name, def.Columns[1].Name})
	s.exec("CREATE TABLE u AS SELECT id FROM t")
	c.follow(s.executed())
	require.Len(t, c.byName["u"].rows, 1, "two rows with the same empty key")
	s.exec("RENAME TABLE other TO another")
	s.exec("TRUNCATE TABLE t")
	s.exec("DROP TABLE t")
	c.follow(s.executed())
	require.Len(t, c.ddl, 4)
	require.True(t, c.ddl[1].Rows, "the rows of CREATE TABLE … SELECT follow")
}

// testHistory starts a stream at rows of definitions that the table has no more.
func testHistory(t *testing.T, s *server, source Source) {
	types := []string{
		"TINYINT UNSIGNED", "SMALLINT", "MEDIUMINT", "BIGINT UNSIGNED", "FLOAT", "DOUBLE", "DECIMAL(12,4)", "YEAR", "DATE", "TIME(3)", "DATETIME",
		"TIMESTAMP(6) NULL", "CHAR(10) CHARACTER SET latin1", "VARCHAR(300)", "BINARY(4)", "VARBINARY(9)", "TINYTEXT", "TEXT", "MEDIUMBLOB",
		"LONGTEXT", "JSON", "BIT(9)", "ENUM('a','b')", "SET('x','y')", "GEOMETRY",
	}
	values := "7, 1, -5, 18446744073709551615, 1.5, 2.25, 3.14, 2024, '2024-02-03', '-10:11:12.5', '2024-02-03 04:05:06', " +
		"'2024-02-03 04:05:06.789', 'cä', 'vä', X'0102', X'03', 'tt', 'tx', X'ff00', 'lt', JSON_ARRAY(1, JSON_ARRAY(2, 3), NULL), 300, 'b', 'x,y', ST_GeomFromText('POINT(1 2)')"
	var columns []string
	for i, typ := range types {
		columns = append(columns, fmt.Sprintf("c%d %s", i, typ))
	}
	s.exec("CREATE TABLE t (id INT, " + strings.Join(columns, ", ") + ", PRIMARY KEY (id))")
	from := s.executed()
	s.exec("INSERT INTO t VALUES (1, " + values + ")")
	before := s.contents("t")
	var drops []string
	for i := range types {
		drops = append(drops, fmt.Sprintf("DROP COLUMN c%d", i))
	}
	first := s.executed()
	s.exec("ALTER TABLE t ADD COLUMN n VARCHAR(5) FIRST, MODIFY id BIGINT, " + strings.Join(drops, ", "))
	s.exec("UPDATE t SET n = 'x'")
	second := s.executed()
	s.exec("ALTER TABLE t RENAME COLUMN n TO m, ADD COLUMN last INT DEFAULT 4")
	s.exec("UPDATE t SET m = 'y', last = 5")

	c := newCopier(t, 10)
	c.position = from
	c.open(source, Start{Position: from.String(), Rules: allTables()})
	seen := 0
	for until := s.executed(); !c.position.Contains(until); {
		items, err := c.stream.Recv()
		require.NoError(t, err)
		for _, item := range items {
			c.item(item)
			if tt := c.byName["t"]; seen == 0 && tt != nil && c.position.Contains(first) {
				seen++
				require.Equal(t, before, tt.contents())
				require.Equal(t, len(types)+1, len(tt.def.Def.Columns))
			} else if seen == 1 && c.position.Contains(second) {
				seen++
				require.Equal(t, "n", tt.def.Def.Columns[0].Name)
			}
		}
	}
	require.Equal(t, 2, seen)
	require.Len(t, c.ddl, 2)
	require.Equal(t, s.contents("t"), c.byName["t"].contents())
}

// testDDLInWindow changes the table between the read of a chunk and its place in the stream: it is read again.
func testDDLInWindow(t *testing.T, s *server, source Source) {
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, a INT)")
	s.exec("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)")
	for i := range 10 {
		c := newCopier(t, 10)
		c.open(source, Start{FromNow: true, Rules: allTables()})
		require.NoError(t, c.recv())
		require.NoError(t, c.stream.OpenWindow(WindowRequest{ID: 1, Table: "t"}))
		c.next, c.copying = 1, "t"
		if i%2 == 0 {
			s.exec(fmt.Sprintf("ALTER TABLE t ADD COLUMN c%d INT DEFAULT %d FIRST", i, i))
		} else {
			s.exec("TRUNCATE TABLE t")
			s.exec("INSERT INTO t (id, a) VALUES (4, 4)")
		}
		for !c.done["t"] {
			require.NoError(t, c.recv())
		}
		altered := i%2 == 0 && c.ddlBefore == 0 // after the chunk: this target does not run it
		c.follow(s.executed())
		if !altered {
			require.Equal(t, s.contents("t"), c.byName["t"].contents())
		}
		require.NoError(t, c.stream.Close())
	}
}

func testXA(t *testing.T, s *server, source Source) {
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
	c := newCopier(t, 10)
	c.open(source, Start{FromNow: true, Rules: allTables()})
	require.NoError(t, c.recv())
	before := s.executed()
	xid := sqlconn.Quote(s.db)
	s.exec("XA START " + xid)
	s.exec("INSERT INTO t VALUES (1, 1)")
	s.exec("XA END " + xid)
	s.exec("XA PREPARE " + xid)
	prepared := s.executed().Subtract(before)
	other := connect(t, s.Server, s.db)
	other.exec("INSERT INTO t VALUES (2, 2)")
	c.follow(other.executed().Subtract(prepared))
	require.False(t, c.position.Contains(prepared), "a prepared transaction is not part of the position")
	require.Len(t, c.byName["t"].rows, 1)
	// A stream that starts here gets both parts.
	again := newCopier(t, 10)
	again.position = c.position
	s.exec("XA COMMIT " + xid)
	c.follow(s.executed())
	require.Equal(t, s.contents("t"), c.byName["t"].contents())
	again.open(source, Start{Position: again.position.String(), Rules: allTables()})
	again.follow(s.executed())
	require.Len(t, again.byName["t"].rows, 1)
}

func testLarge(t *testing.T, s *server, source Source) {
	s.exec("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v LONGTEXT)")
	c := newCopier(t, 10)
	c.open(source, Start{FromNow: true, Rules: allTables()})
	require.NoError(t, c.recv())
	s.exec("SET binlog_transaction_compression=ON")
	s.exec("INSERT INTO t (v) VALUES (REPEAT('x', 2000000)), (REPEAT('y', 3000000)), ('z')")
	s.exec("SET binlog_transaction_compression=OFF")
	s.exec("INSERT INTO t (v) SELECT v FROM t")
	s.exec("INSERT INTO t (v) VALUES (REPEAT('w', 20000000))")
	c.follow(s.executed())
	require.Equal(t, 3, c.txs)
	require.Equal(t, s.contents("t"), c.byName["t"].contents())
	require.Equal(t, 3, c.fragmented, "large transactions come in parts")
}

func testDependencies(t *testing.T, s *server, source Source) {
	s.exec("CREATE DATABASE IF NOT EXISTS _braid")
	s.exec("CREATE TABLE IF NOT EXISTS _braid.dependency (id BIGINT PRIMARY KEY AUTO_INCREMENT, gtid VARCHAR(120) NOT NULL)")
	s.exec("CREATE TABLE t (id INT PRIMARY KEY)")
	s.exec("CREATE TABLE other (id INT PRIMARY KEY)")
	c := newCopier(t, 10)
	c.open(source, Start{FromNow: true, Rules: filter.Rules{Rules: []filter.Rule{{Table: "t"}}}})
	require.NoError(t, c.recv())
	const gtid = "ffffffff-0000-0000-0000-000000000000:17"
	for _, table := range []string{"t", "other"} {
		s.exec("BEGIN; INSERT INTO " + table + " VALUES (1); INSERT INTO _braid.dependency (gtid) VALUES ('" + gtid + "'); " +
			"DELETE FROM _braid.dependency WHERE id = LAST_INSERT_ID(); COMMIT")
	}
	c.follow(s.executed())
	require.Equal(t, []string{gtid}, c.depends)
	require.Equal(t, 1, c.txs)
}

func testKeys(t *testing.T, s *server, source Source) {
	s.exec("CREATE TABLE t (a INT, b VARCHAR(10), v INT, PRIMARY KEY (a, b))")
	s.exec("INSERT INTO t VALUES (1, 'x', 1), (1, 'y', 2), (2, 'x', 3), (3, 'x', 4)")
	s.exec("CREATE TABLE u (id INT PRIMARY KEY)")
	s.exec("INSERT INTO u VALUES (1), (2), (3)")
	c := newCopier(t, 10)
	c.open(source, Start{FromNow: true, Rules: allTables()})
	ask := func(r WindowRequest) *Chunk {
		n := len(c.chunks)
		r.ID = uint64(n + 1)
		require.NoError(t, c.stream.OpenWindow(r))
		for len(c.chunks) == n {
			items, err := c.stream.Recv()
			require.NoError(t, err)
			c.apply(items)
		}
		require.Equal(t, r.ID, c.chunks[n].Window)
		return c.chunks[n]
	}
	key := func(cells ...string) (k rowimage.Row) {
		for _, cell := range cells {
			k = append(k, []byte(cell))
		}
		return k
	}
	got := ask(WindowRequest{Table: "t", Keys: []rowimage.Row{key("1", "y"), key("3", "x"), key("9", "x")}})
	require.Len(t, got.Rows, 2)
	require.True(t, got.Done)
	require.Nil(t, got.Last)
	require.Len(t, ask(WindowRequest{Table: "u", Keys: []rowimage.Row{key("1"), key("3")}}).Rows, 2)
	require.Len(t, ask(WindowRequest{Table: "t", After: key("1", "x"), MaxRows: 2}).Rows, 2)
	require.Equal(t, key("2", "x"), c.chunks[len(c.chunks)-1].Last)
	require.False(t, c.chunks[len(c.chunks)-1].Done)
	empty := ask(WindowRequest{Table: "t", After: key("3", "x")})
	require.True(t, empty.Done && empty.Last == nil && empty.Rows == nil)
	require.Error(t, c.stream.OpenWindow(WindowRequest{ID: 9, Table: "t", Keys: []rowimage.Row{}}))

	// Touched keys are listed for those who ask. Writers keep writing until a window has seen some.
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- writeRow(ctx, s) }()
	for seen := false; !seen; {
		chunk := ask(WindowRequest{Table: "t", IncludeTouched: true})
		for _, k := range chunk.Touched {
			require.Equal(t, key("1", "x"), k)
			seen = true
		}
		if seen {
			require.Len(t, chunk.Rows, 3, "a touched row is left out")
		}
	}
	stop()
	require.NoError(t, <-done)
}

func writeRow(ctx context.Context, s *server) error {
	conn, err := sqlconn.Dial(ctx, s.Root().WithDB(s.db))
	if err != nil {
		return err
	}
	defer conn.Close()
	for ctx.Err() == nil {
		if _, err := conn.Exec(context.WithoutCancel(ctx), "UPDATE t SET v = v + 1 WHERE a = 1 AND b = 'x'"); err != nil {
			return err
		}
	}
	return nil
}

func testChunkBytes(t *testing.T, s *server, source Source) {
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT)")
	for i := range 100 {
		s.exec(fmt.Sprintf("INSERT INTO t VALUES (%d, REPEAT('x', %d))", i, 50_000*(i%3)))
	}
	c := newCopier(t, 10)
	c.open(source, Start{FromNow: true, Rules: allTables()})
	const most = 100_000
	for id, last := uint64(1), rowimage.Row(nil); ; id++ {
		require.NoError(t, c.stream.OpenWindow(WindowRequest{ID: id, Table: "t", After: last, MaxBytes: most}))
		for len(c.chunks) < int(id) {
			items, err := c.stream.Recv()
			require.NoError(t, err)
			c.apply(items)
		}
		chunk, size := c.chunks[id-1], 0
		for _, row := range chunk.Rows {
			size += row.Size()
		}
		require.LessOrEqual(t, size, 2*most+100_000+100, "the bound and one row")
		if last = chunk.Last; chunk.Done {
			break
		}
	}
	require.Equal(t, s.contents("t"), c.byName["t"].contents())
}

func testErrors(t *testing.T, s *server, source Source) {
	s.exec("CREATE TABLE nokey (a INT, UNIQUE KEY (a))")
	end := func(start Start, windows ...WindowRequest) error {
		st, err := source.Open(t.Context(), start)
		if err != nil {
			return err
		}
		defer st.Close()
		for _, w := range windows {
			if err := st.OpenWindow(w); err != nil {
				return err
			}
		}
		for err == nil {
			_, err = st.Recv()
		}
		_, again := st.Recv()
		require.Equal(t, err, again, "an error is final")
		return err
	}
	require.ErrorIs(t, end(Start{Position: "nonsense", Rules: allTables()}), errs.BadInput)
	require.ErrorIs(t, end(Start{FromNow: true, Rules: filter.Rules{Rules: []filter.Rule{{}}}}), errs.BadInput)
	require.ErrorIs(t, end(Start{Position: "ffffffff-0000-0000-0000-000000000000:1", Rules: allTables()}), errs.StreamFailed)
	require.ErrorIs(t, end(Start{FromNow: true, Rules: allTables()}, WindowRequest{Table: "nokey"}), errs.NoPrimaryKey)
	require.ErrorIs(t, end(Start{FromNow: true, Rules: filter.Rules{Rules: []filter.Rule{{Table: "t"}}}}, WindowRequest{Table: "x"}), errs.TableUnknown)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY)")
	from := s.executed()
	s.exec("SET binlog_format='STATEMENT'")
	s.exec("INSERT INTO t VALUES (1)")
	err := end(Start{Position: from.String(), Rules: allTables()})
	require.ErrorIs(t, err, errs.StreamFailed)
	require.ErrorContains(t, err, "logged as a statement")
	require.Contains(t, strings.Join(errs.Of(err).Steps, "\n"), "binlog_format='ROW'")
}

// testCut kills the dump connection again and again while a copy goes on under writes; each time a new stream starts from the
// target's position and progress.
func testCut(t *testing.T, s *server, source Source) {
	s.exec("CREATE TABLE t (k1 BIGINT, k2 INT UNSIGNED, v VARCHAR(200), PRIMARY KEY (k1, k2))")
	for i := range 300 {
		s.exec(fmt.Sprintf("INSERT INTO t VALUES (%d, %d, 'first')", i%60-30, i))
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- write(ctx, s, "t", 5, keyKinds[0].key) }()
	c := newCopier(t, 20)
	c.open(source, Start{FromNow: true, Rules: allTables()})
	cuts := 0
	for !c.done["t"] || cuts < 3 {
		if cuts < 3 && len(c.chunks) > 4*cuts {
			cuts++
			s.killDumps()
		}
		err := c.copyTable("t")
		if err == nil && cuts < 3 {
			err = c.recv()
		}
		if err != nil {
			require.NoError(t, c.stream.Close())
			c.open(source, Start{Position: c.position.String(), Rules: allTables()})
		}
	}
	stop()
	require.NoError(t, <-done)
	for until := s.executed(); !c.position.Contains(until); {
		if err := c.recv(); err != nil { // the last kill may come late
			require.NoError(t, c.stream.Close())
			c.open(source, Start{Position: c.position.String(), Rules: allTables()})
		}
	}
	require.Equal(t, s.contents("t"), c.byName["t"].contents())
}

func (s *server) killDumps() {
	res, err := s.conn.Query(s.t.Context(), "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'")
	require.NoError(s.t, err)
	for _, row := range res.Rows {
		s.conn.Exec(s.t.Context(), "KILL "+string(row[0])) // one that is gone already is as good
	}
}

func testClose(t *testing.T, s *server, source Source) {
	s.exec("CREATE TABLE t (id INT PRIMARY KEY)")
	for _, end := range []string{"close", "context"} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		st, err := source.Open(ctx, Start{FromNow: true, Rules: allTables()})
		require.NoError(t, err)
		_, err = st.Recv()
		require.NoError(t, err)
		require.NoError(t, st.OpenWindow(WindowRequest{ID: 1, Table: "t"}))
		done := make(chan error, 1)
		go func() {
			for {
				if _, err := st.Recv(); err != nil {
					done <- err
					return
				}
			}
		}()
		want := ErrClosed
		if end == "context" {
			want = context.Canceled
			cancel()
			require.ErrorIs(t, <-done, want)
			done <- want
		}
		require.NoError(t, st.Close())
		require.NoError(t, st.Close())
		require.ErrorIs(t, <-done, want)
		require.Error(t, st.OpenWindow(WindowRequest{ID: 2, Table: "t"}))
	}
}

// TestNoGoroutinesLeft: a Local's stream ends all that it runs.
func TestNoGoroutinesLeft(t *testing.T) {
	s := sharedServer(t)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY)")
	ignore := goleak.IgnoreCurrent()
	for range 3 {
		c := newCopier(t, 10)
		local := s.local()
		c.open(local, Start{FromNow: true, Rules: allTables()})
		require.NoError(t, c.copyTable("t"))
		require.NoError(t, c.stream.Close())
		local.Close()
	}
	goleak.VerifyNone(t, ignore)
}

// TestChunkUsesIndex: a chunk in the middle of a table with a composite key reads a range of the index.
func TestChunkUsesIndex(t *testing.T) {
	s := sharedServer(t)
	s.exec("CREATE TABLE t (a INT, b VARCHAR(20), c INT, v INT, PRIMARY KEY (a, b, c))")
	s.exec("SET cte_max_recursion_depth=100000")
	s.exec("INSERT INTO t WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i MOD 50, i MOD 400, i, i FROM n")
	s.exec("ANALYZE TABLE t")
	l, err := s.local().load(t.Context(), s.executed(), s.db, "t")
	require.NoError(t, err)
	def := l.def
	after := rowimage.Row{[]byte("25"), []byte("25"), []byte("10025")}
	sql := chunkSQL(def, def.KeyColumns(), &WindowRequest{After: after}, 100)
	s.exec("FLUSH STATUS")
	res, err := s.conn.Query(t.Context(), sql)
	require.NoError(t, err)
	require.Len(t, res.Rows, 100)
	status, err := s.conn.Query(t.Context(), "SHOW SESSION STATUS LIKE 'Handler_read%'")
	require.NoError(t, err)
	total := 0
	for _, row := range status.Rows {
		n := 0
		fmt.Sscan(string(row[1]), &n)
		total += n
	}
	require.Less(t, total, 300, "%s reads %d rows", sql, total)
	explain, err := s.conn.Query(t.Context(), "EXPLAIN FORMAT=TRADITIONAL "+sql)
	require.NoError(t, err)
	require.Equal(t, "range", string(explain.Rows[0][slices.Index(explain.Columns, "type")]))
	require.NotContains(t, strings.ToLower(string(explain.Rows[0][slices.Index(explain.Columns, "Extra")])), "filesort")
}
