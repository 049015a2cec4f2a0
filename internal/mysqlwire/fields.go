package mysqlwire

import "encoding/binary"

// Fields reads a packet's fields in order. Bad is set when it ends too early; the fields read then are empty.
type Fields struct {
	P   []byte // what is left
	Bad bool
}

// Take reads n bytes.
func (f *Fields) Take(n int) []byte {
	if n < 0 || n > len(f.P) {
		f.P, f.Bad = nil, true
		return nil
	}
	b := f.P[:n:n]
	f.P = f.P[n:]
	return b
}

// Byte reads one byte.
func (f *Fields) Byte() byte {
	if b := f.Take(1); b != nil {
		return b[0]
	}
	return 0
}

// Uint16 reads two bytes.
func (f *Fields) Uint16() uint16 {
	if b := f.Take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

// Uint32 reads four bytes.
func (f *Fields) Uint32() uint32 {
	if b := f.Take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// Uint64 reads eight bytes.
func (f *Fields) Uint64() uint64 {
	if b := f.Take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// Int reads a length-encoded integer.
func (f *Fields) Int() uint64 {
	first := f.Byte()
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
	for i, b := range f.Take(n) {
		v |= uint64(b) << (8 * i)
	}
	return v
}

// Bytes reads a length-encoded string.
func (f *Fields) Bytes() []byte {
	n := f.Int()
	if n > uint64(len(f.P)) {
		f.P, f.Bad = nil, true
		return nil
	}
	return f.Take(int(n))
}

// CString reads a string that ends with a zero byte, or with the packet.
func (f *Fields) CString() string {
	for i, b := range f.P {
		if b == 0 {
			s := string(f.P[:i])
			f.P = f.P[i+1:]
			return s
		}
	}
	s := string(f.P)
	f.P = nil
	return s
}

// Row reads a text row into cells: nil is NULL, an empty string is not. It says whether the packet has just as many.
func (f *Fields) Row(cells [][]byte) bool {
	for i := range cells {
		if len(f.P) > 0 && f.P[0] == null {
			cells[i], f.P = nil, f.P[1:]
			continue
		}
		cells[i] = f.Bytes()
	}
	return !f.Bad && len(f.P) == 0
}
