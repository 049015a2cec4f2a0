package vstream

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"braid/internal/base/errs"
	"braid/internal/rowimage"
	"braid/internal/schema"
)

func wireTables() []*Table {
	pair := &schema.Table{DB: "d", Name: "pair", Columns: []schema.Column{{Name: "a", DataType: "int"}, {Name: "b", DataType: "text", Nullable: true}}, PrimaryKey: []int{0}}
	wide := &schema.Table{DB: "d", Name: "wide", PrimaryKey: []int{2, 0}}
	for i := range 5 {
		wide.Columns = append(wide.Columns, schema.Column{Name: fmt.Sprint("c", i), DataType: "varchar"})
	}
	return []*Table{{ID: 1, Target: "other", Def: pair}, {ID: 300, Target: "wide", Def: wide}}
}

func drawRow(t *rapid.T, n int) rowimage.Row {
	row := make(rowimage.Row, n)
	for i := range row {
		if rapid.IntRange(0, 4).Draw(t, "null") > 0 {
			row[i] = rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "cell")
		}
	}
	return row
}

func drawRows(t *rapid.T, n int) (rows []rowimage.Row) {
	for range rapid.IntRange(0, 3).Draw(t, "rows") {
		rows = append(rows, drawRow(t, n))
	}
	return rows
}

func drawItem(t *rapid.T, tables []*Table) Item {
	table := rapid.SampledFrom(tables).Draw(t, "table")
	width, key := len(table.Def.Columns), len(table.Def.PrimaryKey)
	text := rapid.StringN(0, 40, -1)
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		return table
	case 1:
		tx := &Transaction{GTID: text.Draw(t, "gtid"), CommitUS: rapid.Int64().Draw(t, "us"), Last: rapid.Bool().Draw(t, "last"), Prepared: text.Draw(t, "prepared")}
		for range rapid.IntRange(0, 2).Draw(t, "depends") {
			tx.Depends = append(tx.Depends, text.Draw(t, "gtid"))
		}
		for range rapid.IntRange(0, 4).Draw(t, "changes") {
			c := Change{TableID: table.ID, Op: Op(rapid.IntRange(1, 3).Draw(t, "op"))}
			if c.Op != Insert {
				c.Before = drawRow(t, width)
			}
			if c.Op != Delete {
				c.After = drawRow(t, width)
			}
			tx.Changes = append(tx.Changes, c)
		}
		return tx
	case 2:
		return &DDL{GTID: text.Draw(t, "gtid"), Rows: rapid.Bool().Draw(t, "rows"), CommitUS: rapid.Int64().Draw(t, "us"), BegunUS: rapid.Int64().Draw(t, "begun"), DB: text.Draw(t, "db"), Home: text.Draw(t, "home"), SQL: text.Draw(t, "sql"), Settings: rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "settings")}
	case 3:
		c := &Chunk{Window: rapid.Uint64().Draw(t, "window"), TableID: table.ID, Done: rapid.Bool().Draw(t, "done"), Rekeyed: rapid.Bool().Draw(t, "rekeyed"), HeldBack: rapid.Bool().Draw(t, "held back"), Position: text.Draw(t, "position")}
		c.Rows, c.Touched = drawRows(t, width), drawRows(t, key)
		if rapid.Bool().Draw(t, "has last") {
			c.Last = drawRow(t, key)
		}
		return c
	}
	return &Heartbeat{Position: text.Draw(t, "position"), SourceUS: rapid.Int64().Draw(t, "us")}
}

// TestWireRoundTrip: what is decoded is what was encoded, over several batches.
func TestWireRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tables := wireTables()
		var d Decoder
		items := []Item{tables[0], tables[1]}
		for range rapid.IntRange(1, 3).Draw(t, "batches") {
			for range rapid.IntRange(0, 5).Draw(t, "items") {
				items = append(items, drawItem(t, tables))
			}
			raw, err := Encode(nil, items)
			require.NoError(t, err)
			got, err := d.Decode(raw)
			require.NoError(t, err)
			require.Equal(t, items, got)
			items = nil
		}
	})
}

// TestRequestRoundTrip: so are requests.
func TestRequestRoundTrip(t *testing.T) {
	key := rowimage.Row{[]byte("1"), []byte("")}
	for _, r := range []WindowRequest{
		{ID: 1, Table: "t"}, {ID: 2, Table: "t", After: key}, {ID: 3, Table: "t", Until: key, MaxRows: 4, MaxBytes: 5}, {ID: 4, Table: "t", After: key, Until: key, Order: "x"},
		{ID: 5, Table: "t", Order: "x"}, {ID: 6, Table: "t", Whole: WholeLocked}, {ID: 7, Table: "t", Keys: []rowimage.Row{key}, IncludeTouched: true},
	} {
		got, _, err := decodeRequest(encodeWindow(&r))
		require.NoError(t, err)
		require.Equal(t, &r, got)
	}
	_, split, err := decodeRequest(encodeSplit(&SplitRequest{ID: 8, Table: "t", Bytes: 9, Most: 10}))
	require.NoError(t, err)
	require.Equal(t, &SplitRequest{ID: 8, Table: "t", Bytes: 9, Most: 10}, split)
}

// FuzzWireDecode: no bytes make it panic, and nothing that it returns has rows of another width than its table.
func FuzzWireDecode(f *testing.F) {
	tables := wireTables()
	head, err := Encode(nil, []Item{tables[0], tables[1]})
	require.NoError(f, err)
	for _, items := range [][]Item{
		{&Heartbeat{Position: "x", SourceUS: 1}},
		{&Transaction{GTID: "g", Last: true, Depends: []string{"a"}, Changes: []Change{{TableID: 1, Op: Update, Before: rowimage.Row{nil, []byte("x")}, After: rowimage.Row{[]byte("1"), nil}}}}},
		{&Chunk{Window: 1, TableID: 300, Last: rowimage.Row{nil, []byte("x")}, Rows: []rowimage.Row{make(rowimage.Row, 5)}, Touched: []rowimage.Row{make(rowimage.Row, 2)}}},
		{&DDL{GTID: "g", SQL: "DROP TABLE t"}},
		{tables[0]},
	} {
		raw, err := Encode(nil, items)
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var d Decoder
		_, err := d.Decode(head)
		require.NoError(t, err)
		items, err := d.Decode(raw)
		if err != nil {
			return
		}
		again, err := Encode(nil, items)
		require.NoError(t, err)
		var e Decoder
		_, err = e.Decode(head)
		require.NoError(t, err)
		twice, err := e.Decode(again)
		require.NoError(t, err)
		require.Equal(t, items, twice)
	})
}

func TestWireErrors(t *testing.T) {
	for name, raw := range map[string][]byte{
		"kind":            {99},
		"unknown table":   {wireTransaction, flagLast, 0, 0, 1, byte(Insert), 7, 1, 'x'},
		"count":           {wireTransaction, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"short":           {wireHeartbeat, 5, 'x'},
		"definition":      {wireTable, 1, 1, 't', 1, '{'},
		"no columns":      {wireTable, 1, 1, 't', 2, '{', '}'},
		"unknown integer": {wireHeartbeat, 0x80},
	} {
		var d Decoder
		_, err := d.Decode(raw)
		require.ErrorIs(t, err, errMalformed, name)
	}
}

func BenchmarkWire(b *testing.B) {
	tables := wireTables()
	row := rowimage.Row{[]byte("12345"), []byte("some text that a row may have")}
	tx := &Transaction{GTID: "3e11fa47-71ca-11e1-9e33-c80aa9429562:12345", CommitUS: 1, Last: true}
	for range 10 {
		tx.Changes = append(tx.Changes, Change{TableID: 1, Op: Update, Before: row, After: row})
	}
	var d Decoder
	head, err := Encode(nil, []Item{tables[0]})
	require.NoError(b, err)
	_, err = d.Decode(head)
	require.NoError(b, err)
	var raw []byte
	b.ReportAllocs()
	for b.Loop() {
		if raw, err = Encode(raw[:0], []Item{tx}); err != nil {
			b.Fatal(err)
		}
		if _, err = d.Decode(raw); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(raw)))
}

// The error that says that a table is gone keeps its type, and what it wraps.
func TestGoneOnTheWire(t *testing.T) {
	for _, cause := range []error{schema.ErrNoTable, errs.New(errs.NoPrimaryKey, nil, "table d.t has no key")} {
		_, err := new(Decoder).Decode(appendGone(nil, &GoneError{"t", cause}))
		gone, ok := errors.AsType[*GoneError](err)
		require.True(t, ok)
		require.Equal(t, "t", gone.Table)
		require.Equal(t, errors.Is(cause, schema.ErrNoTable), errors.Is(err, schema.ErrNoTable))
		require.Equal(t, errors.Is(cause, errs.NoPrimaryKey), errors.Is(err, errs.NoPrimaryKey))
	}
}
