package binlog

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"

	"braid/internal/gtid"
	"braid/internal/mysqld/mysqldtest"
)

func only(tables ...string) func(db, table string) bool {
	return func(_, table string) bool {
		for _, t := range tables {
			if t == table {
				return true
			}
		}
		return false
	}
}

func (f *follower) private() bool {
	r := f.reader.(*hubReader)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.private != nil
}

// TestHubTableNobodyFollowed: rows of a table that nobody follows do not stay in the ring. A reader that comes with the table reads them alone,
// at a place where another would be on the ring, and joins behind them.
func TestHubTableNobodyFollowed(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", hubTable, "CREATE TABLE u (id INT PRIMARY KEY AUTO_INCREMENT, v INT)")
	from := executed(t, conn)
	h := newHub(t, srv, 0)
	first := openFollower(t, h, from, only("t"))
	both := func() {
		exec(t, conn, "BEGIN", "INSERT INTO u (v) VALUES (1)", "INSERT INTO t (v) VALUES ('a')", "INSERT INTO u (v) VALUES (2)", "COMMIT")
	}
	for range 50 {
		both()
	}
	middle := executed(t, conn)
	first.until(middle)
	fill(t, conn, 50, 10)
	first.until(executed(t, conn))
	require.Equal(t, 100, first.bodies)

	same := openFollower(t, h, from, only("t"))
	require.False(t, same.private(), "its table is there")
	behind := openFollower(t, h, middle, only("t", "u"))
	require.False(t, behind.private(), "no row of its tables came since")
	before := openFollower(t, h, from, only("t", "u"))
	require.True(t, before.private(), "rows of u came since, and are not there")
	for range 50 {
		both()
	}
	before.until(executed(t, conn))
	require.Equal(t, 350, before.bodies)
	for i := 0; before.private() || len(dumps(t, conn)) > 1; i++ { // the server notices when it writes
		both()
		before.until(executed(t, conn))
		require.Less(t, i, 1000)
	}
	both()
	for _, f := range []*follower{first, same, behind, before} {
		f.until(executed(t, conn))
	}
	transactions := before.commits - 50
	require.Equal(t, 50+3*transactions, before.bodies)
	require.Equal(t, 50+3*(transactions-50), behind.bodies)
	require.Equal(t, 50+transactions, same.bodies)
	require.Equal(t, 50+transactions, first.bodies)

	// What was left out after the reader's place was looked for, it notices when it comes there.
	for _, f := range []*follower{behind, before} {
		require.NoError(t, f.reader.Close())
	}
	from = executed(t, conn)
	exec(t, conn, "INSERT INTO t (v) VALUES ('b')")
	first.until(executed(t, conn))
	both()
	first.until(executed(t, conn))
	late := &hubReader{hub: h, follow: only("u"), ready: make(chan struct{}, 1)}
	late.mu.position, late.mu.followed = from, map[*TableMap]bool{}
	require.NoError(t, h.enter(late))
	defer late.Close()
	run, _ := h.current(from)
	at, standing := run.join(from, only())
	require.Equal(t, joined, standing)
	late.mu.run, late.mu.at = run, at
	f := &follower{t: t, reader: late, position: from}
	f.until(executed(t, conn))
	require.Equal(t, 2, f.bodies)
	require.Equal(t, 2, f.commits)
}

// TestHubFilterGrows: a reader goes on where another was, with more tables, while all of them are written.
func TestHubFilterGrows(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn, writer := dial(t, srv, ""), dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d")
	exec(t, writer, "USE d")
	const tables = 5
	for i := range tables {
		exec(t, conn, fmt.Sprintf("CREATE TABLE t%d (id INT PRIMARY KEY AUTO_INCREMENT, v INT)", i))
	}
	h := newHub(t, srv, 0)
	position := executed(t, conn)
	stop, done := make(chan struct{}), make(chan error, 1)
	written := 0
	go func() {
		var all strings.Builder
		for i := range tables {
			fmt.Fprintf(&all, "; INSERT INTO t%d (v) VALUES (1)", i)
		}
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := writer.ExecMulti(t.Context(), []byte("BEGIN"+all.String()+"; COMMIT")); err != nil {
				done <- err
				return
			}
			written++
		}
	}()
	var names []string
	seen := 0
	for i := range tables {
		names = append(names, fmt.Sprintf("t%d", i))
		f := openFollower(t, h, position, only(names...))
		for range 3 {
			f.until(executed(t, conn))
		}
		require.Equal(t, f.commits*len(names), f.bodies, "each transaction changes every table")
		require.NoError(t, f.reader.Close())
		position, seen = f.position, seen+f.commits
	}
	close(stop)
	require.NoError(t, <-done)
	f := openFollower(t, h, position, only(names...))
	f.until(executed(t, conn))
	require.Equal(t, f.commits*len(names), f.bodies)
	require.Equal(t, written, seen+f.commits)
}

// recorder reads a hub and remembers which rows of which tables each transaction had.
type recorder struct {
	*follower
	wants func(db, table string) bool
	has   map[string][]string // by GTID
	order []string
}

func (r *recorder) take(ev Event) {
	r.follower.take(ev)
	tx, ok := ev.(*Transaction)
	if !ok {
		return
	}
	if tx.First {
		r.order = append(r.order, tx.GTID)
	}
	for _, rows := range tx.Rows {
		require.True(r.t, r.wants(rows.Table.DB, rows.Table.Table), "%s: rows of %s", tx.GTID, rows.Table.Table)
		r.has[tx.GTID] = append(r.has[tx.GTID], fmt.Sprintf("%s %s %x", rows.Table.Table, rows.Kind, xxhash.Sum64(rows.Body)))
	}
}

// step takes what is there, at most n events.
func (r *recorder) step(n int) {
	for range n {
		ev, err := r.reader.Poll()
		require.NoError(r.t, err)
		if ev == nil {
			return
		}
		r.take(ev)
	}
}

func (r *recorder) until(ctx func() gtid.Set) {
	deadline := time.Now().Add(time.Minute)
	for end := ctx(); !r.position.Contains(end); {
		require.True(r.t, time.Now().Before(deadline), "at %s, want %s", r.position, end)
		ev, err := Next(r.t.Context(), r.reader)
		require.NoError(r.t, err)
		r.take(ev)
	}
}

// TestHubSelections: readers with tables of their own come, read, rest and go at any place of the log, while it is written, connections are
// cut, transactions come in fragments or prepared, and tables are changed. Each has exactly the rows of its tables behind its position.
func TestHubSelections(t *testing.T) {
	const tables, steps, seed = 6, 500, 4
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn, killer := dial(t, srv, ""), dial(t, srv, "")
	random := rand.New(rand.NewPCG(seed, 0))
	exec(t, conn, "CREATE DATABASE d", "USE d")
	for i := range tables {
		exec(t, conn, fmt.Sprintf("CREATE TABLE t%d (id INT PRIMARY KEY AUTO_INCREMENT, v LONGTEXT)", i))
	}
	var log strings.Builder
	h := NewHub(HubConfig{DB: srv.Repl(), RingBytes: 1 << 20, Grace: time.Minute, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	t.Cleanup(h.Stop)
	positions := []gtid.Set{executed(t, conn)}
	start := positions[0]
	insert := func(size int) string {
		return fmt.Sprintf("INSERT INTO t%d (v) VALUES (REPEAT('%c', %d))", random.IntN(tables), 'a'+random.IntN(26), size)
	}
	write := func() {
		switch random.IntN(12) {
		case 0: // in fragments
			exec(t, conn, "BEGIN", insert(700<<10), insert(10), insert(700<<10), insert(10), "COMMIT")
		case 1:
			exec(t, conn, "XA START 'x'", insert(10), insert(10), "XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x'")
		case 2:
			exec(t, conn, fmt.Sprintf("ALTER TABLE t%d COMMENT 'c%d'", random.IntN(tables), random.IntN(100)))
		default:
			exec(t, conn, "BEGIN", insert(random.IntN(2000)), insert(10), insert(10), "COMMIT")
		}
		positions = append(positions, executed(t, conn))
	}
	var readers, open []*recorder
	for range steps {
		switch n := random.IntN(100); {
		case n < 50:
			write()
		case n < 58 && len(open) < 6:
			var names []string
			for i := range tables {
				if random.IntN(3) == 0 {
					names = append(names, fmt.Sprintf("t%d", i))
				}
			}
			back := min(random.IntN(40), len(positions)-1)
			wants := only(names...)
			r := &recorder{openFollower(t, h, positions[len(positions)-1-back], wants), wants, map[string][]string{}, nil}
			readers, open = append(readers, r), append(open, r)
		case n < 61 && len(open) > 3:
			i := random.IntN(len(open))
			open[i].until(func() gtid.Set { return positions[len(positions)-1-min(random.IntN(20), len(positions)-1)] })
			require.NoError(t, open[i].reader.Close())
			open = append(open[:i], open[i+1:]...)
		case n < 62:
			killDumps(t, killer)
		case len(open) > 0:
			open[random.IntN(len(open))].step(1 + random.IntN(60))
		}
	}
	for _, r := range open {
		r.until(func() gtid.Set { return positions[len(positions)-1] })
	}
	alone, err := Open(t.Context(), Config{DB: srv.Repl(), Position: start, Follow: all})
	require.NoError(t, err)
	defer alone.Close()
	model := &recorder{&follower{t: t, reader: alone, position: start}, all, map[string][]string{}, nil}
	model.until(func() gtid.Set { return positions[len(positions)-1] })
	compared := 0
	for i, r := range readers {
		for _, id := range r.order {
			var want []string
			for _, rows := range model.has[id] {
				if table, _, _ := strings.Cut(rows, " "); r.wants("d", table) {
					want = append(want, rows)
				}
			}
			if r.open != id { // it was closed in the middle of it
				require.Equal(t, want, r.has[id], "reader %d, transaction %s", i, id)
				compared += len(want)
			}
		}
	}
	h.Stop()
	t.Logf("%d readers, %d rows compared, %d times a reader left the ring", len(readers), compared, strings.Count(log.String(), "stream leaves the hub"))
	require.Greater(t, compared, 300)
}
