package vreplication

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tabletpb "braid/api/tablet"
	"braid/internal/filter"
	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

const (
	itemTable  = "CREATE TABLE item (id bigint NOT NULL PRIMARY KEY, name varchar(60) NOT NULL, qty int NULL, note text, twice int GENERATED ALWAYS AS (qty*2) STORED, UNIQUE KEY name (name)) CHARACTER SET utf8mb4"
	eventTable = "CREATE TABLE event (region varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL, seq int NOT NULL, at datetime(3) NULL, body varbinary(200), PRIMARY KEY (region, seq))"
)

// writer changes item and event at random until its context ends, in transactions of a few statements.
type writer struct {
	t   testing.TB
	s   *side
	n   int64
	ids int64
}

func (w *writer) run(ctx context.Context, conn *sqlconn.Conn, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	for ctx.Err() == nil {
		sql := "BEGIN"
		for range 1 + rng.IntN(4) {
			sql += ";" + w.statement(rng)
		}
		if rng.IntN(10) == 0 {
			sql += ";ROLLBACK"
		} else {
			sql += ";COMMIT"
		}
		if err := conn.ExecMulti(ctx, []byte(sql)); err != nil && ctx.Err() == nil {
			if code := sqlconn.ErrCode(err); code != 1062 && code != 1213 && code != 1205 {
				w.t.Errorf("writer: %v", err)
				return
			}
			if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
				return
			}
		}
		w.n++
	}
}

func (w *writer) statement(rng *rand.Rand) string {
	id, other := rng.Int64N(w.ids), rng.Int64N(w.ids)
	switch rng.IntN(9) {
	case 0, 1:
		return fmt.Sprintf("INSERT INTO item (id,name,qty,note) VALUES (%d,'n%d',%d,NULL) ON DUPLICATE KEY UPDATE qty=%d", id, id, other, other)
	case 2:
		return fmt.Sprintf("DELETE FROM item WHERE id=%d", id)
	case 3:
		return fmt.Sprintf("UPDATE item SET qty=qty+1, note='it''s %d' WHERE id=%d", other, id)
	case 4: // the key moves
		return fmt.Sprintf("UPDATE IGNORE item SET id=%d WHERE id=%d", other, id)
	case 5: // a secondary unique value moves from one row to another
		return fmt.Sprintf("UPDATE item SET name='gone%d' WHERE id=%d; UPDATE IGNORE item SET name='n%d' WHERE id=%d", id, id, id, other)
	case 6:
		return fmt.Sprintf("REPLACE INTO event VALUES ('r%d',%d,'2024-01-02 03:04:05.678',UNHEX('00FF%02x'))", id%5, other, id%256)
	case 7:
		return fmt.Sprintf("UPDATE event SET body=CONCAT(body,'x') WHERE region='R%d' AND seq<%d AND LENGTH(body)<100 LIMIT 3", id%5, other)
	default:
		return fmt.Sprintf("DELETE FROM event WHERE region='r%d' AND seq=%d", id%5, other)
	}
}

// storm runs writers until the returned function is called.
func storm(t testing.TB, s *side, writers int, ids int64) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range writers {
		conn := mysqldtest.Dial(t, s.Root().WithDB(s.db))
		w := &writer{t: t, s: s, ids: ids}
		wg.Go(func() { w.run(ctx, conn, uint64(i)) })
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			wg.Wait()
		}
	}
	t.Cleanup(stop)
	return stop
}

// fill makes rows to copy.
func fill(s *side, rows int) {
	s.t.Helper()
	s.exec("SET SESSION cte_max_recursion_depth=1000000",
		fmt.Sprintf("INSERT INTO item (id,name,qty,note) WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<%d) SELECT i, CONCAT('n',i), i%%7, REPEAT('x', i%%50) FROM n", rows-1),
		fmt.Sprintf("INSERT INTO event WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<%d) SELECT CONCAT(IF(i%%2,'r','R'),i%%5), i, NULL, UNHEX(HEX(i)) FROM n", rows-1))
}

func bothTables(w *world, source string) {
	for _, s := range []*side{w.sources[source], w.target} {
		s.exec(itemTable, eventTable)
	}
}

func TestCopyAndFollow(t *testing.T) {
	w := newWorld(t, nil, source1)
	src := w.sources["src/0"]
	bothTables(w, "src/0")
	fill(src, 20000)
	stop := storm(t, src, 3, 25000)
	w.create(w.spec("src/0", rule("item"), rule("event")))
	w.await(Running)
	stop()
	w.catchUp()
	w.equal("src/0", "item", "event")
	s := w.list()[0]
	require.Positive(t, s.RowsCopied)
	require.Positive(t, s.Transactions)
	require.Len(t, s.Tables, 2)
	require.True(t, s.Tables[0].Done && s.Tables[1].Done)
	require.Less(t, s.LagMs, int64(5000))
	require.GreaterOrEqual(t, s.LagMs, int64(0))
}

// A restart at any moment, many of them: equal, and each transaction exactly once (A1). Strict mode would stop the
// stream if a transaction was applied twice or left out.
func TestRestartsAreExact(t *testing.T) {
	w := newWorld(t, nil, source1)
	src := w.sources["src/0"]
	bothTables(w, "src/0")
	fill(src, 30000)
	src.exec("CREATE TABLE counter (id int PRIMARY KEY, n bigint NOT NULL)", "INSERT INTO counter VALUES (1,0)")
	w.target.exec("CREATE TABLE counter (id int PRIMARY KEY, n bigint NOT NULL)")
	stop := storm(t, src, 2, 35000)
	w.create(w.spec("src/0", rule("item"), rule("event"), rule("counter")))
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 2))
	killer := mysqldtest.Dial(t, w.target.Root())
	for i := range 25 {
		src.exec("UPDATE counter SET n=n+1 WHERE id=1")
		time.Sleep(time.Duration(rng.IntN(150)) * time.Millisecond)
		if i%2 == 0 {
			w.restart()
		} else {
			killSessions(t, killer, w.target.db)
		}
	}
	w.await(Running)
	for range 10 {
		killSessions(t, killer, w.target.db)
		time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
	}
	stop()
	w.await(Running)
	w.catchUp()
	w.equal("src/0", "item", "event", "counter")
	require.Equal(t, "25", w.target.one("SELECT n FROM counter"))
}

// killSessions ends the sessions that write to a database, at whatever they are.
func killSessions(t testing.TB, conn *sqlconn.Conn, db string) {
	t.Helper()
	res, err := conn.Query(t.Context(), "SHOW PROCESSLIST") // the view of information_schema fails on binary SQL text
	require.NoError(t, err)
	for _, row := range res.Rows {
		if string(row[1]) != "braid_admin" || string(row[3]) != db {
			continue
		}
		if _, err := conn.Exec(t.Context(), "KILL "+string(row[0])); err != nil {
			require.EqualValues(t, erNoSuchThread, sqlconn.ErrCode(err))
		}
	}
}

func TestStrictStopsOnDivergence(t *testing.T) {
	for _, tc := range []struct{ name, diverge, change, want string }{
		{"update", "DELETE FROM item WHERE id=5", "UPDATE item SET qty=99 WHERE id=5", "update of item (id=5)"},
		{"delete", "DELETE FROM item WHERE id=5", "DELETE FROM item WHERE id IN (4,5,6)", "delete of item (id=5)"},
		{"insert", "INSERT INTO item (id,name) VALUES (1000,'theirs')", "INSERT INTO item (id,name) VALUES (999,'a'),(1000,'b')", "insert of item (id=1000)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil, source1)
			bothTables(w, "src/0")
			fill(w.sources["src/0"], 50)
			w.create(w.spec("src/0", rule("item"), rule("event")))
			w.await(Running)
			w.catchUp()
			w.target.exec(tc.diverge)
			w.sources["src/0"].exec("UPDATE event SET at=NULL, body='before' WHERE seq=1") // is applied
			w.sources["src/0"].exec("BEGIN", "UPDATE event SET body='with it' WHERE seq=2", tc.change, "COMMIT")
			s := w.await(Error)[0]
			require.Contains(t, s.Message, tc.want)
			require.Regexp(t, `transaction [0-9a-f-]{36}:\d+: `, s.Message)
			require.Contains(t, s.Message, " | ", "a remedy")
			require.Equal(t, "before", w.target.one("SELECT body FROM event WHERE seq=1"))
			require.NotEqual(t, "with it", w.target.one("SELECT body FROM event WHERE seq=2"), "nothing half applied")

			// Mended and started by SQL on the row.
			w.target.exec("DELETE FROM item", "INSERT INTO item (id,name,qty,note) SELECT id,name,qty,note FROM "+w.sources["src/0"].db+".item WHERE id<50")
			if tc.name == "delete" {
				w.target.exec("INSERT IGNORE INTO item (id,name) VALUES (4,'n4'),(5,'n5'),(6,'n6')")
			}
			w.target.exec("UPDATE _braid.vreplication SET state='Running' WHERE db_name=" + sqlconn.Quote(w.target.db))
			w.await(Running)
			w.catchUp()
			w.equal("src/0", "item", "event")
		})
	}
}

// The stream stops behind the transaction that reaches the stop position, also in the middle of what could be one commit.
func TestStopPosition(t *testing.T) {
	w := newWorld(t, nil, source1)
	src := w.sources["src/0"]
	bothTables(w, "src/0")
	fill(src, 10)
	spec := w.spec("src/0", rule("item"), rule("event"))
	spec.Position = src.executed()
	w.target.exec("INSERT INTO item (id,name,qty,note) SELECT id,name,qty,note FROM "+src.db+".item", "INSERT INTO event SELECT * FROM "+src.db+".event")
	for i := range 300 {
		src.exec(fmt.Sprintf("UPDATE item SET qty=%d WHERE id=1", 1000+i))
		if i == 150 {
			spec.StopPosition = src.executed()
		}
	}
	s := w.create(spec)[0]
	s = w.await(Stopped)[0]
	require.Equal(t, "1150", w.target.one("SELECT qty FROM item WHERE id=1"))
	require.Equal(t, "reached the stop position", s.Message)
	_, err := w.engine.WaitForPosition(t.Context(), "w", map[int64]string{s.Id: src.executed()})
	require.ErrorContains(t, err, "is Stopped")
	for range 2 { // also when the tablet has just been started
		_, err = w.engine.WaitForPosition(t.Context(), "w", map[int64]string{s.Id: spec.StopPosition})
		require.NoError(t, err)
		w.restart()
	}
}

func TestVerbs(t *testing.T) {
	w := newWorld(t, nil, source1)
	ctx := t.Context()
	src := w.sources["src/0"]
	bothTables(w, "src/0")
	fill(src, 100)
	spec := w.spec("src/0", rule("/item|event"))
	id := w.create(spec)[0].Id
	require.Equal(t, id, w.create(spec)[0].Id, "creating twice changes nothing")
	w.await(Running)

	streams, err := w.engine.Update(ctx, &tabletpb.UpdateStreamsRequest{Workflow: "w", State: "Stopped", Message: "by me"})
	require.NoError(t, err)
	require.Equal(t, "Stopped", streams[0].State)
	require.Equal(t, "by me", streams[0].Message)
	src.exec("UPDATE item SET qty=12345 WHERE id=1")
	require.NotEqual(t, "12345", w.target.one("SELECT qty FROM item WHERE id=1"))
	_, err = w.engine.Update(ctx, &tabletpb.UpdateStreamsRequest{Workflow: "w", State: "Running"})
	require.NoError(t, err)
	w.catchUp()
	require.Equal(t, "12345", w.target.one("SELECT qty FROM item WHERE id=1"))
	_, err = w.engine.Update(ctx, &tabletpb.UpdateStreamsRequest{Workflow: "w", Positions: map[int64]string{id: src.executed()}})
	require.ErrorContains(t, err, "can be changed when it is stopped")

	// By SQL: stopped within the poll.
	w.target.exec(fmt.Sprintf("UPDATE _braid.vreplication SET state='Stopped' WHERE id=%d", id))
	require.Eventually(t, func() bool { return !w.engine.stream(id).running() }, 10*time.Second, 20*time.Millisecond)

	n, err := w.engine.Delete(ctx, "w")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Empty(t, w.list())
	require.Equal(t, "0", w.target.one(fmt.Sprintf("SELECT COUNT(*) FROM _braid.copy_state WHERE vrepl_id=%d", id)))
	n, err = w.engine.Delete(ctx, "w")
	require.NoError(t, err)
	require.Zero(t, n)
}

// A wait is woken by the commit; also for a position that ends in a transaction without rows for the stream.
func TestWaitIsPrompt(t *testing.T) {
	w := newWorld(t, nil, source1)
	src := w.sources["src/0"]
	bothTables(w, "src/0")
	src.exec("CREATE TABLE other (id int PRIMARY KEY)")
	w.create(w.spec("src/0", rule("item"), rule("event")))
	w.await(Running)
	for i := range 5 {
		for _, sql := range []string{fmt.Sprintf("INSERT INTO item (id,name) VALUES (%d,'a%d')", i, i), fmt.Sprintf("INSERT INTO other VALUES (%d)", i)} {
			src.exec(sql)
			began := time.Now()
			w.catchUp()
			require.Less(t, time.Since(began), 400*time.Millisecond, sql)
		}
	}
}

func TestCutoverHelpers(t *testing.T) {
	w := newWorld(t, nil, nil)
	ctx, e := t.Context(), w.engine
	w.target.exec("CREATE TABLE seq (id int PRIMARY KEY, next_id bigint, cache bigint) COMMENT 'vitess_sequence'", "CREATE TABLE c (id bigint PRIMARY KEY)")
	max, err := e.MaxColumn(ctx, &tabletpb.MaxColumnRequest{Table: "c", Column: "id"})
	require.NoError(t, err)
	require.Zero(t, max.Value)
	w.target.exec("INSERT INTO c VALUES (5),(77)")
	max, err = e.MaxColumn(ctx, &tabletpb.MaxColumnRequest{Table: "c", Column: "id"})
	require.NoError(t, err)
	require.EqualValues(t, 77, max.Value)
	w.target.exec("CREATE TABLE counted (id bigint PRIMARY KEY AUTO_INCREMENT, n int)", "INSERT INTO counted (n) VALUES (1),(2)", "INSERT INTO counted VALUES (900,3)", "DELETE FROM counted WHERE id>1")
	for column, want := range map[string]int64{"id": 900, "n": 1} {
		max, err = e.MaxColumn(ctx, &tabletpb.MaxColumnRequest{Table: "counted", Column: column})
		require.NoError(t, err)
		require.Equal(t, want, max.Value, column)
	}
	for _, step := range []struct{ atLeast, want int64 }{{78, 78}, {50, 78}, {1000, 1000}} {
		next, err := e.RaiseSequence(ctx, &tabletpb.RaiseSequenceRequest{Table: "seq", AtLeast: step.atLeast})
		require.NoError(t, err)
		require.Equal(t, step.want, next.Next)
	}
	epoch := uint64(time.Now().UnixNano())
	found, err := e.ReadJournal(ctx, &tabletpb.ReadJournalRequest{Workflow: "w", Epoch: epoch})
	require.NoError(t, err)
	require.False(t, found.Found)
	j := &tabletpb.Journal{Workflow: "w", Epoch: epoch, Direction: "forward", SourcePositions: map[string]string{"a/-": "x:1"}}
	_, err = e.WriteJournal(ctx, &tabletpb.WriteJournalRequest{Journal: j})
	require.NoError(t, err)
	again, err := e.WriteJournal(ctx, &tabletpb.WriteJournalRequest{Journal: &tabletpb.Journal{Workflow: "w", Epoch: epoch, Direction: "other"}})
	require.NoError(t, err)
	require.Equal(t, "forward", again.Journal.Direction, "what was written first stays")
	require.Equal(t, "x:1", again.Journal.SourcePositions["a/-"])
}

// Both servers are killed in the middle of a copy and of what follows it.
func TestServersDie(t *testing.T) {
	source, target := mysqldtest.New(t, mysqldtest.Options{}), mysqldtest.New(t, mysqldtest.Options{})
	w := newWorld(t, target, map[string]*mysqld.Server{"src/0": source})
	src := w.sources["src/0"]
	bothTables(w, "src/0")
	fill(src, 30000)
	w.create(w.spec("src/0", rule("item"), rule("event")))
	for i := range 4 {
		stop := storm(t, src, 1, 32000)
		time.Sleep(time.Duration(100+rand.IntN(300)) * time.Millisecond)
		stop()
		dies := []*side{w.target, src}[i%2]
		dies.Kill()
		<-dies.Done()
		require.NoError(t, dies.Start(t.Context()))
		dies.conn = mysqldtest.Dial(t, dies.Root().WithDB(dies.db))
	}
	require.Eventually(t, func() bool { // the pool's sessions died too
		streams, err := w.engine.List(t.Context(), "w")
		return err == nil && streams[0].State == Running.String() && streams[0].LagMs >= 0
	}, time.Minute, 50*time.Millisecond)
	w.catchUp()
	w.equal("src/0", "item", "event")
}

// What the operator reads when something is wrong.
func TestMessages(t *testing.T) {
	t.Run("no table on the target", func(t *testing.T) {
		w := newWorld(t, nil, source1)
		w.sources["src/0"].exec(itemTable, "INSERT INTO item (id,name) VALUES (1,'a')")
		w.create(w.spec("src/0", rule("item")))
		require.Contains(t, w.await(Error)[0].Message, "table item is not on the target")
	})
	t.Run("other columns on the target", func(t *testing.T) {
		w := newWorld(t, nil, source1)
		w.sources["src/0"].exec(itemTable, "INSERT INTO item (id,name) VALUES (1,'a')")
		w.target.exec("CREATE TABLE item (id int PRIMARY KEY, name varchar(60) CHARACTER SET utf8mb4, qty int, note text, twice int)")
		w.create(w.spec("src/0", rule("item")))
		require.Contains(t, w.await(Error)[0].Message, "id: source bigint, target int")
	})
	t.Run("no source", func(t *testing.T) {
		w := newWorld(t, nil, nil)
		w.create(w.spec("else/0", rule("item")))
		require.Eventually(t, func() bool { return w.list()[0].Message == "open source else/0: no source else/0" }, 10*time.Second, 20*time.Millisecond)
		require.Equal(t, "Init", w.list()[0].State, "it is tried again")
	})
	t.Run("policy for DDL", func(t *testing.T) {
		w := newWorld(t, nil, source1)
		w.sources["src/0"].exec(itemTable)
		w.target.exec(itemTable)
		w.create(w.spec("src/0", rule("item")))
		w.await(Running)
		w.sources["src/0"].exec("ALTER TABLE item ADD KEY qty (qty)", "INSERT INTO item (id,name) VALUES (1,'after')")
		w.catchUp()
		w.equal("src/0", "item")
		require.Equal(t, "ALTER TABLE item ADD KEY qty (qty)", w.target.one("SELECT message FROM _braid.vreplication_log WHERE type='ddl ignored' AND vrepl_id="+fmt.Sprint(w.list()[0].Id)))
		w.sources["src/0"].exec("ALTER TABLE item ADD COLUMN more int", "INSERT INTO item (id,name,more) VALUES (2,'x',1)")
		require.Contains(t, w.await(Error)[0].Message, "more: source int, target has no such column")
	})
}

// starts is a Source that notes how its streams are asked for.
type starts struct {
	vstream.Source
	seen chan vstream.Start
}

func (s starts) Open(ctx context.Context, start vstream.Start) (vstream.Stream, error) {
	s.seen <- start
	return s.Source.Open(ctx, start)
}

// How many sessions read the source is the stream's, whoever makes it.
func TestCopyReaders(t *testing.T) {
	w := newWorld(t, nil, source1)
	seen := make(chan vstream.Start, 10)
	w.wrap = func(s vstream.Source) vstream.Source { return starts{s, seen} }
	for _, s := range []*side{w.sources["src/0"], w.target} {
		s.exec("CREATE TABLE a (id int PRIMARY KEY)", "CREATE TABLE b (id int PRIMARY KEY)")
	}
	spec := w.spec("src/0", rule("a"))
	spec.CopyReaders = 7
	w.create(spec)
	require.Equal(t, 7, (<-seen).Readers)
	require.EqualValues(t, 7, w.list()[0].Spec.CopyReaders)
	_, err := w.engine.Put(t.Context(), Spec{Workflow: "put", Keyspace: "src", Shard: "0", Rules: filter.Rules{Rules: []filter.Rule{rule("b")}}, CopyReaders: 2})
	require.NoError(t, err)
	require.Equal(t, 2, (<-seen).Readers)
}

// A stream that names a table which the source does not have says so, and does not wait for it.
func TestNamedTablesMustExist(t *testing.T) {
	w := newWorld(t, nil, source1)
	w.sources["src/0"].exec("CREATE TABLE there (id int PRIMARY KEY)", "CREATE VIEW seen AS SELECT * FROM there")
	w.target.exec("CREATE TABLE there (id int PRIMARY KEY)")
	for _, name := range []string{"their", "seen"} {
		w.create(w.spec("src/0", rule("there"), rule("/later.*"), rule(name)))
		require.Contains(t, w.await(Error)[0].Message, "the rules name table")
		require.Contains(t, w.list()[0].Message, w.sources["src/0"].db+"."+name)
		_, err := w.engine.Delete(t.Context(), "w")
		require.NoError(t, err)
	}
	w.create(w.spec("src/0", rule("there"), rule("/later.*")))
	w.await(Running)
}
