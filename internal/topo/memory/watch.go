package memory

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"braid/internal/topo"
)

// watch is a queue of changes that one goroutine sends on.
type watch struct {
	prefix string
	out    chan topo.Change
	wake   chan struct{} // one place
	mu     struct {
		sync.Mutex // taken under the backend's
		queue      []topo.Change
		down       bool
	}
}

// Watch implements topo.Store.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan topo.Change, error) {
	if err := s.enter(ctx); err != nil {
		return nil, fmt.Errorf("watch %s: %w", prefix, err)
	}
	defer s.b.mu.Unlock()
	w := &watch{prefix: prefix, out: make(chan topo.Change), wake: make(chan struct{}, 1)}
	w.mu.queue = append(s.b.list(prefix), topo.Change{Version: s.b.mu.revision})
	w.wake <- struct{}{}
	s.b.mu.watches[w] = true
	s.wg.Go(func() {
		w.run(ctx, s.ctx)
		s.b.mu.Lock()
		delete(s.b.mu.watches, w)
		s.b.mu.Unlock()
		close(w.out)
	})
	return w.out, nil
}

func (w *watch) add(c topo.Change) {
	if hidden(c.Key) || !strings.HasPrefix(c.Key, w.prefix) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.queue = append(w.mu.queue, c)
	w.nudge()
}

// setDown stalls the watch: what changes while the store cannot be reached is seen when it can.
func (w *watch) setDown(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.down = down
	w.nudge()
}

func (w *watch) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watch) take() []topo.Change {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.down {
		return nil
	}
	q := w.mu.queue
	w.mu.queue = nil
	return q
}

func (w *watch) run(ctx, life context.Context) {
	for {
		for _, c := range w.take() {
			select {
			case w.out <- c:
			case <-ctx.Done():
				return
			case <-life.Done():
				return
			}
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return
		case <-life.Done():
			return
		}
	}
}
