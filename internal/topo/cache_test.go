package topo_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
	"braid/internal/topo"
	"braid/internal/topo/memory"
)

func startCache(t *testing.T, tp *topo.Topology) *topo.Cache {
	t.Helper()
	c := topo.NewCache(tp)
	require.NoError(t, c.Start(t.Context()))
	t.Cleanup(c.Stop)
	return c
}

// until waits for a change that makes cond true.
func until(t *testing.T, c *topo.Cache, cond func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		changed := c.Changed()
		if cond() {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatal("the cache did not follow")
		}
	}
}

func TestCacheHasAllAfterStart(t *testing.T) {
	ctx := t.Context()
	tp, _ := newTopology(t)
	withShards(t, tp, "ks", "80-", "-80")
	register(t, tp, tablet(2, "ks", "-80", topo.Replica))
	register(t, tp, tablet(1, "ks", "-80", topo.Primary))
	_, err := tp.SetVSchema(ctx, "ks", []byte(`{}`), -1)
	require.NoError(t, err)
	_, err = tp.WriteWorkflow(ctx, "w", []byte("not its business"), 0)
	require.NoError(t, err)

	c := startCache(t, tp)
	require.Equal(t, []string{"ks"}, c.Keyspaces())
	require.Equal(t, []topo.Shard{{Keyspace: "ks", Name: "-80"}, {Keyspace: "ks", Name: "80-"}}, c.Shards("ks"))
	require.Equal(t, []string{"-80", "80-"}, c.Routing().ServingShards("ks", topo.Primary))
	require.Equal(t, map[string][]byte{"ks": []byte(`{}`)}, c.VSchemas())
	require.Len(t, c.Tablets(), 2)
	require.Equal(t, "zone1-1", c.Tablets()[0].Alias)
	require.Equal(t, "zone1-2", c.TabletsOf("ks", "-80", topo.Replica)[0].Alias)
	require.Empty(t, c.TabletsOf("ks", "80-", topo.Replica))
}

func TestCacheFollows(t *testing.T) {
	ctx := t.Context()
	tp, _ := newTopology(t)
	withShards(t, tp, "ks", "0")
	c := startCache(t, tp)

	one := tablet(1, "ks", "0", topo.Replica)
	r := register(t, tp, one)
	until(t, c, func() bool { return len(c.TabletsOf("ks", "0", topo.Replica)) == 1 })
	one.Type = topo.Rdonly
	require.NoError(t, r.Update(ctx, one))
	until(t, c, func() bool { return len(c.TabletsOf("ks", "0", topo.Rdonly)) == 1 })
	require.Empty(t, c.TabletsOf("ks", "0", topo.Replica))
	require.NoError(t, r.Close(ctx))
	until(t, c, func() bool { return len(c.Tablets()) == 0 })

	before := c.VSchemaVersion()
	_, err := tp.SetVSchema(ctx, "ks", []byte(`{"sharded":false}`), -1)
	require.NoError(t, err)
	until(t, c, func() bool { return c.VSchemaVersion() > before })
	require.JSONEq(t, `{"sharded":false}`, string(c.VSchemas()["ks"]))

	require.NoError(t, tp.CreateShard(ctx, "ks", "-80"))
	until(t, c, func() bool { return len(c.Shards("ks")) == 2 })
	require.NoError(t, tp.DeleteShard(ctx, "ks", "-80"))
	until(t, c, func() bool { return len(c.Shards("ks")) == 1 })
}

func TestPrimaryOf(t *testing.T) {
	ctx := t.Context()
	tp, _ := newTopology(t)
	withShards(t, tp, "ks", "0")
	c := startCache(t, tp)
	_, ok := c.PrimaryOf("ks", "0")
	require.False(t, ok)

	first := register(t, tp, tablet(1, "ks", "0", topo.Primary))
	register(t, tp, tablet(2, "ks", "0", topo.Primary))
	until(t, c, func() bool { return len(c.Tablets()) == 2 })
	p, ok := c.PrimaryOf("ks", "0")
	require.True(t, ok, "no record names one: the first of type PRIMARY")
	require.Equal(t, "zone1-1", p.Alias)

	require.NoError(t, tp.SetShardPrimary(ctx, "ks", "0", "zone1-2"))
	until(t, c, func() bool { p, _ := c.PrimaryOf("ks", "0"); return p.Alias == "zone1-2" })
	require.NoError(t, tp.SetShardPrimary(ctx, "ks", "0", "zone1-1"))
	require.NoError(t, first.Close(ctx))
	until(t, c, func() bool { _, ok := c.PrimaryOf("ks", "0"); return !ok && len(c.Tablets()) == 1 })
}

// T1: the cache may be behind, and Refresh and WaitRouting bring it up to what was written before.
func TestRefreshAndWaitRouting(t *testing.T) {
	ctx := t.Context()
	tp, _ := newTopology(t)
	withShards(t, tp, "ks", "0")
	c := startCache(t, tp)
	for i := range 20 {
		written, err := tp.UpdateRouting(ctx, func(r *topo.Routing) error {
			r.Tables["ks.t"] = topo.TableRouting{topo.Primary: string(rune('a' + i))}
			return nil
		})
		require.NoError(t, err)
		if i%2 == 0 {
			require.NoError(t, c.Refresh(ctx))
			require.GreaterOrEqual(t, c.Routing().Epoch, written.Epoch)
			continue
		}
		r, err := c.WaitRouting(ctx, written.Epoch)
		require.NoError(t, err)
		require.GreaterOrEqual(t, r.Epoch, written.Epoch)
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	_, err := c.WaitRouting(short, 1000)
	require.ErrorIs(t, err, errs.Timeout)
	require.ErrorContains(t, err, "routing epoch 1000, known is 21")
}

func TestWaitRoutingIsWokenByTheWatch(t *testing.T) {
	tp, _ := newTopology(t)
	withShards(t, tp, "ks", "0")
	c := startCache(t, tp)
	got := make(chan *topo.Routing, 1)
	go func() {
		r, _ := c.WaitRouting(t.Context(), 2)
		got <- r
	}()
	_, err := tp.UpdateRouting(t.Context(), func(r *topo.Routing) error { delete(r.Keyspaces, "ks"); return nil })
	require.NoError(t, err)
	require.Equal(t, uint64(2), (<-got).Epoch)
}

// While the topology cannot be reached the cache serves what it has; afterwards it catches up by itself.
func TestCacheOutlivesAnOutage(t *testing.T) {
	ctx := t.Context()
	s := memory.New()
	defer s.Close()
	tp, other := topo.New(s), topo.New(s.Client())
	defer other.Close()
	withShards(t, tp, "ks", "0")
	r := register(t, tp, tablet(1, "ks", "0", topo.Primary))
	dead := register(t, other, tablet(2, "ks", "0", topo.Replica))
	c := startCache(t, tp)

	s.SetDown(true)
	require.ErrorIs(t, c.Refresh(ctx), topo.ErrUnreachable)
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	_, err := c.WaitRouting(short, 5)
	require.ErrorIs(t, err, topo.ErrUnreachable, "it says why nothing came")
	require.Len(t, c.Tablets(), 2)
	require.Equal(t, uint64(1), c.Routing().Epoch)

	one := tablet(1, "ks", "0", topo.Primary)
	one.Serving = true
	require.ErrorIs(t, r.Update(ctx, one), topo.ErrUnreachable)
	other.Store.(*memory.Store).Kill()
	s.SetDown(false)
	until(t, c, func() bool { return len(c.Tablets()) == 1 && c.Tablets()[0].Serving })
	require.NoError(t, dead.Close(ctx))
}

func TestCacheNeedsTheTopologyToStart(t *testing.T) {
	tp, s := newTopology(t)
	s.SetDown(true)
	c := topo.NewCache(tp)
	require.ErrorIs(t, c.Start(t.Context()), topo.ErrUnreachable)
	c.Stop()
	c.Stop()
	require.Equal(t, uint64(0), c.Routing().Epoch)
	require.Error(t, c.Refresh(t.Context()), "a cache that does not run says so")
}

// countingStore counts reads, and can hold them.
type countingStore struct {
	topo.Store
	reads atomic.Int64
	began chan struct{} // one place
	gate  chan struct{}
}

func (s *countingStore) Read(ctx context.Context, key string) ([]byte, int64, error) {
	if s.reads.Add(1) == 1 {
		s.began <- struct{}{}
	}
	<-s.gate
	return s.Store.Read(ctx, key)
}

// A thousand connections that are refused at once are one or two reads, not a thousand.
func TestRefreshIsShared(t *testing.T) {
	tp, s := newTopology(t)
	withShards(t, tp, "ks", "0")
	counting := &countingStore{Store: s, began: make(chan struct{}, 1), gate: make(chan struct{})}
	c := startCache(t, topo.New(counting))
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.Refresh(t.Context()) })
	<-counting.began
	var joined sync.WaitGroup
	for range 1000 {
		joined.Add(1)
		wg.Go(func() {
			joined.Done()
			if err := c.Refresh(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	joined.Wait()
	close(counting.gate)
	wg.Wait()
	require.Less(t, counting.reads.Load(), int64(200))
	require.GreaterOrEqual(t, counting.reads.Load(), int64(2), "who came later saw a later read")
}

func BenchmarkCache(b *testing.B) {
	s := memory.New()
	defer s.Close()
	tp := topo.New(s)
	require.NoError(b, tp.CreateKeyspace(b.Context(), "ks"))
	require.NoError(b, tp.CreateShard(b.Context(), "ks", "0"))
	require.NoError(b, tp.SetShardPrimary(b.Context(), "ks", "0", "zone1-1"))
	_, err := tp.RegisterTablet(b.Context(), tablet(1, "ks", "0", topo.Primary), time.Second)
	require.NoError(b, err)
	c := topo.NewCache(tp)
	require.NoError(b, c.Start(b.Context()))
	defer c.Stop()
	b.ReportAllocs()
	for b.Loop() {
		if c.Routing().CheckWrite("ks", "0", nil) != nil {
			b.Fatal("refused")
		}
		if _, ok := c.PrimaryOf("ks", "0"); !ok {
			b.Fatal("no primary")
		}
	}
}
