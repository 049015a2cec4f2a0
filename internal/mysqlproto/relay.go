package mysqlproto

import (
	"errors"
	"fmt"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/mysqlwire"
)

// ErrClient says that the reader of a relayed answer is gone; the server's answer was not read to its end.
var ErrClient = errors.New("client connection lost")

// Relay sends an answer on to dst as it comes, result after result, and returns how it ended. resp is its first packet.
// adjust, if not nil, may change each OK and each end of rows before it is sent on; the status flags that dst keeps itself are
// put in afterwards. The connection's own More flag stays on dst's last result.
//
// An error is ErrLost (of c) or ErrClient (of dst). After ErrLost in the middle of rows dst cannot be told anything sensible
// but an error packet.
func (c *Client) Relay(dst *ServerConn, resp Response, adjust func(*OK)) (Response, error) {
	for {
		if resp.Columns > 0 {
			end, serverErr, err := c.relayRows(dst, resp.Columns, adjust)
			if err != nil {
				return resp, err
			}
			resp = Response{Err: serverErr, OK: end}
		} else if err := relayEnd(dst, resp, adjust); err != nil {
			return resp, err
		}
		if resp.Err != nil || !resp.OK.More() {
			return resp, nil
		}
		var err error
		if resp, err = c.NextResponse(); err != nil {
			return resp, err
		}
	}
}

// relayed puts dst's own flags into an end, keeping "more results" of the answer itself.
func (c *ServerConn) relayed(ok OK, adjust func(*OK)) OK {
	more := ok.Status & mysql.SERVER_MORE_RESULTS_EXISTS
	if adjust != nil {
		adjust(&ok)
	}
	ok.Status = c.status(ok.Status) | more
	return ok
}

func relayEnd(dst *ServerConn, resp Response, adjust func(*OK)) error {
	var err error
	if resp.Err != nil {
		err = dst.WriteError(resp.Err)
	} else {
		err = dst.writeOK(dst.relayed(resp.OK, adjust))
	}
	return asClient(err)
}

func asClient(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", ErrClient, err)
	}
	return nil
}

func (c *Client) relayRows(dst *ServerConn, columns int, adjust func(*OK)) (OK, *mysql.MyError, error) {
	if err := c.relayColumns(dst, columns); err != nil {
		return OK{}, nil, err
	}
	if dst.Binary {
		return c.relayDecoded(dst, adjust)
	}
	for {
		p, more, err := c.fragment()
		if err != nil {
			return OK{}, nil, lost(err)
		}
		if !more {
			row, end, serverErr, err := c.rowOrEnd(p)
			if err != nil {
				return OK{}, nil, lost(err)
			}
			if row == nil {
				return finishRows(dst, end, serverErr, adjust)
			}
		}
		if err := dst.writeFragment(p); err != nil {
			return OK{}, nil, asClient(err)
		}
		for more { // the rest of a row of 16 MiB or more, which may look like anything
			if p, more, err = c.fragment(); err != nil {
				return OK{}, nil, lost(err)
			}
			if err := dst.writeFragment(p); err != nil {
				return OK{}, nil, asClient(err)
			}
		}
	}
}

func (c *Client) relayColumns(dst *ServerConn, columns int) error {
	if err := dst.WritePacket(mysqlwire.AppendInt(dst.out[:0], uint64(columns))); err != nil {
		return asClient(err)
	}
	dst.columns = dst.columns[:0]
	for range columns {
		p, err := c.ReadPacket(1 << 20)
		if err != nil {
			return lost(err)
		}
		if dst.Binary {
			col, err := ParseColumn(p)
			if err != nil {
				return lost(err)
			}
			dst.columns = append(dst.columns, col)
		}
		if err := dst.WritePacket(p); err != nil {
			return asClient(err)
		}
	}
	if err := c.skipEOF(); err != nil {
		return err
	}
	return asClient(dst.endColumns(dst.status(0), 0))
}

// relayDecoded sends text rows on in the binary format.
func (c *Client) relayDecoded(dst *ServerConn, adjust func(*OK)) (OK, *mysql.MyError, error) {
	cells := make([][]byte, len(dst.columns))
	for {
		row, end, serverErr, err := c.Row()
		if err != nil {
			return OK{}, nil, err
		}
		if row == nil {
			return finishRows(dst, end, serverErr, adjust)
		}
		if !ParseRow(row, cells) {
			return OK{}, nil, lost(errMalformed)
		}
		if err := dst.WriteRow(cells); err != nil {
			return OK{}, nil, asClient(err)
		}
	}
}

func finishRows(dst *ServerConn, end OK, serverErr *mysql.MyError, adjust func(*OK)) (OK, *mysql.MyError, error) {
	if serverErr != nil {
		return OK{}, serverErr, asClient(dst.WriteError(serverErr))
	}
	return end, nil, asClient(dst.endRows(dst.relayed(end, adjust)))
}

// RelayFieldList sends the answer to COM_FIELD_LIST on.
func (c *Client) RelayFieldList(dst *ServerConn) error {
	c.answer()
	for {
		p, err := c.ReadPacket(1 << 20)
		if err != nil {
			return lost(err)
		}
		if len(p) == 0 {
			return lost(errMalformed)
		}
		if p[0] == mysql.ERR_HEADER || p[0] == mysql.EOF_HEADER {
			row, end, serverErr, err := c.rowOrEnd(p)
			switch {
			case err != nil:
				return lost(err)
			case serverErr != nil:
				return asClient(dst.WriteError(serverErr))
			case row == nil:
				return asClient(dst.endRows(dst.relayed(end, nil)))
			}
		}
		if err := dst.WritePacket(p); err != nil {
			return asClient(err)
		}
	}
}
