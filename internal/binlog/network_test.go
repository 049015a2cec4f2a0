package binlog

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/gtid"
	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
)

// proxy stands between a reader and a server, and does to the server's bytes what spoil says.
type proxy struct {
	listener net.Listener
	server   atomic.Pointer[mysqld.Server]
	// spoil makes for each connection what may change b, and says how much of it passes; if that is not all, the connection ends there.
	spoil func() func(b []byte) int
	conns atomic.Int32
	done  sync.WaitGroup
}

func newProxy(t *testing.T, srv *mysqld.Server, spoil func() func([]byte) int) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: l, spoil: spoil}
	p.server.Store(srv)
	p.done.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", p.server.Load().Addr())
			if err != nil {
				client.Close()
				continue
			}
			p.conns.Add(1)
			p.done.Go(func() {
				defer server.Close()
				io.Copy(server, client)
			})
			p.done.Go(func() {
				defer client.Close()
				p.pass(client, server)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.done.Wait()
	})
	return p
}

func (p *proxy) pass(client io.Writer, server io.Reader) {
	buf, spoil := make([]byte, 64<<10), p.spoil()
	for {
		n, err := server.Read(buf)
		keep := spoil(buf[:n])
		if _, failed := client.Write(buf[:keep]); failed != nil || keep < n || err != nil {
			return
		}
	}
}

// account is the server's, at the proxy's address.
func (p *proxy) account(srv *mysqld.Server) sqlconn.Config {
	cfg := srv.Repl()
	cfg.Addr = p.listener.Addr().String()
	return cfg
}

// spoiler spoils the rows that fill writes, once in each of the first n connections; in all if n is negative.
func spoiler(n int32, spoil func(b []byte, at int) int) func() func([]byte) int {
	left := new(atomic.Int32)
	left.Store(n)
	return func() func([]byte) int {
		done := false
		return func(b []byte) int {
			at := bytes.Index(b, []byte(strings.Repeat("x", 100)))
			if at < 0 || done || left.Load() == 0 {
				return len(b)
			}
			left.Add(-1)
			done = true
			return spoil(b, at+50)
		}
	}
}

// flip changes a byte.
func flip(b []byte, at int) int {
	b[at] ^= 0x20
	return len(b)
}

// cut ends the connection.
func cut(_ []byte, at int) int { return at }

// TestBadNetwork: bytes that change on the way, and connections that end in the middle of an event. A hub reads again, and its reader
// sees every byte of every row once (B2); a reader of Open ends, with the reason.
func TestBadNetwork(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", hubTable)
	from := executed(t, conn)
	fill(t, conn, 5, 10)
	fill(t, conn, 1, 300_000)
	fill(t, conn, 5, 10)
	until := executed(t, conn)
	good := openFollower(t, newHub(t, srv, 0), from, all)
	good.until(until)

	for name, c := range map[string]struct {
		spoil func(b []byte, at int) int
		check func(t *testing.T, err error)
	}{
		"a changed byte": {flip, func(t *testing.T, err error) {
			require.ErrorIs(t, err, errs.BinlogDamaged)
			require.ErrorContains(t, err, "has a wrong checksum")
		}},
		"a cut event": {cut, func(t *testing.T, err error) { require.ErrorIs(t, err, io.EOF) }},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t, srv, spoiler(2, c.spoil))
			h := NewHub(HubConfig{DB: p.account(srv)})
			defer h.Stop()
			f := openFollower(t, h, from, all)
			f.until(until)
			require.Equal(t, good.bytes, f.bytes)
			require.Equal(t, good.commits, f.commits)
			require.Greater(t, p.conns.Load(), int32(2), "it must have connected again")

			p = newProxy(t, srv, spoiler(1, c.spoil))
			r, err := Open(t.Context(), Config{DB: p.account(srv), Position: from, Follow: all})
			require.NoError(t, err)
			defer r.Close()
			commits := 0
			for err == nil {
				var ev Event
				if ev, err = Next(t.Context(), r); ev != nil {
					if tx, ok := ev.(*Transaction); ok {
						require.True(t, tx.Last)
						commits++
					}
				}
			}
			c.check(t, err)
			require.Equal(t, 5, commits, "everything before the place, and nothing of it")
		})
	}
}

// TestDamagedAgain: what comes damaged again and again ends a hub's reader; it is not asked for until the end of days.
func TestDamagedAgain(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", hubTable)
	from := executed(t, conn)
	fill(t, conn, 5, 10)
	fill(t, conn, 1, 300_000)
	p := newProxy(t, srv, spoiler(-1, flip))
	h := NewHub(HubConfig{DB: p.account(srv)})
	defer h.Stop()
	f := openFollower(t, h, from, all)
	err := f.untilError()
	require.ErrorIs(t, err, errs.BinlogDamaged)
	require.Contains(t, strings.Join(errs.Of(err).NextSteps(), " "), "Copy the tables again")
	require.Equal(t, 5, f.commits)
}

// TestDamagedSource: a log that is damaged on the source's disk ends the reader behind the last good transaction, and the words say what
// it is, whoever finds it: the server or the reader.
func TestDamagedSource(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", hubTable)
	from := executed(t, conn)
	fill(t, conn, 5, 10)
	fill(t, conn, 1, 300_000)
	end, err := End(t.Context(), conn)
	require.NoError(t, err)
	exec(t, conn, "FLUSH BINARY LOGS")
	path := filepath.Join(srv.Dir(), "data", end.File)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	at := bytes.Index(data, []byte(strings.Repeat("x", 100)))
	require.Positive(t, at)
	data[at] ^= 0x20
	require.NoError(t, os.WriteFile(path, data, 0o600))
	for _, verify := range []string{"ON", "OFF"} {
		exec(t, conn, "SET GLOBAL source_verify_checksum="+verify)
		h := NewHub(HubConfig{DB: srv.Repl()})
		f := openFollower(t, h, from, all)
		err := f.untilError()
		h.Stop()
		require.Equal(t, 5, f.commits, verify)
		require.Contains(t, strings.Join(errs.Of(err).NextSteps(), " "), "Copy the tables again", verify)
		if verify == "OFF" {
			require.ErrorIs(t, err, errs.BinlogDamaged)
			continue
		}
		require.ErrorIs(t, err, errs.StreamFailed)
		require.EqualValues(t, errCannotRead, sqlconn.ErrCode(err), "the server's own message is kept")
	}
}

// TestPurgedMeanwhile: the server refuses because the log was purged after the check. Its message names no GTIDs, ours does.
func TestPurgedMeanwhile(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	before := executed(t, conn)
	exec(t, conn, "CREATE DATABASE gone", "FLUSH BINARY LOGS", "CREATE DATABASE kept", "FLUSH BINARY LOGS")
	end, err := End(t.Context(), conn)
	require.NoError(t, err)
	exec(t, conn, "PURGE BINARY LOGS TO "+sqlconn.Quote(end.File))
	purged := executed(t, conn).Subtract(before)
	for name, c := range map[string]struct {
		position gtid.Set
		want     *errs.Def
		words    string
	}{
		"purged": {before, errs.BinlogPurged, purged.String()},
		"lost":   {executed(t, conn).Union(gtid.MustParse(string(serverUUID(t, conn)) + ":1000000")), errs.StreamFailed, ":1000000"},
	} {
		d := newDump(Config{DB: srv.Repl(), Position: c.position, Follow: all})
		d.feed.wire, err = dialWire(t.Context(), srv.Repl(), nil, seen{}) // without the check
		require.NoError(t, err)
		d.feed.wire.heard = &d.feed.heard
		require.NoError(t, d.feed.wire.dump(c.position))
		d.start()
		err := pollError(t, d)
		require.NoError(t, d.Close())
		require.ErrorIs(t, err, c.want, name)
		require.ErrorContains(t, err, c.words, name)
		require.NotEmpty(t, errs.Of(err).NextSteps(), name)
	}
}

// TestAnotherServer: at the source's address answers another server, which even has the same transactions. Its log is another one.
func TestAnotherServer(t *testing.T) {
	srv, other := mysqldtest.New(t, mysqldtest.Options{}), mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", hubTable)
	p := newProxy(t, srv, spoiler(0, flip))
	h := NewHub(HubConfig{DB: p.account(srv)})
	defer h.Stop()
	f := openFollower(t, h, executed(t, conn), all)
	fill(t, conn, 5, 10)
	f.until(executed(t, conn))
	exec(t, dial(t, other, ""), "RESET BINARY LOGS AND GTIDS", "SET GLOBAL gtid_purged="+sqlconn.Quote(executed(t, conn).String()))
	p.server.Store(other)
	killDumps(t, conn)
	err := f.untilError()
	require.ErrorIs(t, err, errs.StreamFailed)
	require.ErrorContains(t, err, "another server answers there")
}

// TestSourceGone: a lost connection is made again until the source was silent for too long.
func TestSourceGone(t *testing.T) {
	var f feed
	f.heard.Store(time.Now().Add(-timeouts.SourceGone / 2).UnixNano())
	require.False(t, f.lasting(t.Context(), io.ErrUnexpectedEOF))
	f.heard.Store(time.Now().Add(-timeouts.SourceGone - time.Second).UnixNano())
	require.True(t, f.lasting(t.Context(), io.ErrUnexpectedEOF))
	require.False(t, f.lasting(t.Context(), nil))
}

// TestEndsAtOnce: a source that takes every connection and ends it before it has brought anything is asked again with pauses, and
// not until the end of days.
func TestEndsAtOnce(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", hubTable)
	from := executed(t, conn)
	fill(t, conn, 1, 10_000)
	until := executed(t, conn)
	const times = 4
	p := newProxy(t, srv, spoiler(times, cut))
	h := NewHub(HubConfig{DB: p.account(srv)})
	defer h.Stop()
	begun := time.Now()
	openFollower(t, h, from, all).until(until)
	require.Greater(t, p.conns.Load(), int32(times))
	require.Greater(t, time.Since(begun), (1<<times-1)*timeouts.RetryMin, "each pause is twice the one before")

	var bad attempts
	long := time.Now().Add(-timeouts.SourceGone - time.Second)
	for range maxDamaged {
		require.False(t, bad.tooMany(long), "the source may have been away for as long")
	}
	require.True(t, bad.tooMany(time.Now()))
	bad = attempts{}
	for range 100 {
		require.False(t, bad.tooMany(time.Now()))
	}
}

// TestChecksumChanges: each file of the log says whether its events have checksums, and that changes while a stream reads.
func TestChecksumChanges(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{Options: []string{"binlog-checksum=NONE"}})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", hubTable)
	from := executed(t, conn)
	f := openFollower(t, newHub(t, srv, 0), from, all)
	fill(t, conn, 1, 10)
	f.until(executed(t, conn))
	var grown []int
	connection := dumps(t, conn)
	require.Len(t, connection, 1)
	for _, sum := range []string{"NONE", "CRC32", "NONE"} {
		exec(t, conn, "SET GLOBAL binlog_checksum="+sum) // begins another file
		before := f.bytes
		fill(t, conn, 2, 10)
		f.until(executed(t, conn))
		grown = append(grown, f.bytes-before)
	}
	require.Equal(t, []int{grown[0], grown[0], grown[0]}, grown, "a checksum is no part of what it protects")
	require.Equal(t, 7, f.commits)
	require.Equal(t, connection, dumps(t, conn), "another connection hides what was read wrongly")
	got, err := readUntil(t, srv, conn, from, "d") // all of it at once
	require.NoError(t, err)
	require.Len(t, got, 7)
}

// TestPacketsOutOfOrder: they are damage like any other, which ends a stream when it stays.
func TestPacketsOutOfOrder(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	go func() {
		defer there.Close()
		there.Write([]byte{1, 0, 0, 7, packetEOF})
	}()
	w := &wire{addr: "db:3306", sock: here, seq: 1, heard: new(atomic.Int64)}
	_, err := w.next()
	require.ErrorIs(t, err, errs.BinlogDamaged)
	require.ErrorContains(t, err, "packet 7 comes where 1 should")
}

// TestLogFilters: what a source leaves out of its log is missed before a stream begins.
func TestLogFilters(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{Options: []string{"binlog-do-db=kept", "binlog-ignore-db=dropped"}})
	missing, err := Check(t.Context(), dial(t, srv, ""))
	require.NoError(t, err)
	var found []string
	for _, p := range missing {
		found = append(found, p.Name+"="+p.Have)
		require.Contains(t, p.Remedy, "without --"+p.Name)
	}
	require.Equal(t, []string{"binlog-do-db=kept", "binlog-ignore-db=dropped"}, found)
}

func serverUUID(t *testing.T, conn *sqlconn.Conn) []byte {
	res, err := conn.Query(t.Context(), "SELECT @@GLOBAL.server_uuid")
	require.NoError(t, err)
	return res.Rows[0][0]
}

func pollError(t *testing.T, r Reader) error {
	for {
		if _, err := Next(t.Context(), r); err != nil {
			return err
		}
	}
}

// untilError reads to the reader's end.
func (f *follower) untilError() error {
	for {
		ev, err := Next(f.t.Context(), f.reader)
		if err != nil {
			return err
		}
		f.take(ev)
	}
}
