package vreplication

import (
	"context"
	"crypto/md5"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"braid/internal/apply"
	"braid/internal/base/errs"
	"braid/internal/rowimage"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// contested are the rows of merged tables that the source has at the stream's position, and the target cannot have yet: another
// source's row stands in their place. They are rows of _braid.contested, written in the data's own transaction.
type contested struct {
	kept map[string]map[string]rowimage.Row // by source table and encoded key
	// next are the changes of the transaction under way; a nil row is a removal.
	next map[string]map[string]rowimage.Row
	at   time.Time // when the rows were last tried again

	// The worker changes the maps, while it has a transaction; the owner reads kept when nothing is under way. What they ask at other times
	// is guarded.
	mu *sync.Mutex
}

// Periods of trying contested rows again.
const (
	retakeSoon  = 2 * time.Millisecond // after a sibling's commit
	retakeLater = time.Second
	staysLong   = 5 * time.Second // after which the row says that it waits
)

func loadContested(ctx context.Context, conn *sqlconn.Conn, id int64) (contested, error) {
	c := contested{kept: map[string]map[string]rowimage.Row{}, mu: new(sync.Mutex)}
	res, err := conn.Query(ctx, fmt.Sprintf("SELECT table_name, row_key, image FROM _braid.contested WHERE vrepl_id=%d", id))
	if err != nil {
		return c, fmt.Errorf("read contested rows: %w", err)
	}
	for _, cells := range res.Rows {
		row, err := decodeKey(cells[2])
		if err != nil {
			return c, fmt.Errorf("read contested rows of %s: %w", cells[0], err)
		}
		set(c.kept, string(cells[0]), string(cells[1]), row)
	}
	return c, nil
}

// countContested counts the rows that wait, by stream.
func countContested(ctx context.Context, conn *sqlconn.Conn) (map[int64]int64, error) {
	res, err := conn.Query(ctx, "SELECT vrepl_id, COUNT(*) FROM _braid.contested GROUP BY vrepl_id")
	if err != nil {
		return nil, fmt.Errorf("count contested rows: %w", err)
	}
	counts := map[int64]int64{}
	for _, cells := range res.Rows {
		id, err := strconv.ParseInt(string(cells[0]), 10, 64)
		if err == nil {
			counts[id], err = strconv.ParseInt(string(cells[1]), 10, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("count contested rows: %w", err)
		}
	}
	return counts, nil
}

func set(m map[string]map[string]rowimage.Row, table, key string, row rowimage.Row) {
	if m[table] == nil {
		m[table] = map[string]rowimage.Row{}
	}
	m[table][key] = row
}

func (c *contested) any() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.kept) > 0 || len(c.next) > 0
}

func (c *contested) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, rows := range c.kept {
		n += len(rows)
	}
	return n
}

// has says that a key is kept, as the transaction under way sees it.
func (c *contested) has(table, key string) bool {
	if row, changed := c.next[table][key]; changed {
		return row != nil
	}
	return c.kept[table][key] != nil
}

// committed makes the changes of the transaction the truth.
func (c *contested) committed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for table, rows := range c.next {
		for key, row := range rows {
			if row != nil {
				set(c.kept, table, key, row)
				continue
			}
			delete(c.kept[table], key)
		}
		if len(c.kept[table]) == 0 {
			delete(c.kept, table)
		}
	}
	c.next = nil
}

// contest settles keys that may not have become what they should (apply.Config.Contest). Every row is offered once more; one that
// is not there afterwards, as our source's, is kept. The insert has locked what was in its way, so the answer holds until
// the commit.
func (r *run) contest(ctx context.Context, conn *sqlconn.Conn, finals map[*apply.Table]map[string]apply.Final, first bool) ([]string, error) {
	r.contested.mu.Lock()
	if first || r.contested.next == nil {
		r.contested.next = map[string]map[string]rowimage.Row{}
	}
	r.contested.mu.Unlock()
	var keep []string
	for table, keys := range finals {
		p := r.planOf(table)
		for batch := range slices.Chunk(slices.Sorted(maps.Keys(keys)), 500) {
			ours, err := r.offer(ctx, conn, p, batch, keys)
			if err != nil {
				return nil, fmt.Errorf("contested rows of %s: %w", p.Source.Name, err)
			}
			keep = append(keep, r.keep(r.name(p.Source), batch, keys, ours)...)
		}
	}
	return keep, nil
}

// offer writes the rows whose keys are free, and tells which keys are ours then.
func (r *run) offer(ctx context.Context, conn *sqlconn.Conn, p *tablePlan, batch []string, finals map[string]apply.Final) (map[string]bool, error) {
	var rows, keys []rowimage.Row
	for _, key := range batch {
		if f := finals[key]; f.Row != nil {
			rows, keys = append(rows, f.Row), append(keys, f.Key)
		}
	}
	if len(rows) == 0 {
		return nil, nil
	}
	table := p.diffTable(false)
	results, err := conn.QueryMulti(ctx, []byte(p.InsertIgnore(rows)+";"+table.KeysSQL(keys)))
	if err != nil {
		return nil, err
	}
	ours := map[string]bool{}
	for _, row := range table.Rows(results[1]) {
		owned, err := p.owned.Match(row)
		if err != nil {
			return nil, permanent{err}
		}
		ours[table.KeyString(row)] = owned
	}
	return ours, nil
}

// keep notes which rows wait and which do not any more, and returns the statements that write it down.
func (r *run) keep(table string, batch []string, finals map[string]apply.Final, ours map[string]bool) (sql []string) {
	r.contested.mu.Lock()
	defer r.contested.mu.Unlock()
	var kept, gone []string
	for _, key := range batch {
		f := finals[key]
		hash := blob(hashOf(key))
		switch {
		case f.Row != nil && !ours[key]:
			kept = append(kept, fmt.Sprintf("(%d,%s,%s,%s,%s)", r.row.ID, sqlconn.Quote(table), hash, blob([]byte(key)), blob(encodeKey(f.Row))))
			set(r.contested.next, table, key, f.Row)
		case r.contested.has(table, key):
			gone = append(gone, hash)
			set(r.contested.next, table, key, nil)
		}
	}
	if len(kept) > 0 {
		sql = append(sql, "REPLACE INTO _braid.contested (vrepl_id, table_name, key_hash, row_key, image) VALUES "+strings.Join(kept, ","))
	}
	if len(gone) > 0 {
		sql = append(sql, fmt.Sprintf("DELETE FROM _braid.contested WHERE vrepl_id=%d AND table_name=%s AND key_hash IN (%s)", r.row.ID, sqlconn.Quote(table), strings.Join(gone, ",")))
	}
	return sql
}

// kept is apply.Config.Kept.
func (r *run) kept(t *apply.Table, key string) bool { return r.contested.has(r.name(t.Source), key) }

func hashOf(key string) []byte {
	sum := md5.Sum([]byte(key)) //nolint:gosec // an index key, not a secret
	return sum[:]
}

// committed is told by the applier's workers, one call at a time. Who keeps rows may find their places free now.
func (r *run) committed(p apply.Progress) {
	r.progressed.Store(true)
	r.contested.committed()
	r.c.contested.Store(int64(r.contested.count()))
	if p.SourceUS > r.measuredUS {
		r.measuredUS = p.SourceUS
		r.c.measured(p.SourceUS)
	}
	r.c.advance(p.Applied, p.Saved)
	for _, o := range r.others {
		if c := r.c.e.stream(o.ID); c != nil && c.contested.Load() > 0 {
			c.moved.Store(true)
			c.poke()
		}
	}
}

// retake writes contested rows whose places have become free. It looks without locking first.
func (r *run) retake(ctx context.Context) error {
	if !r.contested.any() || r.ap.Open() {
		return nil
	}
	since := time.Since(r.contested.at)
	if since < retakeSoon || since < retakeLater && !r.c.moved.Load() {
		return nil
	}
	if err := r.commit(ctx); err != nil {
		return err
	}
	r.c.moved.Store(false)
	r.contested.at = time.Now()
	for _, table := range slices.Sorted(maps.Keys(r.contested.kept)) {
		p := r.planNamed(table)
		if p == nil {
			return r.describe(table)
		}
		free, err := r.free(ctx, p, r.contested.kept[table])
		if err != nil {
			return err
		}
		if len(free) == 0 {
			continue
		}
		if err := r.ap.Chunk(ctx, apply.Chunk{TableID: r.planID(p), Rows: free}); err != nil {
			return fmt.Errorf("contested rows of %s: %w", table, err)
		}
	}
	if err := r.commit(ctx); err != nil {
		return err
	}
	return r.complain()
}

// free are the rows whose key nobody has.
func (r *run) free(ctx context.Context, p *tablePlan, kept map[string]rowimage.Row) ([]rowimage.Row, error) {
	var keys []rowimage.Row
	for _, row := range kept {
		if len(row) != len(p.Source.Columns) {
			return nil, permanent{errs.New(errs.TableDiffers, nil, "table %s has changed while rows of it wait for their place", p.Source.Name)}
		}
		keys = append(keys, p.Key(row))
	}
	taken := map[string]bool{}
	for some := range slices.Chunk(keys, 500) {
		rows, err := p.diffTable(false).Keys(ctx, r.conn, some)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			taken[string(rowimage.AppendRow(nil, p.Key(row)))] = true
		}
	}
	var free []rowimage.Row
	for key, row := range kept {
		if !taken[key] {
			free = append(free, row)
		}
	}
	return free, nil
}

// describe makes the stream describe a table that it has not mentioned in this run.
func (r *run) describe(table string) error {
	if r.windows.diffing() {
		return nil
	}
	w := &window{kind: windowDiff, end: func(context.Context, *vstream.Chunk) error { return nil }}
	return r.openWindow(w, vstream.WindowRequest{Table: table, MaxRows: 1})
}

// complain says what is wrong when rows stay contested: then they are on two sources at once, and will remain so.
func (r *run) complain() error {
	if !r.contested.any() {
		r.contestedSince = time.Time{}
		return nil
	}
	if r.contestedSince.IsZero() {
		r.contestedSince = time.Now()
	}
	if time.Since(r.contestedSince) < staysLong {
		return nil
	}
	for table, rows := range r.contested.kept {
		for _, row := range rows {
			r.stay(fmt.Sprintf("%d rows are on two sources at once, one is %s %s: waits until one of them is deleted", r.contested.count(), table, r.planNamed(table).FormatKey(r.planNamed(table).Key(row))))
			return nil
		}
	}
	return nil
}
