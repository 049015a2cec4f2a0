package sqlconn_test

import (
	"context"
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

// TestSendBatch: between its two halves a batch keeps every other call off, and answers that nobody can read any more end the session.
func TestSendBatch(t *testing.T) {
	conn := session(t)
	require.NoError(t, conn.SendBatch(t.Context(), []byte("DO 1;DO 2")))
	_, err := conn.Exec(t.Context(), "DO 3")
	require.ErrorContains(t, err, "were not read yet")
	require.ErrorContains(t, conn.SendBatch(t.Context(), []byte("DO 3")), "were not read yet")
	counts, err := conn.ReadBatch(t.Context(), 2, nil)
	require.NoError(t, err)
	require.Equal(t, []uint64{0, 0}, counts)
	query(t, conn, "SELECT 1")

	require.NoError(t, conn.SendBatch(t.Context(), []byte("DO SLEEP(60)")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = conn.ReadBatch(ctx, 1, nil)
	require.ErrorIs(t, err, sqlconn.ErrLost)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, conn.Ping(t.Context()), sqlconn.ErrLost)
}
