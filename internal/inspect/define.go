package inspect

import (
	"fmt"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"
	"vitess.io/vitess/go/mysql/collations"

	"braid/internal/rowimage"
	"braid/internal/schema"
)

// define makes a definition of what the log itself says of a table: with binlog_row_metadata=FULL names, members of ENUM and SET, and
// the primary key; without, columns @1, @2, ….
func define(m *rowimage.TableMap) *schema.Table {
	t := &schema.Table{DB: m.DB, Name: m.Name, PrimaryKey: m.PrimaryKey, Engine: "unknown"}
	for i := range m.Columns {
		c := defineColumn(&m.Columns[i])
		if c.Name == "" {
			c.Name = fmt.Sprintf("@%d", i+1)
		}
		t.Columns = append(t.Columns, c)
	}
	return t
}

func defineColumn(m *rowimage.MapColumn) schema.Column {
	c := schema.Column{Name: m.Name, Nullable: m.Nullable, Unsigned: m.Unsigned, EnumValues: m.Values, Invisible: m.Invisible}
	meta := int(m.Meta)
	binary := m.Collation == collations.CollationBinaryID
	switch m.Type {
	case mysql.MYSQL_TYPE_STRING:
		if c.DataType = "char"; binary {
			c.DataType, c.Length = "binary", int64(meta)
		}
	case mysql.MYSQL_TYPE_VARCHAR, mysql.MYSQL_TYPE_VAR_STRING:
		if c.DataType = "varchar"; binary {
			c.DataType, c.Length = "varbinary", int64(meta)
		}
	case mysql.MYSQL_TYPE_BLOB:
		c.DataType = [...]string{"", "tiny", "", "medium", "long"}[min(meta, 4)] + "text"
		if binary {
			c.DataType = strings.TrimSuffix(c.DataType, "text") + "blob"
		}
	case mysql.MYSQL_TYPE_NEWDECIMAL:
		c.DataType, c.Precision, c.Scale = "decimal", meta>>8, meta&0xff
	case mysql.MYSQL_TYPE_BIT:
		c.DataType, c.Precision = "bit", meta
	case mysql.MYSQL_TYPE_TIME2, mysql.MYSQL_TYPE_DATETIME2, mysql.MYSQL_TYPE_TIMESTAMP2:
		c.DataType, c.Fsp = dataTypes[m.Type], meta
	default:
		c.DataType = dataTypes[m.Type]
	}
	c.ColumnType = c.DataType
	if strings.HasSuffix(c.DataType, "char") || strings.HasSuffix(c.DataType, "text") {
		c.Collation = collations.NewEnvironment("8.0.30").LookupName(collations.ID(m.Collation))
		c.Charset, _, _ = strings.Cut(c.Collation, "_")
	}
	return c
}

var dataTypes = map[byte]string{
	mysql.MYSQL_TYPE_TINY: "tinyint", mysql.MYSQL_TYPE_SHORT: "smallint", mysql.MYSQL_TYPE_INT24: "mediumint", mysql.MYSQL_TYPE_LONG: "int",
	mysql.MYSQL_TYPE_LONGLONG: "bigint", mysql.MYSQL_TYPE_YEAR: "year", mysql.MYSQL_TYPE_FLOAT: "float", mysql.MYSQL_TYPE_DOUBLE: "double",
	mysql.MYSQL_TYPE_DATE: "date", mysql.MYSQL_TYPE_TIME: "time", mysql.MYSQL_TYPE_DATETIME: "datetime", mysql.MYSQL_TYPE_TIMESTAMP: "timestamp",
	mysql.MYSQL_TYPE_TIME2: "time", mysql.MYSQL_TYPE_DATETIME2: "datetime", mysql.MYSQL_TYPE_TIMESTAMP2: "timestamp",
	mysql.MYSQL_TYPE_ENUM: "enum", mysql.MYSQL_TYPE_SET: "set", mysql.MYSQL_TYPE_JSON: "json", mysql.MYSQL_TYPE_GEOMETRY: "geometry",
	mysql.MYSQL_TYPE_VECTOR: "vector",
}
