package topo

import (
	"context"
	"sync"

	"braid/internal/base/service"
)

// flight lets calls that come at the same time share one read, and keeps it linearizable: a call joins only a read that
// begins after it. So at most one read runs and one waits, however many callers there are. (x/sync/singleflight joins the
// running read, which may have begun before the write that the caller wants to see.)
type flight struct {
	kick chan struct{} // one place: the waiting read may begin
	mu   struct {
		sync.Mutex
		waiting *sharedRead
	}
}

type sharedRead struct {
	done chan struct{}
	err  error // valid when done is closed
}

func newFlight() *flight { return &flight{kick: make(chan struct{}, 1)} }

// run does the reads until ctx ends.
func (f *flight) run(ctx context.Context, read func(context.Context) error) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.kick:
		}
		f.mu.Lock()
		r := f.mu.waiting
		f.mu.waiting = nil
		f.mu.Unlock()
		r.err = read(ctx)
		close(r.done)
	}
}

// join waits for a read that begins from now on. life is the context of run.
func (f *flight) join(ctx, life context.Context) error {
	f.mu.Lock()
	if f.mu.waiting == nil {
		f.mu.waiting = &sharedRead{done: make(chan struct{})}
		f.kick <- struct{}{} // it is empty: run takes the kick before it takes the read
	}
	r := f.mu.waiting
	f.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	case <-life.Done():
		return service.ErrStopped
	}
}
