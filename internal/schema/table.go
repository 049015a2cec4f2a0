package schema

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// Column is a column as information_schema describes it. It has no pointers into anything that changes.
type Column struct {
	Name          string   `json:"name"`
	DataType      string   `json:"data_type"`   // lower case, without length or attributes: "bigint"
	ColumnType    string   `json:"column_type"` // as SHOW CREATE TABLE has it: "bigint unsigned"
	Unsigned      bool     `json:"unsigned,omitempty"`
	Charset       string   `json:"charset,omitempty"`
	Collation     string   `json:"collation,omitempty"`
	Nullable      bool     `json:"nullable,omitempty"`
	Length        int64    `json:"length,omitempty"`    // characters of CHAR, VARCHAR and TEXT; bytes of BINARY, VARBINARY and BLOB
	Precision     int      `json:"precision,omitempty"` // digits of DECIMAL; bits of BIT
	Scale         int      `json:"scale,omitempty"`     // digits after the point of DECIMAL
	Fsp           int      `json:"fsp,omitempty"`       // fractional digits of TIME, DATETIME and TIMESTAMP
	Generated     bool     `json:"generated,omitempty"` // VIRTUAL or STORED: never written, always in the row image
	Expression    string   `json:"expression,omitempty"`
	Invisible     bool     `json:"invisible,omitempty"` // SELECT * leaves it out; a generated invisible primary key is one
	AutoIncrement bool     `json:"auto_increment,omitempty"`
	OnUpdate      bool     `json:"on_update,omitempty"`   // an UPDATE of the row that does not name the column sets it to CURRENT_TIMESTAMP
	EnumValues    []string `json:"enum_values,omitempty"` // members of ENUM and SET, in order
	Default       *string  `json:"default,omitempty"`
}

// Zerofill reports whether the server pads the column's numbers with zeros when it prints them.
func (c *Column) Zerofill() bool { return hasWord(c.ColumnType, "zerofill") }

// Table is the definition of a base table at one moment.
type Table struct {
	DB      string   `json:"db"`
	Name    string   `json:"name"`
	Columns []Column `json:"columns"` // in table order, invisible and generated ones included: the order of a row image
	// PrimaryKey are indexes into Columns; empty when the table has none.
	PrimaryKey []int `json:"primary_key,omitempty"`
	// UniqueKeys are the other unique keys that are made of whole columns, ordered by name. A nullable one allows many NULLs.
	UniqueKeys [][]int `json:"unique_keys,omitempty"`
	// Indexes are all indexes, the primary key and those on expressions or prefixes included.
	Indexes []Index `json:"indexes,omitempty"`
	// ForeignKeys are those of this table, as child, ordered by name.
	ForeignKeys []ForeignKey `json:"foreign_keys,omitempty"`
	// Cascades are the tables whose rows change, or go, with rows of this one.
	Cascades  []Cascade `json:"cascades,omitempty"`
	Engine    string    `json:"engine,omitempty"`
	Charset   string    `json:"charset,omitempty"`
	Collation string    `json:"collation,omitempty"`
	Rows      int64     `json:"rows,omitempty"` // the server's estimate
	// Derived: the definition was made of what the binlog says about a table that the source does not have any more as it was. Columns, their
	// order and how their values are stored are right; what the binlog does not tell (ZEROFILL, the kind of a geometry, which columns are
	// generated, unique keys) may be missing.
	Derived bool `json:"derived,omitempty"`
	// Later: the definition is the server's, which may have been ahead of the stream that tells it: what the binlog does not tell of it may be
	// of a DDL that is still to come.
	Later bool `json:"later,omitempty"`
	// CreateStatement is SHOW CREATE TABLE. It makes the same table only under NAMES utf8mb4: under NAMES binary its literals, members
	// of ENUMs among them, would be taken for bytes in the column's character set.
	CreateStatement string `json:"create_statement,omitempty"`
}

// Index is one index of a table.
type Index struct {
	Name   string      `json:"name"`
	Unique bool        `json:"unique,omitempty"`
	Kind   string      `json:"kind,omitempty"`   // "BTREE", "FULLTEXT", "SPATIAL"
	Hidden bool        `json:"hidden,omitempty"` // INVISIBLE to the optimizer
	Parts  []IndexPart `json:"parts"`
}

// IndexPart is a column, the prefix of one, or an expression.
type IndexPart struct {
	Column     int    `json:"column"`               // index into Table.Columns; -1 for an expression
	Prefix     int    `json:"prefix,omitempty"`     // characters or bytes that are indexed; 0 is all
	Expression string `json:"expression,omitempty"` // of a functional or multi-valued key part
	Descending bool   `json:"descending,omitempty"`
}

// Whole reports whether every part is a whole column, so that equality of the key is equality of columns.
func (i *Index) Whole() bool {
	for _, p := range i.Parts {
		if p.Column < 0 || p.Prefix > 0 {
			return false
		}
	}
	return true
}

// Column returns the index of the named column, compared as MySQL does (without case), or -1.
func (t *Table) Column(name string) int {
	for i := range t.Columns {
		if equalName(t.Columns[i].Name, name) {
			return i
		}
	}
	return -1
}

// KeyColumns are the columns that identify a row: the primary key, else the first unique key without nullable columns,
// else none.
func (t *Table) KeyColumns() []int {
	if len(t.PrimaryKey) > 0 {
		return t.PrimaryKey
	}
	for _, key := range t.UniqueKeys {
		if t.notNull(key) {
			return key
		}
	}
	return nil
}

func (t *Table) notNull(key []int) bool {
	for _, c := range key {
		if t.Columns[c].Nullable {
			return false
		}
	}
	return true
}

// KeyOrder names the columns of the key and their order: tables of which it is the same order the same rows alike. It is empty where
// there is no key.
func (t *Table) KeyOrder() string {
	key := t.KeyColumns()
	if len(key) == 0 {
		return ""
	}
	index := t.KeyIndex()
	sum := sha256.New()
	for i, column := range key {
		c := &t.Columns[column]
		fmt.Fprintf(sum, "%q %q %q %t\n", strings.ToLower(c.Name), c.ColumnType, c.Collation, index != nil && index.Parts[i].Descending)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// KeyReached reports whether a key is known to come no later than another in the key's order. Integers are compared here; of other types the order is the
// server's to tell, and false may mean unknown. Both have their canonical cells.
func (t *Table) KeyReached(key, last [][]byte) bool {
	columns, index := t.KeyColumns(), t.KeyIndex()
	if index == nil || len(key) != len(columns) || len(last) != len(columns) {
		return false
	}
	for i, column := range columns {
		if bytes.Equal(key[i], last[i]) {
			continue
		}
		a, aok := new(big.Int).SetString(string(key[i]), 10)
		b, bok := new(big.Int).SetString(string(last[i]), 10)
		if !strings.HasSuffix(t.Columns[column].DataType, "int") || !aok || !bok {
			return false
		}
		return (a.Cmp(b) < 0) != index.Parts[i].Descending
	}
	return true
}

// KeyIndex is the index that is made of the key's columns; nil where there is no key, or the definition does not tell its indexes.
func (t *Table) KeyIndex() *Index {
	key := t.KeyColumns()
	for i := range t.Indexes {
		index := &t.Indexes[i]
		if len(key) == 0 || !index.Unique || len(t.PrimaryKey) > 0 && index.Name != "PRIMARY" {
			continue
		}
		if slices.EqualFunc(index.Parts, key, func(p IndexPart, column int) bool { return p.Column == column && p.Prefix == 0 }) {
			return index
		}
	}
	return nil
}
