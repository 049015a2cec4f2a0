package mysqlproto

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
)

const (
	maxFragment = 1<<24 - 1 // payload of one packet on the wire; longer payloads travel in several
	bufferSize  = 16 << 10
	keepLarge   = 1 << 20 // a larger read buffer is given back after use
	headerSize  = 4
)

// MaxPacket bounds a command: as large as MySQL's own default for max_allowed_packet.
const MaxPacket = 64 << 20

// Errors of the framing.
var (
	ErrTooLarge  = errors.New("packet is larger than max_allowed_packet")
	errSequence  = errors.New("packets out of order")
	errMalformed = errors.New("malformed packet")
)

// Conn frames packets over a socket. Writes are buffered until Flush.
type Conn struct {
	nc    net.Conn
	r     *bufio.Reader
	w     *bufio.Writer
	seq   uint8
	caps  uint32
	held  int    // bytes of the read buffer that the last packet still occupies
	large []byte // packets that do not fit into the read buffer
}

func newConn(nc net.Conn) *Conn {
	return &Conn{nc: nc, r: bufio.NewReaderSize(nc, bufferSize), w: bufio.NewWriterSize(nc, bufferSize)}
}

// Caps are the capability flags that both sides agreed on.
func (c *Conn) Caps() uint32 { return c.caps }

// Has says whether a capability was agreed on.
func (c *Conn) Has(capability uint32) bool { return c.caps&capability != 0 }

// RemoteAddr is the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// newCommand starts a new exchange: sequence numbers begin at 0 with each command.
func (c *Conn) newCommand() { c.seq = 0 }

// fragment reads one packet as it is on the wire. more says that the payload goes on in the next one.
func (c *Conn) fragment() (p []byte, more bool, err error) {
	c.release()
	h, err := c.r.Peek(headerSize)
	if err != nil {
		return nil, false, eof(err)
	}
	n := int(h[0]) | int(h[1])<<8 | int(h[2])<<16
	if h[3] != c.seq {
		return nil, false, fmt.Errorf("%w: got %d, expected %d", errSequence, h[3], c.seq)
	}
	c.seq++
	if headerSize+n <= c.r.Size() {
		all, err := c.r.Peek(headerSize + n)
		if err != nil {
			return nil, false, eof(err)
		}
		c.held = headerSize + n
		return all[headerSize:], false, nil
	}
	if _, err := c.r.Discard(headerSize); err != nil {
		return nil, false, err
	}
	if cap(c.large) < n {
		c.large = make([]byte, n)
	}
	c.large = c.large[:n]
	if _, err := io.ReadFull(c.r, c.large); err != nil {
		return nil, false, eof(err)
	}
	return c.large, n == maxFragment, nil
}

func (c *Conn) release() {
	if c.held > 0 {
		c.r.Discard(c.held) //nolint:errcheck // these bytes are in the buffer
		c.held = 0
	}
	if cap(c.large) > keepLarge {
		c.large = nil
	}
}

func eof(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// ReadPacket reads one payload of at most limit bytes; it is valid until the next read.
func (c *Conn) ReadPacket(limit int) ([]byte, error) {
	p, more, err := c.fragment()
	if err != nil || !more {
		if err == nil && len(p) > limit {
			err = ErrTooLarge
		}
		return p, err
	}
	all := append([]byte(nil), p...)
	for more {
		if len(all) > limit {
			return nil, ErrTooLarge
		}
		if p, more, err = c.fragment(); err != nil {
			return nil, err
		}
		all = append(all, p...)
	}
	return all, nil
}

// WritePacket adds one payload to the output.
func (c *Conn) WritePacket(p []byte) error {
	for {
		n := min(len(p), maxFragment)
		if err := c.writeFragment(p[:n]); err != nil {
			return err
		}
		p = p[n:]
		if n < maxFragment {
			return nil
		}
	}
}

func (c *Conn) writeFragment(p []byte) error {
	n := len(p)
	h := [headerSize]byte{byte(n), byte(n >> 8), byte(n >> 16), c.seq}
	c.seq++
	if _, err := c.w.Write(h[:]); err != nil {
		return err
	}
	_, err := c.w.Write(p)
	return err
}

// Flush sends what was written.
func (c *Conn) Flush() error { return c.w.Flush() }

// Buffered says whether the peer has sent something that is not read yet.
func (c *Conn) Buffered() bool { return c.r.Buffered()-c.held > 0 }

// upgrade puts another transport (TLS) under the connection. Bytes of it that were read already are not lost.
func (c *Conn) upgrade(wrap func(net.Conn) (net.Conn, error)) error {
	c.release()
	nc, err := wrap(&unread{Conn: c.nc, r: c.r})
	if err != nil {
		return err
	}
	c.nc, c.r, c.w = nc, bufio.NewReaderSize(nc, bufferSize), bufio.NewWriterSize(nc, bufferSize)
	return nil
}

// unread is a net.Conn whose first bytes wait in a buffer.
type unread struct {
	net.Conn
	r *bufio.Reader
}

func (u *unread) Read(p []byte) (int, error) {
	if u.r.Buffered() > 0 {
		return u.r.Read(p[:min(len(p), u.r.Buffered())])
	}
	return u.Conn.Read(p)
}
