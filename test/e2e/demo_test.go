package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/demo"
)

// The whole story, as `make demo` tells it, on fewer rows.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("needs mysqlds")
	}
	dir := t.TempDir()
	out, errs, code := braid(t, "demo", "--rows", "5000", "--output", "json", "--data-dir", dir, "--port-base", strconv.Itoa(freePorts(t)))
	require.Equal(t, 0, code, "%s\n%s", out, errs)
	var r demo.Report
	require.NoError(t, json.Unmarshal([]byte(out), &r), out)
	t.Logf("%s", out)
	require.True(t, r.OK)
	require.Zero(t, r.Writes.Failed)
	require.Positive(t, r.Writes.RowMoves, "rows moved between shards")
	require.Len(t, r.Copies, 2)
	require.GreaterOrEqual(t, r.Copies[1].Rows, int64(10_000))
	require.Len(t, r.Switches, 7)
	require.Len(t, r.Diffs, 4)
	require.Empty(t, processesOf(dir), "processes left behind")
}

// Ctrl-C at any moment ends everything that was started, and the next run works on the same directory.
func TestInterruptedDemoLeavesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("needs mysqlds")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	dir, base := t.TempDir(), freePorts(t)
	for _, after := range []time.Duration{300 * time.Millisecond, 2 * time.Second, time.Duration(3+rnd.IntN(15)) * time.Second} {
		cmd := exec.Command(binary, "demo", "--rows", "2000", "--data-dir", dir, "--port-base", strconv.Itoa(base))
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		require.NoError(t, cmd.Start())
		time.Sleep(after) //nolint:forbidigo // the moment of the interrupt is the subject of the test
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case <-ended:
		case <-time.After(time.Minute):
			_ = cmd.Process.Signal(syscall.SIGQUIT)
			t.Fatalf("interrupted after %s, it does not end\n%s", after, out.String())
		}
		require.Equal(t, 130, cmd.ProcessState.ExitCode(), "interrupted after %s\n%s", after, out.String())
		require.Empty(t, processesOf(dir), "interrupted after %s", after)
	}
}

// A demo whose process is killed outright leaves nothing behind either.
func TestKilledDemoLeavesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("needs mysqlds")
	}
	dir := t.TempDir()
	cmd := exec.Command(binary, "demo", "--rows", "2000", "--data-dir", dir, "--port-base", strconv.Itoa(freePorts(t)))
	require.NoError(t, cmd.Start())
	eventually(t, time.Minute, "a mysqld runs", func() bool {
		return strings.Contains(fmt.Sprint(processesOf(dir)), "mysqld")
	})
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	eventually(t, time.Minute, "everything is gone", func() bool { return len(processesOf(dir)) == 0 })
}

// A mysqld in the path of the writers dies: the demo goes on when it is back, says that writes failed, and what was acknowledged is there.
func TestDemoWithAKilledMysqld(t *testing.T) {
	if testing.Short() {
		t.Skip("needs mysqlds")
	}
	dir := t.TempDir()
	cmd := exec.Command(binary, "demo", "--rows", "5000", "--output", "json", "--data-dir", dir, "--port-base", strconv.Itoa(freePorts(t)))
	var out bytes.Buffer
	cmd.Stdout = &out
	progress, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var said strings.Builder
	for lines := bufio.NewScanner(progress); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "move: customer and corder") {
			require.NoError(t, syscall.Kill(pidOf(t, dir, "mysql-100"), syscall.SIGKILL))
		}
	}
	_ = cmd.Wait()
	require.Empty(t, processesOf(dir), "processes left behind")
	var r demo.Report
	require.NoError(t, json.Unmarshal(out.Bytes(), &r), "%s\n%s", said.String(), out.String())
	t.Logf("%+v", r.Writes)
	// A write that was under way when the server died has failed, and the report says so; if there was none, nobody has noticed.
	if r.Writes.Failed > 0 {
		require.Equal(t, 1, cmd.ProcessState.ExitCode())
		require.NotEmpty(t, r.Writes.Errors)
		require.Len(t, r.Problems, 1, "%v", r.Problems)
	} else {
		require.Zero(t, cmd.ProcessState.ExitCode())
		require.Empty(t, r.Problems)
	}
	require.True(t, r.Ledger.OK(), "%+v", r.Ledger)
	require.Len(t, r.Diffs, 4, "the story was told to its end")
}
