package mysqlproto

import (
	"errors"
	"net"
	"os"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/mysqlwire"
)

// ServerConn is the connection of one client, seen from the server.
type ServerConn struct {
	*Conn
	ID         uint32
	User       string
	DB         string // as given at login
	Collation  uint16 // as given at login
	Attributes map[string]string

	// Status is sent with every answer; the session keeps autocommit and "in transaction" in it.
	Status uint16
	// More says that the answer that is being written is followed by another one (multi-statements).
	More bool
	// Binary makes rows go out in the format of prepared statements.
	Binary bool

	salt    []byte
	columns []Column // of the rows that are being written
	out     []byte
}

// Close ends the connection at once.
func (c *ServerConn) Close() { c.nc.Close() }

func (c *ServerConn) send(p []byte) error {
	if err := c.WritePacket(p); err != nil {
		return err
	}
	return c.Flush()
}

// command reads the next command, telling the session when the client is silent.
func (c *ServerConn) command(s Session) (byte, []byte, error) {
	c.newCommand()
	c.More, c.Binary = false, false
	if idler, ok := s.(Idler); ok && !c.Buffered() {
		c.awaitOrIdle(idler)
	}
	p, err := c.ReadPacket(MaxPacket)
	if err != nil {
		return 0, nil, err
	}
	if len(p) == 0 {
		return 0, nil, errMalformed
	}
	return p[0], p[1:], nil
}

func (c *ServerConn) awaitOrIdle(idler Idler) {
	c.release()
	if c.nc.SetReadDeadline(time.Now().Add(IdleAfter)) != nil {
		return
	}
	_, err := c.r.Peek(1)
	c.nc.SetReadDeadline(time.Time{}) //nolint:errcheck // a socket that is broken fails at the read
	if errors.Is(err, os.ErrDeadlineExceeded) {
		idler.Idle()
	}
}

func (c *ServerConn) status(flags uint16) uint16 {
	const kept = mysql.SERVER_STATUS_IN_TRANS | mysql.SERVER_STATUS_AUTOCOMMIT | mysql.SERVER_STATUS_IN_TRANS_READONLY | mysql.SERVER_MORE_RESULTS_EXISTS
	flags = flags&^kept | c.Status&(kept&^mysql.SERVER_MORE_RESULTS_EXISTS)
	if c.More {
		flags |= mysql.SERVER_MORE_RESULTS_EXISTS
	}
	return flags
}

// WriteOK ends an answer without rows. Autocommit, transaction and "more results" flags are the connection's own.
func (c *ServerConn) WriteOK(ok OK) error {
	ok.Status = c.status(ok.Status)
	return c.writeOK(ok)
}

func (c *ServerConn) writeOK(ok OK) error {
	c.out = ok.append(c.out[:0], mysql.OK_HEADER, c.caps)
	return c.WritePacket(c.out)
}

// WriteError ends an answer with what a client is told of err.
func (c *ServerConn) WriteError(err error) error {
	c.out = appendErr(c.out[:0], AsError(err))
	return c.WritePacket(c.out)
}

// WriteColumns begins rows.
func (c *ServerConn) WriteColumns(cols []Column) error {
	c.columns = cols
	if err := c.WritePacket(mysqlwire.AppendInt(c.out[:0], uint64(len(cols)))); err != nil {
		return err
	}
	for _, col := range cols {
		c.out = col.append(c.out[:0])
		if err := c.WritePacket(c.out); err != nil {
			return err
		}
	}
	return c.endColumns(c.status(0), 0)
}

func (c *ServerConn) endColumns(status, warnings uint16) error {
	if c.Has(mysql.CLIENT_DEPRECATE_EOF) {
		return nil
	}
	c.out = appendEOF(c.out[:0], status, warnings)
	return c.WritePacket(c.out)
}

// WriteRow sends one row of text cells; nil is NULL.
func (c *ServerConn) WriteRow(cells [][]byte) error {
	c.out = c.out[:0]
	if c.Binary {
		var err error
		if c.out, err = appendBinaryRow(c.out, c.columns, cells); err != nil {
			return err
		}
	} else {
		c.out = AppendRow(c.out, cells)
	}
	err := c.WritePacket(c.out)
	if cap(c.out) > keepLarge {
		c.out = nil
	}
	return err
}

// EndRows ends rows.
func (c *ServerConn) EndRows(end OK) error {
	end.Status = c.status(end.Status)
	return c.endRows(end)
}

func (c *ServerConn) endRows(end OK) error {
	if c.Has(mysql.CLIENT_DEPRECATE_EOF) {
		c.out = end.append(c.out[:0], mysql.EOF_HEADER, c.caps)
	} else {
		c.out = appendEOF(c.out[:0], end.Status, end.Warnings)
	}
	return c.WritePacket(c.out)
}

// WriteRows sends a whole small result.
func (c *ServerConn) WriteRows(cols []Column, rows [][]string) error {
	if err := c.WriteColumns(cols); err != nil {
		return err
	}
	cells := make([][]byte, len(cols))
	for _, row := range rows {
		for i := range cells {
			cells[i] = []byte(row[i])
		}
		if err := c.WriteRow(cells); err != nil {
			return err
		}
	}
	return c.EndRows(OK{})
}

// Gone says whether the connection was closed under us.
func Gone(err error) bool { return errors.Is(err, net.ErrClosed) }
