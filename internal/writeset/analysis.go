package writeset

import "braid/internal/schema"

// Analysis runs all modes side by side over the same transactions.
type Analysis struct {
	trackers [len(modeNames)]*Tracker
	graphs   [len(modeNames)]Graph
	cost     func(*Transaction) int64
}

// Report is what one mode makes of them.
type Report struct {
	Mode Mode `json:"mode"`
	Shape
	Replays []Replay `json:"replays,omitempty"`
}

// NewAnalysis measures transactions by cost: Bytes, Rows or anything else.
func NewAnalysis(history int, cost func(*Transaction) int64) *Analysis {
	a := &Analysis{cost: cost}
	for m := range a.trackers {
		a.trackers[m] = New(Config{Mode: Mode(m), History: history})
	}
	return a
}

// Bytes is the cost of a transaction that is its size: its cells, and a constant for each change and for the commit.
func Bytes(tx *Transaction) int64 {
	const perChange, perCommit = 32, 256
	n := int64(perCommit)
	for i := range tx.Changes {
		c := &tx.Changes[i]
		n += perChange + int64(c.Before.Size()) + int64(c.After.Size())
	}
	return n
}

// Rows is the cost of a transaction that is its number of changes, at least 1.
func Rows(tx *Transaction) int64 { return max(int64(len(tx.Changes)), 1) }

// SetTable is Tracker.SetTable.
func (a *Analysis) SetTable(id uint32, source, target *schema.Table) {
	for _, tr := range a.trackers {
		tr.SetTable(id, source, target)
	}
}

// Add adds the next transaction.
func (a *Analysis) Add(tx *Transaction) {
	cost := a.cost(tx)
	for m, tr := range a.trackers {
		d := tr.Add(tx)
		a.graphs[m].Add(&d, cost)
	}
}

// Graph is that of one mode.
func (a *Analysis) Graph(m Mode) *Graph { return &a.graphs[m] }

// Coarse says why the rows of a table are not told apart, or "".
func (a *Analysis) Coarse(id uint32) string { return a.trackers[Writeset].Coarse(id) }

// Reports describes all modes, with simulated runs of so many workers each.
func (a *Analysis) Reports(workers ...int) []Report {
	out := make([]Report, len(a.graphs))
	for m := range a.graphs {
		out[m] = Report{Mode: Mode(m), Shape: a.graphs[m].Shape()}
		for _, n := range workers {
			out[m].Replays = append(out[m].Replays, a.graphs[m].Replay(n))
		}
	}
	return out
}
