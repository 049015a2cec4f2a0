package vstream

import (
	"fmt"
	"strconv"

	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// keyIndex is the index by which a table is read, in its order.
type keyIndex struct {
	name       string
	columns    []int
	descending []bool // of each column
}

// indexOf finds the index of a table's key.
func indexOf(def *schema.Table, key []int) keyIndex {
	x := keyIndex{columns: key, descending: make([]bool, len(key))}
	if len(def.PrimaryKey) > 0 {
		x.name = "PRIMARY"
	}
	if index := def.KeyIndex(); index != nil {
		x.name = index.Name
		for i, p := range index.Parts {
			x.descending[i] = p.Descending
		}
	}
	return x
}

// chunkSQL reads the rows of a range in the order of the key's index, or those with certain keys, or all.
func chunkSQL(def *schema.Table, key []int, req *WindowRequest, limit int) string {
	b := []byte("SELECT ")
	for i := range def.Columns {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, rowimage.SelectExpr(def.Columns[i])...)
	}
	x := indexOf(def, key)
	b = x.appendFrom(b, def)
	if req.Whole != 0 {
		return string(b)
	}
	if req.Keys != nil {
		return string(appendKeys(append(b, " WHERE "...), def, key, req.Keys))
	}
	b = x.appendRange(b, def, req.After, req.Until)
	return string(fmt.Appendf(x.appendOrder(b, def), " LIMIT %d", limit))
}

// appendFrom names the table and its index. Forced, the server does not even look how many rows lie in a range of it.
func (x *keyIndex) appendFrom(b []byte, def *schema.Table) []byte {
	return x.appendTable(b, def, " FORCE INDEX (")
}

func (x *keyIndex) appendTable(b []byte, def *schema.Table, hint string) []byte {
	b = append(b, " FROM "+sqlconn.QuoteIdent(def.DB)+"."+sqlconn.QuoteIdent(def.Name)...)
	if x.name != "" {
		b = append(b, hint+sqlconn.QuoteIdent(x.name)+")"...)
	}
	return b
}

// appendRange writes the condition after < key <= until.
func (x *keyIndex) appendRange(b []byte, def *schema.Table, after, until rowimage.Row) []byte {
	word := " WHERE ("
	if after != nil {
		b = append(x.appendBound(append(b, word...), def, after, false), ')')
		word = " AND ("
	}
	if until != nil {
		b = append(x.appendBound(append(b, word...), def, until, true), ')')
	}
	return b
}

// appendBound writes key > bound, or key <= bound. For several columns the row constructor (a, b) > (1, 2) would scan the index from its
// beginning; spelled out, a > 1 OR (a = 1 AND b > 2), the server makes ranges of it.
func (x *keyIndex) appendBound(b []byte, def *schema.Table, bound rowimage.Row, below bool) []byte {
	for n := range x.columns {
		if n > 0 {
			b = append(b, " OR "...)
		}
		b = append(b, '(')
		for i := range n {
			b = append(appendCompare(b, def, x.columns[i], "=", bound[i]), " AND "...)
		}
		op := ">"
		if below != x.descending[n] {
			op = "<"
		}
		if below && n == len(x.columns)-1 {
			op += "="
		}
		b = append(appendCompare(b, def, x.columns[n], op, bound[n]), ')')
	}
	return b
}

func (x *keyIndex) appendOrder(b []byte, def *schema.Table) []byte {
	b = append(b, " ORDER BY "...)
	for i, c := range x.columns {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, sqlconn.QuoteIdent(def.Columns[c].Name)...)
		if x.descending[i] {
			b = append(b, " DESC"...)
		}
	}
	return b
}

func appendKeys(b []byte, def *schema.Table, key []int, keys []rowimage.Row) []byte {
	if len(keys) == 0 {
		return append(b, "FALSE"...)
	}
	if len(key) == 1 {
		b = append(b, sqlconn.QuoteIdent(def.Columns[key[0]].Name)+" IN ("...)
		for i, k := range keys {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = rowimage.AppendLiteralTo(b, &def.Columns[key[0]], k[0])
		}
		return append(b, ')')
	}
	for i, k := range keys {
		if i > 0 {
			b = append(b, " OR "...)
		}
		b = append(b, '(')
		for j, c := range key {
			if j > 0 {
				b = append(b, " AND "...)
			}
			b = appendCompare(b, def, c, "=", k[j])
		}
		b = append(b, ')')
	}
	return b
}

func appendCompare(b []byte, def *schema.Table, column int, op string, cell []byte) []byte {
	col := &def.Columns[column]
	name := sqlconn.QuoteIdent(col.Name)
	if col.DataType == "enum" {
		return appendMembers(b, name, op, cell, len(col.EnumValues))
	}
	return rowimage.AppendLiteralTo(append(b, name+" "+op+" "...), col, cell)
}

// appendMembers compares an ENUM by naming the numbers: the server makes ranges of equality only. 0 is the number of what is no member; the one
// behind the last is always named, because a single one would be a constant to the server, which then sorts.
func appendMembers(b []byte, name, op string, cell []byte, members int) []byte {
	at, err := strconv.Atoi(string(cell))
	if err != nil {
		return append(append(b, name+" "+op+" "...), cell...) // not of this server
	}
	from, to := 0, members
	switch op {
	case "<":
		to = at - 1
	case "<=":
		to = at
	case ">":
		from = at + 1
	case ">=":
		from = at
	default:
		from, to = at, at
	}
	b = append(b, name+" IN ("...)
	for i := from; i <= to; i++ {
		b = append(strconv.AppendInt(b, int64(i), 10), ',')
	}
	return append(strconv.AppendInt(b, int64(members+1), 10), ')')
}
