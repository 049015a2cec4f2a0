package controller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	controlpb "braid/api/control"
	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/keyrange"
	"braid/internal/topo"
	"braid/internal/vschema"
	"braid/internal/workflow"
)

// ListKeyspaces tells keyspaces with their shards and what those serve.
func (a *api) ListKeyspaces(ctx context.Context, req *controlpb.ListKeyspacesRequest) (*controlpb.ListKeyspacesResponse, error) {
	return answer(ctx, func(ctx context.Context) (*controlpb.ListKeyspacesResponse, error) {
		keyspaces, err := a.topo.Keyspaces(ctx)
		if err != nil {
			return nil, err
		}
		if req.Keyspace != "" {
			ks, err := a.topo.Keyspace(ctx, req.Keyspace)
			if err != nil {
				return nil, err
			}
			keyspaces = []topo.Keyspace{ks}
		}
		routing, err := a.topo.Routing(ctx)
		if err != nil {
			return nil, err
		}
		resp := &controlpb.ListKeyspacesResponse{}
		for _, ks := range keyspaces {
			row, err := a.keyspaceRow(ctx, ks.Name, routing)
			if err != nil {
				return nil, err
			}
			resp.Keyspaces = append(resp.Keyspaces, row)
		}
		return resp, nil
	})
}

func (a *api) keyspaceRow(ctx context.Context, name string, routing *topo.Routing) (*controlpb.Keyspace, error) {
	shards, err := a.topo.Shards(ctx, name)
	if err != nil {
		return nil, err
	}
	row := &controlpb.Keyspace{Name: name}
	if vs, err := a.exec.vschema(ctx, name); err == nil {
		row.Sharded = vs.Sharded
	}
	for _, s := range shards {
		shard := &controlpb.Shard{Name: s.Name, Primary: s.Primary}
		for _, t := range routing.Serves(name, s.Name) {
			shard.Serving = append(shard.Serving, string(t))
		}
		row.Shards = append(row.Shards, shard)
	}
	return row, nil
}

// change runs a verb on one keyspace under its lock, and counts what it did.
func (a *api) change(ctx context.Context, what, keyspace string, dryRun bool, fn func(context.Context, *changes) error) (*controlpb.Change, error) {
	return answer(ctx, func(ctx context.Context) (*controlpb.Change, error) {
		c := &changes{dryRun: dryRun}
		if dryRun {
			return &c.Change, fn(ctx, c)
		}
		err := a.locked(ctx, what, []string{keyspace}, func() error { return fn(ctx, c) })
		return &c.Change, err
	})
}

type changes struct {
	controlpb.Change
	dryRun bool
}

// do notes a step and, unless this is a dry run, makes it.
func (c *changes) do(step string, fn func() error) error {
	c.Steps = append(c.Steps, fmt.Sprintf("%d. %s", len(c.Steps)+1, step))
	c.Changed = true
	if c.dryRun {
		return nil
	}
	return fn()
}

// CreateKeyspace creates a keyspace with shards that partition the key space ("0" if none are named). The database is
// created by the primary of each shard when it starts.
func (a *api) CreateKeyspace(ctx context.Context, req *controlpb.CreateKeyspaceRequest) (*controlpb.Change, error) {
	return a.change(ctx, "create keyspace "+req.Keyspace, req.Keyspace, req.DryRun, func(ctx context.Context, c *changes) error {
		if err := topo.CheckKeyspaceName(req.Keyspace); err != nil {
			return err
		}
		shards := req.Shards
		if len(shards) == 0 {
			shards = []string{"0"}
		}
		if err := keyrange.CheckPartition(shards); err != nil {
			return errs.New(errs.ShardsDoNotPartition, err, "shards of %s", req.Keyspace)
		}
		_, err := a.topo.Keyspace(ctx, req.Keyspace)
		switch {
		case errors.Is(err, topo.ErrNotFound):
			err = c.do("create keyspace "+req.Keyspace, func() error { return a.topo.CreateKeyspace(ctx, req.Keyspace) })
		case err == nil:
			err = a.sameShards(ctx, req.Keyspace, shards)
		}
		if err != nil {
			return err
		}
		return a.createShards(ctx, req.Keyspace, shards, c)
	})
}

// sameShards refuses to create a keyspace again with shards that it does not have: that is what CreateShards is for. Some
// may be missing, if an earlier call was interrupted.
func (a *api) sameShards(ctx context.Context, keyspace string, wanted []string) error {
	have, err := a.topo.Shards(ctx, keyspace)
	if err != nil {
		return err
	}
	for _, s := range have {
		if !slices.Contains(wanted, s.Name) {
			return errs.New(errs.Exists, nil, "keyspace %s exists, with shard %s", keyspace, s.Name)
		}
	}
	return nil
}

// CreateShards adds shards to a keyspace. Those that overlap a serving one serve nothing until a reshard switches to them.
func (a *api) CreateShards(ctx context.Context, req *controlpb.CreateShardsRequest) (*controlpb.Change, error) {
	return a.change(ctx, "create shards of "+req.Keyspace, req.Keyspace, req.DryRun, func(ctx context.Context, c *changes) error {
		if len(req.Shards) == 0 {
			return errs.New(errs.BadInput, nil, "no shards are named")
		}
		if _, err := a.topo.Keyspace(ctx, req.Keyspace); err != nil {
			return err
		}
		return a.createShards(ctx, req.Keyspace, req.Shards, c)
	})
}

func (a *api) createShards(ctx context.Context, keyspace string, shards []string, c *changes) error {
	for _, s := range shards {
		if err := topo.CheckShardName(s); err != nil {
			return err
		}
		_, err := a.topo.Shard(ctx, keyspace, s)
		if err == nil {
			continue
		}
		if !errors.Is(err, topo.ErrNotFound) {
			return err
		}
		err = c.do(fmt.Sprintf("create shard %s/%s", keyspace, s), func() error { return a.topo.CreateShard(ctx, keyspace, s) })
		if err != nil {
			return err
		}
	}
	return nil
}

// DeleteShards removes the records of shards that serve nothing and that no workflow needs. Servers and data stay.
func (a *api) DeleteShards(ctx context.Context, req *controlpb.DeleteShardsRequest) (*controlpb.Change, error) {
	return a.change(ctx, "delete shards of "+req.Keyspace, req.Keyspace, req.DryRun, func(ctx context.Context, c *changes) error {
		if _, err := a.topo.Keyspace(ctx, req.Keyspace); err != nil {
			return err
		}
		for _, s := range req.Shards {
			if err := a.deletable(ctx, workflow.Shard{Keyspace: req.Keyspace, Name: s}); err != nil {
				return err
			}
		}
		for _, s := range req.Shards {
			_, err := a.topo.Shard(ctx, req.Keyspace, s)
			if errors.Is(err, topo.ErrNotFound) {
				continue
			}
			if err == nil {
				err = c.do(fmt.Sprintf("delete shard %s/%s; its servers and data stay", req.Keyspace, s), func() error { return a.topo.DeleteShard(ctx, req.Keyspace, s) })
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (a *api) deletable(ctx context.Context, shard workflow.Shard) error {
	routing, err := a.topo.Routing(ctx)
	if err != nil {
		return err
	}
	if types := routing.Serves(shard.Keyspace, shard.Name); len(types) > 0 {
		return errs.New(errs.WorkflowState, nil, "shard %s serves %v", shard, types).
			With("Switch its traffic to other shards first: `braid reshard`, then `braid workflow switch`.")
	}
	states, err := a.states(ctx)
	if err != nil {
		return err
	}
	for _, s := range states {
		if !s.Phase.Ended() && slices.Contains(slices.Concat(s.Shards(workflow.Source), s.Shards(workflow.Target)), shard) {
			return errs.New(errs.WorkflowBusy, nil, "workflow %s (%s) works on shard %s", s.Name, s.Phase, shard).
				With("Complete or cancel it first.")
		}
	}
	return nil
}

// ListTablets tells all living tablets, and the primaries that shards name and that do not live.
func (a *api) ListTablets(ctx context.Context, req *controlpb.ListTabletsRequest) (*controlpb.ListTabletsResponse, error) {
	return answer(ctx, func(ctx context.Context) (*controlpb.ListTabletsResponse, error) {
		tablets, err := a.topo.Tablets(ctx)
		if err != nil {
			return nil, err
		}
		shards, err := a.topo.Shards(ctx, "")
		if err != nil {
			return nil, err
		}
		resp := &controlpb.ListTabletsResponse{}
		alive := map[string]bool{}
		for _, t := range tablets {
			alive[t.Alias] = true
			resp.Tablets = append(resp.Tablets, &controlpb.Tablet{Alias: t.Alias, Cell: t.Cell, Keyspace: t.Keyspace, Shard: t.Shard, Type: string(t.Type),
				Alive: true, Serving: t.Serving, LagMs: t.LagMS, Position: t.Position, GrpcAddr: t.GRPCAddr, MysqlAddr: t.MySQLAddr, Reason: t.Reason})
		}
		for _, s := range shards {
			if s.Primary != "" && !alive[s.Primary] {
				cell, _, _ := strings.Cut(s.Primary, "-")
				resp.Tablets = append(resp.Tablets, &controlpb.Tablet{Alias: s.Primary, Cell: cell, Keyspace: s.Keyspace, Shard: s.Name, Type: string(topo.Primary),
					LagMs: -1, Reason: "it has not been heard of for longer than its lease"})
			}
		}
		resp.Tablets = slices.DeleteFunc(resp.Tablets, func(t *controlpb.Tablet) bool {
			return req.Keyspace != "" && t.Keyspace != req.Keyspace || req.Shard != "" && t.Shard != req.Shard
		})
		return resp, nil
	})
}

// ApplyVSchema replaces a keyspace's VSchema.
func (a *api) ApplyVSchema(ctx context.Context, req *controlpb.ApplyVSchemaRequest) (*controlpb.Change, error) {
	return a.change(ctx, "apply VSchema of "+req.Keyspace, req.Keyspace, req.DryRun, func(ctx context.Context, c *changes) error {
		have, version, err := a.topo.VSchema(ctx, req.Keyspace)
		if err != nil {
			return err
		}
		vs, err := vschema.Parse([]byte(req.VschemaJson))
		if err != nil {
			def := errs.BadVSchema
			if strings.Contains(err.Error(), "unknown vindex") {
				def = errs.UnknownVindex
			}
			return errs.New(def, err, "VSchema of %s", req.Keyspace)
		}
		want := vs.JSON()
		if bytes.Equal(have, want) {
			return nil
		}
		if err := a.shardingMayChange(ctx, req.Keyspace, have, vs); err != nil {
			return err
		}
		return c.do(fmt.Sprintf("replace the VSchema of %s (%d tables); gates follow at once", req.Keyspace, len(vs.Tables)), func() error {
			_, err := a.topo.SetVSchema(ctx, req.Keyspace, want, version)
			return err
		})
	})
}

// ShowVSchema tells a keyspace's VSchema; that of an unsharded keyspace may never have been set.
func (a *api) ShowVSchema(ctx context.Context, req *controlpb.ShowVSchemaRequest) (*controlpb.ShowVSchemaResponse, error) {
	return answer(ctx, func(ctx context.Context) (*controlpb.ShowVSchemaResponse, error) {
		raw, _, err := a.topo.VSchema(ctx, req.Keyspace)
		if err != nil {
			return nil, err
		}
		if len(raw) == 0 {
			raw = (&vschema.Keyspace{}).JSON()
		}
		return &controlpb.ShowVSchemaResponse{VschemaJson: string(raw)}, nil
	})
}

// ShowRouting tells who serves what.
func (a *api) ShowRouting(ctx context.Context, _ *controlpb.ShowRoutingRequest) (*controlpb.ShowRoutingResponse, error) {
	return answer(ctx, func(ctx context.Context) (*controlpb.ShowRoutingResponse, error) {
		r, err := a.topo.Routing(ctx)
		if err != nil {
			return nil, err
		}
		return &controlpb.ShowRoutingResponse{RoutingJson: string(mustJSON(r)), Epoch: r.Epoch}, nil
	})
}

// ApplySchema runs DDL statements on the primaries of all serving shards, one statement after the other on each.
func (a *api) ApplySchema(ctx context.Context, req *controlpb.ApplySchemaRequest) (*controlpb.Change, error) {
	return a.change(ctx, "apply schema of "+req.Keyspace, req.Keyspace, req.DryRun, func(ctx context.Context, c *changes) error {
		if _, err := a.topo.Keyspace(ctx, req.Keyspace); err != nil {
			return err
		}
		routing, err := a.topo.Routing(ctx)
		if err != nil {
			return err
		}
		statements := splitSQL(req.Sql)
		shards := routing.ServingShards(req.Keyspace, topo.Primary)
		if len(statements) == 0 || len(shards) == 0 {
			return errs.New(errs.BadInput, nil, "%d statements for %d serving shards of %s", len(statements), len(shards), req.Keyspace)
		}
		done := []string{}
		for _, s := range shards {
			at := workflow.Shard{Keyspace: req.Keyspace, Name: s}
			err := c.do(fmt.Sprintf("on %s: %s", at, strings.Join(strings.Fields(strings.Join(statements, "; ")), " ")), func() error { return a.applySchema(ctx, at, statements) })
			if err != nil {
				return fmt.Errorf("apply schema on %s (done on: %s): %w", at, orNone(done), err)
			}
			done = append(done, s)
		}
		return nil
	})
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ",")
}

func (a *api) applySchema(ctx context.Context, at workflow.Shard, statements []string) error {
	_, err := call(ctx, a.exec.tablets, at, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.ApplySchemaResponse, error) {
		return c.ApplySchema(ctx, &tabletpb.ApplySchemaRequest{DbName: at.Keyspace, Statements: statements})
	})
	return err
}
