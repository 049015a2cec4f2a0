package writeset

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/schema"
)

func idTable(name string) *schema.Table {
	return table(name, []schema.Column{intColumn("id", false)}, unique("PRIMARY", col(0)))
}

func idTracker(cfg Config) *Tracker {
	tr := New(cfg)
	tr.SetTable(1, idTable("t"), nil)
	return tr
}

// TestOverflow: what the history forgets becomes the base that everything later waits for; the base stays behind by half a history (WS2).
func TestOverflow(t *testing.T) {
	const limit = 100
	tr := idTracker(Config{History: limit})
	for i := range 1000 {
		d := add(tr, insertOf(1, strconv.Itoa(i)))
		require.Empty(t, d.Preds)
		if i < limit-1 {
			require.Zero(t, d.Floor, "nothing is forgotten yet")
			continue
		}
		require.GreaterOrEqual(t, d.Floor, d.Seq-limit)
		require.LessOrEqual(t, d.Floor, d.Seq-limit/2)
		require.LessOrEqual(t, tr.history.young.size()+tr.history.old.size(), limit)
	}
	last := add(tr, insertOf(1, "1000"))
	require.Equal(t, []uint64{990}, add(tr, deleteOf(1, "989")).Preds, "remembered")
	forgotten := add(tr, deleteOf(1, "3"))
	require.Empty(t, forgotten.Preds)
	require.GreaterOrEqual(t, forgotten.Floor, uint64(4), "the base is later than what it stands for")
	require.Equal(t, last.Floor, forgotten.Floor)
}

// TestLargerThanHistory: one transaction with more tokens than the history holds.
func TestLargerThanHistory(t *testing.T) {
	tr := idTracker(Config{History: 10})
	add(tr, insertOf(1, "0"))
	var changes []Change
	for i := range 100 {
		changes = append(changes, insertOf(1, strconv.Itoa(i+1)))
	}
	large := add(tr, changes...)
	require.Equal(t, uint64(1), large.Floor)
	require.Equal(t, uint64(2), add(tr, deleteOf(1, "7")).Floor)
}

// TestSharers: an exclusive holder follows each sharer, and when there are very many, everything up to the last of them.
func TestSharers(t *testing.T) {
	child := table("child", []schema.Column{intColumn("id", false), intColumn("parent_id", true)}, unique("PRIMARY", col(0)))
	child.ForeignKeys = []schema.ForeignKey{{Name: "fk", Columns: []int{1}, RefDB: "d", RefTable: "t", RefColumns: []string{"id"}, OnDelete: "RESTRICT", OnUpdate: "RESTRICT"}}
	for _, n := range []int{3, maxSharers, maxSharers + 5} {
		tr := idTracker(Config{})
		tr.SetTable(2, child, nil)
		var want []uint64
		for i := range n {
			d := add(tr, insertOf(2, strconv.Itoa(i), "1"))
			require.Empty(t, d.Preds)
			require.Zero(t, d.Floor)
			want = append([]uint64{d.Seq}, want...)
		}
		d := add(tr, deleteOf(1, "1"))
		if n <= maxSharers {
			require.Equal(t, want, d.Preds)
			require.Zero(t, d.Floor)
		} else {
			require.True(t, d.Barrier())
		}
		require.Equal(t, []uint64{d.Seq}, add(tr, insertOf(2, "x", "1")).Preds, "sharers follow the exclusive holder alone")
	}
}

func TestBarrier(t *testing.T) {
	for _, mode := range []Mode{Writeset, LogicalClock, Database, Serial} {
		t.Run(mode.String(), func(t *testing.T) {
			tr := idTracker(Config{Mode: mode})
			clock := func(i int64) Header { return Header{Clock: Clock{File: 1, LastCommitted: 0, Sequence: i}} }
			tr.Add(&Transaction{Header: clock(1), Changes: []Change{insertOf(1, "1")}})
			d := tr.Add(&Transaction{Header: Header{Barrier: true}})
			require.True(t, d.Barrier())
			d = tr.Add(&Transaction{Header: clock(3), Changes: []Change{insertOf(1, "3")}})
			require.Equal(t, uint64(2), d.Floor)
			d = tr.Add(&Transaction{Header: clock(4), Changes: []Change{insertOf(9, "4")}})
			require.True(t, d.Barrier(), "a table that nobody has described")
			d = tr.Add(&Transaction{Header: clock(5), Changes: []Change{insertOf(1, "5", "6")}})
			require.True(t, d.Barrier(), "a row that does not fit")
		})
	}
}

// TestComplete: what is done is not waited for.
func TestComplete(t *testing.T) {
	tr := idTracker(Config{})
	add(tr, insertOf(1, "1"))
	add(tr, insertOf(1, "2"))
	tr.Complete(1)
	require.Empty(t, add(tr, deleteOf(1, "1")).Preds)
	require.Equal(t, []uint64{2}, add(tr, deleteOf(1, "2")).Preds)
	tr.Complete(4)
	tr.Release()
	d := add(tr, insertOf(1, "2"))
	require.Zero(t, d.Floor)
	require.Empty(t, d.Preds)
	tr.Release()
	require.Equal(t, uint64(5), add(tr, insertOf(1, "3")).Floor, "what was forgotten before it was done")
}

// TestFragments: Take tells what is new, and never repeats.
func TestFragments(t *testing.T) {
	tr := idTracker(Config{})
	for i := range 3 {
		add(tr, insertOf(1, strconv.Itoa(i)))
	}
	require.Equal(t, uint64(4), tr.Begin(Header{}))
	require.Empty(t, tr.Take().Preds)
	tr.Row(1, row("1"), nil, 0)
	require.Equal(t, []uint64{2}, tr.Take().Preds)
	tr.Row(1, nil, row("1"), 0)
	tr.Row(1, row("2"), nil, 0)
	require.Equal(t, []uint64{3}, tr.Take().Preds)
	tr.SetTable(2, idTable("other"), nil)
	tr.Row(2, nil, row("1"), 0)
	tr.SetTable(1, idTable("t"), nil) // a new definition in the middle
	tr.Row(1, row("0"), nil, 0)
	d := tr.End()
	require.True(t, d.Barrier())
	require.Equal(t, uint64(4), add(tr, insertOf(1, "7")).Floor)
}

// TestClock: gaps are done, files are separate, and what is not known is a barrier.
func TestClock(t *testing.T) {
	tr := idTracker(Config{Mode: LogicalClock})
	for i, c := range []struct {
		clock Clock
		floor uint64
	}{
		{Clock{1, 0, 5}, 0},
		{Clock{1, 4, 6}, 0}, // 1 to 4 were filtered
		{Clock{1, 5, 9}, 1},
		{Clock{1, 8, 10}, 2}, // 7 and 8 were filtered
		{Clock{2, 3, 11}, 4}, // another file
		{Clock{2, 0, 12}, 4},
		{Clock{2, 0, 4}, 6}, // the numbers restarted
		{Clock{}, 7},
		{Clock{2, 4, 6}, 8}, // nothing is known before the unknown one
		{Clock{2, 7, 7}, 9}, // nonsense
	} {
		d := tr.Add(&Transaction{Header: Header{Clock: c.clock}, Changes: []Change{insertOf(1, strconv.Itoa(i))}})
		require.Equal(t, c.floor, d.Floor, "transaction %d", i+1)
		require.Empty(t, d.Preds)
	}
}

func TestLongClock(t *testing.T) {
	var c clockIndex
	for i := range uint64(5 * maxClock) {
		floor := c.floor(Clock{File: 1, LastCommitted: max(0, int64(i)-10), Sequence: int64(i) + 1}, i+1)
		require.Equal(t, uint64(max(0, int64(i)-10)), floor)
	}
	require.LessOrEqual(t, len(c.sns), 2*maxClock)
	floor := c.floor(Clock{File: 1, LastCommitted: 3, Sequence: 1 << 40}, 5*maxClock+1)
	require.LessOrEqual(t, floor, c.start)
	require.Greater(t, floor, uint64(3), "the newest that was forgotten")
	require.Greater(t, c.start, uint64(3))
}

// TestSecondProof: the clock cuts the chain of a table without a key, but only where it proves something.
func TestSecondProof(t *testing.T) {
	columns := []schema.Column{intColumn("a", true)}
	clock := func(lc, sn int64) Header { return Header{Clock: Clock{File: 1, LastCommitted: lc, Sequence: sn}} }
	run := func(source, target *schema.Table, flags RowFlags, headers ...Header) (out [][]uint64) {
		tr := New(Config{})
		tr.SetTable(1, source, target)
		for i, h := range headers {
			d := tr.Add(&Transaction{Header: h, Changes: []Change{{Table: 1, After: row(strconv.Itoa(i)), Flags: flags}}})
			out = append(out, slices.Clone(d.Preds))
		}
		return out
	}
	chain, free := [][]uint64{nil, {1}, {2}}, [][]uint64{nil, {}, {1}}
	equal := func(want [][]uint64, got [][]uint64) {
		t.Helper()
		require.Equal(t, fmt.Sprint(want), fmt.Sprint(got))
	}
	headers := []Header{clock(0, 1), clock(0, 2), clock(1, 3)}
	keyless := table("t", columns)
	equal(free, run(keyless, nil, 0, headers...))
	equal(chain, run(keyless, nil, RelaxedUniqueChecks, headers...))
	equal(chain, run(keyless, nil, 0, Header{}, Header{}, Header{}))
	equal(chain, run(keyless, nil, 0, clock(0, 1), clock(1, 2), clock(2, 3)))
	myisam := table("t", columns)
	myisam.Engine = "MyISAM"
	equal(chain, run(myisam, keyless, 0, headers...))
	equal(chain, run(keyless, table("t", columns, unique("a", col(0))), 0, headers...))
	equal(free, run(table("t", columns, unique("a", col(0))), keyless, 0, headers...))
	child := table("t", columns)
	child.ForeignKeys = []schema.ForeignKey{{Columns: []int{0}, RefDB: "d", RefTable: "p", RefColumns: []string{"id"}}}
	equal(chain, run(keyless, child, 0, headers...))
}

// TestManyProofs: holders that are told apart by the clock are bounded; past the bound one follows all, and the next ones follow it.
func TestManyProofs(t *testing.T) {
	tr := New(Config{})
	tr.SetTable(1, table("t", []schema.Column{intColumn("a", true)}), nil)
	for i := range 3 * maxProvable {
		d := tr.Add(&Transaction{Header: Header{Clock: Clock{1, 0, int64(i + 1)}}, Changes: []Change{insertOf(1, "1")}})
		switch {
		case i < maxProvable:
			require.Empty(t, d.Preds)
		case i == maxProvable:
			require.Len(t, d.Preds, maxProvable)
		case i < 2*maxProvable:
			require.Equal(t, []uint64{maxProvable + 1}, d.Preds)
		}
		require.LessOrEqual(t, len(tr.tables["d\x00t"].token.exclusive), maxProvable)
	}
}

// TestDatabases: a database is one token, and so are two that a foreign key connects.
func TestDatabases(t *testing.T) {
	in := func(db string) *schema.Table { d := idTable("t"); d.DB = db; return d }
	tr := New(Config{Mode: Database})
	tr.SetTable(1, in("a"), nil)
	tr.SetTable(2, in("b"), nil)
	add(tr, insertOf(1, "1"))
	require.Empty(t, add(tr, insertOf(2, "1")).Preds)
	require.Equal(t, []uint64{2, 1}, add(tr, insertOf(1, "2"), insertOf(2, "2")).Preds)
	child := in("c")
	child.ForeignKeys = []schema.ForeignKey{{Columns: []int{0}, RefDB: "b", RefTable: "t", RefColumns: []string{"id"}}}
	tr.SetTable(3, child, nil)
	add(tr, insertOf(2, "3"))
	require.Equal(t, []uint64{4}, add(tr, insertOf(3, "3")).Preds)
}

// TestRelated: a cascade through a table outside of the stream is ordered when that table is described.
func TestRelated(t *testing.T) {
	reference := func(name, parent string) *schema.Table {
		d := table(name, []schema.Column{intColumn("id", false), intColumn("p", true)}, unique("PRIMARY", col(0)))
		d.ForeignKeys = []schema.ForeignKey{{Columns: []int{1}, RefDB: "d", RefTable: parent, RefColumns: []string{"id"}, OnDelete: "CASCADE", OnUpdate: "CASCADE"}}
		return d
	}
	tr := idTracker(Config{})
	tr.SetTable(3, reference("grand", "child"), nil)
	tr.SetRelated(reference("child", "t"))
	add(tr, deleteOf(1, "1"))
	require.Equal(t, []uint64{1}, add(tr, deleteOf(3, "5", "5")).Preds)
	require.Equal(t, []uint64{2}, add(tr, deleteOf(1, "2")).Preds)
	tr.CheckForeignKeys(false)
	require.Equal(t, uint64(3), add(tr, deleteOf(1, "3")).Floor)
	require.Empty(t, add(tr, deleteOf(3, "6", "6")).Preds)
}

// TestInEvents: the flag of a row event covers the foreign keys that the source has, not those of the target alone.
func TestInEvents(t *testing.T) {
	plain := table("child", []schema.Column{intColumn("id", false), intColumn("p", true)}, unique("PRIMARY", col(0)))
	child := *plain
	child.ForeignKeys = []schema.ForeignKey{{Columns: []int{1}, RefDB: "d", RefTable: "t", RefColumns: []string{"id"}, OnDelete: "CASCADE", OnUpdate: "RESTRICT"}}
	restrict := child
	restrict.ForeignKeys = []schema.ForeignKey{{Columns: []int{1}, RefDB: "d", RefTable: "t", RefColumns: []string{"id"}, OnDelete: "RESTRICT", OnUpdate: "RESTRICT"}}
	for name, c := range map[string]struct {
		source *schema.Table
		flags  RowFlags
		free   bool
	}{
		"in the events":                {&child, SQLForeignKeys, true},
		"not in the events":            {&child, 0, false},
		"on the target alone":          {plain, SQLForeignKeys, false},
		"another action on the source": {&restrict, SQLForeignKeys, false},
	} {
		t.Run(name, func(t *testing.T) {
			tr := idTracker(Config{})
			tr.SetTable(2, c.source, &child)
			add(tr, Change{Table: 1, Before: row("1"), Flags: c.flags})
			d := add(tr, insertOf(2, "1", "2"))
			require.Equal(t, c.free, len(d.Preds) == 0)
		})
	}
}

// TestMerged: tables that are merged into one share its tokens.
func TestMerged(t *testing.T) {
	target := idTable("merged")
	tr := New(Config{})
	tr.SetTable(1, idTable("a"), target)
	tr.SetTable(2, idTable("b"), target)
	add(tr, insertOf(1, "1"))
	require.Empty(t, add(tr, insertOf(2, "2")).Preds)
	require.Equal(t, []uint64{1}, add(tr, deleteOf(2, "1")).Preds)
}

func TestModes(t *testing.T) {
	for _, m := range []Mode{Writeset, LogicalClock, Database, Serial} {
		var back Mode
		text, err := m.MarshalText()
		require.NoError(t, err)
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, m, back)
	}
	_, err := ParseMode("optimistic")
	require.ErrorContains(t, err, "optimistic")
	require.Equal(t, "Mode(9)", Mode(9).String())
}
