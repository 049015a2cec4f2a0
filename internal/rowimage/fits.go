package rowimage

import (
	"fmt"
	"strings"

	"braid/internal/schema"
)

// Fits reports, as an error that shows both sides, what keeps row events of this map from being read with the definition. It compares what decides
// how bytes are read, and names where the event has them; not character sets or defaults.
func (m *TableMap) Fits(t *schema.Table) error {
	if len(m.Columns) != len(t.Columns) {
		return fmt.Errorf("table %s.%s: the binlog has %d columns%s, the definition has %d (%s)",
			m.DB, m.Name, len(m.Columns), m.list(), len(t.Columns), columnNames(t))
	}
	for i := range m.Columns {
		c, def := &m.Columns[i], &t.Columns[i]
		if why := m.misfit(c, def); why != "" {
			return fmt.Errorf("table %s.%s: column %d: the binlog has %s, the definition has %s %s: %s",
				m.DB, m.Name, i+1, strings.TrimSpace(c.Name+" "+c.String()), def.Name, def.ColumnType, why)
		}
	}
	return nil
}

func (m *TableMap) list() string {
	if !m.Named {
		return ""
	}
	names := make([]string, len(m.Columns))
	for i := range m.Columns {
		names[i] = m.Columns[i].Name
	}
	return " (" + strings.Join(names, ", ") + ")"
}

func columnNames(t *schema.Table) string {
	names := make([]string, len(t.Columns))
	for i := range t.Columns {
		names[i] = t.Columns[i].Name
	}
	return strings.Join(names, ", ")
}

func (m *TableMap) misfit(c *MapColumn, def *schema.Column) string {
	switch {
	case m.Named && !strings.EqualFold(c.Name, def.Name):
		return "another name"
	case !typeFits(c, def):
		return "another type"
	case m.Signed && isNumeric(c) && c.Type != typeYear && c.Unsigned != def.Unsigned:
		return "another sign"
	case c.Nullable && !def.Nullable:
		return "only one may be NULL"
	}
	return ""
}

// typeFits compares type and size.
func typeFits(c *MapColumn, def *schema.Column) bool {
	meta := int(c.Meta)
	switch def.DataType {
	case "binary":
		return c.Type == typeString && meta == int(def.Length)
	case "varbinary":
		return c.Type == typeVarchar && meta == int(def.Length)
	case "char", "varchar": // meta is in bytes, the definition in characters
		want := byte(typeString)
		if def.DataType == "varchar" {
			want = typeVarchar
		}
		return (c.Type == want || c.Type == typeVarString && want == typeVarchar) &&
			(def.Length <= 0 || meta >= int(def.Length) && meta%int(def.Length) == 0)
	case "decimal":
		return c.Type == typeDecimal && meta == def.Precision<<8|def.Scale
	case "bit":
		return c.Type == typeBit && meta == def.Precision
	case "time", "datetime", "timestamp":
		return timeFits(c, def)
	}
	return c.Type == wantTypes[def.DataType].typ && (wantTypes[def.DataType].meta == 0 || meta == wantTypes[def.DataType].meta)
}

func timeFits(c *MapColumn, def *schema.Column) bool {
	if typeName(c.Type) != def.DataType {
		return false
	}
	old := c.Type == typeTime || c.Type == typeDatetime || c.Type == typeTimestamp
	return old && def.Fsp == 0 || int(c.Meta) == def.Fsp
}

type wantType struct {
	typ  byte
	meta int // 0 is any
}

var wantTypes = map[string]wantType{
	"tinyint": {typeTiny, 0}, "smallint": {typeShort, 0}, "mediumint": {typeInt24, 0}, "int": {typeLong, 0}, "bigint": {typeLongLong, 0},
	"year": {typeYear, 0}, "float": {typeFloat, 0}, "double": {typeDouble, 0}, "date": {typeDate, 0},
	"enum": {typeEnum, 0}, "set": {typeSet, 0}, "json": {typeJSON, 0}, "vector": {typeVector, 0},
	"tinyblob": {typeBlob, 1}, "blob": {typeBlob, 2}, "mediumblob": {typeBlob, 3}, "longblob": {typeBlob, 4},
	"tinytext": {typeBlob, 1}, "text": {typeBlob, 2}, "mediumtext": {typeBlob, 3}, "longtext": {typeBlob, 4},
	"geometry": {typeGeometry, 0}, "point": {typeGeometry, 0}, "linestring": {typeGeometry, 0}, "polygon": {typeGeometry, 0},
	"multipoint": {typeGeometry, 0}, "multilinestring": {typeGeometry, 0}, "multipolygon": {typeGeometry, 0},
	"geomcollection": {typeGeometry, 0}, "geometrycollection": {typeGeometry, 0},
}

// String describes the type for messages.
func (c *MapColumn) String() string {
	name := typeName(c.Type)
	switch c.Type {
	case typeDecimal:
		name = fmt.Sprintf("decimal(%d,%d)", c.Meta>>8, c.Meta&0xff)
	case typeBit, typeTime2, typeDatetime2, typeTimestamp2:
		name = fmt.Sprintf("%s(%d)", name, c.Meta)
	case typeString, typeVarchar, typeVarString:
		name = fmt.Sprintf("%s of %d bytes", name, c.Meta)
	case typeBlob, typeGeometry, typeJSON, typeVector:
		name = fmt.Sprintf("%s of %d length bytes", name, c.Meta)
	}
	if c.Unsigned && c.Type != typeYear {
		name += " unsigned"
	}
	return name
}
