package storm

import (
	"fmt"
	"slices"
	"strings"

	"braid/internal/sqlconn"
)

// Name is a table.
type Name struct {
	DB    string `json:"db"`
	Table string `json:"table"`
}

func (n Name) String() string { return sqlconn.QuoteIdent(n.DB) + "." + sqlconn.QuoteIdent(n.Table) }

// column is a column of a table.
type column struct {
	*columnType
	name      string
	notNull   bool
	attribute string // further attributes in the definition
	generated bool
}

func (c *column) ident() string { return sqlconn.QuoteIdent(c.name) }

func (c *column) definition() string {
	def := c.ident() + " " + c.sql
	if c.notNull {
		def += " NOT NULL"
	}
	if c.attribute != "" {
		def += " " + c.attribute
	}
	return def
}

// table is a table as the generator knows it.
type table struct {
	Name
	columns []*column
	key     []*column // the primary key; of a table without one: what WHERE tries first
	uniques []*column // columns with a unique key of their own
	clauses []string  // keys and constraints of CREATE TABLE
	indexes []index   // those that may be dropped
	options string    // after the parenthesis
	hidden  bool      // has a generated invisible primary key
	related bool      // by a foreign key: keeps its name, its rows and its keys
	endless bool      // its rows are not bounded by a domain of keys
	bulk    bool      // for huge transactions
}

// index is one that DDL has added.
type index struct {
	name   string
	column *column
}

func (t *table) create() string {
	parts := make([]string, 0, len(t.columns)+len(t.clauses))
	for _, c := range t.columns {
		parts = append(parts, c.definition())
	}
	parts = append(parts, t.clauses...)
	return fmt.Sprintf("CREATE TABLE %s (%s) %s", t.Name, strings.Join(parts, ", "), t.options)
}

// names are the columns as a row image has them.
func (t *table) names() []string {
	var names []string
	if t.hidden {
		names = append(names, "my_row_id")
	}
	for _, c := range t.columns {
		names = append(names, c.name)
	}
	return names
}

// writable are the columns that statements give values.
func (t *table) writable() []*column {
	var out []*column
	for _, c := range t.columns {
		if !c.generated {
			out = append(out, c)
		}
	}
	return out
}

func (t *table) column(name string) *column {
	for _, c := range t.columns {
		if c.name == name {
			return c
		}
	}
	return nil
}

// isKey reports whether a column is in a key, so that DDL leaves it alone.
func (t *table) isKey(c *column) bool {
	return slices.Contains(t.key, c) || slices.Contains(t.uniques, c)
}

// plain are the columns that DDL may drop, rename and change.
func (t *table) plain() []*column {
	var out []*column
	for _, c := range t.columns {
		if !t.isKey(c) && !c.generated && strings.HasPrefix(c.name, "c") {
			out = append(out, c)
		}
	}
	return out
}

func idents(columns []*column) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.ident()
	}
	return strings.Join(names, ", ")
}
