package mysqld_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/process"
	"braid/internal/sqlconn"
)

func cell(t *testing.T, conn *sqlconn.Conn, sql string) string {
	t.Helper()
	res, err := conn.Query(t.Context(), sql)
	require.NoError(t, err, sql)
	require.NotEmpty(t, res.Rows, sql)
	return string(res.Rows[0][0])
}

func TestServerIsSetUpForStreams(t *testing.T) {
	server := mysqldtest.New(t, mysqldtest.Options{Durable: true, Options: []string{"max-connections=77"}})
	conn := mysqldtest.Dial(t, server.Admin())
	for variable, want := range map[string]string{
		"gtid_mode": "ON", "enforce_gtid_consistency": "ON", "binlog_format": "ROW", "binlog_row_image": "FULL", "binlog_row_metadata": "FULL",
		"log_replica_updates": "1", "sync_binlog": "1", "innodb_flush_log_at_trx_commit": "1", "bind_address": "127.0.0.1",
		"max_connections": "77", "server_id": fmt.Sprint(server.ServerID()),
	} {
		require.Equal(t, want, cell(t, conn, "SELECT @@"+variable), variable)
	}
	require.Equal(t, "1", cell(t, conn, "SELECT REGEXP_LIKE(_utf8mb4'Ärger', _utf8mb4'^ä')"), "ICU's data is there")
}

// M2
func TestNewServersHaveNoHistory(t *testing.T) {
	server, other := mysqldtest.New(t, mysqldtest.Options{}), mysqldtest.New(t, mysqldtest.Options{})
	conn := mysqldtest.Dial(t, server.Root())
	require.Equal(t, "", cell(t, conn, "SELECT @@gtid_executed"))
	res, err := conn.Query(t.Context(), "SHOW BINARY LOGS")
	require.NoError(t, err)
	require.Len(t, res.Rows, 1)
	res, err = conn.Query(t.Context(), "SHOW BINLOG EVENTS IN '"+string(res.Rows[0][0])+"'")
	require.NoError(t, err)
	for _, row := range res.Rows {
		require.NotContains(t, string(row[5]), "braid_", "accounts are in no binlog")
	}
	require.NotEqual(t, cell(t, conn, "SELECT @@server_uuid"), cell(t, mysqldtest.Dial(t, other.Root()), "SELECT @@server_uuid"))
}

// What the accounts are for works with their privileges: replication between two servers, from the first transaction on.
func TestReplicationBetweenServers(t *testing.T) {
	primary, replica := mysqldtest.New(t, mysqldtest.Options{}), mysqldtest.New(t, mysqldtest.Options{})
	admin, other := mysqldtest.Dial(t, primary.Admin()), mysqldtest.Dial(t, replica.Admin())
	exec(t, admin, "CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)", "INSERT INTO shop.t VALUES (1), (2)")
	source := fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=%d, SOURCE_USER=%s, SOURCE_PASSWORD=%s, "+
		"SOURCE_AUTO_POSITION=1, SOURCE_SSL=0, GET_SOURCE_PUBLIC_KEY=1", primary.Port(), sqlconn.Quote(primary.Repl().User), sqlconn.Quote(primary.Repl().Password))
	exec(t, other, source, "START REPLICA", "SET GLOBAL super_read_only=1")
	position := cell(t, admin, "SELECT @@gtid_executed")
	require.Equal(t, "0", cell(t, other, fmt.Sprintf("SELECT WAIT_FOR_EXECUTED_GTID_SET('%s', 30)", position)))
	require.Equal(t, "2", cell(t, other, "SELECT COUNT(*) FROM shop.t"))

	// A replica goes on by itself after a crash.
	replica.Kill()
	exec(t, admin, "INSERT INTO shop.t VALUES (3)")
	require.NoError(t, replica.Start(t.Context()))
	position = cell(t, admin, "SELECT @@gtid_executed")
	other = mysqldtest.Dial(t, replica.Admin())
	require.Equal(t, "0", cell(t, other, fmt.Sprintf("SELECT WAIT_FOR_EXECUTED_GTID_SET('%s', 30)", position)))
}

// A copy of a stopped server has its rows and its GTIDs; with an identity of its own it replicates from the original.
func TestCopyDir(t *testing.T) {
	original := start(t, func(*mysqld.Config) {})
	exec(t, mysqldtest.Dial(t, original.Root()), "CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)", "INSERT INTO shop.t VALUES (1)")
	uuid := cell(t, mysqldtest.Dial(t, original.Root()), "SELECT @@server_uuid")
	executed := cell(t, mysqldtest.Dial(t, original.Root()), "SELECT @@gtid_executed")
	require.NoError(t, original.Stop(t.Context()))
	for _, newIdentity := range []bool{false, true} {
		twin := start(t, func(c *mysqld.Config) {
			c.Dir = filepath.Join(c.Dir, "copy")
			require.NoError(t, mysqld.CopyDir(original.Dir(), c.Dir, newIdentity))
		})
		conn := mysqldtest.Dial(t, twin.Root())
		require.Equal(t, "1", cell(t, conn, "SELECT id FROM shop.t"))
		require.Equal(t, executed, cell(t, conn, "SELECT @@gtid_executed"))
		require.Equal(t, newIdentity, uuid != cell(t, conn, "SELECT @@server_uuid"))
	}
}

func TestWhatAccountsMayDo(t *testing.T) {
	server := start(t, func(c *mysqld.Config) { c.DB = "shop" })
	admin, repl := mysqldtest.Dial(t, server.Admin()), mysqldtest.Dial(t, server.Repl())
	exec(t, admin, "CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)", "CREATE DATABASE _braid",
		"CREATE TABLE _braid.dependency (id INT PRIMARY KEY)", "CREATE TABLE _braid.vreplication (id INT PRIMARY KEY)",
		"SET SESSION sql_log_bin=0", "SET SESSION sql_log_bin=1", "SET GLOBAL read_only=1", "INSERT INTO shop.t VALUES (1)",
		"SET GLOBAL read_only=0", "SHOW BINARY LOG STATUS", "FLUSH TABLES shop.t WITH READ LOCK", "UNLOCK TABLES",
		"SHOW PROCESSLIST", "SHOW REPLICA STATUS")
	exec(t, repl, "SELECT * FROM shop.t", "SHOW CREATE TABLE shop.t", "SHOW BINARY LOG STATUS", "SELECT * FROM _braid.vreplication")
	app := mysqldtest.Dial(t, server.App().WithDB("shop"))
	exec(t, app, "CREATE TABLE u (id INT)", "INSERT INTO u VALUES (1)", "DROP TABLE u", "INSERT INTO _braid.dependency VALUES (1)", "DELETE FROM _braid.dependency WHERE id = 1")

	everybody := []string{"SHUTDOWN", "CREATE USER x", "GRANT SELECT ON *.* TO braid_app@localhost", "SELECT * FROM mysql.user",
		"UPDATE mysql.user SET Super_priv='Y'", "SELECT 1 INTO OUTFILE '/tmp/x'", "CREATE DATABASE xbraid"}
	for _, c := range []struct {
		conn *sqlconn.Conn
		more []string
	}{
		{admin, nil},
		{repl, []string{"INSERT INTO shop.t VALUES (2)", "DROP TABLE shop.t", "SET GLOBAL read_only=1"}},
		{app, []string{"SELECT * FROM _braid.vreplication", "SET GLOBAL read_only=1", "SET SESSION sql_log_bin=0", "SHOW BINARY LOG STATUS", "DROP TABLE _braid.dependency"}},
	} {
		for _, sql := range append(c.more, everybody...) {
			_, err := c.conn.Exec(t.Context(), sql)
			require.NotZero(t, sqlconn.ErrCode(err), sql)
		}
	}
}

func TestCrashAndRestart(t *testing.T) {
	server := mysqldtest.New(t, mysqldtest.Options{})
	conn := mysqldtest.Dial(t, server.Root())
	exec(t, conn, "CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)", "INSERT INTO d.t VALUES (1)")
	require.ErrorContains(t, server.Start(t.Context()), "runs already")
	for _, end := range []func(){server.Kill, func() { require.NoError(t, server.Stop(t.Context())) }} {
		done := server.Done()
		end()
		<-done
		require.False(t, server.Running())
		require.NoError(t, server.Stop(t.Context()), "stopping twice is fine")
		require.NoError(t, server.Start(t.Context()))
		require.Equal(t, "1", cell(t, mysqldtest.Dial(t, server.Root()), "SELECT COUNT(*) FROM d.t"))
	}
}

// M4
func TestPasswordsAreNotShown(t *testing.T) {
	server := start(t, func(c *mysqld.Config) { c.Passwords.Admin = "S3cr3tPassw0rd" })
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", server.Pid()))
	require.NoError(t, err)
	require.NotContains(t, string(raw), "S3cr3t")
	log, err := os.ReadFile(server.ErrorLog())
	require.NoError(t, err)
	require.NotContains(t, string(log), "S3cr3t")
	require.NoFileExists(t, filepath.Join(server.Dir(), "init.sql"))
}

// start starts a server that a test configures itself.
func start(t *testing.T, change func(*mysqld.Config)) *mysqld.Server {
	t.Helper()
	server := configure(t, change)
	require.NoError(t, server.Start(t.Context()))
	return server
}

func configure(t *testing.T, change func(*mysqld.Config)) *mysqld.Server {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a mysqld")
	}
	bin, err := mysqldtest.Binary()
	require.NoError(t, err)
	port, err := mysqldtest.FreePort()
	require.NoError(t, err)
	cfg := mysqld.Config{
		Dir: t.TempDir(), Port: port, ServerID: 7, Fast: true,
		Passwords: mysqld.Passwords{Root: "r", Admin: "a", App: "p", Repl: "l"},
	}
	change(&cfg)
	server, err := mysqld.New(bin, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Remove()) })
	return server
}

func TestStartFailsWithAReason(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	server := configure(t, func(c *mysqld.Config) { c.Port = taken })
	err = server.Start(t.Context())
	require.ErrorIs(t, err, errs.PortTaken)
	require.ErrorContains(t, err, fmt.Sprint(taken))

	server = configure(t, func(c *mysqld.Config) { c.Options = []string{"no-such-option=1"} })
	err = server.Start(t.Context())
	require.ErrorIs(t, err, errs.MySQLNotStarted)
	require.ErrorContains(t, err, "no-such-option")
	require.ErrorContains(t, err, server.ErrorLog())
	require.False(t, server.Running())

	first := start(t, func(*mysqld.Config) {})
	second := configure(t, func(c *mysqld.Config) { c.Dir = first.Dir() })
	err = second.Start(t.Context())
	require.ErrorIs(t, err, errs.DirInUse)
	require.True(t, first.Running())

	require.NoError(t, first.Stop(t.Context()))
	stranger := configure(t, func(c *mysqld.Config) { c.Dir, c.Passwords.Root = first.Dir(), "another" })
	err = stranger.Start(t.Context())
	require.ErrorIs(t, err, errs.MySQLNotStarted)
	require.ErrorContains(t, err, "password")
	require.False(t, stranger.Running())

	_, err = mysqld.New(nil, mysqld.Config{Passwords: mysqld.Passwords{Root: "a\nb"}})
	for _, field := range []string{"dir", "port", "server_id", "root", "admin", "app", "repl"} {
		require.ErrorContains(t, err, field)
	}
}

// M1: an interrupted first start can be repeated.
func TestInterruptedFirstStart(t *testing.T) {
	server := configure(t, func(c *mysqld.Config) { c.DB = "my_shop" })
	for i := range 4 {
		ctx, cancel := context.WithCancel(t.Context())
		if i == 0 {
			cancel()
		} else {
			go func() { // interrupt somewhere after the process is there
				for range 1000 * i {
					server.Running()
				}
				cancel()
			}()
		}
		if err := server.Start(ctx); err != nil {
			require.ErrorIs(t, err, context.Canceled)
			require.False(t, server.Running())
		} else {
			server.Kill()
		}
		cancel()
	}
	require.NoError(t, server.Start(t.Context()))
	require.Equal(t, "", cell(t, mysqldtest.Dial(t, server.Root()), "SELECT @@gtid_executed"))
	conn := mysqldtest.Dial(t, server.Admin())
	exec(t, conn, "CREATE DATABASE my_shop", "CREATE TABLE my_shop.t (id INT)")
	exec(t, mysqldtest.Dial(t, server.Root()), "CREATE DATABASE myxshop")
	exec(t, mysqldtest.Dial(t, server.App().WithDB("my_shop")), "INSERT INTO t VALUES (1)")
	_, err := sqlconn.Dial(t.Context(), server.App().WithDB("myxshop"))
	require.Equal(t, uint16(1044), sqlconn.ErrCode(err), "the underscore in a grant is no wildcard")
}

// M1: two programs that start at the same time, with an empty cache, make one template.
func TestTemplateIsMadeOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a mysqld")
	}
	bin, err := mysqldtest.Binary()
	require.NoError(t, err)
	root := filepath.Dir(filepath.Dir(filepath.Dir(bin.Path)))
	if !strings.HasPrefix(filepath.Base(root), "mysql-") {
		root = bin.Path // the system's
	}
	t.Setenv(mysqld.EnvBinary, root)
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	bin, err = mysqld.Find(t.Context())
	require.NoError(t, err)
	servers := [2]*mysqld.Server{}
	for i := range servers {
		servers[i] = configure(t, func(*mysqld.Config) {})
	}
	var wg sync.WaitGroup
	results := [2]error{}
	for i, server := range servers {
		wg.Go(func() { results[i] = server.Start(t.Context()) })
	}
	wg.Wait()
	require.NoError(t, errors.Join(results[:]...))
	made, _ := filepath.Glob(filepath.Join(cache, "braid", "template-*"))
	require.Len(t, made, 1)
}

// Sockets have short names; a test or a user may have deep directories.
func TestDeepDirectory(t *testing.T) {
	server := start(t, func(c *mysqld.Config) {
		c.Dir = filepath.Join(c.Dir, strings.Repeat("d", 100))
	})
	require.Equal(t, "1", cell(t, mysqldtest.Dial(t, server.Root()), "SELECT 1"))
}

func TestSharedServerGivesEachTestADatabase(t *testing.T) {
	one, db1 := mysqldtest.Shared(t)
	two, db2 := mysqldtest.Shared(t)
	require.Same(t, one, two)
	require.NotEqual(t, db1, db2)
}

func TestTool(t *testing.T) {
	server, db := mysqldtest.Shared(t)
	mysqldtest.Exec(t, server, "CREATE TABLE "+db+".t (id INT PRIMARY KEY)", "INSERT INTO "+db+".t VALUES (4711)")
	argv, env, err := server.Binary().Tool("mysqldump")
	require.NoError(t, err)
	account := server.Admin()
	argv = append(argv, "--host=127.0.0.1", "--port="+fmt.Sprint(server.Port()), "--get-server-public-key", "--user="+account.User, "--no-tablespaces", "--set-gtid-purged=OFF", db)
	out, err := process.Run(t.Context(), process.Spec{Argv: argv, Env: append(env, "MYSQL_PWD="+account.Password)})
	require.NoError(t, err)
	require.Contains(t, string(out), "(4711)")
	_, _, err = server.Binary().Tool("no-such-tool")
	require.Error(t, err)
}

func exec(t *testing.T, conn *sqlconn.Conn, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		_, err := conn.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
	}
}
