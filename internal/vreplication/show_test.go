package vreplication

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
)

// Some session runs a statement in bytes that are no characters: the streams are shown all the same.
func TestShowWhileAStatementIsBinary(t *testing.T) {
	w := newWorld(t, nil, source1)
	src := w.sources["src/0"]
	bothTables(w, "src/0")
	fill(src, 100)
	w.create(w.spec("src/0", rule("item")))
	w.await(Running)
	src.exec("UPDATE item SET qty=3 WHERE id<10")
	w.catchUp()
	locked, waiter := mysqldtest.Dial(t, w.target.Root()), mysqldtest.Dial(t, w.target.Root())
	_, err := locked.Exec(t.Context(), "DO GET_LOCK('"+w.target.db+"', 0)")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := waiter.Exec(t.Context(), "DO GET_LOCK('"+w.target.db+"', 60), _binary'\xf0\x9f\x98\x80'")
		done <- err
	}()
	require.Eventually(t, func() bool { return len(sessionsThat(t, w.target, "User lock")) > 0 }, time.Minute, 10*time.Millisecond)
	views, err := Show(t.Context(), w.target.conn, "w")
	require.NoError(t, err)
	i := len(views) - 1 // the server may have streams of other tests
	require.NotEmpty(t, views[i].Lanes)
	require.Equal(t, "Sleep", views[i].Lanes[0].Command)
	_, err = locked.Exec(t.Context(), "DO RELEASE_LOCK('"+w.target.db+"')")
	require.NoError(t, err)
	require.NoError(t, <-done)
}

// sessionsThat are the sessions in a state.
func sessionsThat(t *testing.T, s *side, state string) (ids []string) {
	res, err := s.conn.Query(t.Context(), "SHOW PROCESSLIST")
	require.NoError(t, err)
	for _, c := range res.Rows {
		if string(c[6]) == state {
			ids = append(ids, string(c[0]))
		}
	}
	return ids
}
