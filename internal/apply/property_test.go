package apply

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/gtid"
	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/vstream"
	"braid/internal/writeset"
)

// simWorld is a source: transactions over few keys, in their order, and the state after each.
type simWorld struct {
	mu     sync.Mutex // of the target
	txs    []*vstream.Transaction
	skips  []gtid.Set          // by transaction: what passes before it without rows for us
	states []map[string]string // after so many transactions
	rows   []map[string]rowimage.Row
	place  map[string]int // of a GTID, from 1
	prefix bool           // every commit must be a prefix (A2)
	copied bool           // rows come by chunks, too
}

const (
	simKeys    = 12
	simValues  = 6
	simServer2 = "22222222-2222-3333-4444-555555555555"
)

func simDef(withUnique bool) *schema.Table {
	column := func(name string, nullable bool) schema.Column {
		return schema.Column{Name: name, DataType: "bigint", ColumnType: "bigint", Nullable: nullable}
	}
	d := &schema.Table{DB: "d", Name: "t", Engine: "InnoDB", Columns: []schema.Column{column("id", false), column("u", true), column("v", false)}, PrimaryKey: []int{0}}
	d.Indexes = []schema.Index{{Name: "PRIMARY", Unique: true, Parts: []schema.IndexPart{{Column: 0}}}}
	if withUnique {
		d.UniqueKeys = [][]int{{1}}
		d.Indexes = append(d.Indexes, schema.Index{Name: "u", Unique: true, Parts: []schema.IndexPart{{Column: 1}}})
	}
	return d
}

// newSimWorld makes a history of n transactions.
func newSimWorld(rng *rand.Rand, n int) *simWorld {
	w := &simWorld{states: []map[string]string{{}}, rows: []map[string]rowimage.Row{{}}, place: map[string]int{}}
	rows := map[string]rowimage.Row{}
	number := map[string]int64{server: 1, simServer2: 1}
	touched := make([]map[string]bool, 0, n)
	for len(w.txs) < n {
		tx := &vstream.Transaction{Last: true}
		mine := map[string]bool{}
		for range 1 + rng.IntN(4) {
			if c, ok := simChange(rng, rows); ok {
				tx.Changes = append(tx.Changes, c)
				for _, row := range []rowimage.Row{c.Before, c.After} {
					if row != nil {
						mine["id "+string(row[0])] = true
						if row[1] != nil {
							mine["u "+string(row[1])] = true
						}
					}
				}
			}
		}
		if len(tx.Changes) == 0 {
			continue
		}
		from := server
		if rng.IntN(5) == 0 {
			from = simServer2
		}
		var skip gtid.Set
		if rng.IntN(3) == 0 { // transactions of others
			last := number[from] + int64(rng.IntN(3))
			skip = gtid.MustParse(fmt.Sprintf("%s:%d-%d", from, number[from], last))
			number[from] = last + 1
		}
		tx.GTID = fmt.Sprintf("%s:%d", from, number[from])
		number[from]++
		seq := int64(len(w.txs) + 1)
		tx.CommitUS = seq
		lc := int64(0)
		for i, other := range touched {
			for key := range mine {
				if other[key] {
					lc = int64(i + 1)
				}
			}
		}
		tx.Clock = writeset.Clock{File: 1, Sequence: seq, LastCommitted: lc + rng.Int64N(seq-lc)}
		touched = append(touched, mine)
		w.txs, w.skips = append(w.txs, tx), append(w.skips, skip)
		w.place[tx.GTID] = len(w.txs)
		w.rows = append(w.rows, maps.Clone(rows))
		w.states = append(w.states, textOf(rows))
	}
	if rng.IntN(2) == 0 { // a source that has itself committed in another order: numbers do not ascend
		for i := 0; i+1 < len(w.txs); i += 2 {
			a, b := w.txs[i], w.txs[i+1]
			if strings.HasPrefix(a.GTID, server) && strings.HasPrefix(b.GTID, server) && w.skips[i].Empty() && w.skips[i+1].Empty() {
				a.GTID, b.GTID = b.GTID, a.GTID
				w.place[a.GTID], w.place[b.GTID] = i+1, i+2
			}
		}
	}
	return w
}

// simChange changes a row as the source may: no key is there twice.
func simChange(rng *rand.Rand, rows map[string]rowimage.Row) (vstream.Change, bool) {
	id := strconv.Itoa(rng.IntN(simKeys))
	used := map[string]bool{}
	for _, row := range rows {
		if row[1] != nil {
			used[string(row[1])] = true
		}
	}
	value := func() []byte {
		for range 3 {
			if v := strconv.Itoa(rng.IntN(simValues)); !used[v] {
				return []byte(v)
			}
		}
		return nil
	}
	v := []byte(strconv.Itoa(rng.IntN(1000000)))
	have := rows[id]
	switch {
	case have == nil:
		row := rowimage.Row{[]byte(id), value(), v}
		rows[id] = row
		return vstream.Change{TableID: 1, Op: vstream.Insert, After: row}, true
	case rng.IntN(3) == 0:
		delete(rows, id)
		return vstream.Change{TableID: 1, Op: vstream.Delete, Before: have}, true
	default:
		row := rowimage.Row{[]byte(id), have[1], v}
		if rng.IntN(2) == 0 {
			row[1] = value()
		}
		if rng.IntN(4) == 0 { // the key moves
			to := strconv.Itoa(rng.IntN(simKeys))
			if rows[to] == nil {
				row[0] = []byte(to)
				delete(rows, id)
			}
		}
		rows[string(row[0])] = row
		return vstream.Change{TableID: 1, Op: vstream.Update, Before: have, After: row}, true
	}
}

// committed checks what a reader sees after a commit. Under the lock.
func (w *simWorld) committed(t *simTarget, gtids []string) {
	if !w.prefix || w.copied {
		return
	}
	n := len(t.applied)
	for g := range t.applied {
		if w.place[g] > n {
			t.complain("A2: %d transactions are committed, and number %d is one of them", n, w.place[g])
			return
		}
	}
	if seen := t.committedRows(); !maps.Equal(seen, w.states[n]) {
		t.complain("A2: after %d transactions the rows are %v, the source had %v", n, seen, w.states[n])
	}
}

// simRun is what a property run varies.
type simRun struct {
	mode   writeset.Mode
	order  Order
	check  Order // what is checked
	copies bool
	faults simFaults
	blind  bool // the tracker does not know of the unique key
	quiet  bool // nothing fails
	seen   *Status
}

// drive applies a random history until the target has all of it, restarting whenever the applier fails. It returns what is wrong.
func (r simRun) drive(t *testing.T, seed uint64, n int) (wrong []string) {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := newSimWorld(rng, n)
	w.prefix, w.copied = r.check == Preserve, r.copies
	mode := Strict
	if r.copies {
		mode = Upsert
	}
	target := newSimTarget(w, rand.New(rand.NewPCG(seed, 2)), mode)
	target.faults = r.faults
	if !r.quiet {
		target.trouble = []float64{0, 0.01, 0.1}[rng.IntN(3)]
		target.most = []int{0, 0, 2, 1}[rng.IntN(4)]
		target.gaps = []float64{0, 0.4, 0.8}[rng.IntN(3)]
	}
	deadline := time.Now().Add(4 * time.Hour) // of the bubble's clock
	for round := 0; ; round++ {
		crash := time.Duration(1+rng.IntN(400)) * time.Millisecond
		if r.quiet || round > 40 || rng.IntN(3) == 0 {
			crash = time.Hour
			if round > 60 {
				target.trouble = 0
			}
		}
		err := r.feed(t, w, target, rng, crash)
		target.kill()
		if len(target.broken) > 0 {
			return target.broken
		}
		if err == nil {
			break
		}
		if Permanent(err) || strings.HasPrefix(err.Error(), "A4") {
			return []string{"stopped: " + err.Error()}
		}
		if time.Now().After(deadline) || round > 200 {
			return []string{fmt.Sprintf("no end: %v; position %s", err, target.position())}
		}
	}
	return r.compare(w, target)
}

func (r simRun) compare(w *simWorld, target *simTarget) (wrong []string) {
	all := w.end()
	if !target.position().Equal(all) {
		wrong = append(wrong, fmt.Sprintf("position %s, the source has %s", target.position(), all))
	}
	for _, tx := range w.txs {
		if target.applied[tx.GTID] != 1 {
			wrong = append(wrong, fmt.Sprintf("A1: %s is committed %d times", tx.GTID, target.applied[tx.GTID]))
		}
	}
	if got, want := textOf(target.rows), w.states[len(w.txs)]; !maps.Equal(got, want) {
		wrong = append(wrong, fmt.Sprintf("the rows are %v, the source has %v", got, want))
	}
	return wrong
}

func (w *simWorld) end() gtid.Set {
	var all gtid.Set
	for i, tx := range w.txs {
		all = all.Union(w.skips[i])
		_ = all.Add(tx.GTID)
	}
	return all
}

// feed is one run of a stream: what the position lacks, from the source, in order.
func (r simRun) feed(t *testing.T, w *simWorld, target *simTarget, rng *rand.Rand, crash time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(t.Context(), crash, errSimStop)
	defer cancel()
	at := target.position()
	target.base = at // as a stream does when it begins
	clear(target.lanes)
	a := target.applier(Config{
		Workers: 1 + rng.IntN(5), Mode: r.mode, Order: r.order, Linger: time.Duration(rng.IntN(3)) * 20 * time.Millisecond, GroupTransactions: 1 + rng.IntN(8), QueueBytes: 1000 + rng.IntN(20000),
		Committed: func(p Progress) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if have := target.position(); !have.Contains(p.Saved) && !target.faults.any() {
				target.complain("%s is said to be saved, the target has %s", p.Saved, have)
			}
			if !p.Applied.Contains(p.Saved) {
				target.complain("saved %s is more than applied %s", p.Saved, p.Applied)
			}
		},
	}, at)
	defer func() {
		a.Close()
		if s := a.Status(); r.seen != nil {
			r.seen.Victims += s.Victims
			r.seen.Repeats += s.Repeats
			r.seen.Groups += s.Groups
			r.seen.Splits += s.Splits
			r.seen.Transactions += s.Transactions
			r.seen.LWM++
		}
	}()
	def := simDef(!r.blind)
	table, err := NewTable(def, def, nil)
	require.NoError(t, err)
	table.Mode = target.mode
	a.SetTable(1, table)
	chunks := r.chunks(w, target, rng, at)
	for i, tx := range w.txs {
		for _, c := range chunks[i] {
			if err := a.Chunk(ctx, c); err != nil {
				return err
			}
		}
		if at.ContainsGTID(tx.GTID) {
			continue
		}
		if rng.IntN(10) == 0 {
			time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
		}
		if !w.skips[i].Empty() {
			a.Skip(w.skips[i])
		}
		for _, part := range fragments(rng, tx) {
			if err := a.Add(ctx, part); err != nil {
				return err
			}
			if held := a.Status().QueueBytes; held > a.cfg.QueueBytes && held > size(part) {
				return fmt.Errorf("A4: %d bytes are held, %d are allowed", held, a.cfg.QueueBytes)
			}
		}
		if err := r.meddle(ctx, a, rng); err != nil {
			return err
		}
	}
	for _, c := range chunks[len(w.txs)] {
		if err := a.Chunk(ctx, c); err != nil {
			return err
		}
	}
	for i := range w.txs { // also of those that were left out
		a.Skip(w.skips[i])
	}
	return a.Drain(ctx)
}

// meddle does now and then what the owner of a stream may do between transactions.
func (r simRun) meddle(ctx context.Context, a *Applier, rng *rand.Rand) error {
	switch rng.IntN(60) {
	case 0:
		return a.Drain(ctx)
	case 1:
		return a.Save(ctx)
	case 2:
		return a.SetWorkers(ctx, 1+rng.IntN(5))
	case 3:
		if r.order == Relaxed && r.check == Relaxed { // to and fro, on a complete prefix
			return a.SetOrder(ctx, Order(rng.IntN(2)))
		}
	}
	return nil
}

// fragments cuts a transaction in parts, sometimes.
func fragments(rng *rand.Rand, tx *vstream.Transaction) []*vstream.Transaction {
	if rng.IntN(12) > 0 {
		return []*vstream.Transaction{tx}
	}
	var parts []*vstream.Transaction
	for i := range tx.Changes {
		part := *tx
		part.Changes, part.Last = tx.Changes[i:i+1], false
		parts = append(parts, &part)
	}
	if rng.IntN(2) == 0 {
		end := *tx
		end.Changes, end.Last = nil, true
		return append(parts, &end)
	}
	parts[len(parts)-1].Last = true
	return parts
}

const simChunks = 4

// chunks are the chunks that are not committed yet, at random places of the stream, with what the source has there.
func (r simRun) chunks(w *simWorld, target *simTarget, rng *rand.Rand, at gtid.Set) map[int][]Chunk {
	out := map[int][]Chunk{}
	if !r.copies {
		return out
	}
	first := 0 // a chunk is read behind everything that was applied when the stream began
	for i, tx := range w.txs {
		if at.ContainsGTID(tx.GTID) {
			first = i + 1
		}
	}
	for no := range simChunks {
		if target.chunks[no] {
			continue
		}
		place := first + rng.IntN(len(w.txs)-first+1)
		c := Chunk{TableID: 1, Save: []string{"chunk " + strconv.Itoa(no)}}
		for _, id := range slices.Sorted(maps.Keys(w.rows[place])) {
			if n, _ := strconv.Atoi(id); n%simChunks == no {
				c.Rows = append(c.Rows, w.rows[place][id])
			}
		}
		out[place] = append(out[place], c)
	}
	return out
}

func (f simFaults) any() bool { return f != simFaults{} }

// TestAgainstSerial: whatever fails when, in every mode and order, the target becomes what serial execution makes it, every
// transaction is committed once (A1), and in order preserve every commit is a prefix (A2).
func TestAgainstSerial(t *testing.T) {
	victims := int64(0)
	runs := 60 * simFactor()
	if testing.Short() {
		runs = 15
	}
	for _, mode := range []writeset.Mode{writeset.Writeset, writeset.LogicalClock, writeset.Database, writeset.Serial} {
		for _, order := range []Order{Preserve, Relaxed} {
			for _, copies := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %s copies=%t", mode, order, copies), func(t *testing.T) {
					r := simRun{mode: mode, order: order, check: order, copies: copies, seen: &Status{}}
					for seed := range uint64(runs) {
						synctest.Test(t, func(t *testing.T) {
							wrong := r.drive(t, seed, 60)
							require.Empty(t, wrong, "seed %d", seed)
						})
					}
					t.Logf("%d runs, %d transactions in %d groups, %d repeated, %d gave way", r.seen.LWM, r.seen.Transactions, r.seen.Groups, r.seen.Repeats, r.seen.Victims)
					require.Positive(t, r.seen.Repeats)
					require.Zero(t, r.seen.Splits)
					victims += r.seen.Victims
				})
			}
		}
	}
	if !testing.Short() {
		require.Positive(t, victims, "groups that gave way")
	}
}

// TestFaultsAreFound: the checks of TestAgainstSerial find what they are there for.
func TestFaultsAreFound(t *testing.T) {
	for name, r := range map[string]simRun{
		"a dependency is dropped":                                  {order: Relaxed, check: Relaxed, blind: true, quiet: true},
		"commits out of turn":                                      {order: Relaxed, check: Preserve, quiet: true},
		"a lane is not written":                                    {order: Relaxed, check: Relaxed, faults: simFaults{loseLane: true}},
		"a lane is written too early":                              {order: Relaxed, check: Relaxed, faults: simFaults{earlyLane: true}},
		"a commit does not happen":                                 {order: Preserve, check: Preserve, faults: simFaults{loseCommit: true}},
		"row locks are not waited for and a dependency is dropped": {order: Preserve, check: Preserve, blind: true, quiet: true, faults: simFaults{noLocks: true}},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(200) {
				var wrong []string
				synctest.Test(t, func(t *testing.T) { wrong = r.drive(t, seed, 60) })
				if len(wrong) > 0 {
					t.Logf("seed %d: %s", seed, wrong[0])
					return
				}
			}
			t.Fatal("not found")
		})
	}
}

// simFactor multiplies the runs: BRAID_TEST_RUNS=50 for a long night.
func simFactor() int {
	if n, err := strconv.Atoi(os.Getenv("BRAID_TEST_RUNS")); err == nil {
		return n
	}
	return 1
}

// A stream that has nothing to do has neither sessions nor goroutines of its applier, and goes on when something comes.
func TestIdleApplierHasNoSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSimWorld(rand.New(rand.NewPCG(1, 1)), 30)
		target := newSimTarget(w, rand.New(rand.NewPCG(1, 2)), Strict)
		a := target.applier(Config{
			Workers: 3, Order: Relaxed, GroupTransactions: 2,
		}, gtid.Set{})
		defer a.Close()
		def := simDef(true)
		table, err := NewTable(def, def, nil)
		require.NoError(t, err)
		table.Mode = Strict
		a.SetTable(1, table)
		for i, tx := range w.txs {
			a.Skip(w.skips[i])
			require.NoError(t, a.Add(t.Context(), tx))
			if i%10 == 9 {
				require.NoError(t, a.Drain(t.Context()))
				require.NotEmpty(t, target.sessions)
				time.Sleep(idleSession + time.Second)
				synctest.Wait()
				require.Empty(t, target.sessions)
				require.Empty(t, a.Status().Lanes)
				a.Rest()
			}
		}
		require.Empty(t, target.broken)
		require.True(t, target.position().Equal(w.end()))
		require.Equal(t, w.states[len(w.txs)], textOf(target.rows))
	})
}

// In order preserve a dependency that is missed does no harm: the group fails, and its transactions are applied one by one. It is counted.
func TestMissedDependencyIsCounted(t *testing.T) {
	r := simRun{order: Preserve, check: Preserve, blind: true, quiet: true, seen: &Status{}}
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) { require.Empty(t, r.drive(t, seed, 60)) })
	}
	require.Positive(t, r.seen.Splits)
}
