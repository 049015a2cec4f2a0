package vstream

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"braid/internal/base/errs"
	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/writeset"
)

var errMalformed = errors.New("malformed stream batch")

// Decoder decodes the batches of one stream, in their order: it remembers the tables that were described.
type Decoder struct {
	tables map[uint32]described
	keeper rowimage.Keeper
}

// described is what a table's rows are decoded with.
type described struct {
	row, key int               // cells
	raw      *rowimage.Decoder // of images as the binlog has them; nil before the first
}

// Decode returns the items of a batch, or the GoneError that ended the stream. Rows alias src. Whatever src holds, it neither panics nor allocates more than a multiple of its size.
func (d *Decoder) Decode(src []byte) ([]Item, error) {
	r := &wireReader{rest: src}
	var items []Item
	for len(r.rest) > 0 && r.err == nil {
		if r.rest[0] == wireGone {
			return items, gone(r)
		}
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
		return &DDL{Rows: r.byte() != 0, GTID: r.string(), CommitUS: r.varint(), BegunUS: r.varint(), DB: r.string(), Home: r.string(), SQL: r.string(), Settings: r.bytes()}
	case wireChunk:
		return d.chunk(r)
	case wireSplit:
		return split(r)
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
	if m := r.bytes(); len(m) > 0 {
		t.Map = bytes.Clone(m) // it outlives the batch
	}
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
		d.tables = map[uint32]described{}
	}
	known := described{row: columns, key: len(t.Def.KeyColumns())}
	if len(t.Map) > 0 {
		known.raw = t.decoder(r)
	}
	d.tables[t.ID] = known
	return t
}

func (t *Table) decoder(r *wireReader) *rowimage.Decoder {
	m, err := rowimage.ParseTableMap(t.Map)
	if err == nil {
		var raw *rowimage.Decoder
		if raw, err = m.Decoder(t.Def); err == nil {
			return raw
		}
	}
	r.fail("table %s: %v", t.Def.Name, err)
	return nil
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
	if flags&flagClock != 0 {
		t.Clock = writeset.Clock{File: r.uvarint(), LastCommitted: r.varint(), Sequence: r.varint()}
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
	op := r.byte()
	c.Op, c.Flags = Op(op&^flagRaw), writeset.RowFlags(r.byte())
	t := d.described(r, &c.TableID)
	if c.Op < Insert || c.Op > Delete {
		r.fail("change of kind %d", c.Op)
		return
	}
	raw := op&flagRaw != 0
	if raw && t.raw == nil {
		r.fail("raw image of table %d, whose TABLE_MAP was not sent", c.TableID)
		return
	}
	if c.Op != Insert {
		c.RawBefore, c.Before = d.image(r, &t, raw)
	}
	if c.Op != Delete {
		c.RawAfter, c.After = d.image(r, &t, raw)
	}
}

// image reads an image of a row.
func (d *Decoder) image(r *wireReader, t *described, raw bool) ([]byte, rowimage.Row) {
	if !raw {
		return nil, r.row(t.row)
	}
	b := r.bytes()
	if r.err != nil {
		return nil, nil
	}
	im, err := t.raw.Image(b)
	if err == nil {
		var row rowimage.Row
		if row, err = d.keeper.Row(im); err == nil {
			return b, row
		}
	}
	r.fail("%v", err)
	return nil, nil
}

func (d *Decoder) described(r *wireReader, id *uint32) described {
	*id = r.id()
	t, ok := d.tables[*id]
	if !ok {
		r.fail("table %d was not described", *id)
	}
	return t
}

func (d *Decoder) chunk(r *wireReader) *Chunk {
	flags := r.byte()
	c := &Chunk{Window: r.uvarint(), Done: flags&flagDone != 0, First: flags&flagFirst != 0, Rekeyed: flags&flagRekeyed != 0, HeldBack: flags&flagHeldBack != 0}
	w := d.described(r, &c.TableID)
	c.Read, c.Position = r.varint(), r.string()
	if flags&flagHasLast != 0 {
		c.Last = r.row(w.key)
	}
	c.Rows = r.rows(w.row)
	c.Touched = r.rows(w.key)
	return c
}

func split(r *wireReader) *Split {
	s := &Split{ID: r.uvarint(), Rows: r.varint(), Size: r.varint()}
	for n := r.count(); n > 0 && r.err == nil; n-- {
		s.Keys = append(s.Keys, r.row(r.count()))
	}
	return s
}

// gone reads the error by which a stream has ended.
func gone(r *wireReader) error {
	r.byte()
	keyless, g, text := r.byte() != 0, &GoneError{Table: r.string()}, r.string()
	switch {
	case r.err != nil:
		return r.err
	case keyless:
		g.Err = errs.New(errs.NoPrimaryKey, nil, "%s", text)
	default:
		g.Err = fmt.Errorf("%s: %w", g.Table, schema.ErrNoTable)
	}
	return g
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
	if cells > len(r.rest)/n {
		r.fail("%d rows of %d cells in %d bytes", n, cells, len(r.rest))
		return nil
	}
	rows, all := make([]rowimage.Row, n), make([][]byte, n*cells)
	for i := range rows {
		rows[i] = rowimage.Row(all[i*cells : (i+1)*cells : (i+1)*cells])
		rest, err := rowimage.DecodeRowInto(rows[i], r.rest)
		if err != nil {
			r.fail("%v", err)
			return nil
		}
		r.rest = rest
	}
	return rows
}
