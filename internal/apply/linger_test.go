package apply

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/gtid"
)

// While transactions may linger, few come together in one commit; who waits for them does not wait longer, and neither does a chunk.
func TestLinger(t *testing.T) {
	const linger = 50 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		w := newSimWorld(rand.New(rand.NewPCG(2, 1)), 60)
		target := newSimTarget(w, rand.New(rand.NewPCG(2, 2)), Upsert)
		a := target.applier(Config{
			Workers: 3, Order: Relaxed, Linger: linger,
		}, gtid.Set{})
		defer a.Close()
		def := simDef(true)
		table, err := NewTable(def, def, nil)
		require.NoError(t, err)
		table.Mode = Upsert
		a.SetTable(1, table)
		next := 0
		add := func(n int) {
			for range n {
				a.Skip(w.skips[next])
				require.NoError(t, a.Add(t.Context(), w.txs[next]))
				next++
			}
		}
		empty := func() time.Duration {
			began := time.Now()
			for a.Pending() {
				require.Less(t, time.Since(began), time.Minute)
				time.Sleep(time.Millisecond)
			}
			return time.Since(began)
		}
		require.Less(t, (func() time.Duration {
			add(1)
			began := time.Now()
			require.NoError(t, a.Drain(t.Context()))
			return time.Since(began)
		})(), linger)

		groups := a.Status().Groups
		for range 20 {
			add(1)
			time.Sleep(time.Millisecond)
		}
		require.Equal(t, groups, a.Status().Groups)
		took := empty()
		require.Greater(t, took, linger/4)
		require.Less(t, took, 3*linger)
		require.LessOrEqual(t, a.Status().Groups-groups, int64(4))

		add(1)
		require.NoError(t, a.Chunk(t.Context(), Chunk{Save: []string{"chunk"}}))
		require.Less(t, empty(), linger)

		add(1)
		a.SetLinger(0)
		require.Less(t, empty(), linger)
		add(len(w.txs) - next)
		require.Less(t, empty(), time.Minute)
		require.Empty(t, target.broken)
		require.Equal(t, w.states[len(w.txs)], textOf(target.rows))
	})
}
