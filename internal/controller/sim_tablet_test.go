package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/keyrange"
	"braid/internal/schema"
	"braid/internal/topo"
	"braid/internal/workflow"
)

// A simulated shard: rows, a log of transactions, streams that apply other shards' logs, a fence, journals, sequences. It
// obeys the routing as a tablet does: by what it has read last, and by nothing later.

type simTx struct {
	table      string
	key, value int
	create     bool // of the table
}

type simStream struct {
	id       int64
	spec     *tabletpb.StreamSpec
	state    string
	position int
	copied   bool
	applied  int64
}

// openTx is a transaction that a client has begun and that will commit.
type openTx struct {
	table      string
	key, value int
}

type simShard struct {
	tabletpb.UnimplementedTabletServer
	c    *simCluster
	at   workflow.Shard
	uuid string

	rows     map[string]map[int]int // nil map: no such table
	log      []simTx
	streams  map[int64]*simStream
	next     int64
	routing  *topo.Routing
	open     []openTx
	journals map[string]*tabletpb.Journal
	written  map[string]int // when a journal was
	seqs     map[string]int64
	diffs    map[string]string
}

type simCluster struct {
	tick   int        // counts the actions of the property test
	mu     sync.Mutex // held while a handler runs
	topo   *topo.Topology
	shards map[workflow.Shard]*simShard
	// before and after are called around every call. An error of after is an answer that is lost.
	before func(ctx context.Context, method string, at workflow.Shard) error
	after  func(ctx context.Context, method string, at workflow.Shard) error
	check  func(format string, args ...any) // fails the test
	ack    func(*simShard, openTx)          // called before a write is acknowledged
}

func newSimCluster(t *topo.Topology, check func(string, ...any)) *simCluster {
	return &simCluster{topo: t, shards: map[workflow.Shard]*simShard{}, check: check}
}

func (c *simCluster) add(keyspace, name string) *simShard {
	at := workflow.Shard{Keyspace: keyspace, Name: name}
	s := &simShard{
		c: c, at: at, uuid: fmt.Sprintf("u%d", len(c.shards)+1), rows: map[string]map[int]int{}, streams: map[int64]*simStream{},
		routing: &topo.Routing{}, journals: map[string]*tabletpb.Journal{}, written: map[string]int{}, seqs: map[string]int64{}, diffs: map[string]string{},
	}
	c.shards[at] = s
	return s
}

// dial is Deps.Dial: addresses are "keyspace/shard".
func (c *simCluster) dial(addr string) (grpc.ClientConnInterface, error) {
	ks, name, _ := strings.Cut(addr, "/")
	s := c.shards[workflow.Shard{Keyspace: ks, Name: name}]
	if s == nil {
		return nil, fmt.Errorf("no tablet at %s", addr)
	}
	return simConn{s}, nil
}

// simConn calls the handlers of the generated service directly.
type simConn struct{ s *simShard }

func (c simConn) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, fmt.Errorf("no streams here")
}

func (c simConn) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	name := method[strings.LastIndexByte(method, '/')+1:]
	resp, err := c.s.intercept(ctx, name, func() (any, error) { return c.s.serve(ctx, name, args.(proto.Message)) })
	if err != nil {
		return errs.ToGRPC(err)
	}
	proto.Merge(reply.(proto.Message), resp.(proto.Message))
	return nil
}

func (c *simCluster) setHooks(before, after func(context.Context, string, workflow.Shard) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.before, c.after = before, after
}

func (s *simShard) intercept(ctx context.Context, name string, fn func() (any, error)) (any, error) {
	s.c.mu.Lock()
	before, after := s.c.before, s.c.after
	s.c.mu.Unlock()
	if before != nil {
		if err := before(ctx, name, s.at); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	resp, err := fn()
	if err == nil && after != nil {
		err = after(ctx, name, s.at)
	}
	return resp, err
}

func (s *simShard) serve(ctx context.Context, name string, args proto.Message) (any, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for _, m := range tabletpb.Tablet_ServiceDesc.Methods {
		if m.MethodName == name {
			return m.Handler(s, ctx, func(in any) error { proto.Merge(in.(proto.Message), args); return nil }, nil)
		}
	}
	return nil, fmt.Errorf("no method %s", name)
}

func (s *simShard) position() string { return fmt.Sprintf("%s:%d", s.uuid, len(s.log)) }

func positionOf(p string) int {
	_, n, ok := strings.Cut(p, ":")
	if !ok {
		return 0
	}
	v, err := strconv.Atoi(n)
	if err != nil {
		panic(err)
	}
	return v
}

// keyspaceID places keys 0 to 15 over the whole key space.
func keyspaceID(key int) []byte { return []byte{byte(key * 16)} }

func holds(keyRange string, key int) bool {
	r, err := keyrange.Parse(keyRange)
	if err != nil {
		panic(err)
	}
	return r.Contains(keyspaceID(key))
}

func (s *simShard) write(tx simTx) {
	if tx.create {
		s.rows[tx.table] = map[int]int{}
	} else {
		s.rows[tx.table][tx.key] = tx.value
	}
	s.log = append(s.log, tx)
}

// ---- queries ----

// begin is a statement of a client that was routed by r: it is refused, or becomes an open transaction.
func (s *simShard) begin(r *topo.Routing, tx openTx) error {
	if r.Epoch < s.routing.Epoch {
		return errs.New(errs.EpochOutdated, nil, "epoch %d, not %d", s.routing.Epoch, r.Epoch)
	}
	if r.Epoch > s.routing.Epoch {
		s.refresh()
	}
	if err := s.routing.CheckWrite(s.at.Keyspace, s.at.Name, []string{tx.table}); err != nil {
		return errs.New(errs.Fenced, err, "not here")
	}
	s.open = append(s.open, tx)
	return nil
}

func (s *simShard) refresh() {
	r, err := s.c.topo.Routing(context.Background())
	if err == nil && r.Epoch >= s.routing.Epoch {
		s.routing = r
	}
}

// wouldWrite reports whether a write of the table could be acknowledged here now.
func (s *simShard) wouldWrite(table string) bool {
	if slices.ContainsFunc(s.open, func(tx openTx) bool { return tx.table == table }) {
		return true
	}
	return s.rows[table] != nil && s.routing.Epoch > 0 && s.routing.CheckWrite(s.at.Keyspace, s.at.Name, []string{table}) == nil
}

// ---- the tablet service ----

func (s *simShard) Status(context.Context, *tabletpb.StatusRequest) (*tabletpb.StatusResponse, error) {
	return &tabletpb.StatusResponse{Alias: s.at.String(), Keyspace: s.at.Keyspace, Shard: s.at.Name, Type: "PRIMARY", Serving: true, Position: s.position()}, nil
}

// AwaitFence kills every other transaction that is open and lets the rest commit.
func (s *simShard) AwaitFence(_ context.Context, r *tabletpb.AwaitFenceRequest) (*tabletpb.AwaitFenceResponse, error) {
	if r.Epoch == 0 {
		return nil, errs.New(errs.BadInput, nil, "a fence is awaited by the epoch that set it")
	}
	if s.routing.Epoch < r.Epoch { // only then: what it knows may be old, and the epoch is what tells
		s.refresh()
	}
	if s.routing.Epoch < r.Epoch {
		return nil, errs.New(errs.Timeout, nil, "epoch %d is not known", r.Epoch)
	}
	killed := 0
	for i, tx := range slices.Clone(s.open) {
		if s.routing.CheckWrite(s.at.Keyspace, s.at.Name, []string{tx.table}) == nil {
			continue
		}
		if i%2 == 0 {
			s.commit(0)
		} else {
			s.open = slices.Delete(s.open, 0, 1)
			killed++
		}
	}
	return &tabletpb.AwaitFenceResponse{Position: s.position(), Killed: int32(killed)}, nil
}

// commit acknowledges an open transaction.
func (s *simShard) commit(i int) {
	tx := s.open[i]
	s.open = slices.Delete(s.open, i, i+1)
	s.c.acknowledge(s, tx)
	s.write(simTx{table: tx.table, key: tx.key, value: tx.value})
}

func (c *simCluster) acknowledge(s *simShard, tx openTx) {
	if c.ack != nil {
		c.ack(s, tx)
	}
}

func (s *simShard) WaitForPosition(_ context.Context, r *tabletpb.WaitForPositionRequest) (*tabletpb.WaitForPositionResponse, error) {
	for id, p := range r.Positions {
		st := s.streams[id]
		if st == nil || st.spec.Workflow != r.Workflow {
			return nil, errs.New(errs.NotFound, nil, "stream %d", id)
		}
		for st.position < positionOf(p) {
			if !s.pump(st) {
				return nil, errs.New(errs.Timeout, nil, "stream %d is %s at %d, not %s", id, st.state, st.position, p)
			}
		}
	}
	return &tabletpb.WaitForPositionResponse{Position: s.position()}, nil
}

// pump lets a stream do one thing: copy, or apply one transaction. false: there is nothing it can do.
func (s *simShard) pump(st *simStream) bool {
	source := s.c.shards[workflow.Shard{Keyspace: st.spec.SourceKeyspace, Name: st.spec.SourceShard}]
	if st.state == workflow.StreamStopped || st.state == workflow.StreamError {
		return false
	}
	if !st.copied {
		for _, table := range st.tables() {
			for key, value := range source.rows[table] {
				if holds(st.spec.KeyRange, key) {
					s.write(simTx{table: table, key: key, value: value})
				}
			}
		}
		st.copied, st.position, st.state = true, len(source.log), workflow.StreamRunning
		return true
	}
	st.state = workflow.StreamRunning
	if st.position >= len(source.log) {
		return false
	}
	tx := source.log[st.position]
	if !tx.create && slices.Contains(st.tables(), tx.table) && holds(st.spec.KeyRange, tx.key) {
		if s.rows[tx.table] == nil {
			st.state = workflow.StreamError
			return false
		}
		s.write(tx)
	}
	st.position++
	st.applied++
	return true
}

func (st *simStream) tables() []string {
	var r struct{ Rules []struct{ Table string } }
	if err := json.Unmarshal(st.spec.Rules, &r); err != nil {
		panic(err)
	}
	var names []string
	for _, rule := range r.Rules {
		names = append(names, rule.Table)
	}
	return names
}

func (s *simShard) CreateStreams(_ context.Context, r *tabletpb.CreateStreamsRequest) (*tabletpb.ListStreamsResponse, error) {
	for _, spec := range r.Streams {
		if s.find(spec) == nil {
			s.next++
			s.streams[s.next] = &simStream{id: s.next, spec: spec, state: spec.State, position: positionOf(spec.Position), copied: spec.Position != ""}
		}
	}
	return s.list(r.Streams[0].Workflow), nil
}

func (s *simShard) find(spec *tabletpb.StreamSpec) *simStream {
	for _, st := range s.streams {
		if st.spec.Workflow == spec.Workflow && st.spec.SourceKeyspace == spec.SourceKeyspace && st.spec.SourceShard == spec.SourceShard {
			return st
		}
	}
	return nil
}

func (s *simShard) list(name string) *tabletpb.ListStreamsResponse {
	resp := &tabletpb.ListStreamsResponse{}
	for id := int64(1); id <= s.next; id++ {
		st := s.streams[id]
		if st == nil || name != "" && st.spec.Workflow != name {
			continue
		}
		source := s.c.shards[workflow.Shard{Keyspace: st.spec.SourceKeyspace, Name: st.spec.SourceShard}]
		position := ""
		if st.copied {
			position = fmt.Sprintf("%s:%d", source.uuid, st.position)
		}
		resp.Streams = append(resp.Streams, &tabletpb.StreamStatus{Id: id, Spec: st.spec, State: st.state, Position: position, Transactions: st.applied})
	}
	return resp
}

func (s *simShard) ListStreams(_ context.Context, r *tabletpb.ListStreamsRequest) (*tabletpb.ListStreamsResponse, error) {
	return s.list(r.Workflow), nil
}

func (s *simShard) UpdateStreams(_ context.Context, r *tabletpb.UpdateStreamsRequest) (*tabletpb.ListStreamsResponse, error) {
	for id, st := range s.streams {
		if st.spec.Workflow != r.Workflow || len(r.Ids) > 0 && !slices.Contains(r.Ids, id) {
			continue
		}
		if p, ok := r.Positions[id]; ok {
			if r.State != workflow.StreamStopped {
				return nil, errs.New(errs.BadInput, nil, "positions of streams that run")
			}
			st.position, st.copied = positionOf(p), true
		}
		if st.state != workflow.StreamError || r.State != workflow.StreamStopped {
			st.state = r.State
		}
	}
	return s.list(r.Workflow), nil
}

func (s *simShard) DeleteStreams(_ context.Context, r *tabletpb.DeleteStreamsRequest) (*tabletpb.DeleteStreamsResponse, error) {
	n := 0
	for id, st := range s.streams {
		if st.spec.Workflow == r.Workflow {
			delete(s.streams, id)
			n++
		}
	}
	return &tabletpb.DeleteStreamsResponse{Deleted: int32(n)}, nil
}

// simTable is the definition of every table: a key that is the vindex's column, and a value.
func simTable(name string) *tabletpb.TableSchema {
	def := schema.Table{Name: name, Columns: []schema.Column{{Name: "id", DataType: "bigint", ColumnType: "bigint"}, {Name: "v", DataType: "bigint", ColumnType: "bigint"}}, PrimaryKey: []int{0}}
	if name == "keyless" {
		def.PrimaryKey = nil
	}
	raw, err := json.Marshal(def)
	if err != nil {
		panic(err)
	}
	return &tabletpb.TableSchema{Name: name, CreateStatement: "CREATE TABLE `" + name + "` (`id` bigint NOT NULL AUTO_INCREMENT, `v` bigint, PRIMARY KEY (`id`))", Definition: raw}
}

func (s *simShard) Schema(_ context.Context, r *tabletpb.SchemaRequest) (*tabletpb.SchemaResponse, error) {
	resp := &tabletpb.SchemaResponse{}
	for _, name := range sortedKeys(s.rows) {
		if len(r.Tables) == 0 || slices.Contains(r.Tables, name) {
			t := simTable(name)
			t.Rows = int64(len(s.rows[name]))
			resp.Tables = append(resp.Tables, t)
		}
	}
	return resp, nil
}

func sortedKeys[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (s *simShard) ApplySchema(_ context.Context, r *tabletpb.ApplySchemaRequest) (*tabletpb.ApplySchemaResponse, error) {
	resp := &tabletpb.ApplySchemaResponse{}
	for _, t := range r.Tables {
		if s.rows[t.Name] == nil {
			s.write(simTx{table: t.Name, create: true})
			resp.Created = append(resp.Created, t.Name)
		}
	}
	for _, sql := range r.Statements {
		if name, ok := strings.CutPrefix(sql, "CREATE TABLE "); ok {
			s.write(simTx{table: name, create: true})
		}
	}
	return resp, nil
}

func (s *simShard) DropTables(_ context.Context, r *tabletpb.DropTablesRequest) (*tabletpb.DropTablesResponse, error) {
	for _, t := range r.Tables {
		delete(s.rows, t)
	}
	return &tabletpb.DropTablesResponse{}, nil
}

func journalKey(name string, epoch uint64) string { return fmt.Sprintf("%s@%d", name, epoch) }

func (s *simShard) WriteJournal(_ context.Context, r *tabletpb.WriteJournalRequest) (*tabletpb.JournalResponse, error) {
	key := journalKey(r.Journal.Workflow, r.Journal.Epoch)
	if s.journals[key] == nil {
		s.journals[key] = r.Journal
		s.written[key] = s.c.tick
	}
	return &tabletpb.JournalResponse{Journal: s.journals[key], Found: true}, nil
}

func (s *simShard) ReadJournal(_ context.Context, r *tabletpb.ReadJournalRequest) (*tabletpb.JournalResponse, error) {
	j := s.journals[journalKey(r.Workflow, r.Epoch)]
	return &tabletpb.JournalResponse{Journal: j, Found: j != nil}, nil
}

func (s *simShard) MaxColumn(_ context.Context, r *tabletpb.MaxColumnRequest) (*tabletpb.MaxColumnResponse, error) {
	greatest := 0
	for key := range s.rows[r.Table] {
		greatest = max(greatest, key)
	}
	return &tabletpb.MaxColumnResponse{Value: int64(greatest)}, nil
}

func (s *simShard) RaiseSequence(_ context.Context, r *tabletpb.RaiseSequenceRequest) (*tabletpb.RaiseSequenceResponse, error) {
	s.seqs[r.Table] = max(s.seqs[r.Table], r.AtLeast)
	return &tabletpb.RaiseSequenceResponse{Next: s.seqs[r.Table]}, nil
}

func (s *simShard) StartDiff(_ context.Context, r *tabletpb.StartDiffRequest) (*tabletpb.DiffResponse, error) {
	s.diffs[r.Workflow] = r.Uuid
	return &tabletpb.DiffResponse{Uuid: r.Uuid, Workflow: r.Workflow, State: diffRunning}, nil
}

func (s *simShard) ShowDiff(_ context.Context, r *tabletpb.ShowDiffRequest) (*tabletpb.DiffResponse, error) {
	uuid := s.diffs[r.Workflow]
	if uuid == "" || r.Uuid != "" && r.Uuid != uuid {
		return nil, errs.New(errs.NotFound, nil, "diff")
	}
	return &tabletpb.DiffResponse{Uuid: uuid, Workflow: r.Workflow, State: diffCompleted, Tables: []*tabletpb.TableDiff{{
		Table: "orders", Source: "commerce/0", RowsCompared: 3, Mismatched: 1, Done: true,
		Rows: []*tabletpb.RowDiff{{Kind: "missing_on_target", Key: []*tabletpb.Cell{{Column: "id", Value: "7"}}}},
	}}}, nil
}

// register makes the shards' primaries known in the topology.
func (c *simCluster) register(ctx context.Context) error {
	uid := uint32(100)
	for at := range c.shards {
		uid++
		alias := topo.TabletAlias("zone1", uid)
		_, err := c.topo.RegisterTablet(ctx, topo.Tablet{Alias: alias, Cell: "zone1", UID: uid, Keyspace: at.Keyspace, Shard: at.Name,
			Type: topo.Primary, GRPCAddr: at.String(), Serving: true}, time.Minute)
		if err != nil {
			return err
		}
		if err := c.topo.SetShardPrimary(ctx, at.Keyspace, at.Name, alias); err != nil {
			return err
		}
	}
	return nil
}
