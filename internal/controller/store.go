package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"braid/internal/base/errs"
	"braid/internal/base/retry"
	"braid/internal/topo"
	"braid/internal/workflow"
)

// record is a workflow's state as it stands in the topology.
type record struct {
	state   workflow.State
	version int64
	// routing as last seen; a write tries with it first and reads again only if it was changed. nil: read.
	routing *topo.Routing
}

func load(ctx context.Context, t *topo.Topology, name string) (record, error) {
	raw, version, err := t.Workflow(ctx, name)
	if err != nil {
		return record{}, fmt.Errorf("workflow %s: %w", name, err)
	}
	s, err := workflow.Parse(raw)
	if err != nil {
		return record{}, fmt.Errorf("workflow %s: %w", name, err)
	}
	return record{state: s, version: version}, nil
}

// errLost: somebody else has written the state since it was read.
var errLost = errors.New("the workflow's state was changed by somebody else")

// commit writes next as the successor of what was read, with the routing that it asks for, in one transaction (C1). A state
// that holds writes for the first time gets the epoch of its fence here. It repeats itself through outages until ctx ends;
// the error is errLost if the state is no longer the one that was read.
func (rec record) commit(ctx context.Context, t *topo.Topology, next workflow.State) (record, error) {
	w := writer{topo: t, base: rec.version, next: next, routing: rec.routing}
	var b retry.Backoff
	var last error
	for b.Wait(ctx) {
		done, err := w.attempt(ctx)
		if err == nil {
			return done, nil
		}
		if errors.Is(err, errLost) {
			return record{}, err
		}
		if errors.Is(err, errRoutingMoved) {
			b.Reset() // others make progress: their writes are rare, and one of two always wins
		}
		last = err
	}
	return record{}, fmt.Errorf("write workflow %s: %w", next.Name, errors.Join(last, ctx.Err()))
}

var errRoutingMoved = errors.New("the routing was changed meanwhile")

type writer struct {
	topo    *topo.Topology
	base    int64 // version that next replaces
	next    workflow.State
	routing *topo.Routing
	// tried are the documents of attempts whose outcome is not known: one of them may stand, or still arrive.
	tried [][]byte
}

// attempt makes one write. Its error is errLost, or one that another attempt may mend.
func (w *writer) attempt(ctx context.Context) (record, error) {
	if len(w.tried) > 0 {
		if rec, err := w.lookUp(ctx); rec != nil || err != nil {
			return deref(rec), err
		}
	}
	if w.routing == nil {
		r, err := w.topo.Routing(ctx)
		if err != nil {
			return record{}, err
		}
		w.routing = r
	}
	routing := w.routing.Clone()
	w.next.Route(routing)
	if sameRouting(routing, w.routing) {
		next := w.next.Routed(w.routing.Epoch)
		version, err := w.topo.WriteWorkflow(ctx, next.Name, next.JSON(), w.base)
		return w.judge(ctx, record{state: next, version: version, routing: w.routing}, err, casLost(err))
	}
	next := w.next.Routed(w.routing.Epoch + 1)
	written, err := w.topo.WriteRoutingIf(ctx, routing, topo.WorkflowWrite(next.Name, next.JSON(), w.base))
	if err != nil {
		var ke *topo.KeyError
		return w.judge(ctx, record{state: next}, err, errors.As(err, &ke)) // a KeyError is of the workflow's key
	}
	return record{state: next, version: written.Version(), routing: written}, nil
}

func casLost(err error) bool {
	return errors.Is(err, topo.ErrConflict) || errors.Is(err, topo.ErrExists) || errors.Is(err, topo.ErrNotFound)
}

// judge says what came of a write; stateMoved: it failed because the state is not the one that was read.
func (w *writer) judge(ctx context.Context, rec record, err error, stateMoved bool) (record, error) {
	if err == nil {
		return rec, nil
	}
	w.routing = nil
	if !stateMoved {
		if casLost(err) {
			return record{}, errRoutingMoved
		}
		w.tried = append(w.tried, rec.state.JSON()) // it may stand, or still arrive
		return record{}, err
	}
	found, lerr := w.lookUp(ctx)
	switch {
	case lerr != nil:
		return record{}, lerr
	case found != nil: // an attempt of ours whose answer was lost
		return *found, nil
	}
	return record{}, err
}

// lookUp returns what stands if it is one of our attempts, nil if the state is still the one that was read, and errLost if
// it is somebody else's.
func (w *writer) lookUp(ctx context.Context) (*record, error) {
	raw, version, err := w.topo.Workflow(ctx, w.next.Name)
	if errors.Is(err, topo.ErrNotFound) {
		if w.base == 0 {
			return nil, nil
		}
		return nil, errLost
	}
	if err != nil {
		return nil, err
	}
	for _, tried := range w.tried {
		if bytes.Equal(tried, raw) {
			s, err := workflow.Parse(raw)
			return &record{state: s, version: version}, err
		}
	}
	if version == w.base {
		return nil, nil
	}
	return nil, errLost
}

func deref(rec *record) record {
	if rec == nil {
		return record{}
	}
	return *rec
}

func sameRouting(a, b *topo.Routing) bool {
	return bytes.Equal(mustJSON(a), mustJSON(b))
}

func mustJSON(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain data
	}
	return raw
}

// notFound makes a missing workflow an entry that names it.
func notFound(name string, err error) error {
	if errors.Is(err, topo.ErrNotFound) {
		return errs.New(errs.NotFound, nil, "workflow %s", name).With("`braid workflow list` shows the workflows.")
	}
	return err
}
