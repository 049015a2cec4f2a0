package vreplication

import (
	"context"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"

	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/sqlconn"
)

// WriteJournal makes a cutover's point of no return durable. It can be repeated; what was written first stays, and is returned.
func (e *Engine) WriteJournal(ctx context.Context, req *tabletpb.WriteJournalRequest) (*tabletpb.JournalResponse, error) {
	j := req.Journal
	if j == nil || j.Workflow == "" {
		return nil, errs.New(errs.BadInput, nil, "journal without a workflow")
	}
	val, err := protojson.Marshal(j)
	if err != nil {
		return nil, fmt.Errorf("journal of %s: %w", j.Workflow, err)
	}
	err = e.exec(ctx, fmt.Sprintf("INSERT INTO _braid.journal (workflow, epoch, val) VALUES (%s, %d, %s) ON DUPLICATE KEY UPDATE epoch=epoch",
		sqlconn.Quote(j.Workflow), j.Epoch, sqlconn.Quote(string(val))))
	if err != nil {
		return nil, fmt.Errorf("write journal of %s, epoch %d: %w", j.Workflow, j.Epoch, err)
	}
	return e.ReadJournal(ctx, &tabletpb.ReadJournalRequest{Workflow: j.Workflow, Epoch: j.Epoch})
}

// ReadJournal looks for a journal.
func (e *Engine) ReadJournal(ctx context.Context, req *tabletpb.ReadJournalRequest) (*tabletpb.JournalResponse, error) {
	resp := &tabletpb.JournalResponse{}
	err := e.pool.Do(ctx, func(conn *sqlconn.Conn) error {
		res, err := conn.Query(ctx, fmt.Sprintf("SELECT val FROM _braid.journal WHERE workflow=%s AND epoch=%d", sqlconn.Quote(req.Workflow), req.Epoch))
		if err != nil || len(res.Rows) == 0 {
			return err
		}
		resp.Found, resp.Journal = true, &tabletpb.Journal{}
		return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(res.Rows[0][0], resp.Journal)
	})
	if err != nil {
		return nil, fmt.Errorf("read journal of %s, epoch %d: %w", req.Workflow, req.Epoch, err)
	}
	return resp, nil
}

// MaxColumn reads the greatest value that an integer column has, or has had if AUTO_INCREMENT counts it: that of a row which is gone is not given again. 0
// where there was none.
func (e *Engine) MaxColumn(ctx context.Context, req *tabletpb.MaxColumnRequest) (*tabletpb.MaxColumnResponse, error) {
	resp := &tabletpb.MaxColumnResponse{}
	table := sqlconn.QuoteIdent(e.database(req.DbName)) + "." + sqlconn.QuoteIdent(req.Table)
	err := e.pool.Do(ctx, func(conn *sqlconn.Conn) error {
		res, err := conn.Query(ctx, "SELECT IFNULL(MAX("+sqlconn.QuoteIdent(req.Column)+"),0) FROM "+table)
		if err != nil {
			return err
		}
		if resp.Value, err = strconv.ParseInt(string(res.Rows[0][0]), 10, 64); err != nil {
			return err
		}
		res, err = conn.Query(ctx, "SELECT t.AUTO_INCREMENT - 1 FROM information_schema.TABLES t JOIN information_schema.COLUMNS c USING (TABLE_SCHEMA, TABLE_NAME) WHERE t.AUTO_INCREMENT IS NOT NULL AND TABLE_SCHEMA="+
			sqlconn.Quote(e.database(req.DbName))+" AND TABLE_NAME="+sqlconn.Quote(req.Table)+" AND c.COLUMN_NAME="+sqlconn.Quote(req.Column)+" AND c.EXTRA LIKE '%auto_increment%'")
		if err != nil || len(res.Rows) == 0 {
			return err
		}
		counted, err := strconv.ParseInt(string(res.Rows[0][0]), 10, 64)
		resp.Value = max(resp.Value, counted)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("greatest %s of %s: %w", req.Column, table, err)
	}
	return resp, nil
}

// RaiseSequence makes the next value of a sequence at least the given one; it never lowers it. A sequence is a table
// (id int primary key, next_id bigint, cache bigint) with one row of id 0.
func (e *Engine) RaiseSequence(ctx context.Context, req *tabletpb.RaiseSequenceRequest) (*tabletpb.RaiseSequenceResponse, error) {
	resp := &tabletpb.RaiseSequenceResponse{}
	table := sqlconn.QuoteIdent(e.database(req.DbName)) + "." + sqlconn.QuoteIdent(req.Table)
	err := e.pool.Do(ctx, func(conn *sqlconn.Conn) error {
		_, err := conn.Exec(ctx, fmt.Sprintf("INSERT INTO %s (id, next_id, cache) VALUES (0, %d, 1000) ON DUPLICATE KEY UPDATE next_id=GREATEST(next_id, %d)",
			table, max(req.AtLeast, 1), req.AtLeast))
		if err != nil {
			return err
		}
		res, err := conn.Query(ctx, "SELECT next_id FROM "+table+" WHERE id=0")
		if err != nil {
			return err
		}
		resp.Next, err = strconv.ParseInt(string(res.Rows[0][0]), 10, 64)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("raise sequence %s to %d: %w", table, req.AtLeast, err)
	}
	return resp, nil
}

func (e *Engine) database(name string) string {
	if name == "" {
		return e.cfg.DBName
	}
	return name
}
