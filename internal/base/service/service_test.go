package service_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"braid/internal/base/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStopWaits(t *testing.T) {
	var g service.Group
	require.NoError(t, g.Start(t.Context()))
	ended := false
	g.Go("worker", func(ctx context.Context) error {
		<-ctx.Done()
		ended = true
		return ctx.Err()
	})
	g.Stop()
	require.True(t, ended)
	require.NoError(t, g.Err(), "being stopped is no error")
	g.Stop()
	g.Go("late", func(context.Context) error { panic("runs after Stop") })
	require.ErrorIs(t, g.Start(t.Context()), service.ErrStopped)
}

func TestStartTwice(t *testing.T) {
	var g service.Group
	require.NoError(t, g.Start(t.Context()))
	require.ErrorIs(t, g.Start(t.Context()), service.ErrStarted)
	g.Stop()
}

func TestStopWithoutStart(t *testing.T) {
	var g service.Group
	require.Error(t, g.Context().Err())
	g.Stop()
	require.ErrorIs(t, g.Start(t.Context()), service.ErrStopped)
}

func TestGoBeforeStartIsABug(t *testing.T) {
	var g service.Group
	require.Panics(t, func() { g.Go("x", func(context.Context) error { return nil }) })
}

func TestTheFirstErrorEndsAll(t *testing.T) {
	var g service.Group
	require.NoError(t, g.Start(t.Context()))
	boom := errors.New("boom")
	g.Go("other", func(ctx context.Context) error { <-ctx.Done(); return errors.New("second") })
	g.Go("failing", func(context.Context) error { return boom })
	<-g.Context().Done()
	g.Stop()
	require.ErrorIs(t, g.Err(), boom)
	require.EqualError(t, g.Err(), "failing: boom")
}

func TestTheContextIsTheLife(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var g service.Group
	require.NoError(t, g.Start(ctx))
	done := make(chan struct{})
	g.Go("worker", func(ctx context.Context) error { <-ctx.Done(); close(done); return nil })
	cancel()
	<-done
	g.Stop()
}

func TestStopsAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g service.Group
		require.NoError(t, g.Start(context.Background()))
		g.Go("slow", func(ctx context.Context) error { <-ctx.Done(); time.Sleep(time.Hour); return nil })
		begin := time.Now()
		done := make(chan struct{})
		for range 3 {
			go func() { g.Stop(); done <- struct{}{} }()
		}
		for range 3 {
			<-done
			require.Equal(t, time.Hour, time.Since(begin), "each waits for the end")
		}
	})
}
