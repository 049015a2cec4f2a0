package vstream

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/rowimage"
	"braid/internal/sqlconn"
)

// rangeCopy is a range of a table that a parallel copy is at.
type rangeCopy struct {
	table        string
	after, until rowimage.Row
	done         bool
	window       uint64 // under way
}

// parallel copies many tables at once as a target does: several windows are always open.
type parallel struct {
	*copier
	ranges   []*rangeCopy
	most     int // windows at once
	size     int // rows of a chunk
	read     int64
	splits   int
	finished bool
}

func newParallel(t testing.TB, most, size int) *parallel {
	return &parallel{copier: newCopier(t, size), most: most, size: size}
}

// plan asks for the ranges of the tables.
func (p *parallel) plan(tables ...string) error {
	for i, name := range tables {
		if err := p.stream.Split(SplitRequest{ID: uint64(i), Table: name, Bytes: 16 << 10, Most: 6}); err != nil {
			return err
		}
	}
	for p.splits < len(tables) {
		items, err := p.stream.Recv()
		if err != nil {
			return err
		}
		for _, item := range items {
			if split, ok := item.(*Split); ok {
				p.splits++
				var after rowimage.Row
				for _, key := range append(split.Keys, nil) {
					p.ranges = append(p.ranges, &rangeCopy{table: tables[split.ID], after: after, until: key})
					after = key
				}
				continue
			}
			p.item(item)
		}
	}
	return nil
}

// step keeps windows open and takes one batch. It reports whether all is copied.
func (p *parallel) step() (bool, error) {
	open, left := 0, 0
	for _, r := range p.ranges {
		if !r.done {
			left++
		}
		if r.window != 0 {
			open++
		}
	}
	for _, r := range p.ranges {
		if r.done || r.window != 0 || open >= p.most {
			continue
		}
		open++
		p.next++
		r.window = p.next
		if err := p.stream.OpenWindow(WindowRequest{ID: p.next, Table: r.table, After: r.after, Until: r.until, MaxRows: p.size}); err != nil {
			return false, err
		}
	}
	if left == 0 {
		return true, nil
	}
	items, err := p.stream.Recv()
	if err != nil {
		return false, err
	}
	for _, item := range items {
		p.item(item)
		if chunk, ok := item.(*Chunk); ok {
			p.took(chunk)
		}
	}
	return false, nil
}

func (p *parallel) took(chunk *Chunk) {
	p.read += chunk.Read
	for _, r := range p.ranges {
		if r.window == chunk.Window {
			r.window, r.done = 0, chunk.Done
			if chunk.Last != nil {
				r.after = chunk.Last
			}
			return
		}
	}
	p.t.Fatalf("window %d was not asked for", chunk.Window)
}

func (p *parallel) copyAll() error {
	for {
		if done, err := p.step(); done || err != nil {
			return err
		}
	}
}

// resume opens a stream at what the target has.
func (p *parallel) resume(source Source, start Start) {
	for _, r := range p.ranges {
		r.window = 0
	}
	start.Position = p.position.String()
	p.open(source, start)
}

// manyTables makes tables with the keys of keyKinds, and writers on them.
func manyTables(s *server, rows int) []string {
	var names []string
	for i, kind := range keyKinds {
		name := "`" + "m \"" + kind.name + "\" ☃`"
		s.exec(fmt.Sprintf("CREATE TABLE %s (%s, v VARCHAR(200), PRIMARY KEY (k1, k2))", name, kind.columns))
		r := rand.New(rand.NewPCG(uint64(i), 2))
		for range rows / 50 {
			var values []string
			for range 50 {
				values = append(values, fmt.Sprintf("(%s, REPEAT('first', 20))", kind.key(r)))
			}
			s.exec(fmt.Sprintf("REPLACE INTO %s (k1, k2, v) VALUES %s", name, strings.Join(values, ", ")))
		}
		s.exec("ANALYZE TABLE " + name)
		names = append(names, strings.Trim(name, "`"))
	}
	return names
}

// testManyWindows copies five tables at once, each in ranges, under writers, while the sessions that read are killed.
func testManyWindows(t *testing.T, s *server, source Source) {
	names := manyTables(s, 2000)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writers errgroup.Group
	for i, kind := range keyKinds {
		writers.Go(func() error { return write(ctx, s, "`"+names[i]+"`", uint64(i), kind.key) })
	}
	p := newParallel(t, 6, 29)
	p.open(source, Start{FromNow: true, Rules: allTables()})
	require.NoError(t, p.recv())
	require.NoError(t, p.plan(names...))
	require.Greater(t, len(p.ranges), len(names), "at least one table is split")
	kills := 0
	began := time.Now()
	for n := 0; ; n++ {
		if n%20 == 10 && kills < 10 {
			kills += s.kill(s.Repl().User)
		}
		done, err := p.step()
		require.NoError(t, err)
		if done {
			break
		}
	}
	stop()
	require.NoError(t, writers.Wait())
	p.follow(s.executed())
	for _, name := range names {
		require.Equal(t, s.contents(name), p.byName[name].contents(), name)
	}
	t.Logf("%d ranges, %d chunks, %d transactions, %d rows read, %d sessions killed, %v", len(p.ranges), len(p.chunks), p.txs, p.read, kills, time.Since(began))
	require.NotZero(t, kills)
}

// kill ends the sessions of a user that read or are idle. information_schema.PROCESSLIST fails with error 3854 while a statement with four-byte
// characters runs under NAMES binary.
func (s *server) kill(user string) (killed int) {
	res, err := s.conn.Query(s.t.Context(), "SHOW PROCESSLIST")
	require.NoError(s.t, err)
	for _, row := range res.Rows { // Id, User, Host, db, Command
		if string(row[1]) != user || string(row[4]) != "Query" && string(row[4]) != "Sleep" {
			continue
		}
		if _, err := s.conn.Exec(s.t.Context(), "KILL "+string(row[0])); err == nil {
			killed++
		}
	}
	return killed
}

// testSharedScan splits tables into three under writers: rows are read once for all streams, and each gets its own.
func testSharedScan(t *testing.T, s *server, source Source) {
	s.exec("CREATE TABLE t (k1 BIGINT, k2 INT UNSIGNED, v VARCHAR(200), PRIMARY KEY (k1, k2))")
	s.exec("SET cte_max_recursion_depth=100000")
	const rows = 20_000
	s.exec(fmt.Sprintf("INSERT INTO t WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT i MOD 60 - 30, i, REPEAT('v', 30) FROM n", rows))
	s.exec("ANALYZE TABLE t")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writers, copies errgroup.Group
	for w := range 2 {
		writers.Go(func() error { return write(ctx, s, "t", uint64(w), keyKinds[0].key) })
	}
	var shards []*parallel
	for _, keys := range []string{"-55", "55-aa", "aa-"} {
		p := newParallel(t, 3, 200)
		p.open(source, Start{FromNow: true, Workflow: "split", Rules: filter.Rules{Rules: []filter.Rule{{Table: "t", KeyRange: keys, Vindex: "hash", VindexColumns: []string{"k2"}}}}})
		shards = append(shards, p)
	}
	for i, p := range shards {
		copies.Go(func() error {
			if err := p.recv(); err != nil {
				return err
			}
			time.Sleep(time.Duration(i) * 50 * time.Millisecond) // as targets start, one after the other
			if err := p.plan("t"); err != nil {
				return err
			}
			return p.copyAll()
		})
	}
	require.NoError(t, copies.Wait())
	stop()
	require.NoError(t, writers.Wait())
	all, read := map[string]string{}, int64(0)
	for _, p := range shards {
		p.follow(s.executed())
		for k, row := range p.byName["t"].contents() {
			if _, twice := all[k]; twice {
				t.Fatalf("row %s came to two streams", row)
			}
			all[k] = row
		}
		read += p.read
	}
	require.Equal(t, s.contents("t"), all)
	t.Logf("%d rows read for %d", read, rows)
	require.Less(t, float64(read), 1.05*rows+1000, "rows are read once")
}

// testStuckTarget stops taking what one of three streams sends: the others go on.
func testStuckTarget(t *testing.T, s *server, source Source) {
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(100))")
	s.exec("SET cte_max_recursion_depth=100000")
	s.exec("INSERT INTO t WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i, 'x' FROM n")
	var shards []*parallel
	for _, keys := range []string{"-80", "80-"} {
		p := newParallel(t, 2, 100)
		p.open(source, Start{FromNow: true, Workflow: "stuck", Rules: filter.Rules{Rules: []filter.Rule{{Table: "t", KeyRange: keys, Vindex: "hash", VindexColumns: []string{"id"}}}}})
		require.NoError(t, p.recv())
		p.ranges = []*rangeCopy{{table: "t"}}
		shards = append(shards, p)
	}
	require.NoError(t, shards[1].stream.OpenWindow(WindowRequest{ID: 1, Table: "t", MaxRows: 100})) // and never a Recv
	began := time.Now()
	require.NoError(t, shards[0].copyAll())
	took := time.Since(began)
	t.Logf("the other stream took %v", took)
	require.Less(t, took, 20*time.Second)
	shards[1].next, shards[1].ranges[0].window = 1, 1
	require.NoError(t, shards[1].copyAll())
	require.Len(t, s.contents("t"), len(shards[0].byName["t"].rows)+len(shards[1].byName["t"].rows))
}

// testWhole copies tables without a key, quiet and written, beside one that has one.
func testWhole(t *testing.T, s *server, source Source) {
	s.exec("CREATE TABLE quiet (a INT, b VARCHAR(2000))")
	s.exec("CREATE TABLE busy (a INT, b VARCHAR(100))")
	s.exec("SET cte_max_recursion_depth=100000")
	s.exec("INSERT INTO quiet WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i MOD 7, REPEAT('x', 1500) FROM n")
	s.exec("INSERT INTO busy VALUES (1, 'a'), (1, 'a'), (2, NULL)")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- writeKeyless(ctx, s) }()
	s.exec("GRANT LOCK TABLES ON " + sqlconn.QuoteIdent(s.db) + ".* TO " + sqlconn.Quote(s.Repl().User) + "@'127.0.0.1'")
	c := newWholeTarget(t)
	st, err := source.Open(t.Context(), Start{FromNow: true, Rules: allTables()})
	require.NoError(t, err)
	defer st.Close()
	require.NoError(t, st.OpenWindow(WindowRequest{ID: 1, Table: "quiet", Whole: WholeUnlocked}))
	require.NoError(t, st.OpenWindow(WindowRequest{ID: 2, Table: "busy", Whole: WholeLocked}))
	c.until(st, func() bool { return c.copied["quiet"] && c.copied["busy"] })
	require.Greater(t, c.parts["quiet"], 2)
	stop()
	require.NoError(t, <-done)
	until := s.executed()
	c.until(st, func() bool { return c.position.Contains(until) })
	for _, name := range []string{"quiet", "busy"} {
		require.Equal(t, s.multiset(name), c.rows[name], name)
	}
}

func writeKeyless(ctx context.Context, s *server) error {
	conn, err := sqlconn.Dial(ctx, s.Root().WithDB(s.db))
	if err != nil {
		return err
	}
	defer conn.Close()
	for i := 0; ctx.Err() == nil; i++ {
		sql := fmt.Sprintf("INSERT INTO busy VALUES (%d, 'w')", i%5)
		if i%3 == 0 {
			sql = fmt.Sprintf("DELETE FROM busy WHERE a = %d LIMIT 1", i%5)
		}
		if _, err := conn.Exec(context.WithoutCancel(ctx), sql); err != nil {
			return err
		}
	}
	return nil
}

// wholeTarget keeps how often each row of a table is there.
type wholeTarget struct {
	*target
	copied map[string]bool
	parts  map[string]int
	rows   map[string]map[string]int
	names  map[uint32]string
}

func newWholeTarget(t testing.TB) *wholeTarget {
	return &wholeTarget{target: newTarget(t), copied: map[string]bool{}, parts: map[string]int{}, rows: map[string]map[string]int{}, names: map[uint32]string{}}
}

func (c *wholeTarget) until(st Stream, done func() bool) {
	var inside uint32 // the table whose chunks may not be interrupted
	for !done() {
		items, err := st.Recv()
		require.NoError(c.t, err)
		for _, item := range items {
			if _, beat := item.(*Heartbeat); inside != 0 && !beat {
				require.IsType(c.t, &Chunk{}, item)
			}
			switch it := item.(type) {
			case *Table:
				c.names[it.ID] = it.Def.Name
			case *Transaction:
				for _, ch := range it.Changes {
					name := c.names[ch.TableID]
					if !c.copied[name] {
						continue
					}
					if ch.Before != nil {
						if c.rows[name][rowText(ch.Before)]--; c.rows[name][rowText(ch.Before)] == 0 {
							delete(c.rows[name], rowText(ch.Before))
						}
					}
					if ch.After != nil {
						c.rows[name][rowText(ch.After)]++
					}
				}
				require.NoError(c.t, it.Reach(&c.position))
			case *Chunk:
				name := c.names[it.TableID]
				require.Equal(c.t, it.First, c.parts[name] == 0)
				if it.First {
					c.rows[name] = map[string]int{}
				}
				c.parts[name]++
				for _, row := range it.Rows {
					c.rows[name][rowText(row)]++
				}
				if inside = it.TableID; it.Done {
					inside, c.copied[name] = 0, true
				}
			case *Heartbeat:
				c.reach(it.Position)
			}
		}
	}
}

func (s *server) multiset(table string) map[string]int {
	l, err := s.local().load(s.t.Context(), s.executed(), s.db, table)
	require.NoError(s.t, err)
	res, err := s.conn.Query(s.t.Context(), chunkSQL(l.def, nil, &WindowRequest{Whole: WholeUnlocked}, 0))
	require.NoError(s.t, err)
	out := map[string]int{}
	for _, cells := range res.Rows {
		out[rowText(canonicalRow(l.def, cells))]++
	}
	return out
}

// The first stream of a workflow says how many sessions read for it.
func TestReaders(t *testing.T) {
	local := NewLocal(LocalConfig{DBName: "d"}, slog.New(slog.DiscardHandler))
	defer local.Close()
	for _, readers := range []int{0, 1, 9} {
		var leaves []func()
		start := Start{Workflow: fmt.Sprint("w", readers), Readers: readers}
		for range 2 {
			st := newStream(t.Context(), nil, newCatalog("d", start.Rules, local), gtid.Set{}, sourceClock{now: time.Now})
			leaves = append(leaves, local.enter(st, start, ""))
			require.Equal(t, cmp.Or(readers, 4), st.readers.mu.scans.sessions)
			start.Readers = 3
		}
		for _, leave := range leaves {
			leave()
		}
	}
}
