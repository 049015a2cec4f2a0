package queryserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/base/errs"
	"braid/internal/mysqlproto"
)

// session is one gate connection and its mysqld session.
type session struct {
	srv     *Server
	conn    *mysqlproto.ServerConn
	backend *mysqlproto.Client // nil until the first statement

	// Server.mu guards these.
	work    work
	dialing bool
	thread  uint32 // mysqld's number of the session; 0 when there is none
}

// initSession makes mysqld report the GTID of each commit: gates order commits on several shards by it.
const initSession = "SET SESSION session_track_gtids=OWN_GTID"

// Handle runs one command of the gate.
func (s *session) Handle(ctx context.Context, cmd byte, payload []byte) error {
	switch cmd {
	case mysql.COM_PING:
		return s.conn.WriteOK(mysqlproto.OK{})
	case mysql.COM_QUERY:
		return s.query(ctx, payload)
	case mysql.COM_INIT_DB:
		if string(payload) != s.srv.cfg.Keyspace {
			return s.conn.WriteError(mysqlproto.Error(mysql.ER_BAD_DB_ERROR, "42000", fmt.Sprintf("Unknown database '%s'", payload)))
		}
		return s.conn.WriteOK(mysqlproto.OK{})
	case mysql.COM_RESET_CONNECTION:
		return s.reset(ctx)
	case mysql.COM_STMT_PREPARE, mysql.COM_FIELD_LIST, mysql.COM_STMT_CLOSE:
		return s.metadata(ctx, cmd, payload)
	}
	return s.conn.WriteError(mysqlproto.Error(mysql.ER_UNKNOWN_COM_ERROR, "08S01", fmt.Sprintf("Unknown command %d", cmd)))
}

func (s *session) query(ctx context.Context, payload []byte) error {
	tag, sql, tagged, err := mysqlproto.CutTag(payload)
	if err != nil {
		return s.conn.WriteError(mysqlproto.Error(mysql.ER_PARSE_ERROR, "42000", err.Error()))
	}
	if !tagged {
		return s.untagged(ctx, sql)
	}
	if err := s.connect(ctx); err != nil {
		return s.unconnected(err)
	}
	if err := s.srv.admit(ctx, s, tag); err != nil {
		return s.refused(err)
	}
	return s.relay(ctx, mysql.COM_QUERY, sql)
}

// refused tells the gate; a session that a fence killed is of no further use.
func (s *session) refused(err error) error {
	if e := mysqlproto.AsMySQL(err); e != nil && e.Code == mysql.ER_LOCK_DEADLOCK {
		return errors.Join(s.conn.WriteError(err), errors.New("killed by a fence"))
	}
	return s.conn.WriteError(err)
}

// controls are the first words of statements that need no tag.
var controls = map[string]bool{
	"BEGIN": true, "START": true, "COMMIT": true, "ROLLBACK": true, "SAVEPOINT": true, "RELEASE": true, "SET": true,
}

func (s *session) untagged(ctx context.Context, sql []byte) error {
	word, rest, _ := bytes.Cut(bytes.TrimSpace(sql), []byte(" "))
	switch keyword := strings.ToUpper(string(word)); {
	case keyword == "KILL":
		return s.kill(ctx, string(rest))
	case !controls[keyword]:
		return s.conn.WriteError(mysqlproto.Error(mysql.ER_UNKNOWN_ERROR, "HY000", "a tablet takes statements from gates only: connect to a gate"))
	}
	if err := s.connect(ctx); err != nil {
		return s.unconnected(err)
	}
	if err := s.srv.control(s, endsTransaction(strings.ToUpper(string(sql)))); err != nil {
		return s.refused(err)
	}
	return s.relay(ctx, mysql.COM_QUERY, sql)
}

func endsTransaction(sql string) bool {
	switch words := strings.Fields(sql); words[0] {
	case "BEGIN", "START", "COMMIT":
		return true
	case "ROLLBACK": // but not ROLLBACK [WORK] TO [SAVEPOINT] name
		return len(words) == 1 || words[1] != "TO" && (len(words) == 2 || words[2] != "TO")
	}
	return false
}

// relay sends a command to mysqld and its answer to the gate.
func (s *session) relay(ctx context.Context, cmd byte, payload []byte) error {
	stop := s.backend.Under(ctx)
	defer stop()
	inTxn := s.inTxn()
	if err := s.backend.Send(cmd, payload); err != nil {
		return s.lost(err)
	}
	resp, err := s.backend.Response()
	if err != nil {
		return s.lost(err)
	}
	const own = mysql.SERVER_STATUS_IN_TRANS | mysql.SERVER_STATUS_AUTOCOMMIT | mysql.SERVER_STATUS_IN_TRANS_READONLY
	resp, err = s.backend.Relay(s.conn, resp, func(ok *mysqlproto.OK) { s.conn.Status = ok.Status & own })
	if err != nil {
		return err
	}
	if resp.Err == nil {
		inTxn = resp.OK.InTransaction()
	}
	// The fence waits until the answer has left, so that what it waited for is acknowledged when it returns.
	if err := s.conn.Flush(); err != nil {
		return err
	}
	s.srv.finish(s, inTxn, resp.Err != nil)
	return nil
}

func (s *session) inTxn() bool {
	s.srv.mu.Lock()
	defer s.srv.mu.Unlock()
	return s.work.inTxn
}

// lost ends the session after mysqld has ended it. What was never sent is told as such; of anything else the gate learns
// nothing but the end of the connection, and knows that it knows nothing.
func (s *session) lost(err error) error {
	if errors.Is(err, mysqlproto.ErrNotSent) && !s.inTxn() {
		return errors.Join(s.conn.WriteError(refuse(errs.NotServing, "mysqld is gone: %v", err)), err)
	}
	return err
}

// unconnected refuses a statement for want of a mysqld session. A gate connection whose session is gone ends with it.
func (s *session) unconnected(err error) error {
	if werr := s.conn.WriteError(err); werr != nil || s.backend == nil {
		return werr
	}
	return err
}

// connect makes sure that there is a mysqld session. One that ended while nothing was open is replaced.
func (s *session) connect(ctx context.Context) error {
	if s.backend != nil && s.backend.Alive() {
		return nil
	}
	if s.backend != nil && (s.inTxn() || s.killed()) {
		return nil // the next use shows what became of it
	}
	if s.backend != nil {
		// Its settings are gone with it. The gate replays them on another connection.
		return refuse(errs.NotServing, "mysqld ended the session")
	}
	s.setThread(0, true)
	cfg := s.srv.cfg.Backend
	c, err := mysqlproto.Dial(ctx, mysqlproto.Login{
		Addr: cfg.Addr, User: cfg.User, Password: cfg.Password, DB: s.srv.cfg.Keyspace,
		FoundRows: s.conn.Has(mysql.CLIENT_FOUND_ROWS), Attributes: map[string]string{"program_name": "braid"},
	})
	if err == nil {
		err = initialize(ctx, c)
	}
	if err != nil {
		s.setThread(0, false)
		return refuse(errs.NotServing, "mysqld: %v", err)
	}
	s.backend = c
	s.setThread(c.ID, false)
	return nil
}

func initialize(ctx context.Context, c *mysqlproto.Client) error {
	resp, err := c.Exec(ctx, initSession)
	if err == nil && resp.Err != nil {
		err = resp.Err
	}
	if err != nil {
		c.Abort()
		return fmt.Errorf("%s: %w", initSession, err)
	}
	return nil
}

func (s *session) setThread(id uint32, dialing bool) {
	s.srv.mu.Lock()
	defer s.srv.mu.Unlock()
	s.thread, s.dialing = id, dialing
	s.srv.wake()
}

func (s *session) killed() bool {
	s.srv.mu.Lock()
	defer s.srv.mu.Unlock()
	return s.work.killed
}

// reset makes the session as new: whatever was open is rolled back.
func (s *session) reset(ctx context.Context) error {
	if s.backend == nil {
		return s.conn.WriteOK(mysqlproto.OK{})
	}
	if err := s.srv.control(s, true); err != nil {
		return s.refused(err)
	}
	if err := s.relay(ctx, mysql.COM_RESET_CONNECTION, nil); err != nil {
		return err
	}
	return initialize(ctx, s.backend)
}

// metadata relays what describes and never runs anything.
func (s *session) metadata(ctx context.Context, cmd byte, payload []byte) error {
	if err := s.connect(ctx); err != nil {
		if cmd == mysql.COM_STMT_CLOSE {
			return nil
		}
		return s.unconnected(err)
	}
	stop := s.backend.Under(ctx)
	defer stop()
	if err := s.backend.Send(cmd, payload); err != nil {
		return s.lost(err)
	}
	switch cmd {
	case mysql.COM_STMT_PREPARE:
		return s.backend.RelayPrepare(s.conn)
	case mysql.COM_FIELD_LIST:
		return s.backend.RelayFieldList(s.conn)
	}
	return nil // COM_STMT_CLOSE has no answer
}

// Close ends the mysqld session. Whatever it runs goes on there until mysqld notices; AwaitFence finds it by the process list.
func (s *session) Close() {
	if s.backend != nil {
		s.backend.Close()
	}
	s.srv.mu.Lock()
	defer s.srv.mu.Unlock()
	delete(s.srv.mu.sessions, s.conn.ID)
	s.srv.wake()
}
