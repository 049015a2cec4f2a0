package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"braid/internal/base/retry"
	"braid/internal/topo"
)

// held is a lock or a term: a key that exists under a lease of its own.
type held struct {
	s     *Store
	key   string
	lease *lease
	token int64
	done  chan struct{}

	stop  chan struct{} // closed by the first Unlock
	once  sync.Once
	ended chan struct{} // closed when the goroutine has ended
	farew error         // of giving the lease back; valid when ended is closed
}

// Lock implements topo.Store.
func (s *Store) Lock(ctx context.Context, name, holder string, ttl time.Duration) (topo.Lock, error) {
	if err := topo.CheckKey(name); err != nil {
		return nil, err
	}
	h, err := s.acquire(ctx, s.lockKey(name), holder, ttl)
	if err != nil {
		return nil, s.failHeld(ctx, "lock "+name, err)
	}
	return h, nil
}

// Elect implements topo.Store.
func (s *Store) Elect(ctx context.Context, name, id string, ttl time.Duration) (topo.Leader, error) {
	if err := topo.CheckKey(name); err != nil {
		return nil, err
	}
	var pause retry.Backoff
	for last := ctx.Err(); ; {
		if !pause.Wait(ctx) || s.ctx.Err() != nil {
			return nil, s.failHeld(ctx, "elect "+name, cmp.Or(last, context.Canceled))
		}
		var h *held
		if h, last = s.acquire(ctx, s.electKey(name), id, ttl); last == nil {
			return h, nil
		}
		if errors.Is(last, topo.ErrLockHeld) || !unanswered(last) {
			return nil, s.failHeld(ctx, "elect "+name, last)
		}
	}
}

func (s *Store) failHeld(ctx context.Context, what string, err error) error {
	if errors.Is(err, topo.ErrLockHeld) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return s.fail(ctx, "take", what, err, false)
}

// acquire waits until nobody has the key, and takes it.
func (s *Store) acquire(ctx context.Context, key, holder string, ttl time.Duration) (*held, error) {
	for {
		h, by, err := s.tryAcquire(ctx, key, holder, ttl)
		if h != nil || err != nil {
			return h, err
		}
		for by != nil {
			if err := s.waitGone(ctx, key, by.revision, ttl); err != nil {
				return nil, fmt.Errorf("%w by %s: %w", topo.ErrLockHeld, by.holder, err)
			}
			if by, err = s.holder(ctx, key); err != nil {
				return nil, err
			}
		}
	}
}

func (s *Store) tryAcquire(ctx context.Context, key, holder string, ttl time.Duration) (*held, *other, error) {
	l, err := s.grant(ctx, ttl)
	if err != nil {
		return nil, nil, err
	}
	token, by, err := s.take(ctx, key, holder, l)
	if err == nil && by == nil {
		h, err := s.hold(key, l, token)
		return h, nil, err
	}
	_ = s.revoke(ctx, l) // also if the answer was lost: then the key goes with it. Else it ends by itself.
	return nil, by, err
}

// other is who has a key that we want, as of a revision.
type other struct {
	holder   string
	revision int64
}

func (s *Store) take(ctx context.Context, key, holder string, l *lease) (token int64, by *other, err error) {
	octx, cancel := s.bound(ctx)
	defer cancel()
	resp, err := s.cli.Txn(octx).
		If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, holder, clientv3.WithLease(l.id))).
		Else(clientv3.OpGet(key)).
		Commit()
	if err != nil {
		return 0, nil, err
	}
	if resp.Succeeded {
		return resp.Header.Revision, nil, nil
	}
	kv := resp.Responses[0].GetResponseRange().Kvs[0]
	return 0, &other{holder: string(kv.Value), revision: resp.Header.Revision}, nil
}

// holder returns who has a key, nil when nobody does.
func (s *Store) holder(ctx context.Context, key string) (*other, error) {
	octx, cancel := s.bound(ctx)
	defer cancel()
	resp, err := s.cli.Get(octx, key)
	if err != nil || len(resp.Kvs) == 0 {
		return nil, err
	}
	return &other{holder: string(resp.Kvs[0].Value), revision: resp.Header.Revision}, nil
}

// waitGone returns nil when the key may be gone: its deletion was seen, or the watch ended, or ttl passed. It returns an
// error when ctx or the store ends.
func (s *Store) waitGone(ctx context.Context, key string, after int64, ttl time.Duration) error {
	wctx, cancel := context.WithTimeout(ctx, max(ttl, time.Second))
	defer cancel()
	for resp := range s.cli.Watch(clientv3.WithRequireLeader(wctx), key, clientv3.WithRev(after+1), clientv3.WithFilterPut()) {
		if resp.Err() != nil || len(resp.Events) > 0 {
			break
		}
	}
	if s.ctx.Err() != nil {
		return context.Canceled
	}
	return ctx.Err()
}

// hold begins to renew the lease of a key that was taken.
func (s *Store) hold(key string, l *lease, token int64) (*held, error) {
	h := &held{s: s, key: key, lease: l, token: token, done: make(chan struct{}), stop: make(chan struct{}), ended: make(chan struct{})}
	if err := s.spawn(h.run); err != nil {
		_ = s.revoke(context.Background(), l)
		return nil, err
	}
	return h, nil
}

func (h *held) run() {
	defer close(h.ended)
	lost := h.s.keep(h.s.ctx, h.lease, h.stop)
	close(h.done)
	if err := h.s.revoke(context.Background(), h.lease); lost == nil {
		h.farew = err
	}
}

// Token implements topo.Lock and topo.Leader.
func (h *held) Token() int64 { return h.token }

// Done implements topo.Lock and topo.Leader.
func (h *held) Done() <-chan struct{} { return h.done }

// Unlock implements topo.Lock.
func (h *held) Unlock(ctx context.Context) error {
	h.once.Do(func() { close(h.stop) })
	select {
	case <-h.ended:
	case <-ctx.Done():
		return h.s.fail(ctx, "unlock", h.key, ctx.Err(), true)
	}
	if h.farew != nil {
		return h.s.fail(ctx, "unlock", h.key, h.farew, true)
	}
	return nil
}

// Resign implements topo.Leader.
func (h *held) Resign(ctx context.Context) error { return h.Unlock(ctx) }

// Leader implements topo.Store.
func (s *Store) Leader(ctx context.Context, name string) (string, int64, error) {
	octx, cancel := s.bound(ctx)
	defer cancel()
	resp, err := s.cli.Get(octx, s.electKey(name))
	if err != nil {
		return "", 0, s.fail(ctx, "leader of", name, err, false)
	}
	if len(resp.Kvs) == 0 {
		return "", 0, fmt.Errorf("leader of %s: %w", name, topo.ErrNotFound)
	}
	return string(resp.Kvs[0].Value), resp.Kvs[0].CreateRevision, nil
}
