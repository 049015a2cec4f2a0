package apply

import (
	"strconv"
	"time"

	"braid/internal/gtid"
)

// statistics are counts since New.
type statistics struct {
	transactions, groups, repeats, victims, unchecked, splits int64
}

// Status describes an applier, for people and for metrics.
type Status struct {
	Order      Order
	Workers    int // sessions at most
	LWM        uint64
	Queued     int // transactions and chunks that are not committed
	QueueBytes int
	Position   gtid.Set // of everything that was added
	Applied    gtid.Set
	Saved      gtid.Set
	Base       gtid.Set

	Transactions int64 // since the run began, as are the following
	Groups       int64
	Repeats      int64 // groups that were sent again after a deadlock or a lock wait
	Victims      int64 // groups that gave way to an earlier one
	Unchecked    int64 // transactions that only foreign keys refused
	Splits       int64 // groups that failed for another reason, and did not one by one: something they follow was not seen

	Lanes []LaneStatus
	Error string // what has ended the applier
}

// LaneStatus describes a worker.
type LaneStatus struct {
	Lane         int
	Session      uint32 // connection ID
	GTIDs        string // above the base
	Group        int    // transactions of its group that are not committed; 0: it has none
	First        uint64 // sequence of the first of them
	Executing    time.Duration
	Waits        bool          // for its turn, or for what its group follows
	Busy         time.Duration // it had groups for so long
	Waited       time.Duration // and waited for others meanwhile
	Transactions int64
	Groups       int64
	Repeats      int64
}

func (l *LaneStatus) name() string { return strconv.Itoa(l.Lane) }

// Status may be called by any goroutine.
func (a *Applier) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := Status{
		Order: a.mu.order, Workers: a.mu.workers, LWM: a.mu.low, Queued: len(a.mu.entries), QueueBytes: a.mu.bytes,
		Position: a.mu.position, Applied: a.mu.applied, Saved: a.mu.saved, Base: a.mu.base,
		Transactions: a.mu.stats.transactions, Groups: a.mu.stats.groups, Repeats: a.mu.stats.repeats, Victims: a.mu.stats.victims,
		Unchecked: a.mu.stats.unchecked, Splits: a.mu.stats.splits,
	}
	if a.mu.err != nil {
		s.Error = a.mu.err.Error()
	}
	for lane, w := range a.mu.lanes {
		if w == nil {
			continue
		}
		l := LaneStatus{Lane: lane, Session: w.id, GTIDs: a.mu.sets[lane].String(), Transactions: w.transactions, Groups: w.groups, Repeats: w.repeats, Busy: w.busy, Waited: w.waited}
		if g := w.group; g != nil && len(g.entries) > 0 {
			l.Group, l.First, l.Waits = len(g.entries), g.entries[0].seq, g.waits
			if !g.since.IsZero() {
				l.Executing = time.Since(g.since)
			}
		}
		s.Lanes = append(s.Lanes, l)
	}
	return s
}
