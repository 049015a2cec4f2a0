package rowimage

import "fmt"

// Keeper copies images out of events, so that they outlive the buffer that the event came in, and do not keep it: a stream that follows a
// few rows of a large log would otherwise hold all of it. Many rows share a piece of memory, which goes when the last of them has gone.
// It belongs to one goroutine.
type Keeper struct {
	bytes []byte
	cells [][]byte
}

// Pieces grow up to these sizes: a stream that sees few rows keeps little.
const (
	keeperBytes = 32 << 10
	keeperCells = 1 << 10
	// convertedBytes is room for a cell that is not stored as it is read; most are numbers and times.
	convertedBytes = 20
)

// Keep returns a copy of an image: raw is its bitmap of NULLs and its cells as the binlog has them, one behind the other, row its canonical cells. Both
// share memory where their bytes are equal.
func (k *Keeper) Keep(im *Image) (raw []byte, row Row, err error) {
	n := len(im.nulls) + im.size
	k.room(n, im)
	from := len(k.bytes)
	k.bytes = im.AppendRaw(k.bytes)
	raw = k.bytes[from : from+n : from+n]
	row, err = k.row(im, raw[len(im.nulls):])
	return raw, row, err
}

// Row is Keep for an image whose bytes stay: the canonical cells alias them where they are equal.
func (k *Keeper) Row(im *Image) (Row, error) {
	k.room(0, im)
	return k.row(im, im.body)
}

func (k *Keeper) room(raw int, im *Image) {
	if room := raw + convertedBytes*len(im.columns); cap(k.bytes)-len(k.bytes) < room {
		k.bytes = make([]byte, 0, max(min(2*cap(k.bytes), keeperBytes), room))
	}
	if cap(k.cells)-len(k.cells) < len(im.columns) {
		k.cells = make([][]byte, 0, max(min(2*cap(k.cells), keeperCells), len(im.columns)))
	}
}

func (k *Keeper) row(im *Image, body []byte) (row Row, err error) {
	first := len(k.cells)
	last := first + len(im.columns)
	row = k.cells[first:last:last]
	for i := range im.columns {
		at, c := im.cells[i], &im.columns[i]
		if at.from < 0 {
			row[i] = nil
			continue
		}
		cell := body[at.from:at.to:at.to]
		if !c.alias(cell) {
			from := len(k.bytes)
			if k.bytes, err = c.append(k.bytes, cell); err != nil { // when it grows, earlier cells keep the old piece
				k.bytes = k.bytes[:from]
				return nil, c.wrap(err)
			}
			cell = k.bytes[from:len(k.bytes):len(k.bytes)]
		}
		row[i] = cell
	}
	k.cells = k.cells[:last]
	return row, nil
}

// AppendRaw appends the image as the binlog has it: the bitmap of NULLs, and the cells.
func (im *Image) AppendRaw(dst []byte) []byte {
	return append(append(dst, im.nulls...), im.body[:im.size]...)
}

// Image finds the cells of an image that AppendRaw has written. It aliases raw, and is valid until the decoder's next one.
func (d *Decoder) Image(raw []byte) (*Image, error) { return d.find(&d.after, raw) }

// Images is Image for both images of an update.
func (d *Decoder) Images(rawBefore, rawAfter []byte) (before, after *Image, err error) {
	if before, err = d.find(&d.before, rawBefore); err == nil {
		after, err = d.find(&d.after, rawAfter)
	}
	return before, after, err
}

func (d *Decoder) find(im *Image, raw []byte) (*Image, error) {
	w := walk{reader: reader{rest: raw}, decoder: d}
	w.image(im)
	if w.err == nil && len(w.rest) > 0 {
		w.err = fmt.Errorf("%d bytes behind the image", len(w.rest))
	}
	if w.err != nil {
		return nil, fmt.Errorf("image of a row of %s: %w", d.name, w.err)
	}
	return im, nil
}
