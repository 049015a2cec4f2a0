package mysqldtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/mysqld"
	"braid/internal/process"
	"braid/internal/sqlconn"
)

// Options vary a server.
type Options struct {
	Durable bool     // flush to disk at each commit, as in production; without it a SIGKILL loses nothing either
	Options []string // further options of mysqld, "name=value"
}

// passwords of test servers, which listen on the loopback for seconds.
var passwords = mysqld.Passwords{Root: "root", Admin: "admin", App: "app", Repl: "repl"}

var serverID atomic.Uint32

// New starts a server of its own for a test and removes it when the test ends. It skips the test when -short is given.
func New(t testing.TB, o Options) *mysqld.Server {
	t.Helper()
	needsMySQL(t)
	server, err := start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, server) })
	return server
}

// shared is the server of the whole test binary.
var shared = sync.OnceValues(func() (*mysqld.Server, error) { return start(context.Background(), Options{}) })

// Shared returns one server for all tests of the test binary, and a database of its own for this test, dropped when the
// test ends. The server ends with the binary, and its directory goes then too.
func Shared(t testing.TB) (server *mysqld.Server, db string) {
	t.Helper()
	needsMySQL(t)
	server, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	db = fmt.Sprintf("t%d_%s", databases.Add(1), clean(t.Name()))
	Exec(t, server, "CREATE DATABASE "+sqlconn.QuoteIdent(db))
	t.Cleanup(func() {
		// t.Context is over by now. A session that the test left behind may hold a lock on a table for ever.
		ctx, cancel := context.WithTimeout(context.Background(), timeouts.MySQLStop)
		defer cancel()
		if err := run(ctx, server.Root(), "DROP DATABASE IF EXISTS "+sqlconn.QuoteIdent(db)); err != nil && server.Running() {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return server, db
}

var databases atomic.Int64

// other is a second server of the whole test binary.
var other = sync.OnceValues(func() (*mysqld.Server, error) { return start(context.Background(), Options{}) })

// Other returns a server that is not Shared's, for tests of what happens between two. Databases are made and dropped by the test.
func Other(t testing.TB) *mysqld.Server {
	t.Helper()
	needsMySQL(t)
	server, err := other()
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// clean makes a short database name of a test's name.
func clean(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(name))
	return name[:min(len(name), 40)]
}

func needsMySQL(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a mysqld")
	}
}

// Binary finds or installs the server program.
var Binary = sync.OnceValues(func() (*mysqld.Binary, error) { return mysqld.Ensure(context.Background(), nil) })

// start starts a server on a free port; another program may take that port first, then it tries another.
func start(ctx context.Context, o Options) (*mysqld.Server, error) {
	bin, err := Binary()
	if err != nil {
		return nil, err
	}
	root, err := directory()
	if err != nil {
		return nil, err
	}
	for range 5 {
		var server *mysqld.Server
		if server, err = startOnce(ctx, bin, root, o); err == nil {
			return server, nil
		}
		if !errors.Is(err, errs.PortTaken) {
			break
		}
	}
	return nil, err
}

func startOnce(ctx context.Context, bin *mysqld.Binary, root string, o Options) (*mysqld.Server, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(root, "s")
	if err != nil {
		return nil, err
	}
	server, err := mysqld.New(bin, mysqld.Config{
		Dir: dir, Port: port, ServerID: uint32(port)<<8 | serverID.Add(1)&0xff, // unlike those of other test binaries
		Passwords: passwords, BufferPool: 64, Fast: !o.Durable, Options: o.Options,
	})
	if err != nil {
		return nil, err
	}
	if err := server.Start(ctx); err != nil {
		return nil, errors.Join(err, server.Remove())
	}
	return server, nil
}

func remove(t testing.TB, server *mysqld.Server) {
	if t.Failed() {
		if log := process.Tail(server.ErrorLog(), 0, 20); log != "" {
			t.Logf("the end of the log of mysqld on port %d:\n%s", server.Port(), log)
		}
	}
	if err := server.Remove(); err != nil {
		t.Errorf("remove mysqld: %v", err)
	}
}

// directory is where this test binary keeps its servers. A child waits for the binary's end, whatever that is, and removes it.
var directory = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "braid-test-")
	if err != nil {
		return "", err
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer ours.Close()
	lifeline = theirs // closed by the kernel when this process is gone; the servers are killed in the same moment
	janitor := exec.Command("/bin/sh", "-c", `read _; for i in 1 2 3 4 5; do rm -rf "$1" && break; sleep 0.2; done`, "sh", dir)
	janitor.Stdin = ours
	janitor.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is not for it
	return dir, janitor.Start()
})

// lifeline is referenced for ever, so that the garbage collector does not close it.
var lifeline *os.File

// FreePort returns a port of the loopback that nobody listens on now.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Exec runs statements as root, one after the other.
func Exec(t testing.TB, server *mysqld.Server, statements ...string) {
	t.Helper()
	if err := run(t.Context(), server.Root(), statements...); err != nil {
		t.Fatal(err)
	}
}

func run(ctx context.Context, cfg sqlconn.Config, statements ...string) error {
	conn, err := sqlconn.Dial(ctx, cfg)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// Dial connects for the length of the test.
func Dial(t testing.TB, cfg sqlconn.Config) *sqlconn.Conn {
	t.Helper()
	conn, err := sqlconn.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
