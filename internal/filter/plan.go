package filter

import (
	"fmt"
	"strings"
	"sync"

	"braid/internal/keyrange"
	"braid/internal/rowimage"
	"braid/internal/vindex"
)

// Plan is a rule for one table definition.
type Plan struct {
	Table    string // on the source
	Target   string // on the target
	TargetDB string // empty: the stream's

	vindex     vindex.Vindex // nil: every row
	columns    []int         // of the vindex, then of the condition
	vindexed   int           // how many of them are the vindex's
	where      condition     // nil: every row
	keys       keyrange.Range
	primaryKey []int
}

// scratch is what a match needs; it would escape through the vindex's interface.
type scratch struct {
	id    []byte
	cells [][]byte
}

var scratches = sync.Pool{New: func() any { return &scratch{id: make([]byte, 0, 64)} }}

// Columns are the columns that Match looks at, the only ones that need decoding before it; none when every row matches.
func (p *Plan) Columns() []int { return p.columns }

// All reports whether every row matches.
func (p *Plan) All() bool { return p.vindex == nil && p.where == nil }

// Conditional reports whether a condition is part of it: then its Sharding does not say all.
func (p *Plan) Conditional() bool { return p.where != nil }

// Match reports whether the stream carries the row. Of an update, each image is matched on its own.
func (p *Plan) Match(row rowimage.Row) (bool, error) {
	if p.All() {
		return true, nil
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.cells = s.cells[:0]
	for _, c := range p.columns {
		s.cells = append(s.cells, row[c])
	}
	match, err := p.match(s, s.cells)
	if err != nil && len(p.primaryKey) > 0 {
		return false, fmt.Errorf("table %s: row %s: %w", p.Table, describe(row.Key(p.primaryKey)), err)
	}
	if err != nil {
		return false, fmt.Errorf("table %s: %w", p.Table, err)
	}
	return match, nil
}

// MatchCells is Match for the cells of Columns alone, in their order.
func (p *Plan) MatchCells(cells [][]byte) (bool, error) {
	if p.All() {
		return true, nil
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	match, err := p.match(s, cells)
	if err != nil {
		return false, fmt.Errorf("table %s: %w", p.Table, err)
	}
	return match, nil
}

func (p *Plan) match(s *scratch, cells [][]byte) (bool, error) {
	if p.where != nil && p.where(cells[p.vindexed:]) != yes {
		return false, nil
	}
	if p.vindex == nil {
		return true, nil
	}
	id, err := p.vindex.Append(s.id[:0], cells[:p.vindexed])
	if err != nil {
		return false, err
	}
	return p.keys.Contains(id), nil
}

// describe prints a key for a message, shortened.
func describe(key rowimage.Row) string {
	const most = 64
	words := make([]string, len(key))
	for i, cell := range key {
		switch {
		case cell == nil:
			words[i] = "NULL"
		case len(cell) > most:
			words[i] = fmt.Sprintf("%q...", cell[:most])
		default:
			words[i] = fmt.Sprintf("%q", cell)
		}
	}
	return "(" + strings.Join(words, ", ") + ")"
}
