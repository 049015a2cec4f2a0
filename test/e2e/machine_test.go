package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What the machine lacks is said at once, with what to do about it, and nothing stays behind.

func needsRoot(t *testing.T) {
	if testing.Short() {
		t.Skip("needs mysqlds")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can make a small file system, or a machine without a network")
	}
}

// ends runs a command that must end by itself, with an exit code.
func ends(t *testing.T, cmd *exec.Cmd, code int) string {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	stuck := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait()
	require.True(t, stuck.Stop(), "it does not end\n%s", out.String())
	require.Equal(t, code, cmd.ProcessState.ExitCode(), out.String())
	return out.String()
}

func TestDemoWithoutSpace(t *testing.T) {
	needsRoot(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=150m"); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, 0)) })
	said := ends(t, exec.Command(binary, "demo", "--rows", "1000", "--data-dir", dir, "--port-base", strconv.Itoa(freePorts(t))), 1)
	require.Contains(t, said, "NO_SPACE")
	require.Contains(t, said, "--data-dir", "where to go on")
	require.Empty(t, processesOf(dir))
}

func TestDemoWithoutMySQLAndNetwork(t *testing.T) {
	needsRoot(t)
	dir := t.TempDir()
	cmd := exec.Command(binary, "demo", "--rows", "1000", "--data-dir", dir)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + dir, "XDG_CACHE_HOME=" + dir + "/cache"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	said := ends(t, cmd, 3)
	require.Contains(t, said, "NO_MYSQL")
	require.Contains(t, said, "BRAID_MYSQLD", "how to get one")
	require.Empty(t, processesOf(dir))
}
