package topotest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/topo"
)

// TTL is the time to live of leases in the suite: the shortest that etcd grants.
const TTL = 2 * time.Second

// patience bounds every wait of the suite; it is only ever used up by a failure.
const patience = 30 * time.Second

// Harness is a store under test, and what can happen to it.
type Harness struct {
	// Open returns another client of the same data; it is closed by the suite.
	Open func(t *testing.T) topo.Store
	// Cut makes the store unreachable for all clients, Heal brings it back with its data.
	Cut, Heal func()
	// Outlast returns when leases of a client that is cut off have certainly ended for that client.
	Outlast func(s topo.Store)
	// Kill ends a client as the death of its process would: nothing is given back.
	Kill func(s topo.Store)
}

// Run runs the suite. Each case gets a harness of its own from start; an expensive one may share a server as long as the
// keys of each start are apart.
func Run(t *testing.T, start func(t *testing.T) Harness) {
	cases := []struct {
		name string
		run  func(t *testing.T, h Harness)
	}{
		{"versions", testVersions},
		{"transactions", testTransactions},
		{"delete", testDelete},
		{"list", testList},
		{"keys that are none", testBadKeys},
		{"watch", testWatch},
		{"watch is in order", testWatchOrder},
		{"compare and swap is atomic", testSwapAtomic},
		{"registration", testRegistration},
		{"registration ends with its process", testRegistrationDies},
		{"lock", testLock},
		{"lock of a dead process", testLockDies},
		{"tokens grow", testTokens},
		{"election", testElection},
		{"cut: operations fail in time", testCutOperations},
		{"cut: watch goes on", testCutWatch},
		{"cut: lock reports its loss, registration returns", testCutLeases},
		{"cut: election waits it out", testCutElection},
		{"cut: cache serves on, then catches up", testCutCache},
		{"close", testClose},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, start(t)) })
	}
}

func (h Harness) open(t *testing.T) topo.Store {
	t.Helper()
	s := h.Open(t)
	t.Cleanup(func() { s.Close() })
	return s
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func testVersions(t *testing.T, h Harness) {
	ctx, s := within(t), h.open(t)
	_, _, err := s.Read(ctx, "a")
	require.ErrorIs(t, err, topo.ErrNotFound)
	_, err = s.Write(ctx, "a", []byte("x"), 7)
	require.ErrorIs(t, err, topo.ErrNotFound, "a version of what is not there")

	v1, err := s.Write(ctx, "a", []byte("one"), 0)
	require.NoError(t, err)
	require.Positive(t, v1)
	_, err = s.Write(ctx, "a", []byte("x"), 0)
	require.ErrorIs(t, err, topo.ErrExists)

	v2, err := s.Write(ctx, "a", []byte("two"), v1)
	require.NoError(t, err)
	require.Greater(t, v2, v1)
	_, err = s.Write(ctx, "a", []byte("x"), v1)
	require.ErrorIs(t, err, topo.ErrConflict)

	v3, err := s.Write(ctx, "a", nil, -1)
	require.NoError(t, err)
	value, version, err := s.Read(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, v3, version)
	require.Equal(t, []byte{}, value, "empty is not absent")
}

func testTransactions(t *testing.T, h Harness) {
	ctx, s := within(t), h.open(t)
	va, err := s.Write(ctx, "a", []byte("1"), 0)
	require.NoError(t, err)

	_, err = s.WriteAll(ctx, []topo.KeyWrite{{Key: "b", Value: []byte("1")}, {Key: "a", Value: []byte("2"), Version: va + 1000}})
	require.ErrorIs(t, err, topo.ErrConflict)
	var ke *topo.KeyError
	require.ErrorAs(t, err, &ke)
	require.Equal(t, "a", ke.Key)
	_, _, err = s.Read(ctx, "b")
	require.ErrorIs(t, err, topo.ErrNotFound, "all or none")

	v, err := s.WriteAll(ctx, []topo.KeyWrite{
		{Key: "a", Version: va}, // deletes
		{Key: "b", Value: []byte("1")},
		{Key: "c", Value: []byte("1"), Version: -1},
		{Key: "d", Version: 0, CheckOnly: true},
		{Key: "never", Version: -1}, // deletes what is not there
	})
	require.NoError(t, err)
	for _, key := range []string{"b", "c"} {
		_, version, err := s.Read(ctx, key)
		require.NoError(t, err)
		require.Equal(t, v, version)
	}
	_, _, err = s.Read(ctx, "a")
	require.ErrorIs(t, err, topo.ErrNotFound)

	_, err = s.WriteAll(ctx, []topo.KeyWrite{{Key: "b", Version: v - 1, CheckOnly: true}, {Key: "c", Value: []byte("2"), Version: v}})
	require.ErrorIs(t, err, topo.ErrConflict, "a check that fails stops the writes")
	_, err = s.WriteAll(ctx, []topo.KeyWrite{{Key: "b", Version: v, CheckOnly: true}, {Key: "c", Value: []byte("2"), Version: v}})
	require.NoError(t, err)
	_, version, err := s.Read(ctx, "b")
	require.NoError(t, err)
	require.Equal(t, v, version, "a check writes nothing")

	_, err = s.WriteAll(ctx, []topo.KeyWrite{{Key: "e", Value: []byte("1")}, {Key: "e", Value: []byte("2")}})
	require.ErrorIs(t, err, topo.ErrBadInput)
	_, err = s.WriteAll(ctx, nil)
	require.ErrorIs(t, err, topo.ErrBadInput)
}

func testDelete(t *testing.T, h Harness) {
	ctx, s := within(t), h.open(t)
	require.ErrorIs(t, s.Delete(ctx, "a", -1), topo.ErrNotFound)
	require.ErrorIs(t, s.Delete(ctx, "a", 3), topo.ErrNotFound)
	v, err := s.Write(ctx, "a", []byte("1"), 0)
	require.NoError(t, err)
	require.ErrorIs(t, s.Delete(ctx, "a", v+1), topo.ErrConflict)
	require.NoError(t, s.Delete(ctx, "a", v))
	_, err = s.Write(ctx, "a", []byte("2"), -1)
	require.NoError(t, err)
	require.NoError(t, s.Delete(ctx, "a", -1))
	v2, err := s.Write(ctx, "a", []byte("3"), 0)
	require.NoError(t, err)
	require.Greater(t, v2, v, "versions grow across a deletion")
}

func testList(t *testing.T, h Harness) {
	ctx, s := within(t), h.open(t)
	for _, key := range []string{"p/b", "p/a", "pq", "p/a/x", "o"} {
		_, err := s.Write(ctx, key, []byte(key), 0)
		require.NoError(t, err)
	}
	l, err := s.Lock(ctx, "p/lock", "me", TTL)
	require.NoError(t, err)
	defer l.Unlock(ctx)
	require.Equal(t, []string{"p/a", "p/a/x", "p/b"}, keys(t, s, "p/"))
	require.Equal(t, []string{"o", "p/a", "p/a/x", "p/b", "pq"}, keys(t, s, ""), "locks are not among the data")
	require.Empty(t, keys(t, s, "nothing/"))
}

func keys(t *testing.T, s topo.Store, prefix string) []string {
	t.Helper()
	all, err := s.List(within(t), prefix)
	require.NoError(t, err)
	var names []string
	for _, c := range all {
		require.Positive(t, c.Version)
		require.Equal(t, valueOf(t, s, c.Key), string(c.Value))
		names = append(names, c.Key)
	}
	return names
}

func valueOf(t *testing.T, s topo.Store, key string) string {
	t.Helper()
	value, _, err := s.Read(within(t), key)
	require.NoError(t, err)
	return string(value)
}

func testBadKeys(t *testing.T, h Harness) {
	ctx, s := within(t), h.open(t)
	for _, key := range []string{"", "/a", "a/", "a//b"} {
		_, err := s.Write(ctx, key, []byte("x"), -1)
		require.ErrorIs(t, err, topo.ErrBadInput, "key %q", key)
		require.ErrorIs(t, s.Delete(ctx, key, -1), topo.ErrBadInput, "key %q", key)
		_, err = s.Register(ctx, key, nil, TTL)
		require.ErrorIs(t, err, topo.ErrBadInput, "key %q", key)
	}
}

func testSwapAtomic(t *testing.T, h Harness) {
	const clients, rounds = 4, 15
	ctx := within(t)
	_, err := h.open(t).Write(ctx, "n", []byte{0}, 0)
	require.NoError(t, err)
	done := make(chan error, clients)
	for range clients {
		s := h.open(t)
		go func() { done <- increment(ctx, s, rounds) }()
	}
	for range clients {
		require.NoError(t, <-done)
	}
	require.Equal(t, string([]byte{clients * rounds}), valueOf(t, h.open(t), "n"), "no increment is lost")
}

func increment(ctx context.Context, s topo.Store, times int) error {
	for times > 0 {
		value, version, err := s.Read(ctx, "n")
		if err != nil {
			return err
		}
		_, err = s.Write(ctx, "n", []byte{value[0] + 1}, version)
		if err == nil {
			times--
		} else if !errors.Is(err, topo.ErrConflict) {
			return err
		}
	}
	return nil
}
