package vstream

import (
	"context"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"braid/internal/binlog"
	"braid/internal/rowimage"
	"braid/internal/writeset"
)

// Types of row events in the terms of package rowimage.
var eventTypes = map[binlog.RowsKind]byte{
	binlog.Insert: rowimage.EventWriteRows, binlog.Update: rowimage.EventUpdateRows, binlog.Delete: rowimage.EventDeleteRows,
}

// transform makes the stream's changes of a transaction's row events: it decodes, filters, remembers keys for the open window.
type transform struct {
	catalog *catalog
	windows *windows
	emit    func(Item) // for descriptions of tables

	tx     *Transaction // being filled
	flags  writeset.RowFlags
	keeper rowimage.Keeper
	size   int // bytes of row images in tx
	buf    []byte
	picks  []pick // of the event that is being decoded
}

// rows adds the row events to tx.
func (f *transform) rows(ctx context.Context, tx *Transaction, events []binlog.Rows) error {
	f.tx, f.size = tx, 0
	for i := range events {
		ev := &events[i]
		k, err := f.catalog.compiled(ctx, ev.Table)
		if err != nil {
			return err
		}
		f.flags = flagsOf(ev)
		switch {
		case k.gtidColumn >= 0:
			err = k.decoder.Walk(eventType(ev), ev.Body, func(before, after *rowimage.Image) error { return f.dependency(k, before, after) })
		case k.table.plan.All():
			err = f.all(k, ev)
		default:
			err = f.routed(k, ev)
		}
		if err != nil {
			return fmt.Errorf("%s of %s.%s: %w", ev.Kind, ev.Table.DB, ev.Table.Table, err)
		}
	}
	return nil
}

func eventType(ev *binlog.Rows) byte {
	if ev.Partial {
		return rowimage.EventPartialUpdate
	}
	return eventTypes[ev.Kind]
}

// all takes every row of an event.
func (f *transform) all(k *compiled, ev *binlog.Rows) error {
	c, err := k.decoder.Open(eventType(ev), ev.Body)
	if err != nil {
		return err
	}
	for at := c.Offset(); c.Next(); {
		if at > 0 { // rows of an event are about alike
			f.grow((len(ev.Body)-at)/max(c.Offset()-at, 1) + 1)
			at = 0
		}
		if err := f.row(k, c.Before, c.After, c.Before != nil, c.After != nil); err != nil {
			return err
		}
	}
	return c.Err()
}

// grow makes room for so many more changes.
func (f *transform) grow(changes int) { f.tx.Changes = slices.Grow(f.tx.Changes, changes) }

// dependency is an insert into the table by which a gate tells what this transaction follows on other shards.
func (f *transform) dependency(k *compiled, before, after *rowimage.Image) error {
	if before != nil || after == nil {
		return nil
	}
	gtid, ok, err := after.AppendCell(nil, k.gtidColumn)
	if err == nil && ok {
		f.tx.Depends = append(f.tx.Depends, string(gtid))
	}
	return err
}

// row adds a change; in and out say which of its images the rules hold. A change of which neither image is in the range is none; one that
// crosses the range's border is an insert or a delete.
func (f *transform) row(k *compiled, before, after *rowimage.Image, in, out bool) (err error) {
	if !in && !out {
		return nil
	}
	t := k.table
	if err := f.touch(t, before, after); err != nil {
		return err
	}
	c := Change{TableID: t.id, Flags: f.flags}
	switch {
	case in && out:
		c.Op = Update
	case in:
		c.Op, after = Delete, nil
	default:
		c.Op, before = Insert, nil
	}
	if c.RawBefore, c.Before, err = f.image(before); err != nil {
		return err
	}
	if c.RawAfter, c.After, err = f.image(after); err != nil {
		return err
	}
	if !k.described() {
		t.sent, t.layout = true, k.layout
		f.emit(t.item())
	}
	f.tx.Changes = append(f.tx.Changes, c)
	return nil
}

// touch remembers the keys of both images for the open window.
func (f *transform) touch(t *table, images ...*rowimage.Image) error {
	f.windows.passed(t.name)
	if len(t.key) == 0 || !f.windows.open(t.name) {
		return nil
	}
	key := make(rowimage.Row, len(t.key))
	for _, im := range images {
		if im == nil || !f.windows.open(t.name) { // the first key can fill the memory
			continue
		}
		if err := im.Cells(key, t.key); err != nil {
			return err
		}
		f.buf = rowimage.AppendRow(f.buf[:0], key)
		f.windows.touch(t.name, f.buf)
	}
	return nil
}

// image is a copy of the row that outlives the event.
func (f *transform) image(im *rowimage.Image) (raw []byte, row rowimage.Row, err error) {
	if im == nil {
		return nil, nil, nil
	}
	if raw, row, err = f.keeper.Keep(im); err != nil {
		return nil, nil, err
	}
	f.size += len(raw) + 8*len(row)
	return raw, row, nil
}

// Flags of a row event, behind its table id.
const (
	noForeignKeyChecks  = 0x02
	relaxedUniqueChecks = 0x04
	sqlForeignKeys      = 0x10
)

func flagsOf(ev *binlog.Rows) (flags writeset.RowFlags) {
	if len(ev.Body) < 8 {
		return 0 // the decoder will say so
	}
	bits := ev.Body[6]
	if bits&noForeignKeyChecks != 0 {
		flags |= writeset.NoForeignKeyChecks
	}
	if bits&relaxedUniqueChecks != 0 {
		flags |= writeset.RelaxedUniqueChecks
	}
	if bits&sqlForeignKeys != 0 {
		flags |= writeset.SQLForeignKeys
	}
	return flags
}

// clock is the source's logical clock. The parts of an XA transaction have one each, so that neither says when the other's locks were held.
func clock(server uint64, ev *binlog.Transaction) writeset.Clock {
	if ev.Prepared != "" {
		return writeset.Clock{}
	}
	return writeset.Clock{File: xxhash.Sum64String(ev.End.File) ^ server, LastCommitted: ev.LastCommitted, Sequence: ev.Sequence}
}
