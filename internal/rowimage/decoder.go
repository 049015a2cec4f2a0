package rowimage

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"braid/internal/schema"
)

// Types of row events. The body of version 1, of servers before 5.6, has no extra data; else the versions are alike.
const (
	eventWriteV1       = 23
	eventUpdateV1      = 24
	eventDeleteV1      = 25
	EventWriteRows     = 30
	EventUpdateRows    = 31
	EventDeleteRows    = 32
	EventPartialUpdate = 39
)

// ErrPartialImage: the source has binlog_row_image MINIMAL or NOBLOB; columns are missing from the image.
var ErrPartialImage = errors.New("the row image is partial: the source needs binlog_row_image=FULL")

// Decoder reads the row events of one table map for one table definition. It owns scratch memory: one goroutine at a time.
type Decoder struct {
	name    string // db.table, for messages
	columns []column
	before  Image
	after   Image
}

// Decoder compiles a decoder. A definition that does not fit the map is an error that shows both sides: the definition is older or newer than the
// event.
func (m *TableMap) Decoder(t *schema.Table) (*Decoder, error) {
	d := &Decoder{name: m.DB + "." + m.Name, columns: make([]column, len(m.Columns))}
	if err := m.Fits(t); err != nil {
		return nil, err
	}
	for i := range m.Columns {
		d.columns[i] = compile(m, i, &t.Columns[i])
	}
	d.before.init(d.columns)
	d.after.init(d.columns)
	return d, nil
}

// Decode calls fn for each row of an event: before is nil for an insert, after is nil for a delete. The body is what follows the 19 bytes of
// header, without the checksum.
//
// The rows are valid during the call only: their cells alias the body (strings and blobs) or memory that the next row reuses. Row.Clone
// keeps one.
func (d *Decoder) Decode(eventType byte, body []byte, fn func(before, after Row) error) error {
	return d.Walk(eventType, body, func(before, after *Image) error {
		var rows [2]Row
		for i, image := range [2]*Image{before, after} {
			if image == nil {
				continue
			}
			row, err := image.Row()
			if err != nil {
				return err
			}
			rows[i] = row
		}
		return fn(rows[0], rows[1])
	})
}

// Walk is Decode without the decoding: it finds the cells, and allocates nothing. The images are valid during the call only.
func (d *Decoder) Walk(eventType byte, body []byte, fn func(before, after *Image) error) error {
	c, err := d.Open(eventType, body)
	if err != nil {
		return err
	}
	for c.Next() {
		if err := fn(c.Before, c.After); err != nil {
			return err
		}
	}
	return c.Err()
}

// Cursor walks over the rows of an event.
//
//	c, err := decoder.Open(eventType, body)
//	for c.Next() {
//		c.Before, c.After …
//	}
//	err = c.Err()
type Cursor struct {
	// Before and After are the images of the current row; Before is nil for an insert, After for a delete. They are valid until
	// the next row, and belong to the decoder.
	Before, After *Image

	w             walk
	size          int
	before, after bool
	partial       bool // after images may have differences of JSON documents
}

// Open returns a cursor in front of an event's first row. A decoder has one cursor at a time.
func (d *Decoder) Open(eventType byte, body []byte) (Cursor, error) {
	c := Cursor{w: walk{reader: reader{rest: body}, decoder: d}, size: len(body)}
	var err error
	if c.before, c.after, err = c.w.header(eventType); err != nil {
		return Cursor{}, fmt.Errorf("rows of %s: %w", d.name, err)
	}
	c.partial = eventType == EventPartialUpdate
	return c, nil
}

// Offset is where in the body the next row begins.
func (c *Cursor) Offset() int { return c.size - len(c.w.rest) }

// Seek goes to an offset in the same body that Offset gave before, for this event and any decoder of its table map.
func (c *Cursor) Seek(body []byte, offset int) { c.w.rest = body[offset:] }

// Next goes to the next row. After false, Err tells whether that was the end.
func (c *Cursor) Next() bool {
	if c.w.err != nil || len(c.w.rest) == 0 {
		return false
	}
	if c.before {
		c.Before = &c.w.decoder.before
		c.w.image(c.Before)
	}
	if c.after {
		c.After = &c.w.decoder.after
		if c.partial {
			c.w.partial(c.After, c.Before)
		} else {
			c.w.image(c.After)
		}
	}
	return c.w.err == nil
}

// Err is why Next returned false, nil for the end.
func (c *Cursor) Err() error {
	if c.w.err != nil {
		return fmt.Errorf("rows of %s: %w", c.w.decoder.name, c.w.err)
	}
	return nil
}

// walk is the state of one pass over an event.
type walk struct {
	reader
	decoder *Decoder
}

func (w *walk) header(eventType byte) (before, after bool, err error) {
	switch eventType {
	case EventWriteRows, eventWriteV1:
		after = true
	case EventUpdateRows, eventUpdateV1, EventPartialUpdate:
		before, after = true, true
	case EventDeleteRows, eventDeleteV1:
		before = true
	default:
		return false, false, fmt.Errorf("event type %d has no rows", eventType)
	}
	if len(w.rest) > math.MaxInt32 {
		return false, false, fmt.Errorf("an event of %d bytes", len(w.rest))
	}
	w.bytes(6 + 2) // table id, flags
	if eventType >= EventWriteRows {
		extra := w.uint(2) // its own two bytes included: a partition, or what NDB wants to know
		w.bytes(int(extra) - 2)
	}
	count := w.length()
	if w.err == nil && count != uint64(len(w.decoder.columns)) {
		return false, false, fmt.Errorf("the event has %d columns, its table map %d", count, len(w.decoder.columns))
	}
	if before {
		w.present("before")
	}
	if after {
		w.present("after")
	}
	return before, after, w.err
}

// present reads the bitmap of the columns in an image, and insists on all of them.
func (w *walk) present(image string) {
	bitmap := w.bytes((len(w.decoder.columns) + 7) / 8)
	if w.err != nil {
		return
	}
	var missing []string
	for i := range w.decoder.columns {
		if !bit(bitmap, i) {
			missing = append(missing, w.decoder.columns[i].name)
		}
	}
	if missing != nil {
		w.err = fmt.Errorf("%w (the %s image lacks %s)", ErrPartialImage, image, strings.Join(missing, ", "))
	}
}

// image notes where each cell begins and ends.
func (w *walk) image(im *Image) {
	columns := w.decoder.columns
	nulls := w.bytes((len(columns) + 7) / 8)
	if w.err != nil {
		return
	}
	im.nulls, im.body = nulls, w.rest
	pos, body, cells := 0, w.rest, im.cells[:len(columns)]
	whole := true // most rows have no NULL
	for _, b := range nulls {
		whole = whole && b == 0
	}
	for i := range columns {
		if !whole && bit(nulls, i) {
			cells[i] = span{-1, -1}
			continue
		}
		c := &columns[i]
		length := c.fixed
		if c.prefix > 0 {
			if len(body)-pos < c.prefix {
				w.err = c.short()
				return
			}
			length = c.length(body[pos:])
			pos += c.prefix
		}
		if len(body)-pos < length {
			w.err = c.short()
			return
		}
		cells[i] = span{int32(pos), int32(pos + length)}
		pos += length
	}
	im.size = pos
	w.rest = w.rest[pos:]
}
