package writeset

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func graphOf(deps []Dependency, cost func(i int) int64) *Graph {
	g := &Graph{}
	for i := range deps {
		g.Add(&deps[i], cost(i))
	}
	return g
}

func TestGraph(t *testing.T) {
	//   1 ─▶ 3 ─▶ 4      2      5 waits for all up to 2      6 is a barrier
	deps := []Dependency{{Seq: 1}, {Seq: 2}, {Seq: 3, Preds: []uint64{1}}, {Seq: 4, Preds: []uint64{3}}, {Seq: 5, Floor: 2}, {Seq: 6, Floor: 5}}
	g := graphOf(deps, func(i int) int64 { return int64(10 * (i + 1)) })
	require.Equal(t, [][]uint64{{1, 2}, {3, 5}, {4}, {6}}, g.Groups())
	require.Equal(t, 3, g.Wave(4))
	require.Equal(t, Shape{
		Transactions: 6, Waves: 4, AverageWidth: 1.5, P95Width: 2, MaxWidth: 2, Cost: 210, CriticalCost: 80 + 60, Dependencies: 2, Barriers: 1,
	}, g.Shape())
	require.Equal(t, Replay{Workers: 1, Time: 210, SpeedUp: 1, Busy: 1}, g.Replay(1))
	// Two workers: 1 (0-10), 2 (0-20), 3 (10-40), 5 (20-70), 4 (40-80), 6 (80-140).
	require.Equal(t, int64(140), g.Replay(2).Time)
	require.InDelta(t, 1.5, g.Replay(2).SpeedUp, 0.001)
	require.Equal(t, Shape{}, new(Graph).Shape())
	require.Equal(t, Replay{Workers: 1, SpeedUp: 1}, new(Graph).Replay(0))
}

// TestReplayBounds: list scheduling is never faster than the critical path or the sum over the workers, never slower than both together, and
// respects dependencies when there are workers for all.
func TestReplayBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(t, "n")
		var deps []Dependency
		for i := range n {
			d := Dependency{Seq: uint64(i + 1)}
			if i > 0 {
				d.Floor = uint64(rapid.IntRange(0, i).Draw(t, "floor") * rapid.IntRange(0, 1).Draw(t, "has floor"))
				for p := i; p > int(d.Floor); p-- {
					if rapid.IntRange(0, 3).Draw(t, "pred") == 0 {
						d.Preds = append(d.Preds, uint64(p))
					}
				}
			}
			deps = append(deps, d)
		}
		costs := rapid.SliceOfN(rapid.Int64Range(0, 20), n, n).Draw(t, "costs")
		g := graphOf(deps, func(i int) int64 { return costs[i] })
		s := g.Shape()
		workers := rapid.IntRange(1, 8).Draw(t, "workers")
		r := g.Replay(workers)
		require.GreaterOrEqual(t, r.Time, s.CriticalCost)
		require.GreaterOrEqual(t, r.Time*int64(workers), s.Cost)
		require.LessOrEqual(t, r.Time*int64(workers), s.Cost+int64(workers-1)*s.CriticalCost, "Graham's bound")
		require.Equal(t, s.CriticalCost, g.Replay(n).Time)
		require.Equal(t, s.Cost, g.Replay(1).Time)
		before := closure(deps)
		for j := range n {
			for i := range j {
				if before[j][i] {
					require.Less(t, g.Wave(uint64(i+1)), g.Wave(uint64(j+1)))
				}
			}
		}
	})
}

// TestReduce compares the window with the closure.
func TestReduce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r reducer
		var full, reduced []Dependency
		n := rapid.IntRange(1, 600).Draw(t, "n")
		for i := range n {
			d := Dependency{Seq: uint64(i + 1)}
			if i > 0 && rapid.IntRange(0, 20).Draw(t, "has floor") == 0 {
				d.Floor = uint64(rapid.IntRange(max(0, i-300), i).Draw(t, "floor"))
			}
			last := uint64(i + 1)
			for range rapid.IntRange(0, 4).Draw(t, "preds") {
				if last = last - min(last, uint64(rapid.IntRange(1, 120).Draw(t, "step"))); last > d.Floor {
					d.Preds = append(d.Preds, last)
				} else {
					break
				}
			}
			full = append(full, d)
			d.Preds = r.reduce(d.Seq, d.Floor, append([]uint64(nil), d.Preds...))
			r.end(d.Seq)
			reduced = append(reduced, d)
		}
		a, b := closure(full), closure(reduced)
		require.Equal(t, a, b, "nothing may be lost")
		for j, d := range reduced {
			for x, p := range d.Preds {
				for _, q := range d.Preds[:x] {
					require.False(t, b[q-1][p-1] && d.Seq-p <= window/2, "%d: %d is implied by %d", j+1, p, q)
				}
			}
		}
	})
}

// TestAnalysis: a source that committed one after the other, two accounts in turn.
func TestAnalysis(t *testing.T) {
	a := NewAnalysis(0, Rows)
	a.SetTable(1, idTable("t"), nil)
	for i := range 10 {
		a.Add(&Transaction{
			Header:  Header{Clock: Clock{File: 1, LastCommitted: int64(i), Sequence: int64(i + 1)}},
			Changes: []Change{deleteOf(1, []string{"1", "2"}[i%2])},
		})
	}
	require.NotEmpty(t, a.Graph(Writeset).Groups())
	reports := a.Reports(1, 2)
	require.Len(t, reports, 4)
	require.Equal(t, Shape{Transactions: 10, Waves: 10, AverageWidth: 1, P95Width: 1, MaxWidth: 1, Cost: 10, CriticalCost: 10, Dependencies: 9}, reports[Serial].Shape)
	require.Equal(t, 10, reports[LogicalClock].Waves)
	require.Equal(t, Replay{Workers: 2, Time: 10, SpeedUp: 1, Busy: 0.5}, reports[Database].Replays[1])
	require.Equal(t, Shape{Transactions: 10, Waves: 5, AverageWidth: 2, P95Width: 2, MaxWidth: 2, Cost: 10, CriticalCost: 5, Dependencies: 8}, reports[Writeset].Shape)
	require.Equal(t, 2.0, reports[Writeset].Replays[1].SpeedUp)
}

func TestCosts(t *testing.T) {
	tx := &Transaction{Changes: []Change{{Before: row("abc", "NULL"), After: row("abcd", "x")}}}
	require.Equal(t, int64(1), Rows(tx))
	require.Equal(t, int64(1), Rows(&Transaction{}))
	require.Equal(t, int64(256+32+tx.Changes[0].Before.Size()+tx.Changes[0].After.Size()), Bytes(tx))
}
