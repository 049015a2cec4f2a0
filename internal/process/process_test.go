package process

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The test binary is also a parent for TestChildrenDieWithTheirParent.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "parent" {
		parent()
	}
	os.Exit(m.Run())
}

// parent starts children from goroutines whose threads end, prints their pids, and waits to be killed.
func parent() {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			runtime.LockOSThread() // and not unlocked: the thread ends with the goroutine
			p, err := Start(Spec{Argv: []string{"sleep", "600"}})
			if err != nil {
				panic(err)
			}
			fmt.Println(p.Pid())
		})
	}
	wg.Wait()
	fmt.Println("all")
	select {}
}

// P1: children die with their parent, and not earlier, when merely the thread that asked for them ends.
func TestChildrenDieWithTheirParent(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe, "parent")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var pids []int
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "all"; {
		pid, err := strconv.Atoi(lines.Text())
		require.NoError(t, err)
		pids = append(pids, pid)
	}
	require.Len(t, pids, 8)
	for _, pid := range pids {
		require.True(t, runs(pid), "the child outlives the thread")
	}
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	for _, pid := range pids {
		require.Eventually(t, func() bool { return !runs(pid) }, 10*time.Second, time.Millisecond)
	}
}

// runs is false for a zombie, which is dead and only waits for somebody to read its exit code.
func runs(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(raw), ") Z ")
}

func TestLifeOfAChild(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	for _, code := range []string{"0", "3"} {
		p, err := Start(Spec{Argv: []string{"sh", "-c", "echo $WORD; echo error >&2; exit " + code}, Env: []string{"WORD=hello"}, Log: log})
		require.NoError(t, err)
		<-p.Done()
		require.True(t, p.Ended())
		require.Equal(t, code == "0", p.Err() == nil)
		require.NoError(t, p.Signal(syscall.SIGTERM), "a child that has ended is no error")
		require.NoError(t, p.Stop(t.Context(), time.Second))
		p.Kill()
	}
	require.Equal(t, "hello\nerror\nhello\nerror", Tail(log, 0, 10))
	require.Equal(t, "error", Tail(log, 0, 1))
	require.Equal(t, "error", Tail(log, Size(log)-6, 9))
	require.Equal(t, "", Tail(log+"x", 0, 9))

	_, err := Start(Spec{Argv: []string{"/nonexistent/program"}})
	require.ErrorContains(t, err, "/nonexistent/program")
	_, err = Start(Spec{})
	require.Error(t, err)
}

func TestStopKillsWhatDoesNotListen(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	deaf := []string{"sh", "-c", "trap '' TERM; touch " + ready + "; while :; do sleep 600; done"}
	p, err := Start(Spec{Argv: deaf})
	require.NoError(t, err)
	require.Eventually(t, func() bool { _, err := os.Stat(ready); return err == nil }, 10*time.Second, time.Millisecond)
	require.ErrorContains(t, p.Stop(t.Context(), 20*time.Millisecond), "was killed")
	require.True(t, p.Ended())

	p, err = Start(Spec{Argv: []string{"sleep", "600"}})
	require.NoError(t, err)
	require.NoError(t, p.Stop(t.Context(), time.Minute))
}

func TestRun(t *testing.T) {
	out, err := Run(t.Context(), Spec{Argv: []string{"sh", "-c", "echo one; echo two >&2"}})
	require.NoError(t, err)
	require.Equal(t, "one\ntwo\n", string(out))
	_, err = Run(t.Context(), Spec{Argv: []string{"sh", "-c", "echo a; echo the reason; exit 7"}})
	require.ErrorContains(t, err, "exit status 7: a; the reason")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = Run(ctx, Spec{Argv: []string{"sleep", "600"}})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	lock, err := TryLock(path)
	require.NoError(t, err)
	_, err = TryLock(path)
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, lock.Write("a long text"))
	require.NoError(t, lock.Write("short"))
	require.Equal(t, "short", Tail(path, 0, 1))

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	waited := 0
	_, err = WaitLock(ctx, path, func() { waited++ })
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, 1, waited)
	again, err := WaitLock(t.Context(), path, lock.Unlock)
	require.NoError(t, err)
	again.Unlock()
}
