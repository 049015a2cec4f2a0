package e2e

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	controlpb "braid/api/control"
	"braid/internal/demo"
)

// binary is built once for all tests.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "braid-e2e-")
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

// testCluster is a cluster that `braid up` made.
type testCluster struct {
	t        *testing.T
	dir      string
	cmd      *exec.Cmd
	stderr   *bytes.Buffer
	exited   chan error
	info     upInfo
	control  controlpb.ControlClient
	lifeline *os.File // ends with this process, and the cluster with it
	gate     *sql.DB
}

// upInfo is what `braid up --output json` prints when the cluster is ready.
type upInfo struct {
	Gate       struct{ Addr, User, Password string }
	Controller string
	Primaries  map[string]struct{ Addr, User, Password string } // keyspace/shard → its mysqld
}

type upOptions struct {
	shards string // "commerce/0,customer/0"
	types  string // "primary"
	faults string // BRAID_FAULTS of the first start of every process
}

// up starts a cluster, and proves at the end that stopping it leaves nothing behind.
func up(t *testing.T, o upOptions) *testCluster {
	t.Helper()
	if testing.Short() {
		t.Skip("needs mysqlds")
	}
	c := &testCluster{t: t, dir: t.TempDir(), stderr: &bytes.Buffer{}, exited: make(chan error, 1)}
	c.cmd = exec.Command(binary, "up", "--output", "json", "--data-dir", c.dir, "--port-base", strconv.Itoa(freePorts(t)),
		"--shards", o.shards, "--tablet-types", o.types, "--lifeline", "3")
	theirs, ours, err := os.Pipe() // a test binary that dies takes the cluster with it
	require.NoError(t, err)
	c.lifeline, c.cmd.ExtraFiles = ours, []*os.File{theirs}
	c.cmd.Env = append(os.Environ(), "BRAID_FAULTS="+o.faults)
	c.cmd.Stderr = c.stderr
	stdout, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	theirs.Close()
	ready := make(chan []byte, 1)
	go func() {
		doc, rest := readDocument(stdout)
		ready <- doc
		io.Copy(io.Discard, rest)
		c.exited <- c.cmd.Wait()
	}()
	t.Cleanup(c.down)
	select {
	case doc := <-ready:
		require.NoError(t, json.Unmarshal(doc, &c.info), "braid up printed %q\n%s", doc, c.stderr)
	case <-time.After(3 * time.Minute):
		t.Fatalf("braid up is not ready\n%s", c.stderr)
	}
	conn, err := grpc.NewClient("passthrough:///"+c.info.Controller, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	c.control = controlpb.NewControlClient(conn)
	c.gate = c.open(c.info.Gate.Addr, c.info.Gate.User, c.info.Gate.Password, "commerce")
	return c
}

// readDocument reads one JSON document that ends with a line "}".
func readDocument(r io.Reader) ([]byte, io.Reader) {
	br := bufio.NewReader(r)
	var doc bytes.Buffer
	for {
		line, err := br.ReadString('\n')
		doc.WriteString(line)
		if err != nil || line == "}\n" {
			return doc.Bytes(), br
		}
	}
}

func (c *testCluster) open(addr, user, password, db string) *sql.DB {
	h, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)/%s?interpolateParams=true&tls=skip-verify", user, password, addr, db))
	require.NoError(c.t, err)
	c.t.Cleanup(func() { h.Close() })
	return h
}

func (c *testCluster) story(rows int) *demo.Story {
	return demo.NewStory(demo.Config{Rows: rows, Writers: 4, Seed: 1}, demo.Deps{
		Control: c.control, Gate: c.gate, Progress: demo.NewProgress(testLog{c.t}, false),
		Shards: func(keyspace, shard string) (*sql.DB, error) {
			p, ok := c.info.Primaries[keyspace+"/"+shard]
			if !ok {
				return nil, fmt.Errorf("no primary of %s/%s", keyspace, shard)
			}
			return sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)/%s", p.User, p.Password, p.Addr, keyspace))
		},
	})
}

// testLog sends progress lines to the test's log.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// kill sends SIGKILL to one process of the cluster, by the name of its pid file.
func (c *testCluster) kill(name string) {
	c.t.Helper()
	pid := c.pid(name)
	require.NoError(c.t, syscall.Kill(pid, syscall.SIGKILL))
	c.t.Logf("killed %s (pid %d)", name, pid)
}

// down stops the cluster, and looks for processes that mention its directory.
func (c *testCluster) down() {
	if c.cmd.Process == nil {
		return
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-c.exited:
		if err != nil && !c.t.Failed() {
			c.t.Errorf("braid up ended with %v\n%s", err, c.stderr)
		}
	case <-time.After(2 * time.Minute):
		_ = c.cmd.Process.Kill()
		c.t.Errorf("braid up does not end\n%s", c.stderr)
	}
	if c.t.Failed() {
		c.t.Logf("braid up said:\n%s", c.stderr)
		c.logs()
	}
	if left := processesOf(c.dir); len(left) > 0 {
		c.t.Errorf("processes left behind:\n%s", strings.Join(left, "\n"))
	}
}

// logs prints the end of every log of the cluster.
func (c *testCluster) logs() {
	files, _ := filepath.Glob(filepath.Join(c.dir, "logs", "*.log"))
	for _, f := range files {
		raw, _ := os.ReadFile(f)
		if len(raw) > 3000 {
			raw = raw[len(raw)-3000:]
		}
		c.t.Logf("--- %s\n%s", filepath.Base(f), raw)
	}
}

// processesOf lists processes that have the directory in their command line.
func processesOf(dir string) []string {
	var left []string
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		raw, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		line := strings.ReplaceAll(string(raw), "\x00", " ")
		if strings.Contains(line, dir+"/") || strings.HasSuffix(strings.TrimSpace(line), dir) {
			left = append(left, e.Name()+" "+line)
		}
	}
	return left
}

// freePorts finds a base below which nothing listens for the ports of a small cluster.
func freePorts(t *testing.T) int {
	t.Helper()
	for base := 21000; base < 32000; base += 200 {
		if portsFree(base, 200) {
			return base
		}
	}
	t.Fatal("no free range of ports")
	return 0
}

func portsFree(base, n int) bool {
	for p := base; p < base+n; p++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

// braid runs one command of the binary against this cluster and returns what it printed and its exit code.
func (c *testCluster) braid(args ...string) (stdout, stderr string, code int) {
	return braid(c.t, append([]string{"--data-dir", c.dir}, args...)...)
}

func braid(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	var out, errw bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errw
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		t.Fatalf("braid %v: %v", args, err)
	}
	return out.String(), errw.String(), cmd.ProcessState.ExitCode()
}

// eventually polls a condition that another process makes true.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, within, 10*time.Millisecond, what)
}
