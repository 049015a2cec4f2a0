package controller

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	controlpb "braid/api/control"
	"braid/internal/base/errs"
	"braid/internal/topo"
	"braid/internal/workflow"
)

func TestKeyspacesAndShards(t *testing.T) {
	e := newEnv(t)
	e.begin()
	c, err := e.control.CreateKeyspace(e.ctx, &controlpb.CreateKeyspaceRequest{Keyspace: "customer", Shards: []string{"-80", "80-"}, DryRun: true})
	require.NoError(t, err)
	require.Equal(t, []string{"1. create keyspace customer", "2. create shard customer/-80", "3. create shard customer/80-"}, c.Steps)
	_, err = e.topo.Keyspace(e.ctx, "customer")
	require.ErrorIs(t, err, topo.ErrNotFound)

	for _, changed := range []bool{true, false} {
		c, err = e.control.CreateKeyspace(e.ctx, &controlpb.CreateKeyspaceRequest{Keyspace: "customer", Shards: []string{"-80", "80-"}})
		require.NoError(t, err)
		require.Equal(t, changed, c.Changed)
	}
	_, err = e.control.CreateKeyspace(e.ctx, &controlpb.CreateKeyspaceRequest{Keyspace: "customer"})
	e.code(err, errs.Exists, "with shard -80")
	_, err = e.control.CreateKeyspace(e.ctx, &controlpb.CreateKeyspaceRequest{Keyspace: "other", Shards: []string{"-80", "c0-"}})
	e.code(err, errs.ShardsDoNotPartition, "no shard holds the key range 80-c0")
	_, err = e.control.CreateKeyspace(e.ctx, &controlpb.CreateKeyspaceRequest{Keyspace: "mysql"})
	e.code(err, errs.BadInput, "mysql")

	_, err = e.control.CreateShards(e.ctx, &controlpb.CreateShardsRequest{Keyspace: "customer", Shards: []string{"-40", "40-80"}})
	require.NoError(t, err)
	_, err = e.control.CreateShards(e.ctx, &controlpb.CreateShardsRequest{Keyspace: "nowhere", Shards: []string{"-40"}})
	e.code(err, errs.KeyspaceUnknown, "nowhere")
	list, err := e.control.ListKeyspaces(e.ctx, &controlpb.ListKeyspacesRequest{Keyspace: "customer"})
	require.NoError(t, err)
	serving := map[string]int{}
	for _, s := range list.Keyspaces[0].Shards {
		serving[s.Name] = len(s.Serving)
	}
	require.Equal(t, map[string]int{"-80": 3, "80-": 3, "-40": 0, "40-80": 0}, serving)

	_, err = e.control.DeleteShards(e.ctx, &controlpb.DeleteShardsRequest{Keyspace: "customer", Shards: []string{"-40", "80-"}})
	e.code(err, errs.WorkflowState, "80- serves")
	for _, changed := range []bool{true, false} {
		c, err = e.control.DeleteShards(e.ctx, &controlpb.DeleteShardsRequest{Keyspace: "customer", Shards: []string{"-40", "40-80"}})
		require.NoError(t, err)
		require.Equal(t, changed, c.Changed)
	}
	routing, err := e.control.ShowRouting(e.ctx, &controlpb.ShowRoutingRequest{})
	require.NoError(t, err)
	var r topo.Routing
	require.NoError(t, json.Unmarshal([]byte(routing.RoutingJson), &r))
	require.Equal(t, routing.Epoch, r.Epoch)
}

func TestShardsOfAWorkflowAreNotDeleted(t *testing.T) {
	e := newEnv(t)
	e.shards("customer", "0", "-80", "80-")
	e.table(e.shard("customer", "0"), "orders", 2)
	e.vschema("customer", customerVSchema)
	e.begin()
	_, err := e.control.CreateWorkflow(e.ctx, &controlpb.CreateWorkflowRequest{Name: "r", Type: "reshard", SourceKeyspace: "customer",
		SourceShards: []string{"0"}, TargetShards: []string{"-80", "80-"}})
	require.NoError(t, errs.FromGRPC(err))
	_, err = e.control.DeleteShards(e.ctx, &controlpb.DeleteShardsRequest{Keyspace: "customer", Shards: []string{"-80"}})
	e.code(err, errs.WorkflowBusy, "workflow r")
	e.running("r")
}

func TestVSchema(t *testing.T) {
	e := newEnv(t)
	e.shards("customer", "0")
	e.begin()
	shown, err := e.control.ShowVSchema(e.ctx, &controlpb.ShowVSchemaRequest{Keyspace: "customer"})
	require.NoError(t, err)
	require.JSONEq(t, "{}", shown.VschemaJson)
	for _, changed := range []bool{true, false} {
		c, err := e.control.ApplyVSchema(e.ctx, &controlpb.ApplyVSchemaRequest{Keyspace: "customer", VschemaJson: customerVSchema})
		require.NoError(t, err)
		require.Equal(t, changed, c.Changed)
	}
	list, err := e.control.ListKeyspaces(e.ctx, &controlpb.ListKeyspacesRequest{})
	require.NoError(t, err)
	require.True(t, list.Keyspaces[0].Sharded)
	_, err = e.control.ApplyVSchema(e.ctx, &controlpb.ApplyVSchemaRequest{Keyspace: "customer",
		VschemaJson: `{"sharded":true,"tables":{"t":{"column_vindexes":[{"column":"id","name":"nope"}]}}}`})
	e.code(err, errs.UnknownVindex, "nope")
	_, err = e.control.ApplyVSchema(e.ctx, &controlpb.ApplyVSchemaRequest{Keyspace: "customer", VschemaJson: `{"shardet":true}`})
	e.code(err, errs.BadVSchema, "shardet")
	_, err = e.control.ApplyVSchema(e.ctx, &controlpb.ApplyVSchemaRequest{Keyspace: "nowhere", VschemaJson: `{}`})
	e.code(err, errs.KeyspaceUnknown, "nowhere")
}

func TestApplySchemaRunsOnServingPrimaries(t *testing.T) {
	e := newEnv(t)
	e.shards("customer", "-80", "80-", "-40")
	e.begin()
	c, err := e.control.ApplySchema(e.ctx, &controlpb.ApplySchemaRequest{Keyspace: "customer", Sql: "CREATE TABLE a;\n-- and\n;CREATE TABLE b;\n"})
	require.NoError(t, errs.FromGRPC(err))
	require.Len(t, c.Steps, 2)
	for _, name := range []string{"-80", "80-"} {
		require.Contains(t, e.shard("customer", name).rows, "a")
		require.Contains(t, e.shard("customer", name).rows, "b")
	}
	require.Empty(t, e.shard("customer", "-40").rows)
	_, err = e.control.ApplySchema(e.ctx, &controlpb.ApplySchemaRequest{Keyspace: "customer", Sql: " ; -- nothing"})
	e.code(err, errs.BadInput, "0 statements")
}

func TestTabletsThatLiveAndThoseThatDoNot(t *testing.T) {
	e := newEnv(t)
	e.shards("commerce", "0")
	e.begin()
	require.NoError(t, e.topo.CreateShard(e.ctx, "commerce", "-80"))
	require.NoError(t, e.topo.SetShardPrimary(e.ctx, "commerce", "-80", "zone1-900"))
	list, err := e.control.ListTablets(e.ctx, &controlpb.ListTabletsRequest{Keyspace: "commerce"})
	require.NoError(t, err)
	require.Len(t, list.Tablets, 2)
	require.True(t, list.Tablets[0].Alive)
	require.Equal(t, "zone1-900", list.Tablets[1].Alias)
	require.False(t, list.Tablets[1].Alive)
}

func TestPreflight(t *testing.T) {
	e, _ := moveEnv(t)
	e.shards("lonely")
	require.NoError(t, e.topo.CreateShard(e.ctx, "lonely", "0"))
	e.shards("old", "0")
	require.NoError(t, e.cluster.register(e.ctx))
	e.cluster.mu.Lock()
	e.shard("commerce", "0").write(simTx{table: "keyless", create: true})
	e.shard("commerce", "0").write(simTx{table: "plain", create: true})
	e.shard("commerce", "0").write(simTx{table: "gone", create: true})
	e.shard("old", "0").write(simTx{table: "customer", create: true})
	e.shard("old", "0").write(simTx{table: "customer", key: 1, value: 1})
	e.cluster.mu.Unlock()
	_, err := e.topo.UpdateRouting(e.ctx, func(r *topo.Routing) error {
		r.Tables["commerce.gone"] = topo.TableRouting{topo.Primary: "old"}
		return nil
	})
	require.NoError(t, err)
	for _, c := range []struct {
		name string
		edit func(*controlpb.CreateWorkflowRequest)
		def  *errs.Def
		text string
	}{
		{"unknown keyspace", func(r *controlpb.CreateWorkflowRequest) { r.SourceKeyspace = "nowhere" }, errs.KeyspaceUnknown, "nowhere"},
		{"no primary", func(r *controlpb.CreateWorkflowRequest) { r.TargetKeyspace = "lonely"; r.Tables = []string{"orders"} }, errs.NoPrimary, "lonely/0 has no living primary"},
		{"missing table", func(r *controlpb.CreateWorkflowRequest) { r.Tables = []string{"nope"} }, errs.TableUnknown, "commerce.nope"},
		{"no primary key", func(r *controlpb.CreateWorkflowRequest) { r.Tables = []string{"keyless"} }, errs.NoPrimaryKey, "keyless"},
		{"sequence", func(r *controlpb.CreateWorkflowRequest) { r.Tables = []string{"orders_seq"} }, errs.BadInput, "is a sequence"},
		{"no vindex", func(r *controlpb.CreateWorkflowRequest) { r.Tables = []string{"plain"} }, errs.BadVSchema, "no vindex"},
		{"target has rows", func(r *controlpb.CreateWorkflowRequest) {
			r.TargetKeyspace, r.Tables = "old", []string{"customer"}
		}, errs.TableDiffers, "has rows"},
		{"moved away", func(r *controlpb.CreateWorkflowRequest) { r.Tables = []string{"gone"} }, errs.WorkflowState, "old serves it"},
		{"to itself", func(r *controlpb.CreateWorkflowRequest) { r.TargetKeyspace = "commerce" }, errs.BadInput, "itself"},
		{"type", func(r *controlpb.CreateWorkflowRequest) { r.Type = "copy" }, errs.BadInput, "copy"},
		{"name", func(r *controlpb.CreateWorkflowRequest) { r.Name = "m_reverse" }, errs.BadInput, "reverse streams"},
		{"some shards", func(r *controlpb.CreateWorkflowRequest) { r.TargetShards = []string{"-80"} }, errs.BadInput, "all serving shards"},
		{"reshard without shards", func(r *controlpb.CreateWorkflowRequest) { r.Type, r.TargetKeyspace = "reshard", "" }, errs.BadInput, "needs the shards"},
		{"reshard of a shard that does not exist", func(r *controlpb.CreateWorkflowRequest) {
			r.Type, r.SourceKeyspace, r.SourceShards, r.TargetShards = "reshard", "customer", []string{"-80"}, []string{"-40"}
		}, errs.ShardUnknown, "-40"},
		{"reshard with overlap", func(r *controlpb.CreateWorkflowRequest) {
			r.Type, r.SourceKeyspace, r.SourceShards, r.TargetShards = "reshard", "customer", []string{"-80"}, []string{"80-"}
		}, errs.BadInput, "serves already"},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := moveRequest()
			c.edit(req)
			_, err := e.control.CreateWorkflow(e.ctx, req)
			e.code(err, c.def, c.text)
		})
	}
	t.Run("reshard with a gap", func(t *testing.T) {
		require.NoError(t, e.topo.CreateShard(e.ctx, "customer", "-40"))
		_, err := e.control.CreateWorkflow(e.ctx, &controlpb.CreateWorkflowRequest{Name: "r", Type: "reshard", SourceKeyspace: "customer",
			SourceShards: []string{"-80"}, TargetShards: []string{"-40"}})
		e.code(err, errs.ShardsDoNotPartition, "no shard holds the key range 40-80")
	})
	t.Run("another workflow has the table", func(t *testing.T) {
		req := moveRequest()
		req.Tables = []string{"orders"}
		_, err := e.control.CreateWorkflow(e.ctx, req)
		require.NoError(t, errs.FromGRPC(err))
		req = moveRequest()
		req.Name, req.Tables = "m2", []string{"customer", "orders"}
		_, err = e.control.CreateWorkflow(e.ctx, req)
		e.code(err, errs.WorkflowBusy, "workflow m ")
		e.running("m")
	})
}

// Tables that were moved before are known under their old names; those names follow, and survive a cancel.
func TestMoveOfWhatWasMovedBefore(t *testing.T) {
	e := newEnv(t)
	e.shards("a", "0")
	e.shards("b", "0")
	e.shards("c", "0")
	e.table(e.shard("a", "0"), "orders", 4)
	e.begin()
	move := func(name, from, to string) {
		_, err := e.control.CreateWorkflow(e.ctx, &controlpb.CreateWorkflowRequest{Name: name, Type: "move", SourceKeyspace: from, TargetKeyspace: to})
		require.NoError(t, errs.FromGRPC(err))
		e.running(name)
		require.NoError(t, e.switchTo(e.ctx, &controlpb.SwitchTrafficRequest{Name: name}))
		require.Equal(t, "Switched", e.rest(name).State)
	}
	served := func(keyspace string) string { return e.routing().TableKeyspace(keyspace, "orders", topo.Primary) }
	complete := func(name string) {
		_, err := e.control.CompleteWorkflow(e.ctx, &controlpb.WorkflowRequest{Name: name})
		require.NoError(t, err)
		require.Equal(t, "Completed", e.rest(name).State)
	}
	move("one", "a", "b")
	complete("one")
	move("two", "b", "c")
	require.Equal(t, []string{"c", "c", "c"}, []string{served("a"), served("b"), served("c")})
	require.NoError(t, e.reverse(e.ctx, &controlpb.SwitchTrafficRequest{Name: "two"}))
	require.Equal(t, "Running", e.rest("two").State)
	require.Equal(t, "b", served("a"))
	_, err := e.control.CancelWorkflow(e.ctx, &controlpb.WorkflowRequest{Name: "two"})
	require.NoError(t, err)
	e.rest("two")
	require.Equal(t, []string{"b", "b", "c"}, []string{served("a"), served("b"), served("c")})
	move("back", "b", "a")
	complete("back")
	require.Equal(t, []string{"a", "a"}, []string{served("a"), served("b")})
	require.NotContains(t, e.routing().Tables, "a.orders")
	require.Len(t, e.rows("orders", e.shard("a", "0")), 4)
}

func TestDiff(t *testing.T) {
	e, _ := moved(t)
	d, err := e.control.StartDiff(e.ctx, &controlpb.StartDiffRequest{Workflow: "m", Tables: []string{"orders"}, DryRun: true})
	require.NoError(t, err)
	require.Len(t, d.Tables, 2)
	_, err = e.control.StartDiff(e.ctx, &controlpb.StartDiffRequest{Workflow: "m", Tables: []string{"nope"}})
	e.code(err, errs.TableUnknown, "nope")
	_, err = e.control.ShowDiff(e.ctx, &controlpb.ShowDiffRequest{Workflow: "m"})
	e.code(err, errs.NotFound, "diff")
	started, err := e.control.StartDiff(e.ctx, &controlpb.StartDiffRequest{Workflow: "m"})
	require.NoError(t, err)
	require.Equal(t, "running", started.State)
	shown, err := e.control.ShowDiff(e.ctx, &controlpb.ShowDiffRequest{Workflow: "m"})
	require.NoError(t, err)
	require.Equal(t, started.Uuid, shown.Uuid)
	require.Equal(t, "completed", shown.State)
	require.Len(t, shown.Tables, 2)
	require.Equal(t, []string{`missing on target id="7"`}, shown.Tables[0].Rows)
	require.Equal(t, "customer/-80", shown.Tables[0].Target)
}

func TestShowNamesATabletThatCannotBeReached(t *testing.T) {
	e, _ := moved(t)
	e.hook(func(ctx context.Context, method string, at workflow.Shard) error {
		if at.Name == "80-" {
			return errs.New(errs.MySQLUnreachable, nil, "mysqld is down")
		}
		return nil
	})
	w := e.until("m", func(w *controlpb.Workflow) bool { return w.Message != "" })
	require.Equal(t, "Running", w.State)
	require.Contains(t, w.Streams[1].Message, "mysqld is down")
	require.Equal(t, "Running", w.Streams[0].State)
	_, err := e.control.SwitchTraffic(e.ctx, &controlpb.SwitchTrafficRequest{Name: "m"})
	e.code(err, errs.MySQLUnreachable, "customer/80-")
	e.hook(nil)
	e.until("m", func(w *controlpb.Workflow) bool { return w.Message == "" })
}

func TestSplitSQL(t *testing.T) {
	for script, want := range map[string][]string{
		"a;b":                        {"a", "b"},
		" ; ;":                       nil,
		"a -- x;y\n;b":               {"a -- x;y", "b"},
		"a ';' \"\\\";\" `;`; b":     {"a ';' \"\\\";\" `;`", "b"},
		"/* ; */ a /* ; */; # only;": {"/* ; */ a /* ; */"},
		"/*!80000 a; b */":           {"/*!80000 a; b */"},
		"a - -1; b--1":               {"a - -1", "b--1"},
		"it''s; '":                   {"it''s", "'"},
	} {
		require.Equal(t, want, splitSQL(script), script)
	}
}
