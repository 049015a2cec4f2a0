package storm_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"braid/internal/mysqld/mysqldtest"
	"braid/test/storm"
)

// A witness finds nothing on the server that it writes to, and finds each kind of state that never was.
func TestWitness(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	w := storm.NewWitness(srv.Root())
	require.NoError(t, w.Setup(t.Context()))
	ctx, stop := context.WithCancel(t.Context())
	var writers errgroup.Group
	for i := range w.Sessions() {
		writers.Go(func() error { return w.Write(ctx, i) })
	}
	conn := mysqldtest.Dial(t, srv.Root())
	for w.Progress() < 100 {
		wrong, err := w.Check(t.Context(), conn)
		require.NoError(t, err)
		require.Empty(t, wrong)
	}
	stop()
	require.NoError(t, writers.Wait())
	for _, c := range []struct{ sql, undo string }{
		{"UPDATE storm_witness.counter_1 SET n = n + 1 WHERE id = 3", "UPDATE storm_witness.counter_1 SET n = n - 1 WHERE id = 3"},
		{"UPDATE storm_witness.counter_0 c, storm_witness.counter_1 d SET c.n = 0, d.n = 0 WHERE c.id = 2 AND d.id = 2", ""},
		{"DELETE FROM storm_witness.log_0 WHERE session = 1 AND n > 1", ""},
		{"DELETE FROM storm_witness.log_1 WHERE session = 0 AND n = 2", "INSERT INTO storm_witness.log_1 VALUES (0, 2)"},
	} {
		mysqldtest.Exec(t, srv, c.sql)
		wrong, err := w.Check(t.Context(), conn)
		require.NoError(t, err)
		require.NotEmpty(t, wrong, c.sql)
		if c.undo != "" {
			mysqldtest.Exec(t, srv, c.undo)
		}
	}
}
