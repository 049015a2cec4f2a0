package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"braid/internal/base/timeouts"
)

// deaths is how often a process may die within timeouts.DeathWindow before the supervisor gives up.
const deaths = 5

// supervised is a child under supervision. Its goroutine owns the unit's starts after the first.
type supervised struct {
	s     *Supervisor
	child Child
	unit  unit
	ended chan struct{} // closed when the goroutine has let go of the unit
}

// startChild starts a child for the first time and puts it under supervision.
func (s *Supervisor) startChild(ctx context.Context, c Child, u unit) error {
	if err := ctx.Err(); err != nil { // another one of the stage failed while this one waited for its turn
		return context.Cause(ctx)
	}
	if err := u.Start(ctx); err != nil {
		return fmt.Errorf("start %s: %w", c.Name, err)
	}
	sc := &supervised{s: s, child: c, unit: u, ended: make(chan struct{})}
	s.mu.Lock()
	last := len(s.mu.stages) - 1
	s.mu.stages[last] = append(s.mu.stages[last], sc)
	s.mu.Unlock()
	s.wg.Go(sc.watch)
	if err := sc.writePid(); err != nil {
		return err
	}
	s.say(fmt.Sprintf("%s is ready (pid %d)", c.Name, u.Pid()))
	return nil
}

// watch starts the child again whenever it dies, until the supervisor stops.
func (c *supervised) watch() {
	defer close(c.ended)
	var died []time.Time
	for {
		select {
		case <-c.s.ctx.Done():
			return
		case <-c.unit.Done():
		}
		cause := errors.New("it died")
		for cause != nil {
			died = recent(append(died, time.Now()))
			if len(died) >= deaths {
				// Stop waits for this goroutine, so it runs in another.
				c.s.fail(fmt.Errorf("%s died %d times within %v: %w%s", c.child.Name, len(died), timeouts.DeathWindow, cause, tail(c.s.plan.LogPath(c.child.Name), 0)))
				return
			}
			c.s.say(fmt.Sprintf("%s died and is started again (%v)", c.child.Name, cause))
			if !pause(c.s.ctx, backoff(len(died))) {
				return
			}
			if cause = c.unit.Start(c.s.ctx); cause == nil {
				cause = c.writePid()
			}
			if c.s.ctx.Err() != nil {
				return
			}
		}
		c.s.say(fmt.Sprintf("%s is ready again (pid %d)", c.child.Name, c.unit.Pid()))
	}
}

// fail stops everything because of err.
func (s *Supervisor) fail(err error) {
	s.cancel(err)
	go func() { _ = s.Stop() }() // it ends with Stop, which everybody waits for through Done; err tells more than what it returns
}

// recent keeps the deaths that count.
func recent(died []time.Time) []time.Time {
	for len(died) > 0 && time.Since(died[0]) > timeouts.DeathWindow {
		died = died[1:]
	}
	return died
}

// backoff grows with the number of recent deaths: the first restart comes at once, because somebody waits for it.
func backoff(died int) time.Duration {
	if died <= 1 {
		return 0
	}
	return min(timeouts.RetryMin<<died, timeouts.RetryMax)
}

// pause waits and says whether ctx still lasts.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// end ends the child after its goroutine, which might be starting it, has let go of it.
func (c *supervised) end() error {
	<-c.ended
	ctx, cancel := context.WithTimeout(context.Background(), timeouts.MySQLStop)
	defer cancel()
	err := c.unit.Stop(ctx)
	if rm := os.Remove(c.s.plan.PidPath(c.child.Name)); rm != nil && !errors.Is(rm, os.ErrNotExist) {
		err = errors.Join(err, rm)
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w", c.child.Name, err)
	}
	return nil
}

func (c *supervised) writePid() error {
	return os.WriteFile(c.s.plan.PidPath(c.child.Name), []byte(strconv.Itoa(c.unit.Pid())+"\n"), 0o600)
}
