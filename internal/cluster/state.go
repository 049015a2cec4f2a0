package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"braid/internal/base/errs"
	"braid/internal/process"
)

// State is what can be seen of a cluster from its data directory.
type State struct {
	Running    bool         `json:"running"`
	Supervisor int          `json:"supervisor_pid,omitempty"`
	Children   []ChildState `json:"children"`
	Plan       *Plan        `json:"-"`
}

// ChildState is a process of the plan.
type ChildState struct {
	Child
	Alive bool   `json:"alive"`
	Pid   int    `json:"pid,omitempty"`
	Log   string `json:"log"`
}

// Look tells what runs in a data directory.
func Look(dataDir string) (*State, error) {
	plan, err := Load(dataDir)
	if err != nil {
		return nil, err
	}
	st := &State{Plan: plan, Supervisor: supervisorPid(plan.lockPath())}
	st.Running = st.Supervisor != 0
	for _, c := range plan.Children() {
		cs := ChildState{Child: c, Log: plan.LogPath(c.Name)}
		if st.Running { // else a pid file is a leftover, and its number may be anybody's
			cs.Pid = readPid(plan.PidPath(c.Name))
			cs.Alive = cs.Pid != 0 && syscall.Kill(cs.Pid, 0) == nil
		}
		st.Children = append(st.Children, cs)
	}
	return st, nil
}

// Down ends the cluster of a data directory from another process and waits until it is gone. It says whether one was running.
func Down(ctx context.Context, dataDir string) (bool, error) {
	plan, err := Load(dataDir)
	if err != nil {
		return false, err
	}
	pid := supervisorPid(plan.lockPath())
	if pid == 0 {
		return false, nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return true, fmt.Errorf("end the cluster in %s: signal pid %d: %w", plan.dataDir, pid, err)
	}
	lock, err := process.WaitLock(ctx, plan.lockPath(), nil)
	if err != nil {
		return true, errs.New(errs.Timeout, err, "the cluster in %s (pid %d) has not ended yet", plan.dataDir, pid).
			With(fmt.Sprintf("Wait, or end it by force: `kill -9 %d` takes all its processes with it.", pid))
	}
	lock.Unlock()
	return true, nil
}

// supervisorPid is the process that holds the lock, 0 if nobody does. The number in the file counts only if that process has
// the file open: it may be old, and the number somebody else's by now. Trying the lock would tell as well, but might
// get in the way of a supervisor that starts.
func supervisorPid(lockPath string) int {
	if pid := readPid(lockPath); pid != 0 && holds(pid, lockPath) {
		return pid
	}
	return 0
}

func readPid(path string) int {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0
	}
	return pid
}
