package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
	"braid/internal/base/fault"
)

func alive(t *testing.T, dir string) map[string]int {
	t.Helper()
	st, err := Look(dir)
	require.NoError(t, err)
	pids := map[string]int{}
	for _, c := range st.Children {
		if c.Alive {
			pids[c.Name] = c.Pid
		}
	}
	return pids
}

func TestStartsInOrderAndStops(t *testing.T) {
	var prepared map[string]int
	w := newWorld(t, func(dir string, _ *Spec, o *Options) {
		o.Prepare = func(_ context.Context, p *Plan) error {
			prepared = alive(t, p.DataDir())
			return nil
		}
	})
	require.NoError(t, w.Start(t.Context()))
	require.Len(t, prepared, 3, "etcd and two mysqlds, before the tablets: %v", prepared)
	require.Contains(t, prepared, "etcd")
	require.Len(t, alive(t, w.dir), 7)
	st, err := Look(w.dir)
	require.NoError(t, err)
	require.True(t, st.Running)
	require.Equal(t, os.Getpid(), st.Supervisor)

	require.NoError(t, w.Stop())
	require.NoError(t, w.Stop())
	require.NoError(t, w.Err())
	<-w.Done()
	require.Empty(t, processesOf(w.dir))
	require.Empty(t, alive(t, w.dir))
	pids, _ := filepath.Glob(filepath.Join(w.dir, "run", "*"))
	require.Empty(t, pids)

	again, err := New(w.dir, Spec{}, Options{newMySQL: fakeMySQL(w.dir)})
	require.NoError(t, err)
	require.NoError(t, again.Start(t.Context()), "the same plan, the same ports")
	require.NoError(t, again.Stop())
}

// S1
func TestOneSupervisorPerDirectory(t *testing.T) {
	w := newWorld(t, nil)
	_, err := New(w.dir, Spec{}, Options{})
	require.ErrorIs(t, err, errs.DirInUse)
	require.ErrorContains(t, err, fmt.Sprintf("pid %d", os.Getpid()))
	require.NoError(t, w.Stop())
	second, err := New(w.dir, Spec{}, Options{})
	require.NoError(t, err)
	require.NoError(t, second.Stop())
}

func TestTakenPortIsNamedWithItsOwner(t *testing.T) {
	dir, spec := testDir(t)
	l, err := net.Listen("tcp", addr(spec.PortBase+3))
	require.NoError(t, err)
	defer l.Close()
	_, err = New(dir, spec, Options{})
	require.ErrorIs(t, err, errs.PortTaken)
	require.ErrorContains(t, err, fmt.Sprintf("%d (etcd) is taken by", spec.PortBase+3))
	require.ErrorContains(t, err, fmt.Sprintf("pid %d", os.Getpid()))
	require.NoFileExists(t, filepath.Join(dir, planFile), "a plan that cannot start is not kept")
	l.Close()
	s, err := New(dir, spec, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Stop())
}

// S4
func TestDeadProcessIsStartedAgain(t *testing.T) {
	t.Setenv(fault.Env, "some.point=kill@1")
	w := newWorld(t, nil)
	require.NoError(t, w.Start(t.Context()))
	before := alive(t, w.dir)
	for _, name := range []string{"etcd", "mysql-100", "tablet-200", "controller", "gate"} {
		require.NoError(t, syscall.Kill(before[name], syscall.SIGKILL))
		w.awaitLine(name + " is ready again")
		after := alive(t, w.dir)
		require.NotEqual(t, before[name], after[name])
		require.Len(t, after, len(before))
	}
	raw, err := os.ReadFile(w.Plan().LogPath("tablet-200"))
	require.NoError(t, err)
	require.Equal(t, "tablet-200 is played, faults \"some.point=kill@1\"\ntablet-200 is played, faults \"\"\n", string(raw),
		"the successor is not killed by the same fault")
}

// S4: a process that cannot live ends the cluster, with its last words.
func TestGivesUpOnAProcessThatDiesAgainAndAgain(t *testing.T) {
	w := newWorld(t, nil)
	require.NoError(t, w.Start(t.Context()))
	behave(t, w.dir, "tablet-100", "die")
	require.NoError(t, syscall.Kill(alive(t, w.dir)["tablet-100"], syscall.SIGKILL))
	<-w.Done()
	require.ErrorContains(t, w.Err(), "tablet-100 died 5 times")
	require.ErrorContains(t, w.Err(), "my heart")
	require.Empty(t, processesOf(w.dir))
}

func TestFailedStartSaysWhyAndLeavesNothing(t *testing.T) {
	for name, behaviour := range map[string]string{"etcd": "refuse", "mysql-200": "refuse", "tablet-100": "refuse", "gate": "refuse"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(dir string, _ *Spec, _ *Options) { behave(t, dir, name, behaviour) })
			err := w.Start(t.Context())
			require.ErrorContains(t, err, "start "+name)
			require.ErrorContains(t, err, "I refuse to start")
			require.Empty(t, processesOf(w.dir))
			<-w.Done()
		})
	}
	t.Run("prepare", func(t *testing.T) {
		w := newWorld(t, func(_ string, _ *Spec, o *Options) {
			o.Prepare = func(context.Context, *Plan) error { return errors.New("no topology today") }
		})
		require.ErrorContains(t, w.Start(t.Context()), "no topology today")
		require.Empty(t, processesOf(w.dir))
	})
}

// S3: an interrupt at any moment of the start.
func TestInterruptedStartLeavesNothing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range 12 {
		ctx, cancel := context.WithCancel(t.Context())
		after, lines := random.IntN(8), 0
		w := newWorld(t, func(dir string, _ *Spec, o *Options) {
			if i%3 == 0 {
				behave(t, dir, []string{"etcd", "mysql-100", "tablet-200", "gate"}[i/3], "silent") // it would wait for ever
			}
			o.Progress = func(string) {
				if lines++; lines > after {
					cancel()
				}
			}
		})
		if i%3 == 0 {
			time.AfterFunc(time.Duration(random.IntN(100))*time.Millisecond, cancel)
		}
		if err := w.Start(ctx); err != nil {
			require.ErrorIs(t, err, context.Canceled)
			require.Empty(t, processesOf(w.dir), "after %d lines", after)
		}
		cancel()
		require.NoError(t, w.Stop())
		require.Empty(t, processesOf(w.dir))
	}
}

func TestStopDuringStart(t *testing.T) {
	w := newWorld(t, func(dir string, _ *Spec, _ *Options) { behave(t, dir, "tablet-100", "silent") })
	started := make(chan error, 1)
	go func() { started <- w.Start(t.Context()) }()
	w.awaitLine("etcd is ready")
	require.NoError(t, w.Stop())
	require.Empty(t, processesOf(w.dir))
	require.Error(t, <-started)
}

// otherSupervisor runs a supervisor in a process of its own and waits until the cluster is ready.
func otherSupervisor(t *testing.T) (dir string, cmd *exec.Cmd, lifeline *os.File) {
	t.Helper()
	dir, spec := testDir(t)
	s, err := New(dir, spec, Options{}) // makes the plan
	require.NoError(t, err)
	require.NoError(t, s.Stop())
	exe, err := os.Executable()
	require.NoError(t, err)
	read, lifeline, err := os.Pipe()
	require.NoError(t, err)
	defer read.Close()
	cmd = exec.Command(exe, "supervisor", "run", "--data-dir", dir)
	cmd.ExtraFiles = []*os.File{read}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	buf := make([]byte, 6)
	_, err = out.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "ready\n", string(buf))
	t.Cleanup(func() {
		lifeline.Close()
		cmd.Process.Kill()
	})
	require.Len(t, alive(t, dir), 7)
	return dir, cmd, lifeline
}

func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	require.Eventually(t, func() bool { return len(processesOf(dir)) == 0 }, 10*time.Second, 5*time.Millisecond, "S2: %v", processesOf(dir))
	st, err := Look(dir)
	require.NoError(t, err)
	require.False(t, st.Running)
}

// S2
func TestKilledSupervisorTakesAllWithIt(t *testing.T) {
	dir, cmd, _ := otherSupervisor(t)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	nothingLeft(t, dir)
	require.Empty(t, alive(t, dir), "pid files that were left behind mean nothing")
	s, err := New(dir, Spec{}, Options{newMySQL: fakeMySQL(dir)})
	require.NoError(t, err)
	require.NoError(t, s.Start(t.Context()))
	require.NoError(t, s.Stop())
}

func TestLifeline(t *testing.T) {
	dir, cmd, lifeline := otherSupervisor(t)
	lifeline.Close()
	require.Equal(t, 9, exitCode(t, cmd))
	nothingLeft(t, dir)
}

func TestLifelineLetGoAndDown(t *testing.T) {
	dir, cmd, lifeline := otherSupervisor(t)
	require.NoError(t, Keep(lifeline))
	lifeline.Close()
	st, err := Look(dir)
	require.NoError(t, err)
	require.Equal(t, cmd.Process.Pid, st.Supervisor)

	exited := make(chan int, 1)
	go func() { exited <- exitCode(t, cmd) }()
	was, err := Down(t.Context(), dir)
	require.NoError(t, err)
	require.True(t, was)
	require.Equal(t, 0, <-exited)
	nothingLeft(t, dir)
	was, err = Down(t.Context(), dir)
	require.NoError(t, err)
	require.False(t, was)
}

func exitCode(t *testing.T, cmd *exec.Cmd) int {
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		t.Error(err)
	}
	return 0
}

// The number in a stale lock file may be anybody's by now: nobody may be signalled because of it.
func TestDownDoesNotSignalAStranger(t *testing.T) {
	dir, spec := testDir(t)
	s, err := New(dir, spec, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Stop())
	stranger := exec.Command("sleep", "60")
	require.NoError(t, stranger.Start())
	defer stranger.Process.Kill()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "lock"), []byte(strconv.Itoa(stranger.Process.Pid)), 0o600))
	was, err := Down(t.Context(), dir)
	require.NoError(t, err)
	require.False(t, was)
	require.NoError(t, syscall.Kill(stranger.Process.Pid, 0))
}

func TestRemove(t *testing.T) {
	w := newWorld(t, nil)
	require.NoError(t, w.Start(t.Context()))
	require.ErrorIs(t, Remove(w.dir), errs.DirInUse)
	require.NoError(t, w.Stop())
	mine := filepath.Join(w.dir, "notes.txt")
	require.NoError(t, os.WriteFile(mine, []byte("mine"), 0o600))
	require.NoError(t, Remove(w.dir))
	left, err := os.ReadDir(w.dir)
	require.NoError(t, err)
	require.Len(t, left, 2, "the lock, and what is not the cluster's: %v", left)
	require.NoError(t, Remove(w.dir))
}

func TestDeafProcessIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for timeouts.Shutdown")
	}
	w := newWorld(t, func(dir string, _ *Spec, _ *Options) { behave(t, dir, "tablet-100", "deaf") })
	require.NoError(t, w.Start(t.Context()))
	err := w.Stop()
	require.ErrorContains(t, err, "stop tablet-100")
	require.True(t, strings.Contains(err.Error(), "killed"), err)
}
