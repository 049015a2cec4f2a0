package vstream

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestIdleStreams: what a stream costs that has nothing to do, and that streams of one Local share a connection.
func TestIdleStreams(t *testing.T) {
	s := sharedServer(t)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))")
	local := s.local()
	open := func() *copier {
		c := newCopier(t, 10)
		c.open(local, Start{FromNow: true, Rules: allTables()})
		require.NoError(t, c.recv())
		return c
	}
	first := open()
	s.exec("INSERT INTO t VALUES (1, 'a')")
	first.follow(s.executed())

	const streams = 500
	goroutines, heap := runtime.NumGoroutine(), heapInUse()
	var all []*copier
	for range streams {
		all = append(all, open())
	}
	s.exec("INSERT INTO t VALUES (2, 'b')")
	for _, c := range all {
		c.follow(s.executed())
		require.Len(t, c.byName["t"].rows, 1)
	}
	more, bytes := float64(runtime.NumGoroutine()-goroutines)/streams, (heapInUse()-heap)/streams
	t.Logf("%d streams that have decoded rows: %.2f goroutines and %d bytes each, the test's own targets included", streams, more, bytes)
	require.LessOrEqual(t, more, 3.0)
	require.Less(t, bytes, 64<<10)
	res, err := s.conn.Query(t.Context(), "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'")
	require.NoError(t, err)
	require.Equal(t, "1", string(res.Rows[0][0]))
	for _, c := range all {
		require.NoError(t, c.stream.Close())
	}
}

func heapInUse() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
