package schema_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/schema"
)

func base() *schema.Table {
	return &schema.Table{
		DB: "a", Name: "t", PrimaryKey: []int{0},
		Columns: []schema.Column{
			{Name: "id", DataType: "int", ColumnType: "int", AutoIncrement: true},
			{Name: "name", DataType: "varchar", ColumnType: "varchar(20)", Charset: "utf8mb4", Collation: "utf8mb4_bin", Nullable: true},
			{Name: "twice", DataType: "int", ColumnType: "int", Generated: true, Expression: "(`id` * 2)"},
		},
	}
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func(*schema.Table)
		want   []string
	}{
		{"nothing", func(*schema.Table) {}, nil},
		{"what may differ", func(b *schema.Table) {
			b.DB, b.Name, b.Rows, b.UniqueKeys = "b", "u", 5, [][]int{{1}}
			b.Columns[0].AutoIncrement, b.Columns[0].ColumnType, b.Columns[0].Name = false, "int(11)", "ID"
		}, nil},
		{"type", func(b *schema.Table) { b.Columns[1].ColumnType = "varchar(10)" }, []string{"column name: type: varchar(10), not varchar(20)"}},
		{"zerofill", func(b *schema.Table) { b.Columns[0].ColumnType = "int(5) unsigned zerofill" }, []string{"column id: type: int(5) unsigned zerofill, not int"}},
		{"charset", func(b *schema.Table) { b.Columns[1].Charset, b.Columns[1].Collation = "latin1", "latin1_bin" },
			[]string{"column name: character set: latin1, not utf8mb4", "column name: collation: latin1_bin, not utf8mb4_bin"}},
		{"null", func(b *schema.Table) { b.Columns[1].Nullable = false }, []string{"column name: null: NOT NULL, not NULL"}},
		{"generated", func(b *schema.Table) { b.Columns[2].Expression, b.Columns[2].Generated = "", false },
			[]string{"column twice: generated as: none, not (`id` * 2)"}},
		{"missing", func(b *schema.Table) { b.Columns = b.Columns[:2] }, []string{"column twice: missing: none, not int"}},
		{"more", func(b *schema.Table) { b.Columns = append(b.Columns, schema.Column{Name: "x", ColumnType: "date"}) }, []string{"column x: not expected: date, not none"}},
		{"order", func(b *schema.Table) { b.Columns[0], b.Columns[1], b.PrimaryKey = b.Columns[1], b.Columns[0], []int{1} },
			[]string{"column order: name, id, twice, not id, name, twice"}},
		{"primary key", func(b *schema.Table) { b.PrimaryKey = nil }, []string{"primary key: none, not id"}},
	} {
		b := base()
		c.change(b)
		var got []string
		for _, d := range schema.Compare(base(), b) {
			got = append(got, d.String())
		}
		require.Equal(t, c.want, got, c.what)
	}
}

func TestKeyColumns(t *testing.T) {
	table := base()
	require.Equal(t, []int{0}, table.KeyColumns())
	table.PrimaryKey, table.UniqueKeys = nil, [][]int{{1}, {2, 0}}
	require.Equal(t, []int{2, 0}, table.KeyColumns(), "the first without a nullable column")
	table.UniqueKeys = [][]int{{1}}
	require.Nil(t, table.KeyColumns())
}
