package controller

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	controlpb "braid/api/control"
	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/base/log"
	"braid/internal/topo"
	"braid/internal/topo/memory"
	"braid/internal/workflow"
)

// env is a cluster of simulated tablets behind real gRPC servers, and controllers that share a topology in memory.
type env struct {
	t       testing.TB
	ctx     context.Context
	store   *memory.Store
	topo    *topo.Topology
	cluster *simCluster
	conns   map[string]*grpc.ClientConn
	control controlpb.ControlClient // of the first controller
}

// node is one controller, with a client of the topology of its own.
type node struct {
	*Controller
	client *memory.Store
	api    controlpb.ControlClient
}

func newEnv(t testing.TB) *env {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	store := memory.New()
	t.Cleanup(func() { store.Close() })
	e := &env{t: t, ctx: ctx, store: store, topo: topo.New(store), conns: map[string]*grpc.ClientConn{}}
	e.cluster = newSimCluster(e.topo, t.Fatalf)
	return e
}

// shards creates shards with their tablets; those named first serve.
func (e *env) shards(keyspace string, names ...string) {
	if err := e.topo.CreateKeyspace(e.ctx, keyspace); err != nil {
		require.ErrorIs(e.t, err, topo.ErrExists)
	}
	for _, name := range names {
		require.NoError(e.t, e.topo.CreateShard(e.ctx, keyspace, name))
		e.serve(e.cluster.add(keyspace, name))
	}
}

func (e *env) serve(s *simShard) {
	lis := bufconn.Listen(1 << 20)
	srv := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		name := info.FullMethod[len("/braid.tablet.Tablet/"):]
		resp, err := s.intercept(ctx, name, func() (any, error) {
			s.c.mu.Lock()
			defer s.c.mu.Unlock()
			return handler(ctx, req)
		})
		return resp, errs.ToGRPC(err)
	}))
	tabletpb.RegisterTabletServer(srv, s)
	var wg sync.WaitGroup
	wg.Go(func() { srv.Serve(lis) })
	conn := e.dialTo(lis)
	e.conns[s.at.String()] = conn
	e.t.Cleanup(func() { conn.Close(); srv.Stop(); wg.Wait() })
}

func (e *env) dialTo(lis *bufconn.Listener) *grpc.ClientConn {
	conn, err := grpc.NewClient("passthrough:///buf", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	require.NoError(e.t, err)
	return conn
}

// begin registers the tablets, lets streams run, and starts the first controller.
func (e *env) begin() *node {
	require.NoError(e.t, e.cluster.register(e.ctx))
	ctx, cancel := context.WithCancel(e.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				e.pump()
			}
		}
	})
	e.t.Cleanup(func() { cancel(); wg.Wait() })
	n := e.controller("one")
	e.control = n.api
	return n
}

// pump lets every stream run, and every tablet follow the routing.
func (e *env) pump() {
	e.cluster.mu.Lock()
	defer e.cluster.mu.Unlock()
	for _, s := range e.cluster.shards {
		s.refresh()
		for _, st := range s.streams {
			for s.pump(st) {
			}
		}
	}
}

// controller starts a controller with its own client of the topology.
func (e *env) controller(id string) *node {
	client := e.store.Client()
	n := e.controllerOn(id, client)
	n.client = client
	return n
}

func (e *env) controllerOn(id string, client topo.Store) *node {
	n := &node{}
	var err error
	n.Controller, err = New(Config{GRPCListen: "buffer", ID: id}, Deps{Topo: topo.New(client), Log: log.Discard(),
		Dial: func(addr string) (grpc.ClientConnInterface, error) { return e.conns[addr], nil }})
	require.NoError(e.t, err)
	n.period = 10 * time.Millisecond
	lis := bufconn.Listen(1 << 20)
	require.NoError(e.t, n.start(e.ctx, lis))
	conn := e.dialTo(lis)
	n.api = controlpb.NewControlClient(conn)
	e.t.Cleanup(func() { conn.Close(); n.Stop(); client.Close() })
	return n
}

func (e *env) shard(keyspace, name string) *simShard {
	return e.cluster.shards[workflow.Shard{Keyspace: keyspace, Name: name}]
}

// table makes a table with rows of the keys 0 to n-1 on a shard.
func (e *env) table(s *simShard, name string, n int) {
	e.cluster.mu.Lock()
	defer e.cluster.mu.Unlock()
	s.write(simTx{table: name, create: true})
	for key := range n {
		s.write(simTx{table: name, key: key, value: 100 + key})
	}
}

func (e *env) show(name string) *controlpb.Workflow {
	w, err := e.control.ShowWorkflow(e.ctx, &controlpb.ShowWorkflowRequest{Name: name})
	require.NoError(e.t, errs.FromGRPC(err))
	return w
}

// until polls a workflow; the topology's watch would tell only the stored half of it.
func (e *env) until(name string, done func(*controlpb.Workflow) bool) *controlpb.Workflow {
	var w *controlpb.Workflow
	require.Eventually(e.t, func() bool { w = e.show(name); return done(w) }, 20*time.Second, 5*time.Millisecond, "%v", &w)
	return w
}

func (e *env) rest(name string) *controlpb.Workflow {
	return e.until(name, func(w *controlpb.Workflow) bool { return !w.Busy })
}

func (e *env) running(name string) {
	e.until(name, func(w *controlpb.Workflow) bool { return !w.Busy && w.State == "Running" })
}

func (e *env) routing() *topo.Routing {
	r, err := e.topo.Routing(e.ctx)
	require.NoError(e.t, err)
	return r
}

// rows are the rows of a table on shards, which must not share a key.
func (e *env) rows(table string, shards ...*simShard) map[int]int {
	e.cluster.mu.Lock()
	defer e.cluster.mu.Unlock()
	rows := map[int]int{}
	for _, s := range shards {
		for key, value := range s.rows[table] {
			require.NotContains(e.t, rows, key)
			rows[key] = value
		}
	}
	return rows
}

// code checks that an error of the API is an entry of the catalogue, and says what it should.
func (e *env) code(err error, def *errs.Def, text string) {
	e.t.Helper()
	err = errs.FromGRPC(err)
	require.ErrorIs(e.t, err, def)
	require.ErrorContains(e.t, err, text)
}

const customerVSchema = `{"sharded":true,"vindexes":{"bin":{"type":"binary"}},"tables":{
  "orders":{"column_vindexes":[{"column":"id","name":"bin"}],"auto_increment":{"column":"id","sequence":"commerce.orders_seq"}},
  "customer":{"column_vindexes":[{"column":"id","name":"bin"}]}}}`

// moveEnv is commerce/0 with two tables and a sequence, and an empty customer/-80,80-.
func moveEnv(t testing.TB) (*env, *node) {
	e := newEnv(t)
	e.shards("commerce", "0")
	e.shards("customer", "-80", "80-")
	for _, name := range []string{"orders", "customer"} {
		e.table(e.shard("commerce", "0"), name, 16)
	}
	e.table(e.shard("commerce", "0"), "orders_seq", 0)
	e.vschema("commerce", `{"tables":{"orders":{},"customer":{},"orders_seq":{"type":"sequence"}}}`)
	e.vschema("customer", customerVSchema)
	return e, e.begin()
}

func (e *env) vschema(keyspace, doc string) {
	_, version, err := e.topo.VSchema(e.ctx, keyspace)
	require.NoError(e.t, err)
	_, err = e.topo.SetVSchema(e.ctx, keyspace, []byte(doc), version)
	require.NoError(e.t, err)
}

func moveRequest() *controlpb.CreateWorkflowRequest {
	return &controlpb.CreateWorkflowRequest{Name: "m", Type: "move", SourceKeyspace: "commerce", TargetKeyspace: "customer"}
}

// moved is moveEnv with the workflow created and running.
func moved(t *testing.T) (*env, *node) {
	e, n := moveEnv(t)
	_, err := e.control.CreateWorkflow(e.ctx, moveRequest())
	require.NoError(t, errs.FromGRPC(err))
	e.running("m")
	return e, n
}

// hook is called before every call that arrives at a tablet, hookAfter before it is answered.
func (e *env) hook(fn func(context.Context, string, workflow.Shard) error) {
	e.cluster.setHooks(fn, nil)
}

func (e *env) hookAfter(fn func(context.Context, string, workflow.Shard) error) {
	e.cluster.setHooks(nil, fn)
}

const (
	wait = 20 * time.Second
	tick = 5 * time.Millisecond
)
