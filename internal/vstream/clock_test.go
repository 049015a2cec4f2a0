package vstream

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Clocks that are apart: times of the source are told by ours, in whichever direction they differ, and nothing was committed after it was read.
func TestClocksApart(t *testing.T) {
	s := sharedServer(t)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY)")
	for i, ours := range []time.Duration{time.Hour, -time.Hour, 0} {
		local := s.local()
		local.now = func() time.Time { return time.Now().Add(ours) }
		c := newCopier(t, 10)
		c.open(local, Start{FromNow: true, Rules: allTables()})
		began := local.now()
		s.exec("INSERT INTO t VALUES (" + []string{"1", "2", "3"}[i] + ")")
		var tx *Transaction
		for tx == nil {
			items, err := c.stream.Recv()
			require.NoError(t, err)
			for _, item := range items {
				if it, ok := item.(*Transaction); ok {
					tx = it
				}
			}
		}
		require.WithinDuration(t, began, time.UnixMicro(tx.CommitUS), 5*time.Second, ours)
		require.NoError(t, c.stream.Close())
	}
}

func TestNothingIsCommittedAfterItWasRead(t *testing.T) {
	now := time.UnixMicro(1_000_000)
	c := sourceClock{now: func() time.Time { return now }, ahead: 10 * time.Microsecond}
	require.EqualValues(t, 0, c.ours(t.Context(), 0), "unknown")
	require.EqualValues(t, 500_000, c.ours(t.Context(), 500_010))
	require.EqualValues(t, 1_000_000, c.ours(t.Context(), 1_900_000))
	now = now.Add(time.Second)
	require.EqualValues(t, 2_000_000, c.ours(t.Context(), 2_900_000))
	require.EqualValues(t, 1_950_000, c.ours(t.Context(), 1_950_010))
}

// The source's clock is set while the stream runs: back, by so much that the log shows it; forth; and while the source cannot be asked.
func TestClockOfTheSourceIsSet(t *testing.T) {
	now, off, asked := time.UnixMicro(1e15), time.Duration(0), 0
	var away error
	c := sourceClock{now: func() time.Time { return now }}
	c.ask = func(context.Context, time.Duration) (time.Duration, error) {
		asked++
		return off, away
	}
	c.idle = true
	commit := func() (late time.Duration) {
		us := now.Add(off).UnixMicro()
		now = now.Add(time.Millisecond) // on its way
		return now.Sub(time.UnixMicro(c.ours(t.Context(), us)))
	}
	require.Equal(t, time.Millisecond, commit())
	for i, set := range []time.Duration{-time.Hour, time.Hour, 5 * time.Second, 0, -3 * time.Second} {
		now, off = now.Add(askAgain), set
		require.Equal(t, time.Millisecond, commit(), set)
		require.Equal(t, time.Millisecond, commit(), set)
		require.Equal(t, i+1, asked)
	}
	now, off, away = now.Add(askAgain), -time.Hour, errors.New("away")
	commit()
	require.Equal(t, 6, asked)
	away = nil
	commit()
	require.Equal(t, 6, asked, "not as often as that")
	now = now.Add(askAgain)
	require.Equal(t, time.Millisecond, commit())
	require.Equal(t, 7, asked)
}
