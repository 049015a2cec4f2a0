package etcd

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"braid/internal/base/errs"
	"braid/internal/topo"
)

// A watch whose place etcd has compacted away sends the whole state again, deletions first.
func TestWatchSurvivesCompaction(t *testing.T) {
	s := open(t, "compaction/")
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, key := range []string{"w/gone", "w/kept"} {
		_, err := s.Write(ctx, key, []byte("1"), 0)
		require.NoError(t, err)
	}
	state, revision, err := s.list(ctx, "w/")
	require.NoError(t, err)
	w := &watch{s: s, prefix: "w/", out: make(chan topo.Change), known: map[string]bool{}}

	require.NoError(t, s.Delete(ctx, "w/gone", -1))
	last, err := s.Write(ctx, "w/new", []byte("1"), 0)
	require.NoError(t, err)
	_, err = s.cli.Compact(ctx, last)
	require.NoError(t, err)

	require.NoError(t, s.spawn(func() { w.run(ctx, state, revision) })) // begins to follow before what is compacted
	var seen []string
	for range 7 {
		c := <-w.out
		mark := ""
		if c.Value == nil && c.Key != "" {
			mark = "-"
		}
		seen = append(seen, mark+c.Key)
	}
	require.Equal(t, []string{"w/gone", "w/kept", "", "-w/gone", "w/kept", "w/new", ""}, seen)
}

func TestOpenSaysWhyNothingAnswers(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := lis.Addr().String()
	require.NoError(t, lis.Close())
	_, err = Open(t.Context(), Config{Endpoints: []string{addr}, DialTimeout: 300 * time.Millisecond})
	require.ErrorIs(t, err, topo.ErrUnreachable)
	require.ErrorContains(t, err, addr)
	require.ErrorContains(t, err, "connection refused")
	require.Equal(t, errs.RetrySafe, errs.RetryOf(err))
}

func TestOpenRefusesABadRoot(t *testing.T) {
	for _, root := range []string{"/braid/", "braid"} {
		_, err := Open(t.Context(), Config{Endpoints: server.s.Endpoints(), Root: root})
		require.ErrorIs(t, err, topo.ErrBadInput)
	}
}

func TestRootsAreApart(t *testing.T) {
	a, b := open(t, "one/"), open(t, "two/")
	defer a.Close()
	defer b.Close()
	_, err := a.Write(t.Context(), "k", []byte("1"), 0)
	require.NoError(t, err)
	_, _, err = b.Read(t.Context(), "k")
	require.ErrorIs(t, err, topo.ErrNotFound)
	l, err := a.Lock(t.Context(), "k", "me", time.Second)
	require.NoError(t, err)
	defer l.Unlock(t.Context())
	l2, err := b.Lock(t.Context(), "k", "me", time.Second)
	require.NoError(t, err)
	require.NoError(t, l2.Unlock(t.Context()))
}

// A write whose answer did not come may have been done, and says so.
func TestLostAnswerIsUnknown(t *testing.T) {
	s := open(t, "unknown/")
	defer s.Close()
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, err := s.Write(ctx, "k", nil, 0)
	require.ErrorIs(t, err, topo.ErrUnreachable)
	require.ErrorIs(t, err, topo.ErrOutcomeUnknown)
	require.Equal(t, errs.RetryUnknown, errs.RetryOf(err))
	_, _, err = s.Read(ctx, "k")
	require.ErrorIs(t, err, topo.ErrUnreachable)
	require.NotErrorIs(t, err, topo.ErrOutcomeUnknown)
}

func TestTransactionTooLarge(t *testing.T) {
	s := open(t, "large/")
	defer s.Close()
	_, err := s.Write(t.Context(), "k", make([]byte, 4<<20), 0)
	require.ErrorIs(t, err, topo.ErrBadInput)
	var many []topo.KeyWrite
	for i := range 200 {
		many = append(many, topo.KeyWrite{Key: fmt.Sprint("k", i), Value: []byte("x")})
	}
	_, err = s.WriteAll(t.Context(), many)
	require.ErrorIs(t, err, topo.ErrBadInput)
}

func TestCloseEndsAllGoroutines(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s := open(t, "leak/")
	_, err := s.Watch(t.Context(), "")
	require.NoError(t, err)
	_, err = s.Register(t.Context(), "r", nil, time.Second)
	require.NoError(t, err)
	_, err = s.Lock(t.Context(), "l", "", time.Second)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	goleak.VerifyNone(t, before)
}

// One request for an operation: a cutover does about eight of them with writes held.
func BenchmarkOperation(b *testing.B) {
	s, err := Open(b.Context(), Config{Endpoints: server.s.Endpoints(), Root: "bench/"})
	require.NoError(b, err)
	defer s.Close()
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			_, _, _ = s.Read(b.Context(), "k")
		}
	})
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			_, _ = s.Write(b.Context(), "k", []byte("value"), -1)
		}
	})
	b.Run("lock and unlock", func(b *testing.B) {
		for b.Loop() {
			l, err := s.Lock(b.Context(), "l", "", 5*time.Second)
			require.NoError(b, err)
			require.NoError(b, l.Unlock(b.Context()))
		}
	})
}
