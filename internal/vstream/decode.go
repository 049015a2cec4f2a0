package vstream

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"braid/internal/rowimage"
	"braid/internal/schema"
)

var errMalformed = errors.New("malformed stream batch")

// Decoder decodes the batches of one stream, in their order: it remembers the tables that were described.
type Decoder struct {
	tables map[uint32]width
}

// width is the number of cells in the rows and in the keys of a table.
type width struct{ row, key int }

// Decode returns the items of a batch. Rows alias src. Whatever src holds, it neither panics nor allocates more than a multiple of its size.
func (d *Decoder) Decode(src []byte) ([]Item, error) {
	r := &wireReader{rest: src}
	var items []Item
	for len(r.rest) > 0 && r.err == nil {
		items = append(items, d.item(r))
	}
	if r.err != nil {
		return nil, r.err
	}
	return items, nil
}

func (d *Decoder) item(r *wireReader) Item {
	switch kind := r.byte(); kind {
	case wireTable:
		return d.table(r)
	case wireTransaction:
		return d.transaction(r)
	case wireDDL:
		return &DDL{GTID: r.string(), CommitUS: r.varint(), DB: r.string(), SQL: r.string()}
	case wireChunk:
		return d.chunk(r)
	case wireHeartbeat:
		return &Heartbeat{Position: r.string(), SourceUS: r.varint()}
	default:
		r.fail("item of kind %d", kind)
		return nil
	}
}

func (d *Decoder) table(r *wireReader) *Table {
	t := &Table{ID: r.id(), Target: r.string(), TargetDB: r.string(), Def: new(schema.Table)}
	raw := r.bytes()
	if r.err != nil {
		return t
	}
	if err := json.Unmarshal(raw, t.Def); err != nil {
		r.fail("definition of table %d: %v", t.ID, err)
		return t
	}
	columns := len(t.Def.Columns)
	for _, key := range append([][]int{t.Def.PrimaryKey}, t.Def.UniqueKeys...) {
		for _, c := range key {
			if c < 0 || c >= columns {
				r.fail("definition of table %s: key of column %d of %d", t.Def.Name, c, columns)
				return t
			}
		}
	}
	if columns == 0 {
		r.fail("definition of table %s: no columns", t.Def.Name)
		return t
	}
	if d.tables == nil {
		d.tables = map[uint32]width{}
	}
	d.tables[t.ID] = width{row: columns, key: len(t.Def.KeyColumns())}
	return t
}

func (d *Decoder) transaction(r *wireReader) *Transaction {
	flags := r.byte()
	t := &Transaction{Last: flags&flagLast != 0, GTID: r.string()}
	if flags&flagPrepared != 0 {
		t.Prepared = r.string()
	}
	t.CommitUS = r.varint()
	if flags&flagDepends != 0 {
		for n := r.count(); n > 0 && r.err == nil; n-- {
			t.Depends = append(t.Depends, r.string())
		}
	}
	n := r.count()
	if r.err != nil || n == 0 {
		return t
	}
	t.Changes = make([]Change, n)
	for i := range t.Changes {
		if r.err != nil {
			break
		}
		d.change(r, &t.Changes[i])
	}
	return t
}

func (d *Decoder) change(r *wireReader, c *Change) {
	c.Op = Op(r.byte())
	w := d.width(r, &c.TableID)
	if c.Op < Insert || c.Op > Delete {
		r.fail("change of kind %d", c.Op)
		return
	}
	if c.Op != Insert {
		c.Before = r.row(w.row)
	}
	if c.Op != Delete {
		c.After = r.row(w.row)
	}
}

func (d *Decoder) width(r *wireReader, id *uint32) width {
	*id = r.id()
	w, ok := d.tables[*id]
	if !ok {
		r.fail("table %d was not described", *id)
	}
	return w
}

func (d *Decoder) chunk(r *wireReader) *Chunk {
	flags := r.byte()
	c := &Chunk{Window: r.uvarint(), Done: flags&flagDone != 0}
	w := d.width(r, &c.TableID)
	c.Position = r.string()
	if flags&flagHasLast != 0 {
		c.Last = r.row(w.key)
	}
	c.Rows = r.rows(w.row)
	c.Touched = r.rows(w.key)
	return c
}

// wireReader reads fields until the first error, and gives zero values after it.
type wireReader struct {
	rest []byte
	err  error
}

func (r *wireReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errMalformed, fmt.Sprintf(format, args...))
	}
	r.rest = nil
}

func (r *wireReader) byte() byte {
	if len(r.rest) == 0 {
		r.fail("ends too early")
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *wireReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail("bad integer")
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *wireReader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.fail("bad integer")
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *wireReader) id() uint32 {
	v := r.uvarint()
	if v > 1<<32-1 {
		r.fail("table id %d", v)
		return 0
	}
	return uint32(v)
}

// count reads the number of things that follow, each of at least one byte.
func (r *wireReader) count() int {
	v := r.uvarint()
	if v > uint64(len(r.rest)) {
		r.fail("%d things in %d bytes", v, len(r.rest))
		return 0
	}
	return int(v)
}

func (r *wireReader) bytes() []byte {
	n := r.count()
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *wireReader) string() string { return string(r.bytes()) }

func (r *wireReader) row(cells int) rowimage.Row {
	if cells > len(r.rest) {
		r.fail("row of %d cells in %d bytes", cells, len(r.rest))
		return nil
	}
	row, rest, err := rowimage.DecodeRow(r.rest, cells)
	if err != nil {
		r.fail("%v", err)
		return nil
	}
	r.rest = rest
	return row
}

func (r *wireReader) rows(cells int) []rowimage.Row {
	n := r.count()
	if n > 0 && cells == 0 {
		r.fail("%d rows without cells", n)
	}
	if n == 0 || r.err != nil {
		return nil
	}
	rows := make([]rowimage.Row, 0, n)
	for range n {
		if rows = append(rows, r.row(cells)); r.err != nil {
			return nil
		}
	}
	return rows
}
