package mysqlproto

import (
	"context"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/mysqlwire"
)

// Response is the first packet of an answer: exactly one of an error, the end (OK), or the number of columns of the rows
// that follow.
type Response struct {
	Err     *mysql.MyError
	OK      OK // valid until the next read
	Columns int
}

// Response reads the first packet of the answer to the oldest command that is not answered yet. Any error is ErrLost.
func (c *Client) Response() (Response, error) {
	c.answer()
	return c.NextResponse()
}

// NextResponse reads the first packet of the next result of the same answer (OK.More).
func (c *Client) NextResponse() (Response, error) {
	p, err := c.ReadPacket(1 << 30)
	if err != nil {
		return Response{}, lost(err)
	}
	if len(p) == 0 {
		return Response{}, lost(errMalformed)
	}
	switch p[0] {
	case mysql.ERR_HEADER:
		e, err := parseErr(p)
		if err != nil {
			return Response{}, lost(err)
		}
		return Response{Err: e}, nil
	case mysql.OK_HEADER:
		ok, err := parseOK(p, c.caps)
		if err != nil {
			return Response{}, lost(err)
		}
		return Response{OK: ok}, nil
	}
	r := mysqlwire.Fields{P: p}
	n := r.Int()
	if r.Bad || n == 0 || n > 1<<16 {
		return Response{}, lost(errMalformed)
	}
	c.columns = n
	return Response{Columns: int(n)}, nil
}

// Columns reads the definitions of the columns.
func (c *Client) Columns() ([]Column, error) {
	cols := make([]Column, 0, c.columns)
	for range c.columns {
		p, err := c.ReadPacket(1 << 20)
		if err != nil {
			return nil, lost(err)
		}
		col, err := ParseColumn(p)
		if err != nil {
			return nil, lost(err)
		}
		cols = append(cols, col)
	}
	return cols, c.skipEOF()
}

func (c *Client) skipEOF() error {
	if c.Has(mysql.CLIENT_DEPRECATE_EOF) {
		return nil
	}
	if _, err := c.ReadPacket(1 << 10); err != nil {
		return lost(err)
	}
	return nil
}

// Row reads the next row, valid until the next read. After the last one row is nil and end is set, or serverErr when the
// server gave up in the middle.
func (c *Client) Row() (row []byte, end OK, serverErr *mysql.MyError, err error) {
	p, more, err := c.fragment()
	if err != nil {
		return nil, OK{}, nil, lost(err)
	}
	if more {
		c.row = append(c.row[:0], p...)
		for more {
			if p, more, err = c.fragment(); err != nil {
				return nil, OK{}, nil, lost(err)
			}
			c.row = append(c.row, p...)
		}
		return c.row, OK{}, nil, nil
	}
	if row, end, serverErr, err = c.rowOrEnd(p); err != nil {
		err = lost(err)
	}
	return row, end, serverErr, err
}

// rowOrEnd tells a row from what ends rows. p is a whole payload shorter than the largest packet: a row that begins with
// 0xfe would be longer.
func (c *Client) rowOrEnd(p []byte) (row []byte, end OK, serverErr *mysql.MyError, err error) {
	switch {
	case len(p) == 0:
		return nil, OK{}, nil, errMalformed
	case p[0] == mysql.ERR_HEADER:
		serverErr, err = parseErr(p)
		return nil, OK{}, serverErr, err
	case p[0] != mysql.EOF_HEADER:
		return p, OK{}, nil, nil
	case c.Has(mysql.CLIENT_DEPRECATE_EOF):
		end, err = parseOK(p, c.caps)
		return nil, end, nil, err
	}
	r := mysqlwire.Fields{P: p[1:]}
	end.Warnings, end.Status = r.Uint16(), r.Uint16()
	return nil, end, nil, malformed(r)
}

// Drain reads an answer to its end, rows and further results too, and returns how it ended.
func (c *Client) Drain(resp Response) (Response, error) {
	for {
		if resp.Columns > 0 {
			if _, err := c.Columns(); err != nil {
				return resp, err
			}
			for {
				row, end, serverErr, err := c.Row()
				if err != nil {
					return resp, err
				}
				if row == nil {
					resp = Response{Err: serverErr, OK: end}
					break
				}
			}
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

// Under binds the calls that follow to ctx: when it ends they are interrupted. The returned function unbinds; it says
// whether the connection is still good.
func (c *Client) Under(ctx context.Context) func() bool {
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(ctx, c.Interrupt)
}

// Exec sends a statement and reads its answer to the end, without keeping rows. MySQL's error is in the response.
func (c *Client) Exec(ctx context.Context, sql string) (Response, error) {
	defer c.Under(ctx)()
	if err := c.Send(mysql.COM_QUERY, []byte(sql)); err != nil {
		return Response{}, err
	}
	resp, err := c.Response()
	if err != nil {
		return resp, err
	}
	resp, err = c.Drain(resp)
	resp.OK = resp.OK.clone()
	return resp, err
}

// Query sends a statement and returns all its rows. For small answers.
func (c *Client) Query(ctx context.Context, sql string) ([]Column, [][][]byte, error) {
	defer c.Under(ctx)()
	if err := c.Send(mysql.COM_QUERY, []byte(sql)); err != nil {
		return nil, nil, err
	}
	resp, err := c.Response()
	if err != nil {
		return nil, nil, err
	}
	if resp.Err != nil {
		return nil, nil, resp.Err
	}
	if resp.Columns == 0 {
		_, err := c.Drain(resp)
		return nil, nil, err
	}
	return c.All()
}

// All reads the rows of an answer that has begun, to its end.
func (c *Client) All() ([]Column, [][][]byte, error) {
	cols, err := c.Columns()
	if err != nil {
		return nil, nil, err
	}
	var rows [][][]byte
	for {
		row, end, serverErr, err := c.Row()
		switch {
		case err != nil:
			return nil, nil, err
		case serverErr != nil:
			return nil, nil, serverErr
		case row == nil:
			if end.More() {
				next, err := c.NextResponse()
				if err != nil {
					return nil, nil, err
				}
				if _, err := c.Drain(next); err != nil {
					return nil, nil, err
				}
			}
			return cols, rows, nil
		}
		cells := make([][]byte, len(cols))
		if !ParseRow(append([]byte(nil), row...), cells) {
			return nil, nil, lost(errMalformed)
		}
		rows = append(rows, cells)
	}
}
