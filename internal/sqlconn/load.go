package sqlconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// WarningsError is what a statement returns that took effect with warnings, where they are errors.
type WarningsError struct {
	Count int   // as the server counted them; it stops at 65,535
	First error // *mysql.MyError, so that ErrCode tells its number
}

func (e *WarningsError) Error() string {
	if e.Count == 1 {
		return fmt.Sprintf("warning: %v", e.First)
	}
	return fmt.Sprintf("%d warnings, the first: %v", e.Count, e.First)
}

func (e *WarningsError) Unwrap() error { return e.First }

// loadPacket bounds a packet of data. It is below every max_allowed_packet that the sessions of this package could work with.
const loadPacket = 256 << 10

// LoadLocal runs a LOAD DATA LOCAL INFILE statement with the data that write produces; the file name in the statement means
// nothing. No file is ever opened: a server that asks for one outside of this call loses the session. LOCAL makes the server go on where it
// should refuse (a value that does not fit, a row that is there already), so warnings are returned as *WarningsError, with the result;
// the caller rolls back. expected warnings, a number known beforehand, are not an error. An error of write ends the session, because data that
// was sent cannot be taken back, and is returned as it is.
func (c *Conn) LoadLocal(ctx context.Context, sql string, expected int, write func(io.Writer) error) (*Result, error) {
	var res *Result
	var stopped error
	err := c.run(ctx, mysql.COM_QUERY, sql, func() error {
		c.local = func(w io.Writer) error {
			stopped = write(w)
			return stopped
		}
		defer func() { c.local = nil }()
		_, err := c.results(func(_ int, r *Result) rowFunc {
			res = r
			return discard
		})
		return err
	})
	switch {
	case stopped != nil && ctx.Err() == nil && !errors.Is(stopped, errWire):
		return nil, stopped
	case err != nil:
		return nil, err
	case res == nil || int(res.Warnings) == expected:
		return res, nil
	}
	return res, c.Warnings(ctx, int(res.Warnings))
}

// Warnings makes an error of the warnings of the last statement, of which there are count: a *WarningsError, if they can be read.
func (c *Conn) Warnings(ctx context.Context, count int) error {
	res, err := c.Query(ctx, "SHOW WARNINGS LIMIT 1")
	if err != nil {
		return fmt.Errorf("%d warnings that cannot be read: %w", count, err)
	}
	first := &mysql.MyError{State: "01000", Message: "the server does not keep warnings"}
	if len(res.Rows) > 0 && len(res.Rows[0]) >= 3 {
		code, err := strconv.ParseUint(string(res.Rows[0][1]), 10, 16)
		if err != nil {
			return fmt.Errorf("%d warnings: %w", count, errMalformed)
		}
		first.Code, first.Message = uint16(code), string(res.Rows[0][2])
	}
	return &WarningsError{Count: count, First: first}
}

// errWire marks errors of the socket among those that a writer of data may return.
var errWire = errors.New("send data")

// sendLocal answers the server's request for data. An empty packet is the end of it.
func (c *Conn) sendLocal() error {
	if c.local == nil {
		return fmt.Errorf("%w: the server asks for a file", errMalformed)
	}
	if err := c.local(&dataWriter{c}); err != nil {
		return err
	}
	_, err := c.sock.Write([]byte{0, 0, 0, c.seq})
	c.seq++
	return err
}

// dataWriter frames what is written to it; it keeps nothing.
type dataWriter struct{ c *Conn }

func (w *dataWriter) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n := min(len(p)-done, loadPacket)
		w.c.out = append(append(w.c.out[:0], byte(n), byte(n>>8), byte(n>>16), w.c.seq), p[done:done+n]...)
		if _, err := w.c.sock.Write(w.c.out); err != nil {
			return done, fmt.Errorf("%w: %w", errWire, err)
		}
		w.c.seq++
		done += n
	}
	return done, nil
}
