package apply

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"braid/internal/apply/rows"
	"braid/internal/gtid"
	"braid/internal/rowimage"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
	"braid/internal/writeset"
)

// session is what a worker needs of a MySQL session; rows.Session, or a simulation.
type session interface {
	Add(ctx context.Context, tables *rows.View, tx *vstream.Transaction) error
	AddRows(ctx context.Context, t *rows.Table, rows []rowimage.Row) error
	Flush(ctx context.Context) error
	Commit(ctx context.Context, control ...string) error
	Rollback(ctx context.Context) error
	Sent() bool
	Single(on bool)
	CheckForeignKeys(ctx context.Context, on bool) error
	Conn() *sqlconn.Conn

	ID() uint32
	// LockWait says whether the session of that ID waits for a row lock; false with an error when that cannot be told.
	LockWait(ctx context.Context, id uint32) (bool, error)
	Close()
}

// worker commits groups through its session. Its fields belong to its goroutine, unless said otherwise.
type worker struct {
	a       *Applier
	number  int // of its lane
	session session
	wake    chan struct{}
	checks  bool // the session checks foreign keys
	timer   *time.Timer

	// Under the lock of the applier.
	saving saving
	group  *group

	groups, transactions, repeats int64
	id                            uint32 // of the session
	busy, waited                  time.Duration
}

// saving is what the commit under way records.
type saving struct {
	lane, base gtid.Set
	saved      gtid.Set
	moves      bool // the base too
}

// noMoreSessions are the server's answers when it, or the account, has as many sessions as it may have.
var noMoreSessions = []uint16{1040, 1203, 1226}

var (
	errVictim  = errors.New("gives way to an earlier transaction that waits for a lock")
	errStopped = errors.New("the applier has ended")
)

func (w *worker) signal() { notify(w.wake) }

// live works until the applier ends, or there is nothing to do for long.
func (w *worker) live() {
	err := w.work(w.a.ctx)
	if w.session != nil {
		w.session.Close()
	}
	fewer := w.session == nil && w.number > 0 && slices.Contains(noMoreSessions, sqlconn.ErrCode(err))
	if err != nil && !errors.Is(err, errStopped) && !fewer {
		w.a.fail(err)
	}
	if fewer && w.a.cfg.Fewer != nil {
		w.a.cfg.Fewer(err, w.number)
	}
	w.a.mu.Lock()
	defer w.a.mu.Unlock()
	w.a.mu.lanes[w.number] = nil
	if fewer { // those that there are go on, and ask again later
		w.a.mu.workers, w.a.mu.refused = min(w.a.mu.workers, w.number), time.Now()
	}
	if err == nil && w.a.mu.next <= w.a.mu.lastSeq() { // it came just now
		w.a.rouse()
	}
}

func (w *worker) work(ctx context.Context) (err error) {
	if w.session, err = w.a.cfg.open(ctx, w.number); err != nil {
		return fmt.Errorf("session of lane %d: %w", w.number, err)
	}
	w.timer = time.NewTimer(time.Hour)
	defer w.timer.Stop()
	w.a.mu.Lock()
	w.id = w.session.ID()
	w.a.mu.Unlock()
	for {
		g, err := w.next(ctx)
		if g == nil || err != nil {
			return err
		}
		began := time.Now()
		if err := w.run(ctx, g); err != nil {
			return err
		}
		w.a.mu.Lock()
		w.busy += time.Since(began)
		w.a.mu.Unlock()
	}
}

// next waits for a group. It returns none when there was nothing to do for long.
func (w *worker) next(ctx context.Context) (*group, error) {
	a := w.a
	a.mu.Lock()
	defer a.mu.Unlock()
	for {
		if a.mu.err != nil || a.mu.closed {
			return nil, errStopped
		}
		if w.number >= a.mu.workers {
			return nil, nil
		}
		if w.group = a.form(w); w.group != nil {
			w.group.since = time.Now()
			a.offer() // what is left
			return w.group, nil
		}
		a.mu.idle = append(a.mu.idle, w)
		a.mu.Unlock()
		late := false
		w.timer.Reset(idleSession)
		select {
		case <-w.wake:
		case <-w.timer.C:
			late = true
		case <-ctx.Done():
		}
		a.mu.Lock()
		a.mu.idle = slices.DeleteFunc(a.mu.idle, func(other *worker) bool { return other == w })
		if ctx.Err() != nil {
			return nil, errStopped
		}
		if late {
			return nil, nil
		}
	}
}

// run commits a group, whatever it takes.
func (w *worker) run(ctx context.Context, g *group) error {
	for attempt := 1; ; attempt++ {
		err := w.attempt(ctx, g, g.entries)
		if err == nil {
			return nil
		}
		again, fatal := w.undo(ctx, g, err, attempt)
		if fatal != nil {
			return fatal
		}
		if !again {
			return w.split(ctx, g, err)
		}
	}
}

// undo rolls back after an error. It says whether to repeat the group, or to split it, or returns the error that ends the applier.
func (w *worker) undo(ctx context.Context, g *group, err error, attempt int) (again bool, fatal error) {
	w.abandon()
	if errors.Is(err, sqlconn.ErrLost) || ctx.Err() != nil {
		return false, err
	}
	victim := w.idle(g)
	if rerr := w.session.Rollback(ctx); rerr != nil {
		return false, errors.Join(err, rerr)
	}
	if errors.Is(err, errStopped) {
		return false, err
	}
	temporary := errors.Is(err, errVictim) || rows.Retryable(err)
	switch {
	case temporary && g.cut:
		return false, fmt.Errorf("%w: %w", ErrRepeat, err)
	case errors.Is(err, errVictim):
		if err := w.await(ctx, g, func() bool { return w.a.mu.low >= victim }); err != nil {
			return false, err
		}
	case temporary:
		if rows.LockTimeout(err) {
			w.a.lockedOut(g)
		}
		w.told(err, attempt)
		if err := pause(ctx, attempt); err != nil {
			return false, err
		}
	default:
		f, ok := errors.AsType[*Failure](err)
		if !ok || !Permanent(f) || g.cut || g.entries[0].chunk != nil {
			return false, w.last(ctx, g, err)
		}
		// What comes before is to be there when the transaction that fails is named.
		return false, w.await(ctx, g, func() bool { return w.a.turn(g) })
	}
	return true, w.begin(g)
}

// last waits for the group's turn, so that everything before what fails is applied.
func (w *worker) last(ctx context.Context, g *group, err error) error {
	if !Permanent(err) {
		return err
	}
	if werr := w.await(ctx, g, func() bool { return w.a.turn(g) }); werr != nil {
		return werr
	}
	return err
}

func (w *worker) told(err error, attempt int) {
	w.a.mu.Lock()
	w.repeats++
	w.a.mu.stats.repeats++
	w.a.mu.Unlock()
	if w.a.cfg.Repeats != nil {
		w.a.cfg.Repeats(err, attempt)
	}
}

// idle says that the group's session holds nothing any more, and returns whom it was a victim of.
func (w *worker) idle(g *group) (victim uint64) {
	w.a.mu.Lock()
	defer w.a.mu.Unlock()
	victim, g.victim, g.since = g.victim, 0, time.Time{}
	for _, e := range g.entries {
		e.run = false
	}
	return victim
}

// begin chooses what of a group can be executed first.
func (w *worker) begin(g *group) error {
	w.a.mu.Lock()
	defer w.a.mu.Unlock()
	if w.a.mu.err != nil {
		return errStopped
	}
	g.victim, g.since = 0, time.Now()
	for _, e := range g.entries {
		e.run = w.a.mu.free(e, g)
	}
	return nil
}

// attempt executes entries, which are the first of a group, waits for their turn, and commits them.
func (w *worker) attempt(ctx context.Context, g *group, entries []*entry) error {
	if err := w.check(ctx); err != nil {
		return err
	}
	var err error
	switch e := entries[0]; {
	case e.chunk != nil:
		err = w.chunk(ctx, e)
	case e.large:
		err = w.fragments(ctx, g, e)
	default:
		err = w.execute(ctx, g, entries)
	}
	if err == nil {
		err = w.wait(ctx, g, func() bool { return w.a.turn(g) })
	}
	if err != nil {
		return err
	}
	if err := w.session.Commit(ctx, w.control(g, entries)...); err != nil {
		return err
	}
	w.a.finish(w, g, len(entries))
	return nil
}

// execute gives the session what can be executed, and what cannot when it can.
func (w *worker) execute(ctx context.Context, g *group, entries []*entry) error {
	todo := entries
	for {
		var blocked []*entry
		for _, e := range todo {
			if !e.run {
				blocked = append(blocked, e)
				continue
			}
			if err := w.session.Add(ctx, e.parts[0].view, e.parts[0].tx); err != nil {
				return err
			}
		}
		if len(blocked) == 0 {
			return nil
		}
		todo = blocked
		if err := w.wait(ctx, g, func() bool { return w.unblock(g, blocked) }); err != nil {
			return err
		}
	}
}

// unblock marks those that can be executed now. Under the lock.
func (w *worker) unblock(g *group, blocked []*entry) bool {
	some := false
	for _, e := range blocked {
		e.run = w.a.mu.free(e, g)
		some = some || e.run
	}
	return some
}

// wait is await with what the session has buffered sent before, so that the server works meanwhile. It costs no round trip when there
// is nothing to wait for.
func (w *worker) wait(ctx context.Context, g *group, cond func() bool) error {
	w.a.mu.Lock()
	victim := g.victim > 0
	ok := !victim && cond()
	w.a.mu.Unlock()
	switch {
	case victim:
		return errVictim
	case ok:
		return nil
	}
	if err := w.session.Flush(ctx); err != nil {
		return err
	}
	return w.await(ctx, g, cond)
}

// await waits for a condition under the lock. Meanwhile the session is idle, inside of its transaction if it has begun one.
func (w *worker) await(ctx context.Context, g *group, cond func() bool) error {
	a := w.a
	a.mu.Lock()
	defer a.mu.Unlock()
	g.since = time.Time{}
	began := time.Now()
	defer func() {
		g.waits, g.since = false, time.Now()
		w.waited += g.since.Sub(began)
	}()
	for !cond() {
		switch {
		case a.mu.err != nil:
			return errStopped
		case g.victim > 0 && w.session.Sent():
			return errVictim
		}
		g.waits = true
		a.mu.Unlock()
		late := false
		w.timer.Reset(suspicion)
		select {
		case <-w.wake:
		case <-w.timer.C:
			late = true
		case <-ctx.Done():
		}
		if late && ctx.Err() == nil {
			w.look(ctx, g)
		}
		a.mu.Lock()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// fragments gives the session a large transaction as it comes. What was sent is not kept. While there is something to add, the server executes one part and
// the session renders the next.
func (w *worker) fragments(ctx context.Context, g *group, e *entry) error {
	for {
		var parts []part
		var last bool
		err := w.wait(ctx, g, func() bool {
			if parts, last = e.parts, e.last; len(parts) > 0 || last {
				e.parts = nil
				return true
			}
			return false
		})
		if err != nil {
			return err
		}
		g.cut = true
		for _, p := range parts {
			if err := w.session.Add(ctx, p.view, p.tx); err != nil {
				return err
			}
			w.release(e, size(p.tx))
		}
		if last {
			return nil
		}
	}
}

// release gives the room of a sent fragment back.
func (w *worker) release(e *entry, bytes int) {
	w.a.mu.Lock()
	defer w.a.mu.Unlock()
	bytes = min(bytes, e.bytes)
	e.bytes -= bytes
	w.a.mu.bytes -= bytes
	w.a.wakeAdder()
}

func (w *worker) chunk(ctx context.Context, e *entry) error {
	c := e.chunk
	if c.Write == nil {
		if len(c.Rows) == 0 {
			return nil
		}
		return w.session.AddRows(ctx, e.view.Table(c.TableID), c.Rows)
	}
	if err := w.session.Flush(ctx); err != nil { // begins
		return err
	}
	return c.Write(ctx, w.session.Conn())
}

// split commits the transactions of a failed group one by one, a row per statement, so that the one that fails stands alone: those
// before it are applied, it and those behind it are not.
func (w *worker) split(ctx context.Context, g *group, cause error) error {
	w.session.Single(true)
	defer w.session.Single(false)
	for len(g.entries) > 0 {
		if err := w.one(ctx, g); err != nil {
			return err
		}
	}
	if !rows.ForeignKey(cause) {
		w.a.mu.Lock()
		w.a.mu.stats.splits++
		w.a.mu.Unlock()
		if w.a.cfg.Split != nil {
			w.a.cfg.Split(cause)
		}
	}
	return nil
}

// one commits the first transaction of a group. A row that only a foreign key refuses is written without the check: since MySQL 9.6 the
// binlog has cascaded changes before what caused them, and a source session may have had its checks off. All others are checked, because of what
// they cascade to.
func (w *worker) one(ctx context.Context, g *group) error {
	err := w.repeat(ctx, g)
	if !rows.ForeignKey(err) {
		return err
	}
	part := &g.entries[0].parts[0]
	tx := *part.tx // the stream's may be others', too
	tx.Changes = slices.Clone(tx.Changes)
	part.tx = &tx
	w.a.mu.Lock()
	w.a.mu.stats.unchecked++
	w.a.mu.Unlock()
	for rows.ForeignKey(err) {
		if !uncheck(&tx, err) {
			return err
		}
		err = w.repeat(ctx, g)
	}
	return err
}

// uncheck takes the checks from the change that a foreign key refuses; if that is an insert, which cascades to nothing, from all of its table. It returns false if there is no such change.
func uncheck(tx *vstream.Transaction, err error) bool {
	f, ok := errors.AsType[*Failure](err)
	if !ok {
		return false
	}
	refused := slices.IndexFunc(tx.Changes, func(c vstream.Change) bool { return c.Flags&writeset.NoForeignKeyChecks == 0 && f.Concerns(&c) })
	if refused < 0 {
		return false
	}
	first := tx.Changes[refused]
	for i := range tx.Changes {
		if c := &tx.Changes[i]; i == refused || first.Op == vstream.Insert && c.Op == vstream.Insert && c.TableID == first.TableID {
			c.Flags |= writeset.NoForeignKeyChecks
		}
	}
	return true
}

// repeat commits the first transaction of a group with the checks that are wanted.
func (w *worker) repeat(ctx context.Context, g *group) error {
	for attempt := 1; ; attempt++ {
		err := w.single(ctx, g, func() error { return w.check(ctx) })
		if err == nil || !w.temporary(ctx, g, err, attempt) {
			return err
		}
	}
}

func (w *worker) single(ctx context.Context, g *group, prepare func() error) error {
	if err := prepare(); err != nil {
		return err
	}
	first := g.entries[:1]
	w.a.mu.Lock()
	g.since = time.Now()
	w.a.mu.Unlock()
	p := &first[0].parts[0]
	err := w.session.Add(ctx, p.view, p.tx)
	if err == nil {
		err = w.session.Commit(ctx, w.control(g, first)...)
	}
	if err == nil {
		w.a.finish(w, g, 1)
		return nil
	}
	w.abandon()
	if errors.Is(err, sqlconn.ErrLost) || ctx.Err() != nil {
		return err
	}
	return errors.Join(err, w.session.Rollback(ctx))
}

func (w *worker) temporary(ctx context.Context, g *group, err error, attempt int) bool {
	if errors.Is(err, sqlconn.ErrLost) || !rows.Retryable(err) {
		return false
	}
	w.idle(g)
	w.told(err, attempt)
	return pause(ctx, attempt) == nil
}

// check makes the session check foreign keys, or not, as the applier does.
func (w *worker) check(ctx context.Context) error {
	w.a.mu.Lock()
	want := w.a.mu.checks
	w.a.mu.Unlock()
	if want == w.checks {
		return nil
	}
	if err := w.session.CheckForeignKeys(ctx, want); err != nil {
		return err
	}
	w.checks = want
	return nil
}

// pause grows from about a millisecond to 200: a deadlock's winner needs a moment, a long lock has waited LockWait already.
func pause(ctx context.Context, attempt int) error {
	d := time.Millisecond << min(attempt, 8)
	timer := time.NewTimer(d/2 + rand.N(d/2))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
