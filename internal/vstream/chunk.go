package vstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"braid/internal/binlog"
	"braid/internal/gtid"
	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// chunkSource is what a window's read needs of the source, in the order in which it is used.
type chunkSource interface {
	// waitExecuted returns when the set is executed, and so visible.
	waitExecuted(ctx context.Context, set gtid.Set) error
	// readRows reads the chunk with one consistent read. end of the result is not set.
	readRows(ctx context.Context, cmd *command) (chunkRead, error)
	// logEnd reads where the log ends.
	logEnd(ctx context.Context) (binlog.Coordinates, error)
}

// readChunk is steps 2 to 4 of DESIGN 5.2. Their order is what W1 rests on:
//
//   - without the wait, the SELECT might not see a transaction that has passed on the stream before the window opened, and whose
//     keys nobody remembered: the chunk would bring back old rows;
//   - a log end that was read before the SELECT, or gtid_executed in its place (a transaction is visible before its GTID is in it),
//     could lie before a transaction that the SELECT saw: the chunk would bring rows of the future.
func readChunk(ctx context.Context, src chunkSource, cmd *command) (chunkRead, error) {
	if err := src.waitExecuted(ctx, cmd.received); err != nil {
		return chunkRead{}, err
	}
	r, err := src.readRows(ctx, cmd)
	if err != nil {
		return chunkRead{}, err
	}
	r.end, err = src.logEnd(ctx)
	return r, err
}

const (
	defaultChunkRows  = 10_000
	defaultChunkBytes = 1 << 20
	firstRows         = 64 // of a table whose row size is not known
	growth            = 8  // at most, from one chunk of a table to the next
)

// chunkReader is the chunkSource of a MySQL server. It belongs to the stream's worker.
type chunkReader struct {
	db    sqlconn.Config
	conn  *sqlconn.Conn
	sizes map[string]*chunkSize
}

// chunkSize is what earlier chunks of a table tell about the next one.
type chunkSize struct {
	rows  int   // of the last limit
	bytes int64 // average of a row
}

func (r *chunkReader) session(ctx context.Context) (*sqlconn.Conn, error) {
	if r.conn != nil && !r.conn.Broken() {
		return r.conn, nil
	}
	conn, err := sqlconn.Dial(ctx, r.db)
	if err != nil {
		return nil, err
	}
	// The isolation in which one statement is one consistent read, whatever the server's default.
	if _, err := conn.Exec(ctx, "SET SESSION transaction_isolation='REPEATABLE-READ'"); err != nil {
		conn.Close()
		return nil, fmt.Errorf("chunk session: %w", err)
	}
	r.conn = conn
	return conn, nil
}

func (r *chunkReader) close() {
	if r.conn != nil {
		r.conn.Close()
	}
}

func (r *chunkReader) waitExecuted(ctx context.Context, set gtid.Set) error {
	conn, err := r.session(ctx)
	if err != nil {
		return err
	}
	return waitExecuted(ctx, conn, set)
}

// waitExecuted returns when the server has executed the set.
func waitExecuted(ctx context.Context, conn *sqlconn.Conn, set gtid.Set) error {
	if set.Empty() {
		return nil
	}
	const timedOut = "1"
	sql := "SELECT WAIT_FOR_EXECUTED_GTID_SET(" + sqlconn.Quote(set.String()) + ", 10)"
	for {
		res, err := conn.Query(ctx, sql)
		if err != nil {
			return fmt.Errorf("wait until %s is executed: %w", set, err)
		}
		if string(res.Rows[0][0]) != timedOut {
			return nil
		}
	}
}

func (r *chunkReader) logEnd(ctx context.Context) (binlog.Coordinates, error) {
	conn, err := r.session(ctx)
	if err != nil {
		return binlog.Coordinates{}, err
	}
	return binlog.End(ctx, conn)
}

// staleErrors are what a SELECT gets when its definition is not the table's: unknown column, no such table, definition changed. A DDL has been
// executed that the stream has yet to pass.
var staleErrors = []uint16{1054, 1146, 1412}

// errFull stops a read that has become larger than its estimate allowed for.
var errFull = errors.New("chunk is full")

func (r *chunkReader) readRows(ctx context.Context, cmd *command) (chunkRead, error) {
	conn, err := r.session(ctx)
	if err != nil {
		return chunkRead{}, err
	}
	maxBytes := cmp.Or(cmd.req.MaxBytes, defaultChunkBytes)
	limit := r.limit(cmd, maxBytes)
	t, read := cmd.table, chunkRead{table: cmd.table}
	var size int64
	err = conn.QueryStream(ctx, chunkSQL(t.def, t.key, cmd.req, limit), func(cells [][]byte) error {
		row := canonicalRow(t.def, cells)
		read.rows = append(read.rows, row)
		size += int64(row.Size() + 8*len(row))
		if size > 2*maxBytes && cmd.req.Keys == nil {
			return errFull
		}
		return nil
	})
	if err != nil && !errors.Is(err, errFull) {
		err = fmt.Errorf("read chunk of %s.%s after %s: %w", t.def.DB, t.def.Name, describeKey(cmd.req.After), err)
		if slices.Contains(staleErrors, sqlconn.ErrCode(err)) {
			return chunkRead{table: t, err: err}, nil
		}
		return chunkRead{}, err
	}
	full := err != nil
	read.done = cmd.req.Keys != nil || !full && len(read.rows) < limit
	if n := len(read.rows); n > 0 && cmd.req.Keys == nil {
		r.sizes[cmd.req.Table] = &chunkSize{rows: limit, bytes: max(size/int64(n), 1)}
	}
	return read, nil
}

// limit is how many rows to ask for: what the bytes allow for by the size of earlier rows, growing slowly, fewer after a spoiled read.
func (r *chunkReader) limit(cmd *command, maxBytes int64) int {
	n, most := firstRows, cmp.Or(cmd.req.MaxRows, defaultChunkRows)
	if s := r.sizes[cmd.req.Table]; s != nil {
		n = int(min(maxBytes/s.bytes, int64(s.rows)*growth))
	}
	n = max(min(n, most), 1)
	return max(n>>(2*min(cmd.attempt, 15)), 1)
}

// canonicalRow copies a row of a SELECT and makes its cells canonical.
func canonicalRow(def *schema.Table, cells [][]byte) rowimage.Row {
	row := rowimage.Row(cells).Clone()
	for i := range row {
		row[i] = rowimage.Canonical(def.Columns[i], row[i])
	}
	return row
}

// chunkSQL reads the rows after a key in key order, or those with certain keys.
func chunkSQL(def *schema.Table, key []int, req WindowRequest, limit int) string {
	b := []byte("SELECT ")
	for i := range def.Columns {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, rowimage.SelectExpr(def.Columns[i])...)
	}
	b = append(b, " FROM "+sqlconn.QuoteIdent(def.DB)+"."+sqlconn.QuoteIdent(def.Name)...)
	if len(def.PrimaryKey) > 0 {
		b = append(b, " FORCE INDEX (PRIMARY)"...)
	}
	switch {
	case req.Keys != nil:
		return string(appendKeys(append(b, " WHERE "...), def, key, req.Keys))
	case req.After != nil:
		b = appendAfter(append(b, " WHERE "...), def, key, req.After)
	}
	b = append(b, " ORDER BY "...)
	for i, c := range key {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, sqlconn.QuoteIdent(def.Columns[c].Name)...)
	}
	return string(fmt.Appendf(b, " LIMIT %d", limit))
}

// appendAfter writes key > after. For several columns the row constructor (a, b) > (1, 2) would scan the index from its beginning; spelled out,
// a > 1 OR (a = 1 AND b > 2), the server makes ranges of it.
func appendAfter(b []byte, def *schema.Table, key []int, after rowimage.Row) []byte {
	for n := range key {
		if n > 0 {
			b = append(b, " OR "...)
		}
		b = append(b, '(')
		for i := range n {
			b = append(appendCompare(b, def, key[i], "=", after[i]), " AND "...)
		}
		b = append(appendCompare(b, def, key[n], ">", after[n]), ')')
	}
	return b
}

func appendKeys(b []byte, def *schema.Table, key []int, keys []rowimage.Row) []byte {
	if len(keys) == 0 {
		return append(b, "FALSE"...)
	}
	if len(key) == 1 {
		b = append(b, sqlconn.QuoteIdent(def.Columns[key[0]].Name)+" IN ("...)
		for i, k := range keys {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = rowimage.AppendLiteral(b, def.Columns[key[0]], k[0])
		}
		return append(b, ')')
	}
	for i, k := range keys {
		if i > 0 {
			b = append(b, " OR "...)
		}
		b = append(b, '(')
		for j, c := range key {
			if j > 0 {
				b = append(b, " AND "...)
			}
			b = appendCompare(b, def, c, "=", k[j])
		}
		b = append(b, ')')
	}
	return b
}

func appendCompare(b []byte, def *schema.Table, column int, op string, cell []byte) []byte {
	b = append(b, sqlconn.QuoteIdent(def.Columns[column].Name)+" "+op+" "...)
	return rowimage.AppendLiteral(b, def.Columns[column], cell)
}

// describeKey prints a key for a message.
func describeKey(key rowimage.Row) string {
	if key == nil {
		return "the beginning"
	}
	words := make([]string, len(key))
	for i, cell := range key {
		words[i] = fmt.Sprintf("%.64q", cell)
	}
	return "(" + strings.Join(words, ", ") + ")"
}
