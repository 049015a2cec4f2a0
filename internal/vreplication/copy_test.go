package vreplication

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	tabletpb "braid/api/tablet"
	"braid/internal/filter"
	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/internal/throttle"
	"braid/internal/vstream"
)

// tiny makes a copy of many chunks and ranges of tables that a test can fill.
var tiny = copySizes{least: 4 << 10, first: 8 << 10, most: 8 << 10, rangeBytes: 64 << 10, ranges: 16, underWay: 8, gently: 2}

// keyTables are tables of various keys, beside item and event. Their first two columns order them.
var keyTables = map[string]string{
	"k_binary":             "(id binary(3) NOT NULL, n int, v varchar(100), PRIMARY KEY (id))",
	"k_decimal":            "(id decimal(20,6) NOT NULL, n int, v varchar(100), PRIMARY KEY (id))",
	"k_negative":           "(id int NOT NULL, n int, v varchar(100), PRIMARY KEY (id DESC))",
	"k_date":               "(d date NOT NULL, n int NOT NULL, v varchar(100), PRIMARY KEY (d, n))",
	"k_unique":             "(n int NOT NULL, s varchar(30) COLLATE utf8mb4_0900_ai_ci NOT NULL, v varchar(100), UNIQUE KEY s (s))",
	"it's a `table` \"☃\"": "(`id \"x\"` bigint NOT NULL, `it's` int, `q``q` varchar(100), `ключ` json, PRIMARY KEY (`id \"x\"`)) CHARACTER SET utf8mb4",
}

var keyValues = map[string]string{
	"k_binary": "UNHEX(LPAD(HEX(i*7),6,'0')), i, REPEAT('b', i%50)", "k_decimal": "i/3-100, i, REPEAT('d', i%50)", "k_negative": "i*3-5000, i, REPEAT('n', i%50)",
	"k_date": "DATE_ADD('2000-01-01', INTERVAL i%400 DAY), i, REPEAT('t', i%50)", "k_unique": "i, CONCAT(IF(i%2,'Ä','b'), i), REPEAT('u', i%50)",
	"it's a `table` \"☃\"": "i, i%7, CONCAT('😀''\\\\\t', i), JSON_OBJECT('ü', i)",
}

func makeKeyTables(w *world, rows int) (names []string, rules []filter.Rule) {
	src := w.sources["src/0"]
	for _, s := range []*side{src, w.target} {
		s.exec("SET NAMES utf8mb4", "SET SESSION cte_max_recursion_depth=1000000")
	}
	for name, columns := range keyTables {
		quoted := sqlconn.QuoteIdent(name)
		src.exec("CREATE TABLE "+quoted+" "+columns, fmt.Sprintf("INSERT INTO %s WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) SELECT %s FROM n", quoted, rows, keyValues[name]))
		w.target.exec("CREATE TABLE " + quoted + " " + columns)
		names, rules = append(names, quoted), append(rules, rule(name))
	}
	return names, rules
}

// churn changes the tables of various keys.
func churn(ctx context.Context, conn *sqlconn.Conn, seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, 3))
	if _, err := conn.Exec(ctx, "SET NAMES utf8mb4"); err != nil {
		return err
	}
	for ctx.Err() == nil {
		n, m := rng.IntN(3000), rng.IntN(3000)
		sql := []string{
			fmt.Sprintf("UPDATE k_binary SET v='%d' WHERE n=%d", m, n), fmt.Sprintf("UPDATE IGNORE k_binary SET id=UNHEX('%06x') WHERE n=%d", m, n),
			fmt.Sprintf("DELETE FROM k_decimal WHERE n=%d", n), fmt.Sprintf("INSERT IGNORE INTO k_decimal VALUES (%d.5,%d,'new')", m, n),
			fmt.Sprintf("UPDATE IGNORE k_negative SET id=%d WHERE n=%d", m-5000, n), fmt.Sprintf("UPDATE IGNORE k_date SET d='2000-03-%02d' WHERE n=%d", m%31+1, n),
			fmt.Sprintf("UPDATE IGNORE k_unique SET s='a%d' WHERE n=%d", m, n), fmt.Sprintf("UPDATE IGNORE k_unique SET s='A%d' WHERE n=%d", m, n),
			fmt.Sprintf("UPDATE `it's a ``table`` \"☃\"` SET `ключ`=JSON_SET(`ключ`,'$.n',%d) WHERE `id \"x\"`=%d", m, n),
		}[rng.IntN(9)]
		if _, err := conn.Exec(ctx, sql); err != nil && ctx.Err() == nil && sqlconn.ErrCode(err) != 1213 && sqlconn.ErrCode(err) != 1205 {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// atBoundaries changes the rows around the last key of each chunk of item, as soon as the target says it: values, keys, and unique values that change places.
func atBoundaries(ctx context.Context, w *world, source, target *sqlconn.Conn) error {
	for rng := rand.New(rand.NewPCG(1, 4)); ctx.Err() == nil; {
		res, err := target.Query(ctx, "SELECT lastpk FROM _braid.copy_range WHERE table_name='item' AND lastpk IS NOT NULL UNION SELECT upto FROM _braid.copy_range WHERE table_name='item' AND upto IS NOT NULL "+
			"UNION SELECT lastpk FROM _braid.copy_state WHERE table_name='item' AND lastpk IS NOT NULL")
		if err != nil {
			return skipEnded(ctx, err)
		}
		for _, cells := range res.Rows {
			key, err := decodeKey(cells[0])
			if err != nil {
				return err
			}
			id := string(key[0])
			sql := []string{
				"UPDATE item SET name=CONCAT('tmp',id) WHERE id=" + id + "; UPDATE IGNORE item SET name='n" + id + "' WHERE id=" + id + "+1",
				"UPDATE IGNORE item SET id=id+1 WHERE id=" + id, "UPDATE IGNORE item SET id=id-1 WHERE id=" + id + "+1", "DELETE FROM item WHERE id=" + id,
				"INSERT IGNORE INTO item (id,name) VALUES (" + id + ",'n" + id + "')", "UPDATE item SET qty=qty+1 WHERE id BETWEEN " + id + "-1 AND " + id + "+1",
			}[rng.IntN(6)]
			if err := source.ExecMulti(ctx, []byte("BEGIN;"+sql+";COMMIT")); err != nil {
				if code := sqlconn.ErrCode(err); ctx.Err() == nil && code != 1062 && code != 1213 && code != 1205 {
					return fmt.Errorf("%s: %w", sql, err)
				}
				if _, err := source.Exec(ctx, "ROLLBACK"); err != nil {
					return skipEnded(ctx, err)
				}
			}
		}
	}
	return nil
}

func skipEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Tables of all kinds of keys are copied in many chunks and ranges under a storm that hits every chunk's boundary, while our process and its sessions
// are killed: both sides are equal at the end.
func TestCopyUnderStormWithKills(t *testing.T) {
	w := newWorld(t, nil, source1)
	w.sizes = &tiny
	w.restart()
	src := w.sources["src/0"]
	bothTables(w, "src/0")
	fill(src, 6000)
	names, rules := makeKeyTables(w, 3000)
	stop := storm(t, src, 2, 7000)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var others errgroup.Group
	churner, bounder, looker := mysqldtest.Dial(t, src.Root().WithDB(src.db)), mysqldtest.Dial(t, src.Root().WithDB(src.db)), mysqldtest.Dial(t, w.target.Root())
	others.Go(func() error { return skipEnded(ctx, churn(ctx, churner, 5)) })
	others.Go(func() error { return atBoundaries(ctx, w, bounder, looker) })
	w.create(w.spec("src/0", append(rules, rule("item"), rule("event"))...))
	killer := mysqldtest.Dial(t, w.target.Root())
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 2))
	for i := range 12 {
		time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
		if i%3 == 0 {
			w.restart()
		} else {
			killSessions(t, killer, w.target.db)
		}
	}
	w.await(Running)
	cancel()
	stop()
	require.NoError(t, others.Wait())
	w.catchUp()
	w.equal("src/0", append(names, "item", "event")...)
	require.NotEqual(t, "0", w.target.one("SELECT COUNT(*) FROM _braid.copy_range"), "no table was split")
	require.Equal(t, "0", w.target.one("SELECT COUNT(*) FROM _braid.copy_state WHERE done<2"))
}

// counter counts the rows of chunks that a stream brings, and the most of them at once.
type counter struct {
	vstream.Source
	rows, most *atomic.Int64
}

type countedStream struct {
	vstream.Stream
	c counter
}

func (c counter) Open(ctx context.Context, start vstream.Start) (vstream.Stream, error) {
	s, err := c.Source.Open(ctx, start)
	if err != nil {
		return nil, err
	}
	return countedStream{s, c}, nil
}

func (s countedStream) Recv() ([]vstream.Item, error) {
	items, err := s.Stream.Recv()
	for _, item := range items {
		if ch, ok := item.(*vstream.Chunk); ok {
			s.c.rows.Add(int64(len(ch.Rows)))
			if n := int64(len(ch.Rows)); n > s.c.most.Load() {
				s.c.most.Store(n)
			}
		}
	}
	return items, err
}

// After a crash at most the chunks under way are read again, in one table and in many (W2).
func TestResumeReadsWhatWasUnderWay(t *testing.T) {
	w := newWorld(t, nil, source1)
	var rows, most atomic.Int64
	w.wrap = func(s vstream.Source) vstream.Source { return counter{s, &rows, &most} }
	w.sizes = &tiny
	w.restart()
	src := w.sources["src/0"]
	bothTables(w, "src/0")
	fill(src, 20000)
	w.create(w.spec("src/0", rule("item"), rule("event")))
	const restarts = 6
	for i := range restarts {
		want := int64(i+1) * 40000 / (restarts + 2)
		require.Eventually(t, func() bool { return rows.Load() > want }, time.Minute, time.Millisecond)
		w.restart()
	}
	w.await(Running)
	w.catchUp()
	w.equal("src/0", "item", "event")
	again := rows.Load() - 40000
	t.Logf("%d rows read again after %d restarts, chunks of at most %d rows", again, restarts, most.Load())
	// The ranges of a table are cut when its first chunk has shown that it is large: what that chunk brought may be read twice.
	require.LessOrEqual(t, again, (restarts*int64(tiny.underWay)+2)*most.Load())
	require.EqualValues(t, 40000, w.list()[0].RowsCopied-duplicates(t, w))
}

// duplicates are rows that two ranges have counted.
func duplicates(t *testing.T, w *world) int64 {
	t.Helper()
	n := w.list()[0].RowsCopied - 40000
	require.LessOrEqual(t, n, int64(2*1000), "rows counted twice")
	return n
}

// Two thousand small tables take seconds, not minutes: what a table costs is a bounded number of statements on each side, and most of them are not
// waited for one after the other. (On two idle cores that is about ten seconds; a bound in seconds would measure the machine.)
func TestManySmallTables(t *testing.T) {
	const tables, rows = 2000, 100
	source, target := mysqldtest.New(t, mysqldtest.Options{}), mysqldtest.New(t, mysqldtest.Options{})
	w := newWorld(t, target, map[string]*mysqld.Server{"src/0": source})
	src := w.sources["src/0"]
	var group errgroup.Group
	for part := range 4 {
		from, to := mysqldtest.Dial(t, src.Root().WithDB(src.db)), mysqldtest.Dial(t, w.target.Root().WithDB(w.target.db))
		group.Go(func() error {
			for i := part; i < tables; i += 4 {
				create := fmt.Sprintf("CREATE TABLE t%d (id INT PRIMARY KEY, v VARCHAR(50), KEY v (v))", i)
				fill := fmt.Sprintf("INSERT INTO t%d WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) SELECT i, CONCAT('v',i*%d) FROM n", i, rows, i)
				if err := errors.Join(from.ExecMulti(t.Context(), []byte(create+";"+fill)), to.ExecMulti(t.Context(), []byte(create))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	statements := func(s *side) int {
		res, err := s.conn.Query(t.Context(), "SHOW GLOBAL STATUS LIKE 'Questions'")
		require.NoError(t, err)
		n, err := strconv.Atoi(string(res.Rows[0][1]))
		require.NoError(t, err)
		return n
	}
	began, atSource, atTarget := time.Now(), statements(src), statements(w.target)
	w.create(w.spec("src/0", rule("/t[0-9]+")))
	require.Eventually(t, func() bool { return w.list()[0].State == Running.String() }, 5*time.Minute, time.Second, "%v", lazy{func() any { return w.engine.CopyProgress(1) }})
	took := time.Since(began)
	atSource, atTarget = (statements(src)-atSource)/tables, (statements(w.target)-atTarget)/tables
	t.Logf("%d tables in %s, %d statements a table on the source, %d on the target", tables, took, atSource, atTarget)
	require.LessOrEqual(t, atSource, 14)
	require.LessOrEqual(t, atTarget, 14)
	require.EqualValues(t, tables*rows, w.list()[0].RowsCopied)
	for _, name := range []string{"t0", "t999", "t1999"} {
		w.equal("src/0", name)
	}
}

// Without LOAD DATA rows go by REPLACE, and the operator can read why.
func TestCopyWithoutLoadData(t *testing.T) {
	target := mysqldtest.New(t, mysqldtest.Options{Options: []string{"local-infile=OFF"}})
	w := newWorld(t, target, source1)
	w.sizes = &tiny
	w.restart()
	src := w.sources["src/0"]
	bothTables(w, "src/0")
	fill(src, 20000)
	w.create(w.spec("src/0", rule("item"), rule("event")))
	said := false
	require.Eventually(t, func() bool {
		s := w.list()[0]
		said = said || strings.Contains(s.Message, "rows go by REPLACE, because the target has local_infile=OFF")
		return s.State == Running.String()
	}, time.Minute, time.Millisecond)
	require.True(t, said, "the status never said how rows are written")
	w.catchUp()
	w.equal("src/0", "item", "event")
	require.Empty(t, w.list()[0].Message)
}

const wideTable = "CREATE TABLE `order's` (id bigint NOT NULL AUTO_INCREMENT, customer int NOT NULL, note varchar(100) DEFAULT 'it''s', at timestamp(3) NULL, g point NOT NULL SRID 0, j json, twice int AS (customer*2), hidden int INVISIBLE DEFAULT 7, " +
	"PRIMARY KEY (id), UNIQUE KEY u (customer, id), KEY customer (customer), KEY n (note(10) DESC, customer) COMMENT 'a, \"b\" ''c'')', KEY f ((customer % 10)), KEY mv ((CAST(j->'$.tags' AS UNSIGNED ARRAY))), FULLTEXT KEY ft (note), FULLTEXT KEY ft2 (note), SPATIAL KEY s (g), " +
	"CONSTRAINT fk FOREIGN KEY (customer) REFERENCES customer (id) ON DELETE CASCADE, CONSTRAINT c CHECK (customer >= 0)) COMMENT 'KEY `x` (`y`)'"

// Indexes and foreign keys that a table was made without are there when the stream runs, whatever died in between, and the table is the source's.
func TestDeferredIndexesSurviveCrashes(t *testing.T) {
	const rows = 5000
	w := newWorld(t, nil, source1)
	src := w.sources["src/0"]
	src.exec("SET NAMES utf8mb4", "CREATE TABLE customer (id int PRIMARY KEY, name varchar(20), KEY name (name))", wideTable, "SET SESSION cte_max_recursion_depth=1000000",
		"INSERT INTO customer WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<99) SELECT i, CONCAT('c',i) FROM n",
		"INSERT INTO `order's` (id,customer,note,at,g,j) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<5000) SELECT i, i%100, CONCAT('note ',i), '2024-01-02', Point(i,1), JSON_OBJECT('tags',JSON_ARRAY(i%7)) FROM n")
	w.target.exec("SET NAMES utf8mb4", "SET foreign_key_checks=0")
	for _, name := range []string{"order's", "customer"} {
		defs, err := schema.Load(t.Context(), src.conn, src.db, []string{name})
		require.NoError(t, err)
		require.NoError(t, CreateTable(t.Context(), w.target.conn, w.target.db, name, defs[0].CreateStatement, 20000))
	}
	w.target.exec("SET foreign_key_checks=1")
	require.Equal(t, "2", w.target.one("SELECT COUNT(*) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME='order''s' AND INDEX_NAME IN ('u')"))
	require.Equal(t, "3", w.target.one("SELECT COUNT(*) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA=DATABASE() AND NON_UNIQUE=1"), "FULLTEXT and SPATIAL ones")
	stop := make(chan struct{})
	var changes sync.WaitGroup
	writer := mysqldtest.Dial(t, src.Root().WithDB(src.db))
	changes.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := writer.Exec(t.Context(), fmt.Sprintf("UPDATE `order's` SET note='changed %d', customer=%d WHERE id=%d", i, i%100, i%rows+1)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	w.create(w.spec("src/0", rule("order's"), rule("customer")))
	killer := mysqldtest.Dial(t, w.target.Root())
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 6))
	for i := range 6 { // most of them in the middle of an ALTER
		require.Eventually(t, func() bool { return w.list()[0].RowsCopied >= rows || w.list()[0].State == Running.String() }, time.Minute, time.Millisecond)
		time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
		if i%2 == 0 {
			w.restart()
		} else {
			killSessions(t, killer, "") // the sessions that add indexes have no database
		}
	}
	w.await(Running)
	close(stop)
	changes.Wait()
	w.catchUp()
	for _, name := range []string{"order's", "customer"} {
		want, err := schema.Load(t.Context(), src.conn, src.db, []string{name})
		require.NoError(t, err)
		have, err := schema.Load(t.Context(), w.target.conn, w.target.db, []string{name})
		require.NoError(t, err)
		require.Empty(t, schema.Differences(want[0], have[0]), name)
		w.equal("src/0", sqlconn.QuoteIdent(name))
	}
	require.Equal(t, "0", w.target.one("SELECT COUNT(*) FROM _braid.deferred WHERE db_name="+sqlconn.Quote(w.target.db)))
	require.Equal(t, "0", w.target.one("SELECT COUNT(*) FROM _braid.vreplication_log WHERE type='definitions differ'"))
}

// DDL that comes while a table is copied finds the indexes that it names.
func TestDDLOfDeferredIndexes(t *testing.T) {
	w := newWorld(t, nil, source1)
	var pressure atomic.Int64
	pressure.Store(100)
	w.probes = func(string, string, throttle.Limits) []throttle.Probe { return []throttle.Probe{gauge{&pressure}} }
	w.restart()
	src := w.sources["src/0"]
	src.exec("CREATE TABLE parent (id int PRIMARY KEY)", "CREATE TABLE item (id int PRIMARY KEY, a int, b int, KEY a (a), KEY b (b), CONSTRAINT fk FOREIGN KEY (b) REFERENCES parent (id))",
		"INSERT INTO parent VALUES (1)", "INSERT INTO item VALUES (1,2,1)")
	w.target.exec("SET NAMES utf8mb4")
	for _, name := range []string{"parent", "item"} {
		defs, err := schema.Load(t.Context(), src.conn, src.db, []string{name})
		require.NoError(t, err)
		require.NoError(t, CreateTable(t.Context(), w.target.conn, w.target.db, name, defs[0].CreateStatement, deferRows))
	}
	_, err := w.engine.Put(t.Context(), Spec{Workflow: "w", Keyspace: "src", Shard: "0", Rules: filter.Rules{Rules: []filter.Rule{rule("parent"), rule("item")}}, OnDDL: DDLExec})
	require.NoError(t, err)
	w.await(Copying)
	src.exec("ALTER TABLE item DROP KEY a, DROP FOREIGN KEY fk, RENAME KEY b TO c", "INSERT INTO item VALUES (2,3,7)")
	w.catchUp()
	require.Equal(t, "c", w.target.one("SELECT GROUP_CONCAT(INDEX_NAME) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME='item' AND NON_UNIQUE=1"))
	pressure.Store(0)
	w.await(Running)
	w.catchUp()
	w.equal("src/0", "item")
	require.Equal(t, "0", w.target.one("SELECT COUNT(*) FROM _braid.deferred WHERE db_name="+sqlconn.Quote(w.target.db)))
}

// The stream tells what is otherwise on the target when a table was made for it and then changed.
func TestDifferencesOfDefinitionsAreTold(t *testing.T) {
	w := newWorld(t, nil, source1)
	src := w.sources["src/0"]
	src.exec("CREATE TABLE item (id int PRIMARY KEY, a int DEFAULT 5, b int, KEY a (a), KEY b (b))", "INSERT INTO item VALUES (1,2,3)")
	w.target.exec("SET NAMES utf8mb4")
	require.NoError(t, CreateTable(t.Context(), w.target.conn, w.target.db, "item", "CREATE TABLE `item` (\n  `id` int NOT NULL,\n  `a` int DEFAULT '6',\n  `b` int DEFAULT NULL,\n  PRIMARY KEY (`id`),\n  KEY `a` (`a`)\n)", deferRows))
	w.create(w.spec("src/0", rule("item")))
	w.await(Running)
	require.Equal(t, "definitions differ: table "+w.target.db+".item: column a: default: '6', not '5'; table "+w.target.db+".item: index b: none, not BTREE (b)",
		w.target.one("SELECT message FROM _braid.vreplication_log WHERE type='definitions differ' ORDER BY id DESC"))
}

// gauge is a probe that a test sets.
type gauge struct {
	value *atomic.Int64
}

func (g gauge) Figure() throttle.Figure {
	return throttle.Figure{Name: "pressure", Where: "target", Max: 10}
}
func (g gauge) Close() {}
func (g gauge) Read(context.Context) (float64, error) {
	if v := g.value.Load(); v >= 0 {
		return float64(v), nil
	}
	return 0, errors.New("no answer")
}

// A figure that is bad, or cannot be read, pauses the copy and not the stream; the operator reads why.
func TestThrottledCopy(t *testing.T) {
	w := newWorld(t, nil, source1)
	var pressure atomic.Int64
	pressure.Store(11)
	bounds := throttle.Limits{Threads: 7}
	w.sizes, w.probes = &tiny, func(keyspace, shard string, limits throttle.Limits) []throttle.Probe {
		require.Equal(t, []any{"src", "0", bounds}, []any{keyspace, shard, limits}, "those of the stream's spec")
		return []throttle.Probe{gauge{&pressure}}
	}
	w.restart()
	src := w.sources["src/0"]
	bothTables(w, "src/0")
	fill(src, 5000)
	spec := w.spec("src/0", rule("item"), rule("event"))
	spec.Throttle = bounds.JSON()
	w.create(spec)
	says := func(text string) {
		t.Helper()
		require.Eventually(t, func() bool { return strings.Contains(w.list()[0].Message, text) }, 10*time.Second, 10*time.Millisecond, "%v", lazy{func() any { return w.list() }})
	}
	says("paused: pressure of the target is 11, the bound is 10")
	require.EqualValues(t, 1, gathered(t, w.engine)["braid_copy_paused pressure of the target"])
	src.exec("UPDATE item SET qty=777 WHERE id=17")
	w.catchUp()
	require.Equal(t, "777", w.target.one("SELECT qty FROM item WHERE id=17"), "changes are applied")
	require.Equal(t, "1", w.target.one("SELECT COUNT(*) FROM item"), "rows are not copied")
	pressure.Store(-1)
	says("pressure of the target cannot be read: no answer")
	require.Zero(t, w.list()[0].RowsCopied)
	require.Equal(t, "pressure of the target", pausedBy(w.engine.CopyProgress(w.list()[0].Id).Paused))
	pressure.Store(3)
	w.await(Running)
	w.catchUp()
	w.equal("src/0", "item", "event")
}

// A stream that is further behind than its max_replication_lag copies nothing until it has caught up.
func TestMaxReplicationLag(t *testing.T) {
	w := newWorld(t, nil, source1)
	w.sizes = &tiny
	w.restart()
	src := w.sources["src/0"]
	bothTables(w, "src/0")
	fill(src, 3000)
	spec := w.spec("src/0", rule("item"), rule("event"))
	spec.State = Stopped.String()
	w.create(spec)
	w.target.exec("UPDATE _braid.vreplication SET max_replication_lag=1, pos='' WHERE db_name=DATABASE()")
	// The change that comes first waits for a lock, and nothing that came after it counts as applied.
	asked := w.meddle(3, false, func() {
		w.target.exec("LOCK TABLES event WRITE")
		src.exec("INSERT INTO event VALUES ('new',1,NULL,'')")
	})
	_, err := w.engine.Update(t.Context(), &tabletpb.UpdateStreamsRequest{Workflow: "w", State: Init.String()})
	require.NoError(t, err)
	paused := func() string {
		if p := w.engine.CopyProgress(w.list()[0].Id); p != nil {
			return p.Paused
		}
		return ""
	}
	require.Eventually(t, func() bool { return strings.Contains(paused(), "changes of the source come first") }, time.Minute, 10*time.Millisecond, "%v", lazy{func() any { return w.list() }})
	before := asked.Load()
	require.Never(t, func() bool { return asked.Load() > before }, time.Second, 50*time.Millisecond)
	w.target.exec("UNLOCK TABLES")
	w.await(Running)
	w.catchUp()
	w.equal("src/0", "item", "event")
}

func TestMeter(t *testing.T) {
	var m meter
	now := time.Now()
	rows, _ := m.rate(now)
	require.Zero(t, rows)
	for i := range 20 {
		m.add(now.Add(time.Duration(i)*time.Second), 1000, 5000, time.Second, 3*time.Second, false)
	}
	rows, bytes := m.rate(now.Add(19 * time.Second))
	require.InDelta(t, 1000, rows, 1)
	require.InDelta(t, 5000, bytes, 5)
	require.Equal(t, "the target is the bottleneck", m.bottleneck())
	p := CopyProgress{Bytes: 3.5e6, Rows: 5, Total: 10, Tables: 3, TablesDone: 1, RowsPerSec: 1000, BytesPerSec: 2.5e6, ETA: 61 * time.Second, Bottleneck: "x", Paused: "y"}
	require.Equal(t, "copies: 1 of 3 tables, 5 of about 10 rows, 3.5 MB, 1000 rows/s, 2.5 MB/s, 1m1s left; x; paused: y", p.String())
}

// unsplit is a Source whose streams take no split.
type unsplit struct {
	vstream.Source
	asked *atomic.Int64
}

func (s unsplit) Open(ctx context.Context, start vstream.Start) (vstream.Stream, error) {
	stream, err := s.Source.Open(ctx, start)
	return unsplitStream{stream, s.asked}, err
}

type unsplitStream struct {
	vstream.Stream
	asked *atomic.Int64
}

func (s unsplitStream) Split(vstream.SplitRequest) error {
	s.asked.Add(1)
	return errors.New("not now")
}

// A table that cannot be split is copied as one range.
func TestSplitRefused(t *testing.T) {
	w := newWorld(t, nil, source1)
	var asked atomic.Int64
	w.sizes, w.wrap = &tiny, func(s vstream.Source) vstream.Source { return unsplit{s, &asked} }
	w.restart()
	bothTables(w, "src/0")
	fill(w.sources["src/0"], 3000)
	w.create(w.spec("src/0", rule("item"), rule("event")))
	w.await(Running)
	require.Positive(t, asked.Load())
	w.catchUp()
	w.equal("src/0", "item", "event")
}
