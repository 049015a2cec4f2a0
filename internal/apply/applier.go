package apply

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"braid/internal/gtid"
	"braid/internal/rowimage"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// Bounds of a commit group. Beyond them a larger group is not faster, and repeats more work after a deadlock.
const (
	groupTransactions = 200
	groupBytes        = 1 << 20
	largeTransaction  = 1000    // changes from which a transaction is not joined to those before it
	keepBuffer        = 4 << 20 // a buffer that a chunk made larger is given back
)

// LockWait is innodb_lock_wait_timeout of the session, in seconds. Short: a lock that others hold for longer makes the
// packet repeat, which costs little, and makes the wait visible.
const LockWait = 2

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
	cfg    Config
	conn   *sqlconn.Conn
	tables map[uint32]*Table
	batch  Batch
	tail   Batch                  // what follows when the counts were right
	group  []*vstream.Transaction // what the batch holds, to apply one by one if it fails

	saved   gtid.Set // the position in the stream's row
	pending Progress // with the group
	missed  []int    // statements of the last packet whose soft expectation was not met
	asked   bool     // Contest was called in this transaction
	open    bool     // parts of a large transaction were sent and are not committed
	partial bool     // the last transaction is not complete
}

// Session prepares conn for an applier: DESIGN 6, "Locks". It returns when no constraint is checked until CheckForeignKeys.
func Session(ctx context.Context, conn *sqlconn.Conn) error {
	_, err := conn.Exec(ctx, fmt.Sprintf("SET SESSION transaction_isolation='READ-COMMITTED', innodb_lock_wait_timeout=%d, "+
		"lock_wait_timeout=%d, foreign_key_checks=0", LockWait, LockWait))
	if err != nil {
		return fmt.Errorf("prepare applier session: %w", err)
	}
	return nil
}

// CheckForeignKeys turns the checks on, and with them cascades, once all tables are copied.
func CheckForeignKeys(ctx context.Context, conn *sqlconn.Conn, on bool) error {
	sql := "SET SESSION foreign_key_checks=0"
	if on {
		sql = "SET SESSION foreign_key_checks=1"
	}
	_, err := conn.Exec(ctx, sql)
	return err
}

// New returns an applier whose session has saved everything up to position.
func New(cfg Config, conn *sqlconn.Conn, position gtid.Set) *Applier {
	return &Applier{cfg: cfg, conn: conn, tables: map[uint32]*Table{}, saved: position, pending: Progress{Position: position}}
}

// Reset is New for the same session: nothing is pending, everything up to position is saved.
func (a *Applier) Reset(position gtid.Set) {
	a.saved, a.pending = position, Progress{Position: position}
	a.clear()
}

// SetTable says how the changes of a table ID are written. What was added before must be committed.
func (a *Applier) SetTable(id uint32, t *Table) { a.tables[id] = t }

// Table returns what SetTable has set, or nil.
func (a *Applier) Table(id uint32) *Table { return a.tables[id] }

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

// Add takes a source transaction, or a part of one. It commits by itself when the group is full; the owner calls Commit
// when nothing more is there to add.
func (a *Applier) Add(ctx context.Context, tx *vstream.Transaction) error {
	if len(tx.Changes) == 0 && tx.Last && !a.partial {
		return a.reach(tx)
	}
	large := !tx.Last || len(tx.Changes) > largeTransaction
	if large && len(a.group) > 0 && !a.partial {
		if err := a.Commit(ctx); err != nil {
			return err
		}
	}
	a.batch.Plain = large || a.partial // once parts are sent, single cannot look for the row that is missing
	a.begin()
	a.group = append(a.group, tx)
	a.batch.Source(tx.GTID)
	for i := range tx.Changes {
		if err := a.change(&tx.Changes[i]); err != nil {
			return fmt.Errorf("transaction %s: %w", tx.GTID, err)
		}
		if a.batch.Len() > groupBytes && i+1 < len(tx.Changes) {
			if err := a.sendPart(ctx); err != nil {
				return err
			}
		}
	}
	a.partial = !tx.Last
	if !tx.Last {
		return nil
	}
	if err := a.reach(tx); err != nil {
		return err
	}
	if len(a.group) >= groupTransactions || a.batch.Len() >= groupBytes {
		return a.Commit(ctx)
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

func (a *Applier) begin() {
	if len(a.group) == 0 && !a.open {
		a.batch.Reset(true)
	}
}

func (a *Applier) change(c *vstream.Change) error {
	t := a.tables[c.TableID]
	if t == nil {
		return fmt.Errorf("change of table %d, which the stream has not described", c.TableID)
	}
	return a.batch.Change(t, c.Op, c.Before, c.After)
}

// Commit commits the group and the position. In the middle of a large transaction it does nothing.
func (a *Applier) Commit(ctx context.Context) error {
	if a.partial || !a.Unsaved() && !a.Pending() {
		return nil
	}
	a.begin()
	err := a.repeat(ctx, func() error { return a.send(ctx, a.pending) })
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
	a.asked = false
	if a.cfg.Committed != nil {
		a.cfg.Committed()
	}
}

func (a *Applier) clear() {
	a.group, a.open = a.group[:0], false
	a.batch.Reset(false)
	if cap(a.batch.buf) > keepBuffer {
		a.batch.buf = nil
	}
}

// single applies the transactions of a failed group one by one, a row per statement, so that the one that fails stands
// alone: those before it are applied, it and those behind it are not.
func (a *Applier) single(ctx context.Context) error {
	group := slices.Clone(a.group)
	target, at := a.pending, Progress{Position: a.saved}
	a.clear()
	a.batch.Single = true
	defer func() { a.batch.Single = false }()
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
		a.batch.Reset(true)
		a.batch.Source(parts[0].GTID)
		for _, tx := range parts {
			for i := range tx.Changes {
				if err := a.change(&tx.Changes[i]); err != nil {
					return err
				}
			}
		}
		return a.repeat(ctx, func() error { return a.send(ctx, at) })
	}
	err := attempt()
	if !slices.Contains(foreignKeyErrors, sqlconn.ErrCode(err)) {
		return err
	}
	if err := CheckForeignKeys(ctx, a.conn, false); err != nil {
		return err
	}
	if err := attempt(); err != nil {
		return err
	}
	return CheckForeignKeys(ctx, a.conn, true)
}

// Copy commits copied rows of a table with the statement that records the copy's progress (W2). What was added before must
// be committed.
func (a *Applier) Copy(ctx context.Context, t *Table, rows []rowimage.Row, save string) error {
	if a.Pending() {
		return errors.New("copied rows arrived inside of a transaction")
	}
	a.batch.Reset(true)
	a.batch.Source("")
	if err := a.batch.Rows(t, rows); err != nil {
		return err
	}
	a.batch.Control(save)
	if err := a.repeat(ctx, func() error { return a.send(ctx, a.pending) }); err != nil {
		return err
	}
	a.done(a.pending)
	a.clear()
	return nil
}

// sendPart sends what there is of a transaction that is larger than a group may be.
func (a *Applier) sendPart(ctx context.Context) error {
	send := func() error {
		text, stmts := a.batch.mark()
		err := a.exec(ctx, &a.batch)
		if err == nil {
			a.tail.Reset(false)
			if err = a.contest(ctx); err == nil {
				err = a.exec(ctx, &a.tail)
			}
		}
		if err != nil {
			a.batch.restore(text, stmts)
		}
		return err
	}
	var err error
	if a.open {
		err = send()
	} else {
		err = a.repeat(ctx, send)
	}
	if err != nil {
		if a.open && retryable(err) {
			return fmt.Errorf("%w: %w", ErrRepeat, err)
		}
		return err
	}
	gtid := a.batch.gtid
	a.open = true
	a.group = a.group[:0]
	a.batch.Reset(false)
	a.batch.Source(gtid)
	return nil
}

// send sends the batch and commits it with its progress. A packet whose statements cannot miss their rows is one round
// trip; otherwise the counts are checked first, because the server would run the COMMIT of the same packet regardless.
func (a *Applier) send(ctx context.Context, p Progress) error {
	b := &a.batch
	text, stmts := b.mark()
	defer b.restore(text, stmts)
	save := a.cfg.Save(p)
	if !b.checked && len(b.merged) == 0 {
		b.Control(save)
		b.Control("COMMIT")
		return a.exec(ctx, b)
	}
	if err := a.exec(ctx, b); err != nil {
		return err
	}
	a.tail.Reset(false)
	if err := a.contest(ctx); err != nil {
		return err
	}
	a.tail.Control(save)
	a.tail.Control("COMMIT")
	return a.exec(ctx, &a.tail)
}

// contest lets the owner settle the keys of merged tables, if there is anything to settle, and adds its statements to the tail.
func (a *Applier) contest(ctx context.Context) error {
	if len(a.batch.merged) == 0 || len(a.missed) == 0 && !a.cfg.Contested() {
		return nil
	}
	finals := a.batch.doubtful(a.missed, a.cfg.Kept)
	if len(finals) == 0 {
		return nil
	}
	first := !a.asked
	a.asked = true
	keep, err := a.cfg.Contest(ctx, a.conn, finals, first)
	for _, sql := range keep {
		a.tail.Control(sql)
	}
	return err
}

// exec runs a packet and compares what its statements found with what they must find.
func (a *Applier) exec(ctx context.Context, b *Batch) error {
	b.close()
	if b == &a.batch {
		a.missed = a.missed[:0]
	}
	if len(b.buf) == 0 {
		return nil
	}
	if !b.checked {
		if err := a.conn.ExecMulti(ctx, b.buf); err != nil {
			return b.explain(err)
		}
		return nil
	}
	results, err := a.conn.QueryMulti(ctx, b.buf)
	if err != nil {
		return b.explain(err)
	}
	for i, res := range results {
		switch s := &b.stmts[i]; {
		case s.want == anyRows || uint64(s.want) == res.Affected:
		case s.soft:
			a.missed = append(a.missed, i)
		default:
			return s.failure(ErrMissing)
		}
	}
	return nil
}

// explain adds transaction, table and key to MySQL's error.
func (b *Batch) explain(err error) error {
	m, ok := errors.AsType[*sqlconn.MultiError](err)
	if !ok || m.Index >= len(b.stmts) || sqlconn.ErrCode(err) == 0 {
		return err
	}
	s := &b.stmts[m.Index]
	if s.table == nil {
		return fmt.Errorf("save position: %w", m.Err)
	}
	return s.failure(m.Err)
}

func (s *statement) failure(err error) *Failure {
	return &Failure{GTID: s.gtid, Verb: s.verb.String(), Table: s.table.Target.Name, Key: s.table.FormatKey(s.table.Key(s.row)), Rows: s.rows, Err: err}
}

// repeat runs send until it succeeds or fails for good. After every failure the transaction is rolled back, unless it is
// one that was sent in parts.
func (a *Applier) repeat(ctx context.Context, send func() error) error {
	for attempt := 1; ; attempt++ {
		err := send()
		if err == nil {
			return nil
		}
		if errors.Is(err, sqlconn.ErrLost) || ctx.Err() != nil {
			return err
		}
		if _, rerr := a.conn.Exec(ctx, "ROLLBACK"); rerr != nil {
			return errors.Join(err, rerr)
		}
		a.asked = false
		if !retryable(err) {
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
