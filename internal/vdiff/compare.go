package vdiff

import (
	"encoding/hex"
	"fmt"
	"unicode/utf8"

	"braid/internal/apply"
	"braid/internal/filter"
	"braid/internal/rowimage"
	"braid/internal/schema"
)

// Kind is how a row differs.
type Kind string

// The kinds.
const (
	Mismatched      Kind = "mismatched"
	MissingOnTarget Kind = "missing_on_target"
	ExtraOnTarget   Kind = "extra_on_target"
)

// Table is one table as a diff sees it. It is immutable.
type Table struct {
	*apply.Table
	// Owned are the rows of the diff's source, by the source's key range; Home those that belong to the target shard. A
	// target row that is not owned belongs to another source of a merge, and is not this diff's business, unless it
	// is not at home either and this diff is the one that Strays.
	Owned, Home *filter.Plan
	Strays      bool

	shared []int // columns that are on both sides
	key    []int // of the source's key, as in apply
}

// NewTable prepares a table.
func NewTable(t *apply.Table, owned, home *filter.Plan, strays bool) *Table {
	d := &Table{Table: t, Owned: owned, Home: home, Strays: strays, key: t.KeyColumns()}
	for i := range t.Source.Columns {
		if t.Target.Column(t.Source.Columns[i].Name) >= 0 {
			d.shared = append(d.shared, i)
		}
	}
	return d
}

// Difference is one key whose rows differ. A side that lacks the row is nil.
type Difference struct {
	Key            rowimage.Row
	Source, Target rowimage.Row
}

// Kind says how.
func (d *Difference) Kind() Kind {
	switch {
	case d.Target == nil:
		return MissingOnTarget
	case d.Source == nil:
		return ExtraOnTarget
	}
	return Mismatched
}

// Result is the outcome of one comparison.
type Result struct {
	Compared int64        // keys that are on both sides or on one, and are not left out
	Differ   []Difference // in no particular order
}

// Compare compares rows as sets by key. Keys in skip are left out on both sides. target are all rows of the target in the
// chunk's range, those of other sources included.
func (t *Table) Compare(source, target []rowimage.Row, skip map[string]bool) (Result, error) {
	var res Result
	sources := make(map[string]rowimage.Row, len(source))
	for _, row := range source {
		if key := t.KeyString(row); !skip[key] {
			sources[key] = row
		}
	}
	for _, row := range target {
		key := t.KeyString(row)
		if skip[key] {
			continue
		}
		ours, err := t.ours(row)
		if err != nil {
			return res, err
		}
		from, found := sources[key]
		if !ours && !found {
			continue
		}
		delete(sources, key)
		res.Compared++
		switch {
		case !ours: // the source still has what another source owns here already: a row that moves, or a wrong one
			res.Differ = append(res.Differ, Difference{Key: t.Key(row), Source: from, Target: row})
		case !found:
			res.Differ = append(res.Differ, Difference{Key: t.Key(row), Target: row})
		case !t.same(from, row):
			res.Differ = append(res.Differ, Difference{Key: t.Key(row), Source: from, Target: row})
		}
	}
	for _, row := range sources {
		res.Compared++
		res.Differ = append(res.Differ, Difference{Key: t.Key(row), Source: row})
	}
	return res, nil
}

// ours says that a target row is for this diff to judge.
func (t *Table) ours(row rowimage.Row) (bool, error) {
	owned, err := t.Owned.Match(row)
	if err != nil {
		return true, nil //nolint:nilerr // a row without a keyspace ID belongs nowhere: no source has it, so it shows as extra
	}
	if owned || !t.Strays {
		return owned, nil
	}
	home, err := t.Home.Match(row)
	return !home, err
}

func (t *Table) same(a, b rowimage.Row) bool {
	for _, c := range t.shared {
		if (a[c] == nil) != (b[c] == nil) || string(a[c]) != string(b[c]) {
			return false
		}
	}
	return true
}

// KeyString is the row's key as a map key: the encoding of its cells, which is unique.
func (t *Table) KeyString(row rowimage.Row) string {
	return EncodeKey(t.Key(row))
}

// EncodeKey is KeyString for a key.
func EncodeKey(key rowimage.Row) string { return string(rowimage.AppendRow(nil, key)) }

// Cell is one value in a report. What is not text is in hex.
type Cell struct {
	Column string `json:"column"`
	Value  string `json:"value"`
	Null   bool   `json:"null,omitempty"`
}

// CellDiff is a column that differs.
type CellDiff struct {
	Column string `json:"column"`
	Source Cell   `json:"source"`
	Target Cell   `json:"target"`
}

// RowDiff is a differing row in a report.
type RowDiff struct {
	Kind    Kind       `json:"kind"`
	Key     []Cell     `json:"key"`
	Columns []CellDiff `json:"columns,omitempty"`
}

// Report describes a difference: its key, and the columns that differ with both values.
func (t *Table) Report(d *Difference) RowDiff {
	r := RowDiff{Kind: d.Kind()}
	for i, c := range t.key {
		r.Key = append(r.Key, cell(&t.Source.Columns[c], d.Key[i]))
	}
	for _, c := range t.shared {
		col := &t.Source.Columns[c]
		switch {
		case d.Source == nil:
			r.Columns = append(r.Columns, CellDiff{Column: col.Name, Source: Cell{Column: col.Name, Null: true}, Target: cell(col, d.Target[c])})
		case d.Target == nil:
			r.Columns = append(r.Columns, CellDiff{Column: col.Name, Source: cell(col, d.Source[c]), Target: Cell{Column: col.Name, Null: true}})
		case (d.Source[c] == nil) != (d.Target[c] == nil) || string(d.Source[c]) != string(d.Target[c]):
			r.Columns = append(r.Columns, CellDiff{Column: col.Name, Source: cell(col, d.Source[c]), Target: cell(col, d.Target[c])})
		}
	}
	return r
}

// longest is how much of a value a report shows.
const longest = 512

func cell(col *schema.Column, value []byte) Cell {
	c := Cell{Column: col.Name, Null: value == nil}
	more := 0
	if cut := longest; len(value) > cut {
		for cut > longest-utf8.UTFMax && !utf8.RuneStart(value[cut]) { // do not cut a character
			cut--
		}
		value, more = value[:cut], len(value)-cut
	}
	if c.Value = string(value); !utf8.Valid(value) {
		c.Value = "0x" + hex.EncodeToString(value)
	}
	if more > 0 {
		c.Value += fmt.Sprintf("… and %d bytes more", more)
	}
	return c
}
