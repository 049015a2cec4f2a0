package vreplication

import (
	"context"
	"fmt"
	"slices"

	"braid/internal/apply"
	"braid/internal/base/errs"
	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// WithoutKey is what a stream does with tables whose rows have no identity: no primary key, nor a unique key without NULLs. They cannot be copied in
// chunks, as changes of their rows could not be told from rows that are copied.
type WithoutKey string

// The policies. A table that is made on the source later begins empty, and is followed whatever the policy.
const (
	RefuseKeyless   WithoutKey = ""         // the copy does not begin
	SnapshotKeyless WithoutKey = "snapshot" // one read view, opened at a moment when nobody writes to the table
	LockKeyless     WithoutKey = "lock"     // likewise; where that moment does not come, writes to the table are locked out while the view is opened
)

// ParseWithoutKey reads a policy.
func ParseWithoutKey(text string) (WithoutKey, error) {
	switch p := WithoutKey(text); p {
	case RefuseKeyless, SnapshotKeyless, LockKeyless:
		return p, nil
	case "refuse":
		return RefuseKeyless, nil
	}
	return "", fmt.Errorf("policy %q for tables without a key: not one of refuse, snapshot, lock", text)
}

// keylessLister is a Source that can tell which tables have no key.
type keylessLister interface {
	Keyless(ctx context.Context, rules filter.Rules, tables []string, after gtid.Set) ([]string, error)
}

// keyless are the tables to copy that have none, where the policy lets them be copied.
func (r *run) keyless(ctx context.Context, tables []string, position gtid.Set) ([]string, error) {
	l, ok := r.source.(keylessLister)
	if !ok || r.row.Source.WithoutKey == RefuseKeyless {
		return nil, nil
	}
	return l.Keyless(ctx, r.row.Source.Rules, tables, position)
}

// whole is how a table without a key is asked for.
func (r *run) whole(tc *tableCopy) (vstream.Whole, error) {
	switch r.row.Source.WithoutKey {
	case SnapshotKeyless:
		return vstream.WholeUnlocked, nil
	case LockKeyless:
		return vstream.WholeLocked, nil
	}
	return 0, permanent{errs.New(errs.NoPrimaryKey, nil, "%s: no primary key, nor a unique key without NULLs, and its copy is not complete", tc.name)}
}

// wholeChunk takes a part of a table without a key. The parts follow each other with nothing in between, and replace what the target has of the table:
//
//	changes before the first part      are left out (withoutPending); the view has them
//	first part                         all before it is committed and its position saved, so none of it can come again; the table is emptied
//	parts                              committed one after the other; a run that ends here begins with the first part again
//	last part, done and strict at once  committed before any later change is added
func (r *run) wholeChunk(ctx context.Context, w *window, ch *vstream.Chunk) error {
	rg := w.part
	tc := rg.table
	plan := r.plans[ch.TableID]
	if plan == nil {
		return permanent{fmt.Errorf("chunk of table %d, which the stream has not described", ch.TableID)}
	}
	if plan.merge {
		return permanent{errs.New(errs.NoPrimaryKey, nil, "table %s has no key, and other streams of the workflow write to it too: rows of several sources cannot be told apart", tc.name)}
	}
	if ch.First {
		if err := r.empty(ctx, tc, plan); err != nil {
			return err
		}
	}
	n, bytes := int64(len(ch.Rows)), rowBytes(ch.Rows)
	c := apply.Chunk{TableID: ch.TableID, Rows: ch.Rows, Done: func(error) {}}
	c.Save = []string{fmt.Sprintf("UPDATE _braid.copy_state SET rows_copied=rows_copied+%d, bytes_copied=bytes_copied+%d, done=%d WHERE vrepl_id=%d AND table_name=%s",
		n, bytes, 2*truth(ch.Done), r.row.ID, sqlconn.Quote(tc.name))}
	if n > 0 {
		write, err := r.bulkWrite(ctx, plan, ch.Rows)
		if err != nil {
			return err
		}
		c.Write = write
	}
	if ch.Done {
		if err := r.commit(ctx); err != nil { // the other parts
			return err
		}
	}
	if err := r.ap.Chunk(ctx, c); err != nil {
		return fmt.Errorf("copy %s: %w", tc.name, err)
	}
	rg.copied, rg.bytes = rg.copied+n, rg.bytes+bytes
	tc.settle()
	if !ch.Done {
		return nil
	}
	if err := r.commit(ctx); err != nil {
		return err
	}
	delete(r.windows.open, w.id)
	rg.done, tc.strict = true, true
	tc.settle()
	r.setMode(ch.TableID, plan)
	r.tableCopied(tc)
	return nil
}

// empty begins a table without a key.
func (r *run) empty(ctx context.Context, tc *tableCopy, plan *tablePlan) error {
	err := r.ap.Barrier(ctx, func(ctx context.Context, conn *sqlconn.Conn) error {
		if _, err := conn.Exec(ctx, "TRUNCATE TABLE "+plan.Name()); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, fmt.Sprintf("UPDATE _braid.copy_state SET rows_copied=0, bytes_copied=0 WHERE vrepl_id=%d AND table_name=%s", r.row.ID, sqlconn.Quote(tc.name)))
		return err
	})
	if err != nil {
		return fmt.Errorf("copy %s: begin with an empty table: %w", tc.name, err)
	}
	tc.ranges[0].copied, tc.ranges[0].bytes = 0, 0
	return nil
}

// withoutPending leaves out changes of tables whose rows come later, all at once.
func (r *run) withoutPending(tx *vstream.Transaction) *vstream.Transaction {
	pending := func(c vstream.Change) bool {
		p := r.plans[c.TableID]
		return p != nil && p.copy != nil && p.copy.whole && !p.copy.done
	}
	if r.row.State == Running || !slices.ContainsFunc(tx.Changes, pending) {
		return tx
	}
	some := *tx
	some.Changes = slices.DeleteFunc(slices.Clone(tx.Changes), pending)
	return &some
}
