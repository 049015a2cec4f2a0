package vstream

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/rowimage"
)

// unwaited is a session that leaves out step 2 of the window algorithm.
type unwaited struct{ *chunkReader }

func (unwaited) waitExecuted(context.Context, gtid.Set) error { return nil }

// TestReceivedIsNotVisible: on a server whose commits take their time between the log and the engine, a transaction passes on the
// stream before a SELECT sees it. With step 2 a window copies what is; without, it would bring back what was, which shows that
// the server is slow in that way, and that the test would find it.
func TestReceivedIsNotVisible(t *testing.T) {
	// sync_binlog=0 lets the log be sent when it is written, and the delay is before the sync: the engine commits after it.
	srv := mysqldtest.New(t, mysqldtest.Options{Durable: true, Options: []string{"sync_binlog=0", "binlog_group_commit_sync_delay=100000"}})
	mysqldtest.Exec(t, srv, "CREATE DATABASE d")
	s := connect(t, srv, "d")
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
	s.exec("INSERT INTO t VALUES (1, 0)")
	stale := func(wait bool) (stale int) {
		st, err := s.local().Open(t.Context(), Start{FromNow: true, Rules: filter.Rules{Rules: []filter.Rule{{Table: "t"}}}})
		require.NoError(t, err)
		defer st.Close()
		if !wait {
			inner := st.(*stream)
			enter := inner.enter
			inner.enter = func(st *stream) func() {
				leave := enter(st)
				dial := st.readers.dial
				st.readers.dial = func() readerSource { return unwaited{dial().(*chunkReader)} }
				return leave
			}
		}
		for i := range 5 {
			stale += s.windowBehind(st, uint64(i+1))
		}
		return stale
	}
	require.Zero(t, stale(true), "a window brought back an old row")
	require.NotZero(t, stale(false), "without the wait nothing was stale: this server does not show what the test is about")
}

// windowBehind updates the row, and asks for it as soon as the update has passed. It returns 1 if the chunk has the row as it was before.
func (s *server) windowBehind(st Stream, id uint64) int {
	done := make(chan error, 1)
	conn := connect(s.t, s.Server, s.db).conn
	res, err := s.conn.Query(s.t.Context(), "SELECT v + 1 FROM t")
	require.NoError(s.t, err)
	want := string(res.Rows[0][0])
	go func() {
		_, err := conn.Exec(context.WithoutCancel(s.t.Context()), fmt.Sprintf("UPDATE t SET v = %s", want))
		done <- err
	}()
	asked, latest, wrong := false, rowimage.Row(nil), 0
	for chunk := (*Chunk)(nil); chunk == nil; {
		items, err := st.Recv()
		require.NoError(s.t, err)
		for _, item := range items {
			switch it := item.(type) {
			case *Transaction:
				latest = it.Changes[0].After
				if string(latest[1]) == want && !asked {
					asked = true
					require.NoError(s.t, st.OpenWindow(WindowRequest{ID: id, Table: "t"}))
				}
			case *Chunk:
				if chunk = it; len(it.Rows) > 0 && string(it.Rows[0][1]) != want {
					wrong = 1
				}
			}
		}
	}
	require.NoError(s.t, <-done)
	return wrong
}
