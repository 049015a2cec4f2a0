package vreplication

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"braid/internal/apply"
	"braid/internal/sqlconn"
)

// WorkerView is what a worker does, and has done in this run of its stream.
type WorkerView struct {
	Lane         int    `json:"lane"`
	Group        int    `json:"group"`            // transactions of its group that are not committed; 0: it has none
	First        uint64 `json:"first,omitempty"`  // local sequence of the first of them
	ExecutingMS  int64  `json:"executing_ms"`     // for how long the server has had it
	Waits        bool   `json:"waits"`            // for its turn, or for what its group follows
	BusyMS       int64  `json:"busy_ms"`          // it had groups for so long
	WaitedMS     int64  `json:"waited_ms"`        // and waited for others meanwhile
	Transactions int64  `json:"run_transactions"` // that it has committed
	Groups       int64  `json:"run_groups"`       // in so many commits
	Repeats      int64  `json:"run_repeats"`      // groups that were sent again after a deadlock or a lock wait
}

// workersFresh is how old what was written may be to be what the workers do now: it is written every second while they have something to do.
const workersFresh = 3 * pollPeriod

// publisher writes down what the workers of an engine's streams do, for who looks at the target from elsewhere. It is not part of any commit of
// data: a statement a second for all streams that have something to do, and a last one when they have not.
type publisher struct {
	e    *Engine
	told map[int64]bool // streams that had something to do when they were written last
}

func (p *publisher) publish(ctx context.Context) error {
	busy, values := map[int64]bool{}, ""
	for _, c := range p.e.all() {
		ap := c.applier.Load()
		if ap == nil {
			continue
		}
		s := ap.Status()
		if s.Queued > 0 {
			busy[c.id] = true
		} else if !p.told[c.id] {
			continue
		}
		raw, err := json.Marshal(workerViews(&s))
		if err != nil {
			return err
		}
		values += fmt.Sprintf(",(%d, UNIX_TIMESTAMP(NOW(6))*1000000, %s)", c.id, sqlconn.Quote(string(raw)))
	}
	if values == "" {
		return nil
	}
	err := p.e.exec(ctx, "INSERT INTO _braid.workers (vrepl_id, written_at, workers) VALUES "+values[1:]+" ON DUPLICATE KEY UPDATE written_at=VALUES(written_at), workers=VALUES(workers)")
	if err == nil {
		p.told = busy
	}
	return err
}

func workerViews(s *apply.Status) []WorkerView {
	all := make([]WorkerView, 0, len(s.Lanes))
	for i := range s.Lanes {
		l := &s.Lanes[i]
		all = append(all, WorkerView{Lane: l.Lane, Group: l.Group, First: l.First, ExecutingMS: l.Executing.Milliseconds(), Waits: l.Waits,
			BusyMS: l.Busy.Milliseconds(), WaitedMS: l.Waited.Milliseconds(), Transactions: l.Transactions, Groups: l.Groups, Repeats: l.Repeats})
	}
	return all
}

// workers reads what was written, if it is of now.
func (v *View) workers(ctx context.Context, conn *sqlconn.Conn) error {
	res, err := conn.Query(ctx, fmt.Sprintf("SELECT workers, CAST(UNIX_TIMESTAMP(NOW(6))*1000000 AS SIGNED)-written_at FROM _braid.workers WHERE vrepl_id=%d", v.ID))
	if sqlconn.ErrCode(err) == erNoSuchTable { // of an older sidecar
		return nil
	}
	if err != nil {
		return fmt.Errorf("read workers: %w", err)
	}
	if len(res.Rows) == 0 {
		return nil
	}
	var all []WorkerView
	if err := json.Unmarshal(res.Rows[0][0], &all); err != nil {
		return fmt.Errorf("read workers: %w", err)
	}
	fresh := whole(res.Rows[0][1]) < workersFresh.Microseconds() && v.Session != 0
	for _, w := range all {
		if !fresh {
			w.Group, w.First, w.ExecutingMS, w.Waits = 0, 0, 0, false
		}
		for i := range v.Lanes {
			if v.Lanes[i].Lane == w.Lane {
				v.Lanes[i].Worker = &w
			}
		}
	}
	return nil
}

const erNoSuchTable = 1146

// longGroup is from when on it is said that the target works at a group: longer than any wait for a lock, and than it needs for what is not huge.
const longGroup = 10 * time.Second

// stuck says what the target works at for long: of some things that it waits for, it gives no answer. "" where it answers.
func (e *Engine) stuck(id int64) string {
	ap, _ := e.Applier(id)
	for i := range ap.Lanes {
		if l := &ap.Lanes[i]; l.Group > 0 && !l.Waits && l.Executing > longGroup {
			return fmt.Sprintf("the target has not answered for %s, to %d transactions on its session %d: SHOW PROCESSLIST there says what that does; "+
				"in a commit, it may be that the disk of the binlog is full, which the target's error log tells: make room", l.Executing.Round(time.Second), l.Group, l.Session)
		}
	}
	return ""
}

// does is the group of a worker, for people: "-" where it has none, or nobody knows.
func (w *WorkerView) does() string {
	switch {
	case w == nil || w.Group == 0:
		return "-"
	case w.Waits:
		return fmt.Sprintf("%d, waits", w.Group)
	}
	return fmt.Sprintf("%d, %s", w.Group, time.Duration(w.ExecutingMS)*time.Millisecond)
}
