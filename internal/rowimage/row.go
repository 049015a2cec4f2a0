package rowimage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Row is one cell per column, in table order; a nil cell is NULL. A key is a Row of the key columns.
type Row [][]byte

// Clone returns a copy that shares no memory with r, in two allocations.
func (r Row) Clone() Row {
	if r == nil {
		return nil
	}
	buf, out := make([]byte, 0, r.Size()), make(Row, len(r))
	for i, cell := range r {
		if cell != nil {
			n := len(buf)
			buf = append(buf, cell...)
			out[i] = buf[n:len(buf):len(buf)]
		}
	}
	return out
}

// Size is the number of bytes in the cells.
func (r Row) Size() int {
	n := 0
	for _, cell := range r {
		n += len(cell)
	}
	return n
}

// Equal reports whether both rows have the same cells. NULL equals NULL, and differs from the empty string.
func (r Row) Equal(o Row) bool {
	if len(r) != len(o) {
		return false
	}
	for i := range r {
		if (r[i] == nil) != (o[i] == nil) || !bytes.Equal(r[i], o[i]) {
			return false
		}
	}
	return true
}

// Key returns the cells of the columns, sharing their memory.
func (r Row) Key(columns []int) Row {
	key := make(Row, len(columns))
	for i, c := range columns {
		key[i] = r[c]
	}
	return key
}

// null stands for NULL where a length is expected, as in the text protocol.
const null = 0xfb

// AppendRow appends the row in the encoding of MySQL's text protocol: length-encoded strings, 0xFB for NULL, no header.
func AppendRow(dst []byte, r Row) []byte {
	for _, cell := range r {
		if cell == nil {
			dst = append(dst, null)
			continue
		}
		dst = append(appendLength(dst, uint64(len(cell))), cell...)
	}
	return dst
}

func appendLength(dst []byte, n uint64) []byte {
	switch {
	case n < null:
		return append(dst, byte(n))
	case n < 1<<16:
		return append(dst, 0xfc, byte(n), byte(n>>8))
	case n < 1<<24:
		return append(dst, 0xfd, byte(n), byte(n>>8), byte(n>>16))
	}
	return binary.LittleEndian.AppendUint64(append(dst, 0xfe), n)
}

// errShort is wrapped with the operation and the object.
var errShort = errors.New("data ends too early")

// readLength reads a length-encoded integer.
func readLength(src []byte) (n uint64, rest []byte, err error) {
	if len(src) == 0 {
		return 0, nil, errShort
	}
	size := 0
	switch src[0] {
	case 0xfc:
		size = 2
	case 0xfd:
		size = 3
	case 0xfe:
		size = 8
	case 0xfb, 0xff:
		return 0, nil, fmt.Errorf("0x%x is not a length", src[0])
	default:
		return uint64(src[0]), src[1:], nil
	}
	if len(src) < 1+size {
		return 0, nil, errShort
	}
	for i := size; i > 0; i-- {
		n = n<<8 | uint64(src[i])
	}
	return n, src[1+size:], nil
}

// DecodeRow reads a row of n cells that AppendRow has written, and returns what follows it. The cells alias src.
func DecodeRow(src []byte, n int) (r Row, rest []byte, err error) {
	r = make(Row, n)
	rest, err = DecodeRowInto(r, src)
	if err != nil {
		return nil, nil, err
	}
	return r, rest, nil
}

// DecodeRowInto is DecodeRow into memory of the caller.
func DecodeRowInto(r Row, src []byte) (rest []byte, err error) {
	for i := range r {
		if len(src) > 0 && src[0] == null {
			r[i], src = nil, src[1:]
			continue
		}
		length, after, err := readLength(src)
		if err == nil && length > uint64(len(after)) {
			err = errShort
		}
		if err != nil {
			return nil, fmt.Errorf("decode cell %d of %d: %w", i, len(r), err)
		}
		r[i], src = after[:length:length], after[length:]
	}
	return src, nil
}
