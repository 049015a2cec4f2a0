package controller

import (
	"context"
	"errors"
	"slices"
	"time"

	controlpb "braid/api/control"
	"braid/internal/base/errs"
	"braid/internal/topo"
	"braid/internal/workflow"
)

// CreateWorkflow checks everything that can be checked without changing anything, then writes the workflow down.
func (a *api) CreateWorkflow(ctx context.Context, req *controlpb.CreateWorkflowRequest) (*controlpb.WorkflowReply, error) {
	return answer(ctx, func(ctx context.Context) (*controlpb.WorkflowReply, error) {
		var reply *controlpb.WorkflowReply
		keyspaces := []string{req.SourceKeyspace, req.TargetKeyspace}
		if req.TargetKeyspace == "" {
			keyspaces = keyspaces[:1]
		}
		create := func() (err error) {
			reply, err = a.create(ctx, req)
			return err
		}
		if req.DryRun {
			return a.create(ctx, req)
		}
		// The locks keep two creates from not seeing each other.
		err := a.locked(ctx, "create of workflow "+req.Name, keyspaces, create)
		return reply, err
	})
}

func (a *api) create(ctx context.Context, req *controlpb.CreateWorkflowRequest) (*controlpb.WorkflowReply, error) {
	rec, err := load(ctx, a.topo, req.Name)
	switch {
	case errors.Is(err, topo.ErrNotFound):
		rec = record{}
	case err != nil:
		return nil, err
	case rec.state.Phase.Ended(): // its name is free again
	case !sameRequest(&rec.state, req):
		return nil, errs.New(errs.Exists, nil, "workflow %s exists, and is another one: %s", req.Name, describe(&rec.state))
	default:
		return a.verb(ctx, req.Name, workflow.Verb{Kind: workflow.Create}, req.DryRun)
	}
	spec, err := a.preflight(ctx, req)
	if err != nil {
		return nil, err
	}
	s := workflow.New(req.Name, spec, req.Stopped)
	s.Serial = rec.state.Serial
	v := workflow.Verb{Kind: workflow.Create}
	steps := workflow.Plan(s, v, workflow.Estimate{})
	if req.DryRun {
		return a.reply(ctx, s, true, steps)
	}
	next, _ := workflow.Step(s, time.Now(), workflow.Accept{Verb: v})
	written, err := rec.commit(ctx, a.topo, next)
	if errors.Is(err, errLost) {
		return nil, errs.New(errs.Conflict, nil, "workflow %s was created by somebody else meanwhile", req.Name)
	}
	if err != nil {
		return nil, err
	}
	a.log.Info("workflow accepted", "workflow", req.Name, "type", spec.Type)
	return a.reply(ctx, written.state, true, steps)
}

// sameRequest reports whether a create asks for the workflow that exists. What it leaves open fits anything.
func sameRequest(s *workflow.State, req *controlpb.CreateWorkflowRequest) bool {
	fits := func(asked, have []string) bool { return len(asked) == 0 || sameSet(asked, have) }
	target := req.TargetKeyspace
	if target == "" {
		target = req.SourceKeyspace
	}
	return string(s.Spec.Type) == req.Type && s.Spec.SourceKeyspace == req.SourceKeyspace && s.Spec.TargetKeyspace == target &&
		fits(req.SourceShards, s.Spec.SourceShards) && fits(req.TargetShards, s.Spec.TargetShards) && sameTables(s, req.Tables) &&
		(len(req.TabletTypes) == 0 || slices.EqualFunc(req.TabletTypes, s.Spec.TabletTypes, func(name string, t topo.TabletType) bool { return name == string(t) })) &&
		(req.CopyReaders == 0 || int(req.CopyReaders) == s.Spec.CopyReaders)
}

func sameTables(s *workflow.State, asked []string) bool {
	if len(asked) == 0 {
		return s.Spec.AllTables
	}
	return sameSet(slices.Compact(slices.Sorted(slices.Values(asked))), s.TableNames())
}

func describe(s *workflow.State) string {
	return string(s.Spec.Type) + " from " + s.Spec.SourceKeyspace + " to " + s.Spec.TargetKeyspace
}

// StartWorkflow starts the active streams.
func (a *api) StartWorkflow(ctx context.Context, req *controlpb.WorkflowRequest) (*controlpb.WorkflowReply, error) {
	return a.simple(ctx, workflow.Start, req)
}

// StopWorkflow stops the active streams; they keep their positions.
func (a *api) StopWorkflow(ctx context.Context, req *controlpb.WorkflowRequest) (*controlpb.WorkflowReply, error) {
	return a.simple(ctx, workflow.Stop, req)
}

// CompleteWorkflow ends a workflow whose traffic is on the target.
func (a *api) CompleteWorkflow(ctx context.Context, req *controlpb.WorkflowRequest) (*controlpb.WorkflowReply, error) {
	return a.simple(ctx, workflow.Complete, req)
}

// CancelWorkflow ends a workflow whose writes are on the source.
func (a *api) CancelWorkflow(ctx context.Context, req *controlpb.WorkflowRequest) (*controlpb.WorkflowReply, error) {
	return a.simple(ctx, workflow.Cancel, req)
}

func (a *api) simple(ctx context.Context, kind workflow.VerbKind, req *controlpb.WorkflowRequest) (*controlpb.WorkflowReply, error) {
	return answer(ctx, func(ctx context.Context) (*controlpb.WorkflowReply, error) {
		return a.verb(ctx, req.Name, workflow.Verb{Kind: kind, KeepData: req.KeepData}, req.DryRun)
	})
}

// SwitchTraffic sends tablet types to the target.
func (a *api) SwitchTraffic(ctx context.Context, req *controlpb.SwitchTrafficRequest) (*controlpb.WorkflowReply, error) {
	return a.traffic(ctx, workflow.SwitchTraffic, req)
}

// ReverseTraffic sends them back to the source.
func (a *api) ReverseTraffic(ctx context.Context, req *controlpb.SwitchTrafficRequest) (*controlpb.WorkflowReply, error) {
	return a.traffic(ctx, workflow.Reverse, req)
}

func (a *api) traffic(ctx context.Context, kind workflow.VerbKind, req *controlpb.SwitchTrafficRequest) (*controlpb.WorkflowReply, error) {
	return answer(ctx, func(ctx context.Context) (*controlpb.WorkflowReply, error) {
		v := workflow.Verb{Kind: kind, MaxLagMS: req.MaxLagMs, TimeoutMS: req.TimeoutMs}
		if req.MaxLagMs < 0 || req.TimeoutMs < 0 {
			return nil, errs.New(errs.BadInput, nil, "max lag and timeout must not be negative")
		}
		for _, name := range req.TabletTypes {
			t, err := topo.ParseTabletType(name)
			if err != nil {
				return nil, err
			}
			if !slices.Contains(topo.ServingTypes, t) {
				return nil, errs.New(errs.BadInput, nil, "tablet type %s takes no traffic: one of RDONLY, REPLICA, PRIMARY", t)
			}
			v.Types = append(v.Types, t)
		}
		return a.verb(ctx, req.Name, v, req.DryRun)
	})
}

// ListWorkflows tells the stored states, of one keyspace or all.
func (a *api) ListWorkflows(ctx context.Context, req *controlpb.ListWorkflowsRequest) (*controlpb.ListWorkflowsResponse, error) {
	return answer(ctx, func(ctx context.Context) (*controlpb.ListWorkflowsResponse, error) {
		states, err := a.states(ctx)
		if err != nil {
			return nil, err
		}
		resp := &controlpb.ListWorkflowsResponse{}
		for _, s := range states {
			if req.Keyspace == "" || req.Keyspace == s.Spec.SourceKeyspace || req.Keyspace == s.Spec.TargetKeyspace {
				resp.Workflows = append(resp.Workflows, stored(&s))
			}
		}
		return resp, nil
	})
}

// ShowWorkflow tells the stored state and how the streams are now.
func (a *api) ShowWorkflow(ctx context.Context, req *controlpb.ShowWorkflowRequest) (*controlpb.Workflow, error) {
	return answer(ctx, func(ctx context.Context) (*controlpb.Workflow, error) {
		rec, err := a.load(ctx, req.Name)
		if err != nil {
			return nil, err
		}
		w := stored(&rec.state)
		w.Streams = a.streams(ctx, &rec.state)
		return w, nil
	})
}
