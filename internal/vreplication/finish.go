package vreplication

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"braid/internal/binlog"
	"braid/internal/sqlconn"
)

// finishing is the way from the last chunk to a running stream: what tables were made without is added, then foreign keys are checked and
// commits take the order that the user wants.
type finishing struct {
	begun    bool
	done     bool
	todo     []*unfinished
	outcome  chan finished
	barriers chan barrier // of the finisher, which may not touch the applier
}

type finished struct {
	differences []string
	err         error
}

type barrier struct {
	fn   func(context.Context) error
	done chan error
}

// finish makes the stream Running, once everything is copied. It returns true when it is.
func (r *run) finish(ctx context.Context) (bool, error) {
	if r.ap.Open() || r.windows.applying > 0 {
		return false, nil
	}
	if ready, err := r.finishTables(ctx); !ready || err != nil {
		return false, err
	}
	if !r.ap.Position().Contains(ended(r.order)) {
		return false, nil // a run before this one has committed chunks ahead of changes that are still to come
	}
	if err := r.strict(ctx); err != nil {
		return false, err
	}
	if !r.checking {
		if err := r.ap.CheckForeignKeys(ctx, true); err != nil {
			return false, err
		}
		if err := r.ap.SetOrder(ctx, r.commitOrder()); err != nil {
			return false, err
		}
		r.checking = true
		r.c.copying.Store(nil)
	}
	if r.row.State == Running {
		return true, nil
	}
	if err := r.setState(ctx, Running); err != nil {
		return false, err
	}
	r.log.Info("stream is running", "position", r.ap.Position())
	return r.row.State == Running, nil
}

// finishTables adds what the tables were made without. It does not wait: changes are applied meanwhile.
func (r *run) finishTables(ctx context.Context) (bool, error) {
	f := &r.finishing
	if f.done {
		return true, nil
	}
	if !f.begun {
		return r.beginFinishing(ctx)
	}
	select {
	case out := <-f.outcome:
		if out.err != nil {
			return false, fmt.Errorf("finish tables: %w", out.err)
		}
		if err := r.rebind(ctx); err != nil {
			return false, err
		}
		f.done = true
		for _, o := range r.others { // foreign keys may lie between their tables and these
			if c := r.c.e.stream(o.ID); c != nil {
				c.stale.Store(true)
				c.poke()
			}
		}
		if len(out.differences) > 0 {
			text := "definitions differ: " + strings.Join(out.differences, "; ")
			r.log.Warn(text)
			if err := r.c.e.exec(ctx, logStatement(r.row.ID, "definitions differ", r.row.State, text)); err != nil {
				return false, err
			}
		}
		return true, nil
	case b := <-f.barriers:
		b.done <- r.ap.Barrier(ctx, func(ctx context.Context, _ *sqlconn.Conn) error { return b.fn(ctx) })
	default:
	}
	return false, nil
}

func (r *run) beginFinishing(ctx context.Context) (bool, error) {
	f := &r.finishing
	if len(r.order) == 0 {
		f.done = true
		return true, nil
	}
	var todo []*unfinished
	var others bool
	err := r.c.e.pool.Do(ctx, func(conn *sqlconn.Conn) (err error) {
		if todo, err = r.loadUnfinished(ctx, conn); err == nil && len(todo) > 0 {
			others, err = r.siblingsCopy(ctx, conn)
		}
		return err
	})
	if err != nil {
		return false, err
	}
	if len(todo) == 0 || others {
		f.done = true
		return true, nil
	}
	f.begun, f.todo, f.outcome, f.barriers = true, todo, make(chan finished, 1), make(chan barrier)
	r.log.Info("indexes and foreign keys are added", "tables", len(todo))
	progress := func(text string) {
		r.c.copying.Store(&CopyProgress{Tables: len(r.order), TablesDone: len(r.order), Bottleneck: text})
	}
	progress(fmt.Sprintf("indexes and foreign keys of %d tables are added", len(todo)))
	r.differ.group.Go(func() error {
		gctx := r.differ.ctx
		fin := &finisher{admin: r.c.e.deps.Admin, todo: todo, log: r.log.Info, inUse: progress, gently: r.windows.meter.held}
		fin.locked = func(ctx context.Context, fn func(context.Context) error) error {
			b := barrier{fn, make(chan error, 1)}
			r.c.poke()
			select {
			case f.barriers <- b:
				return <-b.done
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		diffs, err := fin.run(gctx)
		f.outcome <- finished{diffs, err}
		r.c.poke()
		return nil
	})
	return false, nil
}

// finishFor adds at once what tables lack that have to do with a statement of the source: it may name an index or a foreign key that is still
// missing, or copy the definition of a table that lacks one. Nothing but the finisher is under way, from which these tables are taken: it would
// add again what the statement drops.
func (r *run) finishFor(ctx context.Context, objects []binlog.Object) error {
	if r.finishing.done {
		return nil
	}
	for _, u := range concerned(r.finishing.todo, objects) {
		if err := r.takeFromFinisher(ctx, u); err != nil {
			return err
		}
	}
	var todo []*unfinished
	err := r.c.e.pool.Do(ctx, func(conn *sqlconn.Conn) (err error) {
		todo, err = r.loadUnfinished(ctx, conn)
		return err
	})
	if err != nil {
		return err
	}
	if todo = concerned(todo, objects); len(todo) == 0 {
		return nil
	}
	for _, u := range todo {
		u.source = nil // the source has another definition by now
	}
	r.stay("adds the indexes of tables that DDL of the source changes")
	fin := &finisher{admin: r.c.e.deps.Admin, todo: todo, log: r.log.Info}
	fin.locked = func(ctx context.Context, fn func(context.Context) error) error { return fn(ctx) }
	fin.inUse = func(text string) { r.stay("DDL of the source waits: " + text) }
	if _, err := fin.run(ctx); err != nil {
		return fmt.Errorf("finish tables: %w", err)
	}
	r.say("")
	return r.rebind(ctx)
}

// takeFromFinisher waits until the finisher does not work at a table, and keeps it from that.
func (r *run) takeFromFinisher(ctx context.Context, u *unfinished) error {
	take := func() {
		u.gone = true
		<-u.turn
	}
	select {
	case u.turn <- struct{}{}:
		take()
		return nil
	default:
	}
	r.stay(fmt.Sprintf("DDL of the source waits: indexes or foreign keys of %s.%s are being added; if that waits for somebody who uses the table, sys.schema_table_lock_waits on the target shows for whom", u.at.DB, u.at.Table))
	defer r.say("")
	for {
		select {
		case u.turn <- struct{}{}:
			take()
			return nil
		case b := <-r.finishing.barriers: // nothing is under way here
			b.done <- b.fn(ctx)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// concerned are those of the tables that a statement about the objects has to do with: the objects, the tables whose foreign keys refer to them (the
// statement may give the parent, or its columns, another name), and the parents of all these, which need their indexes first.
func concerned(todo []*unfinished, objects []binlog.Object) (some []*unfinished) {
	take := func(is func(*unfinished) bool) (added bool) {
		for _, u := range todo {
			if !slices.Contains(some, u) && is(u) {
				some, added = append(some, u), true
			}
		}
		return added
	}
	take(func(u *unfinished) bool { return u.among(objects) })
	take(func(u *unfinished) bool {
		return slices.ContainsFunc(u.parents(), func(p binlog.Object) bool { return within(p, objects) })
	})
	for parents := true; parents; {
		parents = take(func(u *unfinished) bool {
			return slices.ContainsFunc(some, func(child *unfinished) bool { return u.among(child.parents()) })
		})
	}
	return some
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
