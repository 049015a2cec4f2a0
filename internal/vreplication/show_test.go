package vreplication

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tabletpb "braid/api/tablet"
	"braid/internal/filter"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/throttle"
	"braid/internal/vstream"
)

// Some session runs a statement in bytes that are no characters: the streams are shown all the same.
func TestShowWhileAStatementIsBinary(t *testing.T) {
	w := newWorld(t, nil, source1)
	src := w.sources["src/0"]
	bothTables(w, "src/0")
	fill(src, 100)
	w.create(w.spec("src/0", rule("item")))
	w.await(Running)
	src.exec("UPDATE item SET qty=3 WHERE id<10")
	w.catchUp()
	locked, waiter := mysqldtest.Dial(t, w.target.Root()), mysqldtest.Dial(t, w.target.Root())
	_, err := locked.Exec(t.Context(), "DO GET_LOCK('"+w.target.db+"', 0)")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := waiter.Exec(t.Context(), "DO GET_LOCK('"+w.target.db+"', 60), _binary'\xf0\x9f\x98\x80'")
		done <- err
	}()
	require.Eventually(t, func() bool { return len(sessionsThat(t, w.target, "User lock")) > 0 }, time.Minute, 10*time.Millisecond)
	views, err := Show(t.Context(), w.target.conn, "w")
	require.NoError(t, err)
	i := len(views) - 1 // the server may have streams of other tests
	require.NotEmpty(t, views[i].Lanes)
	require.Equal(t, "Sleep", views[i].Lanes[0].Command)
	_, err = locked.Exec(t.Context(), "DO RELEASE_LOCK('"+w.target.db+"')")
	require.NoError(t, err)
	require.NoError(t, <-done)
}

// What a worker has under way is seen from elsewhere while it waits, and gone when it is committed.
func TestShowGroups(t *testing.T) {
	w := newWorld(t, nil, source1)
	src := w.sources["src/0"]
	bothTables(w, "src/0")
	fill(src, 100)
	w.create(w.spec("src/0", rule("item")))
	id := w.await(Running)[0].Id
	other := mysqldtest.Dial(t, w.target.Root().WithDB(w.target.db))
	for _, sql := range []string{"BEGIN", "SELECT * FROM item WHERE id=5 FOR UPDATE"} {
		_, err := other.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	for range 3 {
		src.exec("UPDATE item SET qty=qty+1 WHERE id<10")
	}
	lane := func(what string, is func(l *LaneView) bool) {
		t.Helper()
		require.Eventually(t, func() bool {
			views, err := Show(t.Context(), w.target.conn, "w")
			require.NoError(t, err)
			for i := range views {
				for k := range views[i].Lanes {
					if l := &views[i].Lanes[k]; views[i].ID == id && l.Worker != nil && is(l) {
						return true
					}
				}
			}
			return false
		}, time.Minute, 20*time.Millisecond, what)
	}
	lane("a group waits for the lock", func(l *LaneView) bool { return l.Worker.Group > 0 && l.Worker.ExecutingMS > 0 && l.GroupText() != "-" })
	w.target.exec(fmt.Sprintf("CREATE TABLE stopped AS SELECT * FROM _braid.workers WHERE vrepl_id=%d", id))
	_, err := other.Exec(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	w.catchUp()
	lane("nothing is under way", func(l *LaneView) bool {
		return l.Worker.Group == 0 && l.Worker.Groups > 0 && l.Worker.Transactions > 0 && l.GroupText() == "-"
	})
	w.equal("src/0", "item")
	w.engine.Stop()
	w.target.exec("REPLACE INTO _braid.workers SELECT * FROM stopped")
	lane("what was written long ago is not now", func(l *LaneView) bool { return l.Worker.Group == 0 })
}

// sessionsThat are the sessions in a state.
func sessionsThat(t *testing.T, s *side, state string) (ids []string) {
	res, err := s.conn.Query(t.Context(), "SHOW PROCESSLIST")
	require.NoError(t, err)
	for _, c := range res.Rows {
		if string(c[6]) == state {
			ids = append(ids, string(c[0]))
		}
	}
	return ids
}

// Rows and bytes are told for each table, and what is told is what was committed: a copy that dies in the middle of ranges counts nothing twice.
func TestProgressOfTables(t *testing.T) {
	w := newWorld(t, nil, source1)
	var pressure, asked atomic.Int64
	w.sizes, w.probes = &tiny, func(string, string, throttle.Limits) []throttle.Probe { return []throttle.Probe{gauge{&pressure}} }
	w.wrap = func(s vstream.Source) vstream.Source {
		return meddler{s, 20, &asked, func() error {
			pressure.Store(11)
			return errors.New("the process dies here")
		}}
	}
	w.restart()
	src := w.sources["src/0"]
	src.exec("SET SESSION cte_max_recursion_depth=100000")
	for table, key := range map[string]string{"large": "PRIMARY KEY (id)", "small": "PRIMARY KEY (id)", "keyless": "KEY (id)"} {
		for _, s := range []*side{src, w.target} {
			s.exec(fmt.Sprintf("CREATE TABLE %s (id int NOT NULL, v varchar(200), %s)", table, key))
		}
		rows := map[string]int{"large": 4000, "small": 10, "keyless": 500}[table]
		src.exec(fmt.Sprintf("INSERT INTO %s WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) SELECT i, IF(i%%9, REPEAT('v', i%%150), NULL) FROM n", table, rows))
	}
	_, err := w.engine.Put(t.Context(), Spec{Workflow: "w", Keyspace: "src", Shard: "0",
		Rules: filter.Rules{Rules: []filter.Rule{rule("large"), rule("small")}}})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		p := w.engine.CopyProgress(w.list()[0].Id)
		return p != nil && p.Paused != "" && pressure.Load() > 10
	}, time.Minute, 10*time.Millisecond)
	shown := func() *View {
		views, err := Show(t.Context(), w.target.conn, "w")
		require.NoError(t, err)
		require.NoError(t, Rates(t.Context(), w.target.conn, views, 20*time.Millisecond))
		for i := range views {
			if views[i].ID == w.list()[0].Id {
				return &views[i]
			}
		}
		return nil
	}
	require.NotNil(t, shown().Rate, "it copies")
	require.NotNil(t, w.list()[0].Copy)
	require.Contains(t, w.list()[0].Copy.Paused, "pressure")
	pressure.Store(0)
	w.await(Running)
	require.Nil(t, shown().Rate)
	require.Len(t, shown().Tables, 2)
	require.EqualValues(t, shown().Tables[0].BytesCopied, w.list()[0].Tables[0].BytesCopied)
	w.wrap = nil
	_, err = w.engine.Put(t.Context(), Spec{Workflow: "keyless", Keyspace: "src", Shard: "0", WithoutKey: SnapshotKeyless, Rules: filter.Rules{Rules: []filter.Rule{rule("keyless")}}})
	require.NoError(t, err)
	var other *tabletpb.StreamStatus
	require.Eventually(t, func() bool {
		streams, err := w.engine.List(t.Context(), "keyless")
		require.NoError(t, err)
		other = streams[0]
		return other.State == Running.String()
	}, time.Minute, 10*time.Millisecond)
	for _, table := range append(w.list()[0].Tables, other.Tables...) {
		const sum = "SELECT CONCAT(COUNT(*), ' ', SUM(LENGTH(id) + COALESCE(LENGTH(v), 0))) FROM "
		require.Equal(t, src.one(sum+table.Table), fmt.Sprint(table.RowsCopied, " ", table.BytesCopied), table.Table)
	}
}

// What was committed while somebody looked is the rate, and what is left the time.
func TestRate(t *testing.T) {
	v := View{RowsCopied: 100, RowsTotal: 1000, BytesCopied: 5000}
	v.rate([]*tableCopy{{name: "a", copied: 200, total: 900, bytes: 9000}, {name: "b", copied: 100, total: 10, bytes: 1000}}, 2*time.Second)
	require.Equal(t, &Rate{RowsPerSec: 100, BytesPerSec: 2500, ETASeconds: 7}, v.Rate)
	require.EqualValues(t, 1000, v.RowsTotal)
}
