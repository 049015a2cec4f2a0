package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/mysqld"
)

// Space that is asked for before anything starts. A mysqld begins with about 120 MiB and must be able to grow a little; etcd
// wants 256 MiB.
const (
	spaceBase     = 300 << 20
	spacePerMySQL = 200 << 20
)

// check finds out beforehand what would make the start fail halfway. After a supervisor was killed its processes may still be
// on their way out, so their ports get a moment.
func (p *Plan) check(killed bool) error {
	free, err := mysqld.FreeSpace(p.dataDir)
	if err != nil {
		return err
	}
	if need := uint64(spaceBase + spacePerMySQL*p.newMySQLs()); free < need {
		return errs.New(errs.NoSpace, nil, "%s has %d MiB free, this cluster needs %d to begin with", p.dataDir, free>>20, need>>20).
			With("Make room, or name a directory on a larger disk with --data-dir.")
	}
	err = checkPorts(p.ports())
	if !killed || err == nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(timeouts.DeathThroes); err != nil && time.Now().Before(until); <-tick.C {
		err = checkPorts(p.ports())
	}
	return err
}

func checkPorts(ports []usePort) error {
	var taken []string
	for _, u := range ports {
		l, err := net.Listen("tcp", addr(u.port))
		switch {
		case err == nil:
			l.Close()
		case errors.Is(err, syscall.EADDRINUSE):
			taken = append(taken, fmt.Sprintf("%d (%s) is taken%s", u.port, u.what, by(u.port)))
		default:
			return fmt.Errorf("port %d (%s): %w", u.port, u.what, err)
		}
	}
	switch len(taken) {
	case 0:
		return nil
	case 1:
		return portsTaken("port " + taken[0])
	default:
		return portsTaken("ports " + strings.Join(taken, ", "))
	}
}

func portsTaken(text string) error {
	return errs.New(errs.PortTaken, nil, "%s", text).
		With("End the process that listens there, or use other ports: --port-base with another number (a new cluster only).")
}

func by(port int) string {
	if who := listener(port); who != "" {
		return " by " + who
	}
	return ""
}

// listener finds the process that listens on a port: the kernel's table gives the socket's inode, and somebody's descriptors
// lead to it. "" when it cannot be seen, for example because it is another user's.
func listener(port int) string {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		raw, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.SplitSeq(string(raw), "\n") {
			f := strings.Fields(line) // sl local remote state … inode is the tenth
			if len(f) < 10 || f[3] != "0A" || !strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				continue
			}
			inodes["socket:["+f[9]+"]"] = true
		}
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is well-formed
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || !inodes[target] {
			continue
		}
		pid := strings.Split(link, "/")[2]
		name, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			continue
		}
		return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), pid)
	}
	return ""
}

// holds says whether a process has a file open, which for the lock file means that it is the supervisor.
func holds(pid int, path string) bool {
	want, err := os.Stat(path)
	if err != nil {
		return false
	}
	links, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/fd/*") // the pattern is well-formed
	for _, link := range links {
		if have, err := os.Stat(link); err == nil && os.SameFile(have, want) {
			return true
		}
	}
	return false
}
