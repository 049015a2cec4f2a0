package replicate

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/apply"
	"braid/internal/sqlconn"
)

// turns writes the next number into a, then the next into b, and so on, until it is stopped: independent transactions, so that order relaxed commits
// those of one table without those of the other, as long as there are workers that do not wait for a lock of it.
func (w *world) turns(from int, slowly *atomic.Bool) (stop func() (next int)) {
	conn, err := sqlconn.Dial(w.t.Context(), w.source.Root())
	require.NoError(w.t, err)
	done := make(chan struct{})
	var wg sync.WaitGroup
	n := from
	wg.Go(func() {
		defer conn.Close()
		for ; ; n++ {
			select {
			case <-done:
				return
			default:
			}
			if slowly.Load() {
				select {
				case <-done:
				case <-time.After(20 * time.Millisecond):
				}
			}
			if _, err := conn.Exec(w.t.Context(), fmt.Sprintf("INSERT INTO %s.%s VALUES (%d)", w.db, "ab"[n%2:n%2+1], n)); err != nil {
				w.t.Error(err)
				return
			}
		}
	})
	return func() int {
		close(done)
		wg.Wait()
		return n
	}
}

// seen is what somebody reads on the target: how many numbers, and the largest. Of a prefix both are the same.
func (w *world) seen() (count, largest int) {
	w.t.Helper()
	res, err := w.target.conn.Query(w.t.Context(), fmt.Sprintf("SELECT COUNT(*), IFNULL(MAX(n), 0) FROM (SELECT n FROM %s.a UNION ALL SELECT n FROM %[1]s.b) x", w.db))
	require.NoError(w.t, err)
	count, err = strconv.Atoi(string(res.Rows[0][0]))
	require.NoError(w.t, err)
	largest, err = strconv.Atoi(string(res.Rows[0][1]))
	require.NoError(w.t, err)
	return count, largest
}

// prefixes looks until some transactions have passed, and never sees anything but a prefix.
func (w *world) prefixes() {
	w.t.Helper()
	first, _ := w.seen()
	require.Eventually(w.t, func() bool {
		count, largest := w.seen()
		require.Equal(w.t, largest, count)
		return count > first+200
	}, time.Minute, time.Millisecond)
}

// hole lets nobody insert into b on the target, and returns when a has gone ahead, and what gives b free.
func (w *world) hole() *sqlconn.Conn {
	w.t.Helper()
	lock := w.target.another("BEGIN", "SELECT * FROM "+w.db+".b WHERE n>(SELECT COUNT(*) FROM "+w.db+".b) FOR UPDATE")
	require.Eventually(w.t, func() bool {
		count, largest := w.seen()
		return largest > count+5
	}, time.Minute, time.Millisecond, "order relaxed does not wait for b")
	return lock
}

// The commit order changes on a complete prefix while transactions are under way: when the copy ends, and when the process is run again with another
// one.
func TestCommitOrderChangesOnACompletePrefix(t *testing.T) {
	w := newWorld(t)
	for _, s := range []*side{w.source, w.target} {
		s.exec("CREATE DATABASE IF NOT EXISTS "+w.db, "CREATE TABLE "+w.db+".a (n bigint PRIMARY KEY)", "CREATE TABLE "+w.db+".b (n bigint PRIMARY KEY)")
	}
	w.source.exec("INSERT INTO " + w.db + ".b VALUES (1)")
	lock := w.target.another("BEGIN", "SELECT * FROM "+w.db+".b FOR UPDATE")
	var slowly atomic.Bool // each transaction is a group of its own, so that none of a waits for one of b
	stop := w.turns(2, &slowly)
	order := func(o apply.Order) func(c *Config) { return func(c *Config) { c.CommitOrder, c.Workers = o, 32 } }
	r := w.start(order(apply.Preserve))
	require.Eventually(t, func() bool { count, _ := w.seen(); return count > 5 }, time.Minute, time.Millisecond, "a goes ahead of the copy of b")
	r.until("a copy is relaxed", func(s Status) bool { return s.State == "Copying" && s.Order == "relaxed" })
	_, err := lock.Exec(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	r.until("preserve", func(s Status) bool { return s.State == "Running" && s.Order == "preserve" })
	w.prefixes()
	require.NoError(t, r.stop())

	r = w.start(order(apply.Relaxed))
	r.until("relaxed", func(s Status) bool { return s.State == "Running" && s.Order == "relaxed" })
	slowly.Store(true)
	r.catchUp()
	lock = w.hole()
	r.cancel()
	require.Never(t, func() bool {
		select {
		case <-r.done:
			return true
		default:
			return false
		}
	}, 500*time.Millisecond, 20*time.Millisecond, "it ends when b has what a has")
	_, err = lock.Exec(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	require.NoError(t, r.wait())
	slowly.Store(false)
	count, largest := w.seen()
	require.Equal(t, largest, count, "a complete prefix")

	r = w.start(order(apply.Preserve))
	r.until("preserve", func(s Status) bool { return s.State == "Running" && s.Order == "preserve" })
	w.prefixes()
	stop()
	r.catchUp()
	w.equal(w.db+".a", w.db+".b")
	require.NoError(t, r.stop())
}
