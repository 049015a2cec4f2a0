package vstream

import (
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
	require.EqualValues(t, 0, c.ours(0), "unknown")
	require.EqualValues(t, 500_000, c.ours(500_010))
	require.EqualValues(t, 1_000_000, c.ours(9_000_000))
	now = now.Add(time.Second)
	require.EqualValues(t, 2_000_000, c.ours(9_000_000))
	require.EqualValues(t, 1_500_000, c.ours(1_500_010))
}
