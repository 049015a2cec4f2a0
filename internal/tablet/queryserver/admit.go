package queryserver

import (
	"context"
	"fmt"
	"slices"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/base/errs"
	"braid/internal/mysqlproto"
	"braid/internal/topo"
)

// work is what a session has at mysqld that a fence may have to wait for. Server.mu guards it.
type work struct {
	inTxn  bool     // as the last answer said
	begun  bool     // the open transaction has run a statement
	ends   bool     // the statement under way ends the open transaction
	wrote  bool     // the statement under way or the open transaction writes
	any    bool     // … to tables that nobody named
	tables []string // … to these
	killed bool     // by a fence
}

// blocks says whether a fence must wait for this work.
func (w *work) blocks(s *Server, r *topo.Routing) bool {
	if !w.wrote {
		return false
	}
	tables := w.tables
	if w.any {
		tables = nil
	}
	return r.CheckWrite(s.cfg.Keyspace, s.cfg.Shard, tables) != nil
}

func (w *work) note(tag mysqlproto.Tag) {
	w.wrote = true
	w.any = w.any || len(tag.Tables) == 0
	for _, t := range tag.Tables {
		if !slices.Contains(w.tables, t) {
			w.tables = append(w.tables, t)
		}
	}
}

// admit checks a statement and, when it may pass, registers what it is about to do; both in one step (F1).
func (s *Server) admit(ctx context.Context, sess *session, tag mysqlproto.Tag) error {
	if tag.Keyspace != s.cfg.Keyspace || tag.Shard != s.cfg.Shard {
		return refuse(errs.NotServing, "this tablet is of %s/%s, not of %s/%s", s.cfg.Keyspace, s.cfg.Shard, tag.Keyspace, tag.Shard)
	}
	if s.mustRefresh(sess, tag) {
		if err := s.deps.Routing.Refresh(ctx); err != nil {
			return refuse(errs.NotServing, "routing cannot be read: %v", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(sess, tag); err != nil {
		return err
	}
	w := &sess.work
	w.begun = true
	if tag.Write {
		w.note(tag)
	}
	return nil
}

// mustRefresh says whether the routing known here may be too old for the statement: the gate knows a later one, or a read
// touches what a fence holds (F4).
func (s *Server) mustRefresh(sess *session, tag mysqlproto.Tag) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sess.work.begun {
		return false
	}
	r := s.current()
	return tag.Epoch > r.Epoch || !tag.Write && s.cfg.Type() == topo.Primary && r.Fenced(s.cfg.Keyspace, s.cfg.Shard, tag.Tables) != ""
}

// check is the decision. Call it with mu held.
func (s *Server) check(sess *session, tag mysqlproto.Tag) error {
	w := &sess.work
	if w.killed {
		return errKilled()
	}
	r := s.current()
	if !w.begun {
		switch {
		case !s.mu.serving:
			return refuse(errs.NotServing, "%s/%s: %s", s.cfg.Keyspace, s.cfg.Shard, s.mu.reason)
		case tag.Epoch < r.Epoch:
			return refuse(errs.EpochOutdated, "routed by an outdated routing: epoch=%d", r.Epoch)
		case tag.Epoch > r.Epoch:
			return refuse(errs.NotServing, "routing of epoch %d is not in the topology, the latest is %d", tag.Epoch, r.Epoch)
		}
	}
	if !tag.Write {
		return nil
	}
	if t := s.cfg.Type(); t != topo.Primary {
		return mysqlproto.Error(mysql.ER_OPTION_PREVENTS_STATEMENT, "HY000", fmt.Sprintf("The tablet is a %s: it is read-only and cannot execute this statement", t))
	}
	if w.inTxn && w.blocks(s, r) {
		return nil // it is counted already, and ends with the drain at the latest
	}
	return s.checkWrite(r, tag)
}

func (s *Server) checkWrite(r *topo.Routing, tag mysqlproto.Tag) error {
	err := r.CheckWrite(s.cfg.Keyspace, s.cfg.Shard, tag.Tables)
	switch {
	case err == nil:
		return nil
	case r.Fenced(s.cfg.Keyspace, s.cfg.Shard, tag.Tables) != "":
		return refuse(errs.Fenced, "%v (epoch=%d)", err, r.Epoch)
	case tag.Epoch < r.Epoch:
		return refuse(errs.EpochOutdated, "%v: epoch=%d", err, r.Epoch)
	}
	return mysqlproto.Error(mysql.ER_OPTION_PREVENTS_STATEMENT, "HY000", err.Error())
}

// control registers a statement that controls the session; ends says that it ends the open transaction, or begins another.
func (s *Server) control(sess *session, ends bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sess.work.killed {
		return errKilled()
	}
	sess.work.ends = ends
	return nil
}

// finish takes note of an answer: inTxn is what it said of the transaction, or what was known before if it was an error.
func (s *Server) finish(sess *session, inTxn, failed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &sess.work
	w.ends = w.ends && !failed
	switch {
	case w.killed:
		return
	case !inTxn || !w.inTxn && !w.begun || w.ends: // nothing is open, or what is open has just begun
		wrote := w.wrote
		*w = work{inTxn: inTxn}
		if wrote {
			s.wake()
		}
	default:
		w.inTxn = true
	}
}

func refuse(d *errs.Def, format string, args ...any) error {
	return mysqlproto.Error(d.MySQLErrno, d.SQLState, fmt.Sprintf(format, args...))
}

func errKilled() error {
	return mysqlproto.Error(mysql.ER_LOCK_DEADLOCK, "40001", "The transaction was rolled back: it was still open when the drain time of a cutover ended; try restarting transaction")
}
