package vreplication

import (
	"context"
	"fmt"
	"strings"
	"time"

	"braid/internal/apply"
	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/vstream"
)

// merges says that another stream of the workflow writes to the same target table.
func (r *run) merges(def *vstream.Table) bool { return len(r.writers(def.Def.DB, def.Def.Name)) > 0 }

// writers are the other streams of the workflow that write to the target of a source table.
func (r *run) writers(db, table string) []*row {
	ours := r.row.Source.Rules.Match(db, table)
	if ours == nil {
		return nil
	}
	var others []*row
	for _, o := range r.others {
		rule := o.Source.Rules.Match(db, table)
		if rule != nil && target(rule, table) == target(ours, table) && targetDB(rule, db, o.DBName) == targetDB(ours, db, r.row.DBName) {
			others = append(others, o)
		}
	}
	return others
}

// mayMerge says that some table may be merged, before the stream has described one: what is contested is settled one transaction after the
// other, so the applier has one worker then.
func (r *run) mayMerge() bool {
	for i := range r.row.Source.Rules.Rules {
		ours := &r.row.Source.Rules.Rules[i]
		if ours.Vindex == "" {
			continue // it is refused, if it merges
		}
		for _, o := range r.others {
			for j := range o.Source.Rules.Rules {
				rule := &o.Source.Rules.Rules[j]
				same := strings.EqualFold(target(rule, rule.Table), target(ours, ours.Table))
				if same || strings.HasPrefix(rule.Table, "/") || strings.HasPrefix(ours.Table, "/") {
					return true
				}
			}
		}
	}
	return false
}

func target(rule *filter.Rule, table string) string {
	if rule.Target != "" {
		return rule.Target
	}
	return table
}

// targetDB is where a rule's tables are written.
func targetDB(rule *filter.Rule, db, streams string) string {
	switch {
	case rule.TargetDB != "":
		return rule.TargetDB
	case rule.DB != "":
		return db
	}
	return streams
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
