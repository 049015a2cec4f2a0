package rowimage

import "fmt"

// span is where a cell stands in the body; NULL begins at -1.
type span struct{ from, to int32 }

// Image is one image of a row in an event: offsets into the body of the event.
type Image struct {
	columns []column
	nulls   []byte // bitmap
	body    []byte // from the image on; the image has size bytes
	size    int
	cells   []span
	row     Row
	scratch []byte
}

func (im *Image) init(columns []column) {
	im.columns, im.cells, im.row = columns, make([]span, len(columns)), make(Row, len(columns))
}

// Null reports whether the cell is NULL.
func (im *Image) Null(column int) bool { return im.cells[column].from < 0 }

// Raw returns the cell as the binlog has it, without its length; nil for NULL. It aliases the body.
func (im *Image) Raw(column int) []byte {
	at := im.cells[column]
	if at.from < 0 {
		return nil
	}
	return im.body[at.from:at.to:at.to]
}

// Number returns an integer, that of a signed column in two's complement; ok is false for NULL, and for a column of another type.
func (im *Image) Number(column int) (n uint64, ok bool) {
	switch c := &im.columns[column]; c.typ {
	case typeTiny, typeShort, typeInt24, typeLong, typeLongLong:
		raw := im.Raw(column)
		if raw == nil {
			return 0, false
		}
		n = littleEndian(raw)
		if shift := 64 - 8*len(raw); !c.unsigned {
			n = uint64(int64(n<<shift) >> shift)
		}
		return n, true
	}
	return 0, false
}

// Unsigned reports whether a column is.
func (im *Image) Unsigned(column int) bool { return im.columns[column].unsigned }

// Row converts every cell. It aliases the body and memory that the next image reuses.
func (im *Image) Row() (Row, error) {
	im.scratch = im.scratch[:0]
	for i := range im.columns {
		cell, err := im.cell(i)
		if err != nil {
			return nil, err
		}
		im.row[i] = cell
	}
	return im.row, nil
}

// Cells converts some columns only, into dst, which must have room for them: what a filter or a key needs. They alias the body and memory that
// the next call reuses.
func (im *Image) Cells(dst Row, columns []int) error {
	im.scratch = im.scratch[:0]
	for i, c := range columns {
		cell, err := im.cell(c)
		if err != nil {
			return err
		}
		dst[i] = cell
	}
	return nil
}

func (im *Image) cell(i int) ([]byte, error) {
	raw, c := im.Raw(i), &im.columns[i]
	if raw == nil || c.alias(raw) {
		return raw, nil
	}
	// When scratch grows, earlier cells keep the old array.
	from := len(im.scratch)
	grown, err := c.append(im.scratch, raw)
	if err != nil {
		return nil, fmt.Errorf("column %s: %w", c.name, err)
	}
	im.scratch = grown
	return grown[from:len(grown):len(grown)], nil
}

// AppendCell appends the canonical cell of a column to dst; ok is false for NULL.
func (im *Image) AppendCell(dst []byte, column int) (out []byte, ok bool, err error) {
	raw, c := im.Raw(column), &im.columns[column]
	if raw == nil {
		return dst, false, nil
	}
	if c.alias(raw) {
		return append(dst, raw...), true, nil
	}
	if out, err = c.append(dst, raw); err != nil {
		return dst, false, fmt.Errorf("column %s: %w", c.name, err)
	}
	return out, true, nil
}
