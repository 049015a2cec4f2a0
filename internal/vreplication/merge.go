package vreplication

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"braid/internal/apply"
	"braid/internal/base/errs"
	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// merges says that another stream of the workflow writes to the same target table.
func (r *run) merges(def *vstream.Table) bool { return len(r.writers(def.Def.Name)) > 0 }

// writers are the other streams of the workflow that write to the target of a source table.
func (r *run) writers(table string) []*row {
	ours := r.row.Source.Rules.Match(table)
	if ours == nil {
		return nil
	}
	var others []*row
	for _, o := range r.others {
		if rule := o.Source.Rules.Match(table); rule != nil && target(rule, table) == target(ours, table) {
			others = append(others, o)
		}
	}
	return others
}

func target(rule *filter.Rule, table string) string {
	if rule.Target != "" {
		return rule.Target
	}
	return table
}

// ownership compiles which rows of a table are the source's, and which are this shard's.
func (r *run) ownership(p *tablePlan, def *schema.Table) (err error) {
	rule := *r.row.Source.Rules.Match(def.Name)
	if p.merge && (rule.Vindex == "" || len(rule.VindexColumns) == 0) {
		return permanent{errs.New(errs.BadInput, nil, "table %s is merged from %s and others, and the stream's rule names no vindex: whose a row is cannot be told", def.Name, r.row.Source.name())}
	}
	rule.Table, rule.Target = def.Name, ""
	if p.home, err = (filter.Rules{Rules: []filter.Rule{rule}}).Plan(def); err != nil {
		return permanent{err}
	}
	rule.KeyRange = r.row.Source.Shard
	if rule.Vindex == "" {
		rule.KeyRange = ""
	}
	if p.owned, err = (filter.Rules{Rules: []filter.Rule{rule}}).Plan(def); err != nil {
		return permanent{err}
	}
	return nil
}

// await waits until the streams that read the servers of tx.Depends have applied those transactions here. A dependency
// points to an earlier commit, and streams apply in the order of commits, so waits form no cycle.
func (r *run) await(ctx context.Context, tx *vstream.Transaction) error {
	for _, g := range r.c.early[tx.GTID] {
		if err := r.awaitGTID(ctx, tx, g); err != nil {
			return err
		}
	}
	for _, text := range tx.Depends {
		g, err := gtid.ParseGTID(text)
		if err != nil {
			return permanent{fmt.Errorf("transaction %s depends on %q: %w", tx.GTID, text, err)}
		}
		if err := r.awaitGTID(ctx, tx, g); err != nil {
			return err
		}
	}
	if tx.Last {
		delete(r.c.early, tx.GTID)
	}
	return nil
}

func (r *run) awaitGTID(ctx context.Context, tx *vstream.Transaction, g gtid.GTID) error {
	if !r.missing(g) {
		return nil
	}
	if r.ap.Open() {
		// Rows that the sibling needs may be locked by the parts that were sent. The transaction is begun again, and waits first.
		r.c.early[tx.GTID] = append(r.c.early[tx.GTID], g)
		return fmt.Errorf("%w: it waits for %s first", apply.ErrRepeat, g)
	}
	if err := r.commit(ctx); err != nil { // what others may wait for
		return err
	}
	for r.missing(g) {
		waits := &waiter{woken: make(chan error, len(r.others)), reached: func(t *tracker) bool { return t.mu.applied.Has(g) }}
		names, release := r.watch(g, waits)
		r.say(fmt.Sprintf("transaction %s waits for %s, which %s has not applied yet", tx.GTID, g, strings.Join(names, " or ")))
		err := r.woken(ctx, waits)
		release()
		if err != nil {
			return err
		}
	}
	return nil
}

// woken waits for the waiter, and also returns after a while: a sibling that was stopped may have been started again.
func (r *run) woken(ctx context.Context, w *waiter) error {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case err := <-w.woken:
		if err != nil && !sleep(ctx, 200*time.Millisecond) { // it is stopped; the row says who
			return context.Cause(ctx)
		}
		return nil
	case <-timer.C:
		return nil
	case <-r.c.kick:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// missing says that a sibling reads the GTID's server and has not applied it, and that no sibling has.
func (r *run) missing(g gtid.GTID) bool {
	wanted := false
	for _, o := range r.others {
		c := r.c.e.stream(o.ID)
		if c == nil {
			continue
		}
		applied := c.applied()
		if applied.Has(g) {
			return false
		}
		wanted = wanted || applied.HasServer(g.UUID)
	}
	return wanted
}

// watch adds the waiter to all siblings that may have to apply the GTID. Those who are stopped are named as such.
func (r *run) watch(g gtid.GTID, w *waiter) (names []string, release func()) {
	var added []*tracker
	for _, o := range r.others {
		c := r.c.e.stream(o.ID)
		if c == nil || !c.applied().HasServer(g.UUID) {
			continue
		}
		name := fmt.Sprintf("stream %d (%s)", o.ID, o.Source.name())
		if err := c.tracker.ended(); err != nil {
			name += ", which does not run,"
		}
		names = append(names, name)
		c.add(w)
		added = append(added, c.tracker)
	}
	return names, func() {
		for _, t := range added {
			t.remove(w)
		}
	}
}

// joinPeriod is how often a join looks again: at the siblings' progress, and at contested rows.
const joinPeriod = 200 * time.Millisecond

// joinKeys bounds the contested keys that are read again at once.
const joinKeys = 1000

// askJoin brings merged tables from Contested to Merge. When every source has copied the table, a window is opened; when it comes,
// the stream is past that moment, and an insert that is still to come is newer than what it finds: had another source's row
// come later, that source's stream would have waited for this insert. Contested keys are read again until none is left.
func (r *run) askJoin(ctx context.Context) (waits bool, err error) {
	for _, tc := range r.order {
		if !tc.done || tc.joined && len(tc.contested) == 0 || len(r.writers(tc.name)) == 0 {
			continue
		}
		if time.Since(r.joinedAt) < joinPeriod {
			return true, nil
		}
		r.joinedAt = time.Now()
		barrier := false
		if !tc.joined {
			waitsFor, err := r.uncopied(ctx, tc)
			if err != nil {
				return true, err
			}
			if barrier = waitsFor == ""; !barrier {
				r.stay(fmt.Sprintf("has copied %s, waits for %s to copy it", tc.name, waitsFor))
			}
			if !barrier && len(tc.contested) == 0 {
				return true, nil
			}
		} else {
			r.stay(fmt.Sprintf("waits for %d rows of %s, which are on another source too, to leave one of them", len(tc.contested), tc.name))
		}
		return true, r.openJoin(tc, barrier)
	}
	return false, nil
}

// uncopied names a sibling that has not copied the table.
func (r *run) uncopied(ctx context.Context, tc *tableCopy) (string, error) {
	for _, o := range r.writers(tc.name) {
		res, err := r.conn.Query(ctx, fmt.Sprintf("SELECT v.pos<>'' AND IFNULL(c.done,1) FROM _braid.vreplication v "+
			"LEFT JOIN _braid.copy_state c ON c.vrepl_id=v.id AND c.table_name=%s WHERE v.id=%d", sqlconn.Quote(tc.name), o.ID))
		if err != nil {
			return "", fmt.Errorf("copy state of stream %d: %w", o.ID, err)
		}
		if len(res.Rows) > 0 && string(res.Rows[0][0]) != "1" {
			return fmt.Sprintf("stream %d (%s)", o.ID, o.Source.name()), nil
		}
	}
	return "", nil
}

func (r *run) openJoin(tc *tableCopy, barrier bool) error {
	w := &window{kind: windowJoin, copy: tc, keys: map[string]bool{}, barrier: barrier}
	req := vstream.WindowRequest{Table: tc.name, MaxRows: 1, IncludeTouched: true}
	for key := range tc.contested {
		if len(w.keys) == joinKeys {
			break
		}
		decoded, err := decodeKey([]byte(key))
		if err != nil {
			return permanent{err}
		}
		w.keys[key] = true
		req.Keys = append(req.Keys, decoded)
	}
	return r.openWindow(w, req)
}

// joinChunk writes contested rows that are free now, forgets those that the source no longer has, and joins behind a barrier.
func (r *run) joinChunk(ctx context.Context, w *window, ch *vstream.Chunk) error {
	if len(w.keys) > 0 {
		if err := r.retake(ctx, w, ch); err != nil {
			return fmt.Errorf("contested rows of %s: %w", w.copy.name, err)
		}
	}
	if !w.barrier {
		return nil
	}
	sql := fmt.Sprintf("UPDATE _braid.copy_state SET joined=1 WHERE vrepl_id=%d AND table_name=%s", r.row.ID, sqlconn.Quote(w.copy.name))
	if err := r.ap.Copy(ctx, nil, nil, sql); err != nil {
		return fmt.Errorf("join %s: %w", w.copy.name, err)
	}
	w.copy.joined = true
	r.remode(w.copy)
	r.after(0)
	return nil
}

// retake copies contested rows again, as far as nobody else's row is in the way.
func (r *run) retake(ctx context.Context, w *window, ch *vstream.Chunk) error {
	tc, plan := w.copy, r.plans[ch.TableID]
	if plan == nil {
		return permanent{fmt.Errorf("chunk of table %d, which the stream has not described", ch.TableID)}
	}
	for _, row := range ch.Rows {
		delete(w.keys, string(encodeKey(plan.Key(row))))
	}
	for _, key := range ch.Touched { // changed meanwhile: the next round tells
		delete(w.keys, string(encodeKey(key)))
	}
	for key := range w.keys { // the source does not have them any more
		delete(tc.contested, key)
	}
	plan.Mode = apply.Contested
	err := r.ap.Copy(ctx, plan.Table, ch.Rows, r.saveContested(tc))
	plan.Mode = plan.mode()
	r.after(0)
	return err
}

func (r *run) saveContested(tc *tableCopy) string {
	return fmt.Sprintf("UPDATE _braid.copy_state SET contested=%s WHERE vrepl_id=%d AND table_name=%s", blob(encodeContested(tc.contested)), r.row.ID, sqlconn.Quote(tc.name))
}

// contest finds out, inside of the transaction that has just written them as far as they were free, which keys another
// source owns. Our INSERT has locked those rows, so the answer holds until the commit.
func (r *run) contest(ctx context.Context, conn *sqlconn.Conn, checks []apply.Check) (string, error) {
	byTable := map[*apply.Table]map[string]rowimage.Row{}
	for _, c := range checks {
		if byTable[c.Table] == nil {
			byTable[c.Table] = map[string]rowimage.Row{}
		}
		byTable[c.Table][string(encodeKey(c.Key))] = c.Key
	}
	var saves []string
	for table, keys := range byTable {
		p := r.planOf(table)
		if p == nil || p.copy == nil {
			return "", errors.New("contested rows of a table that is not copied")
		}
		before := maps.Clone(p.copy.contested)
		if err := r.contestTable(ctx, conn, p, keys); err != nil {
			return "", err
		}
		if !maps.Equal(before, p.copy.contested) {
			saves = append(saves, r.saveContested(p.copy))
		}
	}
	slices.Sort(saves)
	return strings.Join(saves, ";"), nil
}

// contestTable moves keys in or out of the contested set.
func (r *run) contestTable(ctx context.Context, conn *sqlconn.Conn, p *tablePlan, keys map[string]rowimage.Row) error {
	for batch := range slices.Chunk(slices.Sorted(maps.Keys(keys)), 500) {
		some := make([]rowimage.Row, len(batch))
		for i, key := range batch {
			some[i] = keys[key]
		}
		rows, err := p.diffTable(false).Keys(ctx, conn, some)
		if err != nil {
			return err
		}
		for _, key := range batch {
			delete(p.copy.contested, key)
		}
		for _, row := range rows {
			owned, err := p.owned.Match(row)
			if err != nil {
				return permanent{err}
			}
			if !owned {
				p.copy.contested[string(encodeKey(p.Key(row)))] = true
			}
		}
	}
	return nil
}

func (r *run) planOf(table *apply.Table) *tablePlan {
	for _, p := range r.plans {
		if p.Table == table {
			return p
		}
	}
	return nil
}
