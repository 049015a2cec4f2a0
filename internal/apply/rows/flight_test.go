package rows

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// flightRows is enough for several parts.
const flightRows = 40_000

// flights is a site with two tables, the changes of a large transaction in the first, and a target for each writer.
func flights(t *testing.T) (s *site, fragments []*vstream.Transaction, targets []*target) {
	s = newSite(t)
	s.exec("SET cte_max_recursion_depth=1000000", "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(100))",
		fmt.Sprintf("INSERT INTO t WITH RECURSIVE n AS (SELECT 0 i UNION ALL SELECT i+1 FROM n WHERE i<%d) SELECT i, REPEAT('x',100) FROM n", flightRows-1),
		"CREATE TABLE other (id INT PRIMARY KEY, v VARCHAR(100))")
	all := []way{{mode: Strict}, {sql: true, mode: Strict}}
	for range all {
		s.copyOf()
	}
	items := s.record(func() { s.exec("UPDATE t SET v=CONCAT(id,v) ORDER BY id") })
	for i, w := range all {
		to := s.open(t, fmt.Sprintf("%s_%d", s.db[:min(len(s.db), 50)], i+1), w)
		for _, item := range items {
			if def, ok := item.(*vstream.Table); ok {
				to.bind(def)
			}
		}
		targets = append(targets, to)
	}
	for _, item := range items {
		if tx, ok := item.(*vstream.Transaction); ok {
			fragments = append(fragments, tx)
		}
	}
	require.Greater(t, len(fragments), 4)
	return s, fragments, targets
}

// add adds fragments until one cannot be added.
func (t *target) add(fragments []*vstream.Transaction) error {
	for _, tx := range fragments {
		if err := t.session.Add(t.t.Context(), t.tables.View(), tx); err != nil {
			return err
		}
	}
	return nil
}

// commit adds fragments and commits them.
func (t *target) commit(fragments []*vstream.Transaction) error {
	if err := t.add(fragments); err != nil {
		return err
	}
	return t.session.Commit(t.t.Context(), "DO 1")
}

func (t *target) sum() string { return t.cells("CHECKSUM TABLE " + t.db + ".t") }

// TestFlightLock: a part that waits for a lock too long ends the transaction, though the parts behind it are rendered; nothing stays, and
// when it is added again all of it is there.
func TestFlightLock(t *testing.T) {
	s, fragments, targets := flights(t)
	for _, to := range targets {
		before := to.sum()
		other := mysqldtest.Dial(t, s.srv.Root().WithDB(to.db))
		for _, sql := range []string{"BEGIN", fmt.Sprintf("UPDATE t SET v='' WHERE id=%d", flightRows/2)} {
			_, err := other.Exec(t.Context(), sql)
			require.NoError(t, err)
		}
		err := to.commit(fragments)
		require.True(t, Retryable(err), err)
		require.EqualValues(t, 1205, sqlconn.ErrCode(err))
		require.NoError(t, to.session.Rollback(t.Context()))
		_, err = other.Exec(t.Context(), "ROLLBACK")
		require.NoError(t, err)
		require.Equal(t, before, to.sum())
		require.NoError(t, to.commit(fragments))
		to.equal()
	}
}

// TestFlightDeadlock: the server rolls the whole transaction back in the middle of a part. What comes behind must not be executed, because it
// would be a transaction of its own.
func TestFlightDeadlock(t *testing.T) {
	s, fragments, targets := flights(t)
	for _, to := range targets {
		before := to.sum()
		other := mysqldtest.Dial(t, s.srv.Root().WithDB(to.db))
		exec := func(sql string) error {
			_, err := other.Exec(t.Context(), sql)
			return err
		}
		// The server takes the one that has changed less.
		require.NoError(t, exec("SET SESSION innodb_lock_wait_timeout=50"))
		require.NoError(t, exec("BEGIN"))
		require.NoError(t, exec("INSERT INTO other SELECT * FROM "+s.db+".t"))
		require.NoError(t, exec("INSERT INTO other SELECT id+1000000, v FROM "+s.db+".t"))
		require.NoError(t, exec(fmt.Sprintf("UPDATE t SET v='' WHERE id=%d", flightRows-1)))

		require.NoError(t, to.add(fragments[:2]))
		waits := make(chan error, 1)
		go func() { waits <- exec("UPDATE t SET v='' WHERE id=0") }()
		s.waiting(other)
		err := to.commit(fragments[2:])
		require.EqualValues(t, 1213, sqlconn.ErrCode(err), err)
		require.NoError(t, <-waits)
		require.NoError(t, to.session.Rollback(t.Context()))
		require.NoError(t, exec("ROLLBACK"))
		require.Equal(t, before, to.sum())
		require.NoError(t, to.commit(fragments))
		to.equal()
	}
}

// waiting returns when a session waits for a lock. INNODB_TRX shows nothing new to whoever looks more often than every 100 ms.
func (s *site) waiting(conn *sqlconn.Conn) {
	s.t.Helper()
	for s.cells(fmt.Sprintf("SELECT COUNT(*) FROM information_schema.INNODB_TRX WHERE trx_mysql_thread_id=%d AND trx_state='LOCK WAIT'", conn.ID())) != "\"1\"\n" {
		require.NoError(s.t, s.t.Context().Err())
		time.Sleep(150 * time.Millisecond)
	}
}

// TestFlightKilled: the session is killed while a part is on its way. The connection is lost, whoever uses it next is told so, and nothing stays.
func TestFlightKilled(t *testing.T) {
	s, fragments, targets := flights(t)
	for _, to := range targets {
		before := to.sum()
		require.NoError(t, to.add(fragments[:2]))
		s.exec(fmt.Sprintf("KILL %d", to.session.Conn().ID()))
		err := to.commit(fragments[2:])
		require.ErrorIs(t, err, sqlconn.ErrLost)
		require.ErrorIs(t, to.session.Rollback(t.Context()), sqlconn.ErrLost)
		require.Equal(t, before, to.sum())
	}
}
