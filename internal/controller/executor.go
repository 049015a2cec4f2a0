package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/schema"
	"braid/internal/topo"
	"braid/internal/workflow"
)

// executor runs effects: calls to tablets, and what is read from the topology. It keeps nothing between them.
type executor struct {
	topo    *topo.Topology
	tablets *directory
}

// runAll runs effects at the same time and waits for all. abortable ends the others when one fails.
func (x *executor) runAll(ctx context.Context, effects []workflow.Effect, abortable bool, one func(context.Context, workflow.Effect) (any, error)) []workflow.Result {
	results := make([]workflow.Result, len(effects))
	var g errgroup.Group
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, e := range effects {
		g.Go(func() error {
			value, err := one(ctx, e)
			results[i] = workflow.Result{Effect: e, Value: value, Err: err}
			if err != nil && abortable {
				cancel()
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		rootFirst(results, err)
	}
	return results
}

// rootFirst gives effects that were only cancelled the error that was the reason.
func rootFirst(results []workflow.Result, root error) {
	for i := range results {
		if err := results[i].Err; err != nil && (errors.Is(err, context.Canceled) || errors.Is(err, errs.Canceled)) {
			results[i].Err = root
		}
	}
}

// run runs one effect other than LockKeyspaces, which is its runner's.
func (x *executor) run(ctx context.Context, e workflow.Effect) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline(e))
	defer cancel()
	switch e := e.(type) {
	case workflow.CopySchema:
		return nil, x.copySchema(ctx, e)
	case workflow.CreateStreams:
		return nil, x.createStreams(ctx, e)
	case workflow.PlaceStreams:
		return nil, x.placeStreams(ctx, e)
	case workflow.StartStreams:
		return nil, x.setStreams(ctx, e.At, e.Name, workflow.StreamRunning, "")
	case workflow.StopStreams:
		return nil, x.setStreams(ctx, e.At, e.Name, workflow.StreamStopped, "stopped by workflow "+e.Name)
	case workflow.DeleteStreams:
		return discard(call(ctx, x.tablets, e.At, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.DeleteStreamsResponse, error) {
			return c.DeleteStreams(ctx, &tabletpb.DeleteStreamsRequest{Workflow: e.Name})
		}))
	case workflow.DropTables:
		return discard(call(ctx, x.tablets, e.At, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.DropTablesResponse, error) {
			return c.DropTables(ctx, &tabletpb.DropTablesRequest{DbName: e.At.Keyspace, Tables: e.Tables})
		}))
	case workflow.ListStreams:
		return x.listStreams(ctx, e.At, e.Name)
	case workflow.CheckTablet:
		return nil, x.checkTablet(ctx, e.At)
	case workflow.CompareSchema:
		return nil, x.compareSchema(ctx, e)
	case workflow.FindSequences:
		return x.findSequences(ctx, e)
	}
	return x.runCutover(ctx, e)
}

// runCutover runs the effects that only a cutover has.
func (x *executor) runCutover(ctx context.Context, e workflow.Effect) (any, error) {
	switch e := e.(type) {
	case workflow.AwaitFence:
		return x.awaitFence(ctx, e)
	case workflow.WaitForPosition:
		return x.waitForPosition(ctx, e)
	case workflow.MaxColumn:
		resp, err := call(ctx, x.tablets, e.At, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.MaxColumnResponse, error) {
			return c.MaxColumn(ctx, &tabletpb.MaxColumnRequest{DbName: e.At.Keyspace, Table: e.Table, Column: e.Column})
		})
		return resp.GetValue(), err
	case workflow.RaiseSequence:
		return nil, x.raiseSequence(ctx, e)
	case workflow.WriteJournal:
		return discard(call(ctx, x.tablets, e.At, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.JournalResponse, error) {
			return c.WriteJournal(ctx, &tabletpb.WriteJournalRequest{Journal: journalProto(e.Journal)})
		}))
	case workflow.ReadJournal:
		return x.readJournal(ctx, e)
	}
	panic(fmt.Sprintf("controller: no executor for %T", e))
}

func discard[T any](_ T, err error) (any, error) { return nil, err }

// deadline bounds an effect. Those that wait for something have their wait, and a call's time for the way.
func deadline(e workflow.Effect) time.Duration {
	switch e := e.(type) {
	case workflow.AwaitFence:
		return timeouts.FenceDrain + timeouts.RPC
	case workflow.WaitForPosition:
		return time.Duration(e.TimeoutMS)*time.Millisecond + timeouts.RPC
	case workflow.CopySchema:
		return timeouts.RPC * time.Duration(1+len(e.Tables))
	case workflow.DropTables:
		return timeouts.RPC * time.Duration(1+len(e.Tables))
	}
	return timeouts.RPC
}

// copySchema creates the source's tables on every target. A table that is there already must have the same columns.
func (x *executor) copySchema(ctx context.Context, e workflow.CopySchema) error {
	resp, err := call(ctx, x.tablets, e.From, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.SchemaResponse, error) {
		return c.Schema(ctx, &tabletpb.SchemaRequest{DbName: e.From.Keyspace, Tables: e.Tables})
	})
	if err != nil {
		return err
	}
	byName := map[string]*tabletpb.TableSchema{}
	for _, t := range resp.Tables {
		def, err := targetDefinition(t.Definition, e.Sharded)
		if err != nil {
			return fmt.Errorf("table %s of %s: %w", t.Name, e.From, err)
		}
		byName[t.Name] = &tabletpb.TableSchema{Name: t.Name, CreateStatement: workflow.TargetDDL(t.CreateStatement, e.Sharded), Definition: def}
	}
	var tables []*tabletpb.TableSchema // in the order of creation
	for _, name := range e.Tables {
		t := byName[name]
		if t == nil {
			return errs.New(errs.TableUnknown, nil, "table %s.%s", e.From.Keyspace, name)
		}
		tables = append(tables, t)
	}
	var g errgroup.Group
	for _, to := range e.To {
		g.Go(func() error {
			_, err := call(ctx, x.tablets, to, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.ApplySchemaResponse, error) {
				return c.ApplySchema(ctx, &tabletpb.ApplySchemaRequest{DbName: to.Keyspace, Tables: tables})
			})
			return err
		})
	}
	return g.Wait()
}

// targetDefinition is a table's definition as the target is to have it.
func targetDefinition(raw []byte, sharded bool) ([]byte, error) {
	if !sharded || len(raw) == 0 {
		return raw, nil
	}
	var t schema.Table
	if err := json.Unmarshal(raw, &t); err != nil {
		return nil, fmt.Errorf("definition: %w", err)
	}
	for i := range t.Columns {
		t.Columns[i].AutoIncrement = false
	}
	return json.Marshal(t)
}

func (x *executor) checkTablet(ctx context.Context, at workflow.Shard) error {
	st, err := call(ctx, x.tablets, at, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.StatusResponse, error) {
		return c.Status(ctx, &tabletpb.StatusRequest{})
	})
	if err != nil {
		return err
	}
	if !st.Serving {
		return errs.New(errs.NotServing, nil, "tablet %s (%s) does not serve: %s", st.Alias, at, st.Reason)
	}
	return nil
}
