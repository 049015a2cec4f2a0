package sqlconn_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/sqlconn"
)

func TestExecBatch(t *testing.T) {
	conn := session(t)
	query(t, conn, "CREATE TABLE t (id INT PRIMARY KEY, v INT)")
	counts, err := conn.ExecBatch(t.Context(), []byte("BEGIN;INSERT INTO t VALUES (1,1),(2,2),(3,3);UPDATE t SET v=3 WHERE id>1;DELETE FROM t WHERE id=9;COMMIT"), 5, nil)
	require.NoError(t, err)
	require.Equal(t, []uint64{0, 3, 2, 0, 0}, counts, "matched, not changed")

	counts, err = conn.ExecBatch(t.Context(), []byte("DELETE FROM t WHERE id=1;INSERT INTO t VALUES (2,2);DELETE FROM t"), 3, counts[:0])
	failed, ok := errors.AsType[*sqlconn.MultiError](err)
	require.True(t, ok, err)
	require.Equal(t, 1, failed.Index)
	require.EqualValues(t, 1062, sqlconn.ErrCode(err))
	require.Equal(t, []uint64{1}, counts)
	require.Equal(t, "\"2\"\n", text(query(t, conn, "SELECT COUNT(*) FROM t")), "nothing ran behind the error, and the session is good")

	_, err = conn.ExecBatch(t.Context(), []byte("DO 1;DO 2"), 1, nil)
	require.ErrorIs(t, err, sqlconn.ErrLost, "a wrong count must not leave answers for the next caller")
}

func TestExecBatchDoesNotAllocate(t *testing.T) {
	conn := session(t)
	sql, counts := []byte("DO 1;DO 2;DO 3"), make([]uint64, 0, 3)
	var err error
	perCall := testing.AllocsPerRun(100, func() {
		if _, failed := conn.ExecBatch(t.Context(), sql, 3, counts); failed != nil {
			err = failed
		}
	})
	require.NoError(t, err)
	require.LessOrEqual(t, perCall, 6.0, "what a call costs, whatever the number of its statements")
}
