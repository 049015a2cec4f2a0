package vreplication

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"braid/internal/apply"
	"braid/internal/base/timeouts"
	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/rowimage"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// tableCopy is a row of copy_state.
type tableCopy struct {
	name   string
	last   []byte // key of the last row that was looked at, encoded; nil: none yet
	copied int64
	total  int64 // estimate
	done   bool
}

// loadCopies reads the progress of a stream's tables, in order of names.
func loadCopies(ctx context.Context, conn *sqlconn.Conn, id int64) (map[string]*tableCopy, []*tableCopy, error) {
	res, err := conn.Query(ctx, fmt.Sprintf("SELECT table_name, lastpk, rows_copied, rows_total, done "+
		"FROM _braid.copy_state WHERE vrepl_id=%d ORDER BY table_name", id))
	if err != nil {
		return nil, nil, fmt.Errorf("read copy state: %w", err)
	}
	byName, order := map[string]*tableCopy{}, []*tableCopy(nil)
	for _, c := range res.Rows {
		tc := &tableCopy{name: string(c[0]), last: c[1], done: string(c[4]) == "1"}
		if tc.copied, err = strconv.ParseInt(string(c[2]), 10, 64); err == nil {
			tc.total, err = strconv.ParseInt(string(c[3]), 10, 64)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read copy state of %s: %w", tc.name, err)
		}
		byName[tc.name], order = tc, append(order, tc)
	}
	return byName, order, nil
}

// lister is a Source that can tell which tables the rules follow, as the source has them at a position or later.
type lister interface {
	Tables(ctx context.Context, rules filter.Rules, after gtid.Set) ([]string, error)
}

// tables are those to copy. Rules that name databases may rename any of them, so the source is asked.
func (r *run) tables(ctx context.Context, position gtid.Set) ([]string, error) {
	if l, ok := r.source.(lister); ok && r.row.Source.Rules.Qualified() {
		return l.Tables(ctx, r.row.Source.Rules, position)
	}
	return sourceTables(ctx, r.conn, r.row)
}

// initialize records where the stream begins and what has to be copied, at once.
func (r *run) initialize(ctx context.Context, position gtid.Set) error {
	tables, err := r.tables(ctx, position)
	if err != nil {
		return err
	}
	sql := []string{fmt.Sprintf("UPDATE _braid.vreplication SET pos='%s', state='Copying', message=NULL, time_updated=%d WHERE id=%d AND state NOT IN ('Stopped','Error')",
		position, nowUS(), r.row.ID), logStatement(r.row.ID, "copy begins", Copying, position.String())}
	for _, name := range tables {
		sql = append(sql, fmt.Sprintf("INSERT IGNORE INTO _braid.copy_state (vrepl_id, table_name) VALUES (%d, %s)", r.row.ID, sqlconn.Quote(name)))
	}
	if err := execAll(ctx, r.conn, sql...); err != nil {
		return fmt.Errorf("begin copy: %w", err)
	}
	if r.copies, r.order, err = loadCopies(ctx, r.conn, r.row.ID); err != nil {
		return err
	}
	r.row.Pos, r.row.State = position, Copying
	r.ap.Reset(position)
	r.c.begin(position)
	r.savedAt = time.Now()
	r.log.Info("copy begins", "position", position, "tables", len(tables))
	return nil
}

type windowKind uint8

const (
	windowCopy windowKind = iota
	windowDiff
)

// window is a chunk that was asked for.
type window struct {
	kind windowKind
	copy *tableCopy
	end  func(ctx context.Context, ch *vstream.Chunk) error
}

// windows are the chunks under way, and how large the next one may be.
type windows struct {
	open  map[uint64]*window
	next  uint64
	bytes int64
}

// Bounds of a chunk. It is one commit, so its size is a pause of the stream: about half a second is aimed at.
const (
	minChunkBytes = 256 << 10
	maxChunkBytes = 4 << 20
	maxChunkRows  = 20000
	slowChunk     = time.Second
	fastChunk     = 300 * time.Millisecond
)

// farBehind is the lag above which no window is opened: what the source would have to remember has no bound.
const farBehind = timeouts.MaxLag

func (r *run) openWindow(w *window, req vstream.WindowRequest) error {
	if r.windows.bytes == 0 {
		r.windows.bytes = maxChunkBytes / 2
	}
	r.windows.next++
	req.ID = r.windows.next
	if req.MaxRows == 0 {
		req.MaxRows = maxChunkRows
	}
	req.MaxBytes = r.windows.bytes
	r.windows.open[req.ID] = w
	if err := r.stream.OpenWindow(req); err != nil {
		return fmt.Errorf("open window of %s: %w", req.Table, err)
	}
	return nil
}

// ask opens the next window, if none is under way: a table's next chunk; when all are copied, what diffs want.
func (r *run) ask(ctx context.Context) error {
	if r.row.Pos.Empty() || len(r.windows.open) > 0 || r.behind() {
		return nil
	}
	if opened, err := r.askCopy(); opened || err != nil {
		if err == nil && r.row.State != Copying {
			err = r.setState(ctx, Copying)
		}
		return err
	}
	if err := r.finish(ctx); err != nil {
		return err
	}
	return r.differ.ask(ctx)
}

func (r *run) behind() bool {
	return r.c.lag() > farBehind
}

// askCopy asks for the next chunk of the first table that is not done.
func (r *run) askCopy() (bool, error) {
	for _, tc := range r.order {
		if tc.done {
			continue
		}
		var after rowimage.Row
		if tc.last != nil {
			var err error
			if after, err = decodeKey(tc.last); err != nil {
				return false, permanent{fmt.Errorf("copy %s: last key: %w", tc.name, err)}
			}
		}
		return true, r.openWindow(&window{kind: windowCopy, copy: tc}, vstream.WindowRequest{Table: tc.name, After: after})
	}
	return false, nil
}

// chunk is what one window brought, at its place in the stream: everything before it is committed first.
func (r *run) chunk(ctx context.Context, ch *vstream.Chunk) error {
	w := r.windows.open[ch.Window]
	if w == nil {
		return permanent{fmt.Errorf("the stream sent a chunk of window %d, which was not asked for", ch.Window)}
	}
	delete(r.windows.open, ch.Window)
	if err := r.commit(ctx); err != nil {
		return err
	}
	if w.kind == windowCopy {
		return r.copyChunk(ctx, w.copy, ch)
	}
	return w.end(ctx, ch)
}

// copyChunk commits the rows together with the table's progress (W2). The next chunk is asked for first, so that the source
// reads while the target writes; it comes behind this one in any case.
func (r *run) copyChunk(ctx context.Context, tc *tableCopy, ch *vstream.Chunk) error {
	plan := r.plans[ch.TableID]
	if plan == nil && len(ch.Rows) > 0 {
		return permanent{fmt.Errorf("chunk of table %d, which the stream has not described", ch.TableID)}
	}
	done := tc.done
	tc.done = ch.Done
	if ch.Last != nil {
		tc.last = encodeKey(ch.Last)
	}
	if !r.behind() && !ch.Done {
		if _, err := r.askCopy(); err != nil {
			return err
		}
	}
	began := time.Now()
	tc.done = done
	n := int64(len(ch.Rows))
	tc.copied += n
	done = ch.Done
	return r.ap.Chunk(ctx, apply.Chunk{
		TableID: ch.TableID, Rows: ch.Rows,
		Save: []string{fmt.Sprintf("UPDATE _braid.copy_state SET lastpk=%s, rows_copied=rows_copied+%d, rows_total=%d, done=%d WHERE vrepl_id=%d AND table_name=%s",
			blob(tc.last), n, max(tc.total, tc.copied), truth(done), r.row.ID, sqlconn.Quote(tc.name))},
		Done: func(err error) {
			if err != nil {
				return // the run ends with it
			}
			r.resize(time.Since(began))
			if tc.done = done; done {
				r.copied(tc)
			}
		},
	})
}

func (r *run) resize(took time.Duration) {
	switch {
	case took > slowChunk:
		r.windows.bytes = max(minChunkBytes, r.windows.bytes/2)
	case took < fastChunk:
		r.windows.bytes = min(maxChunkBytes, r.windows.bytes*2)
	}
}

// copied changes how the table's changes are written from here on.
func (r *run) copied(tc *tableCopy) {
	r.log.Info("table copied", "table", tc.name, "rows", tc.copied)
	r.remode(tc)
}

func (r *run) remode(tc *tableCopy) {
	for id, p := range r.plans {
		if p.copy == tc {
			r.setMode(id, p)
		}
	}
}

// finish makes the stream Running, once.
func (r *run) finish(ctx context.Context) error {
	if r.ap.Open() {
		return nil
	}
	if !r.checking {
		if err := r.ap.CheckForeignKeys(ctx, true); err != nil {
			return err
		}
		if err := r.ap.SetOrder(ctx, r.commitOrder()); err != nil {
			return err
		}
		r.checking = true
	}
	if r.row.State == Running {
		return nil
	}
	if err := r.setState(ctx, Running); err != nil {
		return err
	}
	r.log.Info("stream is running", "position", r.ap.Position())
	return nil
}

// setState writes what the stream does now, unless somebody has stopped it.
func (r *run) setState(ctx context.Context, state State) error {
	err := execAll(ctx, r.conn,
		fmt.Sprintf("UPDATE _braid.vreplication SET state='%s', message=NULL, time_updated=%d WHERE id=%d AND state NOT IN ('Stopped','Error')", state, nowUS(), r.row.ID),
		logStatement(r.row.ID, "state", state, r.ap.Position().String()))
	if err != nil {
		return fmt.Errorf("state %s: %w", state, err)
	}
	r.row.State, r.said = state, ""
	return nil
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// blob is a literal of binary data.
func blob(b []byte) string {
	if b == nil {
		return "NULL"
	}
	if len(b) == 0 {
		return "''"
	}
	return "0x" + hex.EncodeToString(b)
}

// sourceTables are the tables that a stream's rules follow. What a pattern means is looked up on the target, which has the
// same tables.
func sourceTables(ctx context.Context, conn *sqlconn.Conn, r *row) ([]string, error) {
	if r.Source.Rules.Qualified() { // those that were found when the copy began
		_, copies, err := loadCopies(ctx, conn, r.ID)
		names := make([]string, len(copies))
		for i, c := range copies {
			names[i] = c.name
		}
		return names, err
	}
	var names, present []string
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for i := range r.Source.Rules.Rules {
		rule := &r.Source.Rules.Rules[i]
		if !strings.HasPrefix(rule.Table, "/") {
			add(rule.Table)
			continue
		}
		if present == nil {
			res, err := conn.Query(ctx, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE='BASE TABLE' AND TABLE_SCHEMA="+sqlconn.Quote(r.DBName)+" ORDER BY 1")
			if err != nil {
				return nil, fmt.Errorf("tables of %s: %w", r.DBName, err)
			}
			for _, c := range res.Rows {
				present = append(present, string(c[0]))
			}
		}
		for _, name := range present {
			if r.Source.Rules.Match("", name) == rule {
				add(name)
			}
		}
	}
	return names, nil
}
