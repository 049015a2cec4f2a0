package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"braid/internal/base/fault"
	"braid/internal/base/timeouts"
	"braid/internal/mysqld"
	"braid/internal/process"
)

// unit is a process that can be started again and again. mysqld.Server is one.
type unit interface {
	// Start returns when the process is ready; if it fails or ctx ends, no process is left.
	Start(ctx context.Context) error
	// Stop ends it cleanly if it can, else by force; no process is left.
	Stop(ctx context.Context) error
	Done() <-chan struct{} // of the latest start
	Pid() int
}

var _ unit = (*mysqld.Server)(nil)

// daemon is a process of ours.
type daemon struct {
	child Child
	spec  process.Spec
	ready func(context.Context, Child) error

	mu struct {
		sync.Mutex
		proc   *process.Process
		starts int
	}
}

func (d *daemon) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeouts.DaemonStart, fmt.Errorf("not ready within %v", timeouts.DaemonStart))
	defer cancel()
	d.mu.Lock()
	spec := d.spec
	if d.mu.starts > 0 { // a fault that killed a process must not kill its successor
		spec.Env = append(slices.Clone(spec.Env), fault.Env+"=")
	}
	d.mu.starts++
	logFrom := process.Size(spec.Log)
	proc, err := process.Start(spec)
	if err == nil {
		d.mu.proc = proc
	}
	d.mu.Unlock()
	if err != nil {
		return err
	}
	if err := d.waitReady(ctx, proc, logFrom); err != nil {
		proc.Kill()
		return err
	}
	return nil
}

// waitReady asks until the process is ready, at short intervals.
func (d *daemon) waitReady(ctx context.Context, proc *process.Process, logFrom int64) error {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		err := d.ready(ctx, d.child)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-proc.Done():
			if err = proc.Err(); err == nil {
				err = errors.New("it ended by itself")
			}
			return fmt.Errorf("%w%s", err, tail(d.spec.Log, logFrom))
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)%s", context.Cause(ctx), err, tail(d.spec.Log, logFrom))
		}
	}
}

func (d *daemon) Stop(ctx context.Context) error {
	p := d.process()
	if p == nil {
		return nil
	}
	return p.Stop(ctx, timeouts.Shutdown)
}

func (d *daemon) Done() <-chan struct{} { return d.process().Done() }

func (d *daemon) Pid() int { return d.process().Pid() }

func (d *daemon) process() *process.Process {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.proc
}

// tail is the end of a log for an error message.
func tail(log string, from int64) string {
	if text := process.Tail(log, from, 12); text != "" {
		return fmt.Sprintf("; the end of %s:\n%s\n", log, text)
	}
	return "; it logged nothing to " + log
}

// Listening is the default probe of a child: every address that it should listen on accepts a connection.
func Listening(ctx context.Context, c Child) error {
	for what, a := range c.Addrs {
		if strings.HasSuffix(what, "peer") {
			continue // of etcd, whose only member needs none
		}
		dialer := net.Dialer{Timeout: timeouts.Dial}
		conn, err := dialer.DialContext(ctx, "tcp", a)
		if err != nil {
			return err
		}
		conn.Close()
	}
	return nil
}
