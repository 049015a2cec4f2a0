package vstream

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/rowimage"
	"braid/internal/schema"
)

// collation is what information_schema says about one.
type collation struct {
	name, charset string
	maxLen        int64 // bytes of a character
}

const binaryCollation = 63

// historic is the definition that a table had when the map's rows were written, for a stream that comes to them after the table was changed. It takes
// what the event says (names, types, character sets, primary key: binlog_row_metadata=FULL), and the rest from the
// definition of now. Without the names the event does not say enough.
func (c *catalog) historic(ctx context.Context, m *rowimage.TableMap, now *schema.Table) (*schema.Table, error) {
	def := &schema.Table{DB: now.DB, Name: now.Name, Derived: true, Engine: now.Engine, Charset: now.Charset, Collation: now.Collation, Rows: now.Rows}
	for i := range m.Columns {
		col, err := c.historicColumn(ctx, m, i, now)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", m.Columns[i].Name, err)
		}
		def.Columns = append(def.Columns, col)
	}
	def.PrimaryKey = m.PrimaryKey
	for _, key := range now.UniqueKeys {
		was := translate(key, now, def)
		switch {
		case was == nil:
		case len(now.PrimaryKey) == 0 && slices.Equal(was, m.PrimaryKey): // the server tells it in place of a primary key
			def.PrimaryKey, def.UniqueKeys = nil, slices.Insert(def.UniqueKeys, 0, was)
		default:
			def.UniqueKeys = append(def.UniqueKeys, was)
		}
	}
	return def, nil
}

// describes says whether a definition that rows can be read with is also the one that they were written under, as far as the event tells. The
// server may show what a DDL has made of the table that the stream has not come to, and rows of both can be alike but for
// a collation, the members of an ENUM, or the primary key.
func (c *catalog) describes(ctx context.Context, m *rowimage.TableMap, def *schema.Table) (bool, error) {
	if !m.Named { // it does not tell enough to say what was, so nothing is won by knowing
		return true, nil
	}
	// Where there is no primary key, the server tells a unique key without NULLs instead.
	keyed := slices.Equal(m.PrimaryKey, def.PrimaryKey)
	if len(def.PrimaryKey) == 0 {
		keyed = keyed || slices.ContainsFunc(def.UniqueKeys, func(key []int) bool { return slices.Equal(key, m.PrimaryKey) })
	}
	if !keyed {
		return false, nil
	}
	for i := range m.Columns {
		if same, err := c.describesColumn(ctx, &m.Columns[i], &def.Columns[i]); !same || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (c *catalog) describesColumn(ctx context.Context, was *rowimage.MapColumn, def *schema.Column) (bool, error) {
	if def.DataType == "enum" || def.DataType == "set" {
		same := slices.Equal(was.Values, def.EnumValues)
		if !strings.HasPrefix(def.Charset, "utf8") { // the event has the members in the column's character set
			same = len(was.Values) == len(def.EnumValues)
		}
		if was.Values != nil && !same {
			return false, nil
		}
	}
	if was.Collation == 0 || was.Collation == binaryCollation || def.Collation == "" {
		return true, nil
	}
	if err := c.knowCollations(ctx); err != nil {
		return false, err
	}
	is, known := c.collations[was.Collation]
	if !known || is.name != def.Collation {
		return false, nil
	}
	bytes := was.Type == mysql.MYSQL_TYPE_STRING || was.Type == mysql.MYSQL_TYPE_VARCHAR || was.Type == mysql.MYSQL_TYPE_VAR_STRING
	return !bytes || def.Length <= 0 || int64(was.Meta) == def.Length*is.maxLen, nil
}

// translate finds a key's columns by name; nil if one was not there.
func translate(key []int, from, to *schema.Table) []int {
	out := make([]int, 0, len(key))
	for _, k := range key {
		at := to.Column(from.Columns[k].Name)
		if at < 0 {
			return nil
		}
		out = append(out, at)
	}
	return out
}

func (c *catalog) historicColumn(ctx context.Context, m *rowimage.TableMap, i int, now *schema.Table) (schema.Column, error) {
	was := m.Columns[i]
	at := now.Column(was.Name)
	if at < 0 {
		return c.columnOf(ctx, &was)
	}
	same := now.Columns[at]
	one := rowimage.TableMap{DB: m.DB, Name: m.Name, Signed: m.Signed, Named: true, Columns: []rowimage.MapColumn{was}}
	if one.Fits(&schema.Table{Columns: []schema.Column{same}}) == nil {
		if fits, err := c.describesColumn(ctx, &was, &same); fits || err != nil {
			same.Nullable = was.Nullable
			return same, err
		}
	}
	col, err := c.columnOf(ctx, &was)
	col.Generated, col.Expression, col.AutoIncrement = same.Generated, same.Expression, same.AutoIncrement
	return col, err
}

// dataTypes of the binlog's types that need nothing else.
var dataTypes = map[byte]string{
	mysql.MYSQL_TYPE_TINY: "tinyint", mysql.MYSQL_TYPE_SHORT: "smallint", mysql.MYSQL_TYPE_INT24: "mediumint", mysql.MYSQL_TYPE_LONG: "int",
	mysql.MYSQL_TYPE_LONGLONG: "bigint", mysql.MYSQL_TYPE_FLOAT: "float", mysql.MYSQL_TYPE_DOUBLE: "double", mysql.MYSQL_TYPE_YEAR: "year",
	mysql.MYSQL_TYPE_DATE: "date", mysql.MYSQL_TYPE_JSON: "json", mysql.MYSQL_TYPE_GEOMETRY: "geometry", mysql.MYSQL_TYPE_VECTOR: "vector",
	mysql.MYSQL_TYPE_TIME2: "time", mysql.MYSQL_TYPE_DATETIME2: "datetime", mysql.MYSQL_TYPE_TIMESTAMP2: "timestamp",
	mysql.MYSQL_TYPE_TIME: "time", mysql.MYSQL_TYPE_DATETIME: "datetime", mysql.MYSQL_TYPE_TIMESTAMP: "timestamp",
	mysql.MYSQL_TYPE_ENUM: "enum", mysql.MYSQL_TYPE_SET: "set", mysql.MYSQL_TYPE_BIT: "bit", mysql.MYSQL_TYPE_NEWDECIMAL: "decimal",
}

// columnOf makes a column of what the event says about it.
func (c *catalog) columnOf(ctx context.Context, was *rowimage.MapColumn) (schema.Column, error) {
	col := schema.Column{
		Name: was.Name, DataType: dataTypes[was.Type], Nullable: was.Nullable, Unsigned: was.Unsigned, Invisible: was.Invisible, EnumValues: was.Values,
	}
	meta := int(was.Meta)
	switch was.Type {
	case mysql.MYSQL_TYPE_NEWDECIMAL:
		col.Precision, col.Scale = meta>>8, meta&0xff
		col.ColumnType = fmt.Sprintf("decimal(%d,%d)", col.Precision, col.Scale)
	case mysql.MYSQL_TYPE_BIT:
		col.Precision = meta
		col.ColumnType = fmt.Sprintf("bit(%d)", meta)
	case mysql.MYSQL_TYPE_TIME2, mysql.MYSQL_TYPE_DATETIME2, mysql.MYSQL_TYPE_TIMESTAMP2:
		col.Fsp, col.ColumnType = meta, col.DataType
		if meta > 0 {
			col.ColumnType = fmt.Sprintf("%s(%d)", col.DataType, meta)
		}
	case mysql.MYSQL_TYPE_ENUM, mysql.MYSQL_TYPE_SET:
		col.ColumnType = schema.MemberType(col.DataType, was.Values)
		return col, c.setCharset(ctx, &col, was.Collation)
	case mysql.MYSQL_TYPE_STRING, mysql.MYSQL_TYPE_VARCHAR, mysql.MYSQL_TYPE_VAR_STRING, mysql.MYSQL_TYPE_BLOB:
		return col, c.stringColumn(ctx, was, &col)
	default:
		col.ColumnType = col.DataType
	}
	if col.DataType == "" {
		return col, fmt.Errorf("type %d of the binlog has no name", was.Type)
	}
	if was.Unsigned && was.Type != mysql.MYSQL_TYPE_YEAR { // a year is marked as unsigned, and not called so
		col.ColumnType += " unsigned"
	}
	return col, nil
}

func (c *catalog) stringColumn(ctx context.Context, was *rowimage.MapColumn, col *schema.Column) error {
	names, length := [2]string{"varchar", "varbinary"}, int64(was.Meta)
	switch was.Type {
	case mysql.MYSQL_TYPE_STRING:
		names = [2]string{"char", "binary"}
	case mysql.MYSQL_TYPE_BLOB:
		size := []string{"", "tiny", "", "medium", "long"}[was.Meta]
		names, length = [2]string{size + "text", size + "blob"}, 1<<(8*was.Meta)-1
	}
	if was.Collation == binaryCollation {
		col.DataType, col.Length = names[1], length
	} else {
		if err := c.setCharset(ctx, col, was.Collation); err != nil {
			return err
		}
		col.DataType, col.Length = names[0], length
		if was.Type != mysql.MYSQL_TYPE_BLOB {
			col.Length = length / max(c.collations[was.Collation].maxLen, 1)
		}
	}
	col.ColumnType = col.DataType
	if was.Type != mysql.MYSQL_TYPE_BLOB {
		col.ColumnType = fmt.Sprintf("%s(%d)", col.DataType, col.Length)
	}
	return nil
}

func (c *catalog) setCharset(ctx context.Context, col *schema.Column, id uint64) error {
	if err := c.knowCollations(ctx); err != nil {
		return err
	}
	found, ok := c.collations[id]
	if !ok {
		return fmt.Errorf("the source has no collation %d", id)
	}
	col.Charset, col.Collation = found.charset, found.name
	return nil
}

func (c *catalog) knowCollations(ctx context.Context) (err error) {
	if c.collations == nil {
		c.collations, err = c.loadCollations(ctx)
	}
	return err
}
