package controller

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	controlpb "braid/api/control"
	tabletpb "braid/api/tablet"
	"braid/internal/workflow"
)

func (a *api) reply(_ context.Context, s workflow.State, changed bool, steps []string) (*controlpb.WorkflowReply, error) {
	return &controlpb.WorkflowReply{Changed: changed, Steps: steps, Workflow: stored(&s)}, nil
}

// stored is a workflow as its state tells.
func stored(s *workflow.State) *controlpb.Workflow {
	w := &controlpb.Workflow{
		Name: s.Name, Type: string(s.Spec.Type), SourceKeyspace: s.Spec.SourceKeyspace, TargetKeyspace: s.Spec.TargetKeyspace,
		SourceShards: s.Spec.SourceShards, TargetShards: s.Spec.TargetShards, Tables: slices.Sorted(slices.Values(s.TableNames())),
		State: string(s.Phase), Message: s.Message, Direction: "forward", Serving: map[string]string{}, VerbSerial: s.Serial, Busy: s.Verb != nil,
	}
	if s.Verb != nil {
		w.Step = string(s.Verb.Stage)
	}
	if s.Writes() == workflow.Target {
		w.Direction = "reverse"
	}
	for t, side := range s.Served {
		w.Serving[string(t)] = string(side)
	}
	for _, e := range s.History {
		w.History = append(w.History, &controlpb.Event{AtUs: e.AtUS, Step: e.Stage, Text: e.Text})
	}
	if l := s.Last; l != nil {
		w.LastSwitch = &controlpb.Switch{Direction: direction(l.Verb), Result: l.Result, Error: l.Error, FencedMs: l.FencedMS, Killed: int32(l.Killed), Epoch: l.Epoch}
		for _, t := range l.Types {
			w.LastSwitch.TabletTypes = append(w.LastSwitch.TabletTypes, string(t))
		}
	}
	return w
}

func direction(v workflow.VerbKind) string {
	if v == workflow.Reverse {
		return "reverse"
	}
	return "forward"
}

// streams asks all tablets that the workflow's streams write to; a tablet that does not answer is a row that says so. The
// active streams come first.
func (a *api) streams(ctx context.Context, s *workflow.State) []*controlpb.Stream {
	if s.Phase.Ended() {
		return nil
	}
	var all [2][]*controlpb.Stream
	var mu sync.Mutex
	var g errgroup.Group
	for i, side := range []workflow.Side{s.Follower(), s.Writes()} {
		if side == workflow.Source && i == 1 {
			continue // reverse streams exist from the first switch of writes on, and are active then
		}
		for _, at := range s.Shards(side) {
			g.Go(func() error {
				rows := a.streamsAt(ctx, at, s.StreamName(side))
				mu.Lock()
				defer mu.Unlock()
				all[i] = append(all[i], rows...)
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		panic(err) // they return none
	}
	for i := range all {
		slices.SortFunc(all[i], func(x, y *controlpb.Stream) int {
			return slices.Compare([]string{x.Target, x.Source}, []string{y.Target, y.Source})
		})
	}
	return slices.Concat(all[0], all[1])
}

func (a *api) streamsAt(ctx context.Context, at workflow.Shard, name string) []*controlpb.Stream {
	_, tablet, _ := a.exec.tablets.primary(at)
	streams, err := a.exec.streamStatus(ctx, at, name)
	if err != nil {
		return []*controlpb.Stream{{Tablet: tablet.Alias, Target: at.String(), State: "Unknown", Message: err.Error(), LagMs: -1}}
	}
	rows := make([]*controlpb.Stream, 0, len(streams))
	for _, st := range streams {
		rows = append(rows, streamRow(tablet.Alias, at, st))
	}
	return rows
}

func streamRow(alias string, at workflow.Shard, st *tabletpb.StreamStatus) *controlpb.Stream {
	row := &controlpb.Stream{
		Tablet: alias, Id: st.Id, Source: sourceOf(st).String(), Target: at.String(), State: st.State, Message: st.Message,
		Position: st.Position, RowsCopied: st.RowsCopied, RowsTotal: st.RowsTotal, Transactions: st.Transactions, LagMs: st.LagMs,
		ReadsFrom: st.ReadsFrom,
	}
	for _, t := range st.Tables {
		row.BytesCopied += t.BytesCopied
		row.Tables = append(row.Tables, &controlpb.TableCopy{Table: t.Table, RowsCopied: t.RowsCopied, RowsTotal: t.RowsTotal, BytesCopied: t.BytesCopied, Done: t.Done})
	}
	if c := st.Copy; c != nil {
		row.Copy = &controlpb.CopyProgress{RowsPerSecond: c.RowsPerSecond, BytesPerSecond: c.BytesPerSecond, EtaMs: c.EtaMs, Bottleneck: c.Bottleneck, Paused: c.Paused, Writer: c.Writer}
	}
	return row
}
