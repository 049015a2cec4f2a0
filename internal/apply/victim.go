package apply

import (
	"context"
	"fmt"
	"time"

	"braid/internal/apply/rows"
	"braid/internal/sqlconn"
)

// In order preserve a session that has executed its group keeps its row locks until its turn comes. If an earlier group then waits for one
// of them, neither can go on, and the server does not see it: the one waits in the server, the other in here. Dependencies make that rare,
// but InnoDB locks more than rows that change (gaps where a unique key is checked, entries marked as deleted). So a worker that has waited
// for a while looks whether the group whose turn it is waits for a lock; if so, all later groups that wait here with what they have executed
// roll back, and begin again when that group is committed. They do likewise when that group has waited for any lock until the server gave up. A group so gives way once for each group before it, at most.

const (
	// suspicion is how long the group whose turn it is may execute before somebody looks whether it waits for a lock. Most groups are
	// faster, and looking costs the server a fraction of a millisecond.
	suspicion = 40 * time.Millisecond
	// blindPatience is how long it may execute before it is taken for waiting, where the account may not see lock waits.
	blindPatience = 300 * time.Millisecond
)

// look makes all victims, if the group whose turn it is waits for a lock. It runs on the waiting worker's own session.
func (w *worker) look(ctx context.Context, g *group) {
	a := w.a
	a.mu.Lock()
	if a.mu.looking || len(a.mu.groups) == 0 {
		a.mu.Unlock()
		return
	}
	head := a.mu.groups[0]
	since := head.since
	if head == g || since.IsZero() || time.Since(since) < suspicion || a.mu.order != Preserve {
		a.mu.Unlock()
		return
	}
	a.mu.looking = true
	id, blind := head.worker.id, a.mu.blind
	a.mu.Unlock()
	locked, err := false, error(nil)
	if !blind {
		locked, err = w.session.LockWait(ctx, id)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.looking = false
	if blind = blind || sqlconn.ErrCode(err) != 0; blind {
		a.mu.blind, locked = true, time.Since(since) > blindPatience
	}
	if locked && head.since == since {
		a.giveWay(head)
	}
}

// giveWay makes victims of all that wait behind the group whose turn it is. Under the lock.
func (a *Applier) giveWay(head *group) {
	if a.mu.order != Preserve || len(a.mu.groups) == 0 || a.mu.groups[0] != head {
		return
	}
	for _, other := range a.mu.groups[1:] {
		if other.since.IsZero() && other.victim == 0 {
			other.victim = head.end
			a.mu.stats.victims++
			other.worker.signal()
		}
	}
}

// lockedOut makes the others give way to a group that has waited for a lock for too long. It may be one that look does not see, the lock of a whole
// table: a statement of somebody else waits for a later group to release it, and this group waits behind that statement.
func (a *Applier) lockedOut(g *group) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.giveWay(g)
}

// connected is a session on a connection of its own.
type connected struct {
	*rows.Session
	conn *sqlconn.Conn
}

func (a *Applier) connect(ctx context.Context, lane int) (session, error) {
	conn, err := a.cfg.Connect(ctx, lane)
	if err != nil {
		return nil, err
	}
	return &connected{rows.NewSession(conn, a.cfg.Rows), conn}, nil
}

func (c *connected) ID() uint32 { return c.conn.ID() }
func (c *connected) Close()     { c.conn.Close() }

// LockWait asks InnoDB. That needs no performance schema, but the privilege PROCESS. What it answers may be a tenth of a second old.
func (c *connected) LockWait(ctx context.Context, id uint32) (bool, error) {
	res, err := c.conn.Query(ctx, fmt.Sprintf("SELECT 1 FROM information_schema.INNODB_TRX WHERE trx_mysql_thread_id=%d AND trx_state='LOCK WAIT'", id))
	if err != nil {
		return false, err
	}
	return len(res.Rows) > 0, nil
}
