package rows

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/vstream"
)

// model is a table as a server has it: rows by key, a unique column that may be NULL, keys and values equal without regard to case.
type model struct {
	t    *Table
	rows map[string]rowimage.Row
}

var errRefused = errors.New("refused")

func fold1(cell []byte) string { return strings.ToLower(string(cell)) }

func (m *model) source(string) {}

func (m *model) insert(_ *Table, im image) error {
	key := fold1(im.row[0])
	for k, r := range m.rows {
		if k == key || im.row[1] != nil && r[1] != nil && fold1(r[1]) == fold1(im.row[1]) {
			if m.t.Mode == Strict || k != key { // over what has the key, in mode Upsert
				return fmt.Errorf("%w: insert %s beside %s", errRefused, im.row, r)
			}
		}
	}
	m.rows[key] = im.row
	return nil
}

func (m *model) remove(_ *Table, im image) error {
	key := fold1(im.row[0])
	if m.rows[key] == nil && m.t.Mode == Strict {
		return fmt.Errorf("%w: delete %s", errRefused, im.row)
	}
	delete(m.rows, key)
	return nil
}

func (m *model) change(_ *Table, before, after image) error {
	was := m.rows[fold1(before.row[0])]
	if was == nil {
		return fmt.Errorf("%w: update %s", errRefused, before.row)
	}
	delete(m.rows, fold1(before.row[0]))
	if err := m.insert(nil, after); err != nil {
		m.rows[fold1(before.row[0])] = was
		return err
	}
	return nil
}

func (m *model) clone() *model {
	c := &model{t: m.t, rows: map[string]rowimage.Row{}}
	for k, r := range m.rows {
		c.rows[k] = r
	}
	return c
}

func (m *model) String() string {
	var all []string
	for _, r := range m.rows {
		all = append(all, fmt.Sprintf("%q", r))
	}
	return strings.Join(sortedCopy(all), " ")
}

func sortedCopy(all []string) []string {
	for i := range all {
		for j := i; j > 0 && all[j] < all[j-1]; j-- {
			all[j], all[j-1] = all[j-1], all[j]
		}
	}
	return all
}

func foldTable(t require.TestingT, mode Mode, text, unique bool) *Table {
	def := &schema.Table{DB: "d", Name: "t", PrimaryKey: []int{0}, Columns: []schema.Column{
		{Name: "id", DataType: "int", ColumnType: "int"}, {Name: "u", DataType: "int", ColumnType: "int", Nullable: true}, {Name: "v", DataType: "int", ColumnType: "int"},
	}}
	if text {
		def.Columns[0] = schema.Column{Name: "id", DataType: "varchar", ColumnType: "varchar(9)", Charset: "utf8mb4", Collation: "utf8mb4_0900_ai_ci"}
	}
	def.Indexes = []schema.Index{{Name: "PRIMARY", Unique: true, Parts: []schema.IndexPart{{Column: 0}}}}
	if unique {
		def.Indexes = append(def.Indexes, schema.Index{Name: "u", Unique: true, Parts: []schema.IndexPart{{Column: 1}}})
	}
	table, err := NewTable(def, def, nil)
	require.NoError(t, err)
	table.Mode, table.apart = mode, true
	return table
}

// TestFoldIsExact: whatever a source does that keeps its keys unique, the outcome, in the order in which it is written, meets no row that is in
// its way, misses none, and leaves the same table. A row that the target lacks, or has too much, is noticed if it was changed.
func TestFoldIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mode := rapid.SampledFrom([]Mode{Strict, Upsert}).Draw(t, "mode")
		text, unique := rapid.Bool().Draw(t, "text"), rapid.Bool().Draw(t, "unique")
		table := foldTable(t, mode, text, unique)
		keys := []string{"1", "2", "3", "4"}
		if text {
			keys = []string{"a", "A", "b", "B"}
		}
		draw := func(n int) rowimage.Row {
			row := rowimage.Row{[]byte(rapid.SampledFrom(keys).Draw(t, "key")), nil, []byte(strconv.Itoa(n))}
			if unique {
				if u := rapid.IntRange(0, 3).Draw(t, "unique"); u > 0 {
					row[1] = []byte(strconv.Itoa(u))
				}
			}
			return row
		}
		strict := *table
		strict.Mode = Strict
		source := &model{t: &strict, rows: map[string]rowimage.Row{}}
		for n := range rapid.IntRange(0, 4).Draw(t, "rows") {
			_ = source.insert(nil, image{row: draw(n)}) // one that is refused is not there
		}
		target := source.clone()
		target.t = table
		var f fold
		write := func() {
			for i := range f.works {
				require.NoError(t, f.renderTable(target, &f.works[i]))
			}
			f.reset()
		}
		for n := range rapid.IntRange(0, 40).Draw(t, "changes") {
			c := vstream.Change{Op: vstream.Insert, After: draw(100 + n)}
			if len(source.rows) > 0 && rapid.IntRange(0, 3).Draw(t, "op") > 0 {
				var have []string
				for k := range source.rows {
					have = append(have, k)
				}
				c.Before = source.rows[rapid.SampledFrom(sortedCopy(have)).Draw(t, "row")]
				c.Op = vstream.Update
				if rapid.Bool().Draw(t, "delete") {
					c.Op, c.After = vstream.Delete, nil
				} else if rapid.IntRange(0, 3).Draw(t, "same key") > 0 {
					c.After[0] = c.Before[0]
				}
			}
			var err error
			switch c.Op {
			case vstream.Insert:
				err = source.insert(nil, image{row: c.After})
			case vstream.Update:
				err = source.change(nil, image{row: c.Before}, image{row: c.After})
			case vstream.Delete:
				err = source.remove(nil, image{row: c.Before})
			}
			if err != nil {
				continue // the source has refused it
			}
			if !f.add(table, &c, "") {
				write()
				require.True(t, f.add(table, &c, ""), "a change of a right source fits into an empty fold")
			}
		}
		write()
		require.Equal(t, source.String(), target.String())
	})
}

// TestFoldRefuses: what a right source does not send is not folded; the server will say what is wrong with it.
func TestFoldRefuses(t *testing.T) {
	table := foldTable(t, Strict, false, false)
	for name, changes := range map[string][]change{
		"a second insert":           {ins("1 - 1"), ins("1 - 2")},
		"an update of what is gone": {del("1 - 1"), upd("1 - 1", "1 - 2")},
		"a second delete":           {del("1 - 1"), del("1 - 1")},
		"a move to a taken key":     {ins("1 - 1"), upd("2 - 1", "1 - 3")},
	} {
		t.Run(name, func(t *testing.T) {
			var f fold
			for i, c := range changes {
				require.Equal(t, i == 0, f.add(table, &vstream.Change{Op: c.op, Before: row(c.before), After: row(c.after)}, ""))
			}
			require.Len(t, f.slots, 1, "what was refused has left nothing")
		})
	}
}

// TestFoldNoticesDivergence: what a strict change would have found is still looked for.
func TestFoldNoticesDivergence(t *testing.T) {
	table := foldTable(t, Strict, false, false)
	for name, changes := range map[string][]change{
		"an update, then more":      {upd("1 - 1", "1 - 2"), upd("1 - 2", "1 - 3"), del("1 - 3")},
		"a delete, then an insert":  {del("1 - 1"), ins("1 - 2")},
		"a key that moves":          {upd("1 - 1", "2 - 1"), upd("2 - 1", "1 - 1")},
		"a row that comes":          {ins("9 - 1"), upd("9 - 1", "9 - 2")},
		"a row that comes and goes": {ins("9 - 1"), del("9 - 1")},
	} {
		t.Run(name, func(t *testing.T) {
			var f fold
			for _, c := range changes {
				require.True(t, f.add(table, &vstream.Change{Op: c.op, Before: row(c.before), After: row(c.after)}, ""))
			}
			target := &model{t: table, rows: map[string]rowimage.Row{}}
			if bytes.HasPrefix([]byte(name), []byte("a row")) {
				target.rows["9"] = row("9 - 7")
			}
			require.ErrorIs(t, f.renderTable(target, &f.works[0]), errRefused)
		})
	}
}
