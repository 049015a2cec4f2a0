package topotest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/topo"
)

func next(t *testing.T, ch <-chan topo.Change) topo.Change {
	t.Helper()
	select {
	case c, ok := <-ch:
		require.True(t, ok, "the watch ended")
		return c
	case <-time.After(patience):
		t.Fatal("no change came")
		return topo.Change{}
	}
}

func testWatch(t *testing.T, h Harness) {
	ctx, s, other := within(t), h.open(t), h.open(t)
	v, err := s.Write(ctx, "w/a", []byte("1"), 0)
	require.NoError(t, err)
	_, err = s.Write(ctx, "x", []byte("1"), 0)
	require.NoError(t, err)

	wctx, cancel := context.WithCancel(ctx)
	ch, err := s.Watch(wctx, "w/")
	require.NoError(t, err)
	require.Equal(t, topo.Change{Key: "w/a", Value: []byte("1"), Version: v}, next(t, ch))
	require.Empty(t, next(t, ch).Key, "the mark")

	_, err = other.Write(ctx, "x", []byte("2"), -1) // is below another prefix
	require.NoError(t, err)
	v, err = other.Write(ctx, "w/b", nil, 0)
	require.NoError(t, err)
	require.Equal(t, topo.Change{Key: "w/b", Value: []byte{}, Version: v}, next(t, ch), "an empty value is not a deletion")
	require.NoError(t, other.Delete(ctx, "w/a", -1))
	c := next(t, ch)
	require.Equal(t, "w/a", c.Key)
	require.Nil(t, c.Value)
	require.Greater(t, c.Version, v)

	cancel()
	for range ch { //nolint:revive // until it is closed
	}
}

func testWatchOrder(t *testing.T, h Harness) {
	const n = 60
	ctx, s, other := within(t), h.open(t), h.open(t)
	ch, err := s.Watch(ctx, "o/")
	require.NoError(t, err)
	require.Empty(t, next(t, ch).Key)
	for i := range n {
		_, err := other.WriteAll(ctx, []topo.KeyWrite{
			{Key: fmt.Sprintf("o/%d", i%7), Value: []byte(fmt.Sprint(i)), Version: -1},
			{Key: "o/last", Value: []byte(fmt.Sprint(i)), Version: -1},
		})
		require.NoError(t, err)
	}
	var version int64
	for i := range n {
		a, b := next(t, ch), next(t, ch)
		require.Equal(t, fmt.Sprint(i), string(a.Value))
		require.Equal(t, fmt.Sprint(i), string(b.Value))
		require.Equal(t, a.Version, b.Version, "one transaction, one version")
		require.Greater(t, a.Version, version)
		version = a.Version
	}
}

func testCutWatch(t *testing.T, h Harness) {
	ctx, s := within(t), h.open(t)
	for _, key := range []string{"w/gone", "w/kept", "w/changed"} {
		_, err := s.Write(ctx, key, []byte("1"), 0)
		require.NoError(t, err)
	}
	ch, err := s.Watch(ctx, "w/")
	require.NoError(t, err)
	for next(t, ch).Key != "" {
	}
	h.Cut()
	h.Heal()
	writer := h.open(t)
	require.NoError(t, writer.Delete(ctx, "w/gone", -1))
	_, err = writer.Write(ctx, "w/changed", []byte("2"), -1)
	require.NoError(t, err)
	_, err = writer.Write(ctx, "w/end", []byte("1"), 0)
	require.NoError(t, err)

	// Whether it resumes or sends everything again: applied in order, the changes lead to the state.
	state := map[string]string{"w/gone": "1", "w/kept": "1", "w/changed": "1"}
	for state["w/end"] == "" {
		c := next(t, ch)
		if state[c.Key] = string(c.Value); c.Value == nil {
			delete(state, c.Key)
		}
	}
	require.Equal(t, map[string]string{"w/kept": "1", "w/changed": "2", "w/end": "1"}, state)
}

func testCutCache(t *testing.T, h Harness) {
	ctx, tp := within(t), topo.New(h.open(t))
	require.NoError(t, tp.CreateKeyspace(ctx, "ks"))
	require.NoError(t, tp.CreateShard(ctx, "ks", "0"))
	c := topo.NewCache(tp)
	require.NoError(t, c.Start(ctx))
	defer c.Stop()
	r := c.Routing()
	require.Equal(t, uint64(1), r.Epoch)

	h.Cut()
	require.ErrorIs(t, c.Refresh(ctx), topo.ErrUnreachable)
	require.Same(t, r, c.Routing())
	h.Heal()
	other := topo.New(h.open(t))
	written, err := other.UpdateRouting(ctx, func(r *topo.Routing) error {
		r.Tables["ks.t"] = topo.TableRouting{topo.Primary: "other"}
		return nil
	})
	require.NoError(t, err)
	for changed := c.Changed(); c.Routing().Epoch < written.Epoch; changed = c.Changed() { // by the watch alone
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatal("the cache did not come back")
		}
	}
	require.Equal(t, written.Epoch, c.Routing().Epoch)
}
