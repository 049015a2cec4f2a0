package controller

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	controlpb "braid/api/control"
	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/workflow"
)

// States of a diff.
const (
	diffPending   = "pending"
	diffRunning   = "running"
	diffCompleted = "completed"
	diffError     = "error"
)

// StartDiff begins one comparison on all tablets that the active streams write to.
func (a *api) StartDiff(ctx context.Context, req *controlpb.StartDiffRequest) (*controlpb.Diff, error) {
	return answer(ctx, func(ctx context.Context) (*controlpb.Diff, error) {
		rec, err := a.load(ctx, req.Workflow)
		if err != nil {
			return nil, err
		}
		s := &rec.state
		if s.Phase.Ended() || !s.Created {
			return nil, errs.New(errs.WorkflowState, nil, "workflow %s is %s: it has no streams to compare by", s.Name, s.Phase)
		}
		for _, t := range req.Tables {
			if !slices.Contains(s.TableNames(), t) {
				return nil, errs.New(errs.TableUnknown, nil, "workflow %s has no table %s", s.Name, t)
			}
		}
		if req.DryRun {
			return &controlpb.Diff{Workflow: s.Name, State: "planned", Tables: plannedDiff(s, req.Tables)}, nil
		}
		uuid := newUUID()
		return a.diffs(ctx, s, uuid, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.DiffResponse, error) {
			return c.StartDiff(ctx, &tabletpb.StartDiffRequest{Uuid: uuid, Workflow: s.StreamName(s.Follower()), Tables: req.Tables, MaxReportRows: req.MaxReportRows})
		})
	})
}

func plannedDiff(s *workflow.State, tables []string) []*controlpb.DiffTable {
	if len(tables) == 0 {
		tables = s.TableNames()
	}
	var rows []*controlpb.DiffTable
	for _, t := range tables {
		for _, st := range s.Streams(s.Follower()) {
			rows = append(rows, &controlpb.DiffTable{Table: t, Source: st.Source.String(), Target: st.At.String()})
		}
	}
	return rows
}

// ShowDiff tells how a comparison is; without a uuid, the last one.
func (a *api) ShowDiff(ctx context.Context, req *controlpb.ShowDiffRequest) (*controlpb.Diff, error) {
	return answer(ctx, func(ctx context.Context) (*controlpb.Diff, error) {
		rec, err := a.load(ctx, req.Workflow)
		if err != nil {
			return nil, err
		}
		s := &rec.state
		uuid := req.Uuid
		if uuid == "" { // what the first shard calls the last one
			at := s.Shards(s.Follower())[0]
			last, err := call(ctx, a.exec.tablets, at, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.DiffResponse, error) {
				return c.ShowDiff(ctx, &tabletpb.ShowDiffRequest{Workflow: s.StreamName(s.Follower())})
			})
			if err != nil {
				return nil, err
			}
			uuid = last.Uuid
		}
		return a.diffs(ctx, s, uuid, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.DiffResponse, error) {
			return c.ShowDiff(ctx, &tabletpb.ShowDiffRequest{Uuid: uuid, Workflow: s.StreamName(s.Follower())})
		})
	})
}

// diffs makes a call on every tablet that the active streams write to, and puts the answers together.
func (a *api) diffs(ctx context.Context, s *workflow.State, uuid string, fn func(context.Context, tabletpb.TabletClient) (*tabletpb.DiffResponse, error)) (*controlpb.Diff, error) {
	shards := s.Shards(s.Follower())
	parts := make([]*tabletpb.DiffResponse, len(shards))
	g, ctx := errgroup.WithContext(ctx)
	for i, at := range shards {
		g.Go(func() (err error) {
			parts[i], err = call(ctx, a.exec.tablets, at, fn)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	d := &controlpb.Diff{Uuid: uuid, Workflow: s.Name}
	var problems []string
	for i, part := range parts {
		d.State = worse(d.State, part.State)
		if part.Error != "" {
			problems = append(problems, shards[i].String()+": "+part.Error)
		}
		for _, t := range part.Tables {
			d.Tables = append(d.Tables, diffTable(t, shards[i]))
		}
	}
	d.Error = strings.Join(problems, "; ")
	slices.SortStableFunc(d.Tables, func(x, y *controlpb.DiffTable) int { return strings.Compare(x.Table, y.Table) })
	return d, nil
}

// worse is the state of two parts together: an error tells most, a part that still runs says that it is not over.
func worse(a, b string) string {
	rank := []string{"", diffCompleted, diffPending, diffRunning, diffError}
	switch {
	case a == diffPending && b == diffCompleted, a == diffCompleted && b == diffPending:
		return diffRunning
	case slices.Index(rank, b) > slices.Index(rank, a):
		return b
	}
	return a
}

func diffTable(t *tabletpb.TableDiff, at workflow.Shard) *controlpb.DiffTable {
	row := &controlpb.DiffTable{Table: t.Table, Source: t.Source, Target: at.String(), RowsCompared: t.RowsCompared, RowsTotal: t.RowsTotal,
		Mismatched: t.Mismatched, ExtraSource: t.ExtraSource, ExtraTarget: t.ExtraTarget, Done: t.Done}
	for _, r := range t.Rows {
		row.Rows = append(row.Rows, rowText(r))
	}
	return row
}

// rowText is one differing row: what, its key, and the columns with both values.
func rowText(r *tabletpb.RowDiff) string {
	words := []string{strings.ReplaceAll(r.Kind, "_", " ")}
	for _, c := range r.Key {
		words = append(words, c.Column+"="+cellText(c))
	}
	for _, c := range r.Columns {
		words = append(words, fmt.Sprintf("%s: source %s, target %s", c.Column, cellText(c.Source), cellText(c.Target)))
	}
	return strings.Join(words, " ")
}

func cellText(c *tabletpb.Cell) string {
	if c == nil || c.Null {
		return "NULL"
	}
	return fmt.Sprintf("%q", c.Value)
}

// newUUID is a random UUID (RFC 9562, version 4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
