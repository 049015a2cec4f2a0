package controller

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"braid/internal/base/retry"
	"braid/internal/topo"
	"braid/internal/workflow"
)

type foremanDeps struct {
	topo   *topo.Topology
	exec   *executor
	log    *slog.Logger
	now    func() time.Time
	period time.Duration // of looking at streams
}

// foreman keeps one runner per workflow that is not over, for one term.
type foreman struct {
	foremanDeps
	term   int64
	holder string
	wg     sync.WaitGroup

	mu struct {
		sync.Mutex
		runners map[string]*runner
	}
}

func newForeman(deps foremanDeps, term int64, holder string) *foreman {
	f := &foreman{foremanDeps: deps, term: term, holder: holder}
	f.mu.runners = map[string]*runner{}
	return f
}

// run follows the workflows until ctx ends, and waits for the runners.
func (f *foreman) run(ctx context.Context) {
	defer f.wg.Wait()
	var b retry.Backoff
	for b.Wait(ctx) {
		err := f.topo.WatchWorkflows(ctx, func(c topo.Change) {
			b.Reset()
			f.seen(ctx, c)
		})
		if ctx.Err() == nil {
			f.log.Warn("workflows are not watched", "error", err)
		}
	}
}

// seen is called for every state that was written, by whomever.
func (f *foreman) seen(ctx context.Context, c topo.Change) {
	if c.Key == "" {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.mu.runners[c.Key]; r != nil {
		r.notify(c.Version)
		return
	}
	if c.Value == nil {
		return
	}
	if s, err := workflow.Parse(c.Value); err == nil && s.Phase.Ended() {
		return
	}
	r := &runner{foremanDeps: f.foremanDeps, name: c.Key, term: f.term, holder: f.holder, log: f.log.With("workflow", c.Key), poke: make(chan struct{}, 1)}
	f.mu.runners[c.Key] = r
	f.wg.Go(func() {
		for {
			r.run(ctx)
			if f.forget(ctx, r) {
				return
			}
		}
	})
}

// forget removes a runner that has ended, unless its workflow was begun anew meanwhile.
func (f *foreman) forget(ctx context.Context, r *runner) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() == nil && r.outdated() {
		return false
	}
	delete(f.mu.runners, r.name)
	return true
}
