package rows

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"braid/internal/rowimage"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// partBytes is about how much of a large transaction is buffered before it is sent. A larger packet is not faster, and repeats more work
// after a deadlock.
const partBytes = 1 << 20

// keepBuffer: a buffer that a large row made larger is given back.
const keepBuffer = 4 << 20

// LockWait is innodb_lock_wait_timeout of the session, in seconds. Short: a lock that others hold for longer makes the
// transaction repeat, which costs little, and makes the wait visible.
const LockWait = 2

// SessionConfig is what a stream with merged tables adds. All of it may be nil when no table is merged.
type SessionConfig struct {
	SQL bool // never the native writer
	// Contest is asked, inside of the transaction that has just written them, about keys of merged tables that may not have
	// become what they should. It returns statements that keep the rows of those that others own. first says that nothing of an
	// earlier call in this transaction stands: it was rolled back, or there was none.
	Contest func(ctx context.Context, conn *sqlconn.Conn, finals map[*Table]map[string]Final, first bool) (keep []string, err error)
	// Contested says that rows are kept at all, and Kept that one is, so that its changes are shown to Contest.
	Contested func() bool
	Kept      func(t *Table, key string) bool
}

// Session writes transactions through one MySQL session, inside of one MySQL transaction at a time: Add, Add, …, Commit. One goroutine
// uses it.
//
// After an error of Add, Flush or Commit, the caller calls Rollback, unless the connection is lost, and adds again what it wants to be
// written: nothing is left in the session. Retryable tells whether that may help.
type Session struct {
	conn  *sqlconn.Conn
	cfg   SessionConfig
	batch Batch
	tail  Batch // what follows when the counts were right

	pending     []pending // not sent yet
	flight      flight    // sent, and not answered yet
	rendered    bool      // the batch holds what is pending
	fragments   bool      // some are of transactions that the caller has not whole
	bytes       int       // of it, about
	fold        fold
	foreignKeys bool   // they are checked
	ready       bool   // the server was asked what it takes
	refusal     string // why it takes no row events

	counts  []uint64
	missed  []int // statements of the last packet whose soft expectation was not met
	asked   bool  // Contest was called in this transaction
	sent    bool  // the server is inside of a transaction of ours
	partial bool  // the last transaction is not complete
}

// flight is a part of a large transaction that the server executes while the next one is rendered. That one is sent when the answer is there: an
// error may have ended the transaction, and what came behind it would be committed by itself.
type flight struct {
	under     bool  // way: its packet is not answered yet
	batch     Batch // of it the text, the statements, and the one packet
	pending   []pending
	fragments bool
}

// pending is a change that was added.
type pending struct {
	table  *Table
	view   *View
	change *vstream.Change
	gtid   string
}

// Prepare sets a session up for an applier: READ COMMITTED, short waits for locks, no checks of foreign keys
// until CheckForeignKeys.
func Prepare(ctx context.Context, conn *sqlconn.Conn) error {
	_, err := conn.Exec(ctx, fmt.Sprintf("SET SESSION transaction_isolation='READ-COMMITTED', innodb_lock_wait_timeout=%d, "+
		"lock_wait_timeout=%d, foreign_key_checks=0", LockWait, LockWait))
	if err != nil {
		return fmt.Errorf("prepare applier session: %w", err)
	}
	return nil
}

// NewSession returns a session on a connection that Prepare has set up.
func NewSession(conn *sqlconn.Conn, cfg SessionConfig) *Session {
	return &Session{conn: conn, cfg: cfg}
}

// Conn is the session's connection, for statements of the caller between Add and Commit, or between two transactions.
func (s *Session) Conn() *sqlconn.Conn { return s.conn }

// CheckForeignKeys turns the checks on, and with them cascades, once all tables are copied. Nothing may be pending.
func (s *Session) CheckForeignKeys(ctx context.Context, on bool) error {
	sql := "SET SESSION foreign_key_checks=0"
	if on {
		sql = "SET SESSION foreign_key_checks=1"
	}
	if _, err := s.conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("foreign key checks of the session: %w", err)
	}
	s.foreignKeys = on // row events carry their own flag
	return nil
}

// Native says whether the session takes row events, and why not, once something was sent.
func (s *Session) Native() (ok bool, reason string) { return s.ready && s.refusal == "", s.refusal }

// setUp asks the server what it takes.
func (s *Session) setUp(ctx context.Context) error {
	res, err := s.conn.Query(ctx, "SELECT @@max_allowed_packet")
	if err != nil {
		return fmt.Errorf("max_allowed_packet of the target: %w", err)
	}
	most, err := strconv.Atoi(string(res.Rows[0][0]))
	if err != nil {
		return fmt.Errorf("max_allowed_packet of the target: %w", err)
	}
	const header = 1 << 10 // the server counts its own bytes too
	s.batch.most = limitsOf(most - header)
	s.tail.most = s.batch.most
	if s.cfg.SQL {
		s.refusal = "the SQL writer was asked for"
	} else if s.refusal, err = Refusal(ctx, s.conn); err != nil {
		return err
	}
	s.ready, s.batch.rowEvents = true, s.refusal == ""
	return nil
}

// Single makes a statement of every row, until it is turned off: a failure then names the row.
func (s *Session) Single(on bool) { s.batch.Single = on }

// Bytes is about the size of what is buffered.
func (s *Session) Bytes() int { return s.bytes }

// Pending says that something was added, or sent, and is not committed.
func (s *Session) Pending() bool { return s.sent || len(s.pending) > 0 || !s.batch.Empty() }

// Sent says that the server is inside of a transaction of ours: parts of what was added are not buffered any more.
func (s *Session) Sent() bool { return s.sent }

// Add takes the changes of a transaction, or of a fragment of one, which stay as they are until they are committed or rolled back. When there
// is enough for a packet, it is sent; its answer is looked at by a later call.
func (s *Session) Add(ctx context.Context, tables *View, tx *vstream.Transaction) error {
	fragment := s.partial || !tx.Last
	for i := range tx.Changes {
		c := &tx.Changes[i]
		t := tables.Table(c.TableID)
		if t == nil {
			return fmt.Errorf("transaction %s: change of table %d, which the stream has not described", tx.GTID, c.TableID)
		}
		s.pending = append(s.pending, pending{table: t, view: tables, change: c, gtid: tx.GTID})
		s.bytes += changeBytes + c.Before.Size() + c.After.Size()
		s.fragments = s.fragments || fragment
		if s.bytes > partBytes && i+1 < len(tx.Changes) {
			if err := s.launch(ctx); err != nil {
				return err
			}
		}
	}
	s.partial = !tx.Last
	return nil
}

const changeBytes = 32 // of a change beside its cells

// AddRows takes copied rows of a table. What was added before must be committed.
func (s *Session) AddRows(ctx context.Context, t *Table, rows []rowimage.Row) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if err := s.batch.Rows(t, rows); err != nil {
		return err
	}
	s.bytes = s.batch.Len()
	return nil
}

// begin starts a packet.
func (s *Session) begin(ctx context.Context) error {
	if !s.ready {
		if err := s.setUp(ctx); err != nil {
			return err
		}
	}
	if s.batch.Empty() {
		s.batch.foreignKeys = s.foreignKeys
		s.batch.Reset(!s.sent)
	}
	return nil
}

// render makes statements of what is pending. Tables whose rows have nothing to do with those of others are folded, and follow those that
// keep the source's order.
func (s *Session) render(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if s.rendered || len(s.pending) == 0 {
		return nil
	}
	s.rendered = true
	b := &s.batch
	if s.fragments {
		b.Control(savepoint)
	}
	for i := range s.pending {
		p := &s.pending[i]
		b.gtid = p.gtid
		if i > 0 && p.view != s.pending[i-1].view { // a table may be another there, and its changes come behind those of the one before
			if err := s.fold.render(b); err != nil {
				return err
			}
		}
		if err := s.renderChange(p); err != nil {
			return fmt.Errorf("transaction %s: %w", p.gtid, err)
		}
	}
	if err := s.fold.render(b); err != nil {
		return err
	}
	b.restoreChecks(s.foreignKeys)
	return nil
}

// prepare renders what is pending, and then looks at what became of the part before it.
func (s *Session) prepare(ctx context.Context) error {
	if err := s.render(ctx); err != nil || !s.flight.under {
		return err
	}
	if err := s.land(ctx); err != nil {
		return err
	}
	return s.render(ctx) // again, if land has used the batch
}

// launch sends what is buffered, and leaves the answer to the next call.
func (s *Session) launch(ctx context.Context) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	b, f := &s.batch, &s.flight
	b.finish()
	if len(b.packets) > 1 || len(b.merged) > 0 || len(b.buf) > b.most.packet {
		return s.Flush(ctx)
	}
	s.sent = true
	if err := s.conn.SendBatch(ctx, b.buf); err != nil {
		return err
	}
	f.under, f.fragments = true, s.fragments
	f.pending, s.pending = s.pending, f.pending
	f.batch.buf, b.buf = b.buf, f.batch.buf
	f.batch.stmts, b.stmts = b.stmts, f.batch.stmts
	f.batch.packets, b.packets = b.packets, f.batch.packets
	s.taken()
	return nil
}

// land reads the answer to what was launched.
func (s *Session) land(ctx context.Context) error {
	f := &s.flight
	f.under = false
	err := s.answer(ctx, &f.batch, 0, f.batch.packets[0])
	if f.fragments && !s.batch.Single && Permanent(err) {
		err = s.searchFlight(ctx)
	}
	if err == nil {
		f.forget()
	}
	return err
}

func (f *flight) forget() {
	clear(f.pending)
	f.under, f.pending = false, f.pending[:0]
	f.batch.Reset(false)
}

// searchFlight is search for the part before the one that is rendered, which has to be rendered again then.
func (s *Session) searchFlight(ctx context.Context) error {
	next, fragments := s.pending, s.fragments
	s.pending, s.fragments = s.flight.pending, true
	err := s.search(ctx)
	s.pending, s.fragments, s.rendered = next, fragments, false
	s.fold.reset()
	s.batch.Reset(false)
	return err
}

// taken forgets what is pending, because the server has it.
func (s *Session) taken() {
	clear(s.pending) // its memory may go
	s.pending, s.bytes, s.rendered, s.fragments = s.pending[:0], 0, false, false
	s.batch.Reset(false)
}

// savepoint is where a part of a large transaction begins. The caller does not have the parts before it any more, so it cannot roll back and look for
// the row that has failed: the session does, from there.
const savepoint = "SAVEPOINT braid_part"

// search applies a part that has failed again, row by row. It succeeds if only the sum of a statement was wrong: one row was as it should be already.
func (s *Session) search(ctx context.Context) error {
	if _, err := s.conn.Exec(ctx, "ROLLBACK TO "+savepoint); err != nil {
		return err
	}
	if err := s.CheckForeignKeys(ctx, s.foreignKeys); err != nil {
		return err
	}
	s.batch.Single, s.batch.execMode = true, 0
	defer func() { s.batch.Single = false }()
	s.batch.Reset(false)
	s.rendered = false
	s.fold.reset()
	if err := s.render(ctx); err != nil {
		return err
	}
	return s.exec(ctx, &s.batch)
}

func (s *Session) renderChange(p *pending) error {
	if t := p.table; s.batch.Single || !t.folds(s.foreignKeys && t.checks(p.change.Flags)) {
		if !t.apart { // it, or another that it is tied to, may be in the fold
			if err := s.fold.render(&s.batch); err != nil {
				return err
			}
		}
		return s.batch.Change(t, p.change)
	}
	if err := checkWidth(p.table, p.change.Op, p.change.Before, p.change.After); err != nil {
		return err
	}
	if s.fold.add(p.table, p.change, p.gtid) {
		return nil
	}
	if err := s.fold.render(&s.batch); err != nil {
		return err
	}
	if !s.fold.add(p.table, p.change, p.gtid) { // it cannot be right by itself; the server will say so
		return s.batch.Change(p.table, p.change)
	}
	return nil
}

// Flush sends what is buffered, and compares what was found with what must be.
func (s *Session) Flush(ctx context.Context) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	if s.batch.Empty() {
		return nil
	}
	if err := s.sendChecked(ctx); err != nil {
		return err
	}
	if err := s.exec(ctx, &s.tail); err != nil {
		return err
	}
	s.taken()
	return nil
}

// sendChecked sends the batch, and leaves in the tail what the owner of merged tables wants to follow.
func (s *Session) sendChecked(ctx context.Context) error {
	err := s.exec(ctx, &s.batch)
	if s.fragments && !s.batch.Single && Permanent(err) {
		err = s.search(ctx)
	}
	if err != nil {
		return err
	}
	s.tail.Reset(false)
	return s.contest(ctx)
}

// Commit sends what is buffered and the control statements, and commits. A packet whose statements cannot miss their rows is one
// round trip; otherwise the counts are checked first, because the server would run the COMMIT of the same packet regardless. A control
// statement is one statement, which returns no rows.
func (s *Session) Commit(ctx context.Context, control ...string) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	b := &s.batch
	if b.checked || len(b.merged) > 0 || s.fragments {
		if err := s.sendChecked(ctx); err != nil {
			return err
		}
		b = &s.tail
	}
	for _, sql := range control {
		b.Control(sql)
	}
	b.Control("COMMIT")
	if err := s.exec(ctx, b); err != nil {
		return err
	}
	s.clear()
	return nil
}

// Rollback forgets what is buffered, and takes back what was sent.
func (s *Session) Rollback(ctx context.Context) error {
	if s.flight.under {
		_, err := s.conn.ReadBatch(ctx, s.flight.batch.packets[0].stmts, s.counts[:0])
		if errors.Is(err, sqlconn.ErrLost) { // else it does not matter what it was
			return err
		}
	}
	sent := s.sent
	s.clear()
	s.batch.execMode = 0
	if !sent {
		return nil
	}
	if _, err := s.conn.Exec(ctx, "ROLLBACK"); err != nil {
		return err
	}
	return s.CheckForeignKeys(ctx, s.foreignKeys) // a statement that was to turn them on again may not have run
}

func (s *Session) clear() {
	s.sent, s.partial, s.asked = false, false, false
	s.taken()
	s.flight.forget()
	s.fold.reset()
	for _, b := range []*Batch{&s.batch, &s.flight.batch} {
		if cap(b.buf) > keepBuffer {
			b.buf = nil
		}
	}
	if cap(s.batch.events.rows) > keepBuffer {
		s.batch.events.rows = nil
	}
}

// contest lets the owner settle the keys of merged tables, if there is anything to settle, and adds its statements to the tail.
func (s *Session) contest(ctx context.Context) error {
	if len(s.batch.merged) == 0 || len(s.missed) == 0 && !s.cfg.Contested() {
		return nil
	}
	finals := s.batch.doubtful(s.missed, s.cfg.Kept)
	if len(finals) == 0 {
		return nil
	}
	first := !s.asked
	s.asked = true
	keep, err := s.cfg.Contest(ctx, s.conn, finals, first)
	for _, sql := range keep {
		s.tail.Control(sql)
	}
	return err
}

// exec sends the packets of a batch, and compares what their statements found with what they must find.
func (s *Session) exec(ctx context.Context, b *Batch) error {
	b.finish()
	if b == &s.batch {
		s.missed = s.missed[:0]
	}
	done := 0
	for _, p := range b.packets {
		if p.to == p.from {
			continue
		}
		if p.to-p.from > b.most.packet {
			return b.stmts[done].failure(fmt.Errorf("%w: %d bytes", ErrPacket, p.to-p.from))
		}
		s.sent = true // whatever comes: only Rollback or Commit end it
		if err := s.conn.SendBatch(ctx, b.buf[p.from:p.to]); err != nil {
			return err
		}
		if err := s.answer(ctx, b, done, p); err != nil {
			return err
		}
		done = p.stmts
	}
	return nil
}

// answer reads what became of a packet, whose first statement is given, and compares what was found with what must be.
func (s *Session) answer(ctx context.Context, b *Batch, first int, p packet) (err error) {
	if s.counts, err = s.conn.ReadBatch(ctx, p.stmts-first, s.counts[:0]); err != nil {
		return s.explain(ctx, b, first, err)
	}
	for i, found := range s.counts {
		switch st := &b.stmts[first+i]; {
		case st.want == anyRows || uint64(st.want) == found:
		case st.soft:
			s.missed = append(s.missed, first+i)
		default:
			return s.explainRow(ctx, st, st.failure(ErrMissing))
		}
	}
	return nil
}

// explain adds transaction, table and key to MySQL's error. first is the packet's first statement.
func (s *Session) explain(ctx context.Context, b *Batch, first int, err error) error {
	m, ok := errors.AsType[*sqlconn.MultiError](err)
	if !ok || first+m.Index >= len(b.stmts) || sqlconn.ErrCode(err) == 0 {
		return err
	}
	st := &b.stmts[first+m.Index]
	if st.table == nil {
		return fmt.Errorf("save position: %w", m.Err)
	}
	return s.explainRow(ctx, st, st.failure(m.Err))
}

func (s *statement) failure(err error) error {
	if s.table == nil {
		return err
	}
	if sqlconn.ErrCode(err) == erKeyNotFound {
		err = fmt.Errorf("%w (%w)", ErrMissing, err)
	}
	verb := s.verb.String()
	if s.verb == verbEvents && s.rows == 1 {
		verb = s.op.String()
	}
	return &Failure{GTID: s.gtid, Verb: verb, Table: s.table.Target.Name, Key: s.table.formatKeyOf(s.row), Rows: s.rows, Err: err, row: s.row}
}
