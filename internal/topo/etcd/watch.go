package etcd

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"braid/internal/base/retry"
	"braid/internal/topo"
)

// watch sends the changes below a prefix. Its goroutine owns all of it.
type watch struct {
	s      *Store
	prefix string
	out    chan topo.Change
	known  map[string]bool // keys that the reader believes to exist
	next   int64           // the revision from which it has seen nothing
}

// Watch implements topo.Store.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan topo.Change, error) {
	state, revision, err := s.list(ctx, prefix)
	if err != nil {
		return nil, err
	}
	w := &watch{s: s, prefix: prefix, out: make(chan topo.Change), known: map[string]bool{}}
	err = s.spawn(func() {
		wctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)()
		defer close(w.out)
		w.run(wctx, state, revision)
	})
	return w.out, err
}

// run sends the state, follows from its revision, and starts again with a new state when it may have missed something.
func (w *watch) run(ctx context.Context, state []topo.Change, revision int64) {
	var pause retry.Backoff
	for {
		if !w.sendState(ctx, state, revision) {
			return
		}
		for resumable := true; resumable && pause.Wait(ctx); {
			from := w.next
			if resumable = w.follow(ctx); w.next > from {
				pause.Reset()
			}
		}
		for {
			if !pause.Wait(ctx) {
				return
			}
			var err error
			if state, revision, err = w.s.list(ctx, w.prefix); err == nil {
				break
			}
		}
	}
}

// sendState sends what vanished since the reader was last told, then the state, then the mark.
func (w *watch) sendState(ctx context.Context, state []topo.Change, revision int64) bool {
	present := make(map[string]bool, len(state))
	for _, c := range state {
		present[c.Key] = true
	}
	for key := range w.known {
		if !present[key] && !w.send(ctx, topo.Change{Key: key, Version: revision}) {
			return false
		}
	}
	for _, c := range state {
		if !w.send(ctx, c) {
			return false
		}
	}
	w.next = revision + 1
	return w.send(ctx, topo.Change{Version: revision})
}

func (w *watch) send(ctx context.Context, c topo.Change) bool {
	select {
	case w.out <- c:
	case <-ctx.Done():
		return false
	}
	if c.Value == nil {
		delete(w.known, c.Key)
	} else {
		w.known[c.Key] = true
	}
	return true
}

// follow sends changes until the watch is cut. It reports whether it may go on from where it was cut: not so if etcd has
// compacted that away. etcd's client mends what it can by itself.
func (w *watch) follow(ctx context.Context) bool {
	wctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	opts := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithRev(w.next)}
	for resp := range w.s.cli.Watch(wctx, w.s.key(w.prefix), opts...) {
		for _, ev := range resp.Events {
			c := w.s.change(ev.Kv)
			if ev.Type == mvccpb.Event_DELETE {
				c.Value = nil
			}
			if !w.send(ctx, c) {
				return false
			}
			w.next = ev.Kv.ModRevision + 1
		}
		if resp.CompactRevision != 0 {
			return false
		}
	}
	return true
}
