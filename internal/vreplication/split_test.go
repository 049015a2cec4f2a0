package vreplication

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/filter"
	"braid/internal/topo"
	"braid/internal/vstream"
)

// shard is a target of a split: an engine with a database of its own.
type shard struct {
	*world
	keys string
}

// slow is a Source whose streams bring every batch late.
type slow struct {
	vstream.Source
	by time.Duration
}

func (s slow) Open(ctx context.Context, start vstream.Start) (vstream.Stream, error) {
	stream, err := s.Source.Open(ctx, start)
	return slowStream{stream, s.by}, err
}

type slowStream struct {
	vstream.Stream
	by time.Duration
}

func (s slowStream) Recv() ([]vstream.Item, error) {
	time.Sleep(s.by)
	return s.Stream.Recv()
}

// TestSplitReadsOnce splits tables into four while one of the targets is slow, and another starts again or not: what the streams of a workflow
// read is shared nevertheless.
func TestSplitReadsOnce(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart=%t", restart), func(t *testing.T) { splitReadsOnce(t, restart) })
	}
}

func splitReadsOnce(t *testing.T, restart bool) {
	src := newWorld(t, nil, source1).sources["src/0"]
	const tables, rows = 3, 12_000
	src.exec("SET cte_max_recursion_depth=100000")
	for i := range tables {
		src.exec(fmt.Sprintf("CREATE TABLE t%d (id BIGINT PRIMARY KEY, v VARCHAR(100))", i),
			fmt.Sprintf("INSERT INTO t%d WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT i * 3, REPEAT('v', 100) FROM n", i, rows),
			fmt.Sprintf("ANALYZE TABLE t%d", i))
	}
	local := vstream.NewLocal(vstream.LocalConfig{DB: src.Repl(), DBName: src.db}, testLog(t))
	t.Cleanup(local.Close)
	var shards []*shard
	for i, keys := range []string{"-40", "40-80", "80-c0", "c0-"} {
		s := &shard{&world{t: t, target: newSide(t, src.Server, fmt.Sprintf("%s_part%d", src.db, i))}, keys}
		s.sizes = &copySizes{least: 16 << 10, first: 16 << 10, most: 16 << 10, rangeBytes: 300 << 10, ranges: 16, underWay: 8, gently: 2}
		for n := range tables {
			s.target.exec(fmt.Sprintf("CREATE TABLE t%d (id BIGINT PRIMARY KEY, v VARCHAR(100))", n))
		}
		var source vstream.Source = local
		if i == 1 {
			source = slow{local, 30 * time.Millisecond}
		}
		s.run(source)
		t.Cleanup(func() { s.engine.Stop() })
		rule := filter.Rule{Table: "/t[0-9]", KeyRange: keys, Vindex: "xxhash", VindexColumns: []string{"id"}}
		_, err := s.engine.Put(t.Context(), Spec{Workflow: "w", Keyspace: "src", Shard: "0", Rules: filter.Rules{Rules: []filter.Rule{rule}}})
		require.NoError(t, err)
		shards = append(shards, s)
	}
	if restart {
		require.Eventually(t, func() bool { return local.Stats().RowsRead.Load() > tables*rows/3 }, time.Minute, 5*time.Millisecond)
		shards[2].engine.Stop()
		time.Sleep(500 * time.Millisecond) // as long as a process needs to start
		shards[2].run(local)
	}
	total := 0
	for _, s := range shards {
		s.await(Running)
		for n := range tables {
			var count int
			_, err := fmt.Sscan(s.target.one(fmt.Sprintf("SELECT COUNT(*) FROM t%d", n)), &count)
			require.NoError(t, err)
			total += count
		}
	}
	require.Equal(t, tables*rows, total)
	read := local.Stats().RowsRead.Load()
	t.Logf("%d rows read for %d", read, total)
	most := 1.02
	if restart { // what it had under way, and what was read past it until all were in step again. If they never were, it would be 1.6.
		most = 1.25
	}
	require.LessOrEqual(t, float64(read), most*float64(total))
}

// run starts the engine with a source.
func (s *shard) run(source vstream.Source) {
	s.engine = NewEngine(Config{DBName: s.target.db, Keyspace: "ks", Shard: s.keys}, Deps{
		Admin: s.target.Admin(), Log: testLog(s.t),
		OpenSource: func(context.Context, string, string, []topo.TabletType) (vstream.Source, error) { return source, nil },
	})
	s.engine.sizes = *s.sizes
	require.NoError(s.t, s.engine.Start(s.t.Context()))
}
