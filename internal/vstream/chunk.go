package vstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"braid/internal/binlog"
	"braid/internal/gtid"
	"braid/internal/rowimage"
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

// readChunk takes the steps of a window that are done on the server (doc.go). Their order is what W1 rests on:
//
//   - without the wait, the SELECT might not see a transaction that has passed on the stream before the window opened, and whose
//     keys nobody remembered: the chunk would bring back old rows;
//   - a log end that was read before the SELECT, or gtid_executed in its place (a transaction is visible before its GTID is in it),
//     could lie before a transaction that the SELECT saw: the chunk would bring rows of the future.
//
// It may be repeated as long as the window is open: a later read is as good.
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
	defaultChunkRows  = 1 << 20
	defaultChunkBytes = 16 << 20
)

// chunkReader is the chunkSource of a MySQL server: one session. One goroutine uses it at a time.
type chunkReader struct {
	db     sqlconn.Config
	server string // UUID of the one whose log the stream reads; empty: any
	conn   *sqlconn.Conn
	sizes  *chunkSizes
}

// readerSession makes one statement one consistent read, whatever the server's default; lets a long list of keys be looked up in the index; and
// lets a key be used whose index is invisible.
const readerSession = "SET SESSION transaction_isolation='REPEATABLE-READ', range_optimizer_max_mem_size=0, optimizer_switch='use_invisible_indexes=on'"

func (r *chunkReader) session(ctx context.Context) (*sqlconn.Conn, error) {
	if r.conn != nil && !r.conn.Broken() {
		return r.conn, nil
	}
	conn, err := sqlconn.Dial(ctx, r.db)
	if err != nil {
		return nil, err
	}
	if err = sameServer(ctx, conn, r.db.Addr, r.server); err == nil {
		_, err = conn.Exec(ctx, readerSession)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("chunk session: %w", err)
	}
	r.conn = conn
	return conn, nil
}

// sameServer refuses another server than the one whose log is read: an address may come to lead elsewhere while the log's connection lives. Its rows are not
// that log's, and positions in the two do not compare.
func sameServer(ctx context.Context, conn *sqlconn.Conn, addr, server string) error {
	if server == "" {
		return nil
	}
	res, err := conn.Query(ctx, "SELECT @@GLOBAL.server_uuid")
	if err != nil {
		return fmt.Errorf("server_uuid: %w", err)
	}
	if now := string(res.Rows[0][0]); now != server {
		return binlog.AnotherServer(addr, now, server)
	}
	return nil
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
	for {
		if reached, err := awaitExecuted(ctx, conn, set, 10*time.Second); reached || err != nil {
			return err
		}
	}
}

// awaitExecuted waits for so long.
func awaitExecuted(ctx context.Context, conn *sqlconn.Conn, set gtid.Set, d time.Duration) (reached bool, err error) {
	res, err := conn.Query(ctx, fmt.Sprintf("SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %g)", sqlconn.Quote(set.String()), d.Seconds()))
	if err != nil {
		return false, fmt.Errorf("wait until %s is executed: %w", set, err)
	}
	const timedOut = "1"
	return string(res.Rows[0][0]) != timedOut, nil
}

func (r *chunkReader) logEnd(ctx context.Context) (binlog.Coordinates, error) {
	conn, err := r.session(ctx)
	if err != nil {
		return binlog.Coordinates{}, err
	}
	return binlog.End(ctx, conn)
}

// staleErrors are what a SELECT gets when its definition is not the table's: unknown column, no such table, no such index, definition
// changed, a key that is no value of the column's type. A DDL has been executed that the stream has yet to pass.
var staleErrors = []uint16{1054, 1146, 1176, 1412, 1267, 1292, 1525, 3854}

// errFull stops a read that has become larger than its estimate allowed for.
var errFull = errors.New("chunk is full")

func (r *chunkReader) readRows(ctx context.Context, cmd *command) (chunkRead, error) {
	conn, err := r.session(ctx)
	if err != nil {
		return chunkRead{}, err
	}
	t, read := cmd.table, chunkRead{table: cmd.table}
	if read.rekeyed = !cmd.req.fits(t); read.rekeyed {
		return read, nil
	}
	maxBytes := cmp.Or(cmd.req.MaxBytes, defaultChunkBytes)
	limit, err := r.sizes.limit(ctx, conn, cmd, maxBytes)
	if err != nil {
		return chunkRead{}, err
	}
	began := time.Now()
	rows := newSlab(t.def)
	err = conn.QueryStream(ctx, chunkSQL(t.def, t.key, &cmd.req, limit), func(cells [][]byte) error {
		rows.add(cells)
		if rows.size >= 2*maxBytes && cmd.req.Keys == nil {
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
	read.rows, read.size = rows.rows, rows.size
	read.done = cmd.req.Keys != nil || !full && len(read.rows) < limit
	if cmd.req.Keys == nil {
		r.sizes.learn(cmd.req.Table, len(read.rows), read.size, full || len(read.rows) == limit, time.Since(began))
	}
	return read, nil
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
