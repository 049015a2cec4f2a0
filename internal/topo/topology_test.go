package topo_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"braid/internal/base/errs"
	"braid/internal/topo"
	"braid/internal/topo/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newTopology(t *testing.T) (*topo.Topology, *memory.Store) {
	t.Helper()
	s := memory.New()
	t.Cleanup(func() { s.Close() })
	return topo.New(s), s
}

func withShards(t *testing.T, tp *topo.Topology, keyspace string, shards ...string) {
	t.Helper()
	require.NoError(t, tp.CreateKeyspace(t.Context(), keyspace))
	for _, shard := range shards {
		require.NoError(t, tp.CreateShard(t.Context(), keyspace, shard))
	}
}

func TestKeyspaces(t *testing.T) {
	ctx := t.Context()
	tp, _ := newTopology(t)
	_, err := tp.Keyspace(ctx, "commerce")
	require.ErrorIs(t, err, errs.KeyspaceUnknown)
	require.ErrorIs(t, err, topo.ErrNotFound)
	require.NoError(t, tp.CreateKeyspace(ctx, "commerce"))
	require.ErrorIs(t, tp.CreateKeyspace(ctx, "commerce"), topo.ErrExists)
	for _, bad := range []string{"", "a.b", "a/b", "mysql", "_braid", "Information_Schema", "größe"} {
		require.ErrorIs(t, tp.CreateKeyspace(ctx, bad), topo.ErrBadInput, "%q", bad)
	}
	all, err := tp.Keyspaces(ctx)
	require.NoError(t, err)
	require.Equal(t, []topo.Keyspace{{Name: "commerce"}}, all)
}

func TestCells(t *testing.T) {
	tp, _ := newTopology(t)
	require.NoError(t, tp.CreateCell(t.Context(), "zone2"))
	require.NoError(t, tp.CreateCell(t.Context(), "zone1"))
	require.ErrorIs(t, tp.CreateCell(t.Context(), "zone1"), topo.ErrExists)
	require.ErrorIs(t, tp.CreateCell(t.Context(), "a/b"), topo.ErrBadInput)
	cells, err := tp.Cells(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"zone1", "zone2"}, cells)
}

// T4: a shard serves from its creation only if it overlaps none that serves.
func TestCreateShard(t *testing.T) {
	ctx := t.Context()
	tp, _ := newTopology(t)
	require.ErrorIs(t, tp.CreateShard(ctx, "customer", "-80"), errs.KeyspaceUnknown)
	withShards(t, tp, "customer", "80-", "-80")
	r, err := tp.Routing(ctx)
	require.NoError(t, err)
	require.Equal(t, uint64(2), r.Epoch, "each shard that serves is a change of the routing (T2)")
	require.Equal(t, []string{"-80", "80-"}, r.ServingShards("customer", topo.Primary))

	require.ErrorIs(t, tp.CreateShard(ctx, "customer", "-80"), topo.ErrExists)
	for _, bad := range []string{"8", "80-40", "x-", "", "-8A", "00-1"} {
		require.ErrorIs(t, tp.CreateShard(ctx, "customer", bad), topo.ErrBadInput, "%q", bad)
	}
	require.NoError(t, tp.CreateShard(ctx, "customer", "40-80"))
	require.NoError(t, tp.CreateShard(ctx, "customer", "-40"))
	r, err = tp.Routing(ctx)
	require.NoError(t, err)
	require.Equal(t, uint64(2), r.Epoch, "shards that wait change nothing")
	require.Equal(t, []string{"-80", "80-"}, r.ServingShards("customer", topo.Primary))
	require.Equal(t, []string{"-40", "-80", "40-80", "80-"}, shardNames(t, tp, "customer"))
}

func shardNames(t *testing.T, tp *topo.Topology, keyspace string) []string {
	t.Helper()
	all, err := tp.Shards(t.Context(), keyspace)
	require.NoError(t, err)
	var names []string
	for _, s := range all {
		names = append(names, s.Name)
	}
	return names
}

func TestShardsOfAnUnknownKeyspace(t *testing.T) {
	tp, _ := newTopology(t)
	_, err := tp.Shards(t.Context(), "nowhere")
	require.ErrorIs(t, err, errs.KeyspaceUnknown)
	_, err = tp.Shard(t.Context(), "nowhere", "0")
	require.ErrorIs(t, err, errs.ShardUnknown)
	require.Empty(t, func() []topo.Shard { s, _ := tp.Shards(t.Context(), ""); return s }())
}

// T4: a shard that serves anything is not deleted.
func TestDeleteShard(t *testing.T) {
	ctx := t.Context()
	tp, _ := newTopology(t)
	withShards(t, tp, "customer", "-", "-80")
	require.ErrorIs(t, tp.DeleteShard(ctx, "customer", "-"), errs.WorkflowState)
	_, err := tp.UpdateRouting(ctx, func(r *topo.Routing) error {
		r.Keyspaces["customer"][topo.Rdonly] = []string{"-80"}
		return nil
	})
	require.NoError(t, err)
	require.ErrorContains(t, tp.DeleteShard(ctx, "customer", "-80"), "serves [RDONLY]")
	require.NoError(t, tp.CreateShard(ctx, "customer", "80-"))
	require.NoError(t, tp.DeleteShard(ctx, "customer", "80-"))
	require.ErrorIs(t, tp.DeleteShard(ctx, "customer", "80-"), errs.ShardUnknown)
}

// However creations race, the shards that serve never overlap (T4).
func TestCreateShardRaces(t *testing.T) {
	tp, _ := newTopology(t)
	require.NoError(t, tp.CreateKeyspace(t.Context(), "ks"))
	var wg sync.WaitGroup
	shards := []string{"-", "-80", "80-", "-40", "40-80", "80-c0", "c0-"}
	for _, shard := range shards {
		wg.Go(func() {
			if err := tp.CreateShard(t.Context(), "ks", shard); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	r, err := tp.Routing(t.Context())
	require.NoError(t, err)
	fresh := topo.Routing{Keyspaces: map[string]topo.KeyspaceRouting{}}
	for _, s := range r.ServingShards("ks", topo.Primary) {
		require.True(t, fresh.Serve("ks", s), "%s overlaps\n%s", s, r)
	}
	require.Len(t, shardNames(t, tp, "ks"), len(shards))
}

func TestSetShardPrimary(t *testing.T) {
	ctx := t.Context()
	tp, _ := newTopology(t)
	require.ErrorIs(t, tp.SetShardPrimary(ctx, "ks", "0", "zone1-1"), errs.ShardUnknown)
	withShards(t, tp, "ks", "0")
	require.NoError(t, tp.SetShardPrimary(ctx, "ks", "0", "zone1-1"))
	require.NoError(t, tp.SetShardPrimary(ctx, "ks", "0", "zone1-1"))
	s, err := tp.Shard(ctx, "ks", "0")
	require.NoError(t, err)
	require.Equal(t, topo.Shard{Keyspace: "ks", Name: "0", Primary: "zone1-1"}, s)
}

func TestVSchema(t *testing.T) {
	ctx := t.Context()
	tp, _ := newTopology(t)
	_, _, err := tp.VSchema(ctx, "ks")
	require.ErrorIs(t, err, errs.KeyspaceUnknown)
	_, err = tp.SetVSchema(ctx, "ks", []byte(`{}`), -1)
	require.ErrorIs(t, err, errs.KeyspaceUnknown)
	withShards(t, tp, "ks")
	raw, version, err := tp.VSchema(ctx, "ks")
	require.NoError(t, err)
	require.Nil(t, raw)
	require.Zero(t, version)
	_, err = tp.SetVSchema(ctx, "ks", []byte(`{`), -1)
	require.ErrorIs(t, err, errs.BadVSchema)
	v, err := tp.SetVSchema(ctx, "ks", []byte(`{"sharded":true}`), version)
	require.NoError(t, err)
	_, err = tp.SetVSchema(ctx, "ks", []byte(`{}`), 0)
	require.ErrorIs(t, err, topo.ErrExists)
	raw, version, err = tp.VSchema(ctx, "ks")
	require.NoError(t, err)
	require.Equal(t, v, version)
	require.JSONEq(t, `{"sharded":true}`, string(raw))
}

func TestUpdateRouting(t *testing.T) {
	ctx := t.Context()
	tp, _ := newTopology(t)
	withShards(t, tp, "ks", "0")
	same, err := tp.UpdateRouting(ctx, func(*topo.Routing) error { return nil })
	require.NoError(t, err)
	require.Equal(t, uint64(1), same.Epoch, "no change, no epoch")

	fenced, err := tp.UpdateRouting(ctx, func(r *topo.Routing) error {
		r.Epoch = 77 // is not the caller's to choose
		r.Fences["w"] = topo.Fence{Keyspace: "ks", Shards: []string{"0"}}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, uint64(2), fenced.Epoch)
	require.Equal(t, uint64(2), fenced.Fences["w"].Epoch, "the epoch that set it")
	require.ErrorIs(t, fenced.CheckWrite("ks", "0", nil), errs.Fenced)

	boom := errors.New("boom")
	_, err = tp.UpdateRouting(ctx, func(*topo.Routing) error { return boom })
	require.ErrorIs(t, err, boom)
}

// T2: every change gets an epoch of its own, and none is lost.
func TestUpdateRoutingRaces(t *testing.T) {
	const writers = 8
	tp, _ := newTopology(t)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			_, err := tp.UpdateRouting(t.Context(), func(r *topo.Routing) error {
				r.Tables[string(rune('a'+i))+".t"] = topo.TableRouting{topo.Primary: "ks"}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	r, err := tp.Routing(t.Context())
	require.NoError(t, err)
	require.Equal(t, uint64(writers), r.Epoch)
	require.Len(t, r.Tables, writers)
}

// The switch of a workflow: routing and workflow state are one transaction.
func TestWriteRoutingIf(t *testing.T) {
	ctx := t.Context()
	tp, _ := newTopology(t)
	withShards(t, tp, "ks", "0")
	v, err := tp.WriteWorkflow(ctx, "move", []byte("before"), 0)
	require.NoError(t, err)
	r, err := tp.Routing(ctx)
	require.NoError(t, err)

	next := r.Clone()
	next.Tables["ks.t"] = topo.TableRouting{topo.Primary: "other"}
	_, err = tp.WriteRoutingIf(ctx, next, topo.WorkflowWrite("move", []byte("after"), v+100))
	require.ErrorIs(t, err, topo.ErrConflict)
	now, err := tp.Routing(ctx)
	require.NoError(t, err)
	require.Equal(t, r.Epoch, now.Epoch, "all or none")

	written, err := tp.WriteRoutingIf(ctx, next, topo.WorkflowWrite("move", []byte("after"), v))
	require.NoError(t, err)
	require.Equal(t, r.Epoch+1, written.Epoch)
	raw, version, err := tp.Workflow(ctx, "move")
	require.NoError(t, err)
	require.Equal(t, "after", string(raw))
	require.Equal(t, written.Version(), version)

	_, err = tp.WriteRoutingIf(ctx, next)
	require.ErrorIs(t, err, errs.Conflict, "it was read before the last change")
	_, err = tp.WriteRoutingIf(ctx, written.Clone())
	require.NoError(t, err, "what was written can be changed again without a read")
}

func TestWorkflows(t *testing.T) {
	ctx := t.Context()
	tp, _ := newTopology(t)
	_, _, err := tp.Workflow(ctx, "w")
	require.ErrorIs(t, err, topo.ErrNotFound)
	_, err = tp.WriteWorkflow(ctx, "a/b", nil, 0)
	require.ErrorIs(t, err, topo.ErrBadInput)
	v, err := tp.WriteWorkflow(ctx, "w", []byte("1"), 0)
	require.NoError(t, err)
	_, err = tp.WriteWorkflow(ctx, "w", []byte("2"), 0)
	require.ErrorIs(t, err, topo.ErrExists)
	all, err := tp.Workflows(ctx)
	require.NoError(t, err)
	require.Equal(t, []topo.WorkflowRecord{{Name: "w", Raw: []byte("1"), Version: v}}, all)

	wctx, cancel := context.WithCancel(ctx)
	var seen []string
	err = tp.WatchWorkflows(wctx, func(c topo.Change) {
		if seen = append(seen, c.Key); c.Key == "" {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []string{"w", ""}, seen)
	require.NoError(t, tp.DeleteWorkflow(ctx, "w"))
	require.ErrorIs(t, tp.DeleteWorkflow(ctx, "w"), topo.ErrNotFound)
}

func TestLockKeyspace(t *testing.T) {
	ctx := t.Context()
	tp, _ := newTopology(t)
	l, err := tp.LockKeyspace(ctx, "ks", "switch of move1")
	require.NoError(t, err)
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	_, err = tp.LockKeyspace(short, "ks", "me")
	require.ErrorIs(t, err, errs.LockHeld)
	require.ErrorContains(t, err, "lock keyspace ks")
	require.ErrorContains(t, err, "switch of move1")
	require.NoError(t, l.Unlock(ctx))
}

func tablet(uid uint32, keyspace, shard string, tt topo.TabletType) topo.Tablet {
	return topo.Tablet{Alias: topo.TabletAlias("zone1", uid), Cell: "zone1", UID: uid, Keyspace: keyspace, Shard: shard, Type: tt}
}

func register(t *testing.T, tp *topo.Topology, tab topo.Tablet) *topo.TabletRegistration {
	t.Helper()
	r, err := tp.RegisterTablet(t.Context(), tab, time.Second)
	require.NoError(t, err)
	return r
}

func TestTablets(t *testing.T) {
	ctx := t.Context()
	tp, _ := newTopology(t)
	one := tablet(100, "ks", "-80", topo.Primary)
	r := register(t, tp, one)
	got, err := tp.Tablet(ctx, "zone1-100")
	require.NoError(t, err)
	require.Equal(t, one, got)
	one.Serving, one.Position = true, "uuid:1-5"
	require.NoError(t, r.Update(ctx, one))
	all, err := tp.Tablets(ctx)
	require.NoError(t, err)
	require.Equal(t, []topo.Tablet{one}, all)
	require.ErrorIs(t, r.Update(ctx, tablet(101, "ks", "-80", topo.Primary)), topo.ErrBadInput)
	require.NoError(t, r.Close(ctx))
	_, err = tp.Tablet(ctx, "zone1-100")
	require.ErrorIs(t, err, topo.ErrNotFound)

	bad := tablet(100, "ks", "-80", topo.Primary)
	bad.Alias = "zone1-101"
	_, err = tp.RegisterTablet(ctx, bad, time.Second)
	require.ErrorIs(t, err, topo.ErrBadInput)
}

func TestParseTabletType(t *testing.T) {
	tt, err := topo.ParseTabletType("rdOnly")
	require.NoError(t, err)
	require.Equal(t, topo.Rdonly, tt)
	_, err = topo.ParseTabletType("master")
	require.ErrorIs(t, err, topo.ErrBadInput)
}
