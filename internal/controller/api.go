package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	controlpb "braid/api/control"
	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/topo"
	"braid/internal/workflow"
)

// api answers the control API. It holds nothing: every call reads the topology, and verbs are written there.
type api struct {
	controlpb.UnimplementedControlServer
	topo   *topo.Topology
	exec   *executor
	holder string
	log    *slog.Logger
}

func newAPI(c *Controller) *api {
	return &api{topo: c.deps.Topo, exec: c.exec, holder: c.cfg.ID, log: c.log}
}

// answer bounds a call and gives its error the form for the wire.
func answer[T any](ctx context.Context, fn func(context.Context) (*T, error)) (*T, error) {
	ctx, cancel := context.WithTimeout(ctx, timeouts.RPC)
	defer cancel()
	resp, err := fn(ctx)
	if err != nil {
		return nil, errs.ToGRPC(err)
	}
	return resp, nil
}

// locked runs fn under the locks of keyspaces, in the order of their names.
func (a *api) locked(ctx context.Context, what string, keyspaces []string, fn func() error) error {
	for _, ks := range slices.Compact(slices.Sorted(slices.Values(keyspaces))) {
		l, err := a.topo.LockKeyspace(ctx, ks, a.holder+" for "+what)
		if err != nil {
			return err
		}
		defer func() {
			uctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeouts.Topology)
			defer cancel()
			if err := l.Unlock(uctx); err != nil {
				a.log.Warn("lock not given back, it ends with its lease", "keyspace", ks, "error", err)
			}
		}()
	}
	return fn()
}

// states reads all workflows.
func (a *api) states(ctx context.Context) ([]workflow.State, error) {
	records, err := a.topo.Workflows(ctx)
	if err != nil {
		return nil, err
	}
	states := make([]workflow.State, 0, len(records))
	for _, r := range records {
		s, err := workflow.Parse(r.Raw)
		if err != nil {
			return nil, fmt.Errorf("workflow %s: %w", r.Name, err)
		}
		states = append(states, s)
	}
	return states, nil
}

func (a *api) load(ctx context.Context, name string) (record, error) {
	rec, err := load(ctx, a.topo, name)
	return rec, notFound(name, err)
}

// verb asks an existing workflow for something: checks, then writes it down (C4), or tells the plan.
func (a *api) verb(ctx context.Context, name string, asked workflow.Verb, dryRun bool) (*controlpb.WorkflowReply, error) {
	for {
		rec, err := a.load(ctx, name)
		if err != nil {
			return nil, err
		}
		v, changed, joined, err := workflow.Admit(rec.state, asked)
		if err != nil {
			return nil, err
		}
		if !changed || joined {
			return a.reply(ctx, rec.state, changed, nil)
		}
		est, err := a.check(ctx, rec.state, v)
		if err != nil {
			return nil, err
		}
		steps := workflow.Plan(rec.state, v, est)
		if dryRun {
			return a.reply(ctx, rec.state, true, steps)
		}
		next, _ := workflow.Step(rec.state, time.Now(), workflow.Accept{Verb: v})
		written, err := rec.commit(ctx, a.topo, next)
		if errors.Is(err, errLost) {
			continue // the state has moved on: look again
		}
		if err != nil {
			return nil, err
		}
		a.log.Info("verb accepted", "workflow", name, "verb", v.Kind, "types", v.Types)
		return a.reply(ctx, written.state, true, steps)
	}
}

// check asks the cluster what the leader will ask too, so that the answer to the verb says what is in the way.
func (a *api) check(ctx context.Context, s workflow.State, v workflow.Verb) (workflow.Estimate, error) {
	if v.Kind != workflow.SwitchTraffic && v.Kind != workflow.Reverse {
		return workflow.Estimate{}, nil
	}
	// A stream that was started just now does not know its lag before its first heartbeat.
	patience := time.NewTimer(6 * timeouts.StreamHeartbeat)
	defer patience.Stop()
	for {
		est, retry, err := a.checkOnce(ctx, s, v)
		if err == nil || !retry {
			return est, err
		}
		pause := time.NewTimer(timeouts.StreamHeartbeat / 2)
		select {
		case <-ctx.Done():
			pause.Stop()
			return est, err
		case <-patience.C:
			pause.Stop()
			return est, err
		case <-pause.C:
		}
	}
}

func (a *api) checkOnce(ctx context.Context, s workflow.State, v workflow.Verb) (est workflow.Estimate, retry bool, err error) {
	begun := time.Now()
	planned, effects := workflow.Step(s, begun, workflow.Accept{Verb: v})
	results := a.exec.runAll(ctx, effects, false, a.exec.run)
	est.Call = time.Since(begun)
	for _, r := range results {
		if r.Err != nil {
			return est, false, r.Err
		}
		switch value := r.Value.(type) {
		case []workflow.StreamSeen:
			for _, st := range value {
				est.Lag = max(est.Lag, time.Duration(st.LagMS)*time.Millisecond)
				retry = retry || st.State == workflow.StreamInit || st.State == workflow.StreamRunning && st.LagMS < 0
			}
		case []workflow.Sequence:
			est.Sequences = value
		}
	}
	return est, retry, workflow.Check(planned, results)
}
