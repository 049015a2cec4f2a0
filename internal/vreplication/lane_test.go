package vreplication

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/apply"
	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
	"braid/internal/writeset"
)

func (w *world) put(order apply.Order, workers int, mode writeset.Mode, rules ...filter.Rule) {
	w.t.Helper()
	_, err := w.engine.Put(w.t.Context(), Spec{Workflow: "w", Keyspace: "src", Shard: "0", Rules: filter.Rules{Rules: rules}, CommitOrder: order, Workers: workers, Parallel: mode})
	require.NoError(w.t, err)
}

// Workers commit out of order, and their number changes, while sessions are killed: what lanes say beside the base makes every restart
// exact (A1). Strict mode would stop the stream if a transaction was applied twice or left out.
func TestLanesAreExact(t *testing.T) {
	for _, order := range []apply.Order{apply.Relaxed, apply.Preserve} {
		t.Run(order.String(), func(t *testing.T) {
			w := newWorld(t, nil, source1)
			src := w.sources["src/0"]
			bothTables(w, "src/0")
			fill(src, 2000)
			rules := []filter.Rule{rule("item"), rule("event")}
			w.put(order, 4, writeset.Writeset, rules...)
			w.await(Running)
			stop := storm(t, src, 3, 3000)
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 1))
			killer := mysqldtest.Dial(t, w.target.Root())
			laned := 0
			for i := range 20 {
				time.Sleep(time.Duration(50+rng.IntN(250)) * time.Millisecond)
				switch i % 4 {
				case 0:
					w.restart()
				case 1:
					mode := writeset.Mode(rng.IntN(4))
					t.Logf("mode %s", mode)
					w.put(order, 1+rng.IntN(6), mode, rules...)
				default:
					killOne(t, killer, w.target.db, rng)
				}
				if w.target.one("SELECT COUNT(*) FROM _braid.lanes l JOIN _braid.vreplication v ON v.id=l.vrepl_id WHERE v.db_name='"+w.target.db+"' AND l.gtids<>''") != "0" {
					laned++
				}
				require.NotEqual(t, Error.String(), w.list()[0].State, "%v", w.list())
			}
			stop()
			w.await(Running)
			w.catchUp()
			w.equal("src/0", "item", "event")
			require.Positive(t, laned, "lanes were in use")
			s, ok := w.engine.Applier(w.list()[0].Id)
			require.True(t, ok)
			require.Equal(t, order, s.Order)
		})
	}
}

// killOne ends one session that writes to a database.
func killOne(t testing.TB, conn *sqlconn.Conn, db string, rng *rand.Rand) {
	t.Helper()
	res, err := conn.Query(t.Context(), "SHOW PROCESSLIST")
	require.NoError(t, err)
	var ids []string
	for _, row := range res.Rows {
		if string(row[1]) == "braid_admin" && string(row[3]) == db {
			ids = append(ids, string(row[0]))
		}
	}
	if len(ids) == 0 {
		return
	}
	if _, err := conn.Exec(t.Context(), "KILL "+ids[rng.IntN(len(ids))]); err != nil {
		require.EqualValues(t, erNoSuchThread, sqlconn.ErrCode(err))
	}
}

// A worker's session of a process that is gone may still be in the middle of its commit: the next run waits until it has ended, and
// counts what it has committed.
func TestOrphanOfALaneIsWaitedFor(t *testing.T) {
	for _, commits := range []bool{true, false} {
		t.Run(fmt.Sprintf("commits=%t", commits), func(t *testing.T) {
			w := newWorld(t, nil, source1)
			src := w.sources["src/0"]
			for _, s := range []*side{src, w.target} {
				s.exec("CREATE TABLE item (id int PRIMARY KEY, v int NOT NULL)")
			}
			w.put(apply.Preserve, 2, writeset.Writeset, rule("item"))
			w.await(Running)
			src.exec("INSERT INTO item VALUES (1,1)")
			w.catchUp()
			id := w.list()[0].Id
			w.engine.Stop()
			before := src.executed()
			src.exec("INSERT INTO item VALUES (2,2)")
			gone := gtid.MustParse(src.executed()).Subtract(gtid.MustParse(before))

			orphan := mysqldtest.Dial(t, w.target.Admin().WithDB(w.target.db))
			g := newGuard(id)
			do := func(sql string) {
				_, err := orphan.Exec(t.Context(), sql)
				require.NoError(t, err, sql)
			}
			do(lockSQL(g.lane(0)))
			do("BEGIN")
			do("INSERT INTO item VALUES (2,2)")
			do(fmt.Sprintf("INSERT INTO _braid.lanes (vrepl_id, lane, gtids) VALUES (%d,0,'%s') ON DUPLICATE KEY UPDATE gtids=CONCAT_WS(',',NULLIF(gtids,''),VALUES(gtids))", id, gone))
			began := time.Now()
			w.start()
			if commits {
				time.Sleep(lockPatience / 3) // the run waits for the lock meanwhile; it must not have read the position yet
				do("COMMIT")
				orphan.Close()
			}
			src.exec("INSERT INTO item VALUES (3,3)")
			w.await(Running)
			w.catchUp()
			w.equal("src/0", "item")
			require.Equal(t, "3", w.target.one("SELECT COUNT(*) FROM item"))
			if !commits {
				require.GreaterOrEqual(t, time.Since(began), lockPatience)
			}
		})
	}
}

// DDL of a process that is gone runs to its end, and the next run begins behind it. A session that only holds the lock is killed.
func TestOrphanOfDDLIsWaitedFor(t *testing.T) {
	w := newWorld(t, nil, source1)
	src := w.sources["src/0"]
	for _, s := range []*side{src, w.target} {
		s.exec("CREATE TABLE item (id int PRIMARY KEY, v int NOT NULL)")
	}
	w.put(apply.Preserve, 2, writeset.Writeset, rule("item"))
	w.await(Running)
	w.engine.Stop()
	orphan := mysqldtest.Dial(t, w.target.Admin().WithDB(w.target.db))
	_, err := orphan.Exec(t.Context(), lockSQL(newGuard(w.list()[0].Id).ddl()))
	require.NoError(t, err)
	ends := make(chan error, 1)
	go func() {
		_, err := orphan.Exec(t.Context(), fmt.Sprintf("DO SLEEP(%d)", int(lockPatience.Seconds())+2))
		ends <- err
	}()
	w.start()
	src.exec("INSERT INTO item VALUES (1,1)")
	require.NoError(t, <-ends, "DDL is not killed")
	w.await(Running)
	w.catchUp()
	w.equal("src/0", "item")
	_, err = orphan.Exec(t.Context(), "DO 1")
	require.ErrorIs(t, err, sqlconn.ErrLost)
}

// What somebody skips is counted as applied, whatever the lanes say beside it.
func TestSkip(t *testing.T) {
	w := newWorld(t, nil, source1)
	src := w.sources["src/0"]
	for _, s := range []*side{src, w.target} {
		s.exec("CREATE TABLE item (id int PRIMARY KEY, v int NOT NULL)")
	}
	spec := Spec{Workflow: "w", Keyspace: "src", Shard: "0", Rules: filter.Rules{Rules: []filter.Rule{rule("item")}}}
	put := func() {
		_, err := w.engine.Put(t.Context(), spec)
		require.NoError(t, err)
	}
	put()
	w.await(Running)
	src.exec("INSERT INTO item VALUES (1,1)")
	w.catchUp()
	w.target.exec("INSERT INTO item VALUES (9,9)")
	before := gtid.MustParse(src.executed())
	src.exec("INSERT INTO item VALUES (9,1)")
	spec.Skip = gtid.MustParse(src.executed()).Subtract(before)
	src.exec("INSERT INTO item VALUES (10,1)")
	w.await(Error)
	put()
	w.await(Running)
	w.catchUp()
	require.Equal(t, "1:1,9:9,10:1", w.target.one("SELECT GROUP_CONCAT(id,':',v ORDER BY id) FROM item"))
	require.Contains(t, w.list()[0].Position, strings.Split(spec.Skip.String(), ":")[0])
}

// A transaction is held back until it is old enough; what has passed is applied at once.
func TestDelay(t *testing.T) {
	w := newWorld(t, nil, source1)
	src := w.sources["src/0"]
	for _, s := range []*side{src, w.target} {
		s.exec("CREATE TABLE item (id int PRIMARY KEY, v int NOT NULL)")
	}
	const delay = 1500 * time.Millisecond
	_, err := w.engine.Put(t.Context(), Spec{Workflow: "w", Keyspace: "src", Shard: "0", Rules: filter.Rules{Rules: []filter.Rule{rule("item")}}, Delay: delay})
	require.NoError(t, err)
	w.await(Running)
	for id := 1; id <= 2; id++ {
		began := time.Now()
		src.exec(fmt.Sprintf("INSERT INTO item VALUES (%d,1)", id))
		require.Eventually(t, func() bool { return w.target.one(fmt.Sprintf("SELECT COUNT(*) FROM item WHERE id=%d", id)) == "1" }, time.Minute, 10*time.Millisecond)
		require.GreaterOrEqual(t, time.Since(began), delay-10*time.Millisecond) // the source's clock has whole milliseconds in places
	}
	w.catchUp()
	w.equal("src/0", "item")
}
