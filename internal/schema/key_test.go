package schema

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKeyReached(t *testing.T) {
	table := &Table{
		Columns:    []Column{{Name: "a", DataType: "bigint"}, {Name: "b", DataType: "varchar"}, {Name: "c", DataType: "int"}},
		PrimaryKey: []int{0, 1, 2},
		Indexes:    []Index{{Name: "PRIMARY", Unique: true, Parts: []IndexPart{{Column: 0}, {Column: 1}, {Column: 2, Descending: true}}}},
	}
	key := func(cells ...string) (row [][]byte) {
		for _, c := range cells {
			row = append(row, []byte(c))
		}
		return row
	}
	for _, c := range []struct {
		key, last []string
		want      bool
	}{
		{[]string{"-5", "x", "1"}, []string{"3", "a", "1"}, true},
		{[]string{"10", "x", "1"}, []string{"9", "y", "1"}, false},
		{[]string{"9", "x", "1"}, []string{"10", "a", "1"}, true},
		{[]string{"1", "a", "1"}, []string{"1", "b", "1"}, false}, // the collation decides
		{[]string{"1", "a", "5"}, []string{"1", "a", "4"}, true},  // descending
		{[]string{"1", "a", "4"}, []string{"1", "a", "5"}, false},
		{[]string{"1", "a", "4"}, []string{"1", "a", "4"}, true},
		{[]string{"1", "a"}, []string{"2", "a", "1"}, false},
		{[]string{"18446744073709551615", "a", "1"}, []string{"18446744073709551614", "a", "1"}, false},
	} {
		require.Equal(t, c.want, table.KeyReached(key(c.key...), key(c.last...)), "%v %v", c.key, c.last)
	}
	require.False(t, (&Table{}).KeyReached(nil, nil))
}
