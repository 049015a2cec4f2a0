package topotest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/base/timeouts"
	"braid/internal/topo"
)

func testRegistration(t *testing.T, h Harness) {
	ctx, s, other := within(t), h.open(t), h.open(t)
	r, err := s.Register(ctx, "r/a", []byte("1"), TTL)
	require.NoError(t, err)
	require.Equal(t, "1", valueOf(t, other, "r/a"))
	require.NoError(t, r.Update(ctx, []byte("2")))
	require.Equal(t, "2", valueOf(t, other, "r/a"))

	again, err := other.Register(ctx, "r/a", []byte("3"), TTL) // a restarted process, whose old lease still runs
	require.NoError(t, err)
	require.NoError(t, r.Close(ctx))
	require.Equal(t, "3", valueOf(t, other, "r/a"), "closing the old one leaves the new one alone")
	require.NoError(t, again.Close(ctx))
	_, _, err = other.Read(ctx, "r/a")
	require.ErrorIs(t, err, topo.ErrNotFound)
	require.NoError(t, again.Close(ctx), "closing twice")
	require.ErrorIs(t, again.Update(ctx, []byte("4")), topo.ErrNotFound)
	_, _, err = other.Read(ctx, "r/a")
	require.ErrorIs(t, err, topo.ErrNotFound, "what is closed does not come back")
}

func testRegistrationDies(t *testing.T, h Harness) {
	ctx, s, other := within(t), h.open(t), h.open(t)
	ch, err := other.Watch(ctx, "r/")
	require.NoError(t, err)
	require.Empty(t, next(t, ch).Key)
	_, err = s.Register(ctx, "r/a", []byte("1"), TTL)
	require.NoError(t, err)
	require.Equal(t, "1", string(next(t, ch).Value))
	h.Kill(s)
	c := next(t, ch)
	require.Equal(t, "r/a", c.Key)
	require.Nil(t, c.Value)
}

func testLock(t *testing.T, h Harness) {
	ctx, s, other := within(t), h.open(t), h.open(t)
	l, err := s.Lock(ctx, "ks", "reshard of ks by controller 1", TTL)
	require.NoError(t, err)
	require.Positive(t, l.Token())
	requireOpen(t, l.Done())

	free, err := other.Lock(ctx, "other", "", TTL)
	require.NoError(t, err, "names are independent")
	require.NoError(t, free.Unlock(ctx))

	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err = other.Lock(short, "ks", "me", TTL)
	require.ErrorIs(t, err, topo.ErrLockHeld)
	require.ErrorContains(t, err, "reshard of ks by controller 1")

	got := make(chan topo.Lock, 1)
	go func() {
		l2, err := other.Lock(ctx, "ks", "second", TTL)
		if err == nil {
			got <- l2
		}
		close(got)
	}()
	requireOpen(t, l.Done())
	require.NoError(t, l.Unlock(ctx))
	requireClosed(t, l.Done())
	require.NoError(t, l.Unlock(ctx), "unlocking twice")
	l2 := <-got
	require.NotNil(t, l2, "the waiter gets it")
	require.Greater(t, l2.Token(), l.Token())
	require.NoError(t, l2.Unlock(ctx))
}

func testLockDies(t *testing.T, h Harness) {
	ctx, s, other := within(t), h.open(t), h.open(t)
	l, err := s.Lock(ctx, "ks", "first", TTL)
	require.NoError(t, err)
	h.Kill(s)
	l2, err := other.Lock(ctx, "ks", "second", TTL)
	require.NoError(t, err)
	require.Greater(t, l2.Token(), l.Token())
	requireClosed(t, l.Done())
	requireOpen(t, l2.Done())
}

func testTokens(t *testing.T, h Harness) {
	ctx, s := within(t), h.open(t)
	var last int64
	for range 5 {
		l, err := s.Lock(ctx, "ks", "me", TTL)
		require.NoError(t, err)
		require.Greater(t, l.Token(), last)
		last = l.Token()
		require.NoError(t, l.Unlock(ctx))
	}
}

func testElection(t *testing.T, h Harness) {
	ctx, s, other := within(t), h.open(t), h.open(t)
	_, _, err := s.Leader(ctx, "controller")
	require.ErrorIs(t, err, topo.ErrNotFound)
	first, err := s.Elect(ctx, "controller", "one", TTL)
	require.NoError(t, err)
	id, token, err := other.Leader(ctx, "controller")
	require.NoError(t, err)
	require.Equal(t, "one", id)
	require.Equal(t, first.Token(), token)

	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err = other.Elect(short, "controller", "two", TTL)
	require.ErrorIs(t, err, context.DeadlineExceeded, "only one leads")

	won := make(chan topo.Leader, 1)
	go func() {
		l, err := other.Elect(ctx, "controller", "two", TTL)
		if err == nil {
			won <- l
		}
		close(won)
	}()
	require.NoError(t, first.Resign(ctx))
	requireClosed(t, first.Done())
	second := <-won
	require.NotNil(t, second)
	require.Greater(t, second.Token(), first.Token())
	require.NoError(t, second.Resign(ctx))
}

func testCutOperations(t *testing.T, h Harness) {
	ctx, s := within(t), h.open(t)
	_, err := s.Write(ctx, "a", []byte("1"), 0)
	require.NoError(t, err)
	h.Cut()
	ops := map[string]func() error{
		"read":     func() error { _, _, err := s.Read(ctx, "a"); return err },
		"list":     func() error { _, err := s.List(ctx, ""); return err },
		"write":    func() error { _, err := s.Write(ctx, "a", []byte("2"), -1); return err },
		"delete":   func() error { return s.Delete(ctx, "a", -1) },
		"register": func() error { _, err := s.Register(ctx, "r", nil, TTL); return err },
		"watch":    func() error { _, err := s.Watch(ctx, ""); return err },
		"lock":     func() error { _, err := s.Lock(ctx, "l", "", TTL); return err },
		"leader":   func() error { _, _, err := s.Leader(ctx, "e"); return err },
	}
	begin := time.Now()
	results := make(chan error, len(ops))
	for what, op := range ops {
		go func() { results <- describe(what, op()) }()
	}
	for range ops {
		err := <-results
		require.ErrorIs(t, err, topo.ErrUnreachable)
	}
	require.Less(t, time.Since(begin), timeouts.Topology+2*time.Second, "every operation ends in time")

	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	begin = time.Now()
	_, _, err = s.Read(short, "a")
	require.ErrorIs(t, err, topo.ErrUnreachable)
	require.Less(t, time.Since(begin), timeouts.Topology/2, "the caller's bound holds")
	h.Heal()
	require.Eventually(t, func() bool { _, _, err := s.Read(ctx, "a"); return err == nil }, patience, 10*time.Millisecond)
}

func describe(what string, err error) error {
	if err == nil {
		return errors.New(what + " succeeded")
	}
	return fmt.Errorf("%s: %w", what, err)
}

func testCutLeases(t *testing.T, h Harness) {
	ctx, s := within(t), h.open(t)
	l, err := s.Lock(ctx, "ks", "first", TTL)
	require.NoError(t, err)
	r, err := s.Register(ctx, "r/a", []byte("1"), TTL)
	require.NoError(t, err)
	h.Cut()
	begin := time.Now()
	h.Outlast(s)
	requireClosed(t, l.Done())
	require.Less(t, time.Since(begin), TTL+2*time.Second, "the loss is known by its time, though nothing answers")
	require.ErrorIs(t, r.Update(ctx, []byte("2")), topo.ErrUnreachable)
	h.Heal()

	other := h.open(t)
	require.Eventually(t, func() bool {
		value, _, err := other.Read(ctx, "r/a")
		return err == nil && string(value) == "2"
	}, patience, 10*time.Millisecond, "the registration comes back with its latest value")
	l2, err := other.Lock(ctx, "ks", "second", TTL)
	require.NoError(t, err)
	require.Greater(t, l2.Token(), l.Token())
	require.NoError(t, r.Update(ctx, []byte("3")))
	require.Equal(t, "3", valueOf(t, other, "r/a"))
	require.NoError(t, r.Close(ctx))
	require.NoError(t, l2.Unlock(ctx))
}

func testCutElection(t *testing.T, h Harness) {
	ctx, s, other := within(t), h.open(t), h.open(t)
	first, err := s.Elect(ctx, "controller", "one", TTL)
	require.NoError(t, err)
	won := make(chan topo.Leader, 1)
	go func() {
		l, err := other.Elect(ctx, "controller", "two", TTL)
		if err == nil {
			won <- l
		}
		close(won)
	}()
	h.Cut()
	h.Outlast(s)
	requireClosed(t, first.Done())
	h.Heal()
	second := <-won
	require.NotNil(t, second)
	require.Greater(t, second.Token(), first.Token())
}

func testClose(t *testing.T, h Harness) {
	ctx, s, other := within(t), h.open(t), h.open(t)
	l, err := s.Lock(ctx, "ks", "first", TTL)
	require.NoError(t, err)
	_, err = s.Register(ctx, "r/a", []byte("1"), TTL)
	require.NoError(t, err)
	ch, err := s.Watch(ctx, "r/")
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "closing twice")
	requireClosed(t, l.Done())
	for range ch { //nolint:revive // it is closed
	}
	_, _, err = s.Read(ctx, "r/a")
	require.ErrorIs(t, err, topo.ErrUnreachable)
	_, err = s.Register(ctx, "r/b", nil, TTL)
	require.ErrorIs(t, err, topo.ErrUnreachable)

	_, _, err = other.Read(ctx, "r/a")
	require.ErrorIs(t, err, topo.ErrNotFound, "given back at once")
	l2, err := other.Lock(ctx, "ks", "second", TTL)
	require.NoError(t, err)
	require.NoError(t, l2.Unlock(ctx))
}

func requireClosed(t *testing.T, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		t.Fatal("Done stayed open")
	}
}

func requireOpen(t *testing.T, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
		t.Fatal("Done is closed")
	default:
	}
}
