package schema_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

func exec(t *testing.T, conn *sqlconn.Conn, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		_, err := conn.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
	}
}

const orders = "CREATE TABLE orders (" +
	"id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, customer INT NOT NULL DEFAULT '7', price DECIMAL(12,3), flags BIT(9), " +
	"state ENUM('new','it''s','a,b','c)unsigned'), tags SET('x','y'), placed DATETIME(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), " +
	"name VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_german1_ci, code CHAR(3) NOT NULL, raw VARBINARY(16) INVISIBLE, doc JSON, " +
	"total DECIMAL(20,3) GENERATED ALWAYS AS (price * 2) VIRTUAL, big INT GENERATED ALWAYS AS (customer + 1) STORED, `odd``name` INT, z INT(5) ZEROFILL, " +
	"PRIMARY KEY (id, code), UNIQUE KEY by_code (code), UNIQUE KEY by_name (name, customer), UNIQUE KEY by_prefix (name(3)), UNIQUE KEY by_upper ((upper(name))), " +
	"KEY plain (price DESC), UNIQUE KEY hidden (customer) INVISIBLE) COLLATE utf8mb4_bin"

func TestLoad(t *testing.T) {
	server, db := mysqldtest.Shared(t)
	conn := mysqldtest.Dial(t, server.Root().WithDB(db))
	exec(t, conn, "SET NAMES utf8mb4", orders, "CREATE TABLE `we``ird` (a INT)", "CREATE VIEW v AS SELECT id FROM orders",
		"SET sql_generate_invisible_primary_key = ON", "CREATE TABLE gipk (a INT, UNIQUE KEY (a))", "SET NAMES binary")
	tables, err := schema.Load(t.Context(), conn, db, []string{"orders", "we`ird", "gipk"})
	require.NoError(t, err)
	require.Len(t, tables, 3)
	o := tables[0]
	require.Equal(t, "orders", o.Name)
	require.Equal(t, []string{db, "InnoDB", "utf8mb4", "utf8mb4_bin"}, []string{o.DB, o.Engine, o.Charset, o.Collation})
	require.Equal(t, []int{0, 8}, o.PrimaryKey)
	require.Equal(t, [][]int{{8}, {7, 1}, {1}}, o.UniqueKeys, "by_code, by_name, hidden; not the prefix, not the expression")
	require.Contains(t, o.CreateStatement, "CREATE TABLE `orders`")
	seven := "7"
	for name, want := range map[string]schema.Column{
		"id":       {DataType: "bigint", ColumnType: "bigint unsigned", Unsigned: true, Precision: 20, AutoIncrement: true},
		"customer": {DataType: "int", ColumnType: "int", Precision: 10, Default: &seven},
		"price":    {DataType: "decimal", ColumnType: "decimal(12,3)", Precision: 12, Scale: 3, Nullable: true},
		"flags":    {DataType: "bit", ColumnType: "bit(9)", Precision: 9, Nullable: true},
		"code":     {DataType: "char", ColumnType: "char(3)", Length: 3, Charset: "utf8mb4", Collation: "utf8mb4_bin"},
		"name":     {DataType: "varchar", ColumnType: "varchar(20)", Length: 20, Charset: "latin1", Collation: "latin1_german1_ci", Nullable: true},
		"raw":      {DataType: "varbinary", ColumnType: "varbinary(16)", Length: 16, Nullable: true, Invisible: true},
		"doc":      {DataType: "json", ColumnType: "json", Nullable: true},
		"total":    {DataType: "decimal", ColumnType: "decimal(20,3)", Precision: 20, Scale: 3, Nullable: true, Generated: true, Expression: "(`price` * 2)"},
		"big":      {DataType: "int", ColumnType: "int", Precision: 10, Nullable: true, Generated: true, Expression: "(`customer` + 1)"},
	} {
		want.Name = name
		require.Equal(t, want, o.Columns[o.Column(name)], name)
	}
	require.Equal(t, []string{"new", "it's", "a,b", "c)unsigned"}, o.Columns[o.Column("STATE")].EnumValues)
	require.False(t, o.Columns[o.Column("state")].Unsigned)
	require.Equal(t, []string{"x", "y"}, o.Columns[o.Column("tags")].EnumValues)
	placed := o.Columns[o.Column("placed")]
	require.Equal(t, 3, placed.Fsp)
	require.False(t, placed.Generated, "DEFAULT_GENERATED is not a generated column")
	require.True(t, o.Columns[o.Column("z")].Zerofill())
	require.Equal(t, "odd`name", o.Columns[13].Name)
	require.Equal(t, -1, o.Column("nope"))

	byName := make(map[string]schema.Index)
	for _, i := range o.Indexes {
		byName[i.Name] = i
	}
	require.Equal(t, "PRIMARY", o.Indexes[0].Name)
	require.Equal(t, []schema.IndexPart{{Column: 7, Prefix: 3}}, byName["by_prefix"].Parts)
	require.Equal(t, -1, byName["by_upper"].Parts[0].Column)
	require.Contains(t, byName["by_upper"].Parts[0].Expression, "upper(`name`)")
	require.Equal(t, []schema.IndexPart{{Column: 2, Descending: true}}, byName["plain"].Parts)

	require.Empty(t, tables[1].KeyColumns())
	gipk := tables[2]
	require.Equal(t, "my_row_id", gipk.Columns[0].Name)
	require.True(t, gipk.Columns[0].Invisible)
	require.Equal(t, []int{0}, gipk.KeyColumns())
	require.Equal(t, [][]int{{1}}, gipk.UniqueKeys)

	raw, err := json.Marshal(o)
	require.NoError(t, err)
	var back schema.Table
	require.NoError(t, json.Unmarshal(raw, &back))
	require.Equal(t, *o, back)

	all, err := schema.Load(t.Context(), conn, db, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"gipk", "orders", "we`ird"}, []string{all[0].Name, all[1].Name, all[2].Name})

	for _, missing := range []string{"nope", "v"} {
		_, err = schema.Load(t.Context(), conn, db, []string{"orders", missing})
		require.ErrorIs(t, err, schema.ErrNoTable)
		require.ErrorContains(t, err, "table "+missing)
		present, err := schema.Exists(t.Context(), conn, db, missing)
		require.NoError(t, err)
		require.False(t, present)
	}
	present, err := schema.Exists(t.Context(), conn, db, "we`ird")
	require.NoError(t, err)
	require.True(t, present)
	none, err := schema.Load(t.Context(), conn, "no_such_database", nil)
	require.NoError(t, err)
	require.Empty(t, none)
}

// The CREATE statement makes a table without a difference, also one whose columns have names and defaults beyond ASCII.
func TestCreateStatementMakesTheSameTable(t *testing.T) {
	server, db := mysqldtest.Shared(t)
	conn := mysqldtest.Dial(t, server.Root().WithDB(db))
	exec(t, conn, "SET NAMES utf8mb4", orders, "CREATE TABLE t2 (größe VARCHAR(10) DEFAULT 'ü', e ENUM('ä','ß') CHARACTER SET latin1)",
		"SET sql_generate_invisible_primary_key = ON", "CREATE TABLE gipk (a INT)", "SET sql_generate_invisible_primary_key = OFF", "SET NAMES binary")
	for _, want := range loadAll(t, conn, db) {
		exec(t, conn, "DROP TABLE "+sqlconn.QuoteIdent(want.Name), "SET NAMES utf8mb4", want.CreateStatement, "SET NAMES binary")
		have, err := schema.Load(t.Context(), conn, db, []string{want.Name})
		require.NoError(t, err)
		want.CreateStatement, have[0].CreateStatement = "", "" // a second one spells out character sets
		require.Equal(t, want, have[0])
	}
}

func loadAll(t *testing.T, conn *sqlconn.Conn, db string) []*schema.Table {
	t.Helper()
	tables, err := schema.Load(t.Context(), conn, db, nil)
	require.NoError(t, err)
	return tables
}
