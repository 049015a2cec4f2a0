package binlog

import (
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
)

// A stream does not begin between XA PREPARE and XA COMMIT.
func TestBeginWithoutPreparedXA(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	mysqldtest.Exec(t, srv, "CREATE DATABASE d", "CREATE TABLE d.t (id int PRIMARY KEY)")
	conn, other := mysqldtest.Dial(t, srv.Root()), mysqldtest.Dial(t, srv.Root())
	for _, sql := range []string{"XA START 'x'", "INSERT INTO d.t VALUES (1)", "XA END 'x'", "XA PREPARE 'x'"} {
		_, err := other.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	_, err := Begin(t.Context(), conn)
	require.ErrorContains(t, err, "XA RECOVER lists them")
	_, err = other.Exec(t.Context(), "XA COMMIT 'x'")
	require.NoError(t, err)
	executed, _, err := Executed(t.Context(), conn)
	require.NoError(t, err)
	begin, err := Begin(t.Context(), conn)
	require.NoError(t, err)
	require.True(t, begin.Equal(executed))
}
