package schema

import (
	"fmt"
	"slices"
	"strings"
)

// Difference is one thing that keeps the rows of a table from being stored in another as they are.
type Difference struct {
	Column string `json:"column,omitempty"` // empty: the table itself
	What   string `json:"what"`             // "type", "missing", "primary key", ...
	A      string `json:"a"`
	B      string `json:"b"`
}

// String says it in one line.
func (d Difference) String() string {
	if d.Column == "" {
		return fmt.Sprintf("%s: %s, not %s", d.What, orNone(d.B), orNone(d.A))
	}
	return fmt.Sprintf("column %s: %s: %s, not %s", d.Column, d.What, orNone(d.B), orNone(d.A))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Compare lists what differs between the table as it is wanted, a, and as it is, b: columns and their order, types, character sets, generated
// columns, and the primary key. Secondary keys, defaults, comments and AUTO_INCREMENT may differ: a shard takes its ids from a sequence, and keys
// can be added at any time. The names of the tables and of their databases are not compared.
func Compare(a, b *Table) []Difference {
	var diffs []Difference
	for i := range a.Columns {
		want := &a.Columns[i]
		j := b.Column(want.Name)
		if j < 0 {
			diffs = append(diffs, Difference{want.Name, "missing", want.ColumnType, ""})
			continue
		}
		diffs = append(diffs, compareColumns(want, &b.Columns[j])...)
	}
	for j := range b.Columns {
		if have := &b.Columns[j]; a.Column(have.Name) < 0 {
			diffs = append(diffs, Difference{have.Name, "not expected", "", have.ColumnType})
		}
	}
	if len(diffs) == 0 && !sameNames(a.columnNames(), b.columnNames()) {
		diffs = append(diffs, Difference{"", "column order", strings.Join(a.columnNames(), ", "), strings.Join(b.columnNames(), ", ")})
	}
	if x, y := a.keyNames(a.PrimaryKey), b.keyNames(b.PrimaryKey); !sameNames(x, y) {
		diffs = append(diffs, Difference{"", "primary key", strings.Join(x, ", "), strings.Join(y, ", ")})
	}
	return diffs
}

func compareColumns(a, b *Column) []Difference {
	var diffs []Difference
	add := func(what, x, y string) {
		if x != y {
			diffs = append(diffs, Difference{a.Name, what, x, y})
		}
	}
	add("type", a.comparableType(), b.comparableType())
	add("character set", a.Charset, b.Charset)
	add("collation", a.Collation, b.Collation)
	add("null", nullText(a), nullText(b))
	add("generated as", a.Expression, b.Expression)
	return diffs
}

func nullText(c *Column) string {
	if c.Nullable {
		return "NULL"
	}
	return "NOT NULL"
}

// comparableType drops the display width of integers, which servers before 8.0.19 print, and which changes nothing.
func (c *Column) comparableType() string {
	switch c.DataType {
	case "tinyint", "smallint", "mediumint", "int", "bigint", "year":
		if open := strings.IndexByte(c.ColumnType, '('); open >= 0 && !c.Zerofill() {
			if end := strings.IndexByte(c.ColumnType, ')'); end > open {
				return c.ColumnType[:open] + c.ColumnType[end+1:]
			}
		}
	}
	return c.ColumnType
}

func (t *Table) columnNames() []string {
	names := make([]string, len(t.Columns))
	for i := range t.Columns {
		names[i] = t.Columns[i].Name
	}
	return names
}

func (t *Table) keyNames(key []int) []string {
	names := make([]string, len(key))
	for i, c := range key {
		names[i] = t.Columns[c].Name
	}
	return names
}

func sameNames(a, b []string) bool { return slices.EqualFunc(a, b, equalName) }
