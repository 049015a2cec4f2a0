package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
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

// database holds the tables of every workload.
const database = "bench"

// host has what the runs of one benchmark share: the program, prepared data directories, and where the servers listen. Source and target
// listen at the same ports in all runs, so that a stream's state finds its source again.
type host struct {
	b          *testing.B
	bin        *mysqld.Binary
	braid      string
	cache      string // prepared directories; they stay for the next time
	dir        string // of the runs
	sourcePort int
	targetPort int
	dirs       int
}

func newHost(b *testing.B) *host {
	bin, err := mysqldtest.Binary()
	require.NoError(b, err)
	cache, err := os.UserCacheDir()
	require.NoError(b, err)
	h := &host{b: b, bin: bin, braid: os.Getenv("BENCH_BRAID"), cache: filepath.Join(cache, "braid", "bench"), dir: b.TempDir()}
	if h.braid == "" {
		h.braid = filepath.Join("..", "bin", "braid")
	}
	require.NoError(b, os.MkdirAll(h.cache, 0o700))
	h.sourcePort, h.targetPort = h.port(), h.port()
	return h
}

func (h *host) port() int {
	port, err := mysqldtest.FreePort()
	require.NoError(h.b, err)
	return port
}

func full() bool { return os.Getenv("BENCH_FULL") != "" }

// newDir names a directory that nobody has used.
func (h *host) newDir() string {
	h.dirs++
	return filepath.Join(h.dir, fmt.Sprint(h.dirs))
}

// settings are those of source and target alike, and of the native replica. Commits are durable.
var settings = []string{
	"innodb_redo_log_capacity=1G",
	"table_open_cache=4000", // 100 workers of 25 tables
	"skip_replica_start=ON",
	"innodb_log_buffer_size=64M",
	"binlog_expire_logs_seconds=0", // a recorded backlog stays, however old it is
}

const bufferPool = 1024 // MiB: all tables fit

// serve starts a server in a directory; from is a prepared one that is copied first, "" for an empty server.
func (h *host) serve(role role, from string, change ...func(*mysqld.Config)) *server {
	port, id := h.sourcePort, uint32(1)
	if role == target {
		port, id = h.targetPort, 2
	}
	cfg := mysqld.Config{
		Dir: h.newDir(), Port: port, ServerID: id, BufferPool: bufferPool, Options: settings,
		Passwords: mysqld.Passwords{Root: "root", Admin: "admin", App: "app", Repl: "repl"},
	}
	for _, fn := range change {
		fn(&cfg)
	}
	if from != "" {
		require.NoError(h.b, mysqld.CopyDir(from, cfg.Dir, role == target))
	}
	srv, err := mysqld.New(h.bin, cfg)
	require.NoError(h.b, err)
	err = srv.Start(h.b.Context())
	for range 50 { // a port may be held for a moment by a connection of the run before
		if !errors.Is(err, errs.PortTaken) {
			break
		}
		time.Sleep(100 * time.Millisecond)
		err = srv.Start(h.b.Context())
	}
	require.NoError(h.b, err)
	s := &server{Server: srv, h: h}
	s.conn = s.dial(srv.Root())
	h.b.Cleanup(s.remove)
	return s
}

// server is a running server of a benchmark.
type server struct {
	*mysqld.Server
	h    *host
	conn *sqlconn.Conn
	kept map[string]string // sums of a server that does not change
}

type role int

const (
	source role = iota // keeps the identity of the directory that it is copied from
	target             // gets a new one
)

func (s *server) dial(cfg sqlconn.Config) *sqlconn.Conn {
	conn, err := sqlconn.Dial(s.h.b.Context(), cfg)
	require.NoError(s.h.b, err)
	return conn
}

func (s *server) exec(sqls ...string) {
	for _, sql := range sqls {
		_, err := s.conn.Exec(s.h.b.Context(), sql)
		require.NoError(s.h.b, err, sql)
	}
}

func (s *server) cell(sql string) string {
	res, err := s.conn.Query(s.h.b.Context(), sql)
	require.NoError(s.h.b, err, sql)
	require.NotEmpty(s.h.b, res.Rows, sql)
	return string(res.Rows[0][0])
}

func (s *server) executed() string { return s.cell("SELECT @@GLOBAL.gtid_executed") }

// stop ends the server cleanly and keeps its directory, which is returned.
func (s *server) stop() string {
	s.conn.Close()
	// What a template needs: nothing to undo, nothing to merge.
	require.NoError(s.h.b, s.Stop(context.Background()))
	return s.Dir()
}

func (s *server) remove() {
	s.conn.Close()
	if err := s.Remove(); err != nil {
		s.h.b.Error(err)
	}
}

func (s *server) cpu() time.Duration {
	cpu, err := CPU(s.Pid())
	require.NoError(s.h.b, err)
	return cpu
}

// tables are the base tables of the database, by name.
func (s *server) tables() []string {
	res, err := s.conn.Query(s.h.b.Context(), "SELECT table_name FROM information_schema.tables WHERE table_schema='"+database+"' ORDER BY table_name")
	require.NoError(s.h.b, err)
	var names []string
	for _, row := range res.Rows {
		names = append(names, string(row[0]))
	}
	return names
}

// warm reads every page, so that no run pays for a cold buffer pool.
func (s *server) warm() {
	for _, table := range s.tables() {
		s.cell("SELECT COUNT(*) FROM " + database + "." + table + " FORCE INDEX (PRIMARY) WHERE c <> ''")
		s.cell("SELECT SUM(k) FROM " + database + "." + table + " FORCE INDEX (k)")
	}
}

// sums are the checksums of all tables; two servers with the same are equal.
func (s *server) sums() map[string]string {
	sums := make(map[string]string)
	for _, table := range s.tables() {
		res, err := s.conn.Query(s.h.b.Context(), "CHECKSUM TABLE "+database+"."+table)
		require.NoError(s.h.b, err)
		sums[table] = string(res.Rows[0][1])
	}
	return sums
}

// equal fails the benchmark if two servers differ, and says in how many rows. The source does not change any more.
func (h *host) equal(src, dst *server, what string) {
	if src.kept == nil {
		src.kept = src.sums()
	}
	want, have := src.kept, dst.sums()
	if maps.Equal(want, have) {
		return
	}
	for table, sum := range want {
		if have[table] == sum {
			continue
		}
		ours, theirs := dst.rows(table), src.rows(table)
		var differ []string
		for id, row := range theirs {
			if ours[id] != row {
				differ = append(differ, fmt.Sprintf("%s: source %q, target %q", id, row, ours[id]))
			}
			delete(ours, id)
		}
		h.b.Logf("%s: %d rows differ, %d are only on the target: %s", table, len(differ), len(ours), strings.Join(differ[:min(len(differ), 3)], "; "))
	}
	h.b.Logf("the source has executed %s", src.executed())
	h.b.Fatalf("both sides are not equal: %s", what)
}

// rows are those of a table by their ids, as text.
func (s *server) rows(table string) map[string]string {
	rows := make(map[string]string)
	conn := s.dial(s.Root())
	defer conn.Close()
	err := conn.QueryStream(s.h.b.Context(), "SELECT * FROM "+database+"."+table, func(row [][]byte) error {
		rows[string(row[0])] = string(bytes.Join(row[1:], []byte{','}))
		return nil
	})
	require.NoError(s.h.b, err)
	return rows
}

// slowFsync builds the shared object that makes each flush of a server a millisecond slower.
func (h *host) slowFsync() string {
	object := filepath.Join(h.dir, "slowfsync.so")
	out, err := exec.Command("gcc", "-O2", "-shared", "-fPIC", "-o", object, "slowfsync/slowfsync.c", "-ldl").CombinedOutput()
	require.NoError(h.b, err, "the delayed flush needs gcc: %s", out)
	return object
}

// prepared is a directory of the cache; make fills it the first time, and gets the place where to.
func (h *host) prepared(key string, make func() (stopped string)) string {
	dir := filepath.Join(h.cache, key)
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	require.NoError(h.b, mysqld.CopyDir(make(), dir, false))
	return dir
}

// only says whether BENCH_ONLY, a part of a name, leaves this one in.
func only(name string) bool { return strings.Contains(name, os.Getenv("BENCH_ONLY")) }
