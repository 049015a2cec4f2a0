package controller

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	controlpb "braid/api/control"
	"braid/internal/base/errs"
	"braid/internal/base/fault"
	"braid/internal/topo"
	"braid/internal/workflow"
)

func TestMoveFromCreateToComplete(t *testing.T) {
	e, _ := moveEnv(t)
	source, left, right := e.shard("commerce", "0"), e.shard("customer", "-80"), e.shard("customer", "80-")
	before := e.routing().Epoch

	dry := moveRequest()
	dry.DryRun = true
	plan, err := e.control.CreateWorkflow(e.ctx, dry)
	require.NoError(t, err)
	require.True(t, plan.Changed)
	require.Equal(t, "1. route customer, orders of both commerce and customer to commerce", plan.Steps[0])
	require.Equal(t, before, e.routing().Epoch, "a dry run changes nothing")
	_, err = e.control.ShowWorkflow(e.ctx, &controlpb.ShowWorkflowRequest{Name: "m"})
	e.code(err, errs.NotFound, "workflow m")

	request := moveRequest()
	request.Throttle = &controlpb.Throttle{SourceHistory: -1}
	_, err = e.control.CreateWorkflow(e.ctx, request)
	e.code(err, errs.BadInput, "negative")
	request.Throttle, request.TabletTypes, request.CopyReaders = nil, []string{"REPLICA", "REPLICA"}, 6
	_, err = e.control.CreateWorkflow(e.ctx, request)
	e.code(err, errs.BadInput, "at most once")
	request.TabletTypes, request.CopyReaders = []string{"REPLICA", "PRIMARY"}, 65
	_, err = e.control.CreateWorkflow(e.ctx, request)
	e.code(err, errs.BadInput, "from 1 to 64")
	request.CopyReaders = 6
	request.Throttle = &controlpb.Throttle{SourceHistory: 1000, ReplicaLagMs: 2500, CommitLatencyMs: 10, ThreadsRunning: 8, Query: "SELECT 1", QueryMax: 2}
	reply, err := e.control.CreateWorkflow(e.ctx, request)
	require.NoError(t, err)
	require.True(t, reply.Changed)
	require.Equal(t, plan.Steps, reply.Steps, "the plan is what is done")
	e.running("m")
	for _, shard := range []*simShard{left, right} {
		require.JSONEq(t, `{"source_history":1000,"replica_lag_ns":2500000000,"commit_latency_ns":10000000,"threads_running":8,"query":"SELECT 1","query_max":2}`,
			string(shard.streams[1].spec.Throttle), "its copy has bounds")
		require.Equal(t, "REPLICA,PRIMARY", shard.streams[1].spec.TabletTypes)
		require.EqualValues(t, 6, shard.streams[1].spec.CopyReaders)
	}
	require.Equal(t, e.rows("orders", source), e.rows("orders", left, right))
	require.Equal(t, "commerce", e.routing().TableKeyspace("customer", "orders", topo.Primary), "the target is not served yet")
	require.NotContains(t, left.rows, "orders_seq", "sequences stay")

	again, err := e.control.CreateWorkflow(e.ctx, moveRequest())
	require.NoError(t, err)
	require.False(t, again.Changed)
	elsewhere := moveRequest()
	elsewhere.TabletTypes = []string{"PRIMARY"}
	_, err = e.control.CreateWorkflow(e.ctx, elsewhere)
	e.code(err, errs.Exists, "another one")
	other := moveRequest()
	other.Tables = []string{"orders"}
	_, err = e.control.CreateWorkflow(e.ctx, other)
	e.code(err, errs.Exists, "another one")

	_, err = e.control.SwitchTraffic(e.ctx, &controlpb.SwitchTrafficRequest{Name: "m", TabletTypes: []string{"PRIMARY"}})
	e.code(err, errs.ReadsNotSwitched, "RDONLY")
	_, err = e.control.SwitchTraffic(e.ctx, &controlpb.SwitchTrafficRequest{Name: "m", TabletTypes: []string{"rdonly", "replica"}})
	require.NoError(t, err)
	w := e.rest("m")
	require.Equal(t, map[string]string{"RDONLY": "target", "REPLICA": "target", "PRIMARY": "source"}, w.Serving)
	require.Equal(t, "customer", e.routing().TableKeyspace("commerce", "orders", topo.Replica))
	require.Equal(t, "commerce", e.routing().TableKeyspace("commerce", "orders", topo.Primary))

	planned, err := e.control.SwitchTraffic(e.ctx, &controlpb.SwitchTrafficRequest{Name: "m", DryRun: true})
	require.NoError(t, err)
	require.Contains(t, strings.Join(planned.Steps, "\n"), "expected pause of writes: about")
	require.Contains(t, strings.Join(planned.Steps, "\n"), "raise sequence commerce.orders_seq")
	_, err = e.control.SwitchTraffic(e.ctx, &controlpb.SwitchTrafficRequest{Name: "m"})
	require.NoError(t, err)
	w = e.rest("m")
	require.Equal(t, "Switched", w.State, w.Message)
	require.Equal(t, "done", w.LastSwitch.Result)
	require.Positive(t, w.LastSwitch.FencedMs)
	require.Equal(t, "customer", e.routing().TableKeyspace("commerce", "orders", topo.Primary))
	require.Empty(t, e.routing().Fences)
	require.EqualValues(t, 16, source.seqs["orders_seq"])
	require.Equal(t, "reverse", w.Direction)

	repeated, err := e.control.SwitchTraffic(e.ctx, &controlpb.SwitchTrafficRequest{Name: "m"})
	require.NoError(t, err)
	require.False(t, repeated.Changed)
	_, err = e.control.CancelWorkflow(e.ctx, &controlpb.WorkflowRequest{Name: "m"})
	e.code(err, errs.WorkflowState, "on the target already")

	e.cluster.mu.Lock()
	left.write(simTx{table: "orders", key: 3, value: 7})
	e.cluster.mu.Unlock()
	require.Eventually(t, func() bool { return e.rows("orders", source)[3] == 7 }, wait, tick, "the reverse streams follow")

	_, err = e.control.ReverseTraffic(e.ctx, &controlpb.SwitchTrafficRequest{Name: "m"})
	require.NoError(t, err)
	w = e.rest("m")
	require.Equal(t, "Running", w.State, w.Message)
	require.Equal(t, "reverse", w.LastSwitch.Direction)
	require.Empty(t, source.streams, "reverse streams are gone")
	e.cluster.mu.Lock()
	source.write(simTx{table: "orders", key: 9, value: 8})
	e.cluster.mu.Unlock()
	require.Eventually(t, func() bool { return e.rows("orders", left, right)[9] == 8 }, wait, tick, "the forward streams go on")

	_, err = e.control.CompleteWorkflow(e.ctx, &controlpb.WorkflowRequest{Name: "m"})
	e.code(err, errs.WorkflowState, "still served by the source")
	_, err = e.control.SwitchTraffic(e.ctx, &controlpb.SwitchTrafficRequest{Name: "m"})
	require.NoError(t, err)
	require.Equal(t, "Switched", e.rest("m").State)
	_, err = e.control.CompleteWorkflow(e.ctx, &controlpb.WorkflowRequest{Name: "m"})
	require.NoError(t, err)
	require.Equal(t, "Completed", e.rest("m").State)
	require.NotContains(t, source.rows, "orders")
	require.Len(t, e.rows("orders", left, right), 16)
	require.Empty(t, left.streams)
	require.Empty(t, source.streams)
	r := e.routing()
	require.Equal(t, "customer", r.TableKeyspace("commerce", "orders", topo.Primary), "old names go on working")
	require.NotContains(t, r.Tables, "customer.orders")
	done, err := e.control.CompleteWorkflow(e.ctx, &controlpb.WorkflowRequest{Name: "m"})
	require.NoError(t, err)
	require.False(t, done.Changed)
}

func TestReshardAndItsReverse(t *testing.T) {
	e := newEnv(t)
	e.shards("customer", "0", "-80", "80-")
	source, left, right := e.shard("customer", "0"), e.shard("customer", "-80"), e.shard("customer", "80-")
	e.table(source, "orders", 16)
	e.table(source, "customer", 4)
	e.shards("commerce", "0")
	e.table(e.shard("commerce", "0"), "orders_seq", 0)
	e.vschema("customer", customerVSchema)
	e.begin()
	_, err := e.control.CreateWorkflow(e.ctx, &controlpb.CreateWorkflowRequest{Name: "r", Type: "reshard", SourceKeyspace: "customer",
		SourceShards: []string{"0"}, TargetShards: []string{"-80", "80-"}})
	require.NoError(t, errs.FromGRPC(err))
	e.running("r")
	require.Equal(t, []string{"0"}, e.routing().ServingShards("customer", topo.Rdonly))
	_, err = e.control.SwitchTraffic(e.ctx, &controlpb.SwitchTrafficRequest{Name: "r", TabletTypes: []string{"RDONLY"}})
	require.NoError(t, err)
	e.rest("r")
	require.Equal(t, []string{"-80", "80-"}, e.routing().ServingShards("customer", topo.Rdonly))
	require.Equal(t, []string{"0"}, e.routing().ServingShards("customer", topo.Replica))
	_, err = e.control.SwitchTraffic(e.ctx, &controlpb.SwitchTrafficRequest{Name: "r"})
	require.NoError(t, err)
	require.Equal(t, "Switched", e.rest("r").State)
	require.Equal(t, []string{"-80", "80-"}, e.routing().ServingShards("customer", topo.Primary))
	for _, st := range source.streams {
		require.Empty(t, st.spec.KeyRange, "the only source shard takes everything back")
		require.NotContains(t, string(st.spec.Rules), "key_range")
	}
	e.cluster.mu.Lock()
	right.write(simTx{table: "orders", key: 12, value: 1})
	left.write(simTx{table: "orders", key: 2, value: 2})
	e.cluster.mu.Unlock()
	require.Eventually(t, func() bool { r := e.rows("orders", source); return r[12] == 1 && r[2] == 2 }, wait, tick)
	_, err = e.control.ReverseTraffic(e.ctx, &controlpb.SwitchTrafficRequest{Name: "r"})
	require.NoError(t, err)
	require.Equal(t, "Running", e.rest("r").State)
	require.Equal(t, []string{"0"}, e.routing().ServingShards("customer", topo.Primary))
	_, err = e.control.SwitchTraffic(e.ctx, &controlpb.SwitchTrafficRequest{Name: "r"})
	require.NoError(t, err)
	e.rest("r")
	_, err = e.control.CompleteWorkflow(e.ctx, &controlpb.WorkflowRequest{Name: "r"})
	require.NoError(t, err)
	require.Equal(t, "Completed", e.rest("r").State)
	require.Len(t, source.rows["orders"], 16, "the old shard keeps its data")
	require.Equal(t, topo.KeyspaceRouting{topo.Primary: {"-80", "80-"}}, e.routing().Keyspaces["customer"])
	_, err = e.control.DeleteShards(e.ctx, &controlpb.DeleteShardsRequest{Keyspace: "customer", Shards: []string{"0"}})
	require.NoError(t, err)
}

func TestCancelTakesEverythingBack(t *testing.T) {
	e, _ := moved(t)
	_, err := e.control.SwitchTraffic(e.ctx, &controlpb.SwitchTrafficRequest{Name: "m", TabletTypes: []string{"REPLICA"}})
	require.NoError(t, err)
	e.rest("m")
	_, err = e.control.CancelWorkflow(e.ctx, &controlpb.WorkflowRequest{Name: "m"})
	require.NoError(t, err)
	require.Equal(t, "Cancelled", e.rest("m").State)
	require.Empty(t, e.routing().Tables)
	require.Empty(t, e.shard("customer", "-80").rows)
	require.Empty(t, e.shard("customer", "-80").streams)
	_, err = e.control.CreateWorkflow(e.ctx, moveRequest())
	require.NoError(t, err, "its name is free again")
	e.running("m")
}

func TestCancelKeepsDataThatIsWanted(t *testing.T) {
	e, _ := moved(t)
	_, err := e.control.CancelWorkflow(e.ctx, &controlpb.WorkflowRequest{Name: "m", KeepData: true})
	require.NoError(t, err)
	e.rest("m")
	require.Contains(t, e.shard("customer", "-80").rows, "orders")
	_, err = e.control.CreateWorkflow(e.ctx, moveRequest())
	e.code(err, errs.TableDiffers, "has rows")
}

func TestStopAndStart(t *testing.T) {
	e, _ := moved(t)
	_, err := e.control.StopWorkflow(e.ctx, &controlpb.WorkflowRequest{Name: "m"})
	require.NoError(t, err)
	w := e.rest("m")
	require.Equal(t, "Stopped", w.State)
	require.Equal(t, "Stopped", w.Streams[0].State)
	_, err = e.control.SwitchTraffic(e.ctx, &controlpb.SwitchTrafficRequest{Name: "m"})
	e.code(err, errs.StreamsNotRunning, "are stopped")
	again, err := e.control.StopWorkflow(e.ctx, &controlpb.WorkflowRequest{Name: "m"})
	require.NoError(t, err)
	require.False(t, again.Changed)
	_, err = e.control.StartWorkflow(e.ctx, &controlpb.WorkflowRequest{Name: "m"})
	require.NoError(t, err)
	e.running("m")
}

func TestBusyWorkflow(t *testing.T) {
	e, _ := moved(t)
	release := make(chan struct{})
	e.hook(func(ctx context.Context, method string, _ workflow.Shard) error {
		if method != "AwaitFence" {
			return nil
		}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return ctx.Err()
	})
	_, err := e.control.SwitchTraffic(e.ctx, &controlpb.SwitchTrafficRequest{Name: "m"})
	require.NoError(t, err)
	e.until("m", func(w *controlpb.Workflow) bool { return w.Step == "fence" })
	require.Contains(t, e.routing().Fences, "m")
	_, err = e.control.StopWorkflow(e.ctx, &controlpb.WorkflowRequest{Name: "m"})
	e.code(err, errs.WorkflowBusy, "busy with switch")
	same, err := e.control.SwitchTraffic(e.ctx, &controlpb.SwitchTrafficRequest{Name: "m"})
	require.NoError(t, err)
	require.True(t, same.Workflow.Busy)
	close(release)
	require.Equal(t, "Switched", e.rest("m").State)
}

func TestCancelEndsACreateThatWaits(t *testing.T) {
	e, _ := moveEnv(t)
	var down atomic.Bool
	down.Store(true)
	e.hook(func(_ context.Context, method string, _ workflow.Shard) error {
		if method == "CreateStreams" && down.Load() {
			return errs.New(errs.MySQLUnreachable, nil, "mysqld is down")
		}
		return nil
	})
	_, err := e.control.CreateWorkflow(e.ctx, moveRequest())
	require.NoError(t, err)
	e.until("m", func(w *controlpb.Workflow) bool { return strings.Contains(w.Message, "mysqld is down") })
	_, err = e.control.CancelWorkflow(e.ctx, &controlpb.WorkflowRequest{Name: "m"})
	require.NoError(t, err)
	require.Equal(t, "Cancelled", e.rest("m").State)
}

func TestStreamErrorIsTheWorkflows(t *testing.T) {
	e, _ := moved(t)
	e.cluster.mu.Lock()
	for _, st := range e.shard("customer", "80-").streams {
		st.state = workflow.StreamError
	}
	e.cluster.mu.Unlock()
	w := e.until("m", func(w *controlpb.Workflow) bool { return w.State == "Error" })
	require.Contains(t, w.Message, "from commerce/0 to customer/80- has failed")
	_, err := e.control.SwitchTraffic(e.ctx, &controlpb.SwitchTrafficRequest{Name: "m"})
	e.code(err, errs.StreamsNotRunning, "is Error")
	_, err = e.control.StartWorkflow(e.ctx, &controlpb.WorkflowRequest{Name: "m"})
	require.NoError(t, err)
	e.running("m")
}

// A controller that dies during a switch: with the fence up, its successor undoes; with a journal written, it goes forward.
func TestTakeover(t *testing.T) {
	for _, c := range []struct {
		after  string // the call after which the leader dies
		result string
		state  string
	}{
		{"AwaitFence", "undone", "Running"},
		{"WaitForPosition", "undone", "Running"},
		{"RaiseSequence", "undone", "Running"},
		{"WriteJournal", "done", "Switched"},
	} {
		t.Run(c.after, func(t *testing.T) {
			e, first := moved(t)
			second := e.controller("two")
			var once atomic.Bool
			e.hookAfter(func(ctx context.Context, method string, _ workflow.Shard) error {
				if method == c.after && once.CompareAndSwap(false, true) {
					first.client.Kill()
					<-ctx.Done() // the answer never arrives
					return ctx.Err()
				}
				return nil
			})
			_, err := e.control.SwitchTraffic(e.ctx, &controlpb.SwitchTrafficRequest{Name: "m"})
			require.NoError(t, err)
			e.control = second.api
			w := e.until("m", func(w *controlpb.Workflow) bool { return !w.Busy && w.LastSwitch != nil })
			require.Equal(t, c.result, w.LastSwitch.Result)
			require.Equal(t, c.state, w.State)
			require.Empty(t, e.routing().Fences)
			_, err = e.control.SwitchTraffic(e.ctx, &controlpb.SwitchTrafficRequest{Name: "m"})
			require.NoError(t, err)
			require.Equal(t, "Switched", e.rest("m").State)
		})
	}
}

// Every named fault point: the verb ends, done or undone, and the next one works.
func TestEveryFaultPoint(t *testing.T) {
	var points []string
	for _, s := range workflow.Stages() {
		points = append(points, "workflow."+string(s), "workflow."+s.Work())
	}
	for _, point := range points {
		for _, when := range []string{".before", ".after"} {
			t.Run(point+when, func(t *testing.T) {
				restore, err := fault.Set(point + when + "=error@1")
				require.NoError(t, err)
				defer restore()
				e, _ := moved(t)
				for _, verb := range []func(context.Context, *controlpb.SwitchTrafficRequest) error{e.switchTo, e.reverse, e.switchTo} {
					require.NoError(t, verb(e.ctx, &controlpb.SwitchTrafficRequest{Name: "m"}))
					w := e.rest("m")
					if w.LastSwitch.Result == "undone" {
						require.NoError(t, verb(e.ctx, &controlpb.SwitchTrafficRequest{Name: "m"}))
						w = e.rest("m")
					}
					require.Equal(t, "done", w.LastSwitch.Result, w.Message)
				}
				_, err = e.control.CompleteWorkflow(e.ctx, &controlpb.WorkflowRequest{Name: "m"})
				require.NoError(t, err)
				require.Equal(t, "Completed", e.rest("m").State)
				require.Empty(t, e.routing().Fences)
			})
		}
	}
}

func (e *env) switchTo(ctx context.Context, r *controlpb.SwitchTrafficRequest) error {
	_, err := e.control.SwitchTraffic(ctx, r)
	return errs.FromGRPC(err)
}

func (e *env) reverse(ctx context.Context, r *controlpb.SwitchTrafficRequest) error {
	_, err := e.control.ReverseTraffic(ctx, r)
	return errs.FromGRPC(err)
}

// A topology that is away for a while delays a switch, and breaks nothing.
func TestTopologyOutageDuringASwitch(t *testing.T) {
	e, _ := moved(t)
	var once atomic.Bool
	back := make(chan struct{})
	e.hook(func(_ context.Context, method string, _ workflow.Shard) error {
		if method == "WriteJournal" && once.CompareAndSwap(false, true) {
			e.store.SetDown(true)
			close(back)
		}
		return nil
	})
	require.NoError(t, e.switchTo(e.ctx, &controlpb.SwitchTrafficRequest{Name: "m"}))
	<-back
	e.store.SetDown(false)
	require.Equal(t, "Switched", e.rest("m").State)
}
