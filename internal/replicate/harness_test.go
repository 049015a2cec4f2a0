package replicate

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/gtid"
	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
	"braid/internal/vreplication"
)

// side is a server with a session.
type side struct {
	*mysqld.Server
	t    testing.TB
	conn *sqlconn.Conn
}

func (s *side) exec(statements ...string) {
	s.t.Helper()
	for _, sql := range statements {
		if s.conn.Broken() {
			s.conn = mysqldtest.Dial(s.t, s.Root())
		}
		_, err := s.conn.Exec(s.t.Context(), sql)
		require.NoError(s.t, err, sql)
	}
}

func (s *side) one(sql string) string {
	s.t.Helper()
	if s.conn.Broken() {
		s.conn = mysqldtest.Dial(s.t, s.Root())
	}
	res, err := s.conn.Query(s.t.Context(), sql)
	require.NoError(s.t, err, sql)
	if len(res.Rows) == 0 {
		return ""
	}
	return string(res.Rows[0][0])
}

// again connects again, after the server was away.
func (s *side) again() { s.conn = mysqldtest.Dial(s.t, s.Root()) }

// contents is a table as text.
func (s *side) contents(table, where string) string {
	s.t.Helper()
	res, err := s.conn.Query(s.t.Context(), "SELECT * FROM "+table+" WHERE "+where)
	require.NoError(s.t, err)
	lines := make([]string, len(res.Rows))
	for i, row := range res.Rows {
		lines[i] = fmt.Sprintf("%q\n", row)
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// world is a source and a target, with databases of its own: db and db2.
type world struct {
	t              testing.TB
	source, target *side
	db, db2        string
	cfg            Config
}

func newWorld(t testing.TB) *world {
	shared, db := mysqldtest.Shared(t)
	return worldOf(t, shared, mysqldtest.Other(t), db)
}

// worldOf uses servers of the test's own.
func worldOf(t testing.TB, source, target *mysqld.Server, db string) *world {
	w := &world{t: t, db: db, db2: db + "b"}
	w.source = &side{source, t, mysqldtest.Dial(t, source.Root())}
	w.target = &side{target, t, mysqldtest.Dial(t, target.Root())}
	w.source.exec("CREATE DATABASE IF NOT EXISTS "+db, "CREATE DATABASE IF NOT EXISTS "+w.db2)
	w.cfg = Config{Name: db, Source: source.Root(), Target: target.Root(), Selection: Selection{Databases: []string{db, w.db2}}, OnDDL: vreplication.DDLExec}
	t.Cleanup(func() {
		for _, s := range []*side{w.source, w.target} {
			if !s.Running() {
				continue
			}
			conn, err := sqlconn.Dial(context.Background(), s.Root())
			if err != nil {
				continue // a test that stops servers
			}
			for _, name := range []string{db, w.db2, w.db2 + "_new"} {
				if _, err := conn.Exec(context.Background(), "DROP DATABASE IF EXISTS "+name); err != nil {
					t.Errorf("drop %s: %v", name, err)
				}
			}
			conn.Close()
		}
	})
	return w
}

// runner is a Run under way.
type runner struct {
	w      *world
	cancel context.CancelFunc
	done   chan struct{}
	err    error
	log    lockedBuffer
	mu     struct {
		sync.Mutex
		last Status
	}
}

// lockedBuffer is written by the run and read by the test.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if os.Getenv("BRAID_TEST_LOG") != "" {
		os.Stderr.Write(p)
	}
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (w *world) start(change ...func(*Config)) *runner {
	cfg := w.cfg
	for _, f := range change {
		f(&cfg)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	r := &runner{w: w, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = Run(ctx, cfg, Deps{Log: slog.New(slog.NewTextHandler(&r.log, nil)), Report: r.report})
	}()
	w.t.Cleanup(func() {
		r.stop()
		if w.t.Failed() {
			w.t.Logf("log of the run:\n%s", r.log.String())
		}
	})
	return r
}

func (r *runner) report(s Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.last = s
}

func (r *runner) status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.last
}

// stop is what SIGTERM does.
func (r *runner) stop() error {
	r.cancel()
	<-r.done
	return r.err
}

// wait is for a run that ends by itself.
func (r *runner) wait() error {
	r.w.t.Helper()
	select {
	case <-r.done:
	case <-time.After(2 * time.Minute):
		require.FailNow(r.w.t, "the run does not end", "%+v\n%s", r.status(), r.log.String())
	}
	return r.err
}

// run is one that ends by itself.
func (w *world) run(change ...func(*Config)) error {
	w.t.Helper()
	return w.start(change...).wait()
}

func once(c *Config) { c.Once = true }

// until waits for a status.
func (r *runner) until(what string, f func(Status) bool) Status {
	r.w.t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if s := r.status(); f(s) {
			return s
		}
		select {
		case <-r.done:
			require.FailNow(r.w.t, "the run has ended before: "+what, "%v\n%s", r.err, r.log.String())
		case <-deadline:
			require.FailNow(r.w.t, "never: "+what, "%+v\n%s", r.status(), r.log.String())
		case <-tick.C:
		}
	}
}

func (r *runner) running() Status {
	r.w.t.Helper()
	return r.until("running", func(s Status) bool { return s.State == "Running" })
}

// catchUp waits until everything is applied that the source has now.
func (r *runner) catchUp() {
	r.w.t.Helper()
	want, err := gtid.Parse(r.w.source.one("SELECT @@GLOBAL.gtid_executed"))
	require.NoError(r.w.t, err)
	r.until("caught up", func(s Status) bool {
		have, err := gtid.Parse(s.Position)
		return err == nil && s.State == "Running" && have.Contains(want)
	})
}

// equal compares tables: db.t of the source with the same of the target, or with another name behind =.
func (w *world) equal(tables ...string) {
	w.t.Helper()
	for _, table := range tables {
		from, to, renamed := strings.Cut(table, "=")
		if !renamed {
			to = from
		}
		require.Equal(w.t, w.source.contents(from, "TRUE"), w.target.contents(to, "TRUE"), table)
	}
}

// withoutRowEvents gives the run an account on the target that may not use BINLOG: rows are written with SQL.
func (w *world) withoutRowEvents() {
	user := "s" + w.db[max(0, len(w.db)-12):]
	w.target.exec("CREATE USER "+user+" IDENTIFIED BY 'x'", "GRANT ALL ON *.* TO "+user, "REVOKE BINLOG_ADMIN, REPLICATION_APPLIER, SUPER ON *.* FROM "+user)
	w.t.Cleanup(func() {
		conn, err := sqlconn.Dial(context.Background(), w.target.Root())
		require.NoError(w.t, err)
		defer conn.Close()
		_, err = conn.Exec(context.Background(), "DROP USER "+user)
		require.NoError(w.t, err)
	})
	w.cfg.Target.User, w.cfg.Target.Password = user, "x"
}
