package vdiff

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/apply"
	"braid/internal/filter"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/rowimage"
	"braid/internal/schema"
)

func testTable(t testing.TB, owned, home string, strays bool) *Table {
	def := &schema.Table{
		DB: "d", Name: "t", PrimaryKey: []int{0},
		Columns: []schema.Column{
			{Name: "id", DataType: "bigint", ColumnType: "bigint"},
			{Name: "owner", DataType: "bigint", ColumnType: "bigint"},
			{Name: "v", DataType: "varchar", ColumnType: "varchar(20)", Charset: "utf8mb4", Nullable: true},
		},
	}
	table, err := apply.NewTable(def, def, nil)
	require.NoError(t, err)
	plan := func(keys string) *filter.Plan {
		p, err := filter.Rules{Rules: []filter.Rule{{Table: "t", KeyRange: keys, Vindex: "hash", VindexColumns: []string{"owner"}}}}.Plan(def)
		require.NoError(t, err)
		return p
	}
	return NewTable(table, plan(owned), plan(home), strays)
}

// rows makes rows of words; "-" is NULL.
func rows(lines ...string) []rowimage.Row {
	var out []rowimage.Row
	for _, line := range lines {
		var r rowimage.Row
		for _, w := range strings.Fields(line) {
			if w == "-" {
				r = append(r, nil)
			} else {
				r = append(r, []byte(w))
			}
		}
		out = append(out, r)
	}
	return out
}

func TestCompare(t *testing.T) {
	// hash(1) is in -80, hash(3) too; hash(4) is in 80-.
	for _, tc := range []struct {
		name           string
		owned, home    string
		strays         bool
		source, target []rowimage.Row
		skip           string
		want           []string
		compared       int64
	}{
		{"equal, in any order", "-", "-", false, rows("1 1 a", "2 4 -"), rows("2 4 -", "1 1 a"), "", nil, 2},
		{"all kinds", "-", "-", false, rows("1 1 a", "2 1 b", "3 1 -"), rows("1 1 a", "3 1 x", "4 1 d"), "",
			[]string{"extra_on_target 4", "mismatched 3", "missing_on_target 2"}, 4},
		{"NULL is not the empty string", "-", "-", false, []rowimage.Row{{[]byte("1"), []byte("1"), nil}}, []rowimage.Row{{[]byte("1"), []byte("1"), []byte("")}}, "",
			[]string{"mismatched 1"}, 1},
		{"keys that passed are left out", "-", "-", false, rows("1 1 a"), rows("1 1 b", "2 1 c"), "1 2", nil, 0},
		{"split: a row of the other shard is an extra", "-", "-80", false, rows("1 1 a"), rows("1 1 a", "2 4 b"), "", []string{"extra_on_target 2"}, 2},
		{"merge: rows of other sources are not ours", "-80", "-", false, rows("1 1 a"), rows("1 1 a", "2 4 b"), "", nil, 1},
		{"merge: a row of ours that another source owns here differs", "-80", "-", false, rows("1 1 a"), rows("1 4 a"), "", []string{"mismatched 1"}, 1},
		{"a row of nobody is reported by one", "40-80", "-80", true, nil, rows("7 4 b"), "", []string{"extra_on_target 7"}, 1},
		{"and not by the others", "40-80", "-80", false, nil, rows("7 4 b"), "", nil, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			table := testTable(t, tc.owned, tc.home, tc.strays)
			skip := map[string]bool{}
			for _, id := range strings.Fields(tc.skip) {
				skip[EncodeKey(rowimage.Row{[]byte(id)})] = true
			}
			res, err := table.Compare(tc.source, tc.target, skip)
			require.NoError(t, err)
			var got []string
			for i := range res.Differ {
				got = append(got, fmt.Sprintf("%s %s", res.Differ[i].Kind(), res.Differ[i].Key[0]))
			}
			slices.Sort(got)
			require.Equal(t, tc.want, got)
			require.Equal(t, tc.compared, res.Compared)
		})
	}
}

func TestReport(t *testing.T) {
	table := testTable(t, "-", "-", false)
	r := table.Report(&Difference{Key: rows("1")[0], Source: rows("1 5 same")[0], Target: rowimage.Row{[]byte("1"), []byte("6"), nil}})
	require.Equal(t, RowDiff{Kind: Mismatched, Key: []Cell{{Column: "id", Value: "1"}}, Columns: []CellDiff{
		{Column: "owner", Source: Cell{Column: "owner", Value: "5"}, Target: Cell{Column: "owner", Value: "6"}},
		{Column: "v", Source: Cell{Column: "v", Value: "same"}, Target: Cell{Column: "v", Null: true}},
	}}, r)
	require.Equal(t, "0xff00", cell(&schema.Column{Name: "b"}, []byte{0xff, 0}).Value)
	long := cell(&schema.Column{Name: "b"}, []byte("x"+strings.Repeat("ä", 400)))
	require.Equal(t, "x"+strings.Repeat("ä", 255)+"… and 290 bytes more", long.Value)
}

// The bounds of a chunk mean on the target what they mean on the source, for composite keys and by the column's collation.
func TestRangeAndKeys(t *testing.T) {
	server, db := mysqldtest.Shared(t)
	conn := mysqldtest.Dial(t, server.Root().WithDB(db))
	mysqldtest.Exec(t, server, "CREATE TABLE "+db+".t (r varchar(10) COLLATE utf8mb4_general_ci, n int, f float, b bit(9), e enum('x','y'), PRIMARY KEY (r, n))",
		"INSERT INTO "+db+".t VALUES ('a',1,1.1,5,'x'),('A',2,NULL,6,'y'),('b',1,0.5,7,'x'),('B',3,0.25,8,'y'),('c',1,3,9,'x')")
	defs, err := schema.Load(t.Context(), conn, db, []string{"t"})
	require.NoError(t, err)
	base, err := apply.NewTable(defs[0], defs[0], nil)
	require.NoError(t, err)
	plan, err := filter.Rules{Rules: []filter.Rule{{Table: "t"}}}.Plan(defs[0])
	require.NoError(t, err)
	table := NewTable(base, plan, plan, false)
	keys := func(rs []rowimage.Row) string {
		var out []string
		for _, r := range rs {
			out = append(out, string(r[0])+string(r[1]))
		}
		return strings.Join(out, " ")
	}
	for _, tc := range []struct{ after, last, want string }{
		{"", "", "a1 A2 b1 B3 c1"}, {"a 1", "", "A2 b1 B3 c1"}, {"a 1", "b 1", "A2 b1"}, {"", "A 2", "a1 A2"}, {"b 2", "b 9", "B3"}, {"c 1", "", ""},
	} {
		var after, last rowimage.Row
		if tc.after != "" {
			after = rows(tc.after)[0]
		}
		if tc.last != "" {
			last = rows(tc.last)[0]
		}
		got, err := table.Range(t.Context(), conn, after, last)
		require.NoError(t, err)
		require.Equal(t, tc.want, keys(got), "%q to %q", tc.after, tc.last)
	}
	got, err := table.Keys(t.Context(), conn, rows("A 2", "c 1", "z 9"))
	require.NoError(t, err)
	require.Equal(t, "A2 c1", keys(got))
	require.Equal(t, rowimage.Row{[]byte("A"), []byte("2"), nil, []byte("6"), []byte("2")}, got[0])
	plan2, err := conn.Query(t.Context(), "EXPLAIN FORMAT=TREE SELECT * FROM t WHERE "+table.bound(rows("b 1")[0], ">", ">"))
	require.NoError(t, err)
	require.Contains(t, string(plan2.Rows[0][0]), "range scan", "the key is used")
}
