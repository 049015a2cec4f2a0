package gate

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/mysqlproto"
	"braid/internal/topo"
)

// held runs fn, again and again while it fails with a holdError and the gate may wait. What fn reads of the routing must be
// read inside of it.
func (s *session) held(ctx context.Context, fn func() error) error {
	var limit time.Time
	for pause := holdPauseMin; ; pause = min(2*pause, holdPauseMax) {
		routing := s.g.deps.Cache.Routing()
		changed := s.g.deps.Cache.Changed()
		err := fn()
		h, ok := errors.AsType[*holdError](err)
		if !ok {
			return err
		}
		if err := s.mayWait(h); err != nil {
			return err
		}
		if limit.IsZero() {
			limit = time.Now().Add(s.g.cfg.Hold)
		}
		if err := s.await(ctx, h, routing, changed, pause, limit); err != nil {
			return err
		}
	}
}

const (
	holdPauseMin = 10 * time.Millisecond
	holdPauseMax = 500 * time.Millisecond
)

// await returns when it makes sense to try again.
func (s *session) await(ctx context.Context, h *holdError, routing *topo.Routing, changed <-chan struct{}, pause time.Duration, limit time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, limit)
	defer cancel()
	cache := s.g.deps.Cache
	var err error
	switch {
	case h.epoch > routing.Epoch:
		_, err = cache.WaitRouting(ctx, h.epoch)
	case errors.Is(h, errs.Fenced):
		err = s.awaitRouting(ctx, routing, changed)
	default:
		err = wait(ctx, changed, pause)
	}
	switch {
	case err == nil:
		return nil
	case s.life.Err() != nil || ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return errInterrupted()
	}
	e := errs.Of(h.cause)
	return errs.New(e.Def, h.cause, "waited %s", s.g.cfg.Hold)
}

// awaitRouting returns when the routing is another one than that by which something was fenced. The watch tells; the topology
// is asked now and then in case the watch is cut off.
func (s *session) awaitRouting(ctx context.Context, routing *topo.Routing, changed <-chan struct{}) error {
	cache := s.g.deps.Cache
	tick := time.NewTicker(timeouts.RetryMax)
	defer tick.Stop()
	for cache.Routing() == routing {
		select {
		case <-changed:
			changed = cache.Changed()
		case <-tick.C:
			rctx, cancel := context.WithTimeout(ctx, timeouts.RPC)
			err := cache.Refresh(rctx)
			cancel()
			if err != nil {
				s.g.log.Warn("routing not read while holding", "error", err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func wait(ctx context.Context, changed <-chan struct{}, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// mayWait says whether the open transaction allows a wait. One that has written to a shard that is fenced must not: the fence
// waits for it.
func (s *session) mayWait(h *holdError) error {
	if len(s.txn.parts) == 0 || !errors.Is(h, errs.Fenced) {
		return nil
	}
	r := s.g.deps.Cache.Routing()
	for _, b := range s.txn.parts {
		if b.locked && r.Fenced(b.dest.keyspace, b.dest.shard, nil) != "" {
			return s.abort(errs.New(errs.Fenced, h.cause, "the transaction would hold up the cutover that it waits for"))
		}
	}
	return nil
}

// abort rolls the open transaction back and says so in the way that applications know: try it again.
func (s *session) abort(cause error) error {
	s.rollbackAll(s.life)
	return mysqlproto.Error(mysql.ER_LOCK_DEADLOCK, "40001", "The transaction was rolled back; try restarting transaction: "+cause.Error())
}

func errInterrupted() error {
	return mysqlproto.Error(mysql.ER_QUERY_INTERRUPTED, "70100", "Query execution was interrupted")
}

// failed judges an error of a backend that is not MySQL's answer, while a statement was under way on it that wrote or did
// not. The connection is gone, and with it the transaction that it was a part of.
func (s *session) failed(b *backend, err error, write bool) error {
	if isHold(err) && !b.inTxn && errors.Is(err, errs.NotServing) {
		s.drop(b) // the next try may find another tablet, or a connection that works
	}
	if isHold(err) || mysqlproto.AsMySQL(err) != nil || isClient(err) {
		return err
	}
	inTxn := b.inTxn
	s.drop(b)
	if s.killed.Load() {
		s.killThere(b)
	}
	switch {
	case s.life.Err() != nil:
		s.rollbackAll(s.life)
		return errInterrupted()
	case s.opaque && inTxn && !errors.Is(err, mysqlproto.ErrNotSent):
		s.rollbackAll(s.life)
	case inTxn && (b.fresh || s.txn.implicit):
		// What it was to do is rolled back with the connection, and nothing else was done on it.
		s.txn.parts = slices.DeleteFunc(s.txn.parts, func(x *backend) bool { return x == b })
		return hold(errs.New(errs.NotServing, err, "%s", b.dest))
	case inTxn:
		return s.abort(errs.New(errs.NotServing, err, "the connection to %s was lost", b.dest))
	case errors.Is(err, mysqlproto.ErrNotSent) || !write:
		return hold(errs.New(errs.NotServing, err, "%s", b.dest))
	}
	return errs.New(errs.OutcomeUnknown, err, "the connection to %s was lost before it answered: the statement may have been executed", b.dest)
}

func refusedOrErr(err error) error {
	if e := mysqlproto.AsMySQL(err); e != nil {
		return refusedOr(e)
	}
	return err
}
