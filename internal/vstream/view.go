package vstream

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"braid/internal/base/timeouts"
	"braid/internal/binlog"
	"braid/internal/rowimage"
	"braid/internal/sqlconn"
)

// view is an open read view of a table without a key, whose rows come in parts. Whoever has it takes them to the end, or closes it.
type view struct {
	parts  chan viewPart
	cancel context.CancelFunc
	done   sync.WaitGroup
}

type viewPart struct {
	rows []rowimage.Row
	size int64
	done bool
	err  error
}

// viewBytes is about how large a part is.
const viewBytes = 1 << 20

// close ends the read. It may be called more than once, and on nil.
func (v *view) close() {
	if v == nil {
		return
	}
	v.cancel()
	v.done.Wait()
}

// openView opens a read view and reads the end of the log, in this order: everything that the view shows was written before that end. The
// definition is locked by the SELECT that begins here, so rows come as it says.
func (r *chunkReader) openView(ctx context.Context, cmd *command) (chunkRead, error) {
	t := cmd.table
	if cmd.final {
		return chunkRead{}, fmt.Errorf("copy %s.%s, which has no key: %w: rows of it change all the time; allow a short lock (replicate: --without-key lock), or give the table a key",
			t.def.DB, t.def.Name, errPermanent)
	}
	if err := r.waitExecuted(ctx, cmd.received); err != nil {
		return chunkRead{}, err
	}
	conn, err := r.session(ctx)
	if err != nil {
		return chunkRead{}, err
	}
	unlock := func() error { return nil }
	if cmd.lock {
		if unlock, err = r.lock(ctx, t); err != nil {
			return r.stale(ctx, t, err)
		}
	}
	_, err = conn.Exec(ctx, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
	var end binlog.Coordinates
	if err == nil {
		end, err = binlog.End(ctx, conn)
	}
	if unlockErr := unlock(); err == nil {
		err = unlockErr
	}
	if err != nil {
		conn.Close()
		return chunkRead{}, fmt.Errorf("open a read view of %s.%s: %w", t.def.DB, t.def.Name, err)
	}
	r.conn = nil // it is the view's from here on
	v, err := beginView(conn, t, cmd)
	if err != nil {
		return r.stale(ctx, t, err)
	}
	return chunkRead{table: t, end: end, view: v, locked: cmd.lock}, nil
}

// stale turns errors that a DDL explains into a result with the end of the log: if none passes before it, the error is final.
func (r *chunkReader) stale(ctx context.Context, t *table, err error) (chunkRead, error) {
	if !slices.Contains(staleErrors, sqlconn.ErrCode(err)) {
		return chunkRead{}, err
	}
	end, endErr := r.logEnd(ctx)
	return chunkRead{table: t, end: end, err: err}, endErr
}

// lock keeps everybody from writing to a table until unlock is called. It has waited for all who had.
func (r *chunkReader) lock(ctx context.Context, t *table) (unlock func() error, err error) {
	conn, err := sqlconn.Dial(ctx, r.db)
	if err != nil {
		return nil, err
	}
	name := sqlconn.QuoteIdent(t.def.DB) + "." + sqlconn.QuoteIdent(t.def.Name)
	if _, err = conn.Exec(ctx, fmt.Sprintf("SET SESSION lock_wait_timeout=%d", int(timeouts.SnapshotLock.Seconds()))); err == nil {
		_, err = conn.Exec(ctx, "LOCK TABLES "+name+" READ")
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("lock %s.%s for a moment: %w", t.def.DB, t.def.Name, err)
	}
	return func() error { // closing would end the lock too, but later
		defer conn.Close()
		_, err := conn.Exec(ctx, "UNLOCK TABLES")
		return err
	}, nil
}

// beginView starts the SELECT and returns when it has begun to answer.
func beginView(conn *sqlconn.Conn, t *table, cmd *command) (*view, error) {
	ctx, cancel := context.WithCancel(cmd.life)
	v := &view{parts: make(chan viewPart, 1), cancel: cancel}
	began := make(chan error, 1)
	v.done.Go(func() { v.read(ctx, conn, t, cmd, began) })
	if err := <-began; err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

func (v *view) read(ctx context.Context, conn *sqlconn.Conn, t *table, cmd *command, began chan<- error) {
	defer conn.Close()
	rows, first := newSlab(t.def), true
	send := func(p viewPart) error {
		select {
		case v.parts <- p:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	err := conn.QueryStream(ctx, chunkSQL(t.def, t.key, &cmd.req, 0), func(cells [][]byte) error {
		if first {
			first = false
			began <- nil
		}
		rows.add(cells)
		if rows.size < viewBytes {
			return nil
		}
		part := viewPart{rows: rows.rows, size: rows.size}
		rows = newSlab(t.def)
		return send(part)
	})
	if err != nil {
		err = fmt.Errorf("read %s.%s: %w", t.def.DB, t.def.Name, err)
	}
	if first {
		began <- err
	}
	if ctx.Err() == nil {
		send(viewPart{rows: rows.rows, size: rows.size, done: true, err: err}) //nolint:errcheck // nobody waits for it then
	}
}
