package vreplication

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tabletpb "braid/api/tablet"
	"braid/internal/filter"
	"braid/internal/keyrange"
	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
	"braid/internal/vindex"
)

const customerTable = "CREATE TABLE customer (id bigint PRIMARY KEY, owner bigint NOT NULL, n int NOT NULL, note varchar(40))"

var mergeRule = filter.Rule{Table: "customer", Vindex: "hash", VindexColumns: []string{"owner"}}

// shards is a sharded keyspace as a gate writes to it: a row that moves is inserted on its new shard before it is deleted on its old
// one, and the second commit tells what it depends on.
type shards struct {
	t     testing.TB
	sides [2]*side
	hash  vindex.Vindex
	low   keyrange.Range
}

func newShards(t testing.TB, w *world) *shards {
	s := &shards{t: t, sides: [2]*side{w.sources["src/-80"], w.sources["src/80-"]}}
	var err error
	s.hash, err = vindex.New("hash", nil)
	require.NoError(t, err)
	s.low, err = keyrange.Parse("-80")
	require.NoError(t, err)
	for _, side := range s.sides {
		require.NoError(t, InitSidecar(t.Context(), side.conn))
		side.exec(customerTable)
	}
	w.target.exec(customerTable)
	return s
}

// of is the shard that an owner's rows are on.
func (s *shards) of(owner int64) int {
	id, err := s.hash.Map([][]byte{strconv.AppendInt(nil, owner, 10)})
	require.NoError(s.t, err)
	if s.low.Contains(id) {
		return 0
	}
	return 1
}

// mover writes rows whose id is its own modulo the number of movers, so it knows their state.
type mover struct {
	s      *shards
	conns  [2]*sqlconn.Conn
	rng    *rand.Rand
	owners map[int64]int64
	moves  int
}

func (s *shards) mover(seed uint64) *mover {
	m := &mover{s: s, rng: rand.New(rand.NewPCG(seed, 3)), owners: map[int64]int64{}}
	for i, side := range s.sides {
		m.conns[i] = mysqldtest.Dial(s.t, side.Root().WithDB(side.db))
		_, err := m.conns[i].Exec(s.t.Context(), "SET SESSION session_track_gtids=OWN_GTID")
		require.NoError(s.t, err)
	}
	return m
}

func (m *mover) exec(ctx context.Context, shard int, sql string) string {
	res, err := m.conns[shard].Exec(ctx, sql)
	require.NoError(m.s.t, err, sql)
	return res.GTID
}

func (m *mover) step(ctx context.Context, id int64) {
	owner, there := m.owners[id]
	next := m.rng.Int64N(1000)
	from, to := m.s.of(owner), m.s.of(next)
	switch {
	case !there:
		m.exec(ctx, to, fmt.Sprintf("INSERT INTO customer VALUES (%d,%d,0,'new')", id, next))
		m.owners[id] = next
	case m.rng.IntN(8) == 0:
		m.exec(ctx, from, fmt.Sprintf("DELETE FROM customer WHERE id=%d", id))
		delete(m.owners, id)
	case m.rng.IntN(2) == 0:
		m.exec(ctx, from, fmt.Sprintf("UPDATE customer SET n=n+1, note='on %d' WHERE id=%d", from, id))
	case from == to:
		m.exec(ctx, from, fmt.Sprintf("UPDATE customer SET owner=%d WHERE id=%d", next, id))
		m.owners[id] = next
	default:
		gtid := m.exec(ctx, to, fmt.Sprintf("INSERT INTO customer VALUES (%d,%d,%d,'moved')", id, next, m.rng.IntN(1000)))
		require.NotEmpty(m.s.t, gtid)
		m.exec(ctx, from, "BEGIN")
		m.exec(ctx, from, "INSERT INTO _braid.dependency (gtid) VALUES ("+sqlconn.Quote(gtid)+")")
		m.exec(ctx, from, "DELETE FROM _braid.dependency WHERE id=LAST_INSERT_ID()")
		m.exec(ctx, from, fmt.Sprintf("DELETE FROM customer WHERE id=%d", id))
		m.exec(ctx, from, "COMMIT")
		m.owners[id] = next
		m.moves++
	}
}

// run moves rows at random until stopped. Each statement is finished, so that no row is left on two shards.
func (s *shards) run(movers int, rows int64) (stop func() int) {
	ended := make(chan struct{})
	var wg sync.WaitGroup
	all := make([]*mover, movers)
	for i := range movers {
		m := s.mover(uint64(i))
		all[i] = m
		for id := int64(i); id < rows; id += int64(movers) { // rows to copy
			m.step(s.t.Context(), id)
		}
		wg.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
					m.step(context.Background(), m.rng.Int64N(rows/int64(movers))*int64(movers)+int64(i))
				}
			}
		})
	}
	once := sync.OnceValue(func() int {
		close(ended)
		wg.Wait()
		moves := 0
		for _, m := range all {
			moves += m.moves
		}
		return moves
	})
	s.t.Cleanup(func() { once() })
	return once
}

func (s *shards) union() []string {
	rows := [][][]byte{}
	for _, side := range s.sides {
		res, err := side.conn.Query(s.t.Context(), "SELECT * FROM customer")
		require.NoError(s.t, err)
		rows = append(rows, res.Rows...)
	}
	slices.SortFunc(rows, func(a, b [][]byte) int {
		x, _ := strconv.Atoi(string(a[0]))
		y, _ := strconv.Atoi(string(b[0]))
		return cmp.Compare(x, y)
	})
	var out []string
	for _, row := range rows {
		out = append(out, fmt.Sprintf("%q", row))
	}
	return out
}

func mergeWorld(t testing.TB) (*world, *shards) {
	other := mysqldtest.New(t, mysqldtest.Options{})
	w := newWorld(t, nil, map[string]*mysqld.Server{"src/-80": nil, "src/80-": other})
	return w, newShards(t, w)
}

func (w *world) mergeSpecs() []*tabletpb.StreamSpec {
	return []*tabletpb.StreamSpec{w.spec("src/-80", mergeRule), w.spec("src/80-", mergeRule)}
}

// Rows move between two sources while both are copied and after: the target ends as the union, and no diff sees a false
// difference.
func TestMergeWithMovingRows(t *testing.T) {
	for round := range 3 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			w, s := mergeWorld(t)
			stop := s.run(3, 300)
			began := time.Now()
			w.create(w.mergeSpecs()...)
			w.await(Running)
			t.Log("running after", time.Since(began))
			time.Sleep(300 * time.Millisecond)
			requireClean(t, w.diff(w.target.db+"-merge"))
			t.Log("compared after", time.Since(began))
			for range 3 {
				w.restart()
				time.Sleep(100 * time.Millisecond)
			}
			require.Greater(t, stop(), 50, "rows moved")
			w.catchUp()
			t.Log("caught up after", time.Since(began))
			want, got := s.union(), strings.Split(strings.TrimSpace(w.target.contents("customer")), "\n")
			require.Empty(t, slices.DeleteFunc(slices.Clone(want), func(r string) bool { return slices.Contains(got, r) }), "missing on the target")
			require.Empty(t, slices.DeleteFunc(got, func(r string) bool { return slices.Contains(want, r) }), "extra on the target")
			require.Equal(t, "0", w.target.one("SELECT COUNT(*) FROM _braid.contested c JOIN _braid.vreplication v ON v.id=c.vrepl_id WHERE v.db_name="+sqlconn.Quote(w.target.db)))
		})
	}
}

// Differences in a merge: planted ones are found, each once.
func TestDiffOfMerge(t *testing.T) {
	w, s := mergeWorld(t)
	stop := s.run(2, 200)
	w.create(w.mergeSpecs()...)
	w.await(Running)
	stop()
	w.catchUp()
	w.target.exec("INSERT INTO customer VALUES (5000,1,0,'extra'),(5001,3,0,'extra')", "DELETE FROM customer WHERE id=(SELECT * FROM (SELECT MIN(id) FROM customer) x)",
		"UPDATE customer SET note='wrong' WHERE id=(SELECT * FROM (SELECT MAX(id) FROM customer WHERE id<5000) x)")
	d := w.diff(w.target.db + "-merge")
	require.Equal(t, "completed", d.State, d.Error)
	var sum [3]int64
	for _, table := range d.Tables {
		sum[0] += table.Mismatched
		sum[1] += table.ExtraSource
		sum[2] += table.ExtraTarget
	}
	require.Equal(t, [3]int64{1, 1, 2}, sum, "%v", d.Tables)
}

// A transaction that depends on a commit that the sibling has not applied waits, says so, and goes on when it may.
func TestDependsWaits(t *testing.T) {
	w, s := mergeWorld(t)
	w.create(w.mergeSpecs()...)
	ids := map[string]int64{}
	for _, st := range w.await(Running) {
		ids[st.Spec.SourceShard] = st.Id
	}
	var low, high int64
	for low = 1; s.of(low) != 0; low++ {
	}
	for high = 1; s.of(high) != 1; high++ {
	}
	m := s.mover(1)
	ctx := t.Context()
	m.exec(ctx, 0, fmt.Sprintf("INSERT INTO customer VALUES (1,%d,0,'first')", low))
	w.catchUp()
	_, err := w.engine.Update(ctx, &tabletpb.UpdateStreamsRequest{Workflow: "w", Ids: []int64{ids["80-"]}, State: "Stopped"})
	require.NoError(t, err)
	gtid := m.exec(ctx, 1, fmt.Sprintf("INSERT INTO customer VALUES (1,%d,7,'moved')", high))
	for _, sql := range []string{"BEGIN", "INSERT INTO _braid.dependency (gtid) VALUES (" + sqlconn.Quote(gtid) + ")", "DELETE FROM _braid.dependency WHERE id=LAST_INSERT_ID()",
		"DELETE FROM customer WHERE id=1", "COMMIT"} {
		m.exec(ctx, 0, sql)
	}
	message := func() string {
		return w.target.one(fmt.Sprintf("SELECT IFNULL(message,'') FROM _braid.vreplication WHERE id=%d", ids["-80"]))
	}
	require.Eventually(t, func() bool { return message() != "" }, 10*time.Second, 20*time.Millisecond)
	require.Contains(t, message(), "waits for "+gtid)
	require.Contains(t, message(), "which does not run")
	require.Equal(t, "first", w.target.one("SELECT note FROM customer WHERE id=1"))
	_, err = w.engine.Update(ctx, &tabletpb.UpdateStreamsRequest{Workflow: "w", Ids: []int64{ids["80-"]}, State: "Running"})
	require.NoError(t, err)
	w.catchUp()
	require.Equal(t, "moved", w.target.one("SELECT note FROM customer WHERE id=1"))
	require.Eventually(t, func() bool { return message() == "" }, 10*time.Second, 20*time.Millisecond)
}

func TestMergeNeedsVindex(t *testing.T) {
	w, _ := mergeWorld(t)
	w.sources["src/-80"].exec("INSERT INTO customer VALUES (1,1,1,'')")
	w.create(w.spec("src/-80", rule("customer")), w.spec("src/80-", rule("customer")))
	s := w.await(Error)[0]
	require.Contains(t, s.Message, "names no vindex")
}
