package fault_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/base/fault"
)

func TestMain(m *testing.M) {
	if os.Getenv("BRAID_FAULT_TEST_CHILD") != "" {
		for range 3 {
			_ = fault.Point("child")
			os.Stdout.WriteString("alive\n")
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func set(t *testing.T, spec string) {
	t.Helper()
	restore, err := fault.Set(spec)
	require.NoError(t, err)
	t.Cleanup(restore)
}

func TestPoints(t *testing.T) {
	require.NoError(t, fault.Point("a"), "nothing is set")
	set(t, "a=error; b=error@2")
	require.ErrorIs(t, fault.Point("a"), fault.ErrInjected)
	require.ErrorContains(t, fault.Point("a"), "at a")
	require.NoError(t, fault.Point("b"))
	require.ErrorIs(t, fault.Point("b"), fault.ErrInjected)
	require.NoError(t, fault.Point("b"), "the second time only")
	require.NoError(t, fault.Point("c"))

	restore, err := fault.Set("")
	require.NoError(t, err)
	require.NoError(t, fault.Point("a"))
	restore()
	require.Error(t, fault.Point("a"))
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		restore, err := fault.Set("a=delay:100ms")
		require.NoError(t, err)
		defer restore()
		begin := time.Now()
		require.NoError(t, fault.Point("a"))
		require.Equal(t, 100*time.Millisecond, time.Since(begin))
	})
}

func TestBadSpecifications(t *testing.T) {
	for _, spec := range []string{"a", "=kill", "a=die", "a=kill@0", "a=kill@x", "a=delay", "a=delay:soon", "a=kill:now"} {
		_, err := fault.Set(spec)
		require.Error(t, err, spec)
	}
}

func child(t *testing.T, spec string) (string, *os.ProcessState) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "BRAID_FAULT_TEST_CHILD=1", fault.Env+"="+spec)
	out, _ := cmd.Output()
	return string(out), cmd.ProcessState
}

func TestKill(t *testing.T) {
	out, state := child(t, "child=kill@3")
	require.Equal(t, "alive\nalive\n", out)
	ws, ok := state.Sys().(syscall.WaitStatus)
	require.True(t, ok)
	require.Equal(t, syscall.SIGKILL, ws.Signal(), "as if from outside")
	out, state = child(t, "other=kill")
	require.Equal(t, "alive\nalive\nalive\n", out)
	require.True(t, state.Success())
}

// A fault that silently never fires is a test that cannot fail.
func TestBadEnvironmentEndsTheProcess(t *testing.T) {
	out, state := child(t, "child=kil")
	require.Empty(t, out)
	require.Equal(t, 2, state.ExitCode())
}

func BenchmarkPointUnset(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = fault.Point("a")
	}
}
