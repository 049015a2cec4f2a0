package inspect

import (
	"maps"
	"slices"

	"braid/internal/writeset"
)

// The cost of a transaction in the replay: what a commit costs beside its rows, and a row. Only their ratio matters for the speed-up.
const (
	costCommit = 100 // µs
	costRow    = 10
)

// Workers are the numbers of workers that Parallelism simulates.
var Workers = []int{1, 2, 4, 8, 16, 32}

// MaxParallelism bounds the transactions of a Parallelism: each costs about 500 bytes.
const MaxParallelism = 200_000

// Parallelism is the Sink that measures how wide the work is, by what dependencies are taken from.
type Parallelism struct {
	modes  []writeset.Mode
	track  []*tracked
	graphs []*writeset.Graph
	coarse map[string]string
}

// ModeReport is what one way to find dependencies allows.
type ModeReport struct {
	Mode writeset.Mode `json:"mode"`
	writeset.Shape
	Replay []writeset.Replay `json:"replay"`
}

// CoarseTable is a table whose rows are not told apart.
type CoarseTable struct {
	Table string `json:"table"`
	Why   string `json:"why"`
}

// NewParallelism returns an empty measurement.
func NewParallelism() *Parallelism {
	p := &Parallelism{modes: []writeset.Mode{writeset.Database, writeset.LogicalClock, writeset.Writeset}, coarse: map[string]string{}}
	for _, mode := range p.modes {
		p.track = append(p.track, newTracked(mode))
		p.graphs = append(p.graphs, &writeset.Graph{})
	}
	return p
}

// Begin implements Sink.
func (p *Parallelism) Begin(t *Transaction) error {
	for _, k := range p.track {
		k.begin(t)
	}
	return nil
}

// Rows implements Sink.
func (p *Parallelism) Rows(_ *Transaction, e *RowEvent) error {
	err := feed(e, p.track...)
	noteCoarse(p.coarse, p.track[len(p.track)-1], e.Table)
	return err
}

// End implements Sink.
func (p *Parallelism) End(t *Transaction) error {
	for i, k := range p.track {
		d := k.end(t)
		p.graphs[i].Add(&d, costCommit+costRow*t.Rows)
	}
	return nil
}

// Report measures what was seen.
func (p *Parallelism) Report() []ModeReport {
	out := make([]ModeReport, len(p.modes))
	for i, g := range p.graphs {
		out[i] = ModeReport{Mode: p.modes[i], Shape: g.Shape()}
		for _, n := range Workers {
			out[i].Replay = append(out[i].Replay, g.Replay(n))
		}
	}
	return out
}

// Coarse lists the tables whose rows could not be told apart.
func (p *Parallelism) Coarse() []CoarseTable { return coarseTables(p.coarse) }

func coarseTables(m map[string]string) []CoarseTable {
	out := []CoarseTable{}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, CoarseTable{name, m[name]})
	}
	return out
}
