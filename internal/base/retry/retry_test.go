package retry_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"braid/internal/base/retry"
)

var boom = errors.New("boom")

func TestPauseStaysUnderTheCap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := retry.Policy{
			Min: time.Duration(rapid.Int64Range(1, int64(time.Minute)).Draw(t, "min")),
			Max: time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "max")),
		}
		n := rapid.IntRange(0, 1000).Draw(t, "n")
		d := p.Pause(n)
		if d <= 0 || d > p.Max {
			t.Fatalf("pause %s of %+v", d, p)
		}
		if n < 20 && d > p.Min<<n {
			t.Fatalf("pause %d is %s, more than doubled %d times from %s", n, d, n, p.Min)
		}
	})
}

func TestPauseHasFullJitter(t *testing.T) {
	p := retry.Policy{Min: time.Second, Max: time.Second}
	low, high := 0, 0
	for range 1000 {
		if d := p.Pause(5); d < 100*time.Millisecond {
			low++
		} else if d > 900*time.Millisecond {
			high++
		}
	}
	require.Positive(t, low)
	require.Positive(t, high)
}

func TestDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		err := retry.Do(context.Background(), retry.Default, func(context.Context) error {
			if calls++; calls < 5 {
				return boom
			}
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, 5, calls)
	})
}

func TestDoEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		fail := func(context.Context) error { calls++; return boom }
		err := retry.Do(context.Background(), retry.Policy{Min: time.Second, Max: time.Minute, Attempts: 3}, fail)
		require.ErrorIs(t, err, boom)
		require.EqualError(t, err, "3 attempts: boom")
		require.Equal(t, 3, calls)

		err = retry.Do(context.Background(), retry.Default, func(context.Context) error { return retry.Permanent(boom) })
		require.Equal(t, boom, err)
		require.NoError(t, retry.Permanent(nil))

		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		begin := time.Now()
		err = retry.Do(ctx, retry.Default, fail)
		require.ErrorIs(t, err, boom, "the reason is told")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(begin))
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		b := retry.Backoff{Policy: retry.Policy{Min: time.Second, Max: time.Hour, Attempts: 12}}
		require.True(t, b.Wait(context.Background()))
		require.Zero(t, time.Since(begin), "the first attempt waits for nothing")
		attempts := 1
		for b.Wait(context.Background()) {
			attempts++
		}
		require.Equal(t, 12, attempts)

		b = retry.Backoff{Policy: retry.Policy{Min: time.Second, Max: time.Hour}}
		for range 10 {
			b.Wait(context.Background())
		}
		b.Reset()
		begin = time.Now()
		require.True(t, b.Wait(context.Background()))
		require.LessOrEqual(t, time.Since(begin), time.Second)

		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		var zero retry.Backoff
		require.False(t, zero.Wait(ctx))
	})
}
