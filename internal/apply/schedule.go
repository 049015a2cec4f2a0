package apply

import "time"

// lookahead is how many entries without a group a worker looks at, in order relaxed.
const lookahead = 4096

// readAhead is how many entries are held behind the first without a group. Beyond lookahead no worker takes them yet: they are only
// memory, which costs more to touch for the first time than to decode a transaction into.
const readAhead = 2 * lookahead

// Another worker is only roused for so much work, or when that has waited for so long. What is less is better taken by a worker that comes back
// from its commit: two groups of one transaction cost the target twice a group of two, and in order preserve they are hardly
// sooner, because the second waits for the first.
const (
	worthTransactions = 32
	worthBytes        = 64 << 10
	worthWait         = 2 * time.Millisecond
)

// ripe says that a worker may take what has no group: there is enough of it, or it has waited for long enough, or somebody waits for it. Under the lock.
func (a *Applier) ripe() bool {
	return a.mu.linger == 0 || a.mu.draining || a.mu.chunks > 0 ||
		a.mu.ahead() >= a.cfg.GroupTransactions/2 || a.mu.unassigned >= a.cfg.GroupBytes/4 || time.Since(a.mu.since) >= a.mu.linger
}

// group is what a worker commits at once.
type group struct {
	worker  *worker
	entries []*entry // not committed yet, in the order of the stream
	end     uint64   // the last sequence
	cut     bool     // parts were sent that are not here any more

	// Under the lock of the applier.
	since  time.Time // when the server was given what it executes now; zero: nothing, the session waits inside of its transaction
	victim uint64    // roll back, and go on when everything up to here is committed; 0: no
	waits  bool      // the worker waits for others
}

// rouse lets a worker look for work, if one is free, or begins one. Under the lock.
func (a *Applier) rouse() {
	if a.mu.closed || a.mu.err != nil {
		return
	}
	if !a.mu.refused.IsZero() && time.Since(a.mu.refused) >= refusedSession {
		a.mu.workers, a.mu.refused = a.mu.wanted, time.Time{}
	}
	if n := len(a.mu.idle); n > 0 {
		w := a.mu.idle[n-1]
		a.mu.idle = a.mu.idle[:n-1]
		w.signal()
		return
	}
	for lane := range a.mu.workers {
		if lane == len(a.mu.lanes) {
			a.mu.lanes = append(a.mu.lanes, nil)
		}
		if a.mu.lanes[lane] == nil {
			w := &worker{a: a, number: lane, wake: make(chan struct{}, 1)}
			a.mu.lanes[lane] = w
			a.done.Go(w.live)
			return
		}
	}
}

// offer rouses a worker for what has no group, if it is worth it, or later. Under the lock.
func (a *Applier) offer() {
	waiting := a.mu.ahead()
	switch {
	case waiting <= 0:
	case !a.ripe():
		if !a.mu.offering {
			a.mu.offering = true
			a.later.Reset(a.mu.linger - time.Since(a.mu.since))
		}
	case a.active() == 0, waiting >= worthTransactions, a.mu.unassigned >= worthBytes:
		a.rouse()
	case !a.mu.offering && a.active() < a.mu.workers:
		a.mu.offering = true
		a.later.Reset(worthWait)
	}
}

// active is how many workers have work, or are about to look for some. Under the lock.
func (a *Applier) active() int {
	n := -len(a.mu.idle)
	for _, w := range a.mu.lanes {
		if w != nil {
			n++
		}
	}
	return n
}

// form makes a group of what is ready, or returns nil. Under the lock.
func (a *Applier) form(w *worker) *group {
	if a.mu.next > a.mu.lastSeq() {
		return nil
	}
	if !a.ripe() {
		a.offer()
		return nil
	}
	g := &group{worker: w}
	if a.mu.order == Preserve {
		a.formRun(g)
	} else {
		a.formReady(g)
	}
	if len(g.entries) == 0 {
		return nil
	}
	g.end = g.entries[len(g.entries)-1].seq
	for _, e := range g.entries {
		a.mu.unassigned -= e.bytes
		if e.chunk != nil {
			a.mu.chunks--
		}
	}
	a.mu.since = time.Now()
	for a.mu.next <= a.mu.lastSeq() && a.mu.at(a.mu.next).group != nil {
		a.mu.next++
	}
	a.mu.groups = append(a.mu.groups, g)
	a.wakeAdder()
	return g
}

// formRun takes a run of consecutive transactions, if one of them can be executed now: those that cannot are executed when what they follow
// is committed, which is in earlier groups.
func (a *Applier) formRun(g *group) {
	ready, bytes := false, 0
	for seq := a.mu.next; seq <= a.mu.lastSeq(); seq++ {
		e := a.mu.at(seq)
		if alone := e.large || e.chunk != nil; alone && len(g.entries) > 0 || a.full(g, bytes, e) {
			break
		}
		e.group = g
		e.run = a.mu.free(e, g)
		ready = ready || e.run
		g.entries = append(g.entries, e)
		bytes += e.bytes
		if e.large || e.chunk != nil {
			break
		}
	}
	if !ready {
		for _, e := range g.entries {
			e.group = nil
		}
		g.entries = nil
	}
}

// formReady takes transactions whose predecessors are committed or in the group. A transaction so joins the worker that has what it
// follows.
func (a *Applier) formReady(g *group) {
	bytes := 0
	for seq := a.mu.next; seq <= min(a.mu.lastSeq(), a.mu.next+lookahead); seq++ {
		e := a.mu.at(seq)
		alone := e.large || e.chunk != nil
		if e.group != nil || alone && len(g.entries) > 0 || !a.mu.free(e, g) {
			continue
		}
		if a.full(g, bytes, e) {
			return
		}
		e.group, e.run = g, true
		g.entries = append(g.entries, e)
		bytes += e.bytes
		if alone {
			return
		}
	}
}

// full says that a group takes no more.
func (a *Applier) full(g *group, bytes int, e *entry) bool {
	n := len(g.entries)
	return n > 0 && (n >= a.cfg.GroupTransactions || bytes+e.bytes > a.cfg.GroupBytes)
}

// turn says that the group may commit. Under the lock.
func (a *Applier) turn(g *group) bool {
	return a.mu.order == Relaxed || a.mu.groups[0] == g
}

// finish notes that the first n entries of a group are committed, and wakes who waited for that.
func (a *Applier) finish(w *worker, g *group, n int) {
	a.mu.Lock()
	for _, e := range g.entries[:n] {
		e.done = true
		a.mu.bytes -= e.bytes
		if e.chunk != nil {
			a.mu.dropped = append(a.mu.dropped, e.seq)
			if done := e.chunk.Done; done != nil {
				a.mu.due = append(a.mu.due, func() { done(nil) })
				notify(a.events)
			}
		} else {
			a.mu.stats.transactions++
		}
		e.parts, e.chunk, e.view, e.preds = nil, nil, nil, nil
	}
	a.mu.stats.groups++
	w.groups++
	w.transactions += int64(n)
	g.entries = g.entries[n:]
	w.saved()
	a.mu.advance()
	if len(g.entries) == 0 {
		a.leave(g)
	}
	for _, other := range a.mu.groups {
		if other.waits {
			other.worker.signal()
		}
	}
	a.wakeAdder()
	if a.mu.empty() {
		notify(a.events)
	}
	a.mu.telling++
	a.mu.Unlock()
	a.publish()
	a.mu.Lock()
	if a.mu.telling--; a.mu.telling == 0 && a.mu.empty() {
		notify(a.freed)
	}
	a.mu.Unlock()
}

// leave takes a group off the list.
func (a *Applier) leave(g *group) {
	for i, other := range a.mu.groups {
		if other == g {
			a.mu.groups = append(a.mu.groups[:i], a.mu.groups[i+1:]...)
			return
		}
	}
}
