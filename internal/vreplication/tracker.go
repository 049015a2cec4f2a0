package vreplication

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"braid/internal/apply"
	"braid/internal/gtid"
)

// tracker is what the process knows of a stream's progress. It outlives the stream's runs, so that a wait survives a lost
// connection. Waiting is by signal: the applier's commit wakes who waits, nobody polls (a cutover waits here while writes
// are held).
type tracker struct {
	kick chan struct{} // asks the run to look around: somebody waits, a place has become free

	applier   atomic.Pointer[apply.Applier] // of the present run
	quiet     atomic.Bool                   // the run shall end on a complete prefix
	waits     atomic.Pointer[string]        // the message, also while the target cannot be written
	contested atomic.Int64                  // rows of a merge that wait for their place; -1 until the first run has read them
	moved     atomic.Bool                   // a sibling has committed since they were last tried

	mu struct {
		sync.Mutex
		applied gtid.Set // what the data reaches
		saved   gtid.Set // what the row says
		ended   error    // why the stream does not run; nil while it does or is about to
		waiters map[*waiter]struct{}
		lag     time.Duration // when it was measured
		lagAt   time.Time     // zero: never
		begunAt time.Time     // the first run
	}
}

// waiter is woken once: with nil when its position is reached, or with the reason why it will not be.
// It may stand with several trackers; woken has room for all of them.
type waiter struct {
	reached func(t *tracker) bool // under the lock
	woken   chan error
}

func newTracker() *tracker {
	t := &tracker{kick: make(chan struct{}, 1)}
	t.contested.Store(-1) // nobody may count a position as reached before it is known what still waits at it
	t.mu.waiters = map[*waiter]struct{}{}
	return t
}

// poke makes the run look around; it never blocks.
func (t *tracker) poke() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// begin says that a run has started, at the row's position.
func (t *tracker) begin(position gtid.Set) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.applied, t.mu.saved, t.mu.ended = position, position, nil
	if t.mu.begunAt.IsZero() {
		t.mu.begunAt = time.Now()
	}
	t.wake()
}

// advance is called after each commit, and when transactions without rows for us have passed.
func (t *tracker) advance(applied, saved gtid.Set) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.applied, t.mu.saved = applied, saved
	t.wake()
}

// end fails whoever waits: the stream is stopped or in error. nil takes that back.
func (t *tracker) end(reason error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.ended = reason
	t.wake()
}

// wake runs under the lock.
func (t *tracker) wake() {
	for w := range t.mu.waiters {
		switch {
		case w.reached(t):
			w.woken <- nil
		case t.mu.ended != nil:
			w.woken <- t.mu.ended
		default:
			continue
		}
		delete(t.mu.waiters, w)
	}
}

// add lets the waiter stand here until it is woken or removed.
func (t *tracker) add(w *waiter) {
	t.mu.Lock()
	t.mu.waiters[w] = struct{}{}
	t.wake()
	t.mu.Unlock()
	t.poke() // what was reached without rows for us is saved now, not within a second
}

func (t *tracker) remove(w *waiter) {
	t.mu.Lock()
	delete(t.mu.waiters, w)
	t.mu.Unlock()
}

// awaitSaved waits until the row's position contains the given one, and the target has every row of the source at it.
func (t *tracker) awaitSaved(ctx context.Context, position gtid.Set) error {
	w := &waiter{woken: make(chan error, 1), reached: func(t *tracker) bool { return t.contested.Load() == 0 && t.mu.saved.Contains(position) }}
	t.add(w)
	defer t.remove(w)
	select {
	case err := <-w.woken:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *tracker) waited() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.mu.waiters) > 0
}

func (t *tracker) applied() gtid.Set {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.applied
}

func (t *tracker) saved() gtid.Set {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.saved
}

func (t *tracker) ended() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.ended
}

// measured notes the lag of what was just applied or heard.
func (t *tracker) measured(sourceUS int64) {
	if sourceUS == 0 {
		return
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.lag, t.mu.lagAt = max(0, now.Sub(time.UnixMicro(sourceUS))), now
}

// silence is how long a stream may say nothing before the time since then counts as lag: a few heartbeats.
const silence = 3 * heartbeat

// lag is how far the target is behind; -1 when that is unknown. An idle source sends heartbeats, so silence is lag, from the stream's beginning on.
func (t *tracker) lag() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	lag, since := t.mu.lag, t.mu.lagAt
	if since.IsZero() {
		lag, since = -1, t.mu.begunAt
	}
	if since.IsZero() || t.mu.ended != nil {
		return -1
	}
	if quiet := time.Since(since); quiet > silence {
		return max(lag, 0) + quiet
	}
	return lag
}
