package rows

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/vstream"
)

func testSchema() *schema.Table {
	return &schema.Table{
		DB: "d", Name: "t", PrimaryKey: []int{0},
		Columns: []schema.Column{
			{Name: "id", DataType: "bigint", ColumnType: "bigint"},
			{Name: "v", DataType: "varchar", ColumnType: "varchar(20)", Charset: "utf8mb4", Collation: "utf8mb4_bin", Nullable: true},
			{Name: "k", DataType: "int", ColumnType: "int"},
			{Name: "g", DataType: "int", ColumnType: "int", Generated: true},
		},
	}
}

func testTable(t testing.TB, mode Mode, owner ...string) *Table {
	def := testSchema()
	table, err := NewTable(def, def, owner)
	require.NoError(t, err)
	table.Mode = mode
	return table
}

// row makes cells of words; "-" is NULL.
func row(words string) rowimage.Row {
	if words == "" {
		return nil
	}
	var r rowimage.Row
	for _, w := range strings.Fields(words) {
		if w == "-" {
			r = append(r, nil)
			continue
		}
		r = append(r, []byte(w))
	}
	return r
}

type change struct {
	op            vstream.Op
	before, after string
}

func ins(after string) change         { return change{vstream.Insert, "", after} }
func upd(before, after string) change { return change{vstream.Update, before, after} }
func del(before string) change        { return change{vstream.Delete, before, ""} }

func TestStatements(t *testing.T) {
	const upsert = " AS _braid_new ON DUPLICATE KEY UPDATE `id`=_braid_new.`id`,`v`=_braid_new.`v`,`k`=_braid_new.`k`"
	const ignore = "INSERT IGNORE INTO `d`.`t` (`id`,`v`,`k`) VALUES "
	const into = "INSERT INTO `d`.`t` (`id`,`v`,`k`) VALUES "
	for _, tc := range []struct {
		name    string
		mode    Mode
		owner   []string
		changes []change
		want    []string // statement, then the rows it must find; "" for any number
		merged  int
	}{
		{"consecutive inserts are one statement, generated columns are left out", Strict, nil,
			[]change{ins("1 a 5 9"), ins("2 - 6 9"), ins("3 c 7 9")},
			[]string{into + "(1,_binary'a',5),(2,NULL,6),(3,_binary'c',7)", "3"}, 0},
		{"an update sets what changed", Strict, nil,
			[]change{upd("1 a 5 9", "1 b 5 9"), ins("3 - 6 9"), upd("2 a 5 9", "2 - 6 9")},
			[]string{"UPDATE `d`.`t` SET `v`=_binary'b' WHERE `id`=1", "1", into + "(3,NULL,6)", "1", "UPDATE `d`.`t` SET `v`=NULL,`k`=6 WHERE `id`=2", "1"}, 0},
		{"updates that follow one are upserts that must find their rows", Strict, nil,
			[]change{upd("1 a 5 9", "1 b 5 9"), upd("2 a 5 9", "2 b 5 9"), upd("3 a 5 9", "3 b 5 9"), upd("4 a 5 9", "5 a 5 9")},
			[]string{"UPDATE `d`.`t` SET `v`=_binary'b' WHERE `id`=1", "1", into + "(2,_binary'b',5),(3,_binary'b',5)" + upsert, "4",
				"UPDATE `d`.`t` SET `id`=5 WHERE `id`=4", "1"}, 0},
		{"an update of a generated column alone still looks for its row", Strict, nil,
			[]change{upd("1 a 5 9", "1 a 5 8")}, []string{"UPDATE `d`.`t` SET `id`=`id` WHERE `id`=1", "1"}, 0},
		{"consecutive deletes are one statement", Strict, nil,
			[]change{del("1 a 5 9"), del("2 a 5 9"), ins("1 a 5 9"), del("1 a 5 9")},
			[]string{"DELETE FROM `d`.`t` WHERE `id` IN (1,2)", "2", into + "(1,_binary'a',5)", "1", "DELETE FROM `d`.`t` WHERE `id` IN (1)", "1"}, 0},
		{"while copied: upserts, updates among them", Upsert, nil,
			[]change{ins("1 a 5 9"), upd("2 a 5 9", "2 b 5 9")},
			[]string{into + "(1,_binary'a',5),(2,_binary'b',5)" + upsert, ""}, 0},
		{"while copied: the old key of a moved row goes first", Upsert, nil,
			[]change{upd("1 a 5 9", "2 a 5 9"), del("3 a 5 9")},
			[]string{"DELETE FROM `d`.`t` WHERE `id` IN (1)", "", into + "(2,_binary'a',5)" + upsert, "", "DELETE FROM `d`.`t` WHERE `id` IN (3)", ""}, 0},
		{"merge: nobody else's row is touched", Merge, []string{"k"},
			[]change{ins("1 a 5 9"), ins("6 a 5 9"), upd("2 a 5 9", "2 b 6 9"), del("3 a 5 9"), upd("4 a 5 9", "5 a 5 9")},
			[]string{ignore + "(1,_binary'a',5),(6,_binary'a',5)", "2", "UPDATE `d`.`t` SET `v`=_binary'b',`k`=6 WHERE `id`=2 AND `k`<=>5", "1",
				"DELETE FROM `d`.`t` WHERE `id`=3 AND `k`<=>5", "", "DELETE FROM `d`.`t` WHERE `id`=4 AND `k`<=>5", "", ignore + "(5,_binary'a',5)", "1"}, 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			table := testTable(t, tc.mode, tc.owner...)
			b := Batch{most: limitsOf(64 << 20)}
			b.Reset(false)
			for _, c := range tc.changes {
				require.NoError(t, b.Change(table, &vstream.Change{Op: c.op, Before: row(c.before), After: row(c.after)}))
			}
			b.close()
			var got []string
			texts := strings.Split(string(b.buf), ";\n")
			require.Len(t, texts, len(b.stmts))
			for i, s := range b.stmts {
				want := ""
				if s.want != anyRows {
					want = string(rune('0' + s.want))
				}
				got = append(got, texts[i], want)
			}
			require.Equal(t, tc.want, got)
			require.Len(t, b.merged, tc.merged)
		})
	}
}

func TestCompositeKey(t *testing.T) {
	def := testSchema()
	def.PrimaryKey = []int{0, 2}
	table, err := NewTable(def, def, nil)
	require.NoError(t, err)
	b := Batch{most: limitsOf(64 << 20)}
	b.Reset(true)
	b.deleteKey(table, row("1 a 2 -"), 1)
	b.deleteKey(table, row("3 a 4 -"), 1)
	b.updateRow(table, row("1 a 2 -"), row("1 b 3 -"), 1)
	b.close()
	require.Equal(t, "BEGIN;\nDELETE FROM `d`.`t` WHERE (`id`,`k`) IN ((1,2),(3,4));\nUPDATE `d`.`t` SET `v`=_binary'b',`k`=3 WHERE `id`=1 AND `k`=2", string(b.buf))
}

func TestSchemaMismatchShowsBothSides(t *testing.T) {
	target := testSchema()
	target.Columns[2].ColumnType = "smallint"
	target.Columns = append(target.Columns, schema.Column{Name: "more", ColumnType: "int"})
	source := testSchema()
	source.Columns = append(source.Columns, schema.Column{Name: "new", ColumnType: "json"})
	_, err := NewTable(source, target, nil)
	require.ErrorContains(t, err, "k: source int, target smallint")
	require.ErrorContains(t, err, "new: source json, target has no such column")
	require.ErrorContains(t, err, "more: source has no such column, target int, without a default")
	target = testSchema()
	target.PrimaryKey = []int{2}
	_, err = NewTable(testSchema(), target, nil)
	require.ErrorContains(t, err, "key: source (id), target (k)")
	none := testSchema()
	none.PrimaryKey = nil
	_, err = NewTable(none, none, []string{"k"})
	require.ErrorContains(t, err, "has no primary key")
}

func TestWrongImageIsAnError(t *testing.T) {
	var b Batch
	b.Reset(false)
	require.ErrorContains(t, b.Change(testTable(t, Strict), &vstream.Change{Op: vstream.Update, Before: row("1 a 5 9"), After: row("1 a")}), "row image of 4 and 2 cells")
}

func BenchmarkBatchInsert(b *testing.B) {
	table := testTable(b, Strict)
	change := &vstream.Change{Op: vstream.Insert, After: row("123456789 something 42 7")}
	batch := Batch{most: limitsOf(64 << 20)}
	batch.Reset(true)
	b.ReportAllocs()
	for b.Loop() {
		if err := batch.Change(table, change); err != nil {
			b.Fatal(err)
		}
		if batch.Len() > partBytes {
			batch.Reset(true)
		}
	}
}

func BenchmarkBatchUpdate(b *testing.B) {
	table := testTable(b, Strict)
	change := &vstream.Change{Op: vstream.Update, Before: row("123456789 something 42 7"), After: row("123456789 other 43 7")}
	batch := Batch{most: limitsOf(64 << 20)}
	batch.Reset(true)
	b.ReportAllocs()
	for b.Loop() {
		if err := batch.Change(table, change); err != nil {
			b.Fatal(err)
		}
		if batch.Len() > partBytes {
			batch.Reset(true)
		}
	}
}
