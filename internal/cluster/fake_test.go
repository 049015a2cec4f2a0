package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/base/fault"
	"braid/internal/process"
	"braid/internal/topo"
)

// The test binary is also the program that the supervisor runs: with a daemon's command line it plays that daemon.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[2] == "run" {
		os.Exit(play(os.Args[1], os.Args[3:]))
	}
	os.Exit(m.Run())
}

// play listens where the daemon would, until SIGTERM. The file behave-NAME in the data directory changes that.
func play(kind string, args []string) int {
	dataDir := args[slices.Index(args, "--data-dir")+1]
	if kind == "supervisor" {
		return supervise(dataDir)
	}
	plan, err := Load(dataDir)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	child := find(plan, kind, args)
	fmt.Printf("%s is played, faults %q\n", child.Name, os.Getenv(fault.Env))
	behaviour, _ := os.ReadFile(filepath.Join(dataDir, "behave-"+child.Name))
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	switch string(behaviour) {
	case "refuse":
		fmt.Println("I refuse to start")
		return 3
	case "silent": // never ready
		<-term
		return 0
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
	}
	for _, a := range child.Addrs {
		l, err := net.Listen("tcp", a)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		defer l.Close()
	}
	if string(behaviour) == "die" {
		<-time.After(50 * time.Millisecond) // long enough to be found ready
		fmt.Println("my heart")
		return 4
	}
	<-term
	return 0
}

func find(plan *Plan, kind string, args []string) Child {
	for _, c := range plan.Children() {
		if string(c.Kind) == kind && (c.UID == 0 || slices.Contains(args, fmt.Sprint(c.UID))) {
			return c
		}
	}
	panic("not in the plan: " + kind)
}

// supervise is a supervisor in a process of its own, with descriptor 3 as its lifeline.
func supervise(dataDir string) int {
	lifeline, err := Lifeline(3)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	s, err := New(dataDir, Spec{}, Options{Lifeline: lifeline, newMySQL: fakeMySQL(dataDir)})
	if err == nil {
		err = s.Start(ctx)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("ready")
	select {
	case <-ctx.Done():
	case <-s.Done():
	}
	if err := s.Stop(); err != nil {
		fmt.Println(err)
		return 1
	}
	if errors.Is(s.Err(), ErrLifeline) {
		return 9
	}
	return 0
}

// fakeMySQL makes units that are played by this program.
func fakeMySQL(dataDir string) func(Child) unit {
	return func(c Child) unit {
		exe, err := os.Executable()
		if err != nil {
			panic(err)
		}
		argv := []string{exe, "mysql", "run", "--uid", fmt.Sprint(c.UID), "--data-dir", dataDir}
		return &daemon{child: c, ready: Listening, spec: process.Spec{Argv: argv, Log: filepath.Join(dataDir, "logs", c.Name+".log")}}
	}
}

// two shards, three tablets
var testSpec = Spec{Shards: []string{"commerce/0", "customer/0"}}

// testDir is a data directory with a port range that is free.
func testDir(t *testing.T) (string, Spec) {
	t.Helper()
	spec := testSpec
	for base := 10000 + os.Getpid()%80*50; ; base += 50 { // below the ports that the kernel gives to clients
		ports := make([]usePort, 40)
		for i := range ports {
			ports[i].port = base + i
		}
		if checkPorts(ports) == nil {
			spec.PortBase = base
			return t.TempDir(), spec
		}
	}
}

// world is a supervisor of played daemons, and all pids that were seen.
type world struct {
	*Supervisor
	t     *testing.T
	dir   string
	lines chan string
}

func newWorld(t *testing.T, change func(dir string, spec *Spec, o *Options)) *world {
	t.Helper()
	dir, spec := testDir(t)
	w := &world{t: t, dir: dir, lines: make(chan string, 1000)}
	o := Options{newMySQL: fakeMySQL(dir), Progress: func(line string) { w.lines <- line }}
	if change != nil {
		change(dir, &spec, &o)
	}
	s, err := New(dir, spec, o)
	require.NoError(t, err)
	w.Supervisor = s
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Log(err)
		}
		require.Empty(t, processesOf(dir), "S3")
	})
	return w
}

// behave changes how a daemon is played from its next start on.
func behave(t *testing.T, dir, name, behaviour string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "behave-"+name), []byte(behaviour), 0o600))
}

// awaitLine waits for a line of progress.
func (w *world) awaitLine(part string) string {
	w.t.Helper()
	for {
		select {
		case line := <-w.lines:
			if strings.Contains(line, part) {
				return line
			}
		case <-time.After(30 * time.Second):
			w.t.Fatalf("no line with %q", part)
		}
	}
}

// processesOf lists living processes with the directory in their command line.
func processesOf(dir string) []string {
	var left []string
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		raw, _ := os.ReadFile(path)
		if line := strings.ReplaceAll(string(raw), "\x00", " "); strings.Contains(line+"/", dir+"/") || strings.Contains(line, dir+" ") {
			left = append(left, path+": "+line)
		}
	}
	return left
}

func types(t ...topo.TabletType) []topo.TabletType { return t }
