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
)

// Bounds of a commit group. Beyond them a larger group is not faster, and repeats more work after a deadlock.
const (
	groupTransactions = 200
	groupBytes        = 1 << 20
	largeTransaction  = 1000 // changes from which a transaction is not joined to those before it
)

// Progress is what a commit reaches.
type Progress struct {
	Position     gtid.Set
	Transactions int64 // source transactions in this commit
	CommitUS     int64 // when the source committed the last of them
}

// Config is what the owner of the stream's row adds to each commit.
type Config struct {
	// Save returns the statement that records progress. It commits with the data (A1).
	Save func(p Progress) string
	// Contest is asked, inside of the transaction that has just written them, about keys of merged tables that may not have
	// become what they should. It returns statements that keep the rows of those that others own. first says that nothing of an
	// earlier call in this transaction stands: it was rolled back, or there was none.
	Contest func(ctx context.Context, conn *sqlconn.Conn, finals map[*Table]map[string]Final, first bool) (keep []string, err error)
	// Contested says that rows are kept at all, and Kept that one is, so that its changes are shown to Contest.
	Contested func() bool
	Kept      func(t *Table, key string) bool
	// Committed is called after each commit.
	Committed func()
	// Repeats is told why a packet is sent again, and how often it was.
	Repeats func(err error, attempt int)
}

// Applier writes source transactions to the target, in order, several of them as one commit when they are there already.
// One goroutine uses it.
type Applier struct {
	cfg     Config
	session *rows.Session
	tables  rows.Tables
	group   []*vstream.Transaction // what the session holds, to apply it again, or one by one if it fails

	saved   gtid.Set // the position in the stream's row
	pending Progress // with the group
	open    bool     // parts of a large transaction were sent that are not in the group any more
	partial bool     // the last transaction is not complete
}

// New returns an applier whose session has saved everything up to position.
func New(cfg Config, conn *sqlconn.Conn, position gtid.Set) *Applier {
	session := rows.NewSession(conn, rows.SessionConfig{Contest: cfg.Contest, Contested: cfg.Contested, Kept: cfg.Kept})
	return &Applier{cfg: cfg, session: session, saved: position, pending: Progress{Position: position}}
}

// Reset is New for the same session: nothing is pending, everything up to position is saved.
func (a *Applier) Reset(position gtid.Set) {
	a.saved, a.pending = position, Progress{Position: position}
	a.clear()
}

// SetTable says how the changes of a table ID are written. What was added before must be committed.
func (a *Applier) SetTable(id uint32, t *Table) { a.tables.Set(id, t) }

// Table returns what SetTable has set, or nil.
func (a *Applier) Table(id uint32) *Table { return a.tables.View().Table(id) }

// Position is what everything added so far reaches, Saved what the row says.
func (a *Applier) Position() gtid.Set { return a.pending.Position }

// Saved is the position in the stream's row.
func (a *Applier) Saved() gtid.Set { return a.saved }

// Pending says that changes wait to be committed.
func (a *Applier) Pending() bool { return len(a.group) > 0 || a.open || a.partial }

// Open says that the session is inside of a transaction whose first parts were sent.
func (a *Applier) Open() bool { return a.open || a.partial }

// Unsaved says that the row's position is behind, be it only by transactions without rows for us.
func (a *Applier) Unsaved() bool { return !a.saved.Equal(a.pending.Position) }

// Transactions is how many source transactions wait to be committed.
func (a *Applier) Transactions() int64 { return a.pending.Transactions }

// Add takes a source transaction, or a part of one. It commits by itself when the group is full; the owner calls Drain
// when nothing more is there to add.
func (a *Applier) Add(ctx context.Context, tx *vstream.Transaction) error {
	if len(tx.Changes) == 0 && tx.Last && !a.partial {
		return a.reach(tx)
	}
	large := !tx.Last || len(tx.Changes) > largeTransaction
	if large && len(a.group) > 0 && !a.partial {
		if err := a.Drain(ctx); err != nil {
			return err
		}
	}
	a.group = append(a.group, tx)
	if err := a.add(ctx, tx); err != nil {
		return err
	}
	if !tx.Last && a.session.Sent() { // single could not repeat what is not here any more
		a.open = true
		a.group = a.group[:0]
	}
	a.partial = !tx.Last
	if !tx.Last {
		return nil
	}
	if err := a.reach(tx); err != nil {
		return err
	}
	if len(a.group) >= groupTransactions || a.session.Bytes() >= groupBytes {
		return a.Drain(ctx)
	}
	return nil
}

// Skip takes a position that transactions without rows for us have reached.
func (a *Applier) Skip(position gtid.Set) {
	a.pending.Position = a.pending.Position.Union(position)
}

func (a *Applier) reach(tx *vstream.Transaction) error {
	if tx.GTID == "" {
		return nil
	}
	if err := tx.Reach(&a.pending.Position); err != nil {
		return err
	}
	if len(tx.Changes) > 0 || a.open {
		a.pending.Transactions++
	}
	a.pending.CommitUS = max(a.pending.CommitUS, tx.CommitUS)
	return nil
}

// add gives the session a transaction, which may send a part of it.
func (a *Applier) add(ctx context.Context, tx *vstream.Transaction) error {
	err := a.session.Add(ctx, a.tables.View(), tx)
	if err == nil {
		return nil
	}
	return a.repeat(ctx, err, func() error { return a.again(ctx, a.group) })
}

// again gives the session what a rollback took from it.
func (a *Applier) again(ctx context.Context, txs []*vstream.Transaction) error {
	for _, tx := range txs {
		if err := a.session.Add(ctx, a.tables.View(), tx); err != nil {
			return err
		}
	}
	return nil
}

// Drain returns when everything that was added is committed, and its position saved. In the middle of a large transaction it does
// nothing.
func (a *Applier) Drain(ctx context.Context) error {
	if a.partial || !a.Unsaved() && !a.Pending() {
		return nil
	}
	save := a.cfg.Save(a.pending)
	err := a.session.Commit(ctx, save)
	if err != nil {
		err = a.repeat(ctx, err, func() error {
			if err := a.again(ctx, a.group); err != nil {
				return err
			}
			return a.session.Commit(ctx, save)
		})
	}
	if f, ok := errors.AsType[*Failure](err); ok && !a.open && len(a.group) > 0 && Permanent(f) {
		return a.single(ctx)
	}
	if err != nil {
		return err
	}
	a.done(a.pending)
	a.clear()
	return nil
}

func (a *Applier) done(p Progress) {
	a.saved = p.Position
	a.pending.Transactions = 0
	if a.cfg.Committed != nil {
		a.cfg.Committed()
	}
}

func (a *Applier) clear() { a.group, a.open = a.group[:0], false }

// single applies the transactions of a failed group one by one, a row per statement, so that the one that fails stands
// alone: those before it are applied, it and those behind it are not.
func (a *Applier) single(ctx context.Context) error {
	group := slices.Clone(a.group)
	target, at := a.pending, Progress{Position: a.saved}
	a.clear()
	a.session.Single(true)
	defer a.session.Single(false)
	for first := 0; first < len(group); {
		end := first + 1
		for !group[end-1].Last { // fragments that were received together
			end++
		}
		tx := group[end-1]
		if err := tx.Reach(&at.Position); err != nil {
			return err
		}
		at.Transactions, at.CommitUS = 1, tx.CommitUS
		if err := a.one(ctx, group[first:end], at); err != nil {
			return err
		}
		a.done(at)
		first = end
	}
	target.Transactions = 0
	a.pending = target
	a.clear()
	return nil
}

// one applies one transaction. A row that only a foreign key refuses is written without the check: since MySQL 9.6 the
// binlog has cascaded changes before what caused them, and a source session may have had its checks off.
func (a *Applier) one(ctx context.Context, parts []*vstream.Transaction, at Progress) error {
	attempt := func() error {
		send := func() error {
			if err := a.again(ctx, parts); err != nil {
				return err
			}
			return a.session.Commit(ctx, a.cfg.Save(at))
		}
		err := send()
		if err == nil {
			return nil
		}
		return a.repeat(ctx, err, send)
	}
	err := attempt()
	if !rows.ForeignKey(err) {
		return err
	}
	if err := a.session.CheckForeignKeys(ctx, false); err != nil {
		return err
	}
	if err := attempt(); err != nil {
		return err
	}
	return a.session.CheckForeignKeys(ctx, true)
}

// Chunk is copied rows of a table, with the statements that record the copy's progress. They are one commit (W2).
type Chunk struct {
	TableID uint32 // 0: of no table; then there are no rows
	Rows    []rowimage.Row
	// Write writes the rows into the transaction that is open on conn, in a way of its own; it may be called again after a
	// rollback. nil: as the table's changes are written.
	Write func(ctx context.Context, conn *sqlconn.Conn) error
	Save  []string
	// Done is called once, by the goroutine that uses the applier, inside of one of its calls (Poll, if nothing else): with nil when
	// the chunk is committed, else with what ends the applier.
	Done func(error)
}

// Chunk takes a chunk at its place between transactions: it follows those before it that change its rows, and those behind it that do
// follow it. Chunks of a table run beside each other. What is not committed when Chunk returns is so when Done is called.
func (a *Applier) Chunk(ctx context.Context, c Chunk) error {
	err := a.chunk(ctx, &c)
	if c.Done != nil {
		c.Done(err)
	}
	return err
}

func (a *Applier) chunk(ctx context.Context, c *Chunk) error {
	if a.Open() {
		return errors.New("copied rows arrived inside of a transaction")
	}
	if err := a.Drain(ctx); err != nil {
		return err
	}
	t := a.Table(c.TableID)
	if t == nil && len(c.Rows) > 0 {
		return fmt.Errorf("chunk of table %d, which the stream has not described", c.TableID)
	}
	send := func() error {
		if err := a.write(ctx, t, c); err != nil {
			return err
		}
		return a.session.Commit(ctx, append(slices.Clone(c.Save), a.cfg.Save(a.pending))...)
	}
	if err := send(); err != nil {
		if err = a.repeat(ctx, err, send); err != nil {
			return err
		}
	}
	a.done(a.pending)
	a.clear()
	return nil
}

func (a *Applier) write(ctx context.Context, t *Table, c *Chunk) error {
	switch {
	case len(c.Rows) == 0 && c.Write == nil:
		return nil
	case c.Write == nil:
		return a.session.AddRows(ctx, t, c.Rows)
	}
	if err := a.session.Flush(ctx); err != nil { // begins
		return err
	}
	return c.Write(ctx, a.session.Conn())
}

// Barrier runs fn alone, in a session of the applier, when everything before is committed.
func (a *Applier) Barrier(ctx context.Context, fn func(ctx context.Context, conn *sqlconn.Conn) error) error {
	if a.Open() {
		return errors.New("barrier inside of a transaction")
	}
	if err := a.Drain(ctx); err != nil {
		return err
	}
	return fn(ctx, a.session.Conn())
}

// CheckForeignKeys says whether foreign keys are checked, and cascade, from here on. They are not at first.
func (a *Applier) CheckForeignKeys(ctx context.Context, on bool) error {
	return a.Barrier(ctx, func(ctx context.Context, _ *sqlconn.Conn) error { return a.session.CheckForeignKeys(ctx, on) })
}

// Events is signalled when Poll has something to do.
func (a *Applier) Events() <-chan struct{} { return nil }

// Poll calls what is due (Chunk.Done), and returns the error that has ended the applier.
func (a *Applier) Poll(context.Context) error { return nil }

// SetOrder changes the commit order, on a complete prefix.
func (a *Applier) SetOrder(ctx context.Context, _ Order) error { return a.Drain(ctx) }

// SetWorkers changes how many sessions there may be, on a complete prefix.
func (a *Applier) SetWorkers(ctx context.Context, _ int) error { return a.Drain(ctx) }

// Close ends the sessions. What was not committed is rolled back.
func (a *Applier) Close() {}

// repeat rolls back after err and, if that may help, runs send until it succeeds or fails for good. What was sent of a large transaction
// and is not here any more cannot be sent again.
func (a *Applier) repeat(ctx context.Context, err error, send func() error) error {
	for attempt := 1; ; attempt++ {
		if errors.Is(err, sqlconn.ErrLost) || ctx.Err() != nil {
			return err
		}
		if rerr := a.session.Rollback(ctx); rerr != nil {
			return errors.Join(err, rerr)
		}
		if !rows.Retryable(err) {
			return err
		}
		if a.open {
			return fmt.Errorf("%w: %w", ErrRepeat, err)
		}
		if a.cfg.Repeats != nil {
			a.cfg.Repeats(err, attempt)
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
		if err = send(); err == nil {
			return nil
		}
	}
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
