package inspect

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"braid/internal/schema"
)

// Cell is a canonical cell by its column's name.
type Cell struct {
	Column string  `json:"column"`
	Value  *string `json:"value"` // nil is NULL; bytes are 0x and hexadecimal digits
	quoted bool
}

func newCell(col *schema.Column, cell []byte) Cell {
	c := Cell{Column: col.Name}
	if cell == nil {
		return c
	}
	v, quoted := value(col, cell)
	c.Value, c.quoted = &v, quoted
	return c
}

// value is the text of a cell, and whether people want quotes around it. Bytes, and text that is not UTF-8, are hexadecimal.
func value(col *schema.Column, cell []byte) (text string, quoted bool) {
	switch col.DataType {
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "geometry", "vector", "point", "linestring", "polygon",
		"multipoint", "multilinestring", "multipolygon", "geomcollection", "geometrycollection":
		return "0x" + hex.EncodeToString(cell), false
	case "tinyint", "smallint", "mediumint", "int", "bigint", "year", "decimal", "float", "double", "bit", "enum", "set", "json":
		return string(cell), false
	}
	if !utf8.Valid(cell) {
		return "0x" + hex.EncodeToString(cell), false
	}
	return string(cell), true
}

// String is column=value for people.
func (c Cell) String() string {
	const most = 80
	switch {
	case c.Value == nil:
		return c.Column + "=NULL"
	case !c.quoted:
		return c.Column + "=" + cut(*c.Value, most)
	}
	return c.Column + "='" + strings.NewReplacer("\\", `\\`, "'", `\'`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\x00", `\0`, "\x1b", `\e`).
		Replace(cut(*c.Value, most)) + "'"
}

// Cells joins cells for people.
func Cells(cells []Cell) string {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = c.String()
	}
	return strings.Join(texts, ", ")
}

// cut shortens a text for people, at the bound of a character.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	end := most
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return fmt.Sprintf("%s…(%d bytes)", s[:end], len(s))
}

// appendJSON appends a string.
func appendJSON(dst []byte, s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string
	}
	return append(dst, b...)
}

// Size is a number of bytes for people.
func Size(n int64) string {
	switch f := float64(n); {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", f/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", f/(1<<20))
	default:
		return fmt.Sprintf("%.1f GiB", f/(1<<30))
	}
}
