package apply

import (
	"time"

	"braid/internal/gtid"
)

// control returns the statements that record what a commit reaches: the worker's lane, and now and then the base.
//
// In order preserve everything before is committed by then, so a lane may say all of it: one interval, as a rule. In order relaxed it
// says its own transactions. What the base has is left out; a lane that becomes long has the base moved with the same commit.
func (w *worker) control(g *group, entries []*entry) []string {
	a := w.a
	a.mu.Lock()
	defer a.mu.Unlock()
	l := Lane{Lane: w.number}
	var own gtid.Set
	for _, e := range entries {
		if e.chunk != nil {
			w.saving = saving{lane: a.mu.sets[w.number]}
			return e.chunk.Save
		}
		l.Transactions++
		l.CommitUS = max(l.CommitUS, e.commit)
		if a.mu.order == Relaxed {
			e.reach(&own)
		}
	}
	s := saving{}
	if a.mu.order == Preserve {
		own = entries[len(entries)-1].after
	}
	s.lane = a.mu.sets[w.number].Union(own).Subtract(a.mu.base)
	s.saved = own
	text := s.lane.String()
	var sql []string
	if !a.mu.moving && (time.Since(a.mu.movedAt) >= checkpointPeriod || len(text) > laneBytes) {
		s.moves, a.mu.moving = true, true
		s.base = a.mu.base.Union(a.mu.prefix)
		switch {
		case a.mu.order == Preserve:
			s.base = a.mu.base.Union(own)
		case len(text) > laneBytes:
			s.base = a.mu.applied.Union(own) // it has holes, but is written rarely
		}
		s.lane = s.lane.Subtract(s.base)
		text = s.lane.String()
		sql = append(sql, a.cfg.SaveBase(Base{Position: s.base, CommitUS: max(a.mu.commitUS, l.CommitUS)}))
	}
	l.GTIDs = text
	w.saving = s
	return append(sql, a.cfg.SaveLane(l))
}

// saved notes that what control has said is committed. Under the lock.
func (w *worker) saved() {
	s := w.saving
	w.saving = saving{}
	w.a.mu.sets[w.number] = s.lane
	w.a.mu.saved = w.a.mu.saved.Union(s.saved)
	w.a.mu.applied = w.a.mu.applied.Union(s.saved)
	if s.moves {
		w.a.mu.moving = false
		w.a.mu.moved(s.base)
	}
}

// abandon notes that it is not.
func (w *worker) abandon() {
	w.a.mu.Lock()
	defer w.a.mu.Unlock()
	if w.saving.moves {
		w.a.mu.moving = false
	}
	w.saving = saving{}
}
