package replicate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"braid/internal/base/errs"
	"braid/internal/sqlconn"
)

// lockPatience covers the time that the server needs to notice the end of a process that died a moment ago.
const lockPatience = 2 * time.Second

// lock takes the lock of the name: one process at a time has a stream.
func (r *replication) lock(ctx context.Context) error {
	name := "braid_replicate_" + r.cfg.Name
	if len(name) > 64 { // MySQL's bound
		name = name[:64]
	}
	res, err := r.admin.Query(ctx, fmt.Sprintf("SELECT GET_LOCK(%s, %d), GET_LOCK('%s', 0)", sqlconn.Quote(name), int(lockPatience.Seconds()), r.mark))
	if err != nil {
		return fmt.Errorf("target: lock of the name %s: %w", r.cfg.Name, err)
	}
	if string(res.Rows[0][0]) != "1" {
		return r.inUse(ctx, name)
	}
	return nil
}

// keepLock takes the lock of the name again if its session has ended: until then another process could begin. It is an error that one has. While
// the target cannot be asked, the stream says so.
func (r *replication) keepLock(ctx context.Context) error {
	if time.Since(r.lockedAt) < lockPatience {
		return nil
	}
	r.lockedAt = time.Now()
	ctx, cancel := context.WithTimeout(ctx, 2*lockPatience)
	defer cancel()
	if _, err := r.admin.Query(ctx, "SELECT 1"); err == nil { // a session keeps its locks until it ends
		return nil
	}
	conn, err := sqlconn.Dial(ctx, r.cfg.Target)
	if err != nil {
		return nil //nolint:nilerr // tried again
	}
	r.admin.Close()
	r.admin = conn
	if err = r.lock(ctx); err == nil {
		r.log.Info("the session that holds the name had ended; another one holds it now")
		return nil
	}
	if _, ours := errors.AsType[notNow](err); !ours && errors.Is(err, errs.StreamInUse) {
		return err
	}
	r.admin.Close() // so that it is tried again
	return nil
}

// inUse is the error for a lock of the name that another session has. If that also has the mark of this run, it is one of this run's, of which the
// connection was lost without the server's knowledge. It is ended then.
func (r *replication) inUse(ctx context.Context, name string) error {
	other := errs.New(errs.StreamInUse, nil, "stream %s on %s", r.cfg.Name, r.cfg.Target.Addr)
	res, err := r.admin.Query(ctx, fmt.Sprintf("SELECT IS_USED_LOCK('%s') WHERE IS_USED_LOCK('%[1]s')=IS_USED_LOCK(%s)", r.mark, sqlconn.Quote(name)))
	if err != nil {
		return fmt.Errorf("target: lock of the name %s: %w", r.cfg.Name, err)
	}
	if len(res.Rows) == 0 {
		return other
	}
	if _, err := r.admin.Exec(ctx, "KILL "+string(res.Rows[0][0])); err != nil && sqlconn.ErrCode(err) != erNoSuchThread {
		return fmt.Errorf("target: end the session of this run that was cut off: %w", err)
	}
	return notNow{other.With("the other process is this one: its session that was cut off has the lock, and is ended")}
}

const erNoSuchThread = 1094
