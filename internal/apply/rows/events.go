package rows

import (
	"braid/internal/rowimage"
	"braid/internal/vstream"
)

// writesEvents says that a table is written with row events in this session.
func (b *Batch) writesEvents(t *Table) bool { return b.rowEvents && t.useNative() }

// sends says that an image goes into a row event: it is there in the binlog's form, and its statement fits into a packet.
func (b *Batch) sends(t *Table, im image) bool {
	return im.raw != nil && b.writesEvents(t) && len(im.raw) <= b.most.image
}

// event adds a row to the BINLOG statement under construction, or begins another.
func (b *Batch) event(t *Table, typ byte, op vstream.Op, first, second image) error {
	e := &b.events
	size := len(first.raw) + len(second.raw)
	last := len(b.stmts) - 1
	flags := uint16(0)
	if !b.checks {
		flags |= rowimage.NoForeignKeyChecks
	}
	// The server takes the flags of a statement's first event for all of them.
	if !b.open || b.stmts[last].verb != verbEvents || b.Single || b.execMode != t.Mode || e.flags != flags || e.size()+size > b.most.events {
		b.setExecMode(t.Mode)
		b.start(statement{table: t, verb: verbEvents, want: anyRows, op: op, row: first.row})
		b.open = true
		e.reset()
		last = len(b.stmts) - 1
	}
	b.stmts[last].rows++
	if len(t.key) == 0 && typ == rowimage.EventUpdateRows {
		e.unchain(first.raw, second.raw)
	}
	if typ == rowimage.EventUpdateRows && t.native.partial {
		return b.update(t, flags, first.raw, second.raw)
	}
	e.begin(t, typ, flags)
	if err := b.appendFirst(t, typ, first.raw); err != nil || second.raw == nil {
		return err
	}
	return b.appendImage(t, second.raw)
}

// update adds a row of which only the key and what has changed is sent. The server reads, decodes and copies what it gets, and the rest stays as it is.
func (b *Batch) update(t *Table, flags uint16, rawBefore, rawAfter []byte) error {
	e := &b.events
	d, err := b.decoder(t)
	if err != nil {
		return err
	}
	before, after, err := d.Images(rawBefore, rawAfter)
	if err != nil {
		return err
	}
	places := e.widen(t, before, after)
	e.begin(t, rowimage.EventUpdateRows, flags)
	if e.rows, err = t.native.encoder.AppendKey(e.rows, before, t.native.key); err == nil {
		e.rows = t.native.encoder.AppendChanged(e.rows, after, places)
	}
	return err
}

// unchain ends the row event if one of its rows becomes what the next one is found by. For a table without a key the server looks for all rows of
// an event in one pass over the table, and what it has changed it does not meet again.
func (e *events) unchain(before, after []byte) {
	if e.became[string(before)] {
		e.end()
		clear(e.became)
	}
	if e.became == nil {
		e.became = map[string]bool{}
	}
	e.became[string(after)] = true
}

// appendFirst appends the image by which a row is found, or the one that is written.
func (b *Batch) appendFirst(t *Table, typ byte, raw []byte) error {
	n := t.native
	if typ == rowimage.EventWriteRows || n.key == nil {
		return b.appendImage(t, raw)
	}
	im, err := b.cells(t, raw)
	if err == nil {
		b.events.rows, err = n.encoder.AppendKey(b.events.rows, im, n.key)
	}
	return err
}

// setExecMode says what a row event does that does not find what it expects: in IDEMPOTENT, a write goes over the row that is there, and a
// delete of none is no error. An update of none is lost silently, so none is sent then.
func (b *Batch) setExecMode(m Mode) {
	if b.execMode == m {
		return
	}
	if m == Strict {
		b.Control("SET SESSION rbr_exec_mode='STRICT'")
	} else {
		b.Control("SET SESSION rbr_exec_mode='IDEMPOTENT'")
	}
	b.execMode = m
}

// appendImage appends an image to the row event, with the target's columns in their order.
func (b *Batch) appendImage(t *Table, raw []byte) error {
	if t.native.encoder.Verbatim() {
		b.events.rows = append(b.events.rows, raw...)
		return nil
	}
	im, err := b.cells(t, raw)
	if err == nil {
		b.events.rows = t.native.encoder.AppendImage(b.events.rows, im)
	}
	return err
}

// maxDecoders bounds what is kept of tables that may have got other definitions since.
const maxDecoders = 1 << 12

// cells finds the cells of an image. It is valid until the next call for the same table.
func (b *Batch) cells(t *Table, raw []byte) (*rowimage.Image, error) {
	d, err := b.decoder(t)
	if err != nil {
		return nil, err
	}
	return d.Image(raw)
}

func (b *Batch) decoder(t *Table) (*rowimage.Decoder, error) {
	if b.lastNative != t.native {
		d := b.decoders[t.native]
		if d == nil {
			var err error
			if d, err = t.native.layout.Decoder(t.Source); err != nil {
				return nil, err
			}
			if b.decoders == nil || len(b.decoders) >= maxDecoders {
				b.decoders = map[*native]*rowimage.Decoder{}
			}
			b.decoders[t.native] = d
		}
		b.lastNative, b.lastDecoder = t.native, d
	}
	return b.lastDecoder, nil
}

// limits are what a packet may hold, so that the server takes it.
type limits struct {
	packet    int // max_allowed_packet
	statement int // text of a statement before its last row
	events    int // bytes of row events in a statement, before they are encoded, and before its last row
	image     int // bytes of an image in a row event; there may be two of them
}

// limitsOf splits max_allowed_packet: several statements share a packet, and base64 makes four bytes of three.
func limitsOf(maxPacket int) limits {
	return limits{
		packet: maxPacket, statement: min(maxStatementBytes, maxPacket/4), events: min(maxEventBytes, maxPacket/16*9), image: maxPacket / 32 * 9,
	}
}
