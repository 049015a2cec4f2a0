package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"braid/internal/topo"
)

// Update implements topo.Registration.
func (l *lease) Update(ctx context.Context, value []byte) error {
	err := l.client.enter(ctx)
	if err != nil {
		l.client.b.mu.Lock()
	}
	b := l.client.b
	defer b.mu.Unlock()
	if l.closed {
		return fmt.Errorf("update %s: %w: the registration is closed", l.key, topo.ErrNotFound)
	}
	l.value = notNil(slices.Clone(value))
	if err != nil {
		if !slices.Contains(b.mu.lost, l) && l.client.ctx.Err() == nil {
			b.mu.lost = append(b.mu.lost, l) // written when there is a connection again
		}
		return fmt.Errorf("update %s: %w", l.key, err)
	}
	b.commit([]topo.KeyWrite{{Key: l.key, Value: l.value, Version: -1}}, l)
	return nil
}

// Close implements topo.Registration.
func (l *lease) Close(ctx context.Context) error {
	b := l.client.b
	err := l.client.enter(ctx)
	if err != nil {
		b.mu.Lock() // it will not come back, and its lease ends by itself
	}
	defer b.mu.Unlock()
	l.closed = true
	b.mu.lost = slices.DeleteFunc(b.mu.lost, func(o *lease) bool { return o == l })
	if b.mu.data[l.key].owner == l {
		b.commit([]topo.KeyWrite{{Key: l.key, Version: -1}}, nil)
	}
	if err != nil && l.client.ctx.Err() == nil {
		return fmt.Errorf("close %s: %w", l.key, err)
	}
	return nil
}

// Token implements topo.Lock and topo.Leader.
func (l *lease) Token() int64 { return l.token }

// Done implements topo.Lock and topo.Leader.
func (l *lease) Done() <-chan struct{} { return l.done }

// Unlock implements topo.Lock.
func (l *lease) Unlock(context.Context) error {
	b := l.client.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.data[l.key].owner != l {
		return nil // lost, or given back before
	}
	b.commit([]topo.KeyWrite{{Key: l.key, Version: -1}}, nil)
	close(l.done)
	return nil
}

// Resign implements topo.Leader.
func (l *lease) Resign(ctx context.Context) error { return l.Unlock(ctx) }

// Lock implements topo.Store.
func (s *Store) Lock(ctx context.Context, name, holder string, _ time.Duration) (topo.Lock, error) {
	l, err := s.acquire(ctx, lockKey(name), holder, false)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return l, nil
}

// Elect implements topo.Store.
func (s *Store) Elect(ctx context.Context, name, id string, _ time.Duration) (topo.Leader, error) {
	l, err := s.acquire(ctx, electKey(name), id, true)
	if err != nil {
		return nil, fmt.Errorf("elect %s: %w", name, err)
	}
	return l, nil
}

// acquire waits for a key that nobody holds. patient waits through outages, too.
func (s *Store) acquire(ctx context.Context, key, holder string, patient bool) (*lease, error) {
	for {
		l, changed, err := s.tryAcquire(ctx, key, holder)
		if l != nil {
			return l, nil
		}
		if !errors.Is(err, topo.ErrLockHeld) && !(patient && errors.Is(err, topo.ErrUnreachable) && s.ctx.Err() == nil) {
			return nil, err
		}
		select {
		case <-changed:
		case <-s.ctx.Done():
			return nil, topo.ErrUnreachable
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

func (s *Store) tryAcquire(ctx context.Context, key, holder string) (*lease, <-chan struct{}, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	b := s.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.down || s.ctx.Err() != nil {
		return nil, b.mu.changed, topo.ErrUnreachable
	}
	if e, held := b.mu.data[key]; held {
		return nil, b.mu.changed, fmt.Errorf("%w by %s", topo.ErrLockHeld, e.value)
	}
	l := &lease{client: s, key: key, done: make(chan struct{})}
	b.commit([]topo.KeyWrite{{Key: key, Value: []byte(holder), Version: -1}}, l)
	l.token = b.mu.revision
	return l, nil, nil
}

// Leader implements topo.Store.
func (s *Store) Leader(ctx context.Context, name string) (string, int64, error) {
	if err := s.enter(ctx); err != nil {
		return "", 0, fmt.Errorf("leader of %s: %w", name, err)
	}
	defer s.b.mu.Unlock()
	e, ok := s.b.mu.data[electKey(name)]
	if !ok {
		return "", 0, fmt.Errorf("leader of %s: %w", name, topo.ErrNotFound)
	}
	return string(e.value), e.version, nil
}
