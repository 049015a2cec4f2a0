package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Spec says what to run.
type Spec struct {
	Argv  []string   // Argv[0] is found on the PATH if it has no slash
	Env   []string   // added to our environment; a later value of a name wins
	Dir   string     // working directory; "" is ours
	Log   string     // file that standard output and error are appended to; "" discards them
	Files []*os.File // inherited as descriptors 3, 4, …
}

// Process is a child.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // set before done is closed
}

// starter is the thread that all children are started from (see the package comment).
var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread() // never unlocked: the thread must live as long as the program
		for f := range work {
			f()
		}
	}()
	return work
})

// Start starts a child.
func Start(spec Spec) (*Process, error) {
	return start(spec, func(cmd *exec.Cmd) error {
		if spec.Log == "" {
			return nil
		}
		log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		cmd.Stdout, cmd.Stderr = log, log
		return nil
	})
}

func start(spec Spec, output func(*exec.Cmd) error) (*Process, error) {
	if len(spec.Argv) == 0 {
		return nil, errors.New("start process: no command")
	}
	cmd := exec.Command(spec.Argv[0], spec.Argv[1:]...)
	cmd.Env = append(os.Environ(), spec.Env...)
	cmd.Dir = spec.Dir
	cmd.ExtraFiles = spec.Files
	cmd.SysProcAttr = attributes()
	if err := output(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Argv[0], err)
	}
	started := make(chan error)
	starter() <- func() { started <- cmd.Start() }
	err := <-started
	if log, ok := cmd.Stdout.(*os.File); ok {
		log.Close() // the child has its own
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Argv[0], err)
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	go p.wait() // ends with the child, which ends with us at the latest
	return p, nil
}

func (p *Process) wait() {
	p.err = p.cmd.Wait()
	close(p.done)
}

// Pid is the child's number. It may be another's after Done.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ended says whether the child has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Err says how the child ended, nil for exit code 0; call it after Done.
func (p *Process) Err() error { return p.err }

// CPU is the processor time that the child took, in user and kernel mode; call it after Done.
func (p *Process) CPU() time.Duration {
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

// Signal sends a signal; a child that has ended is no error.
func (p *Process) Signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal process %d: %w", p.Pid(), err)
	}
	return nil
}

// Stop asks with SIGTERM, waits, and kills the child when grace is over or ctx ends. The child is gone when it returns; the
// error says that it had to be killed.
func (p *Process) Stop(ctx context.Context, grace time.Duration) error {
	if p.Ended() {
		return nil
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	p.Kill()
	return fmt.Errorf("process %d did not end within %v of SIGTERM and was killed", p.Pid(), grace)
}

// Kill sends SIGKILL and waits for the end.
func (p *Process) Kill() {
	_ = p.Signal(syscall.SIGKILL) // it fails only for a child that is not ours any more
	<-p.done
}
