package vreplication

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"braid/internal/apply"
	"braid/internal/sqlconn"
)

// lockPatience is how long the session of an earlier run may need to end before it is killed. It belongs to a process that
// died without a word, or to one that was cut off.
const lockPatience = 3 * time.Second

const erNoSuchThread = 1094

// skipLane is the row for transactions that somebody wants to be counted as applied. No worker writes it.
const skipLane = -1

// guard keeps two processes from applying one stream. It is made of MySQL's named locks, which end with their session, after its last
// transaction is decided:
//
//   - the stream's lock, on the run's control session;
//   - a lock for each lane, on the worker's session that writes it;
//   - a lock for DDL, on the session that runs it;
//   - a lock of a name that no other run has, on the control session: a worker that opens its session looks whether it is still taken.
//
// A run takes the stream's lock, then looks at all lanes that have a row, and waits until their locks are free. A worker takes its lane's
// lock, makes the row, and looks last whether its control session lives: if so, whoever comes later finds the row. So when a run reads the
// position, every session that could have moved it is dead. DDL that an earlier run has begun is waited for, however long it takes: its
// server finishes it even if its client is gone.
type guard struct {
	id    int64
	alive string
}

func newGuard(id int64) guard {
	return guard{id: id, alive: fmt.Sprintf("braid_stream_%d_%016x", id, rand.Uint64())}
}

func (g guard) stream() string       { return fmt.Sprintf("braid_stream_%d", g.id) }
func (g guard) lane(lane int) string { return fmt.Sprintf("braid_stream_%d_lane_%d", g.id, lane) }
func (g guard) ddl() string          { return fmt.Sprintf("braid_stream_%d_ddl", g.id) }
func (g guard) scope() string        { return fmt.Sprintf("vrepl_id=%d", g.id) }
func lockSQL(name string) string {
	return fmt.Sprintf("SELECT GET_LOCK(%s, %d)", sqlconn.Quote(name), int(lockPatience.Seconds()))
}
func cell(res *sqlconn.Result) string { return string(res.Rows[0][0]) }

// lock takes a named lock. Who has it for too long is killed; the error then says to try again.
func (r *run) lock(ctx context.Context, conn *sqlconn.Conn, name string) error {
	res, err := conn.Query(ctx, lockSQL(name))
	if err != nil {
		return fmt.Errorf("lock %s: %w", name, err)
	}
	if cell(res) == "1" {
		return nil
	}
	session, command, err := holder(ctx, conn, name)
	switch {
	case err != nil:
		return fmt.Errorf("lock %s: %w", name, err)
	case session == "": // it has just ended
	case name == r.guard.ddl() && command == "Query":
		return errors.New("waits for DDL that an earlier run has begun")
	default:
		r.log.Warn("the session of an earlier run is killed", "lock", name, "session", session)
		if _, err = conn.Exec(ctx, "KILL "+session); err != nil && sqlconn.ErrCode(err) != erNoSuchThread {
			return fmt.Errorf("lock %s: kill the session of an earlier run: %w", name, err)
		}
	}
	return errors.New("waits for the session of an earlier run to end")
}

// holder is the session that has a lock, and what it does.
func holder(ctx context.Context, conn *sqlconn.Conn, name string) (session, command string, err error) {
	res, err := conn.Query(ctx, "SELECT IS_USED_LOCK("+sqlconn.Quote(name)+")")
	if err != nil || res.Rows[0][0] == nil {
		return "", "", err
	}
	session = cell(res)
	if res, err = conn.Query(ctx, "SHOW PROCESSLIST"); err != nil { // not information_schema.PROCESSLIST: see View.sessions
		return "", "", err
	}
	for _, c := range res.Rows { // Id, User, Host, db, Command
		if string(c[0]) == session {
			return session, string(c[4]), nil
		}
	}
	return "", "", nil
}

// outlived returns when nobody has a lock.
func (r *run) outlived(ctx context.Context, name string) error {
	if err := r.lock(ctx, r.conn, name); err != nil {
		return err
	}
	_, err := r.conn.Exec(ctx, "DO RELEASE_LOCK("+sqlconn.Quote(name)+")")
	return err
}

// takeOver makes the control session the only one that may move the stream.
func (r *run) takeOver(ctx context.Context) error {
	if err := r.lock(ctx, r.conn, r.guard.stream()); err != nil {
		return err
	}
	if err := r.lock(ctx, r.conn, r.guard.alive); err != nil {
		return err
	}
	res, err := r.conn.Query(ctx, "SELECT lane FROM _braid.lanes WHERE "+r.guard.scope())
	if err != nil {
		return fmt.Errorf("read lanes: %w", err)
	}
	for _, cells := range res.Rows {
		lane, err := strconv.Atoi(string(cells[0]))
		if err != nil {
			return fmt.Errorf("read lanes: %w", err)
		}
		if err := r.outlived(ctx, r.guard.lane(lane)); err != nil {
			return err
		}
	}
	return r.outlived(ctx, r.guard.ddl())
}

// alive is an error if the run's control session has ended. Whoever has taken a lock before can go on otherwise: who comes later waits for it.
func (r *run) alive(ctx context.Context, conn *sqlconn.Conn) error {
	res, err := conn.Query(ctx, "SELECT IS_USED_LOCK("+sqlconn.Quote(r.guard.alive)+")")
	if err != nil {
		return err
	}
	if res.Rows[0][0] == nil {
		return fmt.Errorf("the control session has ended: %w", sqlconn.ErrLost)
	}
	return nil
}

// fold writes into the stream's row what its lanes say beside it. No session of the lanes lives any more.
func (r *run) fold(ctx context.Context) error {
	if !r.row.laned {
		return nil
	}
	err := execAll(ctx, r.conn,
		fmt.Sprintf("UPDATE _braid.vreplication SET pos='%s', transactions=%d, transaction_timestamp=%d WHERE id=%d", r.row.Pos, r.row.Transactions, r.row.Timestamp, r.row.ID),
		"DELETE FROM _braid.lanes WHERE "+r.guard.scope())
	if err != nil {
		return fmt.Errorf("position of lanes: %w", err)
	}
	return nil
}

// connect opens a worker's session (apply.Config.Connect).
func (r *run) connect(ctx context.Context, lane int) (*sqlconn.Conn, error) {
	conn, err := sqlconn.Dial(ctx, r.c.e.deps.Admin.WithDB(r.c.e.cfg.DBName))
	if err != nil {
		return nil, err
	}
	if err := r.enter(ctx, conn, lane); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func (r *run) enter(ctx context.Context, conn *sqlconn.Conn, lane int) error {
	if err := apply.Session(ctx, conn); err != nil {
		return err
	}
	if err := r.lock(ctx, conn, r.guard.lane(lane)); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, fmt.Sprintf("INSERT INTO _braid.lanes (vrepl_id, lane, gtids) VALUES (%d, %d, '') ON DUPLICATE KEY UPDATE lane=lane", r.guard.id, lane))
	if err != nil {
		return fmt.Errorf("lane: %w", err)
	}
	return r.alive(ctx, conn)
}

// saveLane is the statement that goes with a worker's commit (A1). It makes the row if it is not there: a row that is missing must not be
// a position that is lost.
func (r *run) saveLane(l apply.Lane) string {
	return fmt.Sprintf("INSERT INTO _braid.lanes (vrepl_id, lane, gtids, transactions, transaction_timestamp) VALUES (%d,%d,'%s',%d,%d) "+
		"ON DUPLICATE KEY UPDATE gtids=VALUES(gtids), transactions=transactions+VALUES(transactions), transaction_timestamp=VALUES(transaction_timestamp)",
		r.row.ID, l.Lane, l.GTIDs, l.Transactions, l.CommitUS)
}

// saveBase is the statement that moves the base.
func (r *run) saveBase(b apply.Base) string {
	sql := fmt.Sprintf("UPDATE _braid.vreplication SET pos='%s', time_updated=%d", b.Position, nowUS())
	if b.CommitUS > 0 {
		sql += fmt.Sprintf(", transaction_timestamp=%d", b.CommitUS)
	}
	return sql + fmt.Sprintf(" WHERE id=%d", r.row.ID)
}
