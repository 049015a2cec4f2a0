package vreplication

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/sqlconn"
	"braid/internal/vdiff"
)

// StartDiff begins a comparison of the workflow's streams that write here: a row for every stream and table, which the
// streams take up when they run, and again after a restart. It can be repeated with the same uuid.
func (e *Engine) StartDiff(ctx context.Context, req *tabletpb.StartDiffRequest) (*tabletpb.DiffResponse, error) {
	if req.Uuid == "" || req.Workflow == "" {
		return nil, errs.New(errs.BadInput, nil, "a diff needs a uuid and a workflow")
	}
	var ids []int64
	err := e.pool.Do(ctx, func(conn *sqlconn.Conn) error {
		rows, err := loadRows(ctx, conn, "db_name="+sqlconn.Quote(e.cfg.DBName)+" AND workflow="+sqlconn.Quote(req.Workflow))
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return errs.New(errs.NotFound, nil, "workflow %s has no streams on %s/%s", req.Workflow, e.cfg.Keyspace, e.cfg.Shard)
		}
		sql, err := diffRows(ctx, conn, req, rows)
		if err != nil {
			return err
		}
		for _, r := range rows {
			ids = append(ids, r.ID)
		}
		return execAll(ctx, conn, sql...)
	})
	if err != nil {
		return nil, fmt.Errorf("start diff: %w", err)
	}
	for _, id := range ids {
		if c := e.stream(id); c != nil {
			c.diffs.Store(true)
			c.poke()
		}
	}
	return e.ShowDiff(ctx, &tabletpb.ShowDiffRequest{Uuid: req.Uuid, Workflow: req.Workflow})
}

func diffRows(ctx context.Context, conn *sqlconn.Conn, req *tabletpb.StartDiffRequest, rows []*row) ([]string, error) {
	samples := req.MaxReportRows
	if samples <= 0 {
		samples = diffSamples
	}
	var sql []string
	wanted := slices.Clone(req.Tables)
	for _, r := range rows {
		tables, err := sourceTables(ctx, conn, r)
		if err != nil {
			return nil, err
		}
		for _, name := range tables {
			if len(req.Tables) > 0 && !slices.Contains(req.Tables, name) {
				continue
			}
			wanted = slices.DeleteFunc(wanted, func(w string) bool { return w == name })
			sql = append(sql, fmt.Sprintf("INSERT INTO _braid.vdiff (uuid, vrepl_id, table_name, workflow, source_name, state, max_report_rows, created_at, updated_at) "+
				"VALUES (%s, %d, %s, %s, %s, 'pending', %d, %d, %d) ON DUPLICATE KEY UPDATE uuid=uuid", sqlconn.Quote(req.Uuid), r.ID, sqlconn.Quote(name),
				sqlconn.Quote(req.Workflow), sqlconn.Quote(r.Source.name()), samples, nowUS(), nowUS()))
		}
	}
	if len(wanted) > 0 {
		return nil, errs.New(errs.BadInput, nil, "no stream of workflow %s has table %s", req.Workflow, wanted[0])
	}
	return sql, nil
}

// ShowDiff reports a diff, or the last one of a workflow.
func (e *Engine) ShowDiff(ctx context.Context, req *tabletpb.ShowDiffRequest) (*tabletpb.DiffResponse, error) {
	resp := &tabletpb.DiffResponse{Uuid: req.Uuid, Workflow: req.Workflow}
	err := e.pool.Do(ctx, func(conn *sqlconn.Conn) error {
		if resp.Uuid == "" {
			res, err := conn.Query(ctx, "SELECT uuid FROM _braid.vdiff WHERE workflow="+sqlconn.Quote(req.Workflow)+" ORDER BY created_at DESC LIMIT 1")
			if err != nil {
				return err
			}
			if len(res.Rows) == 0 {
				return errs.New(errs.NotFound, nil, "workflow %s has no diff", req.Workflow)
			}
			resp.Uuid = string(res.Rows[0][0])
		}
		return showDiff(ctx, conn, resp)
	})
	if err != nil {
		return nil, fmt.Errorf("show diff: %w", err)
	}
	return resp, nil
}

// showDiff fills the response. The whole is as far as its slowest table; an error of one is an error of the whole.
func showDiff(ctx context.Context, conn *sqlconn.Conn, resp *tabletpb.DiffResponse) error {
	res, err := conn.Query(ctx, "SELECT d.workflow, d.table_name, d.source_name, d.state, d.rows_compared, d.rows_total, d.mismatched, d.extra_source, d.extra_target, "+
		"IFNULL(d.report,''), IFNULL(d.error,''), IFNULL(v.state,''), IFNULL(v.message,'') FROM _braid.vdiff d LEFT JOIN _braid.vreplication v ON v.id=d.vrepl_id "+
		"WHERE d.uuid="+sqlconn.Quote(resp.Uuid)+" ORDER BY d.table_name, d.source_name")
	if err != nil {
		return err
	}
	if len(res.Rows) == 0 {
		return errs.New(errs.NotFound, nil, "diff %s", resp.Uuid)
	}
	states := map[string]int{}
	for _, c := range res.Rows {
		resp.Workflow = string(c[0])
		state := string(c[3])
		states[state]++
		t := &tabletpb.TableDiff{Table: string(c[1]), Source: string(c[2]), Done: state == "completed"}
		for i, to := range []*int64{&t.RowsCompared, &t.RowsTotal, &t.Mismatched, &t.ExtraSource, &t.ExtraTarget} {
			if *to, err = strconv.ParseInt(string(c[4+i]), 10, 64); err != nil {
				return err
			}
		}
		if t.Rows, err = reportRows(c[9]); err != nil {
			return err
		}
		switch {
		case len(c[10]) > 0:
			resp.Error = fmt.Sprintf("table %s from %s: %s", t.Table, t.Source, c[10])
		case state != "completed" && string(c[11]) != Running.String() && resp.Error == "":
			resp.Error = fmt.Sprintf("waits for the stream from %s, which is %s %s", t.Source, c[11], c[12])
		}
		resp.Tables = append(resp.Tables, t)
	}
	switch {
	case states["error"] > 0:
		resp.State = "error"
	case states["completed"] == len(res.Rows):
		resp.State = "completed"
	case states["pending"] == len(res.Rows):
		resp.State = "pending"
	default:
		resp.State = "running"
	}
	return nil
}

func reportRows(raw []byte) ([]*tabletpb.RowDiff, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var rows []vdiff.RowDiff
	if err := json.Unmarshal(raw, &rows); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	out := make([]*tabletpb.RowDiff, len(rows))
	for i := range rows {
		out[i] = &tabletpb.RowDiff{Kind: string(rows[i].Kind)}
		for _, k := range rows[i].Key {
			out[i].Key = append(out[i].Key, cellPB(k))
		}
		for _, c := range rows[i].Columns {
			out[i].Columns = append(out[i].Columns, &tabletpb.CellDiff{Column: c.Column, Source: cellPB(c.Source), Target: cellPB(c.Target)})
		}
	}
	return out, nil
}

func cellPB(c vdiff.Cell) *tabletpb.Cell {
	return &tabletpb.Cell{Column: c.Column, Value: c.Value, Null: c.Null}
}
