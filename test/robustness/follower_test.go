package robustness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"braid/internal/mysqld"
	"braid/internal/process"
)

// binary is built once for all tests.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "braid-torture-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "braid")
	build := exec.Command("go", "build", "-o", binary, "braid/cmd/braid")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		panic(fmt.Sprintf("build braid: %v", err))
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// follower is `braid replicate`, which is killed and started again.
type follower struct {
	argv []string
	env  []string
	log  string

	mu   sync.Mutex
	proc *process.Process
	runs int
}

func newFollower(t *testing.T, source, target *mysqld.Server, c combination, databases []string, withoutKey string) *follower {
	admin, repl := target.Admin(), source.Repl()
	dir := os.Getenv("TORTURE_LOGS") // to look at them afterwards
	if dir == "" {
		dir = t.TempDir()
	}
	return &follower{
		log: filepath.Join(dir, "replicate-"+c.String()+".log"),
		argv: []string{binary, "replicate", "--source", repl.User + "@tcp(" + repl.Addr + ")/", "--target", admin.User + "@tcp(" + admin.Addr + ")/",
			"--databases", strings.Join(databases, ","), "--parallel", c.mode, "--commit-order", c.order, "--on-ddl", "exec", "--workers", "4",
			"--without-key", withoutKey},
		env: []string{"BRAID_SOURCE_PASSWORD=" + repl.Password, "BRAID_TARGET_PASSWORD=" + admin.Password},
	}
}

// start begins a run with further arguments.
func (f *follower) start(args ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	proc, err := process.Start(process.Spec{Argv: append(append([]string{}, f.argv...), args...), Env: f.env, Log: f.log})
	if err == nil {
		f.proc, f.runs = proc, f.runs+1
	}
	return err
}

func (f *follower) current() *process.Process {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.proc
}

// kill ends the run as a crash would.
func (f *follower) kill() {
	if p := f.current(); p != nil {
		p.Kill()
	}
}

// finish kills the run that goes on, and runs until the position is reached. A run that ends with an error is shown.
func (f *follower) finish(ctx context.Context, position string, patience time.Duration) error {
	f.kill()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := f.start("--stop-at", position); err != nil {
		return err
	}
	p := f.current()
	select {
	case <-p.Done():
		return p.Err()
	case <-ctx.Done():
		said := f.tail(40)
		p.Signal(dump) //nolint:errcheck // it may have ended in this moment
		<-p.Done()
		return fmt.Errorf("the position was not reached within %v\n%s\nand what its goroutines did is in its log", patience, said)
	}
}

// tail is the end of what all runs have said.
func (f *follower) tail(lines int) string { return process.Tail(f.log, 0, lines) }
