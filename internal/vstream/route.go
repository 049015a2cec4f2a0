package vstream

import (
	"encoding/binary"

	"braid/internal/binlog"
	"braid/internal/filter"
	"braid/internal/rowimage"
	"braid/internal/vindex"
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

// pick is a row of which a plan keeps an image, and which.
type pick struct {
	row         uint32 // its index
	first, last bool
}

// mine appends the rows of a plan.
func (r *routes) mine(plan *filter.Plan, picks []pick) []pick {
	lowest, highest := plan.Numbers()
	width := highest - lowest
	if r.keys != nil && lowest > highest {
		return picks
	}
	for row := range r.offsets {
		var first, last bool
		switch {
		case r.keys == nil:
			first = plan.Holds(r.id(row * r.images))
			last = first
			if r.images == 2 {
				last = plan.Holds(r.id(row*2 + 1))
			}
		case r.images == 1:
			first = r.keys[row]-lowest <= width
			last = first
		default:
			first, last = r.keys[2*row]-lowest <= width, r.keys[2*row+1]-lowest <= width
		}
		if first || last {
			picks = append(picks, pick{uint32(row), first, last})
		}
	}
	return picks
}

// id is that of an image, if not all have eight bytes.
func (r *routes) id(image int) []byte {
	from := uint32(0)
	if image > 0 {
		from = r.ends[image-1]
	}
	return r.ids[from:r.ends[image]]
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
	f.picks = r.mine(plan, f.picks[:0])
	f.grow(len(f.picks))
	for _, p := range f.picks {
		c.Seek(ev.Body, int(r.offsets[p.row]))
		if !c.Next() {
			return c.Err()
		}
		if err := f.row(k, c.Before, c.After, p.first && ev.Kind != binlog.Insert, p.last && ev.Kind != binlog.Delete); err != nil {
			return err
		}
	}
	return nil
}

func findRoutes(k *compiled, ev *binlog.Rows, plan *filter.Plan) (*routes, error) {
	if of, column, ok := plan.OfNumbers(); ok {
		if r, ok, err := numberRoutes(k, ev, of, column); ok || err != nil {
			return r, err
		}
	}
	c, err := k.decoder.Open(eventType(ev), ev.Body)
	if err != nil {
		return nil, err
	}
	b := routing{plan: plan, cells: make(rowimage.Row, len(plan.Columns()))}
	b.images = images(ev)
	for at := c.Offset(); c.Next(); at = c.Offset() {
		b.row(ev, at, c.Offset())
		if err := b.image(c.Before); err != nil {
			return nil, err
		}
		if err := b.image(c.After); err != nil {
			return nil, err
		}
	}
	return &b.routes, c.Err()
}

// numberRoutes finds the routes of integers, without making text of them, and all of an event at once. ok is false if some are none.
func numberRoutes(k *compiled, ev *binlog.Rows, of vindex.OfNumbers, column int) (r *routes, ok bool, err error) {
	c, err := k.decoder.Open(eventType(ev), ev.Body)
	if err != nil {
		return nil, false, err
	}
	r = &routes{images: images(ev)}
	unsigned := false
	for at := c.Offset(); c.Next(); at = c.Offset() {
		r.row(ev, at, c.Offset())
		for _, im := range [2]*rowimage.Image{c.Before, c.After} {
			if im == nil {
				continue
			}
			n, ok := im.Number(column)
			if !ok {
				return nil, false, nil
			}
			r.keys, unsigned = append(r.keys, n), im.Unsigned(column)
		}
	}
	of.MapNumbers(r.keys, unsigned)
	return r, true, c.Err()
}

// images is how many a row has.
func images(ev *binlog.Rows) int {
	if ev.Kind == binlog.Update {
		return 2
	}
	return 1
}

// row notes where a row is.
func (r *routes) row(ev *binlog.Rows, from, to int) {
	if r.offsets == nil { // rows of an event are about alike
		n := len(ev.Body)/max(to-from, 1) + 1
		r.offsets, r.keys = make([]uint32, 0, n), make([]uint64, 0, n*r.images)
	}
	r.offsets = append(r.offsets, uint32(from))
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
