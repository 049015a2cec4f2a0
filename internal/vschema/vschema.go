package vschema

import (
	"maps"
	"slices"
	"strings"

	"braid/internal/vindex"
)

// Keyspace is the VSchema of one keyspace.
type Keyspace struct {
	Sharded  bool               `json:"sharded,omitempty"`
	Vindexes map[string]*Vindex `json:"vindexes,omitempty"`
	Tables   map[string]*Table  `json:"tables,omitempty"`
}

// Vindex is a named vindex.
type Vindex struct {
	Type   string            `json:"type"`
	Params map[string]string `json:"params,omitempty"`

	fn vindex.Vindex
}

// Types of tables.
const (
	TypeTable     = ""          // sharded by its column vindexes, or in an unsharded keyspace
	TypeSequence  = "sequence"  // gives ids
	TypeReference = "reference" // the same rows in every shard
)

// Table is a table of the keyspace.
type Table struct {
	Type           string         `json:"type,omitempty"`
	ColumnVindexes []ColumnVindex `json:"column_vindexes,omitempty"`
	AutoIncrement  *AutoIncrement `json:"auto_increment,omitempty"`
}

// ColumnVindex applies a vindex to columns; Column is the short form of one.
type ColumnVindex struct {
	Column  string   `json:"column,omitempty"`
	Columns []string `json:"columns,omitempty"`
	Name    string   `json:"name"`
}

// All returns the columns in either form.
func (c ColumnVindex) All() []string {
	if c.Column != "" {
		return []string{c.Column}
	}
	return c.Columns
}

// AutoIncrement fills a column that an INSERT leaves out from a sequence.
type AutoIncrement struct {
	Column   string `json:"column"`
	Sequence string `json:"sequence"` // keyspace.table
}

// Split returns the keyspace and the table of the sequence.
func (a *AutoIncrement) Split() (keyspace, table string) {
	keyspace, table, _ = strings.Cut(a.Sequence, ".")
	return keyspace, table
}

// Table returns the named table, or nil.
func (k *Keyspace) Table(name string) *Table { return k.Tables[name] }

// TableNames are in alphabetical order.
func (k *Keyspace) TableNames() []string { return slices.Sorted(maps.Keys(k.Tables)) }

// PrimaryVindex returns the vindex that places the table's rows and its columns; ok is false for a table that the VSchema lacks and for
// one whose rows are not placed: of an unsharded keyspace, or a reference table.
func (k *Keyspace) PrimaryVindex(table string) (v vindex.Vindex, columns []string, ok bool) {
	t := k.Tables[table]
	if !k.Sharded || t == nil || len(t.ColumnVindexes) == 0 {
		return nil, nil, false
	}
	cv := t.ColumnVindexes[0]
	return k.Vindexes[cv.Name].fn, cv.All(), true
}

// Sequence returns the auto_increment of the table, or nil.
func (k *Keyspace) Sequence(table string) *AutoIncrement {
	if t := k.Tables[table]; t != nil {
		return t.AutoIncrement
	}
	return nil
}
