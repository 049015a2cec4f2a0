package rows

import (
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/schema"
)

// What the binlog does not tell of a table that is gone is taken from the target, what it tells otherwise is a difference.
func TestDerivedDefinition(t *testing.T) {
	column := func(name, typ, full string) schema.Column {
		return schema.Column{Name: name, DataType: typ, ColumnType: full}
	}
	derived := func() *schema.Table {
		return &schema.Table{Name: "t", Derived: true, Columns: []schema.Column{
			column("k", "int", "int"), column("g", "geometry", "geometry"), column("z", "int", "int"), column("v", "bigint", "bigint"),
		}}
	}
	target := &schema.Table{Name: "t", UniqueKeys: [][]int{{0}}, Columns: []schema.Column{
		column("k", "int", "int"), column("g", "point", "point"), column("z", "int", "int(10) zerofill"), column("v", "bigint", "bigint"),
	}}
	target.Columns[3].Generated = true
	target.ForeignKeys = []schema.ForeignKey{{Name: "fk", Columns: []int{3}, RefTable: "p", RefColumns: []string{"id"}}}
	table, err := NewTable(derived(), target, nil)
	require.NoError(t, err)
	require.True(t, table.sourceKeys, "what the source has done for a foreign key is not done again")
	require.Equal(t, []int{0}, table.key)
	require.Equal(t, []int{0, 1, 2}, table.write, "generated columns are not written")

	other := derived()
	other.Columns[2] = column("z", "smallint", "smallint")
	_, err = NewTable(other, target, nil)
	require.ErrorContains(t, err, "z: source smallint, target int(10) zerofill")
	other = derived()
	other.Derived = false
	_, err = NewTable(other, target, nil)
	require.ErrorContains(t, err, "g: source geometry, target point")

	// Of a key it tells that there is one, not whether it is the primary key: the source's table was swapped with one that has a unique key of that name.
	swapped := derived()
	swapped.UniqueKeys = [][]int{{0}}
	keyed := *target
	keyed.PrimaryKey, keyed.UniqueKeys = []int{0}, nil
	table, err = NewTable(swapped, &keyed, nil)
	require.NoError(t, err)
	require.Equal(t, []int{0}, table.key)
	_, err = NewTable(derived(), &keyed, nil)
	require.ErrorContains(t, err, "key: source (), target (k)")
}

// TestLaterDefinition: a definition that was read from a server which was ahead of the stream may show a type as a DDL that is still to come has
// made it. What is stored otherwise, or computed, is a difference.
func TestLaterDefinition(t *testing.T) {
	column := func(name, typ, full string) schema.Column {
		return schema.Column{Name: name, DataType: typ, ColumnType: full}
	}
	source := &schema.Table{Name: "t", PrimaryKey: []int{0}, Columns: []schema.Column{
		column("k", "int", "int"), column("g", "geometry", "geometry"), column("z", "int", "int(10) zerofill"), column("b", "tinyint", "tinyint(1)"),
	}}
	target := &schema.Table{Name: "t", PrimaryKey: []int{0}, Columns: []schema.Column{
		column("k", "int", "int"), column("g", "point", "point"), column("z", "int", "int"), column("b", "tinyint", "tinyint"),
	}}
	_, err := NewTable(source, target, nil)
	require.ErrorContains(t, err, "z: source int(10) zerofill, target int")
	source.Later = true
	_, err = NewTable(source, target, nil)
	require.NoError(t, err)
	target.Columns[2].Generated = true
	_, err = NewTable(source, target, nil)
	require.ErrorContains(t, err, "z: source int(10) zerofill, target int generated")
	target.Columns[2] = column("z", "bigint", "bigint")
	_, err = NewTable(source, target, nil)
	require.ErrorContains(t, err, "z: source int(10) zerofill, target bigint")
}
