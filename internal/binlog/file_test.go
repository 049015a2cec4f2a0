package binlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
)

func followAll(string, string) bool { return true }

// readFiles lists what files hold, and how they end.
func readFiles(paths []string, cfg Config) (lines []string, err error) {
	cfg.Follow = followAll
	r, err := OpenFile(paths, cfg)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for {
		ev, err := r.Poll()
		if err != nil {
			return lines, err
		}
		switch ev := ev.(type) {
		case *DDL:
			lines = append(lines, "ddl "+ev.SQL)
		case *Transaction:
			for _, rows := range ev.Rows {
				lines = append(lines, fmt.Sprintf("%s %s %d", rows.Kind, rows.Table.Table, len(rows.Body)))
			}
			for _, s := range ev.Statements {
				lines = append(lines, "statement "+s.SQL)
			}
			if ev.Last {
				lines = append(lines, fmt.Sprintf("commit %d/%d", ev.LastCommitted, ev.Sequence))
			}
		}
	}
}

// logPaths closes the server's current log file and returns all that are complete.
func logPaths(t *testing.T, srv *mysqld.Server, conn *sqlconn.Conn) []string {
	end, err := End(t.Context(), conn)
	require.NoError(t, err)
	exec(t, conn, "FLUSH BINARY LOGS")
	paths, err := filepath.Glob(filepath.Join(srv.Dir(), "data", "binlog.0*"))
	require.NoError(t, err)
	for i, p := range paths {
		if filepath.Base(p) == end.File {
			return paths[:i+1]
		}
	}
	t.Fatalf("no %s in %s", end.File, paths)
	return nil
}

func TestFilesHoldWhatTheServerSends(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", "CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT)")
	from := executed(t, conn)
	exec(t, conn, "FLUSH BINARY LOGS", "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
		"SET binlog_transaction_compression=ON", "INSERT INTO t VALUES (3, REPEAT('x', 100000))", "SET binlog_transaction_compression=OFF",
		"INSERT INTO t VALUES (4, REPEAT('y', 3000000)), (5, REPEAT('z', 3000000))", "FLUSH BINARY LOGS",
		"XA START 'one'", "UPDATE t SET v = '' WHERE id = 1", "XA END 'one'", "XA PREPARE 'one'", "FLUSH BINARY LOGS", "XA COMMIT 'one'",
		"SET gtid_next='AUTOMATIC:tag'", "DELETE FROM t WHERE id = 2", "SET gtid_next='AUTOMATIC'")
	sent, err := readUntil(t, srv, conn, from, "d")
	require.NoError(t, err)
	paths := logPaths(t, srv, conn)

	r, err := OpenFile(paths, Config{Follow: func(db, _ string) bool { return db == "d" }})
	require.NoError(t, err)
	defer r.Close()
	var read []*Transaction
	for {
		ev, err := r.Poll()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if tx, ok := ev.(*Transaction); ok && !from.ContainsGTID(tx.GTID) {
			read = append(read, tx)
		}
	}
	require.Len(t, read, len(sent))
	for i := range read {
		want := sent[i].(*Transaction)
		require.Equal(t, want.Stamp, read[i].Stamp)
		require.Equal(t, want.GTID, read[i].GTID)
		require.Equal(t, want.End, read[i].End, "the offsets of a file are those of the server")
		require.Len(t, read[i].Rows, len(want.Rows))
		for j := range want.Rows {
			require.Equal(t, want.Rows[j].Body, read[i].Rows[j].Body)
		}
		require.NotZero(t, want.Session)
		require.Equal(t, srv.ServerID(), want.Server)
		require.NotZero(t, want.LoggedUS)
		require.Positive(t, want.Length)
		require.Positive(t, want.Sequence)
	}
	_, err = r.Poll()
	require.ErrorIs(t, err, io.EOF, "the end stays the end")
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
}

func TestDamagedFiles(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY, v LONGTEXT)", "FLUSH BINARY LOGS",
		"INSERT INTO d.t VALUES (1, 'a')", "INSERT INTO d.t VALUES (2, REPEAT('b', 1000))")
	paths := logPaths(t, srv, conn)
	good, err := os.ReadFile(paths[len(paths)-1])
	require.NoError(t, err)
	all, err := readFiles(paths[len(paths)-1:], Config{})
	require.ErrorIs(t, err, io.EOF)
	require.Len(t, all, 4)

	read := func(data []byte) ([]string, error) {
		path := filepath.Join(t.TempDir(), "binlog.000001")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return readFiles([]string{path}, Config{})
	}
	offset := func(err error, at int) {
		t.Helper()
		require.ErrorIs(t, err, errs.BinlogDamaged)
		require.ErrorContains(t, err, fmt.Sprintf("at offset %d:", at))
	}
	ends := offsets(good)
	inside := 0
	for cut := range good { // wherever a file is cut, the error names the event, or the cut was between transactions
		lines, err := read(good[:cut])
		switch at := ends.before(cut); {
		case cut < 4:
			require.ErrorIs(t, err, errs.BadInput)
		case errors.Is(err, io.EOF):
			require.Equal(t, at, cut)
		default:
			offset(err, at)
			inside++
		}
		require.LessOrEqual(t, len(lines), len(all))
	}
	require.Greater(t, inside, 1000)
	for at := 4; at < len(good); at += 7 { // a flipped bit is a wrong checksum, or a wrong length
		bad := append([]byte(nil), good...)
		bad[at] ^= 0x10
		_, err := read(bad)
		offset(err, ends.before(at))
	}

	encrypted := append([]byte{0xfd, 'b', 'i', 'n'}, good[4:]...)
	_, err = read(encrypted)
	require.ErrorContains(t, err, "encrypted")
	require.Contains(t, strings.Join(errs.Of(err).NextSteps(), " "), "--dsn")
	_, err = read([]byte("some text"))
	require.ErrorContains(t, err, "is not a binlog file")
	_, err = readFiles([]string{t.TempDir()}, Config{})
	require.ErrorContains(t, err, "directory")
	_, err = readFiles([]string{filepath.Join(t.TempDir(), "none")}, Config{})
	require.ErrorIs(t, err, os.ErrNotExist)
}

// eventOffsets are where the events of a file begin, and its end.
type eventOffsets []int

func offsets(data []byte) (out eventOffsets) {
	at := 4
	for ; at < len(data); at += int(binary.LittleEndian.Uint32(data[at+9:])) {
		out = append(out, at)
	}
	return append(out, at)
}

func (o eventOffsets) before(at int) int {
	best := 0
	for _, from := range o {
		if from <= at {
			best = from
		}
	}
	return best
}

// TestHugeFile: offsets beyond 4 GiB, behind a hole that takes no room on the disk.
func TestHugeFile(t *testing.T) {
	const far = 5 << 30
	path := filepath.Join(t.TempDir(), "binlog.000001")
	h, err := os.Create(path)
	require.NoError(t, err)
	defer h.Close()
	_, err = h.Write(magicPlain)
	require.NoError(t, err)
	heartbeat := make([]byte, headerSize)
	heartbeat[4] = 27 // yields where the log is
	heartbeat[9] = headerSize
	_, err = h.WriteAt(append(heartbeat, heartbeat[:10]...), far)
	require.NoError(t, err)

	r, err := OpenFile([]string{path}, Config{Follow: followAll})
	require.NoError(t, err)
	defer r.Close()
	_, err = r.Poll()
	require.NoError(t, err)
	f := r.(*file)
	_, err = f.mu.open.Seek(far, io.SeekStart)
	require.NoError(t, err)
	f.from.Reset(f.mu.open)
	f.at = far
	ev, err := r.Poll()
	require.NoError(t, err)
	require.Equal(t, Coordinates{"binlog.000001", far + headerSize}, ev.(*Mark).End)
	_, err = r.Poll()
	require.ErrorContains(t, err, fmt.Sprintf("at offset %d: the file ends inside of an event's header", far+headerSize))
}

// TestLenient: what a stream refuses is shown to those who only look.
func TestLenient(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", "CREATE TABLE t (id INT PRIMARY KEY, j JSON)", "XA START 'x'",
		"INSERT INTO t VALUES (1, CONVERT(CONCAT('{\"a\": \"', REPEAT('x', 100), '\", \"b\": 1}') USING utf8mb4))", "XA END 'x'", "XA PREPARE 'x'", "FLUSH BINARY LOGS", "XA COMMIT 'x'",
		"SET binlog_row_value_options=PARTIAL_JSON", "SET NAMES utf8mb4", "UPDATE t SET j = JSON_SET(j, '$.b', 2)",
		"SET binlog_format=STATEMENT", "INSERT INTO t VALUES (2, '[]')")
	paths := logPaths(t, srv, conn)
	lines, err := readFiles(paths[len(paths)-1:], Config{Lenient: true})
	require.ErrorIs(t, err, io.EOF)
	require.Len(t, lines, 5)
	require.Regexp(t, `^commit`, lines[0], "of the XA transaction")
	require.Regexp(t, `^update t`, lines[1])
	require.Equal(t, "statement INSERT INTO t VALUES (2, '[]')", lines[3])
	_, err = readFiles(paths[len(paths)-1:], Config{})
	var refusal *Refusal
	require.ErrorAs(t, err, &refusal)
}

func TestLocate(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	first := executed(t, conn)
	exec(t, conn, "CREATE DATABASE a", "FLUSH BINARY LOGS")
	second := executed(t, conn)
	exec(t, conn, "CREATE DATABASE b", "FLUSH BINARY LOGS", "CREATE DATABASE c")

	at, err := Locate(t.Context(), srv.Repl(), time.Unix(1e9, 0))
	require.NoError(t, err)
	require.True(t, first.Contains(at.Position))
	require.True(t, at.Oldest)
	at, err = Locate(t.Context(), srv.Repl(), time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.True(t, at.Position.Contains(second))
	require.False(t, at.Oldest)
	require.WithinDuration(t, time.Now(), at.Begins, time.Minute)
	require.False(t, executed(t, conn).Subtract(at.Position).Empty(), "the last file may hold what is wanted")
}

// TestRelayLog: a replica's relay log holds the source's events, at other offsets and beside some of its own.
func TestRelayLog(t *testing.T) {
	source, replica := mysqldtest.New(t, mysqldtest.Options{}), mysqldtest.New(t, mysqldtest.Options{Options: []string{"relay-log-purge=OFF"}})
	conn := dial(t, source, "")
	exec(t, conn, "CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)", "FLUSH BINARY LOGS", "INSERT INTO d.t VALUES (1)", "INSERT INTO d.t VALUES (2)")
	reader := dial(t, replica, "")
	host, port, err := net.SplitHostPort(source.Addr())
	require.NoError(t, err)
	repl := source.Repl()
	exec(t, reader, fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST=%s, SOURCE_PORT=%s, SOURCE_USER=%s, SOURCE_PASSWORD=%s, SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1, SOURCE_SSL=0",
		sqlconn.Quote(host), port, sqlconn.Quote(repl.User), sqlconn.Quote(repl.Password)), "START REPLICA",
		fmt.Sprintf("SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, 30)", sqlconn.Quote(executed(t, conn).String())), "STOP REPLICA")
	paths, err := filepath.Glob(filepath.Join(replica.Dir(), "data", "relay.0*"))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	lines, err := readFiles(paths, Config{})
	require.ErrorIs(t, err, io.EOF)
	text := strings.Join(lines, "\n")
	require.Contains(t, text, "ddl CREATE TABLE d.t")
	require.Equal(t, 2, strings.Count(text, "insert t "))
}
