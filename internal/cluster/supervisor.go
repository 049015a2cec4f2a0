package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"

	"braid/internal/base/errs"
	"braid/internal/mysqld"
	"braid/internal/process"
)

// Options are the supervisor's surroundings.
type Options struct {
	Executable string         // that runs the daemons; "" is this program
	Binary     *mysqld.Binary // nil: mysqld.Ensure
	// Ready asks whether a daemon works; it is called again and again until it returns nil. nil is Listening.
	Ready func(ctx context.Context, c Child) error
	// Prepare is called when etcd and the mysqlds are up and before the tablets start: to write the topology.
	Prepare func(ctx context.Context, p *Plan) error
	// Lifeline, if given, ends the cluster when it reaches its end before the line "keep" came through it. The supervisor closes
	// it; Close must end a Read that is under way (a pipe's does).
	Lifeline io.ReadCloser
	Progress func(string) // takes a line at a time; may be nil

	newMySQL func(Child) unit // tests without MySQL
}

// parallel bounds how many processes of a kind start at the same time: more would only share the processors. Tablets have no
// bound: a replica is ready when its primary is.
var parallel = map[Kind]int{KindMySQL: 2}

// Supervisor runs the processes of a plan.
type Supervisor struct {
	plan *Plan
	opts Options
	lock *process.Lock

	ctx    context.Context // ends when the supervisor is to stop
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when everything has ended
	stop   sync.Once
	wg     sync.WaitGroup

	starting sync.Mutex // held during Start, so that Stop ends all that was started
	speaking sync.Mutex // held during a call of Progress

	mu struct {
		sync.Mutex
		stages [][]*supervised // as started; the last stage may be growing
	}
}

// New takes the data directory, reads or makes its plan, and checks that the cluster can start. It must be stopped, also if
// it is never started.
func New(dataDir string, spec Spec, opts Options) (*Supervisor, error) {
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return nil, fmt.Errorf("cluster in %s: %w", dataDir, err)
	}
	for _, sub := range []string{"", "run", "logs"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, errs.New(errs.BadInput, err, "cluster in %s", dir).With("Name a directory that can be written with --data-dir.")
		}
	}
	s := &Supervisor{opts: opts, done: make(chan struct{})}
	if s.lock, err = process.TryLock(filepath.Join(dir, "lock")); err != nil {
		return nil, inUse(dir, err)
	}
	if err := s.init(dir, spec); err != nil {
		s.lock.Unlock()
		return nil, err
	}
	return s, nil
}

func inUse(dir string, err error) error {
	if !errors.Is(err, process.ErrLocked) {
		return fmt.Errorf("cluster in %s: %w", dir, err)
	}
	return errs.New(errs.DirInUse, nil, "a cluster runs in %s already (pid %d)", dir, readPid(filepath.Join(dir, "lock"))).
		With("Use it, end it with `braid down --data-dir " + dir + "`, or choose another --data-dir.")
}

func (s *Supervisor) init(dir string, spec Spec) error {
	if err := s.lock.Write(strconv.Itoa(os.Getpid()) + "\n"); err != nil {
		return err
	}
	stale, _ := filepath.Glob(filepath.Join(dir, "run", "*.pid")) // the pattern is well-formed
	for _, path := range stale {                                  // left by a supervisor that was killed
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("cluster in %s: %w", dir, err)
		}
	}
	plan, changed, err := open(dir, spec)
	if err != nil {
		return err
	}
	if err := plan.check(len(stale) > 0); err != nil {
		return err
	}
	if changed {
		if err := plan.save(); err != nil {
			return err
		}
	}
	s.plan = plan
	if s.opts.Ready == nil {
		s.opts.Ready = Listening
	}
	if s.opts.Progress == nil {
		s.opts.Progress = func(string) {}
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return nil
}

// Plan is what the supervisor runs.
func (s *Supervisor) Plan() *Plan { return s.plan }

// Start starts everything and returns when it is ready. If it fails, or ctx ends first, everything is stopped when it
// returns (S3). The cluster does not depend on ctx afterwards.
func (s *Supervisor) Start(ctx context.Context) error {
	s.holdLifeline()
	err := s.start(ctx)
	if err == nil {
		return nil
	}
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case s.Err() != nil:
		err = s.Err()
	}
	return errors.Join(fmt.Errorf("start the cluster in %s: %w", s.plan.dataDir, err), s.Stop())
}

func (s *Supervisor) start(ctx context.Context) error {
	s.starting.Lock()
	defer s.starting.Unlock()
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })() // stopped, or the lifeline broke
	return s.startAll(ctx)
}

func (s *Supervisor) say(line string) {
	s.speaking.Lock()
	defer s.speaking.Unlock()
	s.opts.Progress(line)
}

func (s *Supervisor) startAll(ctx context.Context) error {
	bin := s.opts.Binary
	if bin == nil && s.opts.newMySQL == nil {
		var err error
		if bin, err = mysqld.Ensure(ctx, s.say); err != nil {
			return err
		}
	}
	for i, stage := range s.plan.stages() {
		if i == 1 && s.opts.Prepare != nil {
			if err := s.opts.Prepare(ctx, s.plan); err != nil {
				return fmt.Errorf("prepare the topology: %w", err)
			}
		}
		if err := s.startStage(ctx, bin, stage); err != nil {
			return err
		}
	}
	return nil
}

func (s *Supervisor) startStage(ctx context.Context, bin *mysqld.Binary, stage []Child) error {
	s.mu.Lock()
	s.mu.stages = append(s.mu.stages, nil)
	s.mu.Unlock()
	units := make([]unit, len(stage))
	for i, c := range stage {
		var err error
		if units[i], err = s.unit(bin, c); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	kinds := map[Kind]*errgroup.Group{}
	for i, c := range stage {
		if kinds[c.Kind] == nil {
			kinds[c.Kind] = new(errgroup.Group)
			if n := parallel[c.Kind]; n > 0 {
				kinds[c.Kind].SetLimit(n)
			}
		}
		kind := kinds[c.Kind]
		group.Go(func() error {
			result := make(chan error, 1)
			kind.Go(func() error { result <- s.startChild(ctx, c, units[i]); return nil })
			return <-result
		})
	}
	return group.Wait()
}

func (s *Supervisor) unit(bin *mysqld.Binary, c Child) (unit, error) {
	if c.Kind != KindMySQL {
		exe := s.opts.Executable
		if exe == "" {
			var err error
			if exe, err = os.Executable(); err != nil {
				return nil, fmt.Errorf("find this program: %w", err)
			}
		}
		return &daemon{child: c, ready: s.opts.Ready, spec: process.Spec{Argv: append([]string{exe}, c.Argv...), Log: s.plan.LogPath(c.Name)}}, nil
	}
	if s.opts.newMySQL != nil {
		return s.opts.newMySQL(c), nil
	}
	for _, shard := range s.plan.Shards {
		for _, t := range shard.Tablets {
			if t.UID == c.UID {
				return mysqld.New(bin, s.plan.mysqldConfig(shard, t))
			}
		}
	}
	return nil, fmt.Errorf("%s is not in the plan", c.Name)
}

// Done is closed when the supervisor has stopped, by itself or by Stop; Err tells why.
func (s *Supervisor) Done() <-chan struct{} { return s.done }

// Err is why the supervisor stopped by itself: a process that died too often, or ErrLifeline. nil after Stop.
func (s *Supervisor) Err() error {
	if cause := context.Cause(s.ctx); !errors.Is(cause, errStopped) {
		return cause
	}
	return nil
}

var errStopped = errors.New("stopped")

// Stop ends everything in reverse order and gives the data directory back. Stopping twice is fine.
func (s *Supervisor) Stop() error {
	var err error
	s.stop.Do(func() {
		s.cancel(errStopped)
		s.starting.Lock() // a Start that is under way ends soon now
		defer s.starting.Unlock()
		if s.opts.Lifeline != nil {
			s.opts.Lifeline.Close()
		}
		err = s.stopAll()
		s.wg.Wait()
		s.lock.Unlock()
		close(s.done)
	})
	<-s.done
	return err
}

// stopAll ends the stages in reverse order; the processes of one stage at the same time.
func (s *Supervisor) stopAll() error {
	s.mu.Lock()
	stages := slices.Clone(s.mu.stages)
	s.mu.Unlock()
	var failed []error
	for _, stage := range slices.Backward(stages) {
		results := make([]error, len(stage))
		var wg sync.WaitGroup
		for i, c := range stage {
			wg.Go(func() { results[i] = c.end() })
		}
		wg.Wait()
		failed = append(failed, results...)
	}
	return errors.Join(failed...)
}
