package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"braid/internal/base/errs"
	"braid/internal/topo"
	"braid/internal/topo/memory"
	"braid/internal/workflow"
)

// The property: whatever fails, whenever, and however often controllers die or do not know yet that they were replaced,
// no acknowledged write is lost, no two sides take writes (F1, F2), and every verb ends done or undone (F3, F7).
//
// The simulation is deterministic: one action at a time, drawn by rapid. An action is a write of a client, a commit of one
// that is open, a step of a stream, a tablet that reads the routing, one effect of a controller, one write of a state, the
// death of a controller, the election of another beside one that still works, or a call that arrives late.

type sim struct {
	t       *rapid.T
	ctx     context.Context
	topo    *topo.Topology
	cluster *simCluster
	exec    *executor
	table   string
	// model is every acknowledged write.
	model   map[int]int
	stamp   int
	gates   [2]*topo.Routing // what two gates believe
	actors  []*actor
	term    int64
	late    []func() // calls whose caller has given up, still on their way
	trace   []string
	clock   time.Time
	faults  bool
	dirty   bool // some call came late, or a controller worked beside its successor, during the present verb
	initial workflow.State
	given   map[uint64]bool // epochs that were given up
	routed  map[uint64]bool // and that were routed
}

// actor is a controller that works on the workflow: what a runner does, one action at a time.
type actor struct {
	term    int64
	rec     record
	next    *workflow.State   // to be written
	effects []workflow.Effect // still to be run
	pending []workflow.Effect // those of the stage, for when next is written
	results []workflow.Result
	began   time.Time
	decides int // when it began to ask for the journals; 0 if it does not
}

func (s *sim) say(format string, args ...any) {
	s.trace = append(s.trace, fmt.Sprintf(format, args...))
}

func (s *sim) fail(format string, args ...any) {
	for _, line := range s.trace {
		s.t.Log(line)
	}
	s.t.Fatalf(format, args...)
}

func (s *sim) must(err error) {
	if err != nil {
		s.fail("%v", err)
	}
}

func (s *sim) now() time.Time {
	s.clock = s.clock.Add(time.Millisecond)
	return s.clock
}

const simName = "w"

func newSim(t *rapid.T, ctx context.Context) *sim {
	store := topo.New(memory.New())
	s := &sim{t: t, ctx: ctx, topo: store, table: "orders", model: map[int]int{}, given: map[uint64]bool{}, routed: map[uint64]bool{}, clock: time.Unix(1700000000, 0)}
	s.cluster = newSimCluster(store, s.fail)
	s.cluster.ack = s.acknowledge
	spec := workflow.Spec{Type: workflow.Move, SourceKeyspace: "commerce", TargetKeyspace: "customer", AllTables: true}
	layouts := [][]string{{"0"}, {"-80", "80-"}}
	if rapid.Bool().Draw(t, "reshard") {
		spec.Type, spec.TargetKeyspace = workflow.Reshard, "commerce"
		layouts = append(layouts, []string{"-40", "40-80", "80-"})
	}
	spec.SourceShards = rapid.SampledFrom(layouts).Draw(t, "source shards")
	layouts = slices.DeleteFunc(layouts, func(l []string) bool { return spec.Type == workflow.Reshard && slices.Equal(l, spec.SourceShards) })
	spec.TargetShards = rapid.SampledFrom(layouts).Draw(t, "target shards")
	if spec.Type == workflow.Reshard { // a shard that both have is on neither side
		spec.SourceShards, spec.TargetShards = without(spec.SourceShards, spec.TargetShards), without(spec.TargetShards, spec.SourceShards)
	}
	sharding := workflow.Sharding{Vindex: "binary", Columns: []string{"id"}}
	spec.Tables = []workflow.Table{{Name: s.table, OnTarget: sharding, OnSource: sharding}}
	s.build(spec, layouts)
	return s
}

func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(x string) bool { return slices.Contains(b, x) })
}

func (s *sim) build(spec workflow.Spec, _ [][]string) {
	mine := workflow.New(simName, spec, false)
	s.must(s.topo.CreateKeyspace(s.ctx, "commerce"))
	s.must(s.topo.CreateKeyspace(s.ctx, "customer"))
	s.must(s.topo.CreateKeyspace(s.ctx, "ids"))
	vs := []byte(`{"tables":{"orders":{"auto_increment":{"column":"id","sequence":"ids.orders_seq"}}}}`)
	for _, ks := range []string{"commerce", "customer"} {
		_, err := s.topo.SetVSchema(s.ctx, ks, vs, 0)
		s.must(err)
	}
	create := func(at workflow.Shard) *simShard {
		s.must(s.topo.CreateShard(s.ctx, at.Keyspace, at.Name))
		return s.cluster.add(at.Keyspace, at.Name)
	}
	for _, at := range mine.Shards(workflow.Source) {
		create(at).write(simTx{table: s.table, create: true})
	}
	if spec.Type == workflow.Reshard && slices.Contains([]string{"-80"}, spec.SourceShards[0]) && len(spec.SourceShards) == 1 {
		create(workflow.Shard{Keyspace: "commerce", Name: "80-"}).write(simTx{table: s.table, create: true})
	}
	if spec.Type == workflow.Reshard && !slices.Contains(spec.SourceShards, "80-") && len(spec.SourceShards) == 2 {
		create(workflow.Shard{Keyspace: "commerce", Name: "80-"}).write(simTx{table: s.table, create: true})
	}
	for _, at := range mine.Shards(workflow.Target) {
		create(at)
	}
	create(workflow.Shard{Keyspace: "ids", Name: "0"})
	s.must(s.cluster.register(s.ctx))
	cache := topo.NewCache(s.topo)
	s.must(cache.Start(s.ctx))
	s.exec = &executor{topo: s.topo, tablets: &directory{cache: cache, dial: s.cluster.dial}}
	for _, sh := range s.cluster.shards {
		sh.refresh()
	}
	s.gates = [2]*topo.Routing{s.routing(), s.routing()}
	s.initial = mine
}

func (s *sim) routing() *topo.Routing {
	r, err := s.topo.Routing(s.ctx)
	s.must(err)
	return r
}

// acknowledge checks F2 at the moment of a commit: the shard has every write that was acknowledged before, wherever.
func (s *sim) acknowledge(sh *simShard, tx openTx) {
	for key, value := range s.model {
		if s.owns(sh, key) && sh.rows[s.table][key] != value {
			s.fail("%s acknowledges a write of key %d, and has %d for key %d, not %d: a write is lost", sh.at, tx.key, sh.rows[s.table][key], key, value)
		}
	}
	s.model[tx.key] = tx.value
	s.say("%s acknowledges %d=%d", sh.at, tx.key, tx.value)
}

func (s *sim) owns(sh *simShard, key int) bool { return holds(sh.at.Name, key) }

// write is a statement of a client by way of a gate that may be behind.
func (s *sim) write() {
	i := rapid.IntRange(0, 1).Draw(s.t, "gate")
	key := rapid.IntRange(0, 15).Draw(s.t, "key")
	r := s.gates[i]
	sh := s.shardFor(r, key)
	if sh == nil {
		return
	}
	s.stamp++
	if err := sh.begin(r, openTx{table: s.table, key: key, value: s.stamp}); err != nil {
		s.gates[i] = s.routing()
		return
	}
	if rapid.Bool().Draw(s.t, "commits at once") {
		sh.commit(len(sh.open) - 1)
	}
}

func (s *sim) shardFor(r *topo.Routing, key int) *simShard {
	ks := r.TableKeyspace("commerce", s.table, topo.Primary)
	for _, name := range r.ServingShards(ks, topo.Primary) {
		if holds(name, key) {
			return s.cluster.shards[workflow.Shard{Keyspace: ks, Name: name}]
		}
	}
	s.fail("nobody serves key %d of %s: %s", key, ks, r)
	return nil
}

func (s *sim) anyShard(label string) *simShard {
	var names []string
	for at := range s.cluster.shards {
		names = append(names, at.String())
	}
	slices.Sort(names)
	name := rapid.SampledFrom(names).Draw(s.t, label)
	for at, sh := range s.cluster.shards {
		if at.String() == name {
			return sh
		}
	}
	return nil
}

// world is an action that is nobody's plan.
func (s *sim) world() {
	switch rapid.IntRange(0, 6).Draw(s.t, "world") {
	case 0, 1, 2:
		s.write()
	case 3:
		if sh := s.anyShard("commit at"); len(sh.open) > 0 {
			sh.commit(rapid.IntRange(0, len(sh.open)-1).Draw(s.t, "open"))
		}
	case 4:
		s.anyShard("refresh").refresh()
	case 5:
		sh := s.anyShard("stream at")
		for id := int64(1); id <= sh.next; id++ {
			if st := sh.streams[id]; st != nil {
				sh.pump(st)
			}
		}
	case 6:
		if len(s.late) > 0 {
			i := rapid.IntRange(0, len(s.late)-1).Draw(s.t, "late")
			fn := s.late[i]
			s.late = slices.Delete(s.late, i, i+1)
			fn()
		}
	}
	s.invariants()
}

// invariants hold after every action.
func (s *sim) invariants() {
	sides := map[workflow.Side]bool{}
	running := map[workflow.Side]bool{}
	for _, side := range []workflow.Side{workflow.Source, workflow.Target} {
		for _, at := range s.initial.Shards(side) {
			sh := s.cluster.shards[at]
			sides[side] = sides[side] || sh.wouldWrite(s.table)
			for _, st := range sh.streams {
				running[side] = running[side] || st.state != workflow.StreamStopped && st.state != workflow.StreamError
			}
		}
	}
	if sides[workflow.Source] && sides[workflow.Target] {
		s.fail("F1: both sides would take a write")
	}
	if running[workflow.Source] && running[workflow.Target] {
		s.fail("streams run both ways")
	}
}

// elect lets a new controller take the workflow over; others that live go on, and do not know.
func (s *sim) elect() *actor {
	s.term++
	for _, a := range s.actors {
		s.say("controller %d does not know that it is replaced", a.term)
		s.dirty = true
	}
	a := &actor{term: s.term}
	s.actors = append(s.actors, a)
	s.say("controller %d is elected", a.term)
	s.resume(a)
	return a
}

func (s *sim) drop(a *actor) {
	s.actors = slices.DeleteFunc(s.actors, func(b *actor) bool { return a == b })
}

func (s *sim) resume(a *actor) {
	rec, next, effects, err := resume(s.ctx, s.topo, simName, a.term, s.now())
	if errors.Is(err, errDeposed) {
		s.say("controller %d is deposed", a.term)
		s.drop(a)
		return
	}
	s.must(err)
	a.rec = rec
	a.plan(next, effects)
}

func (a *actor) plan(next workflow.State, effects []workflow.Effect) {
	a.next, a.pending, a.effects, a.results = &next, effects, nil, nil
}

func (a *actor) busy() bool {
	return a.next != nil || len(a.effects) > 0 || a.rec.state.Verb != nil
}

// act lets a controller do one thing.
func (s *sim) act(a *actor) {
	switch {
	case a.next != nil:
		s.writeState(a)
	case len(a.effects) > 0:
		s.effect(a)
	default:
		next, effects := workflow.Step(a.rec.state, s.now(), workflow.Ran{Results: a.results, Began: a.began})
		a.plan(next, effects)
	}
	s.invariants()
}

func (s *sim) writeState(a *actor) {
	next := *a.next
	if !next.Volatile() && string(next.JSON()) != string(a.rec.state.JSON()) {
		rec, err := a.rec.commit(s.ctx, s.topo, next)
		if errors.Is(err, errLost) {
			s.say("controller %d has lost a write", a.term)
			s.resume(a)
			return
		}
		s.must(err)
		a.rec = rec
	} else {
		a.rec.state = next
	}
	stage := workflow.StageDone
	if a.rec.state.Verb != nil {
		stage = a.rec.state.Verb.Stage
	}
	s.say("controller %d is at %s (epoch %d)", a.term, stage, s.routing().Epoch)
	s.checkUndo(a)
	s.checkRoute(&a.rec.state)
	if stage != workflow.StageDecide && stage != workflow.StageUndo {
		a.decides = 0
	} else if a.decides == 0 {
		a.decides = s.cluster.tick
	}
	a.effects, a.pending, a.results, a.next, a.began = a.rec.state.Effects(), nil, nil, nil, s.now()
}

// checkUndo: F3. What is undone had no journal when its controller began to ask for one, or had none at all, if it did not
// have to ask.
func (s *sim) checkUndo(a *actor) {
	st := &a.rec.state
	if st.Verb == nil || st.Verb.Stage != workflow.StageUndo || s.given[st.Cut.Epoch] {
		return
	}
	s.given[st.Cut.Epoch] = true // others may repeat what follows from the decision
	for at, sh := range s.cluster.shards {
		when, found := sh.written[journalKey(simName, st.Cut.Epoch)]
		if found && (a.decides == 0 || when < a.decides) {
			s.fail("F3: epoch %d is undone, and %s has its journal", st.Cut.Epoch, at)
		}
	}
}

// checkRoute: F6, at the moment when writes go to the other side.
func (s *sim) checkRoute(st *workflow.State) {
	if st.Verb == nil || st.Verb.Stage != workflow.StageRoute || s.routed[st.Cut.Epoch] {
		return
	}
	s.routed[st.Cut.Epoch] = true
	for _, want := range st.Streams(st.Cut.From) {
		for _, have := range s.cluster.shards[want.At].streams {
			source := s.cluster.shards[want.Source]
			if have.spec.Workflow == want.Name && have.spec.SourceShard == want.Source.Name && have.position != len(source.log) {
				s.fail("F6: the stream from %s to %s begins at %d, %s is at %d", want.Source, want.At, have.position, want.Source, len(source.log))
			}
		}
	}
}

// undone holds when a switch was undone and no call is still on its way: everything is as before, with nobody's help.
func (s *sim) undone(st workflow.State) {
	if s.dirty || st.Last == nil || st.Last.Result != workflow.Undone || st.Last.Epoch == 0 || st.Stopped || st.Phase.Ended() {
		return
	}
	for _, at := range st.Shards(st.Follower()) {
		for _, stream := range s.cluster.shards[at].streams {
			if stream.spec.Workflow == st.StreamName(st.Follower()) && stream.state == workflow.StreamStopped {
				s.fail("undone, and the stream to %s stands still", at)
			}
		}
	}
	if st.Writes() != workflow.Source {
		return
	}
	for _, at := range st.Shards(workflow.Source) {
		if n := len(s.cluster.shards[at].streams); n > 0 && st.Spec.Type == workflow.Move {
			s.fail("undone, and %d reverse streams are left on %s", n, at)
		}
	}
}

var errInjected = errs.New(errs.PeerUnreachable, nil, "injected")

// effect runs one effect; the call may be lost, its answer may be lost, or it may arrive when nobody waits for it.
func (s *sim) effect(a *actor) {
	i := rapid.IntRange(0, len(a.effects)-1).Draw(s.t, "effect")
	e := a.effects[i]
	a.effects = slices.Delete(slices.Clone(a.effects), i, i+1)
	if _, ok := e.(workflow.LockKeyspaces); ok {
		a.results = append(a.results, workflow.Result{Effect: e})
		return
	}
	outcome := 0
	if s.faults {
		outcome = rapid.IntRange(0, 29).Draw(s.t, "outcome")
		if _, ok := e.(workflow.WriteJournal); ok { // where it matters most
			outcome = rapid.IntRange(24, 29).Draw(s.t, "outcome")
		}
	}
	var value any
	var err error
	switch outcome {
	case 27:
		err = errInjected
	case 28:
		_, _ = s.exec.run(s.ctx, e)
		err = errInjected
	case 29:
		s.late = append(s.late, func() { s.say("late: %s", e); _, _ = s.exec.run(s.ctx, e) })
		s.dirty = true
		err = errInjected
	default:
		value, err = s.exec.run(s.ctx, e)
	}
	s.say("controller %d: %s → %v %v", a.term, e, value, err)
	a.results = append(a.results, workflow.Result{Effect: e, Value: value, Err: err})
	if err != nil && a.rec.state.Verb != nil && a.rec.state.Verb.Stage.Abortable() {
		for _, rest := range a.effects {
			a.results = append(a.results, workflow.Result{Effect: rest, Err: err})
		}
		a.effects = nil
	}
}

// settle runs the world until the verb under way has ended.
func (s *sim) settle() workflow.State {
	for n := 0; ; n++ {
		s.cluster.tick++
		s.faults = n < 150 // then the world is kind: everything must end
		if n > 1500 {
			s.fail("the verb does not end")
		}
		if len(s.actors) == 0 {
			s.elect()
			continue
		}
		a := s.actors[rapid.IntRange(0, len(s.actors)-1).Draw(s.t, "actor")]
		switch what := rapid.IntRange(0, 59).Draw(s.t, "action"); {
		case what < 18:
			s.world()
		case what == 18 && s.faults:
			s.say("controller %d dies", a.term)
			s.drop(a)
		case what == 19 && s.faults && len(s.actors) < 3:
			s.elect()
		default:
			s.act(a)
		}
		if rec, err := load(s.ctx, s.topo, simName); err == nil && rec.state.Verb == nil {
			break
		}
	}
	s.faults = false
	for _, fn := range s.late {
		fn()
	}
	s.late, s.actors = nil, nil
	rec, err := load(s.ctx, s.topo, simName)
	s.must(err)
	return rec.state
}

// heal looks at the streams as a leader at rest does, and lets them catch up.
func (s *sim) heal() workflow.State {
	s.dirty = false
	rec, err := load(s.ctx, s.topo, simName)
	s.must(err)
	for range 3 {
		var o workflow.Observed
		for _, at := range rec.state.Shards(rec.state.Follower()) {
			seen, err := s.exec.listStreams(s.ctx, at, rec.state.StreamName(rec.state.Follower()))
			s.must(err)
			o.Shards = append(o.Shards, workflow.Observation{At: at, Streams: seen})
		}
		next, effects := workflow.Step(rec.state, s.now(), o)
		if string(next.JSON()) != string(rec.state.JSON()) {
			rec, err = rec.commit(s.ctx, s.topo, next)
			s.must(err)
		}
		for _, e := range effects {
			_, err := s.exec.run(s.ctx, e)
			s.must(err)
		}
		for _, sh := range s.cluster.shards {
			sh.refresh()
			for id := int64(1); id <= sh.next; id++ {
				for sh.streams[id] != nil && sh.pump(sh.streams[id]) {
				}
			}
			for len(sh.open) > 0 {
				sh.commit(0)
			}
		}
	}
	s.gates = [2]*topo.Routing{s.routing(), s.routing()}
	return rec.state
}

// rested holds when no verb is under way and the streams have caught up.
func (s *sim) rested(st workflow.State) {
	r := s.routing()
	if len(r.Fences) > 0 {
		s.fail("a fence is left: %s", r)
	}
	s.sameAsModel(st, st.Writes(), "the serving side")
	if !st.Phase.Ended() && st.Created && !st.Stopped && st.Phase != workflow.Failed && st.Phase != workflow.Creating {
		s.sameAsModel(st, st.Follower(), "the following side")
	}
	projected := r.Clone()
	st.Route(projected)
	if !sameRouting(projected, r) {
		s.fail("the routing is not what the state asks for: %s, not %s", r, projected)
	}
	for _, t := range topo.ServingTypes {
		ks := r.TableKeyspace("commerce", s.table, t)
		if st.Spec.Type == workflow.Move && ks != st.Keyspace(st.Served[t]) {
			s.fail("%s of %s is at %s, state says %s", t, s.table, ks, st.Served[t])
		}
	}
}

func (s *sim) sameAsModel(st workflow.State, side workflow.Side, what string) {
	have := map[int]int{}
	for _, at := range st.Shards(side) {
		for key, value := range s.cluster.shards[at].rows[s.table] {
			if holds(at.Name, key) {
				have[key] = value
			}
		}
	}
	want := maps.Clone(s.model)
	maps.DeleteFunc(want, func(key, _ int) bool { // shards that take no part
		return !slices.ContainsFunc(st.Shards(side), func(at workflow.Shard) bool { return holds(at.Name, key) })
	})
	if !maps.Equal(have, want) {
		s.fail("%s has %v, acknowledged is %v", what, have, want)
	}
}

// ask admits and accepts a verb as the API does. It reports whether one is under way now.
func (s *sim) ask(v workflow.Verb) bool {
	rec, err := load(s.ctx, s.topo, simName)
	s.must(err)
	admitted, changed, _, err := workflow.Admit(rec.state, v)
	s.say("ask for %s %v: changed %v, %v", v.Kind, v.Types, changed, err)
	if err != nil || !changed {
		return false
	}
	next, _ := workflow.Step(rec.state, s.now(), workflow.Accept{Verb: admitted})
	_, err = rec.commit(s.ctx, s.topo, next)
	s.must(err)
	return true
}

// again: a verb that was done has nothing left to do (F7).
func (s *sim) again(st workflow.State, v workflow.Verb) {
	if _, changed, _, err := workflow.Admit(st, v); err == nil && changed {
		s.fail("%s is done, and would change something again", v.Kind)
	}
}

func (s *sim) create() bool {
	next, _ := workflow.Step(s.initial, s.now(), workflow.Accept{Verb: workflow.Verb{Kind: workflow.Create}})
	_, err := record{}.commit(s.ctx, s.topo, next)
	s.must(err)
	s.settle()
	st := s.heal()
	s.rested(st)
	return st.Created
}

func (s *sim) count(seen map[string]int) {
	for _, line := range s.trace {
		for _, what := range []string{"late", "deposed", "dies", "has lost a write"} {
			if strings.Contains(line, what) {
				seen[what]++
			}
		}
	}
	if rec, err := load(s.ctx, s.topo, simName); err == nil {
		for _, e := range rec.state.History {
			if strings.Contains(e.Text, "the switch goes on") {
				seen["goes on"]++
			}
		}
	}
}

func drawVerb(t *rapid.T) workflow.Verb {
	v := workflow.Verb{Kind: rapid.SampledFrom([]workflow.VerbKind{workflow.SwitchTraffic, workflow.SwitchTraffic, workflow.SwitchTraffic, workflow.Reverse,
		workflow.Reverse, workflow.Stop, workflow.Start, workflow.Complete, workflow.Cancel}).Draw(t, "verb")}
	if v.Kind == workflow.SwitchTraffic || v.Kind == workflow.Reverse {
		v.Types = rapid.SampledFrom([][]topo.TabletType{nil, nil, {topo.Rdonly}, {topo.Replica, topo.Rdonly}, {topo.Primary}}).Draw(t, "types")
	}
	return v
}

func TestNoWriteIsLostWhateverFails(t *testing.T) {
	seen := map[string]int{} // what the runs came across: a property that meets nothing proves nothing
	defer func() {
		t.Log(seen)
		for _, what := range []string{"done", "undone", "goes on", "late", "deposed", "dies", "complete", "cancel"} {
			if !t.Failed() && !testing.Short() && seen[what] == 0 {
				t.Errorf("no run has met %q", what)
			}
		}
	}()
	rapid.Check(t, func(rt *rapid.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		s := newSim(rt, ctx)
		defer s.count(seen)
		for range 10 {
			s.world()
		}
		if !s.create() {
			return
		}
		for range rapid.IntRange(1, 6).Draw(rt, "verbs") {
			v := drawVerb(rt)
			if rec, err := load(ctx, s.topo, simName); err == nil && rec.state.Served[topo.Primary] == workflow.Target && rapid.IntRange(0, 3).Draw(rt, "completes") == 0 {
				v = workflow.Verb{Kind: workflow.Complete} // else it would hardly ever be asked for when it is allowed
			}
			if !s.ask(v) {
				continue
			}
			st := s.settle()
			undone := st.Last != nil && st.Last.Result == workflow.Undone
			if v.Kind != workflow.SwitchTraffic && v.Kind != workflow.Reverse || !undone {
				s.again(st, v)
			}
			if st.Last != nil {
				seen[st.Last.Result]++
			}
			s.undone(st)
			s.rested(s.heal())
			if st.Phase.Ended() {
				seen[string(v.Kind)]++
				break
			}
			for range 5 {
				s.world()
			}
		}
	})
}

func TestSimulatedSwitchEndsDone(t *testing.T) {
	// The property would hold if nothing were ever switched: here nothing fails, and it is.
	rapid.Check(t, func(rt *rapid.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		s := newSim(rt, ctx)
		for range 10 {
			s.world()
		}
		calm := func(v workflow.Verb) workflow.State {
			require.True(rt, s.ask(v))
			a := s.elect()
			s.dirty = false
			for a.busy() {
				s.act(a)
				s.world()
			}
			s.actors = nil
			st := s.heal()
			s.rested(st)
			return st
		}
		next, _ := workflow.Step(s.initial, s.now(), workflow.Accept{Verb: workflow.Verb{Kind: workflow.Create}})
		_, err := record{}.commit(s.ctx, s.topo, next)
		s.must(err)
		for a := s.elect(); a.busy(); {
			s.act(a)
		}
		s.actors = nil
		require.Equal(rt, workflow.Running, s.heal().Phase)
		for range 2 {
			st := calm(workflow.Verb{Kind: workflow.SwitchTraffic})
			require.Equal(rt, workflow.Switched, st.Phase, st.Message)
			require.Equal(rt, workflow.Done, st.Last.Result)
			require.Greater(rt, s.cluster.shards[workflow.Shard{Keyspace: "ids", Name: "0"}].seqs["orders_seq"], int64(0))
			st = calm(workflow.Verb{Kind: workflow.Reverse})
			require.Equal(rt, workflow.Running, st.Phase, st.Message)
		}
		calm(workflow.Verb{Kind: workflow.SwitchTraffic})
		require.Equal(rt, workflow.Completed, calm(workflow.Verb{Kind: workflow.Complete}).Phase)
	})
}
