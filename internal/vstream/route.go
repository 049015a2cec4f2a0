package vstream

import (
	"encoding/binary"

	"braid/internal/binlog"
	"braid/internal/filter"
	"braid/internal/rowimage"
)

// routes are the keyspace IDs of an event's rows. Streams of one source that filter by the same columns share them: a split into ten has
// ten streams, and each row is walked over and hashed once, not ten times. A stream then looks at the rows that are its own.
type routes struct {
	offsets []uint32 // of the rows in the event's body
	images  int      // per row
	keys    []uint64 // IDs of the images in their order, if all have eight bytes, as those of all hashes do
	ids     []byte   // else the IDs, one after the other
	ends    []uint32 // and where each ends
}

// holds reports whether a plan keeps an image.
func (r *routes) holds(plan *filter.Plan, image int) bool {
	if r.keys != nil {
		return plan.HoldsNumber(r.keys[image])
	}
	from := uint32(0)
	if image > 0 {
		from = r.ends[image-1]
	}
	return plan.Holds(r.ids[from:r.ends[image]])
}

// routed takes the rows of an event that the table's rule holds.
func (f *transform) routed(k *compiled, ev *binlog.Rows) error {
	plan := k.table.plan
	if plan.Conditional() {
		return f.filtered(k, ev)
	}
	shared, err := ev.Share(plan.Sharding(), func() (any, int, error) {
		r, err := findRoutes(k, ev, plan)
		if err != nil {
			return nil, 0, err
		}
		return r, 4*cap(r.offsets) + 8*cap(r.keys) + cap(r.ids) + 4*cap(r.ends), nil
	})
	if err != nil {
		return err
	}
	r := shared.(*routes)
	c, err := k.decoder.Open(eventType(ev), ev.Body)
	if err != nil {
		return err
	}
	for i, offset := range r.offsets {
		first := r.holds(plan, i*r.images)
		last := first
		if r.images == 2 {
			last = r.holds(plan, i*2+1)
		}
		if !first && !last {
			continue
		}
		c.Seek(ev.Body, int(offset))
		if !c.Next() {
			return c.Err()
		}
		if err := f.row(k, c.Before, c.After, first && ev.Kind != binlog.Insert, last && ev.Kind != binlog.Delete); err != nil {
			return err
		}
	}
	return nil
}

func findRoutes(k *compiled, ev *binlog.Rows, plan *filter.Plan) (*routes, error) {
	c, err := k.decoder.Open(eventType(ev), ev.Body)
	if err != nil {
		return nil, err
	}
	b := routing{plan: plan, cells: make(rowimage.Row, len(plan.Columns()))}
	b.images = 1
	if ev.Kind == binlog.Update {
		b.images = 2
	}
	for at := c.Offset(); c.Next(); at = c.Offset() {
		if b.offsets == nil { // rows of an event are about alike
			n := len(ev.Body)/max(c.Offset()-at, 1) + 1
			b.offsets, b.keys = make([]uint32, 0, n), make([]uint64, 0, n*b.images)
		}
		b.offsets = append(b.offsets, uint32(at))
		if err := b.image(c.Before); err != nil {
			return nil, err
		}
		if err := b.image(c.After); err != nil {
			return nil, err
		}
	}
	return &b.routes, c.Err()
}

// routing is the finding of routes.
type routing struct {
	routes
	plan  *filter.Plan
	cells rowimage.Row
	id    []byte
}

func (b *routing) image(im *rowimage.Image) error {
	if im == nil {
		return nil
	}
	if err := im.Cells(b.cells, b.plan.Columns()); err != nil {
		return err
	}
	var err error
	if b.id, err = b.plan.AppendID(b.id[:0], b.cells); err != nil {
		return err
	}
	if b.ends == nil && len(b.id) == 8 {
		b.keys = append(b.keys, binary.BigEndian.Uint64(b.id))
		return nil
	}
	for _, key := range b.keys { // this one is of another length
		b.ids = binary.BigEndian.AppendUint64(b.ids, key)
		b.ends = append(b.ends, uint32(len(b.ids)))
	}
	b.keys = nil
	b.ids = append(b.ids, b.id...)
	b.ends = append(b.ends, uint32(len(b.ids)))
	return nil
}
