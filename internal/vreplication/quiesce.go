package vreplication

import (
	"context"

	"braid/internal/apply"
)

// Quiesce ends all runs, each when everything that it has taken from its stream is committed: the target then has a complete prefix of the
// source's transactions, whatever the commit order. It returns when they have ended, or ctx has. Runs that fail meanwhile have ended,
// too. The rows stay as they are; Stop must follow.
func (e *Engine) Quiesce(ctx context.Context) error {
	for _, c := range e.all() {
		c.quiet.Store(true)
		c.poke()
	}
	e.reconciling.Lock() // nothing is started any more
	defer e.reconciling.Unlock()
	for _, c := range e.all() {
		if c.gone == nil {
			continue
		}
		select {
		case <-c.gone:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// quiesce ends the run if that is asked for. A large transaction that is under way is rolled back: it is behind the prefix.
func (r *run) quiesce(ctx context.Context) error {
	if !r.c.quiet.Load() {
		return nil
	}
	if r.ap.Open() {
		return errNotWanted
	}
	if err := r.commit(ctx); err != nil {
		return err
	}
	if err := r.saveWriters(ctx); err != nil {
		return err
	}
	return errNotWanted
}

// Applier describes the applier of a workflow's stream, as it is now; false when none runs.
func (e *Engine) Applier(id int64) (apply.Status, bool) {
	c := e.stream(id)
	if c == nil {
		return apply.Status{}, false
	}
	ap := c.applier.Load()
	if ap == nil {
		return apply.Status{}, false
	}
	return ap.Status(), true
}
