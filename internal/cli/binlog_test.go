package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/binlog"
	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
)

// run is one command line.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errw bytes.Buffer
	code = Main("test", args, strings.NewReader(""), &out, &errw)
	return code, out.String(), errw.String()
}

// oddPassword has what DSNs, URLs and shells give a meaning.
const oddPassword = `p:a@ss/w?rd)(#%26 "'\ü&tls=true@tcp(x:1)/`

// binlogServer is a mysqld with an account that can be used over TCP.
func binlogServer(t *testing.T, options ...string) (srv *mysqld.Server, conn *sqlconn.Conn, dsn string) {
	srv = mysqldtest.New(t, mysqldtest.Options{Options: options})
	conn = mysqldtest.Dial(t, srv.Root())
	sqlExec(t, conn, "SET NAMES utf8mb4", "CREATE USER dba IDENTIFIED BY "+sqlconn.Quote(oddPassword), "GRANT ALL ON *.* TO dba", "CREATE DATABASE d")
	return srv, conn, "dba:" + oddPassword + "@tcp(" + srv.Addr() + ")/"
}

func sqlExec(t *testing.T, conn *sqlconn.Conn, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		_, err := conn.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
	}
}

func executed(t *testing.T, conn *sqlconn.Conn) string {
	set, _, err := binlog.Executed(t.Context(), conn)
	require.NoError(t, err)
	return set.String()
}

// logFile closes the current log file.
func logFile(t *testing.T, srv *mysqld.Server, conn *sqlconn.Conn) string {
	end, err := binlog.End(t.Context(), conn)
	require.NoError(t, err)
	sqlExec(t, conn, "FLUSH BINARY LOGS")
	return filepath.Join(srv.Dir(), "data", end.File)
}

// groupColumn is the first column of a table.
func groupColumn(table string) (out []string) {
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 5 && f[0] != "GROUP" {
			out = append(out, f[0])
		}
	}
	return out
}

// TestFourInserts made one after the other with pauses: four groups under commit order, one under writesets, also from the file. It makes no difference
// whether the server lowers last_committed by writesets, as it does by default, or not.
func TestFourInserts(t *testing.T) {
	for _, history := range []string{"25000", "1"} { // with 1, and two keys per row, last_committed is that of the commit order
		srv, conn, dsn := binlogServer(t, "binlog-transaction-dependency-history-size="+history)
		sqlExec(t, conn, "CREATE TABLE d.t (id INT PRIMARY KEY, u INT UNIQUE)", "FLUSH BINARY LOGS")
		from := executed(t, conn)
		for id := range 4 { // each on a connection of its own: only time tells that they did not run together
			one := mysqldtest.Dial(t, srv.Root())
			sqlExec(t, one, fmt.Sprintf("INSERT INTO d.t VALUES (%d, %[1]d)", id), "DO SLEEP(0.05)")
		}
		file := logFile(t, srv, conn)
		for by, want := range map[string][]string{"commit-order": {"1", "2", "3", "4"}, "writeset": {"1", "1", "1", "1"}} {
			code, out, errw := run(t, "binlog", "groups", "--dsn", dsn, "--from-gtid", from, "--by", by)
			require.Zero(t, code, errw)
			require.Equal(t, want, groupColumn(out), out)
			require.Contains(t, out, fmt.Sprintf("4 transactions in %s group", want[3]))
			code, out, errw = run(t, "binlog", "groups", file, "--by", by)
			require.Zero(t, code, errw)
			require.Equal(t, want, groupColumn(out), out)
		}
		code, out, errw := run(t, "binlog", "groups", "--dsn", dsn, "--from-gtid", from, "-o", "json")
		require.Zero(t, code, errw)
		var doc struct {
			APIVersion   string `json:"apiVersion"`
			Groups       int    `json:"groups"`
			Transactions []struct {
				Group  int      `json:"group"`
				GTID   string   `json:"gtid"`
				Rows   int      `json:"rows"`
				Bytes  int      `json:"bytes"`
				Tables []string `json:"tables"`
				AllUp  string   `json:"depends_on_all_up_to"`
			} `json:"transactions"`
		}
		require.NoError(t, json.Unmarshal([]byte(out), &doc), out)
		require.Equal(t, "braid/v1", doc.APIVersion)
		require.Equal(t, 4, doc.Groups)
		for i, trx := range doc.Transactions {
			require.Equal(t, []string{"d.t"}, trx.Tables)
			require.Equal(t, 1, trx.Rows)
			require.Positive(t, trx.Bytes)
			if i > 0 {
				require.Equal(t, doc.Transactions[i-1].GTID, trx.AllUp)
			}
		}
	}
}

func TestGroupsOfNothing(t *testing.T) {
	_, conn, dsn := binlogServer(t)
	now := executed(t, conn)
	code, out, errw := run(t, "binlog", "groups", "--dsn", dsn, "--from-gtid", now)
	require.Zero(t, code, errw)
	require.Equal(t, "0 transactions in 0 groups\n", out)
	code, out, errw = run(t, "binlog", "groups", "--dsn", dsn, "--from-gtid", now, "-o", "json")
	require.Zero(t, code, errw)
	require.True(t, json.Valid([]byte(out)), out)
}

// TestTail follows a server while it writes, and ends after as many transactions as it was told.
func TestTail(t *testing.T) {
	_, conn, dsn := binlogServer(t)
	sqlExec(t, conn, "CREATE TABLE d.t (id INT PRIMARY KEY, b VARBINARY(10), v VARCHAR(10))", "CREATE TABLE d.other (id INT PRIMARY KEY)")
	from := executed(t, conn)
	done := make(chan string, 1)
	go func() {
		_, out, errw := run(t, "binlog", "tail", "--dsn", dsn, "--from-gtid", from, "--limit", "3", "-o", "json", "--tables", "d.t")
		done <- out + errw
	}()
	sqlExec(t, conn, "INSERT INTO d.t VALUES (1, x'00ff', 'a\"b')", "INSERT INTO d.other VALUES (1)", "UPDATE d.t SET v = NULL")
	var out string
	select {
	case out = <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("tail does not end")
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 2, out)
	require.Contains(t, lines[0], `"rows":[{"table":"d.t","kind":"insert","after":{"id":"1","b":"0x00ff","v":"a\"b"}}]`)
	require.Contains(t, lines[1], `"before":{"id":"1","b":"0x00ff","v":"a\"b"},"after":{"id":"1","b":"0x00ff","v":null}`)

	code, out, errw := run(t, "binlog", "tail", "--dsn", dsn, "--from-gtid", from, "--to-gtid", executed(t, conn))
	require.Zero(t, code, errw)
	require.Contains(t, out, "  insert d.t  id=1, b=0x00ff, v='a\"b'\n")
	require.Contains(t, out, "  insert d.other  id=1\n")
	require.Contains(t, out, "  update d.t  id=1: v='a\"b' → NULL\n")
}

// TestTopAndParallelism print what the packages below are tested for.
func TestTopAndParallelism(t *testing.T) {
	srv, conn, dsn := binlogServer(t)
	sqlExec(t, conn, "CREATE TABLE d.t (id INT PRIMARY KEY, n INT)", "INSERT INTO d.t VALUES (1, 0), (2, 0)")
	for range 12 {
		sqlExec(t, conn, "UPDATE d.t SET n = n + 1 WHERE id = 1")
	}
	file := logFile(t, srv, conn)
	for _, source := range [][]string{{"--dsn", dsn}, {file}} {
		code, out, errw := run(t, append([]string{"binlog", "top"}, source...)...)
		require.Zero(t, code, errw)
		require.Regexp(t, `(?m)^d\.t +id=1 +13 +13 `, out)
		require.Regexp(t, `(?m)^d\.t +\S+ B|KiB +100 %`, out)
		require.Contains(t, out, "these can only be applied one after the other")
		code, out, errw = run(t, append([]string{"binlog", "top", "-o", "json"}, source...)...)
		require.Zero(t, code, errw)
		require.Contains(t, out, `"apiVersion": "braid/v1"`)
		require.True(t, json.Valid([]byte(out)), out)

		code, out, errw = run(t, append([]string{"binlog", "parallelism"}, source...)...)
		require.Zero(t, code, errw)
		require.Regexp(t, `(?m)^writeset .* 1\.00 `, out)
		require.Regexp(t, `(?m)^database `, out)
		require.Regexp(t, `(?m)^logical_clock `, out)
		code, out, errw = run(t, append([]string{"binlog", "parallelism", "-o", "json"}, source...)...)
		require.Zero(t, code, errw)
		require.Contains(t, out, `"speed_up"`)
		require.True(t, json.Valid([]byte(out)), out)
	}
}

func TestBinlogFilesThatAreDamaged(t *testing.T) {
	srv, conn, _ := binlogServer(t)
	data, err := os.ReadFile(logFile(t, srv, conn))
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "cut")
	require.NoError(t, os.WriteFile(path, data[:len(data)-50], 0o600))
	code, out, errw := run(t, "binlog", "groups", path)
	require.Equal(t, 1, code)
	require.Regexp(t, `(?m)^2 .*:2 `, out, "what was read before is shown")
	require.NotContains(t, out, "transactions in", "but not as if it were all")
	require.Regexp(t, `BRAID3009 .*cut at offset \d+: the file ends inside`, errw)
	code, _, errw = run(t, "binlog", "top", "-o", "json", filepath.Join(t.TempDir(), "none"))
	require.Equal(t, 2, code)
	require.Contains(t, errw, `"code":"BRAID1001_BAD_INPUT"`)
}

// TestBinlogErrors: exit codes, and no password anywhere.
func TestBinlogErrors(t *testing.T) {
	_, _, dsn := binlogServer(t)
	_, addr, _ := strings.Cut(dsn, "/@tcp(") // behind the password, which has one too
	dsn = "dba:not-the-password@tcp(" + strings.TrimPrefix(addr, "x:1)/@tcp(")
	for _, verb := range []string{"groups", "parallelism", "top", "tail"} {
		code, _, errw := run(t, "binlog", verb, "--dsn", dsn)
		require.Equal(t, 1, code, verb)
		require.Contains(t, errw, "Access denied")
		require.NotContains(t, errw, "not-the-password")
	}
	code, _, errw := run(t, "check", "source", "--dsn", "dba:secret@tcp(127.0.0.1:1)/")
	require.Equal(t, 1, code)
	require.Contains(t, errw, "BRAID2004")
	require.NotContains(t, errw, "secret")
}

func TestBinlogUsage(t *testing.T) {
	for _, args := range [][]string{
		{}, {"--dsn", "root:secret@db1:3306"}, {"--dsn", "root:secret@tcp(db1:3306"}, {"--dsn", ":secret@tcp(db1)/"}, {"--dsn", "root:secret@tcp(db1)/?x=y"},
		{"--dsn", "root:secret@tcp(db1)/", "file"}, {"--since", "yesterday", "f"}, {"--since", "10:00", "--until", "09:00", "f"}, {"--limit", "-1", "f"},
		{"--from-gtid", "1-5", "f"}, {"--by", "size", "f"}, {"--unknown", "f"},
	} {
		code, _, errw := run(t, append([]string{"binlog", "groups"}, args...)...)
		require.Equal(t, 2, code, args)
		require.NotContains(t, errw, "secret")
		require.NotContains(t, errw, "internal error", "%v", args)
	}
	code, _, _ := run(t, "binlog", "tail", "--tables", ".", "f")
	require.Equal(t, 2, code)
	code, _, _ = run(t, "check", "source")
	require.Equal(t, 2, code)
}

func TestDSN(t *testing.T) {
	for dsn, want := range map[string]sqlconn.Config{
		"root@tcp(db1:3306)/":                        {Addr: "db1:3306", User: "root", Password: "env"},
		"root:@tcp(db1)/":                            {Addr: "db1:3306", User: "root"},
		"u:" + oddPassword + "@tcp([::1]:33)/db":     {Addr: "[::1]:33", User: "u", Password: oddPassword},
		"u@h:x@unix(/tmp/s.sock)":                    {Addr: "/tmp/s.sock", User: "u@h", Password: "x"},
		"u:p?tls=x@tcp(127.0.0.1:3306)/d?tls=false":  {Addr: "127.0.0.1:3306", User: "u", Password: "p?tls=x"},
		"u:p:q@tcp(db.example.com:3307)/?tls=false&": {Addr: "db.example.com:3307", User: "u", Password: "p:q"},
	} {
		got, err := parseDSN(dsn, "env")
		require.NoError(t, err, dsn)
		require.Equal(t, want, got, dsn)
	}
	got, err := parseDSN("u:p@tcp(db1:1)/?tls=true", "")
	require.NoError(t, err)
	require.Equal(t, "db1", got.TLS.ServerName)
}

func TestWhen(t *testing.T) {
	berlin := time.FixedZone("", 3600)
	now := time.Date(2026, 1, 31, 12, 30, 0, 0, berlin)
	for text, want := range map[string]string{
		"": "0001-01-01T00:00:00Z", "now": "2026-01-31T12:30:00+01:00", "-2h": "2026-01-31T10:30:00+01:00", "10:00": "2026-01-31T10:00:00+01:00",
		"09:15:30": "2026-01-31T09:15:30+01:00", "2026-01-30T10:00:00Z": "2026-01-30T10:00:00Z", "2026-01-30 10:00": "2026-01-30T10:00:00+01:00",
		"2026-01-30": "2026-01-30T00:00:00+01:00",
	} {
		got, err := parseWhen("since", text, now)
		require.NoError(t, err, text)
		require.Equal(t, want, got.Format(time.RFC3339), text)
	}
	for _, bad := range []string{"2h", "25:00", "yesterday", "--2h", "-"} {
		_, err := parseWhen("since", bad, now)
		require.ErrorContains(t, err, "--since", bad)
	}
}

func TestCheckSource(t *testing.T) {
	_, conn, dsn := binlogServer(t, "binlog-row-metadata=MINIMAL", "binlog-expire-logs-seconds=3600")
	code, out, errw := run(t, "check", "source", "--dsn", dsn)
	require.Zero(t, code, errw)
	require.Contains(t, out, "can be a source")
	require.Regexp(t, `(?m)^gtid_mode +ok +ON +ON$`, out)
	require.Regexp(t, `(?m)^binlog_row_metadata +advised +MINIMAL +FULL$`, out)
	require.Contains(t, out, "SET PERSIST binlog_row_metadata='FULL';")
	require.Regexp(t, `(?m)^binlog_expire_logs_seconds +advised +3600 `, out)

	sqlExec(t, conn, "SET GLOBAL binlog_row_image=MINIMAL", "CREATE USER weak IDENTIFIED BY 'secret'")
	t.Setenv("BRAID_PASSWORD", "secret")
	_, addr, _ := strings.Cut(dsn, "x:1)/@tcp(")
	weak := "weak@tcp(" + addr
	code, out, errw = run(t, "check", "source", weak)
	require.Equal(t, 3, code, errw)
	require.Contains(t, out, "GRANT REPLICATION SLAVE ON *.* TO 'weak'@'%';")
	require.Contains(t, out, "SET PERSIST binlog_row_image='FULL';")
	require.Contains(t, out, "4 missing")
	require.Regexp(t, `(?m)^privilege +missing +missing +SELECT on the tables$`, out)
	require.Regexp(t, `(?m)^privilege +advised +missing +XA_RECOVER_ADMIN$`, out)
	for _, grant := range []string{"SELECT ON d.*", "REPLICATION SLAVE, REPLICATION CLIENT ON *.*", "XA_RECOVER_ADMIN ON *.*"} {
		sqlExec(t, conn, "GRANT "+grant+" TO weak")
	}
	_, out, _ = run(t, "check", "source", weak)
	require.Contains(t, out, "1 missing", "the setting")
	require.NotContains(t, out, "GRANT")
	require.Regexp(t, "(?m)^privilege +ok +SELECT on `d`\\.\\* +SELECT on the tables$", out)
	sqlExec(t, conn, "REVOKE ALL PRIVILEGES, GRANT OPTION FROM weak")

	code, out, _ = run(t, "check", "source", "-o", "json", "--dsn", weak)
	require.Equal(t, 3, code)
	var doc struct {
		APIVersion    string                `json:"apiVersion"`
		Ready         bool                  `json:"ready"`
		Preconditions []binlog.Precondition `json:"preconditions"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &doc))
	require.Equal(t, "braid/v1", doc.APIVersion)
	require.False(t, doc.Ready)
	require.Greater(t, len(doc.Preconditions), 10)
	for _, p := range doc.Preconditions {
		require.Equal(t, p.Status == binlog.OK, p.Remedy == "", p.Name)
	}
	code, _, errw = run(t, "binlog", "tail", "--dsn", weak)
	require.Equal(t, 3, code, "nothing can be read without the privileges")
	require.Contains(t, errw, "GRANT REPLICATION CLIENT")
}

// TestMariaDB is refused by name.
func TestMariaDB(t *testing.T) {
	addr := fakeServer(t, "5.5.5-11.4.2-MariaDB-log")
	code, out, errw := run(t, "check", "source", "--dsn", "u:p@tcp("+addr+")/")
	require.Equal(t, 3, code, errw)
	require.Regexp(t, `(?m)^version +missing +5\.5\.5-11\.4\.2-MariaDB-log `, out)
	require.Contains(t, out, "MariaDB can be neither source nor target")
	code, _, errw = run(t, "binlog", "tail", "--dsn", "u:p@tcp("+addr+")/")
	require.Equal(t, 3, code)
	require.Contains(t, errw, "MariaDB can be neither source nor target")
}

// fakeServer greets with a version and lets everybody in; it answers nothing.
func fakeServer(t *testing.T, version string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			greet(c, version)
			c.Close()
		}
	}()
	return l.Addr().String()
}

func greet(c net.Conn, version string) {
	p := append([]byte{10}, version...)
	p = append(p, 0, 1, 0, 0, 0)              // connection id
	p = append(p, "12345678\x00"...)          // salt
	p = append(p, 0xff, 0xf7, 45, 2, 0)       // capabilities, collation, status
	p = append(p, 0x08, 0x00, 21)             // capabilities: PLUGIN_AUTH; length of the salt
	p = append(p, make([]byte, 10)...)        //
	p = append(p, "123456789012\x00"...)      // the rest of the salt
	p = append(p, "mysql_native_password"...) //
	p = append(p, 0)
	c.Write(append([]byte{byte(len(p)), 0, 0, 0}, p...))
	buf := make([]byte, 4096)
	c.Read(buf)                                      // the login
	c.Write([]byte{7, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0}) // OK
	c.Read(buf)                                      // goodbye
}
