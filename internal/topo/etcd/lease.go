package etcd

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// lease is a lease of etcd and the time until which it certainly lives.
type lease struct {
	id    clientv3.LeaseID
	ttl   time.Duration // as the server granted it, at least what was asked for
	until time.Time
}

// errLeaseLost says that the lease has ended, or may have.
var errLeaseLost = errors.New("lease lost")

func (s *Store) grant(ctx context.Context, ttl time.Duration) (*lease, error) {
	octx, cancel := s.bound(ctx)
	defer cancel()
	sent := time.Now()
	resp, err := s.cli.Grant(octx, max(1, int64((ttl+time.Second-1)/time.Second)))
	if err != nil {
		return nil, err
	}
	l := &lease{id: resp.ID, ttl: time.Duration(resp.TTL) * time.Second}
	l.until = sent.Add(l.ttl)
	return l, nil
}

// renew prolongs the lease. It returns nil, a passing error, or errLeaseLost; and it returns before the lease ends.
func (s *Store) renew(ctx context.Context, l *lease) error {
	octx, cancel := context.WithDeadline(ctx, earlier(l.until, time.Now().Add(l.ttl/2)))
	defer cancel()
	sent := time.Now()
	resp, err := s.cli.KeepAliveOnce(octx, l.id)
	switch {
	case err == nil:
		l.until = sent.Add(time.Duration(resp.TTL) * time.Second)
		return nil
	case errors.Is(err, rpctypes.ErrLeaseNotFound), !time.Now().Before(l.until):
		return errLeaseLost
	}
	return err
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// nextRenewal is when to renew again: a third of the life after a success, soon after a failure, never later than the end.
func (l *lease) nextRenewal(failed bool) time.Duration {
	pause := l.ttl / 3
	if failed {
		pause = l.ttl / 20
	}
	return max(0, min(pause, time.Until(l.until)))
}

// keep renews the lease until stop, or ctx ends (nil), or it is lost.
func (s *Store) keep(ctx context.Context, l *lease, stop <-chan struct{}) error {
	timer := time.NewTimer(l.nextRenewal(false))
	defer timer.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		err := s.renew(ctx, l)
		if errors.Is(err, errLeaseLost) {
			return err
		}
		timer.Reset(l.nextRenewal(err != nil))
	}
}

// revoke gives a lease back with all its keys. It also works while the store closes.
func (s *Store) revoke(ctx context.Context, l *lease) error {
	if s.mute {
		return nil
	}
	octx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	_, err := s.cli.Revoke(octx, l.id)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil
	}
	return err
}

// farewell bounds giving back a lease: it ends by itself soon enough.
const farewell = time.Second
