package filter

import (
	"fmt"
	"strings"

	"braid/internal/keyrange"
	"braid/internal/rowimage"
	"braid/internal/vindex"
)

// Plan is a rule for one table definition.
type Plan struct {
	Table  string // on the source
	Target string // on the target

	vindex     vindex.Vindex // nil: every row
	columns    []int
	keys       keyrange.Range
	primaryKey []int
}

// Columns are the columns that Match looks at, the only ones that need decoding before it; none when every row matches.
func (p *Plan) Columns() []int { return p.columns }

// All reports whether every row matches.
func (p *Plan) All() bool { return p.vindex == nil }

// Match reports whether the stream carries the row. Of an update, each image is matched on its own.
func (p *Plan) Match(row rowimage.Row) (bool, error) {
	if p.vindex == nil {
		return true, nil
	}
	cells := make([][]byte, len(p.columns))
	for i, c := range p.columns {
		cells[i] = row[c]
	}
	return p.match(cells, func() rowimage.Row { return row.Key(p.primaryKey) })
}

// MatchCells is Match for the cells of Columns alone, in their order.
func (p *Plan) MatchCells(cells [][]byte) (bool, error) {
	if p.vindex == nil {
		return true, nil
	}
	return p.match(cells, nil)
}

func (p *Plan) match(cells [][]byte, key func() rowimage.Row) (bool, error) {
	id, err := p.vindex.Map(cells)
	if err == nil {
		return p.keys.Contains(id), nil
	}
	if key == nil || len(p.primaryKey) == 0 {
		return false, fmt.Errorf("table %s: %w", p.Table, err)
	}
	return false, fmt.Errorf("table %s: row %s: %w", p.Table, describe(key()), err)
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
