package writeset

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"braid/internal/schema"
)

// form makes normal forms of one column's cells: cells that an index holds equal have equal forms.
type form struct {
	class  class
	collat *collation // of text
	trim   bool       // the type pads values to its length, with spaces (text, where the collation does not) or zeros (bytes)
	kind   string     // the data type, where values of different types with equal forms are not equal
}

type class uint8

const (
	unknown class = iota // no form: see newForm
	integer
	decimal
	float
	number // of BIT, ENUM, SET
	temporal
	text
	octets
)

// constant reports whether the form says nothing about the value.
func (f *form) constant() bool { return f.class == unknown }

// String identifies the form: cells of two columns can be compared by forms that have equal strings.
func (f *form) String() string {
	s := strconv.Itoa(int(f.class)) + f.kind
	if f.collat != nil {
		s += f.collat.name
	}
	if f.trim {
		s += " trimmed"
	}
	return s
}

// newForm returns the form of the cells of column src, as an index over column dst compares them. It has the class unknown when that cannot be
// told: the types differ so that storing may change values, or the collation is not known.
func newForm(src, dst *schema.Column) form {
	if dst.Generated && (!src.Generated || src.Expression != dst.Expression) {
		return form{}
	}
	f := formOf(dst)
	if f.class == unknown || f.class != formOf(src).class || !keeps(f.class, src, dst) {
		return form{}
	}
	return f
}

func formOf(col *schema.Column) form {
	switch col.DataType {
	case "tinyint", "smallint", "mediumint", "int", "bigint":
		return form{class: integer}
	case "decimal":
		return form{class: decimal}
	case "float", "double":
		return form{class: float}
	case "bit", "enum", "set":
		return form{class: number, kind: col.DataType}
	case "date", "time", "datetime", "timestamp", "year":
		return form{class: temporal, kind: col.DataType}
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext":
		c := lookupCollation(col.Collation)
		if c == nil {
			return form{}
		}
		return form{class: text, collat: c, trim: col.DataType == "char" && c.pad == nil}
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
		return form{class: octets, trim: col.DataType == "binary"}
	}
	return form{}
}

// keeps reports whether dst stores every value of src as it is.
func keeps(c class, src, dst *schema.Column) bool {
	switch c {
	case integer:
		s, d := integerBytes[src.DataType], integerBytes[dst.DataType]
		return src.Unsigned == dst.Unsigned && d >= s || src.Unsigned && d > s
	case decimal:
		return dst.Scale >= src.Scale && dst.Precision-dst.Scale >= src.Precision-src.Scale && (src.Unsigned || !dst.Unsigned)
	case float:
		return src.ColumnType == dst.ColumnType || src.DataType == "float" && dst.ColumnType == "double"
	case number:
		return src.DataType == dst.DataType && dst.Precision >= src.Precision &&
			len(dst.EnumValues) >= len(src.EnumValues) && slices.Equal(src.EnumValues, dst.EnumValues[:len(src.EnumValues)])
	case temporal:
		return src.DataType == dst.DataType && dst.Fsp >= src.Fsp
	case text:
		return strings.EqualFold(src.Charset, dst.Charset) && room(src, dst)
	case octets:
		return room(src, dst)
	}
	return false
}

var integerBytes = map[string]int{"tinyint": 1, "smallint": 2, "mediumint": 3, "int": 4, "bigint": 8}

// room compares lengths. Those of TEXT are bytes by nature, those of VARCHAR characters of up to four.
func room(src, dst *schema.Column) bool {
	if strings.HasSuffix(dst.DataType, "text") && !strings.HasSuffix(src.DataType, "text") {
		return dst.Length >= 4*src.Length
	}
	return dst.Length >= src.Length
}

// append appends the form of a cell, cut to the first prefix characters or bytes unless that is 0. It returns false when the cell has none.
func (f *form) append(dst, cell []byte, prefix int) ([]byte, bool) {
	switch f.class {
	case integer:
		return appendInteger(dst, cell)
	case decimal:
		return appendDecimal(dst, cell)
	case float:
		if string(cell) == "-0" {
			cell = cell[1:]
		}
	case temporal:
		cell = trimFraction(cell)
	case octets:
		if prefix > 0 {
			cell = cell[:min(prefix, len(cell))]
		}
		if f.trim {
			cell = bytes.TrimRight(cell, "\x00")
		}
	case text:
		return f.appendText(dst, cell, prefix)
	}
	return append(dst, cell...), true
}

func (f *form) appendText(dst, cell []byte, prefix int) ([]byte, bool) {
	if prefix > 0 {
		cell = f.collat.prefix(cell, prefix)
	}
	if f.trim {
		cell = bytes.TrimRight(cell, " ")
	}
	return f.collat.append(dst, cell)
}

// appendInteger drops leading zeros and the sign of zero.
func appendInteger(dst, cell []byte) ([]byte, bool) {
	negative := len(cell) > 0 && cell[0] == '-'
	if negative {
		cell = cell[1:]
	}
	if len(cell) == 0 {
		return dst, false
	}
	for _, c := range cell {
		if c < '0' || c > '9' {
			return dst, false
		}
	}
	for len(cell) > 1 && cell[0] == '0' {
		cell = cell[1:]
	}
	if negative && cell[0] != '0' {
		dst = append(dst, '-')
	}
	return append(dst, cell...), true
}

// appendDecimal is appendInteger with a fraction, whose trailing zeros it drops.
func appendDecimal(dst, cell []byte) ([]byte, bool) {
	whole, fraction := cell, []byte(nil)
	if i := bytes.IndexByte(cell, '.'); i >= 0 {
		whole, fraction = cell[:i], bytes.TrimRight(cell[i+1:], "0")
	}
	for _, c := range fraction {
		if c < '0' || c > '9' {
			return dst, false
		}
	}
	if negative := len(whole) > 0 && whole[0] == '-'; negative && len(fraction) > 0 && len(bytes.Trim(whole, "-0")) == 0 {
		dst = append(dst, '-') // -0.5: the sign does not stand with the zero
	}
	dst, ok := appendInteger(dst, whole)
	if len(fraction) > 0 {
		dst = append(append(dst, '.'), fraction...)
	}
	return dst, ok
}

// trimFraction drops idle zeros behind the point of a time.
func trimFraction(cell []byte) []byte {
	if bytes.IndexByte(cell, '.') < 0 {
		return cell
	}
	return bytes.TrimRight(bytes.TrimRight(cell, "0"), ".")
}
