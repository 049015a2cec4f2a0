package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What is typed wrong, or stands in the way, gets an error that names it and says what to do; nothing is changed.
func TestBadInput(t *testing.T) {
	c := up(t, upOptions{shards: "commerce/0,customer/0,customer/-80,customer/80-", types: "primary"})
	sql := func(keyspace, text string) {
		t.Helper()
		_, stderr, code := c.braid("schema", "apply", keyspace, "--sql", text)
		require.Equal(t, 0, code, stderr)
	}
	sql("commerce", "CREATE TABLE good (id BIGINT PRIMARY KEY, v INT); CREATE TABLE nokey (id BIGINT, v INT); CREATE TABLE differs (id BIGINT PRIMARY KEY, v INT)")
	sql("customer", "CREATE TABLE differs (id BIGINT PRIMARY KEY, other VARCHAR(10))")
	vschema := `{"sharded": false, "tables": {"good": {}, "nokey": {}, "differs": {}}}`
	_, stderr, code := c.braid("vschema", "apply", "commerce", "--vschema", vschema)
	require.Equal(t, 0, code, stderr)

	for name, tc := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"unknown verb":         {[]string{"workflow", "frobnicate"}, 2, []string{"frobnicate"}},
		"unknown flag":         {[]string{"move", "w", "--sauce", "commerce"}, 2, []string{"--sauce"}},
		"missing flag":         {[]string{"move", "w", "--source", "commerce"}, 2, []string{"--target"}},
		"unknown keyspace":     {[]string{"move", "w", "--source", "nowhere", "--target", "customer"}, 1, []string{"nowhere", "remedy"}},
		"unknown shard":        {[]string{"reshard", "w", "--keyspace", "customer", "--source-shards", "0", "--target-shards", "-40,40-"}, 1, []string{"-40", "remedy"}},
		"no partition":         {[]string{"reshard", "w", "--keyspace", "customer", "--source-shards", "0", "--target-shards", "-80"}, 2, []string{"80", "remedy"}},
		"no primary key":       {[]string{"move", "w", "--source", "commerce", "--target", "customer", "--tables", "nokey"}, 3, []string{"nokey", "primary key", "remedy"}},
		"table differs":        {[]string{"move", "w", "--source", "commerce", "--target", "customer", "--tables", "differs"}, 3, []string{"differs", "other", "remedy"}},
		"no such table":        {[]string{"move", "w", "--source", "commerce", "--target", "customer", "--tables", "absent"}, 1, []string{"absent"}},
		"no such workflow":     {[]string{"workflow", "switch", "absent"}, 1, []string{"absent"}},
		"unknown vindex":       {[]string{"vschema", "apply", "customer", "--vschema", `{"sharded": true, "vindexes": {"h": {"type": "hush"}}, "tables": {}}`}, 2, []string{"hush", "remedy"}},
		"vindex not declared":  {[]string{"vschema", "apply", "customer", "--vschema", `{"sharded": true, "vindexes": {}, "tables": {"t": {"column_vindexes": [{"column": "a", "name": "nope"}]}}}`}, 2, []string{"nope"}},
		"vschema not JSON":     {[]string{"vschema", "apply", "customer", "--vschema", `{`}, 2, []string{"remedy"}},
		"keyspace not covered": {[]string{"keyspace", "create", "k2", "--shards", "-40,80-"}, 2, []string{"40", "80"}},
		"yes is missing":       {[]string{"shard", "delete", "customer/-80"}, 3, []string{"--yes"}},
		"shard serves":         {[]string{"shard", "delete", "customer/0", "--yes"}, 3, []string{"customer/0"}},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := c.braid(tc.args...)
			require.Equal(t, tc.code, code, "%s%s", stdout, stderr)
			for _, want := range tc.says {
				require.Contains(t, stderr, want)
			}
			require.NotContains(t, stderr, "rpc error", "errors of the wire are not errors of the user")
		})
	}
	t.Run("nothing was created", func(t *testing.T) {
		stdout, _, code := c.braid("workflow", "list", "--output", "json")
		require.Equal(t, 0, code)
		require.NotContains(t, stdout, `"name"`)
	})
	t.Run("dry run", func(t *testing.T) {
		stdout, stderr, code := c.braid("move", "w", "--source", "commerce", "--target", "customer", "--tables", "good", "--dry-run")
		require.Equal(t, 0, code, stderr)
		require.Contains(t, stdout, "1.")
		stdout, _, _ = c.braid("workflow", "list", "--output", "json")
		require.NotContains(t, stdout, `"w"`)
	})
	t.Run("a second cluster in the same directory", func(t *testing.T) {
		_, stderr, code := c.braid("up", "--port-base", "29000")
		require.Equal(t, 1, code)
		require.Contains(t, stderr, "remedy")
	})
	t.Run("etcd is away for ten seconds", func(t *testing.T) {
		pid := c.pid("etcd")
		require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
		resume := time.AfterFunc(10*time.Second, func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
		defer resume.Stop()
		// Traffic does not need the topology.
		begun := time.Now()
		for i := range 20 {
			_, err := c.gate.Exec("INSERT INTO good (id, v) VALUES (?, 1)", i)
			require.NoError(t, err)
		}
		require.Less(t, time.Since(begun), 5*time.Second, "writes went on meanwhile")
		_, stderr, code := c.braid("keyspace", "create", "k3")
		require.Equal(t, 1, code, stderr)
		require.Contains(t, stderr, "topology")
		eventually(t, time.Minute, "the cluster is whole again", func() bool {
			stdout, _, code := c.braid("tablet", "list", "--output", "json")
			return code == 0 && strings.Count(stdout, `"serving": true`) == 4
		})
	})
}

func TestPortTaken(t *testing.T) {
	if testing.Short() {
		t.Skip("needs mysqlds")
	}
	base := freePorts(t)
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base))
	require.NoError(t, err)
	defer l.Close()
	dir := t.TempDir()
	_, stderr, code := braid(t, "up", "--data-dir", dir, "--port-base", strconv.Itoa(base))
	require.Equal(t, 1, code, stderr)
	require.Contains(t, stderr, strconv.Itoa(base))
	require.Contains(t, stderr, "--port-base")
	require.Empty(t, processesOf(dir))
}

func (c *testCluster) pid(name string) int { return pidOf(c.t, c.dir, name) }

// pidOf is the process of a cluster in a data directory.
func pidOf(t *testing.T, dir, name string) int {
	raw, err := os.ReadFile(filepath.Join(dir, "run", name+".pid"))
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	require.NoError(t, err)
	return pid
}
