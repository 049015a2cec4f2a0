package vreplication

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/binlog"
	"braid/internal/gtid"
	"braid/internal/sqlconn"
)

// Create makes streams, all or none. One that exists (same workflow and source) is left as it is. It returns all streams of
// the workflows that were named.
func (e *Engine) Create(ctx context.Context, specs []*tabletpb.StreamSpec) ([]*tabletpb.StreamStatus, error) {
	var sql, workflows []string
	for _, spec := range specs {
		s, err := e.insert(spec)
		if err != nil {
			return nil, err
		}
		sql = append(sql, s)
		if !slices.Contains(workflows, spec.Workflow) {
			workflows = append(workflows, spec.Workflow)
		}
	}
	if err := e.change(ctx, sql); err != nil {
		return nil, fmt.Errorf("create streams: %w", err)
	}
	var all []*tabletpb.StreamStatus
	for _, w := range workflows {
		streams, err := e.List(ctx, w)
		if err != nil {
			return nil, err
		}
		all = append(all, streams...)
	}
	return all, nil
}

func (e *Engine) insert(spec *tabletpb.StreamSpec) (string, error) {
	src, raw, err := specSource(spec)
	if err != nil {
		return "", err
	}
	state, err := started(cmp.Or(spec.State, Init.String()))
	if err != nil {
		return "", err
	}
	pos, err := gtid.Parse(spec.Position)
	if err != nil {
		return "", errs.New(errs.BadInput, err, "position of the stream from %s", src.name())
	}
	stop, err := gtid.Parse(spec.StopPosition)
	if err != nil {
		return "", errs.New(errs.BadInput, err, "stop position of the stream from %s", src.name())
	}
	q := sqlconn.Quote
	stopPos := "NULL"
	if !stop.Empty() {
		stopPos = q(stop.String())
	}
	// The no-op update keeps a stream that exists; INSERT IGNORE would also hide real errors.
	return fmt.Sprintf("INSERT INTO _braid.vreplication (workflow, source_name, source, pos, stop_pos, cell, tablet_types, time_updated, state, db_name) "+
		"VALUES (%s, %s, %s, %s, %s, %s, %s, %d, %s, %s) ON DUPLICATE KEY UPDATE id=id",
		q(spec.Workflow), q(src.name()), q(raw), q(pos.String()), stopPos, q(spec.Cell), q(spec.TabletTypes), nowUS(), q(state.String()),
		q(cmp.Or(spec.DbName, e.cfg.DBName))), nil
}

// change writes rows and makes them true at once: when it returns, what was stopped has stopped.
func (e *Engine) change(ctx context.Context, sql []string) error {
	e.reconciling.Lock()
	defer e.reconciling.Unlock()
	if len(sql) > 0 {
		if err := e.exec(ctx, sql...); err != nil {
			return err
		}
	}
	return e.reconcileLocked(ctx)
}

// List describes streams, in order of id: those of a workflow, or all.
func (e *Engine) List(ctx context.Context, workflow string) ([]*tabletpb.StreamStatus, error) {
	where := e.scope()
	if workflow != "" {
		where += " AND workflow=" + sqlconn.Quote(workflow)
	}
	var out []*tabletpb.StreamStatus
	err := e.pool.Do(ctx, func(conn *sqlconn.Conn) error {
		rows, err := loadRows(ctx, conn, where)
		if err != nil {
			return err
		}
		for _, r := range rows {
			_, copies, err := loadCopies(ctx, conn, r.ID)
			if err != nil {
				return err
			}
			out = append(out, e.status(r, copies))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	return out, nil
}

func (e *Engine) status(r *row, copies []*tableCopy) *tabletpb.StreamStatus {
	s := &tabletpb.StreamStatus{
		Id: r.ID, Spec: r.spec(), State: r.State.String(), Position: r.Pos.String(), Message: r.Message, Transactions: r.Transactions,
		TransactionTimestampUs: r.Timestamp, TimeUpdatedUs: r.TimeUpdated, LagMs: -1,
	}
	for _, c := range copies {
		s.RowsCopied += c.copied
		s.RowsTotal += max(c.total, c.copied)
		s.Tables = append(s.Tables, &tabletpb.TableCopy{Table: c.name, RowsCopied: c.copied, RowsTotal: max(c.total, c.copied), Done: c.done, BytesCopied: c.bytes})
	}
	s.RowsCopied = max(s.RowsCopied, r.RowsCopied)
	if p := e.CopyProgress(r.ID); p != nil && r.State == Copying {
		s.Copy = p.proto()
		s.Message = cmp.Or(s.Message, p.String())
	}
	if s.Message == "" {
		s.Message = e.stuck(r.ID)
	}
	if c := e.stream(r.ID); c != nil {
		if from := c.readsFrom.Load(); from != nil {
			s.ReadsFrom = *from
		}
		if text := c.waits.Load(); text != nil && r.State.wanted() {
			s.Message = *text
		}
		if lag := c.lag(); lag >= 0 {
			s.LagMs = lag.Milliseconds()
		}
	}
	if bound := cmp.Or(r.MaxLag*1000, timeouts.MaxLag.Milliseconds()) + r.Source.Delay; r.State == Running && s.LagMs > bound {
		s.State = Lagging.String()
	}
	return s
}

// Update starts or stops streams of a workflow, and moves stopped ones to other positions. When it returns, a stream that was
// stopped writes nothing any more.
func (e *Engine) Update(ctx context.Context, req *tabletpb.UpdateStreamsRequest) ([]*tabletpb.StreamStatus, error) {
	if req.Workflow == "" {
		return nil, errs.New(errs.BadInput, nil, "update of streams without a workflow")
	}
	e.reconciling.Lock()
	err := e.updateLocked(ctx, req)
	e.reconciling.Unlock()
	if err != nil {
		return nil, fmt.Errorf("update streams of %s: %w", req.Workflow, err)
	}
	return e.List(ctx, req.Workflow)
}

func (e *Engine) updateLocked(ctx context.Context, req *tabletpb.UpdateStreamsRequest) error {
	where := e.scope() + " AND workflow=" + sqlconn.Quote(req.Workflow)
	if len(req.Ids) > 0 {
		ids := make([]string, len(req.Ids))
		for i, id := range req.Ids {
			ids[i] = strconv.FormatInt(id, 10)
		}
		where += " AND id IN (" + strings.Join(ids, ",") + ")"
	}
	var sql []string
	for id, text := range req.Positions {
		pos, err := gtid.Parse(text)
		if err != nil {
			return errs.New(errs.BadInput, err, "position of stream %d", id)
		}
		if err := e.requireStopped(ctx, id); err != nil {
			return err
		}
		sql = append(sql, fmt.Sprintf("UPDATE _braid.vreplication SET pos=%s, time_updated=%d WHERE id=%d AND %s", sqlconn.Quote(pos.String()), nowUS(), id, where),
			fmt.Sprintf("DELETE FROM _braid.lanes WHERE vrepl_id=%d", id))
	}
	if req.State != "" {
		state, err := started(req.State)
		if err != nil {
			return err
		}
		set := fmt.Sprintf("state='%s', message=%s, time_updated=%d", state, quoteText(req.Message), nowUS())
		keep := ""
		if state.wanted() { // one that runs already is left as it is
			keep = " AND state IN ('Stopped','Error')"
		}
		sql = append(sql, "UPDATE _braid.vreplication SET "+set+" WHERE "+where+keep)
		sql = append(sql, fmt.Sprintf("INSERT INTO _braid.vreplication_log (vrepl_id, type, state, created_at, message) SELECT id, 'update', '%s', %d, %s FROM _braid.vreplication WHERE %s",
			state, nowUS(), quoteText(req.Message), where))
	}
	if len(sql) > 0 {
		if err := e.exec(ctx, sql...); err != nil {
			return err
		}
	}
	return e.reconcileLocked(ctx)
}

func (e *Engine) requireStopped(ctx context.Context, id int64) error {
	return e.pool.Do(ctx, func(conn *sqlconn.Conn) error {
		rows, err := loadRows(ctx, conn, fmt.Sprintf("id=%d", id))
		switch {
		case err != nil:
			return err
		case len(rows) == 0:
			return errs.New(errs.NotFound, nil, "stream %d", id)
		case rows[0].State.wanted():
			return errs.New(errs.WorkflowState, nil, "stream %d is %s: its position can be changed when it is stopped", id, rows[0].State)
		}
		return nil
	})
}

// Delete removes the streams of a workflow and everything that belongs to them, after they have stopped. The journal stays.
func (e *Engine) Delete(ctx context.Context, workflow string) (int, error) {
	if workflow == "" {
		return 0, errs.New(errs.BadInput, nil, "deletion of streams without a workflow")
	}
	e.reconciling.Lock()
	defer e.reconciling.Unlock()
	var rows []*row
	err := e.pool.Do(ctx, func(conn *sqlconn.Conn) (err error) {
		rows, err = loadRows(ctx, conn, e.scope()+" AND workflow="+sqlconn.Quote(workflow))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("delete streams of %s: %w", workflow, err)
	}
	var sql []string
	for _, r := range rows {
		if c := e.stream(r.ID); c != nil {
			c.stop(errs.New(errs.NotFound, nil, "stream %d was deleted", r.ID))
		}
		for _, t := range []string{"lanes", "copy_state", "copy_range", "contested", "writers", "workers", "vreplication_log", "vdiff"} {
			sql = append(sql, fmt.Sprintf("DELETE FROM _braid.%s WHERE vrepl_id=%d", t, r.ID))
		}
		sql = append(sql, fmt.Sprintf("DELETE FROM _braid.vreplication WHERE id=%d", r.ID))
	}
	if len(sql) == 0 {
		return 0, nil
	}
	if err := e.exec(ctx, sql...); err != nil {
		return 0, fmt.Errorf("delete streams of %s: %w", workflow, err)
	}
	for _, r := range rows { // DDL would commit what is above
		if err := e.exec(ctx, binlog.DropTables(witnesses(r.ID))); err != nil {
			return 0, fmt.Errorf("delete streams of %s: %w", workflow, err)
		}
	}
	return len(rows), e.reconcileLocked(ctx)
}

// WaitForPosition returns when the streams have committed the positions, durably. It is woken by the commit. A stream that is
// stopped or in error and is not there yet fails the wait at once.
func (e *Engine) WaitForPosition(ctx context.Context, workflow string, positions map[int64]string) (map[int64]string, error) {
	reached := map[int64]string{}
	for id, text := range positions {
		want, err := gtid.Parse(text)
		if err != nil {
			return nil, errs.New(errs.BadInput, err, "position to wait for, of stream %d", id)
		}
		c := e.stream(id)
		if c == nil || c.tracker.ended() != nil { // the engine has just started, or the row was changed by SQL
			if err := e.reconcile(ctx); err != nil {
				return nil, fmt.Errorf("wait for stream %d: %w", id, err)
			}
			if c = e.stream(id); c == nil {
				return nil, errs.New(errs.NotFound, nil, "stream %d of workflow %s", id, workflow)
			}
		}
		if err := c.awaitSaved(ctx, want); err != nil {
			return nil, fmt.Errorf("stream %d of workflow %s waits for %s, has %s: %w", id, workflow, want, c.saved(), err)
		}
		reached[id] = c.saved().String()
	}
	return reached, nil
}
