package bulk

import (
	"fmt"
	"strings"

	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// form is how a column's cells travel in LOAD DATA.
type form uint8

const (
	plain    form = iota // text without bytes that need an escape: numbers, times
	escaped              // bytes
	bits                 // the bytes of a number
	member               // the number of an ENUM or SET, through CAST
	document             // JSON, through CONVERT
)

var forms = map[string]form{
	"tinyint": plain, "smallint": plain, "mediumint": plain, "int": plain, "bigint": plain, "decimal": plain, "float": plain, "double": plain,
	"year": plain, "date": plain, "time": plain, "datetime": plain, "timestamp": plain,
	"bit": bits, "enum": member, "set": member, "json": document,
}

type column struct {
	def  *schema.Column
	at   int // in a row of the source
	form form
	size int // bytes of a BIT
	enum bool
}

// Table is a source table bound to its target. The target must take the source's cells as they are; who binds tables has compared them.
type Table struct {
	columns []column
	name    string // of the target, for messages
	load    string
	replace []byte
	enums   []int // columns that may hold no member
}

// NewTable compiles the statements. Columns that either side generates are not written.
func NewTable(source, target *schema.Table) (*Table, error) {
	t := &Table{name: target.DB + "." + target.Name}
	var names, fields, sets []string
	for i := range source.Columns {
		def := &source.Columns[i]
		at := target.Column(def.Name)
		if def.Generated {
			continue
		}
		if at < 0 {
			return nil, fmt.Errorf("table %s has no column %s", t.name, def.Name)
		}
		if target.Columns[at].Generated {
			continue
		}
		c := column{def: def, at: i, form: escaped, size: (def.Precision + 7) / 8, enum: def.DataType == "enum"}
		if f, ok := forms[def.DataType]; ok {
			c.form = f
		}
		name, variable := sqlconn.QuoteIdent(def.Name), fmt.Sprintf("@_braid_%d", i)
		names = append(names, name)
		switch c.form {
		case member:
			fields, sets = append(fields, variable), append(sets, name+"=CAST("+variable+" AS UNSIGNED)")
		case document:
			fields, sets = append(fields, variable), append(sets, name+"=CONVERT("+variable+" USING utf8mb4)")
		default:
			fields = append(fields, name)
		}
		if c.enum {
			t.enums = append(t.enums, i)
		}
		t.columns = append(t.columns, c)
	}
	quoted := sqlconn.QuoteIdent(target.DB) + "." + sqlconn.QuoteIdent(target.Name)
	t.load = "SAVEPOINT " + savepoint + ";LOAD DATA LOCAL INFILE 'braid' REPLACE INTO TABLE " + quoted +
		" CHARACTER SET binary FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' (" + strings.Join(fields, ",") + ")"
	if len(sets) > 0 {
		t.load += " SET " + strings.Join(sets, ",")
	}
	t.replace = []byte("REPLACE INTO " + quoted + " (" + strings.Join(names, ",") + ") VALUES ")
	return t, nil
}

const savepoint = "_braid_bulk"

// expected is how many warnings the rows raise when they are written: one for each ENUM that holds no member. The server's counter ends at
// 65,535.
func (t *Table) expected(rows []rowimage.Row) int {
	n := 0
	for _, i := range t.enums {
		for _, row := range rows {
			if len(row[i]) == 1 && row[i][0] == '0' {
				n++
			}
		}
	}
	return min(n, 1<<16-1)
}

// appendValues appends a row as REPLACE has it.
func (t *Table) appendValues(dst []byte, row rowimage.Row) []byte {
	dst = append(dst, '(')
	for i := range t.columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		c := &t.columns[i]
		dst = rowimage.AppendLiteralTo(dst, c.def, row[c.at])
	}
	return append(dst, ')')
}
