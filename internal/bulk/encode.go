package bulk

import (
	"io"

	"braid/internal/rowimage"
)

const (
	// flushSize is when encoded rows are handed over; the socket takes them while the next are encoded.
	flushSize = 128 << 10
	// pieceSize bounds what a cell adds to the buffer at once, so that a cell of a gigabyte does not make the buffer one of two.
	pieceSize = 64 << 10
)

// encoder writes rows in the format of LOAD DATA with its default separators.
type encoder struct {
	buf []byte
	out io.Writer
}

func (e *encoder) row(t *Table, row rowimage.Row) error {
	buf := e.buf
	for i := range t.columns {
		if i > 0 {
			buf = append(buf, '\t')
		}
		c := &t.columns[i]
		cell := row[c.at]
		switch {
		case cell == nil:
			buf = append(buf, '\\', 'N')
		case c.form == plain || c.form == member:
			buf = append(buf, cell...)
		case c.form == bits:
			buf = appendBits(buf, cell, c.size)
		default:
			for len(cell) > pieceSize {
				e.buf = appendEscaped(buf, cell[:pieceSize])
				if err := e.flush(); err != nil {
					return err
				}
				buf, cell = e.buf, cell[pieceSize:]
			}
			buf = appendEscaped(buf, cell)
		}
	}
	e.buf = append(buf, '\n')
	if len(e.buf) >= flushSize {
		return e.flush()
	}
	return nil
}

func (e *encoder) flush() error {
	_, err := e.out.Write(e.buf)
	e.buf = e.buf[:0]
	return err
}

// escapes holds what follows the backslash. Under CHARACTER SET binary every byte is a character, so nothing else has a meaning.
var escapes = [256]byte{'\t': 't', '\n': 'n', '\\': '\\'}

func appendEscaped(dst, cell []byte) []byte {
	from := 0
	for i, b := range cell {
		if escaped := escapes[b]; escaped != 0 {
			dst = append(append(dst, cell[from:i]...), '\\', escaped)
			from = i + 1
		}
	}
	return append(dst, cell[from:]...)
}

// appendBits writes the number as the bytes that a BIT column takes, the high one first.
func appendBits(dst, cell []byte, size int) []byte {
	var v uint64
	for _, d := range cell {
		v = v*10 + uint64(d-'0')
	}
	for i := size - 1; i >= 0; i-- {
		b := byte(v >> (8 * i))
		if escaped := escapes[b]; escaped != 0 {
			dst = append(dst, '\\', escaped)
			continue
		}
		dst = append(dst, b)
	}
	return dst
}
