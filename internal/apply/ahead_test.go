package apply

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// What no worker would look at yet is not taken, however small it is; when the workers go on, everything is applied.
func TestReadAheadIsBounded(t *testing.T) {
	const transactions = readAhead + 10*GroupTransactions
	for _, order := range []Order{Preserve, Relaxed} {
		t.Run(order.String(), func(t *testing.T) {
			b := newBed(t, Strict)
			b.change.Workers, b.change.Order = 2, order
			b.open()
			b.exec("BEGIN", "INSERT INTO t (id,v,k) VALUES (1,'x',0), (2,'x',0)")
			b.add(b.tx(ins("1 a 1 2")), b.tx(upd("1 a 1 2", "2 a 1 2"))) // both wait for the lock, or for each other
			var adding errgroup.Group
			adding.Go(func() error {
				for i := range transactions {
					if err := b.ap.Add(t.Context(), b.tx(upd(fmt.Sprintf("%d a 1 2", 2+i), fmt.Sprintf("%d a 1 2", 3+i)))); err != nil {
						return fmt.Errorf("add %d: %w", i, err)
					}
				}
				return b.ap.Drain(t.Context())
			})
			queued := func() int {
				if b.ap.Status().Queued > readAhead+4*GroupTransactions {
					t.Error("more is held than two workers and a look ahead need")
				}
				return b.ap.Status().Queued
			}
			require.Eventually(t, func() bool { return queued() >= readAhead }, 20*time.Second, 10*time.Millisecond)
			require.Never(t, func() bool { return queued() == 2+transactions }, 200*time.Millisecond, 10*time.Millisecond)
			b.exec("ROLLBACK")
			require.NoError(t, adding.Wait())
			require.Equal(t, fmt.Sprint(2+transactions), b.one("SELECT GROUP_CONCAT(id) FROM t"))
		})
	}
}
