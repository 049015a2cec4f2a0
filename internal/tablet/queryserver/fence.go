package queryserver

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/mysqlproto"
	"braid/internal/sqlconn"
	"braid/internal/topo"
)

// AwaitFence returns when no write that the fences of the routing of this epoch, or a later one, refuse is under way or can
// come again (F1). Transactions that have written get until the drain time; those still open then are killed and counted.
func (s *Server) AwaitFence(ctx context.Context, epoch uint64, drain time.Duration) (killed int, err error) {
	if epoch == 0 {
		return 0, errs.New(errs.BadInput, nil, "a fence is awaited by the epoch that set it")
	}
	if s.epoch() < epoch {
		if err := s.deps.Routing.Refresh(ctx); err != nil {
			return 0, fmt.Errorf("read routing: %w", err)
		}
		if e := s.epoch(); e < epoch {
			return 0, fmt.Errorf("the topology has routing epoch %d, not yet %d", e, epoch)
		}
	}
	killed, err = s.drain(ctx, drain)
	if err != nil {
		return 0, err
	}
	if err := s.clear(ctx); err != nil {
		return killed, fmt.Errorf("sessions that nobody holds: %w", err)
	}
	return killed, nil
}

func (s *Server) epoch() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current().Epoch
}

// drain waits until nothing blocks, and marks as killed what still blocks when the time is over.
func (s *Server) drain(ctx context.Context, limit time.Duration) (int, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		blockers, changed := s.blockers()
		if blockers == 0 {
			return 0, nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return s.killBlockers(), nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (s *Server) blockers() (int, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	r := s.current()
	for _, sess := range s.mu.sessions {
		if sess.work.blocks(s, r) {
			n++
		}
	}
	return n, s.wait()
}

// killBlockers disowns their mysqld sessions: clear then ends them as it ends all that nobody holds.
func (s *Server) killBlockers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	r := s.current()
	for _, sess := range s.mu.sessions {
		if sess.work.blocks(s, r) {
			sess.work = work{killed: true}
			sess.thread = 0
			n++
		}
	}
	return n
}

// clear ends every mysqld session of the applications' account that no session here holds, and waits until mysqld has rolled
// it back.
func (s *Server) clear(ctx context.Context) error {
	conn, err := sqlconn.Dial(ctx, s.cfg.Backend)
	if err != nil {
		return err
	}
	defer conn.Close()
	asked := map[uint32]bool{}
	for {
		threads, err := s.threads(ctx, conn)
		if err != nil {
			return err
		}
		strangers, err := s.strangers(ctx, threads)
		if err != nil || len(strangers) == 0 {
			return err
		}
		for _, id := range strangers {
			if asked[id] {
				continue
			}
			asked[id] = true
			s.log.Info("ending a mysqld session that nobody holds", "thread", id)
			if _, err := conn.Exec(ctx, fmt.Sprintf("KILL %d", id)); err != nil && sqlconn.ErrCode(err) != mysql.ER_NO_SUCH_THREAD {
				return fmt.Errorf("kill %d: %w", id, err)
			}
		}
		// mysqld tells nobody when a killed session has ended.
		select {
		case <-time.After(killPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// killPoll is how often the process list is looked at while killed sessions roll back.
const killPoll = 2 * time.Millisecond

// threads lists the mysqld sessions of the account in this keyspace's database, without the one that asks.
func (s *Server) threads(ctx context.Context, conn *sqlconn.Conn) ([]uint32, error) {
	res, err := conn.Query(ctx, "SHOW PROCESSLIST")
	if err != nil {
		return nil, fmt.Errorf("process list: %w", err)
	}
	var ids []uint32
	for _, row := range res.Rows {
		id, err := strconv.ParseUint(string(row[0]), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("process list: %w", err)
		}
		if string(row[1]) == s.cfg.Backend.User && string(row[3]) == s.cfg.Keyspace && uint32(id) != conn.ID() {
			ids = append(ids, uint32(id))
		}
	}
	return ids, nil
}

// strangers are the threads that no session holds. Sessions that were connecting when the list was made are waited for.
func (s *Server) strangers(ctx context.Context, threads []uint32) ([]uint32, error) {
	waiting := s.connecting(nil)
	for len(waiting) > 0 {
		s.mu.Lock()
		changed := s.wait()
		s.mu.Unlock()
		if waiting = s.connecting(waiting); len(waiting) == 0 {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	held := map[uint32]bool{}
	for _, sess := range s.mu.sessions {
		held[sess.thread] = true
	}
	var out []uint32
	for _, id := range threads {
		if !held[id] {
			out = append(out, id)
		}
	}
	return out, nil
}

// connecting returns the sessions that are connecting to mysqld; those of among if it is given.
func (s *Server) connecting(among []*session) []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if among == nil {
		for _, sess := range s.mu.sessions {
			among = append(among, sess)
		}
	}
	var out []*session
	for _, sess := range among {
		if sess.dialing {
			out = append(out, sess)
		}
	}
	return out
}

// kill is KILL [CONNECTION | QUERY] of another session of this tablet, by the number that its gate was greeted with.
func (s *session) kill(ctx context.Context, args string) error {
	words := strings.Fields(strings.ToUpper(args))
	if len(words) == 0 {
		return s.conn.WriteError(mysqlproto.Error(mysql.ER_PARSE_ERROR, "42000", "KILL of what?"))
	}
	id, err := strconv.ParseUint(words[len(words)-1], 10, 32)
	thread := s.srv.threadOf(uint32(id))
	if err != nil || thread == 0 {
		return s.conn.WriteError(mysqlproto.Error(mysql.ER_NO_SUCH_THREAD, "HY000", "Unknown thread id: "+words[len(words)-1]))
	}
	kctx, cancel := context.WithTimeout(ctx, timeouts.Dial)
	defer cancel()
	conn, err := sqlconn.Dial(kctx, s.srv.cfg.Backend)
	if err != nil {
		return s.conn.WriteError(mysqlproto.AsError(err))
	}
	defer conn.Close()
	what := "CONNECTION"
	if words[0] == "QUERY" {
		what = "QUERY"
	}
	if _, err := conn.Exec(kctx, fmt.Sprintf("KILL %s %d", what, thread)); err != nil {
		return s.conn.WriteError(mysqlproto.AsError(err))
	}
	return s.conn.WriteOK(mysqlproto.OK{})
}

func (s *Server) threadOf(conn uint32) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sess := s.mu.sessions[conn]; sess != nil {
		return sess.thread
	}
	return 0
}

var _ Routing = (*topo.Cache)(nil)
