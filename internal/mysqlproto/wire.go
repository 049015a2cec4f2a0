package mysqlproto

import "encoding/binary"

// appendInt appends a length-encoded integer.
func appendInt(dst []byte, v uint64) []byte {
	switch {
	case v < 251:
		return append(dst, byte(v))
	case v < 1<<16:
		return append(dst, 0xfc, byte(v), byte(v>>8))
	case v < 1<<24:
		return append(dst, 0xfd, byte(v), byte(v>>8), byte(v>>16))
	}
	return binary.LittleEndian.AppendUint64(append(dst, 0xfe), v)
}

// appendBytes appends a length-encoded string.
func appendBytes[T string | []byte](dst []byte, s T) []byte {
	return append(appendInt(dst, uint64(len(s))), s...)
}

// appendCell appends a value of a text row; nil is NULL.
func appendCell(dst, cell []byte) []byte {
	if cell == nil {
		return append(dst, 0xfb)
	}
	return appendBytes(dst, cell)
}

// AppendRow appends a text row; a nil cell is NULL.
func AppendRow(dst []byte, cells [][]byte) []byte {
	for _, cell := range cells {
		dst = appendCell(dst, cell)
	}
	return dst
}

// reader reads the fields of a packet in order. bad is set when it ends too early; the fields read then are empty.
type reader struct {
	p   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.p) {
		r.p, r.bad = nil, true
		return nil
	}
	b := r.p[:n:n]
	r.p = r.p[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// int reads a length-encoded integer.
func (r *reader) int() uint64 {
	first := r.byte()
	n := 0
	switch first {
	case 0xfc:
		n = 2
	case 0xfd:
		n = 3
	case 0xfe:
		n = 8
	default:
		return uint64(first)
	}
	var v uint64
	for i, b := range r.take(n) {
		v |= uint64(b) << (8 * i)
	}
	return v
}

// bytes reads a length-encoded string; it points into the packet.
func (r *reader) bytes() []byte {
	n := r.int()
	if n > uint64(len(r.p)) {
		r.p, r.bad = nil, true
		return nil
	}
	return r.take(int(n))
}

// cstring reads a string that ends with a zero byte, or with the packet.
func (r *reader) cstring() string {
	for i, b := range r.p {
		if b == 0 {
			s := string(r.p[:i])
			r.p = r.p[i+1:]
			return s
		}
	}
	s := string(r.p)
	r.p = nil
	return s
}

// ParseRow splits a text row into cells, which point into it; nil is NULL. It says whether the row has just as many.
func ParseRow(row []byte, cells [][]byte) bool {
	r := reader{p: row}
	for i := range cells {
		if len(r.p) > 0 && r.p[0] == 0xfb {
			cells[i], r.p = nil, r.p[1:]
			continue
		}
		cells[i] = r.bytes()
		if cells[i] == nil {
			cells[i] = []byte{}
		}
	}
	return !r.bad && len(r.p) == 0
}
