package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"braid": func() { os.Exit(Main("test", os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs testdata/*.txtar. Each has a source and a target: $SOURCE and $TARGET are their DSNs, with a password that has all odd
// characters, and $DB is a database of its own on the source. `sql source STATEMENT…` runs a statement and prints its rows; `waitrow target QUERY` waits until it
// has a row; `waitmetric PATTERN…` until the metrics of $METRICS_PORT match.
func TestScripts(t *testing.T) {
	source, db := mysqldtest.Shared(t)
	target := mysqldtest.Other(t)
	servers := map[string]*mysqld.Server{"source": source, "target": target}
	for _, s := range servers {
		conn := mysqldtest.Dial(t, s.Root())
		sqlExec(t, conn, "SET NAMES utf8mb4", "CREATE USER script IDENTIFIED BY "+sqlconn.Quote(oddPassword), "GRANT ALL ON *.* TO script")
	}
	var scripts atomic.Int64 // they are set up side by side
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("SOURCE", "script:"+oddPassword+"@tcp("+source.Addr()+")/")
			env.Setenv("TARGET", "script:"+oddPassword+"@tcp("+target.Addr()+")/")
			env.Setenv("SOURCE_ADDR", source.Addr())
			env.Setenv("TARGET_ADDR", target.Addr())
			env.Setenv("PASSWORD", oddPassword)
			free, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			_, port, _ := net.SplitHostPort(free.Addr().String())
			env.Setenv("METRICS_PORT", port)
			if err := free.Close(); err != nil {
				return err
			}
			name := fmt.Sprintf("%s_%d", db, scripts.Add(1))
			env.Setenv("DB", name)
			for _, side := range []string{"SOURCE", "TARGET"} {
				if err := os.WriteFile(filepath.Join(env.WorkDir, strings.ToLower(side)+".dsn"), []byte(env.Getenv(side)+"\n"), 0o600); err != nil {
					return err
				}
			}
			env.Defer(func() {
				for _, s := range servers {
					conn, err := sqlconn.Dial(context.Background(), s.Root())
					require.NoError(t, err)
					_, err = conn.Exec(context.Background(), "DROP DATABASE IF EXISTS "+name)
					require.NoError(t, err)
					conn.Close()
				}
			})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"sql":        func(ts *testscript.TestScript, _ bool, args []string) { sqlCommand(ts, servers, args) },
			"waitrow":    func(ts *testscript.TestScript, _ bool, args []string) { waitRow(ts, servers, args) },
			"waitmetric": waitMetrics,
		},
	})
}

func sqlCommand(ts *testscript.TestScript, servers map[string]*mysqld.Server, args []string) {
	if len(args) < 2 || servers[args[0]] == nil {
		ts.Fatalf("usage: sql source|target statement…")
	}
	conn, err := sqlconn.Dial(context.Background(), servers[args[0]].Root())
	ts.Check(err)
	defer conn.Close()
	for _, sql := range args[1:] {
		res, err := conn.Query(context.Background(), sql)
		ts.Check(err)
		for _, row := range res.Rows {
			fmt.Fprintf(ts.Stdout(), "%s\n", strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%s", row), "["), "]"))
		}
	}
}

// waitMetrics waits until metrics are served in which each pattern has a line.
func waitMetrics(ts *testscript.TestScript, _ bool, patterns []string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var body []byte
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		resp, err := http.Get("http://127.0.0.1:" + ts.Getenv("METRICS_PORT") + "/metrics")
		if err != nil {
			continue // not yet
		}
		body, err = io.ReadAll(resp.Body)
		ts.Check(err)
		ts.Check(resp.Body.Close())
		if !slices.ContainsFunc(patterns, func(p string) bool { return !regexp.MustCompile(`(?m)^` + p + `$`).Match(body) }) {
			return
		}
	}
	ts.Fatalf("the metrics lack %q:\n%s", patterns, body)
}

func waitRow(ts *testscript.TestScript, servers map[string]*mysqld.Server, args []string) {
	conn, err := sqlconn.Dial(context.Background(), servers[args[0]].Root())
	ts.Check(err)
	defer conn.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		res, err := conn.Query(context.Background(), args[1])
		ts.Check(err)
		if len(res.Rows) > 0 {
			return
		}
	}
	ts.Fatalf("no row: %s", args[1])
}
