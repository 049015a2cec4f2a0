package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"braid/internal/base/retry"
	"braid/internal/topo"
)

// registration is a leased key. Its goroutine alone writes it, so that values never overtake each other.
type registration struct {
	s      *Store
	key    string
	ttl    time.Duration
	ctx    context.Context // ends with Close and with the store
	cancel context.CancelFunc
	ended  chan struct{} // closed when the goroutine has ended
	farew  error         // of giving the lease back; valid when ended is closed

	kick chan struct{} // one place: value is new
	mu   struct {
		sync.Mutex
		value   []byte
		waiting []chan error // one place each: who wants to know how writing value went
	}

	lease *lease // of the goroutine; nil while there is none
}

// Register implements topo.Store.
func (s *Store) Register(ctx context.Context, key string, value []byte, ttl time.Duration) (topo.Registration, error) {
	if err := topo.CheckKey(key); err != nil {
		return nil, err
	}
	r := &registration{s: s, key: key, ttl: ttl, ended: make(chan struct{}), kick: make(chan struct{}, 1)}
	r.mu.value = notNil(slices.Clone(value))
	r.ctx, r.cancel = context.WithCancel(s.ctx)
	err := r.write(ctx)
	if err == nil {
		err = s.spawn(r.run)
	}
	if err != nil {
		r.cancel()
		if r.lease != nil {
			_ = s.revoke(ctx, r.lease) // else it ends by itself
		}
		return nil, s.fail(ctx, "register", key, err, true)
	}
	return r, nil
}

// write puts the latest value under the lease, and takes a new lease if there is none or it has ended.
func (r *registration) write(ctx context.Context) error {
	for {
		fresh := r.lease == nil
		if fresh {
			l, err := r.s.grant(ctx, r.ttl)
			if err != nil {
				return err
			}
			r.lease = l
		}
		err := r.put(ctx)
		if !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return err
		}
		if r.lease = nil; fresh {
			return err
		}
	}
}

func (r *registration) put(ctx context.Context) error {
	octx, cancel := r.s.bound(ctx)
	defer cancel()
	r.mu.Lock()
	value := string(r.mu.value)
	r.mu.Unlock()
	_, err := r.s.cli.Put(octx, r.s.key(r.key), value, clientv3.WithLease(r.lease.id))
	return err
}

// run renews the lease, writes new values, and writes again what was lost, until the registration is closed.
func (r *registration) run() {
	defer close(r.ended)
	defer func() {
		if r.lease != nil {
			r.farew = r.s.revoke(r.ctx, r.lease)
		}
	}()
	written, failures := true, 0 // whether the latest value stands under the lease
	for {
		if !r.pause(written, failures) {
			return
		}
		waiting := r.takeWaiting()
		if written && len(waiting) == 0 {
			err := r.s.renew(r.ctx, r.lease)
			if !errors.Is(err, errLeaseLost) {
				failures = count(failures, err)
				continue
			}
			r.lease = nil
		}
		err := r.write(r.ctx)
		written, failures = err == nil, count(failures, err)
		for _, w := range waiting {
			w <- err
		}
	}
}

func count(failures int, err error) int {
	if err == nil {
		return 0
	}
	return failures + 1
}

// pause waits until there is something to do: a new value, a renewal, another attempt. False: the registration ends.
func (r *registration) pause(written bool, failures int) bool {
	d := retry.Default.Pause(failures)
	if written {
		d = r.lease.nextRenewal(failures > 0)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-r.ctx.Done():
		return false
	case <-r.kick:
	case <-timer.C:
	}
	return r.ctx.Err() == nil
}

func (r *registration) takeWaiting() []chan error {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.mu.waiting
	r.mu.waiting = nil
	return w
}

// Update implements topo.Registration.
func (r *registration) Update(ctx context.Context, value []byte) error {
	answer := make(chan error, 1)
	r.mu.Lock()
	r.mu.value = notNil(slices.Clone(value))
	r.mu.waiting = append(r.mu.waiting, answer)
	r.mu.Unlock()
	select {
	case r.kick <- struct{}{}:
	default: // it is awake already
	}
	octx, cancel := r.s.bound(ctx)
	defer cancel()
	var err error
	select {
	case err = <-answer:
	case <-octx.Done():
		err = octx.Err()
	case <-r.ended:
		return fmt.Errorf("update %s: %w: the registration is closed", r.key, topo.ErrNotFound)
	}
	if err != nil {
		return r.s.fail(ctx, "update", r.key, err, true)
	}
	return nil
}

// Close implements topo.Registration.
func (r *registration) Close(ctx context.Context) error {
	r.cancel()
	<-r.ended // bounded: giving the lease back is
	if r.farew != nil {
		return r.s.fail(ctx, "close", r.key, r.farew, true)
	}
	return nil
}
