package vreplication

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/throttle"
	"braid/internal/vstream"
)

// meddler runs something when a stream asks for its n-th window.
type meddler struct {
	vstream.Source
	n     int64
	asked *atomic.Int64
	do    func() error
}

// Keyless is the source's.
func (m meddler) Keyless(ctx context.Context, rules filter.Rules, tables []string, after gtid.Set) ([]string, error) {
	return m.Source.(keylessLister).Keyless(ctx, rules, tables, after)
}

type meddledStream struct {
	vstream.Stream
	m meddler
}

func (m meddler) Open(ctx context.Context, start vstream.Start) (vstream.Stream, error) {
	s, err := m.Source.Open(ctx, start)
	if err != nil {
		return nil, err
	}
	return meddledStream{s, m}, nil
}

func (s meddledStream) OpenWindow(r vstream.WindowRequest) error {
	if s.m.asked.Add(1) == s.m.n {
		if err := s.m.do(); err != nil {
			return err
		}
	}
	return s.Stream.OpenWindow(r)
}

// meddle makes streams that are opened from here on run do in the middle of their copy. crash ends the run right behind it.
func (w *world) meddle(n int64, crash bool, do func()) *atomic.Int64 {
	asked := new(atomic.Int64)
	w.wrap = func(s vstream.Source) vstream.Source {
		return meddler{s, n, asked, func() error {
			do()
			if crash {
				return errors.New("the process dies here")
			}
			return nil
		}}
	}
	w.sizes = &tiny
	w.restart()
	return asked
}

// The 12th window is in the middle of a table of this many rows: it is split by then, and some of its ranges have begun.
const (
	meddledRows   = 3000
	meddledWindow = 12
)

// keyChanges are statements that change what a table's key is, or how it is ordered, while it is copied.
var keyChanges = []struct{ name, columns, values, ddl, after string }{
	{"another column", "id int PRIMARY KEY, n int NOT NULL, pad varchar(200)", "i, 100000-i, REPEAT('x',150)", "DROP PRIMARY KEY, ADD PRIMARY KEY (n)", "INSERT INTO t VALUES (-1,-1,'new')"},
	{"more columns", "id int PRIMARY KEY, n int NOT NULL, pad varchar(200)", "i, i%7, REPEAT('x',150)", "DROP PRIMARY KEY, ADD PRIMARY KEY (n, id)", "DELETE FROM t WHERE id=5"},
	{"fewer columns", "n int, id int, pad varchar(200), PRIMARY KEY (n, id)", "i%7, i, REPEAT('x',150)", "DROP PRIMARY KEY, ADD PRIMARY KEY (id)", "UPDATE t SET n=9 WHERE id>2990"},
	{"another order of columns", "n int, id int, pad varchar(200), PRIMARY KEY (n, id)", "i%7, i, REPEAT('x',150)", "DROP PRIMARY KEY, ADD PRIMARY KEY (id, n)", "UPDATE t SET n=9 WHERE id<10"},
	{"descending", "id int, pad varchar(200), PRIMARY KEY (id)", "i, REPEAT('x',150)", "DROP PRIMARY KEY, ADD PRIMARY KEY (id DESC)", "INSERT INTO t VALUES (-1,'new')"},
	{"number to text", "id int, pad varchar(200), PRIMARY KEY (id)", "i*7, REPEAT('x',150)", "MODIFY id varchar(20) NOT NULL", "INSERT INTO t VALUES ('abc','new')"},
	{"text to number", "id varchar(20), pad varchar(200), PRIMARY KEY (id)", "i*7, REPEAT('x',150)", "MODIFY id bigint NOT NULL", "INSERT INTO t VALUES (99999,'new')"},
	{"collation", "id varchar(20) COLLATE utf8mb4_bin, pad varchar(200), PRIMARY KEY (id)", "CONCAT(CHAR(IF(i%2,65,97)+i%26 USING utf8mb4), i), REPEAT('x',150)", "MODIFY id varchar(20) COLLATE utf8mb4_0900_ai_ci NOT NULL", "INSERT INTO t VALUES ('ZZ','new')"},
	{"enum", "e enum('a','b','c') NOT NULL, id int, pad varchar(200), PRIMARY KEY (e, id)", "1+i%3, i, REPEAT('x',150)", "MODIFY e enum('c','z','b','a') NOT NULL", "INSERT INTO t VALUES ('z',1,'new')"},
	{"another type", "id varchar(20), d date NOT NULL, pad varchar(200), PRIMARY KEY (id)", "CONCAT('k',i), DATE_ADD('2000-01-01', INTERVAL i DAY), REPEAT('x',150)", "DROP PRIMARY KEY, ADD PRIMARY KEY (d)", "INSERT INTO t VALUES ('new','1999-01-01','new')"},
	{"another name", "id int, pad varchar(200), PRIMARY KEY (id)", "i, REPEAT('x',150)", "RENAME COLUMN id TO ident", "INSERT INTO t VALUES (-1,'new')"},
	{"another place", "id int, pad varchar(200), PRIMARY KEY (id)", "i, REPEAT('x',150)", "ADD COLUMN first int DEFAULT 3 FIRST", "INSERT INTO t VALUES (4,-1,'new')"},
	{"unique to primary", "id int NOT NULL, n int NOT NULL, pad varchar(200), UNIQUE KEY u (n)", "i, 100000-i, REPEAT('x',150)", "ADD PRIMARY KEY (id)", "INSERT INTO t VALUES (-1,-1,'new')"},
	{"wider", "id int, pad varchar(200), PRIMARY KEY (id)", "i, REPEAT('x',150)", "MODIFY id bigint NOT NULL", "INSERT INTO t VALUES (10000000000,'new')"},
}

// A key that changes while its table is copied: the copy of the table begins again where what was copied says nothing any more, and both sides are equal.
func TestKeyChangesDuringTheCopy(t *testing.T) {
	for i, c := range keyChanges {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil, source1)
			w.remote = i%2 == 1
			src := w.sources["src/0"]
			for _, s := range []*side{src, w.target} {
				s.exec("SET SESSION cte_max_recursion_depth=1000000", "CREATE TABLE t ("+c.columns+") CHARACTER SET utf8mb4")
			}
			src.exec(fmt.Sprintf("INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) SELECT %s FROM n", meddledRows, c.values), "ANALYZE TABLE t")
			asked := w.meddle(meddledWindow, i%3 == 0, func() { src.exec("ALTER TABLE t "+c.ddl, c.after) })
			w.follow(DDLExec, rule("t"))
			w.await(Running)
			require.Greater(t, asked.Load(), int64(meddledWindow))
			w.catchUp()
			w.equal("src/0", "t")
		})
	}
}

// follow makes the stream with a policy for DDL.
func (w *world) follow(policy DDLPolicy, rules ...filter.Rule) {
	w.t.Helper()
	_, err := w.engine.Put(w.t.Context(), Spec{Workflow: "w", Keyspace: "src", Shard: "0", Rules: filter.Rules{Rules: rules}, OnDDL: policy})
	require.NoError(w.t, err)
}

// A table whose name has gone to one without a key, in the middle of its copy: chunks wait for the DDL that says so, and then both are copied under their new
// names.
func TestNameOfATableWithoutKeyDuringTheCopy(t *testing.T) {
	w := newWorld(t, nil, source1)
	src := w.sources["src/0"]
	for _, s := range []*side{src, w.target} {
		s.exec("SET SESSION cte_max_recursion_depth=1000000", "CREATE TABLE t (id int PRIMARY KEY, pad varchar(200))", "CREATE TABLE twins (a int, b int)")
	}
	src.exec(fmt.Sprintf("INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) SELECT i, REPEAT('x',150) FROM n", meddledRows), "ANALYZE TABLE t",
		"INSERT INTO twins VALUES (1,1), (1,1), (2,NULL)")
	asked := w.meddle(meddledWindow, false, func() {
		src.exec("RENAME TABLE t TO aside, twins TO t, aside TO twins", "INSERT INTO t VALUES (1,1)", "DELETE FROM t WHERE a=2", "UPDATE twins SET pad='new' WHERE id>100")
	})
	_, err := w.engine.Put(t.Context(), Spec{Workflow: "w", Keyspace: "src", Shard: "0", Rules: filter.Rules{Rules: []filter.Rule{rule("/.*")}}, OnDDL: DDLExec, WithoutKey: SnapshotKeyless})
	require.NoError(t, err)
	w.await(Running)
	require.Greater(t, asked.Load(), int64(meddledWindow))
	w.catchUp()
	w.equal("src/0", "t", "twins")
}

// eachWay runs a test with streams of this process, and with those of another tablet.
func eachWay(t *testing.T, test func(t *testing.T, w *world)) {
	for name, remote := range map[string]bool{"local": false, "remote": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil, source1)
			w.remote = remote
			test(t, w)
		})
	}
}

// Tables that go while the policy of move and reshard is in force, which leaves the target's as they are: the copy ends without them.
func TestTablesGoWhereDDLIsIgnored(t *testing.T) {
	for name, ddl := range map[string]string{"drop": "DROP TABLE b", "rename": "RENAME TABLE b TO other.b", "comment": "/* app */ ALTER TABLE b RENAME TO other.b"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachWay(t, func(t *testing.T, w *world) {
				src := w.sources["src/0"]
				other := src.db + "_other"
				src.exec("CREATE DATABASE " + other)
				for _, s := range []*side{src, w.target} {
					s.exec("CREATE TABLE a (id int PRIMARY KEY, n int)", "CREATE TABLE b (id int PRIMARY KEY, n int)", "CREATE TABLE c (id int PRIMARY KEY, n int)")
				}
				src.exec("INSERT INTO a VALUES (1,1)", "INSERT INTO b VALUES (1,1)", "INSERT INTO c VALUES (1,1)")
				w.meddle(2, false, func() { src.exec(strings.Replace(ddl, "other", other, 1)) })
				w.follow(DDLIgnore, rule("/.*"))
				w.await(Running)
				w.catchUp()
				w.equal("src/0", "a", "c")
				require.Equal(t, "2", w.target.one("SELECT COUNT(*) FROM _braid.copy_state WHERE vrepl_id="+strconv.FormatInt(w.list()[0].Id, 10)))
			})
		})
	}
}

// The same behind the statement: it has passed when the table's turn comes.
func TestTableDroppedBeforeItsTurn(t *testing.T) {
	eachWay(t, func(t *testing.T, w *world) {
		var pressure atomic.Int64
		pressure.Store(100)
		w.probes = func(string, string, throttle.Limits) []throttle.Probe { return []throttle.Probe{gauge{&pressure}} }
		w.restart()
		src := w.sources["src/0"]
		for _, s := range []*side{src, w.target} {
			s.exec("CREATE TABLE a (id int PRIMARY KEY, n int)", "CREATE TABLE b (id int PRIMARY KEY, n int)")
		}
		src.exec("INSERT INTO a VALUES (1,1)", "INSERT INTO b VALUES (1,1)")
		w.follow(DDLIgnore, rule("/.*"))
		w.await(Copying)
		src.exec("DROP TABLE b")
		w.catchUp()
		pressure.Store(0)
		w.await(Running)
		w.equal("src/0", "a")
	})
}

// A table whose name another one gets while it is copied and DDL is ignored, as tools for online changes do it: the copy begins again with the other one.
func TestTableIsExchangedWhereDDLIsIgnored(t *testing.T) {
	eachWay(t, func(t *testing.T, w *world) {
		src := w.sources["src/0"]
		for _, s := range []*side{src, w.target} {
			s.exec("SET SESSION cte_max_recursion_depth=1000000", "CREATE TABLE t (id int PRIMARY KEY, pad varchar(200))")
		}
		src.exec("CREATE TABLE ghost (id int PRIMARY KEY, pad varchar(200), KEY (pad))")
		for _, table := range []string{"t", "ghost"} {
			src.exec(fmt.Sprintf("INSERT INTO %s WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) SELECT i, REPEAT('x',150) FROM n", table, meddledRows), "ANALYZE TABLE "+table)
		}
		src.exec("UPDATE ghost SET pad='new' WHERE id<100")
		asked := w.meddle(meddledWindow, false, func() { src.exec("RENAME TABLE t TO away, ghost TO t", "DELETE FROM t WHERE id=7") })
		w.follow(DDLIgnore, rule("t"))
		w.await(Running)
		require.Greater(t, asked.Load(), int64(meddledWindow))
		w.catchUp()
		w.equal("src/0", "t")
	})
}

// A key that goes while its table is copied, and DDL is ignored: the stream says that the table cannot be copied.
func TestKeyGoesWhereDDLIsIgnored(t *testing.T) {
	eachWay(t, func(t *testing.T, w *world) {
		src := w.sources["src/0"]
		for _, s := range []*side{src, w.target} {
			s.exec("SET SESSION cte_max_recursion_depth=1000000", "CREATE TABLE t (id int PRIMARY KEY, pad varchar(200))")
		}
		src.exec(fmt.Sprintf("INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) SELECT i, REPEAT('x',150) FROM n", meddledRows), "ANALYZE TABLE t")
		w.meddle(meddledWindow, false, func() { src.exec("ALTER TABLE t DROP PRIMARY KEY") })
		w.follow(DDLIgnore, rule("t"))
		w.await(Error)
		require.Contains(t, w.list()[0].Message, "has no primary key")
	})
}

// Statements that remove rows are no less than DELETE, whatever the policy for DDL.
func TestRowsRemovedByDDLWhereItIsIgnored(t *testing.T) {
	w := newWorld(t, nil, source1)
	src := w.sources["src/0"]
	for _, s := range []*side{src, w.target} {
		s.exec("CREATE TABLE a (id int PRIMARY KEY, n int)", "CREATE TABLE p (id int PRIMARY KEY, n int) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20), PARTITION p2 VALUES LESS THAN (30))")
	}
	src.exec("INSERT INTO a (id) VALUES (1),(2),(3)", "INSERT INTO p (id) VALUES (1),(2),(11),(12),(21)")
	w.create(w.spec("src/0", rule("/.*")))
	w.await(Running)
	src.exec("TRUNCATE TABLE a", "INSERT INTO a VALUES (7,1)", "ALTER TABLE p TRUNCATE PARTITION p0", "INSERT INTO p VALUES (3,1)", "ALTER TABLE p DROP PARTITION p1", "INSERT INTO p VALUES (13,1)",
		"CREATE TABLE made_later (id int PRIMARY KEY, n int)", "TRUNCATE TABLE made_later")
	w.catchUp()
	w.equal("src/0", "a", "p")
	src.exec("CREATE TABLE x (id int PRIMARY KEY, n int)", "ALTER TABLE p EXCHANGE PARTITION p2 WITH TABLE x")
	w.await(Error)
	require.Contains(t, w.list()[0].Message, "EXCHANGE PARTITION")
}
