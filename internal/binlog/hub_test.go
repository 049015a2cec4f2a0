package binlog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"braid/internal/base/errs"
	"braid/internal/gtid"
	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
)

func newHub(t testing.TB, srv *mysqld.Server, ring int) *Hub {
	h := NewHub(HubConfig{DB: srv.Repl(), RingBytes: ring, Grace: time.Minute})
	t.Cleanup(h.Stop)
	return h
}

func all(string, string) bool { return true }

// follower reads a hub and checks B2 on the way: no transaction comes twice, none out of its parts, and positions only grow.
type follower struct {
	t        testing.TB
	reader   Reader
	position gtid.Set
	open     string // GTID of the transaction of which a part has come
	bodies   int    // row events
	bytes    int
	length   uint64 // in the log, of the last transaction
	commits  int
}

func openFollower(t testing.TB, h *Hub, from gtid.Set, follow func(db, table string) bool) *follower {
	t.Helper()
	r, err := h.Open(t.Context(), from, follow)
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	return &follower{t: t, reader: r, position: from}
}

func (f *follower) take(ev Event) {
	switch ev := ev.(type) {
	case *Transaction:
		require.False(f.t, f.position.Has(ev.id), "%s comes twice", ev.GTID)
		require.Equal(f.t, f.open == "", ev.First, "%s: begin of the transaction", ev.GTID)
		if f.open != "" {
			require.Equal(f.t, f.open, ev.GTID)
		}
		f.open = ev.GTID
		f.bodies += len(ev.Rows)
		for _, r := range ev.Rows {
			f.bytes += len(r.Body)
		}
		if f.length = ev.Length; ev.Last {
			f.open = ""
			f.commits++
			ev.Reach(&f.position)
		}
	case *DDL:
		require.Empty(f.t, f.open)
		ev.Reach(&f.position)
	}
}

// until reads to a position.
func (f *follower) until(position gtid.Set) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	for !f.position.Contains(position) {
		ev, err := Next(ctx, f.reader)
		require.NoError(f.t, err, "at %s, want %s", f.position, position)
		f.take(ev)
	}
}

func dumps(t testing.TB, conn *sqlconn.Conn) []string {
	res, err := conn.Query(t.Context(), "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'")
	require.NoError(t, err)
	ids := make([]string, len(res.Rows))
	for i, row := range res.Rows {
		ids[i] = string(row[0])
	}
	return ids
}

func killDumps(t testing.TB, conn *sqlconn.Conn) {
	for _, id := range dumps(t, conn) {
		conn.Exec(t.Context(), "KILL "+id) // one that is gone already is as good
	}
}

// fill writes transactions of a few rows each.
func fill(t testing.TB, conn *sqlconn.Conn, transactions, bytes int) {
	t.Helper()
	sql := fmt.Sprintf("INSERT INTO t (v) VALUES (REPEAT('x', %d)), ('y')", bytes)
	for from := 0; from < transactions; from += 200 {
		require.NoError(t, conn.ExecMulti(t.Context(), []byte(strings.Repeat(sql+";", min(200, transactions-from)-1)+sql)))
	}
}

const hubTable = "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v LONGTEXT)"

// TestHubReadsOnce: many readers, one connection, the same bytes for all; each has the tables that it follows.
func TestHubReadsOnce(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", hubTable, "CREATE TABLE u (id INT PRIMARY KEY)")
	from := executed(t, conn)
	h := newHub(t, srv, 0)
	var followers []*follower
	for range 10 {
		followers = append(followers, openFollower(t, h, from, all))
	}
	few := openFollower(t, h, from, func(_, table string) bool { return table == "u" })
	fill(t, conn, 400, 100)
	exec(t, conn, "BEGIN", "INSERT INTO u VALUES (1)", "INSERT INTO t (v) VALUES ('z')", "COMMIT", "INSERT INTO u VALUES (2)")
	require.Len(t, dumps(t, conn), 1)
	until := executed(t, conn)
	for _, f := range followers {
		f.until(until)
		require.Equal(t, 403, f.bodies)
		require.Equal(t, 402, f.commits)
	}
	few.until(until)
	require.Equal(t, 2, few.bodies)
	require.Equal(t, 402, few.commits)
	require.Len(t, dumps(t, conn), 1)
	late := openFollower(t, h, until, all) // at what is executed now
	require.Nil(t, late.reader.(*hubReader).mu.private)
}

// TestHubPast: a reader that starts in the past reads alone until it meets the ring, then joins it; so does one that has fallen off, and
// those that keep up do not notice.
func TestHubPast(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", hubTable)
	past := executed(t, conn)
	fill(t, conn, 500, 1000)
	now := executed(t, conn)
	h := newHub(t, srv, 256<<10)
	fast := openFollower(t, h, now, all)
	slow := openFollower(t, h, now, all)
	old := openFollower(t, h, past, all)
	require.NotNil(t, old.reader.(*hubReader).mu.private)
	fill(t, conn, 300, 10)
	old.until(executed(t, conn))
	require.Equal(t, 800, old.commits)
	rest := 0
	for ; old.reader.(*hubReader).mu.private != nil; rest++ { // it joins when it has nothing to read, or sooner
		fill(t, conn, 1, 10)
		fast.until(executed(t, conn))
		old.until(executed(t, conn))
		require.Less(t, rest, 1000)
	}

	for range 20 {
		fill(t, conn, 100, 1000)
		fast.until(executed(t, conn))
	}
	require.Equal(t, 300+rest+2000, fast.commits)
	slow.until(executed(t, conn)) // far behind the ring
	require.Equal(t, fast.commits, slow.commits)
	old.until(executed(t, conn))
	require.Equal(t, 500+fast.commits, old.commits)
	for i := 0; len(dumps(t, conn)) > 1; i++ { // all have come back
		fill(t, conn, 1, 10)
		fast.until(executed(t, conn))
		slow.until(executed(t, conn))
		old.until(executed(t, conn))
		require.Less(t, i, 1000)
	}
}

// TestHubAhead: a hub that is far in the past goes on where its newest reader is.
func TestHubAhead(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", hubTable)
	past := executed(t, conn)
	fill(t, conn, 1000, 1000)
	h := newHub(t, srv, 64<<10)
	stopped := openFollower(t, h, past, all) // the hub waits for it
	live := openFollower(t, h, executed(t, conn), all)
	for i := 0; live.reader.(*hubReader).mu.private != nil; i++ {
		fill(t, conn, 1, 10)
		live.until(executed(t, conn))
	}
	stopped.until(executed(t, conn))
	require.Equal(t, 1000+live.commits, stopped.commits)
}

// TestHubCuts: connections are killed at any time while two readers follow, one of which falls off the ring; both see every transaction
// once (B2), also those in parts.
func TestHubCuts(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn, killer := dial(t, srv, ""), dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", hubTable)
	from := executed(t, conn)
	h := newHub(t, srv, 1<<20)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	a, b := openFollower(t, h, from, all), openFollower(t, h, from, all)
	rows := 0
	for round := range 12 {
		n := 50 + random.IntN(200)
		fill(t, conn, n, random.IntN(4000))
		exec(t, conn, "BEGIN")
		for range 6 { // a transaction of several fragments
			exec(t, conn, "INSERT INTO t (v) VALUES (REPEAT('b', 400000)), (REPEAT('c', 400000))")
		}
		exec(t, conn, "COMMIT")
		rows += n
		until := executed(t, conn)
		for steps := 0; !a.position.Contains(until); steps++ {
			if steps%(20+random.IntN(100)) == 0 && round%2 == 0 {
				killDumps(t, killer)
			}
			ev, err := Next(t.Context(), a.reader)
			require.NoError(t, err)
			a.take(ev)
		}
		if round%5 == 4 {
			b.until(until)
			require.Equal(t, a.bodies, b.bodies)
		}
	}
	b.until(executed(t, conn))
	require.Equal(t, a.commits, b.commits)
	require.Equal(t, a.bytes, b.bytes)
	require.Equal(t, rows+12, a.commits)
}

// TestHubRestart: readers go on by themselves when the server comes back.
func TestHubRestart(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", hubTable)
	f := openFollower(t, newHub(t, srv, 0), executed(t, conn), all)
	fill(t, conn, 10, 10)
	f.until(executed(t, conn))
	require.NoError(t, srv.Stop(t.Context()))
	require.NoError(t, srv.Start(t.Context()))
	conn = dial(t, srv, "d")
	fill(t, conn, 10, 10)
	f.until(executed(t, conn))
	require.Equal(t, 20, f.commits)
}

// TestHubLost: what the source has lost ends the readers, with the words of B4.
func TestHubLost(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", hubTable)
	h := newHub(t, srv, 0)
	f := openFollower(t, h, executed(t, conn), all)
	fill(t, conn, 10, 10)
	f.until(executed(t, conn))
	ended := func() error {
		for {
			if _, err := Next(t.Context(), f.reader); err != nil {
				return err
			}
		}
	}
	exec(t, conn, "RESET BINARY LOGS AND GTIDS")
	killDumps(t, conn)
	err := ended()
	require.ErrorIs(t, err, errs.StreamFailed)
	require.ErrorContains(t, err, "that the source does not have")

	_, err = h.Open(t.Context(), gtid.MustParse("ffffffff-0000-0000-0000-000000000000:1-5"), all)
	require.ErrorIs(t, err, errs.StreamFailed)

	f = openFollower(t, h, executed(t, conn), all)
	r := f.reader.(*hubReader)
	r.mu.run.feed.mu.Lock() // hold the hub's next connection back until the log is gone
	r.mu.run.feed.mu.wire.sock.Close()
	exec(t, conn, "FLUSH BINARY LOGS")
	fill(t, conn, 10, 10)
	exec(t, conn, "FLUSH BINARY LOGS")
	end, err := End(t.Context(), conn)
	require.NoError(t, err)
	exec(t, conn, "PURGE BINARY LOGS TO "+sqlconn.Quote(end.File))
	r.mu.run.feed.mu.Unlock()
	err = ended()
	require.ErrorIs(t, err, errs.BinlogPurged)
	require.ErrorContains(t, err, "were purged")
}

// TestSourceGivesGTIDsAgain: a source that has lost what was read, and has as many others of the same GTIDs when it is asked again, is refused.
func TestSourceGivesGTIDsAgain(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", hubTable)
	for name, flush := range map[string]bool{"file 1 has 1": false, "file 2 is not there": true} {
		exec(t, conn, "RESET BINARY LOGS AND GTIDS")
		h := newHub(t, srv, 0)
		f := openFollower(t, h, executed(t, conn), all)
		fill(t, conn, 5, 10_000)
		if flush {
			exec(t, conn, "FLUSH BINARY LOGS")
		}
		fill(t, conn, 5, 10_000)
		f.until(executed(t, conn))
		feed := f.reader.(*hubReader).mu.run.feed
		feed.mu.Lock() // hold the next connection back
		feed.mu.wire.sock.Close()
		exec(t, conn, "RESET BINARY LOGS AND GTIDS")
		fill(t, conn, 20, 10)
		feed.mu.Unlock()
		err := error(nil)
		for err == nil {
			var ev Event
			if ev, err = Next(t.Context(), f.reader); err == nil {
				f.take(ev)
			}
		}
		require.ErrorIs(t, err, errs.StreamFailed)
		require.ErrorContains(t, err, "the source has lost a part of its log that was read", name)
		exec(t, conn, "FLUSH BINARY LOGS")
		h.Stop()
	}
}

// TestHubBarrier: a transaction that the hub cannot decide about ends only those readers that cannot pass it.
func TestHubBarrier(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", hubTable)
	before := executed(t, conn)
	exec(t, conn, "XA START 'x'", "INSERT INTO t (v) VALUES ('prepared')", "XA END 'x'", "XA PREPARE 'x'")

	h := newHub(t, srv, 0)
	late := openFollower(t, h, executed(t, conn), all) // cannot know what was prepared
	early := openFollower(t, h, before, all)
	fill(t, conn, 5, 10)
	exec(t, conn, "XA COMMIT 'x'")
	fill(t, conn, 5, 10)
	ended := func(f *follower) error {
		for {
			ev, err := Next(t.Context(), f.reader)
			if err != nil {
				return err
			}
			f.take(ev)
		}
	}
	require.ErrorContains(t, ended(late), "prepared before the stream's position")
	require.Equal(t, 5, late.commits, "what came before was passed on")
	early.until(executed(t, conn))
	require.Equal(t, 11, early.commits)
	for early.reader.(*hubReader).mu.private != nil { // behind the barrier both have the same position
		fill(t, conn, 1, 10)
		early.until(executed(t, conn))
	}

	exec(t, conn, "SET binlog_format='STATEMENT'", "INSERT INTO t (v) VALUES ('as a statement')", "SET binlog_format='ROW'")
	fill(t, conn, 5, 10)
	commits := early.commits
	var refusal *Refusal
	require.ErrorAs(t, ended(early), &refusal)
	require.Contains(t, refusal.Reason, "as a statement")
	require.Equal(t, commits, early.commits)
	after := openFollower(t, h, executed(t, conn), all)
	fill(t, conn, 5, 10)
	after.until(executed(t, conn))
}

// TestHubIdle: 500 idle readers on one hub cost no goroutines and little memory, and their end leaves nothing.
func TestHubIdle(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", hubTable)
	ignore := goleak.IgnoreCurrent()
	h := NewHub(HubConfig{DB: srv.Repl()})
	from := executed(t, conn)
	first := openFollower(t, h, from, all)
	fill(t, conn, 100, 10)
	first.until(executed(t, conn))

	const readers = 500
	goroutines, heap := runtime.NumGoroutine(), heapInUse()
	var followers []*follower
	for range readers {
		followers = append(followers, openFollower(t, h, executed(t, conn), all))
	}
	fill(t, conn, 10, 10)
	for _, f := range followers {
		f.until(executed(t, conn))
	}
	more, bytes := runtime.NumGoroutine()-goroutines, (heapInUse()-heap)/readers
	t.Logf("%d readers: %d goroutines, %d bytes each", readers, more, bytes)
	require.LessOrEqual(t, more, 3)
	require.Less(t, bytes, 16<<10)
	require.Len(t, dumps(t, conn), 1)
	for _, f := range followers {
		require.NoError(t, f.reader.Close())
	}
	first.reader.Close()
	h.Stop()
	goleak.VerifyNone(t, ignore)
}

func heapInUse() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// hugeSize is BRAID_HUGE_MB, or otherwise.
func hugeSize(t *testing.T, otherwise int) int {
	s := os.Getenv("BRAID_HUGE_MB")
	if s == "" {
		return otherwise
	}
	size, err := strconv.Atoi(s)
	require.NoError(t, err)
	return size
}

// TestHugeTransaction: a transaction that is much larger than the ring passes in fragments, and memory does not grow with it.
// BRAID_HUGE_MB=2048 is the full size; the bounds are the same.
func TestHugeTransaction(t *testing.T) {
	size := hugeSize(t, 256)
	srv := mysqldtest.New(t, mysqldtest.Options{Options: []string{"max_binlog_cache_size=8G", "binlog_cache_size=1M", "innodb_redo_log_capacity=512M"}})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", hubTable)
	h := newHub(t, srv, 16<<20)
	from := executed(t, conn)
	f := openFollower(t, h, from, all)
	slow := openFollower(t, h, from, all)
	fill(t, conn, 1, 10)
	exec(t, conn, "BEGIN")
	for range size {
		exec(t, conn, "INSERT INTO t (v) VALUES (REPEAT('h', 1048576))")
	}
	exec(t, conn, "COMMIT")
	until := executed(t, conn)

	most, base := readHuge(t, f, until)
	require.Greater(t, f.bytes, size<<20)
	slow.until(until) // fell off in the middle of it, or before
	require.Equal(t, f.bytes, slow.bytes)
	t.Logf("a transaction of %d MiB: heap %d MiB at most, %d MiB before", size, most>>20, base>>20)
	require.Less(t, most, 128<<20)
}

// TestHubStop ends readers that wait.
func TestHubStop(t *testing.T) {
	srv, db := mysqldtest.Shared(t)
	conn := dial(t, srv, db)
	h := NewHub(HubConfig{DB: srv.Repl()})
	f := openFollower(t, h, executed(t, conn), all)
	done := make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			_, err = Next(context.Background(), f.reader)
		}
		done <- err
	}()
	h.Stop()
	h.Stop()
	require.True(t, errors.Is(<-done, errClosed))
	_, err := h.Open(t.Context(), executed(t, conn), all)
	require.ErrorIs(t, err, errClosed)
}
