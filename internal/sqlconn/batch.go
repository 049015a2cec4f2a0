package sqlconn

import (
	"context"
	"fmt"
	"unsafe"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/mysqlwire"
)

// ExecBatch runs a packet of exactly n statements that return no rows, and appends the rows that each has matched to affected. The first
// failure is a *MultiError; the statements behind it were not run. It allocates nothing once the session's buffers have grown.
//
// It counts the answers instead of asking each whether another follows, because a BINLOG statement clears that flag: applying a row event
// resets the session as for a new command, and the server then sends the answers of the other statements all the same (seen
// on 9.7). Stopping at the first error is not affected by it.
func (c *Conn) ExecBatch(ctx context.Context, sql []byte, n int, affected []uint64) ([]uint64, error) {
	if err := c.SendBatch(ctx, sql); err != nil {
		return affected, &MultiError{Err: err}
	}
	return c.ReadBatch(ctx, n, affected)
}

// SendBatch is the first half of ExecBatch: the server has the packet and works, while the caller does something else. ReadBatch must follow before
// any other call.
func (c *Conn) SendBatch(ctx context.Context, sql []byte) error {
	text := unsafe.String(unsafe.SliceData(sql), len(sql)) // read during the call only
	return c.run(ctx, mysql.COM_QUERY, text, func() error {
		c.unread = true
		return nil
	})
}

// ReadBatch is the second half of ExecBatch. If ctx has ended the session is lost, because the answers stay unread.
func (c *Conn) ReadBatch(ctx context.Context, n int, affected []uint64) ([]uint64, error) {
	index := 0
	err := c.wire(ctx, func() error {
		c.unread = false
		for ; index < n; index++ {
			matched, err := c.ok()
			if err != nil {
				return err
			}
			affected = append(affected, matched)
		}
		if c.status&mysql.SERVER_MORE_RESULTS_EXISTS != 0 {
			return fmt.Errorf("%w: more than %d statements were answered", errMalformed, n)
		}
		return nil
	})
	if err == nil {
		return affected, nil
	}
	return affected, &MultiError{Index: index, Err: err}
}

// ok reads an answer without rows.
func (c *Conn) ok() (affected uint64, err error) {
	if c.answer, err = c.readPacket(c.answer); err != nil {
		return 0, err
	}
	switch c.answer[0] {
	case mysql.ERR_HEADER:
		return 0, parseErr(c.answer)
	case mysql.OK_HEADER:
	default:
		return 0, fmt.Errorf("%w: rows that nobody asked for", errMalformed)
	}
	f := mysqlwire.Fields{P: c.answer[1:]}
	affected = f.Int()
	f.Int() // insert id
	if c.status = f.Uint16(); f.Bad {
		return 0, errMalformed
	}
	return affected, nil
}
