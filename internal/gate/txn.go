package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/base/errs"
	"braid/internal/mysqlproto"
	"braid/internal/sqlast"
	"braid/internal/sqlconn"
)

// txn is the transaction of a session.
type txn struct {
	open       bool
	implicit   bool       // of one statement: nobody sees it if it is rolled back and begun again
	begin      string     // how it was begun
	parts      []*backend // in the order in which they joined
	savepoints []string
	next       []string // SET TRANSACTION for the next one
}

// beginTxn is BEGIN and START TRANSACTION: nothing is sent before a statement needs a shard.
func (s *session) beginTxn(ctx context.Context, sql string) error {
	if err := s.commit(ctx); err != nil {
		return err
	}
	s.openTxn(sql)
	return nil
}

func (s *session) openTxn(begin string) {
	s.txn.open, s.txn.begin = true, begin
	s.c.Status |= mysql.SERVER_STATUS_IN_TRANS
}

// closeTxn forgets the transaction; the backends are free of it.
func (s *session) closeTxn() {
	for _, b := range s.txn.parts {
		b.inTxn, b.locked, b.wrote, b.late, b.marks = false, false, false, false, 0
	}
	s.txn = txn{}
	s.c.Status &^= mysql.SERVER_STATUS_IN_TRANS
}

// join lets a backend take part in the open transaction.
func (s *session) join(ctx context.Context, b *backend) error {
	if !b.inTxn {
		for _, sql := range append(slices.Clone(s.txn.next), s.txn.begin) {
			if _, err := b.control(ctx, sql); err != nil {
				return s.failed(b, err, false)
			}
		}
		b.inTxn, b.fresh, b.locked, b.wrote, b.late, b.marks = true, true, false, false, false, 0
		s.txn.parts = append(s.txn.parts, b)
	}
	for _, name := range s.txn.savepoints[b.marks:] {
		if _, err := b.control(ctx, "SAVEPOINT "+sqlconn.QuoteIdent(name)); err != nil {
			return s.failed(b, err, false)
		}
		b.marks++
	}
	return nil
}

// leave takes a backend out that has just joined and done nothing.
func (s *session) leave(ctx context.Context, b *backend) {
	s.txn.parts = slices.DeleteFunc(s.txn.parts, func(x *backend) bool { return x == b })
	if _, err := b.control(ctx, "ROLLBACK"); err != nil {
		s.drop(b)
	}
	b.inTxn, b.marks = false, 0
}

// rollbackAll ends the transaction without a trace. Connections that fail are closed, which has the same effect.
func (s *session) rollbackAll(ctx context.Context) {
	for _, b := range s.txn.parts {
		if s.backends[b.dest] != b {
			continue // it is gone already
		}
		if ctx.Err() != nil {
			s.drop(b)
		} else if _, err := b.control(ctx, "ROLLBACK"); err != nil {
			s.drop(b)
		}
	}
	s.closeTxn()
}

// commit ends the transaction, if one is open. On one shard it is MySQL's commit.
func (s *session) commit(ctx context.Context) error {
	if len(s.txn.parts) == 0 {
		s.closeTxn()
		return nil
	}
	// A commit that was begun is not left in the middle because somebody kills the session.
	ctx = context.WithoutCancel(ctx)
	order := commitOrder(s.txn.parts)
	var done []committed
	for i, b := range order {
		gtid, err := s.commitOne(ctx, b, done)
		if err == nil {
			done = append(done, committed{b, gtid})
			continue
		}
		return s.commitFailed(ctx, done, order[i:], err)
	}
	s.closeTxn()
	return nil
}

// committed is a shard that has committed.
type committed struct {
	*backend
	gtid string // "" if it had written nothing
}

// commitOrder puts the shards that have written first, and of those the ones that have lost rows to others last.
func commitOrder(parts []*backend) []*backend {
	order := slices.Clone(parts)
	rank := func(b *backend) int {
		switch {
		case !b.wrote:
			return 2
		case b.late:
			return 1
		}
		return 0
	}
	slices.SortStableFunc(order, func(a, b *backend) int { return rank(a) - rank(b) })
	return order
}

// commitOne commits on one shard, writing first which commits this one depends on.
func (s *session) commitOne(ctx context.Context, b *backend, done []committed) (gtid string, err error) {
	if b.wrote {
		for _, earlier := range done {
			if earlier.gtid == "" {
				continue
			}
			if err := s.writeDependency(ctx, b, earlier.gtid); err != nil {
				return "", err
			}
		}
	}
	ok, err := b.control(ctx, "COMMIT")
	return ok.GTID(), err
}

// writeDependency leaves a GTID in the shard's binlog, within the transaction, and no row in its table.
func (s *session) writeDependency(ctx context.Context, b *backend, gtid string) error {
	stop := b.Under(ctx)
	defer stop()
	epoch := s.g.deps.Cache.Routing().Epoch
	statements := []string{
		"INSERT INTO _braid.dependency (gtid) VALUES (" + quote(gtid) + ")",
		"DELETE FROM _braid.dependency WHERE id = LAST_INSERT_ID()",
	}
	var err error
	for _, sql := range statements {
		if qerr := b.Queue(mysql.COM_QUERY, tagged(nil, epoch, true, b.dest, []string{"_braid.dependency"}, sql)); qerr != nil {
			return notCommitted{qerr}
		}
	}
	if ferr := b.Flush(); ferr != nil {
		return notCommitted{ferr}
	}
	for range statements {
		resp, rerr := b.Response()
		if rerr != nil {
			return notCommitted{rerr}
		}
		if resp.Err != nil && err == nil {
			err = resp.Err
		}
	}
	if err != nil {
		return fmt.Errorf("note the earlier commit %s: %w", gtid, notCommitted{err})
	}
	return nil
}

// notCommitted marks failures before COMMIT was sent.
type notCommitted struct{ error }

func (e notCommitted) Unwrap() error { return e.error }

// commitFailed rolls back what is left and tells the client exactly how things stand.
func (s *session) commitFailed(ctx context.Context, done []committed, left []*backend, cause error) error {
	failed := left[0]
	_, ok := errors.AsType[notCommitted](cause)
	unknown := !ok && mysqlproto.AsMySQL(cause) == nil && !isHold(cause) && !errors.Is(cause, mysqlproto.ErrNotSent)
	if unknown || ok {
		s.drop(failed)
	}
	implicit := s.txn.implicit
	s.rollbackAll(ctx)
	wrote := slices.DeleteFunc(slices.Clone(done), func(c committed) bool { return c.gtid == "" })
	state := "rolled back"
	if unknown {
		state = "unknown"
	}
	switch {
	case len(wrote) == 0 && unknown:
		return errs.New(errs.OutcomeUnknown, cause, "the connection to %s was lost before it answered COMMIT: the transaction may have been committed", failed.dest)
	case len(wrote) == 0 && implicit && sqlconn.ErrCode(cause) == mysql.ER_LOCK_DEADLOCK:
		return hold(errs.New(errs.NotServing, cause, "%s", failed.dest))
	case len(wrote) == 0:
		if e := mysqlproto.AsMySQL(cause); e != nil {
			return e
		}
		return mysqlproto.Error(mysql.ER_LOCK_DEADLOCK, "40001", "The transaction was rolled back; try restarting transaction: "+cause.Error())
	}
	var names, others []string
	for _, c := range wrote {
		names = append(names, fmt.Sprintf("%s/%s (%s)", c.dest.keyspace, c.dest.shard, c.gtid))
	}
	for _, b := range left[1:] {
		if b.wrote {
			others = append(others, b.dest.keyspace+"/"+b.dest.shard)
		}
	}
	text := fmt.Sprintf("committed on %s; on %s/%s: %s", strings.Join(names, ", "), failed.dest.keyspace, failed.dest.shard, state)
	if len(others) > 0 {
		text += "; rolled back on " + strings.Join(others, ", ")
	}
	return errs.New(errs.PartialCommit, cause, "%s", text)
}

// savepoint is SAVEPOINT, ROLLBACK TO and RELEASE SAVEPOINT: on every shard of the transaction, and later on those that join.
func (s *session) savepoint(ctx context.Context, stmt *sqlast.Statement) error {
	name := stmt.SavepointName()
	if !s.txn.open {
		if stmt.Kind == sqlast.Savepoint {
			return nil // without a transaction it is over at once
		}
		return noSavepoint(name)
	}
	at := slices.IndexFunc(s.txn.savepoints, func(n string) bool { return strings.EqualFold(n, name) })
	switch stmt.Kind {
	case sqlast.Savepoint:
		return s.setSavepoint(ctx, name, at)
	case sqlast.RollbackTo:
		if at < 0 {
			return noSavepoint(name)
		}
		return s.cutSavepoints(ctx, "ROLLBACK TO ", name, at, at+1)
	}
	if at < 0 {
		return noSavepoint(name)
	}
	return s.cutSavepoints(ctx, "RELEASE SAVEPOINT ", name, at, at)
}

func noSavepoint(name string) error {
	return mysqlproto.Error(mysql.ER_SP_DOES_NOT_EXIST, "42000", fmt.Sprintf("SAVEPOINT %s does not exist", name))
}

func (s *session) setSavepoint(ctx context.Context, name string, at int) error {
	if at >= 0 { // it is set anew, and the old one is forgotten
		s.txn.savepoints = slices.Delete(s.txn.savepoints, at, at+1)
		for _, b := range s.txn.parts {
			if b.marks > at {
				b.marks--
			}
		}
	}
	s.txn.savepoints = append(s.txn.savepoints, name)
	for _, b := range s.txn.parts {
		if err := s.join(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// cutSavepoints runs a statement about a savepoint everywhere; keep is how many are left.
func (s *session) cutSavepoints(ctx context.Context, verb, name string, at, keep int) error {
	for _, b := range s.txn.parts {
		if b.marks <= at {
			if err := s.join(ctx, b); err != nil {
				return err
			}
		}
		if _, err := b.control(ctx, verb+sqlconn.QuoteIdent(name)); err != nil {
			return s.failed(b, err, false)
		}
		b.marks = min(b.marks, keep)
	}
	s.txn.savepoints = s.txn.savepoints[:keep]
	return nil
}
