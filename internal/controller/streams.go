package controller

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/gtid"
	"braid/internal/vschema"
	"braid/internal/workflow"
)

func (x *executor) createStreams(ctx context.Context, e workflow.CreateStreams) error {
	_, err := x.makeStreams(ctx, e.At, e.Streams)
	return err
}

func (x *executor) makeStreams(ctx context.Context, at workflow.Shard, streams []workflow.Stream) ([]*tabletpb.StreamStatus, error) {
	req := &tabletpb.CreateStreamsRequest{}
	for _, st := range streams {
		req.Streams = append(req.Streams, streamProto(st))
	}
	resp, err := call(ctx, x.tablets, at, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.ListStreamsResponse, error) {
		return c.CreateStreams(ctx, req)
	})
	return resp.GetStreams(), err
}

func streamProto(st workflow.Stream) *tabletpb.StreamSpec {
	state := workflow.StreamInit
	if st.Stopped {
		state = workflow.StreamStopped
	}
	var bounds []byte
	if !st.Throttle.None() {
		bounds = st.Throttle.JSON()
	}
	types := make([]string, len(st.Types))
	for i, t := range st.Types {
		types[i] = string(t)
	}
	return &tabletpb.StreamSpec{
		Throttle: bounds, CopyReaders: int32(st.Readers), Workflow: st.Name, SourceKeyspace: st.Source.Keyspace, SourceShard: st.Source.Name, KeyRange: st.KeyRange, Rules: st.Rules,
		Position: st.Position, State: state, TabletTypes: cmp.Or(strings.Join(types, ","), "PRIMARY"), DbName: st.At.Keyspace,
	}
}

// placeStreams makes streams that stand still at their positions (F6). Streams that exist are left as they are by the
// tablet, so their positions are set in a second call; those of a first switch never exist, and cost one.
func (x *executor) placeStreams(ctx context.Context, e workflow.PlaceStreams) error {
	want := map[workflow.Shard]string{}
	for _, st := range e.Streams {
		if st.Position == "" {
			return fmt.Errorf("place stream from %s to %s: %w", st.Source, st.At, errNoPosition)
		}
		want[st.Source] = st.Position
	}
	seen, err := x.makeStreams(ctx, e.At, e.Streams)
	if err != nil {
		return err
	}
	moved := map[int64]string{}
	name := e.Streams[0].Name
	for _, st := range seen {
		if st.GetSpec().GetWorkflow() != name {
			continue
		}
		source := sourceOf(st)
		if position := want[source]; !samePosition(st.Position, position) || st.State != workflow.StreamStopped {
			moved[st.Id] = position
		}
		delete(want, source)
	}
	if len(want) > 0 {
		return fmt.Errorf("tablet of %s made %d streams of %d", e.At, len(e.Streams)-len(want), len(e.Streams))
	}
	if len(moved) == 0 {
		return nil
	}
	_, err = call(ctx, x.tablets, e.At, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.ListStreamsResponse, error) {
		return c.UpdateStreams(ctx, &tabletpb.UpdateStreamsRequest{Workflow: name, State: workflow.StreamStopped, Positions: moved})
	})
	return err
}

// samePosition compares GTID sets: a server may write one in several ways.
func samePosition(a, b string) bool {
	x, err := gtid.Parse(a)
	if err != nil {
		return a == b
	}
	y, err := gtid.Parse(b)
	return err == nil && x.Equal(y)
}

var errNoPosition = errs.New(errs.Internal, nil, "its source gave no position, and without one it would copy everything again")

func sourceOf(st *tabletpb.StreamStatus) workflow.Shard {
	return workflow.Shard{Keyspace: st.GetSpec().GetSourceKeyspace(), Name: st.GetSpec().GetSourceShard()}
}

func (x *executor) setStreams(ctx context.Context, at workflow.Shard, name, state, message string) error {
	_, err := call(ctx, x.tablets, at, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.ListStreamsResponse, error) {
		return c.UpdateStreams(ctx, &tabletpb.UpdateStreamsRequest{Workflow: name, State: state, Message: message})
	})
	return err
}

func (x *executor) streamStatus(ctx context.Context, at workflow.Shard, name string) ([]*tabletpb.StreamStatus, error) {
	resp, err := call(ctx, x.tablets, at, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.ListStreamsResponse, error) {
		return c.ListStreams(ctx, &tabletpb.ListStreamsRequest{Workflow: name})
	})
	return resp.GetStreams(), err
}

func (x *executor) listStreams(ctx context.Context, at workflow.Shard, name string) ([]workflow.StreamSeen, error) {
	streams, err := x.streamStatus(ctx, at, name)
	seen := make([]workflow.StreamSeen, 0, len(streams))
	for _, st := range streams {
		seen = append(seen, workflow.StreamSeen{ID: st.Id, Source: sourceOf(st), State: st.State, Message: st.Message, LagMS: st.LagMs})
	}
	return seen, err
}

// findSequences reads which columns of the side that will serve are filled from sequences.
func (x *executor) findSequences(ctx context.Context, e workflow.FindSequences) ([]workflow.Sequence, error) {
	vs, err := x.vschema(ctx, e.Keyspace)
	if err != nil {
		return nil, err
	}
	var all []workflow.Sequence
	for _, table := range e.Tables {
		if a := vs.Sequence(table); a != nil {
			ks, name := a.Split()
			if ks == "" || name == "" {
				return nil, errs.New(errs.BadVSchema, nil, "sequence %q of %s.%s: write it keyspace.table", a.Sequence, e.Keyspace, table)
			}
			all = append(all, workflow.Sequence{Table: table, Column: a.Column, Keyspace: ks, Sequence: name})
		}
	}
	return all, nil
}

// vschema reads the VSchema of a keyspace; one that has none is unsharded.
func (x *executor) vschema(ctx context.Context, keyspace string) (*vschema.Keyspace, error) {
	raw, _, err := x.topo.VSchema(ctx, keyspace)
	if err != nil {
		return nil, fmt.Errorf("VSchema of %s: %w", keyspace, err)
	}
	if len(raw) == 0 {
		return &vschema.Keyspace{}, nil
	}
	vs, err := vschema.Parse(raw)
	if err != nil {
		return nil, errs.New(errs.BadVSchema, err, "VSchema of %s", keyspace)
	}
	return vs, nil
}

func (x *executor) awaitFence(ctx context.Context, e workflow.AwaitFence) (workflow.Drained, error) {
	resp, err := call(ctx, x.tablets, e.At, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.AwaitFenceResponse, error) {
		return c.AwaitFence(ctx, &tabletpb.AwaitFenceRequest{Epoch: e.Epoch, DrainTimeoutMs: timeouts.FenceDrain.Milliseconds()})
	})
	return workflow.Drained{Position: resp.GetPosition(), Killed: int(resp.GetKilled())}, err
}

func (x *executor) waitForPosition(ctx context.Context, e workflow.WaitForPosition) (string, error) {
	resp, err := call(ctx, x.tablets, e.At, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.WaitForPositionResponse, error) {
		return c.WaitForPosition(ctx, &tabletpb.WaitForPositionRequest{Workflow: e.Name, Positions: e.Positions, TimeoutMs: e.TimeoutMS})
	})
	return resp.GetPosition(), err
}

// raiseSequence runs where the sequence lives: in an unsharded keyspace, on the one shard that serves it.
func (x *executor) raiseSequence(ctx context.Context, e workflow.RaiseSequence) error {
	shards := x.tablets.cache.Routing().ServingShards(e.Keyspace, "PRIMARY")
	if len(shards) != 1 {
		return errs.New(errs.BadVSchema, nil, "sequence %s.%s: its keyspace has %d serving shards, must have one", e.Keyspace, e.Sequence, len(shards))
	}
	at := workflow.Shard{Keyspace: e.Keyspace, Name: shards[0]}
	_, err := call(ctx, x.tablets, at, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.RaiseSequenceResponse, error) {
		return c.RaiseSequence(ctx, &tabletpb.RaiseSequenceRequest{DbName: e.Keyspace, Table: e.Sequence, AtLeast: e.AtLeast})
	})
	return err
}

func journalProto(j workflow.Journal) *tabletpb.Journal {
	source, target := j.FromPositions, j.ToPositions
	direction := "forward"
	if j.From == workflow.Target {
		direction = "reverse"
	}
	return &tabletpb.Journal{Workflow: j.Workflow, Epoch: j.Epoch, Direction: direction, SourcePositions: source, TargetPositions: target, WrittenUs: time.Now().UnixMicro()}
}

func (x *executor) readJournal(ctx context.Context, e workflow.ReadJournal) (*workflow.Journal, error) {
	resp, err := call(ctx, x.tablets, e.At, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.JournalResponse, error) {
		return c.ReadJournal(ctx, &tabletpb.ReadJournalRequest{Workflow: e.Name, Epoch: e.Epoch})
	})
	if err != nil || !resp.Found {
		return nil, err
	}
	j := resp.Journal
	from := workflow.Source
	if j.Direction == "reverse" {
		from = workflow.Target
	}
	return &workflow.Journal{Workflow: j.Workflow, Epoch: j.Epoch, From: from, FromPositions: j.SourcePositions, ToPositions: j.TargetPositions}, nil
}
