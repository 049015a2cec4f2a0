package sqlconn

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/mysqlwire"
)

var errMalformed = errors.New("malformed packet")

// keepOut bounds the statement buffer that a session keeps between calls.
const keepOut = 2 << 20

// writeCommand sends a command packet: payloads from 16 MiB on travel in several packets, the last one shorter than that.
func (c *Conn) writeCommand(command byte, text string) error {
	c.seq = 0
	c.out = append(append(c.out[:0], 0, 0, 0, 0, command), text...)
	buf := c.out
	for {
		n := min(len(buf)-4, mysql.MaxPayloadLen)
		buf[0], buf[1], buf[2], buf[3] = byte(n), byte(n>>8), byte(n>>16), c.seq
		if _, err := c.sock.Write(buf[:4+n]); err != nil {
			return err
		}
		c.seq++
		buf = buf[n:] // the last four bytes sent become room for the next header
		if n < mysql.MaxPayloadLen {
			break
		}
	}
	if cap(c.out) > keepOut {
		c.out = nil
	}
	return nil
}

// readPacket reads one packet into buf (its capacity is used, its content overwritten).
func (c *Conn) readPacket(buf []byte) ([]byte, error) {
	buf = buf[:0]
	for {
		header, err := c.r.Peek(4)
		if err != nil {
			return nil, err
		}
		if header[3] != c.seq {
			return nil, errMalformed
		}
		c.seq++
		n := int(header[0]) | int(header[1])<<8 | int(header[2])<<16
		if _, err := c.r.Discard(4); err != nil {
			return nil, err
		}
		at := len(buf)
		if cap(buf)-at < n { // a row of a gigabyte comes in 64 pieces
			buf = append(make([]byte, 0, max(at+n, at+at/2)), buf...)
		}
		buf = buf[:at+n]
		if _, err := io.ReadFull(c.r, buf[at:]); err != nil {
			return nil, err
		}
		if n < mysql.MaxPayloadLen {
			break
		}
	}
	if len(buf) == 0 {
		return nil, errMalformed
	}
	return buf, nil
}

// parseErr reads an ERR packet.
func parseErr(p []byte) error {
	if len(p) < 3 {
		return errMalformed
	}
	e := &mysql.MyError{Code: binary.LittleEndian.Uint16(p[1:])}
	p = p[3:]
	if len(p) >= 6 && p[0] == '#' {
		e.State, p = string(p[1:6]), p[6:]
	}
	e.Message = string(p)
	return e
}

// parseOK reads an OK packet.
func (c *Conn) parseOK(p []byte, res *Result) error {
	f := mysqlwire.Fields{P: p[1:]}
	res.Affected, res.InsertID = f.Int(), f.Int()
	c.status, res.Warnings = f.Uint16(), f.Uint16()
	if len(f.P) > 0 {
		res.Info = string(f.Bytes())
	}
	if c.status&mysql.SERVER_SESSION_STATE_CHANGED != 0 {
		res.GTID = trackedGTID(f.Bytes())
	}
	if f.Bad {
		return errMalformed
	}
	return nil
}

// trackedGTID finds the GTIDs among the session's changes; they come when session_track_gtids asks for them.
func trackedGTID(p []byte) string {
	for f := (mysqlwire.Fields{P: p}); len(f.P) > 0 && !f.Bad; {
		kind := f.P[0]
		f.P = f.P[1:]
		body := f.Bytes()
		if kind == mysql.SESSION_TRACK_GTIDS && len(body) > 1 {
			gtid := mysqlwire.Fields{P: body[1:]} // the first byte is the encoding; 0 is the only one
			return string(gtid.Bytes())
		}
	}
	return ""
}
