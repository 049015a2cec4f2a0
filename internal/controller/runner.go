package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/metadata"

	tabletpb "braid/api/tablet"
	"braid/internal/base/fault"
	"braid/internal/base/retry"
	"braid/internal/base/service"
	"braid/internal/base/timeouts"
	"braid/internal/topo"
	"braid/internal/workflow"
)

// observePeriod is how often a workflow at rest looks at its streams: the delay until "Copying" becomes "Running".
const observePeriod = 500 * time.Millisecond

// runner is the loop around one workflow's state, for one term.
type runner struct {
	foremanDeps
	name   string
	term   int64
	holder string // for the keyspaces' locks
	log    *slog.Logger
	rec    record
	locks  []topo.Lock
	poke   chan struct{} // somebody wrote the state

	mu struct {
		sync.Mutex
		seen int64 // the latest version that the watch showed, deletions included
	}
}

// notify tells the runner of a version that the watch showed.
func (r *runner) notify(version int64) {
	r.mu.Lock()
	r.mu.seen = version
	r.mu.Unlock()
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

func (r *runner) shown() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.seen
}

// outdated reports whether the watch showed a later state than the one that the runner has.
func (r *runner) outdated() bool { return r.shown() > r.rec.version }

// errEnded: the workflow is over, and nobody has begun a new one under its name.
var errEnded = errors.New("the workflow has ended")

// run works on the workflow until it has ended or ctx is over. What fails on the way (a write that somebody else won, an
// injected fault) is what a crash would be: the state is read again and resumed.
func (r *runner) run(ctx context.Context) {
	defer r.release(ctx)
	b := retry.Backoff{}
	for b.Wait(ctx) {
		err := r.session(ctx)
		r.release(ctx)
		switch {
		case errors.Is(err, errEnded), errors.Is(err, errDeposed):
			return
		case errors.Is(err, topo.ErrNotFound):
			r.rec = record{version: r.shown()} // so that only what comes after the deletion is news
			return
		case ctx.Err() != nil:
			return
		case errors.Is(err, errLost):
			b.Reset()
		default:
			r.log.Warn("workflow is read again", "error", err)
		}
	}
}

// session reads the state and drives it until something is wrong.
func (r *runner) session(ctx context.Context) error {
	rec, next, effects, err := resume(ctx, r.topo, r.name, r.term, r.now())
	r.rec = rec
	if err != nil {
		return err
	}
	for {
		if err := r.write(ctx, next); err != nil {
			return err
		}
		if r.rec.state.Verb != nil {
			effects = r.rec.state.Effects() // the write has named the epoch that they wait for
		}
		event, err := r.event(ctx, effects)
		if err != nil {
			return err
		}
		next, effects = workflow.Step(r.rec.state, r.now(), event)
	}
}

// errDeposed: a later leader works on the workflow.
var errDeposed = errors.New("a later leader works on the workflow")

// resume reads a state and takes it over for a term. A leader that does not know yet that its term is over must not take it
// back from its successor.
func resume(ctx context.Context, t *topo.Topology, name string, term int64, now time.Time) (record, workflow.State, []workflow.Effect, error) {
	rec, err := load(ctx, t, name)
	if err != nil {
		return rec, rec.state, nil, err
	}
	if rec.state.Term > term {
		return rec, rec.state, nil, errDeposed
	}
	if rec.routing, err = t.Routing(ctx); err != nil { // here, so that it need not be read while writes are held
		return rec, rec.state, nil, err
	}
	next, effects := workflow.Step(rec.state, now, workflow.Resume{Term: term})
	return rec, next, effects, nil
}

// write makes next the present state: in the topology too, unless it is one of those that need no write.
func (r *runner) write(ctx context.Context, next workflow.State) error {
	if next.Volatile() || string(next.JSON()) == string(r.rec.state.JSON()) {
		r.rec.state = next
		return nil
	}
	stage := string(workflow.StageDone)
	if next.Verb != nil {
		stage = string(next.Verb.Stage)
	}
	if err := fault.Point("workflow." + stage + ".before"); err != nil {
		return err
	}
	rec, err := r.rec.commit(ctx, r.topo, next)
	if err != nil {
		return err
	}
	r.rec = rec
	r.log.Debug("workflow state", "phase", rec.state.Phase, "step", stage, "version", rec.version)
	return fault.Point("workflow." + stage + ".after")
}

// event is what happens next: the effects have run; or, at rest, somebody wrote the state, or the streams were looked at.
func (r *runner) event(ctx context.Context, effects []workflow.Effect) (workflow.Event, error) {
	s := &r.rec.state
	if s.Verb != nil {
		return r.work(ctx, effects)
	}
	r.release(ctx)
	if len(effects) > 0 { // streams to be started again; what comes of it is seen at the next look
		for _, res := range r.exec.runAll(r.ofTerm(ctx), effects, false, r.exec.run) {
			if res.Err != nil {
				r.log.Warn("stream not started", "error", res.Err)
			}
		}
	}
	if r.outdated() {
		return nil, errLost
	}
	if s.Phase.Ended() {
		return nil, errEnded
	}
	timer := time.NewTimer(r.period)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-r.poke:
		return workflow.Ran{}, nil // nothing happened, unless outdated: looked at above, next time round
	case <-timer.C:
	}
	return r.observe(ctx), nil
}

// observe asks the tablets how the active streams are.
func (r *runner) observe(ctx context.Context) workflow.Event {
	s := &r.rec.state
	shards := s.Shards(s.Follower())
	effects := make([]workflow.Effect, len(shards))
	for i, at := range shards {
		effects[i] = workflow.ListStreams{At: at, Name: s.StreamName(s.Follower())}
	}
	var o workflow.Observed
	for i, res := range r.exec.runAll(r.ofTerm(ctx), effects, false, r.exec.run) {
		seen, _ := res.Value.([]workflow.StreamSeen)
		o.Shards = append(o.Shards, workflow.Observation{At: shards[i], Streams: seen, Err: res.Err})
	}
	return o
}

// work runs the effects of the present stage.
func (r *runner) work(ctx context.Context, effects []workflow.Effect) (workflow.Event, error) {
	verb := r.rec.state.Verb
	began := r.now()
	point := "workflow." + verb.Stage.Work()
	distinct := verb.Stage.Work() != string(verb.Stage) || !verb.Stage.Durable()
	if distinct {
		if err := fault.Point(point + ".before"); err != nil {
			return nil, err
		}
	}
	if err := r.pause(ctx, verb.Failures); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := r.watchLocks(ctx, verb.Stage, cancel)
	watch := r.watchState(ctx, cancel)
	results := r.exec.runAll(ctx, effects, verb.Stage.Abortable(), r.one)
	watch()
	stop()
	if errors.Is(context.Cause(ctx), errLost) {
		return nil, errLost
	}
	if cause := context.Cause(ctx); cause != nil && errors.Is(cause, topo.ErrLockLost) {
		results = append(results, workflow.Result{Effect: workflow.LockKeyspaces{}, Err: cause})
		rootFirst(results, cause)
	} else if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if distinct {
		if err := fault.Point(point + ".after"); err != nil {
			return nil, err
		}
	}
	return workflow.Ran{Results: results, Began: began}, nil
}

// pause before a stage is repeated.
func (r *runner) pause(ctx context.Context, failures int) error {
	if failures == 0 {
		return nil
	}
	timer := time.NewTimer(retry.Default.Pause(failures - 1))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// watchState ends the effects when somebody else writes the state (C2): a cancel that supersedes a create.
func (r *runner) watchState(ctx context.Context, cancel context.CancelCauseFunc) (stop func()) {
	ctx, end := context.WithCancel(ctx)
	var g service.Group
	if err := g.Start(ctx); err != nil {
		panic(err) // a fresh group
	}
	g.Go("watch state", func(ctx context.Context) error {
		for !r.outdated() {
			select {
			case <-ctx.Done():
				return nil
			case <-r.poke:
			}
		}
		cancel(errLost)
		return nil
	})
	return func() { end(); g.Stop() }
}

// watchLocks ends the effects of a stage that must not outlive the keyspaces' locks.
func (r *runner) watchLocks(ctx context.Context, stage workflow.Stage, cancel context.CancelCauseFunc) (stop func()) {
	stops := []func(){}
	if stage.Abortable() {
		for _, l := range r.locks {
			stops = append(stops, afterDone(ctx, l.Done(), func() { cancel(topo.ErrLockLost) }))
		}
	}
	return func() {
		for _, s := range stops {
			s()
		}
	}
}

// one runs an effect.
func (r *runner) one(ctx context.Context, e workflow.Effect) (any, error) {
	if e, ok := e.(workflow.LockKeyspaces); ok {
		return nil, r.lock(ctx, e.Keyspaces)
	}
	return r.exec.run(r.ofTerm(ctx), e)
}

// ofTerm makes calls carry the term, so that a tablet refuses what a leader sends whose time is over.
func (r *runner) ofTerm(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, tabletpb.TermKey, strconv.FormatInt(r.term, 10))
}

func (r *runner) lock(ctx context.Context, keyspaces []string) error {
	ctx, cancel := context.WithTimeout(ctx, timeouts.RPC)
	defer cancel()
	r.release(ctx)
	for _, ks := range keyspaces {
		l, err := r.topo.LockKeyspace(ctx, ks, r.holder+" for workflow "+r.name)
		if err != nil {
			return fmt.Errorf("workflow %s: %w", r.name, err)
		}
		r.locks = append(r.locks, l)
	}
	return nil
}

// release gives back the locks, also when the term is over.
func (r *runner) release(ctx context.Context) {
	if len(r.locks) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeouts.Topology)
	defer cancel()
	for _, l := range r.locks {
		if err := l.Unlock(ctx); err != nil {
			r.log.Warn("lock not given back, it ends with its lease", "error", err)
		}
	}
	r.locks = nil
}
