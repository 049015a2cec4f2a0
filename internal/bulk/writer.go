package bulk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"

	"braid/internal/rowimage"
	"braid/internal/sqlconn"
)

// Method is how rows travel.
type Method uint8

// The methods.
const (
	Load    Method = iota + 1 // LOAD DATA LOCAL INFILE
	Replace                   // REPLACE … VALUES
)

// String is the method's name for people.
func (m Method) String() string {
	if m == Load {
		return "LOAD DATA"
	}
	return "REPLACE"
}

// statementSize is about how large a REPLACE becomes. Beyond it, rows/s do not rise.
const statementSize = 512 << 10

// Writer writes rows to one server.
type Writer struct {
	refused   atomic.Bool // LOAD DATA LOCAL
	again     atomic.Int64
	maxPacket int
	buffers   sync.Pool // *[]byte
}

// NewWriter asks the server what it allows.
func NewWriter(ctx context.Context, conn *sqlconn.Conn) (*Writer, error) {
	res, err := conn.Query(ctx, "SELECT @@GLOBAL.local_infile, @@SESSION.max_allowed_packet")
	if err != nil {
		return nil, fmt.Errorf("ask the target for its limits: %w", err)
	}
	w := new(Writer)
	w.refused.Store(string(res.Rows[0][0]) != "1")
	if w.maxPacket, err = strconv.Atoi(string(res.Rows[0][1])); err != nil {
		return nil, fmt.Errorf("max_allowed_packet of the target: %w", err)
	}
	return w, nil
}

// Method is what the server allows now, and why if it is the slower one.
func (w *Writer) Method() (m Method, reason string) {
	if w.refused.Load() {
		return Replace, "the target has local_infile=OFF"
	}
	return Load, ""
}

// Again is how many calls LOAD DATA had warnings for, and REPLACE wrote.
func (w *Writer) Again() int64 { return w.again.Load() }

// Write writes rows inside of the session's transaction. Errors are MySQL's, a *sqlconn.WarningsError, or a row that is larger than the target takes.
func (w *Writer) Write(ctx context.Context, conn *sqlconn.Conn, t *Table, rows []rowimage.Row) error {
	if !conn.InTransaction() {
		return fmt.Errorf("write rows into %s: the session is outside of a transaction", t.name)
	}
	if len(rows) == 0 {
		return nil
	}
	buf, _ := w.buffers.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	defer func() {
		if cap(*buf) <= 4*statementSize { // a huge row's buffer is not kept
			w.buffers.Put(buf)
		}
	}()
	if method, _ := w.Method(); method == Replace {
		return w.replace(ctx, conn, t, rows, buf)
	}
	err := w.load(ctx, conn, t, rows, buf)
	var warnings *sqlconn.WarningsError
	switch {
	case errors.As(err, &warnings): // REPLACE does it without, or its error names the row
		if _, err := conn.Exec(ctx, "ROLLBACK TO SAVEPOINT "+savepoint); err != nil {
			return fmt.Errorf("take back LOAD DATA into %s: %w", t.name, err)
		}
		w.again.Add(1)
		return w.replace(ctx, conn, t, rows, buf)
	case refusedErrors[sqlconn.ErrCode(err)]:
		w.refused.Store(true)
		return w.replace(ctx, conn, t, rows, buf)
	}
	return err
}

// refusedErrors say that the server does not take LOAD DATA LOCAL: switched off since it was asked, or something in between that refuses it.
var refusedErrors = map[uint16]bool{1148: true, 3948: true, 3950: true}

func (w *Writer) load(ctx context.Context, conn *sqlconn.Conn, t *Table, rows []rowimage.Row, buf *[]byte) error {
	e := encoder{buf: (*buf)[:0]}
	res, err := conn.LoadLocal(ctx, t.load, t.expected(rows), func(out io.Writer) error {
		e.out = out
		for _, row := range rows {
			if err := e.row(t, row); err != nil {
				return err
			}
		}
		return e.flush()
	})
	*buf = e.buf[:0]
	if err != nil {
		return fmt.Errorf("load %d rows into %s: %w", len(rows), t.name, err)
	}
	if res.Affected < uint64(len(rows)) {
		return fmt.Errorf("load into %s: %d of %d rows were written (%s)", t.name, res.Affected, len(rows), res.Info)
	}
	return nil
}

func (w *Writer) replace(ctx context.Context, conn *sqlconn.Conn, t *Table, rows []rowimage.Row, buf *[]byte) error {
	defer func() { *buf = (*buf)[:0] }()
	for len(rows) > 0 {
		sql := append((*buf)[:0], t.replace...)
		n := 0
		for n < len(rows) && len(sql) < statementSize {
			at := len(sql)
			if n > 0 {
				sql = append(sql, ',')
			}
			sql = t.appendValues(sql, rows[n])
			if len(sql) >= w.maxPacket-1 && n > 0 { // it goes with the next
				sql = sql[:at]
				break
			}
			n++
		}
		*buf = sql
		if len(sql) >= w.maxPacket-1 {
			return fmt.Errorf("write a row of %d bytes into %s: it needs a statement of %d bytes, and the target has max_allowed_packet=%d", rows[0].Size(), t.name, len(sql), w.maxPacket)
		}
		if err := replaceRows(ctx, conn, t, rows[:n], sql); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

func replaceRows(ctx context.Context, conn *sqlconn.Conn, t *Table, rows []rowimage.Row, sql []byte) error {
	res, err := conn.Exec(ctx, string(sql))
	if err == nil && int(res.Warnings) != t.expected(rows) {
		err = conn.Warnings(ctx, int(res.Warnings))
	}
	if err != nil {
		return fmt.Errorf("write %d rows into %s: %w", len(rows), t.name, err)
	}
	if res.Affected < uint64(len(rows)) {
		return fmt.Errorf("write into %s: %d of %d rows were written", t.name, res.Affected, len(rows))
	}
	return nil
}
