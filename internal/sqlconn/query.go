package sqlconn

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/mysqlwire"
)

// Result is the answer to one statement.
type Result struct {
	Columns  []string   // empty when the statement returns no rows
	Rows     [][][]byte // text protocol cells as the server sent them; nil is NULL
	Affected uint64     // rows matched, not rows changed
	InsertID uint64
	Warnings uint16
	Info     string
	GTID     string // when the session tracks GTIDs
}

// MultiError says which statement of a packet failed. Those before it took effect, those after it were not run.
type MultiError struct {
	Index int // from 0
	Err   error
}

func (e *MultiError) Error() string { return fmt.Sprintf("statement %d: %v", e.Index+1, e.Err) }
func (e *MultiError) Unwrap() error { return e.Err }

// rowFunc takes a row; its cells are valid during the call only.
type rowFunc func(cells [][]byte) error

// Query runs one statement and returns all its rows. Of a statement with several results (CALL) it returns the first.
func (c *Conn) Query(ctx context.Context, sql string) (*Result, error) {
	return c.first(ctx, sql, (*Result).keep)
}

// Exec is Query for statements whose rows nobody wants.
func (c *Conn) Exec(ctx context.Context, sql string) (*Result, error) {
	return c.first(ctx, sql, func(*Result, [][]byte) error { return nil })
}

// first runs a packet of statements and returns the first result; row takes its rows.
func (c *Conn) first(ctx context.Context, sql string, row func(*Result, [][]byte) error) (*Result, error) {
	var first *Result
	err := c.run(ctx, mysql.COM_QUERY, sql, func() error {
		_, err := c.results(func(i int, res *Result) rowFunc {
			if i > 0 {
				return discard
			}
			first = res
			return func(cells [][]byte) error { return row(res, cells) }
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return first, nil
}

// ExecMulti sends several statements in one packet and returns the first failure as *MultiError (none was run after it).
func (c *Conn) ExecMulti(ctx context.Context, sql []byte) error {
	return c.multi(ctx, string(sql), func(int, *Result) rowFunc { return discard })
}

// QueryMulti is ExecMulti with all results; after an error, those of the statements before it.
func (c *Conn) QueryMulti(ctx context.Context, sql []byte) ([]*Result, error) {
	var all []*Result
	err := c.multi(ctx, string(sql), func(_ int, res *Result) rowFunc {
		all = append(all, res)
		return res.keep
	})
	if err != nil && len(all) > 0 {
		if m, ok := errors.AsType[*MultiError](err); ok {
			all = all[:min(m.Index, len(all))]
		}
	}
	return all, err
}

func (c *Conn) multi(ctx context.Context, sql string, begin func(int, *Result) rowFunc) error {
	index := 0
	err := c.run(ctx, mysql.COM_QUERY, sql, func() (err error) {
		index, err = c.results(begin)
		return err
	})
	if err == nil {
		return nil
	}
	return &MultiError{Index: index, Err: err}
}

// QueryStream runs one statement and hands over its rows as they come. The cells are valid during the call of fn only. An
// error of fn ends the session, because the rest of the rows would have to be read to save it, and is returned as it is.
func (c *Conn) QueryStream(ctx context.Context, sql string, fn func(row [][]byte) error) error {
	var stopped error
	_, err := c.first(ctx, sql, func(_ *Result, cells [][]byte) error {
		stopped = fn(cells)
		return stopped
	})
	if stopped != nil {
		return stopped
	}
	return err
}

// Ping asks whether the session lives.
func (c *Conn) Ping(ctx context.Context) error {
	return c.run(ctx, mysql.COM_PING, "", func() error {
		_, err := c.results(func(int, *Result) rowFunc { return discard })
		return err
	})
}

// errUnread is a defect of the caller: the answers would be taken for those of another command.
var errUnread = errors.New("the answers to a packet of statements were not read yet")

// run is one command and its answer under ctx (C1, C2).
func (c *Conn) run(ctx context.Context, command byte, text string, answer func() error) error {
	if err := ctx.Err(); err != nil {
		return err // nothing was sent: the session stays good
	}
	if c.unread {
		return errUnread
	}
	return c.wire(ctx, func() error {
		if err := c.writeCommand(command, text); err != nil {
			return err
		}
		return answer()
	})
}

// wire does something on the connection under ctx.
func (c *Conn) wire(ctx context.Context, do func() error) error {
	c.running.Lock()
	defer c.running.Unlock()
	if c.broken.Load() {
		return fmt.Errorf("%w: %s", ErrLost, c.cfg.Addr)
	}
	stop := context.AfterFunc(ctx, func() {
		c.broken.Store(true)
		c.sock.Close()
	})
	err := do()
	if !stop() && err == nil {
		return nil // ctx ended after the last byte of the answer; the next call finds the session broken
	}
	if err == nil || serverError(err) != nil {
		return err
	}
	c.broken.Store(true)
	c.sock.Close()
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w: %s: %w", ErrLost, c.cfg.Addr, cause)
	}
	return fmt.Errorf("%w: %s: %w", ErrLost, c.cfg.Addr, err)
}

// results reads the answers to all statements of a packet. begin is called as each result starts, before its rows. It returns
// the index of the last one, which is the one that failed if there is an error.
func (c *Conn) results(begin func(i int, res *Result) rowFunc) (index int, err error) {
	var buf []byte
	for i := 0; ; i++ {
		if buf, err = c.readPacket(buf); err != nil {
			return i, err
		}
		res := new(Result)
		switch buf[0] {
		case mysql.ERR_HEADER:
			err = parseErr(buf)
		case mysql.LocalInFile_HEADER:
			if err = c.sendLocal(); err == nil {
				i-- // its result follows
				continue
			}
		case mysql.OK_HEADER:
			if err = c.parseOK(buf, res); err == nil {
				begin(i, res)
			}
		default:
			buf, err = c.resultset(buf, res, func() rowFunc { return begin(i, res) })
		}
		if err != nil || c.status&mysql.SERVER_MORE_RESULTS_EXISTS == 0 {
			return i, err
		}
	}
}

// resultset reads columns and rows; buf holds the column count.
func (c *Conn) resultset(buf []byte, res *Result, begin func() rowFunc) ([]byte, error) {
	count := mysqlwire.Fields{P: buf}
	n := count.Int()
	if count.Bad || n == 0 || n > 1<<16 {
		return nil, errMalformed
	}
	res.Columns = make([]string, n)
	var err error
	for i := range res.Columns {
		if buf, err = c.readPacket(buf); err != nil {
			return nil, err
		}
		f := mysqlwire.Fields{P: buf}
		for range 4 { // catalog, schema, table, original table
			f.Bytes()
		}
		if res.Columns[i] = string(f.Bytes()); f.Bad {
			return nil, errMalformed
		}
	}
	if buf, err = c.readPacket(buf); err != nil {
		return nil, err
	}
	if !isEOF(buf) {
		return nil, errMalformed
	}
	return c.rows(buf, res, begin())
}

func (c *Conn) rows(buf []byte, res *Result, row rowFunc) ([]byte, error) {
	cells := make([][]byte, len(res.Columns))
	for {
		var err error
		if buf, err = c.readPacket(buf); err != nil {
			return nil, err
		}
		switch {
		case isEOF(buf):
			res.Warnings, c.status = binary.LittleEndian.Uint16(buf[1:]), binary.LittleEndian.Uint16(buf[3:])
			return buf, nil
		case buf[0] == mysql.ERR_HEADER:
			return nil, parseErr(buf)
		}
		f := mysqlwire.Fields{P: buf}
		if !f.Row(cells) {
			return nil, errMalformed
		}
		if err := row(cells); err != nil {
			return nil, err
		}
	}
}

// isEOF tells the end of columns or rows from a row that begins with a cell of 16 MiB or more.
func isEOF(p []byte) bool { return p[0] == mysql.EOF_HEADER && len(p) == 5 }

func discard([][]byte) error { return nil }

// keep copies a row into the result with one allocation for all its cells.
func (r *Result) keep(cells [][]byte) error {
	size := 0
	for _, cell := range cells {
		size += len(cell)
	}
	row, data := make([][]byte, len(cells)), make([]byte, 0, size)
	for i, cell := range cells {
		if cell == nil {
			continue
		}
		at := len(data)
		data = append(data, cell...)
		row[i] = data[at:len(data):len(data)]
	}
	r.Rows = append(r.Rows, row)
	return nil
}
