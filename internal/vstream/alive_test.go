package vstream

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// busyStream has its first items only after a while, as one that looks through the log that is ahead of it.
type busyStream struct {
	Stream
	ctx   context.Context
	after time.Duration
}

func (s *busyStream) Open(ctx context.Context, _ Start) (Stream, error) {
	s.ctx = ctx
	return s, nil
}

func (s *busyStream) Recv() ([]Item, error) {
	timer := time.NewTimer(s.after)
	defer timer.Stop()
	select {
	case <-timer.C:
		return []Item{&Heartbeat{SourceUS: 7}}, nil
	case <-s.ctx.Done():
		return nil, context.Cause(s.ctx)
	}
}

func (s *busyStream) Close() error { return nil }

// TestBusyIsNotSilent: a stream over the network that has nothing to send for longer than its silence may last is still heard. One that is gone is not.
func TestBusyIsNotSilent(t *testing.T) {
	source := remoteOf(t, &busyStream{after: 3 * time.Second})
	source.(*remote).silence = 2 * time.Second
	st, err := source.Open(t.Context(), Start{Rules: allTables()})
	require.NoError(t, err)
	defer st.Close()
	for range 2 {
		items, err := st.Recv()
		require.NoError(t, err)
		require.Equal(t, []Item{&Heartbeat{SourceUS: 7}}, items)
	}
	source.(*remote).silence = aliveAfter / 2
	st, err = source.Open(t.Context(), Start{Rules: allTables()})
	require.NoError(t, err)
	defer st.Close()
	_, err = st.Recv()
	require.ErrorIs(t, err, errSilent)
}
