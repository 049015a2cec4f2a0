package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Service is a part with goroutines. Start returns when the part is usable; ctx is its life, not the bound of its start.
// Stop ends it and waits until its last goroutine has ended; stopping twice, at the same time, or without a start is fine.
type Service interface {
	Start(ctx context.Context) error
	Stop()
}

// Errors of a service's life.
var (
	ErrStarted = errors.New("started already")
	ErrStopped = errors.New("stopped")
)

// Group owns the goroutines of one service. The zero value is ready. It must not be copied.
type Group struct {
	wg sync.WaitGroup
	mu struct {
		sync.Mutex
		ctx     context.Context
		cancel  context.CancelFunc
		stopped bool
		err     error
	}
}

// Start begins the life of the group. Starting twice is ErrStarted, after Stop it is ErrStopped.
func (g *Group) Start(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.mu.stopped:
		return ErrStopped
	case g.mu.ctx != nil:
		return ErrStarted
	}
	g.mu.ctx, g.mu.cancel = context.WithCancel(ctx)
	return nil
}

// Go runs fn in a goroutine of the group; name stands before its error. After Stop it does nothing. It panics before
// Start: there is no life to run in. An error that is only the end of the group's context is none.
func (g *Group) Go(name string, fn func(ctx context.Context) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.stopped {
		return
	}
	if g.mu.ctx == nil {
		panic("service: Go before Start")
	}
	ctx := g.mu.ctx
	g.wg.Go(func() {
		if err := fn(ctx); err != nil && !(ctx.Err() != nil && errors.Is(err, ctx.Err())) {
			g.fail(fmt.Errorf("%s: %w", name, err))
		}
	})
}

func (g *Group) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.err == nil {
		g.mu.err = err
	}
	g.mu.cancel()
}

// Context ends with the group. Before Start it is one that has ended.
func (g *Group) Context() context.Context {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.ctx == nil {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		return ctx
	}
	return g.mu.ctx
}

// Stop ends the goroutines and waits for them. It must not be called by one of them.
func (g *Group) Stop() {
	g.mu.Lock()
	g.mu.stopped = true
	if g.mu.cancel != nil {
		g.mu.cancel()
	}
	g.mu.Unlock()
	g.wg.Wait()
}

// Err is the error that ended the group, nil while it runs and when it was stopped.
func (g *Group) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.err
}
