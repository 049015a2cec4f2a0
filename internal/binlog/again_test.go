package binlog

import (
	"errors"
	"io"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
	"braid/internal/gtid"
	"braid/internal/mysqld/mysqldtest"
)

// prepareXA makes an XA transaction of so many rows of 64 KiB in t, and one in u.
func prepareXA(t *testing.T, exec func(...string), name string, rows int) {
	exec("XA START '"+name+"'", "INSERT INTO u (v) VALUES ('"+name+"')")
	for range rows {
		exec("INSERT INTO t (v) VALUES (REPEAT('" + name + "', 65536))")
	}
	exec("XA END '"+name+"'", "XA PREPARE '"+name+"'")
}

// TestPreparedIsReadAgain: an XA transaction that is too big to be held is read again at its XA COMMIT: on a hub, on a connection of its own, and of
// files; in another log file, beside others, and with the connections cut after each part.
func TestPreparedIsReadAgain(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	run := func(statements ...string) { exec(t, conn, statements...) }
	run("CREATE DATABASE d", "USE d", hubTable, "CREATE TABLE u (id INT AUTO_INCREMENT PRIMARY KEY, v LONGTEXT)", "FLUSH BINARY LOGS")
	first, err := End(t.Context(), conn)
	require.NoError(t, err)
	from := executed(t, conn)
	h := NewHub(HubConfig{DB: srv.Repl(), RingBytes: 1 << 20, held: 300 << 10})
	t.Cleanup(h.Stop)
	onlyU := func(_, table string) bool { return table == "u" }
	live, few := openFollower(t, h, from, all), openFollower(t, h, from, onlyU)

	prepareXA(t, run, "a", 100)
	prepareXA(t, run, "b", 2)
	run("INSERT INTO u (v) VALUES ('between')", "FLUSH BINARY LOGS")
	prepareXA(t, run, "c", 20)
	run("SET binlog_transaction_compression=ON")
	prepareXA(t, run, "e", 50)
	run("SET binlog_transaction_compression=OFF", "XA COMMIT 'a'", "XA ROLLBACK 'c'", "XA COMMIT 'b'", "INSERT INTO u (v) VALUES ('behind')", "XA COMMIT 'e'")
	until := executed(t, conn)
	second, err := End(t.Context(), conn)
	require.NoError(t, err)
	run("FLUSH BINARY LOGS")

	whole, err := Open(t.Context(), Config{DB: srv.Repl(), Position: from, Follow: all})
	require.NoError(t, err)
	defer whole.Close()
	want := &follower{t: t, reader: whole, position: from}
	want.until(until)
	require.Greater(t, want.bytes, 150<<16)

	few.until(until)
	live.until(until)
	require.Equal(t, []int{want.bodies, want.bytes, want.commits}, []int{live.bodies, live.bytes, live.commits})
	require.Equal(t, 5, few.bodies, "a, b, e, between and behind")
	late := openFollower(t, h, from, all) // in the past
	late.until(until)
	require.Equal(t, want.bytes, late.bytes)

	t.Run("cut", func(t *testing.T) {
		h := NewHub(HubConfig{DB: srv.Repl(), RingBytes: 1 << 20, held: 300 << 10})
		t.Cleanup(h.Stop)
		f, parts := openFollower(t, h, from, all), 0
		for !f.position.Contains(until) {
			ev, err := Next(t.Context(), f.reader)
			require.NoError(t, err)
			f.take(ev)
			if tx, ok := ev.(*Transaction); ok && !tx.Last {
				parts++
				killDumps(t, conn)
			}
		}
		require.Greater(t, parts, 6)
		require.Equal(t, []int{want.bodies, want.bytes, want.commits}, []int{f.bodies, f.bytes, f.commits})
	})
	t.Run("files", func(t *testing.T) {
		data := filepath.Join(srv.Dir(), "data")
		r, err := OpenFile([]string{filepath.Join(data, first.File), filepath.Join(data, second.File)}, Config{Follow: all, held: 300 << 10})
		require.NoError(t, err)
		f := &follower{t: t, reader: r, position: from}
		for {
			ev, err := r.Poll()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			f.take(ev)
		}
		require.NoError(t, r.Close())
		require.Equal(t, []int{want.bodies, want.bytes, want.commits}, []int{f.bodies, f.bytes, f.commits})
	})
	t.Run("purged", func(t *testing.T) { // while the transaction was prepared
		h := NewHub(HubConfig{DB: srv.Repl(), held: 300 << 10})
		t.Cleanup(h.Stop)
		f := openFollower(t, h, executed(t, conn), all)
		prepareXA(t, run, "g", 20)
		run("INSERT INTO u (v) VALUES ('marker')")
		for f.bodies == 0 { // the marker has come: the prepared part has passed
			ev, err := Next(t.Context(), f.reader)
			require.NoError(t, err)
			f.take(ev)
		}
		run("FLUSH BINARY LOGS")
		end, err := End(t.Context(), conn)
		require.NoError(t, err)
		run("PURGE BINARY LOGS TO '"+end.File+"'", "XA COMMIT 'g'")
		for err == nil {
			var ev Event
			if ev, err = Next(t.Context(), f.reader); err == nil {
				f.take(ev)
			}
		}
		require.ErrorIs(t, err, errs.BinlogPurged)
		require.ErrorContains(t, err, "prepared part")
	})
}

// TestHugePrepared: memory does not grow with an XA transaction. BRAID_HUGE_MB=2048 is the full size; the bounds are the same.
func TestHugePrepared(t *testing.T) {
	size := hugeSize(t, 160)
	srv := mysqldtest.New(t, mysqldtest.Options{Options: []string{"max_binlog_cache_size=8G", "binlog_cache_size=1M", "innodb_redo_log_capacity=512M"}})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", hubTable)
	h := newHub(t, srv, 16<<20)
	f := openFollower(t, h, executed(t, conn), all)
	exec(t, conn, "XA START 'x'")
	for range size {
		exec(t, conn, "INSERT INTO t (v) VALUES (REPEAT('h', 1048576))")
	}
	exec(t, conn, "XA END 'x'", "XA PREPARE 'x'")
	fill(t, conn, 1, 10)
	exec(t, conn, "XA COMMIT 'x'")
	until := executed(t, conn)

	most, base := readHuge(t, f, until)
	require.Greater(t, f.bytes, size<<20)
	t.Logf("an XA transaction of %d MiB: heap %d MiB at most, %d MiB before", size, most>>20, base>>20)
	require.Less(t, most, 192<<20)
}

// readHuge reads to a position, and returns the most memory that the heap had meanwhile, and that of before.
func readHuge(t *testing.T, f *follower, until gtid.Set) (most, base int) {
	defer debug.SetGCPercent(debug.SetGCPercent(50))
	base = heapInUse()
	var m runtime.MemStats
	for i := 0; !f.position.Contains(until); i++ {
		ev, err := Next(t.Context(), f.reader)
		require.NoError(t, err)
		f.take(ev)
		if i%16 == 0 {
			runtime.ReadMemStats(&m)
			most = max(most, int(m.HeapInuse))
		}
	}
	return most, base
}

// TestHugePayload: memory does not grow with what a compressed transaction has inside. Of one that can hardly be compressed the event itself is held, once,
// and only while it is read. BRAID_HUGE_MB=2048 is the full size; the bounds are the same.
func TestHugePayload(t *testing.T) {
	size := hugeSize(t, 256)
	srv := mysqldtest.New(t, mysqldtest.Options{Options: []string{"max_binlog_cache_size=8G", "binlog_cache_size=1M", "innodb_redo_log_capacity=512M"}})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", hubTable, "SET binlog_transaction_compression=ON")
	h := newHub(t, srv, 16<<20)
	f := openFollower(t, h, executed(t, conn), all)
	exec(t, conn, "BEGIN")
	for range size {
		exec(t, conn, "INSERT INTO t (v) VALUES (REPEAT('h', 1048576))")
	}
	exec(t, conn, "COMMIT")
	most, base := readHuge(t, f, executed(t, conn))
	require.Greater(t, f.bytes, size<<20)
	require.Less(t, f.length, uint64(size<<20/100), "it was compressed")
	t.Logf("a payload with %d MiB in %d KiB: heap %d MiB at most, %d MiB before", size, f.length>>10, most>>20, base>>20)
	require.Less(t, most, 128<<20)

	const random = 64 // MiB
	exec(t, conn, "SET group_concat_max_len=1000000", "BEGIN")
	for range random * 64 {
		exec(t, conn, "INSERT INTO t (v) SELECT GROUP_CONCAT(HEX(RANDOM_BYTES(1024)) SEPARATOR '') FROM (VALUES ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7), ROW(8)) x")
	}
	exec(t, conn, "COMMIT")
	f.length = 0
	most, _ = readHuge(t, f, executed(t, conn))
	held := int(f.length)
	require.Greater(t, held, 24<<20)
	t.Logf("a payload of %d MiB: heap %d MiB at most", held>>20, most>>20)
	require.Less(t, most, 2*held+128<<20, "with what waits to be collected")
	fill(t, conn, 1, 10)
	f.until(executed(t, conn))
	require.Less(t, heapInUse(), held, "the event is not kept")
}
