package rowimage

// reader cuts bytes off the front. After an error it gives zeros, so that callers check once at the end.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) bytes(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.rest) {
		if r.err == nil {
			r.err = errShort
		}
		return nil
	}
	taken := r.rest[:n:n]
	r.rest = r.rest[n:]
	return taken
}

// bytes64 is bytes for a length that came off the wire.
func (r *reader) bytes64(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		return r.bytes(-1)
	}
	return r.bytes(int(n))
}

// uint reads n bytes, little endian.
func (r *reader) uint(n int) uint64 {
	var v uint64
	b := r.bytes(n)
	for i := len(b) - 1; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	return v
}

// length reads a length-encoded integer.
func (r *reader) length() uint64 {
	if r.err != nil {
		return 0
	}
	n, rest, err := readLength(r.rest)
	if err != nil {
		r.err = err
		return 0
	}
	r.rest = rest
	return n
}

// text reads a length-encoded string.
func (r *reader) text() string { return string(r.bytes64(r.length())) }
