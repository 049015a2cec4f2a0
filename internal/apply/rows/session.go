package rows

import (
	"context"
	"errors"
	"fmt"

	"braid/internal/rowimage"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// partBytes is the size of a packet. A larger one is not faster, and repeats more work after a deadlock.
const partBytes = 1 << 20

// keepBuffer: a buffer that a chunk made larger is given back.
const keepBuffer = 4 << 20

// LockWait is innodb_lock_wait_timeout of the session, in seconds. Short: a lock that others hold for longer makes the
// transaction repeat, which costs little, and makes the wait visible.
const LockWait = 2

// SessionConfig is what a stream with merged tables adds. All of it may be nil when no table is merged.
type SessionConfig struct {
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

	missed  []int // statements of the last packet whose soft expectation was not met
	asked   bool  // Contest was called in this transaction
	sent    bool  // the server is inside of a transaction of ours
	partial bool  // the last transaction is not complete
}

// Prepare sets a session up for an applier: DESIGN 6, "Locks". It returns when no constraint is checked until CheckForeignKeys.
func Prepare(ctx context.Context, conn *sqlconn.Conn) error {
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

// NewSession returns a session on a connection that Prepare has set up.
func NewSession(conn *sqlconn.Conn, cfg SessionConfig) *Session {
	return &Session{conn: conn, cfg: cfg}
}

// Conn is the session's connection, for statements of the caller between Add and Commit, or between two transactions.
func (s *Session) Conn() *sqlconn.Conn { return s.conn }

// CheckForeignKeys is CheckForeignKeys for the session.
func (s *Session) CheckForeignKeys(ctx context.Context, on bool) error {
	return CheckForeignKeys(ctx, s.conn, on)
}

// Single makes a statement of every row, until it is turned off: a failure then names the row.
func (s *Session) Single(on bool) { s.batch.Single = on }

// Bytes is the size of what is buffered.
func (s *Session) Bytes() int { return s.batch.Len() }

// Pending says that something was added, or sent, and is not committed.
func (s *Session) Pending() bool { return s.sent || s.batch.Len() > 0 }

// Sent says that the server is inside of a transaction of ours: parts of what was added are not buffered any more.
func (s *Session) Sent() bool { return s.sent }

// Add takes the changes of a transaction, or of a fragment of one. When a packet is full, it is sent.
func (s *Session) Add(ctx context.Context, tables *View, tx *vstream.Transaction) error {
	s.begin()
	// Once a part is sent that the caller does not have any more, Single cannot look for the row that is missing.
	s.batch.Plain = s.partial || !tx.Last
	s.batch.Source(tx.GTID)
	for i := range tx.Changes {
		c := &tx.Changes[i]
		t := tables.Table(c.TableID)
		if t == nil {
			return fmt.Errorf("transaction %s: change of table %d, which the stream has not described", tx.GTID, c.TableID)
		}
		if err := s.batch.Change(t, c.Op, c.Before, c.After); err != nil {
			return fmt.Errorf("transaction %s: %w", tx.GTID, err)
		}
		if s.batch.Len() > partBytes && i+1 < len(tx.Changes) {
			if err := s.Flush(ctx); err != nil {
				return err
			}
			s.batch.Source(tx.GTID)
		}
	}
	s.partial = !tx.Last
	return nil
}

// AddRows takes copied rows of a table.
func (s *Session) AddRows(ctx context.Context, t *Table, rows []rowimage.Row) error {
	s.begin()
	s.batch.Source("")
	return s.batch.Rows(t, rows)
}

func (s *Session) begin() {
	if !s.sent && s.batch.Len() == 0 {
		s.batch.Reset(true)
	}
}

// Flush sends what is buffered, and compares what was found with what must be.
func (s *Session) Flush(ctx context.Context) error {
	s.begin()
	if s.batch.Len() == 0 {
		return nil
	}
	s.sent = true // whatever comes: only Rollback or Commit end it
	if err := s.exec(ctx, &s.batch); err != nil {
		return err
	}
	s.tail.Reset(false)
	if err := s.contest(ctx); err != nil {
		return err
	}
	if err := s.exec(ctx, &s.tail); err != nil {
		return err
	}
	s.batch.Reset(false)
	return nil
}

// Commit sends what is buffered and the control statements, and commits. A packet whose statements cannot miss their rows is one
// round trip; otherwise the counts are checked first, because the server would run the COMMIT of the same packet regardless.
func (s *Session) Commit(ctx context.Context, control ...string) error {
	s.begin()
	b := &s.batch
	if b.checked || len(b.merged) > 0 {
		s.sent = true
		if err := s.exec(ctx, b); err != nil {
			return err
		}
		b = &s.tail
		b.Reset(false)
		if err := s.contest(ctx); err != nil {
			return err
		}
	}
	for _, sql := range control {
		b.Control(sql)
	}
	b.Control("COMMIT")
	s.sent = true
	if err := s.exec(ctx, b); err != nil {
		return err
	}
	s.clear()
	return nil
}

// Rollback forgets what is buffered, and takes back what was sent.
func (s *Session) Rollback(ctx context.Context) error {
	sent := s.sent
	s.clear()
	if !sent {
		return nil
	}
	_, err := s.conn.Exec(ctx, "ROLLBACK")
	return err
}

func (s *Session) clear() {
	s.sent, s.partial, s.asked = false, false, false
	s.batch.Reset(false)
	if cap(s.batch.buf) > keepBuffer {
		s.batch.buf = nil
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

// exec runs a packet and compares what its statements found with what they must find.
func (s *Session) exec(ctx context.Context, b *Batch) error {
	b.close()
	if b == &s.batch {
		s.missed = s.missed[:0]
	}
	if len(b.buf) == 0 {
		return nil
	}
	if !b.checked {
		if err := s.conn.ExecMulti(ctx, b.buf); err != nil {
			return b.explain(err)
		}
		return nil
	}
	results, err := s.conn.QueryMulti(ctx, b.buf)
	if err != nil {
		return b.explain(err)
	}
	for i, res := range results {
		switch st := &b.stmts[i]; {
		case st.want == anyRows || uint64(st.want) == res.Affected:
		case st.soft:
			s.missed = append(s.missed, i)
		default:
			return st.failure(ErrMissing)
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
