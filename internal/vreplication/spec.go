package vreplication

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	tabletpb "braid/api/tablet"
	"braid/internal/apply"
	"braid/internal/base/errs"
	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/sqlconn"
	"braid/internal/writeset"
)

// DDLPolicy is what a stream does with DDL of the source.
type DDLPolicy string

// The policies. Whatever the policy, everything before the statement is committed first.
const (
	DDLIgnore     DDLPolicy = "IGNORE"      // log it and go on: somebody else keeps both definitions alike
	DDLStop       DDLPolicy = "STOP"        // stop in front of it
	DDLExec       DDLPolicy = "EXEC"        // run it on the target; an error of it stops the stream
	DDLExecIgnore DDLPolicy = "EXEC_IGNORE" // run it on the target; log an error of it and go on
)

// ParseDDLPolicy reads a policy in any case, with - or _; empty is IGNORE.
func ParseDDLPolicy(text string) (DDLPolicy, error) {
	switch p := DDLPolicy(strings.ToUpper(strings.ReplaceAll(text, "-", "_"))); p {
	case "":
		return DDLIgnore, nil
	case DDLIgnore, DDLStop, DDLExec, DDLExecIgnore:
		return p, nil
	}
	return "", fmt.Errorf("policy %q for DDL: not one of ignore, stop, exec, exec-ignore", text)
}

// Spec is a stream as somebody wants it who needs more than Create gives.
type Spec struct {
	Workflow        string
	Keyspace, Shard string // of the source
	Rules           filter.Rules
	OnDDL           DDLPolicy
	Workers         int // 0: apply.DefaultWorkers
	Parallel        writeset.Mode
	CommitOrder     apply.Order
	Delay           time.Duration // how long transactions are held back, from their commit on the source
	MaxTPS          int64         // 0: no bound
	MaxLag          time.Duration // from which the copy pauses, and the stream counts as lagging; whole seconds, 0: timeouts.MaxLag
	WithoutKey      WithoutKey
	NonEmpty        bool     // tables may have rows of others; a stream that was made so stays so
	CopyReaders     int      // sessions of the source that read chunks; 0: the default
	StopPos         gtid.Set // empty: none
	Skip            gtid.Set // transactions that are counted as applied, without being looked at
}

// Put makes a stream, or changes one that exists: its options, its stop position, what it skips. One that is stopped or in error is
// started. Rules cannot be changed: errs.OtherRules.
func (e *Engine) Put(ctx context.Context, spec Spec) (*tabletpb.StreamStatus, error) {
	e.reconciling.Lock()
	err := e.put(ctx, &spec)
	e.reconciling.Unlock()
	if err != nil {
		return nil, fmt.Errorf("stream of workflow %s from %s/%s: %w", spec.Workflow, spec.Keyspace, spec.Shard, err)
	}
	all, err := e.List(ctx, spec.Workflow)
	for _, s := range all {
		if s.Spec.SourceKeyspace == spec.Keyspace && s.Spec.SourceShard == spec.Shard {
			return s, nil
		}
	}
	return nil, cmp.Or(err, error(errs.New(errs.NotFound, nil, "stream of workflow %s", spec.Workflow)))
}

func (e *Engine) put(ctx context.Context, spec *Spec) error {
	if err := spec.Rules.Validate(); err != nil {
		return errs.New(errs.BadInput, err, "rules")
	}
	src := source{Keyspace: spec.Keyspace, Shard: spec.Shard, Rules: spec.Rules, OnDDL: string(spec.OnDDL),
		Workers: spec.Workers, Parallel: spec.Parallel, CommitOrder: spec.CommitOrder, Delay: spec.Delay.Milliseconds(), WithoutKey: spec.WithoutKey, CopyReaders: spec.CopyReaders, NonEmpty: spec.NonEmpty}
	var have *row
	err := e.pool.Do(ctx, func(conn *sqlconn.Conn) error {
		rows, err := loadRows(ctx, conn, fmt.Sprintf("%s AND workflow=%s AND source_name=%s", e.scope(), sqlconn.Quote(spec.Workflow), sqlconn.Quote(src.name())))
		if len(rows) > 0 {
			have = rows[0]
		}
		return err
	})
	if err != nil {
		return err
	}
	src.NonEmpty = src.NonEmpty || have != nil && have.Source.NonEmpty
	raw, err := json.Marshal(src)
	if err != nil {
		return err
	}
	var sql []string
	if have == nil {
		sql, err = e.putNew(spec, &src, string(raw))
	} else {
		sql, err = e.putOver(have, spec, string(raw))
	}
	if err != nil {
		return err
	}
	if err := e.exec(ctx, sql...); err != nil {
		return err
	}
	return e.reconcileLocked(ctx)
}

func (e *Engine) putNew(spec *Spec, src *source, raw string) ([]string, error) {
	if !spec.Skip.Empty() {
		return nil, errs.New(errs.BadInput, nil, "transactions can be skipped by a stream that has begun, and this one is new")
	}
	q := sqlconn.Quote
	return []string{fmt.Sprintf("INSERT INTO _braid.vreplication (workflow, source_name, source, pos, stop_pos, max_tps, max_replication_lag, time_updated, state, db_name) VALUES (%s, %s, %s, '', %s, %d, %d, %d, 'Init', %s)",
		q(spec.Workflow), q(src.name()), q(raw), stopLiteral(spec.StopPos), spec.MaxTPS, seconds(spec.MaxLag), nowUS(), q(e.cfg.DBName))}, nil
}

func stopLiteral(stop gtid.Set) string {
	if stop.Empty() {
		return "NULL"
	}
	return sqlconn.Quote(stop.String())
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

func (e *Engine) putOver(have *row, spec *Spec, raw string) ([]string, error) {
	if !bytes.Equal(have.Source.Rules.JSON(), spec.Rules.JSON()) {
		return nil, errs.New(errs.OtherRules, nil, "it has %s, and is asked for %s", have.Source.Rules.JSON(), spec.Rules.JSON())
	}
	var sql []string
	if !spec.Skip.Empty() {
		if have.Pos.Empty() {
			return nil, errs.New(errs.BadInput, nil, "transactions can be skipped by a stream that has begun, and this one has not")
		}
		if c := e.stream(have.ID); c != nil {
			c.stop(nil) // it begins again, behind what is skipped
		}
		// A lane of its own: a session that is about to end may still move pos.
		sql = append(sql, fmt.Sprintf("INSERT INTO _braid.lanes (vrepl_id, lane, gtids) VALUES (%d, %d, %s) ON DUPLICATE KEY UPDATE gtids=CONCAT_WS(',', NULLIF(gtids, ''), VALUES(gtids))",
			have.ID, skipLane, sqlconn.Quote(spec.Skip.String())),
			logStatement(have.ID, "skip", have.State, spec.Skip.Subtract(have.Pos).String()))
	}
	state := have.State
	if !state.wanted() {
		state = Init
	}
	return append(sql, fmt.Sprintf("UPDATE _braid.vreplication SET source=%s, stop_pos=%s, max_tps=%d, max_replication_lag=%d, state=%s, message=NULL, time_updated=%d WHERE id=%d",
		sqlconn.Quote(raw), stopLiteral(spec.StopPos), spec.MaxTPS, seconds(spec.MaxLag), sqlconn.Quote(state.String()), nowUS(), have.ID)), nil
}

// scope selects the rows of the engine's streams.
func (e *Engine) scope() string {
	sql := "db_name=" + sqlconn.Quote(e.cfg.DBName)
	if e.cfg.Workflow != "" {
		sql += " AND workflow=" + sqlconn.Quote(e.cfg.Workflow)
	}
	return sql
}
