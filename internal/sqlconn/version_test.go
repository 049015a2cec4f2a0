package sqlconn_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
)

var update = flag.Bool("update", false, "record the greeting of the MariaDB on the PATH again")

const greeting = "testdata/mariadb_greeting.hex"

func TestUnsupported(t *testing.T) {
	for version, want := range map[string]string{
		"8.0.36": "", "8.0.36-28": "", "8.4.6": "", "9.7.4-2": "", "26.7.0": "", "8.0.mysql_aurora.3.04.0": "",
		"5.5.5-10.11.14-MariaDB-0+deb12u2": "MariaDB", "11.8.2-MariaDB-log": "MariaDB", "5.7.44-log": "older", "5.6.51": "older", "": "older",
	} {
		why, remedy := sqlconn.Unsupported(version)
		require.Equal(t, want == "", why == "", version)
		require.Contains(t, why, want, version)
		require.Equal(t, why == "", remedy == "", version)
	}
}

// refused dials as everybody does, and as those do who want to ask a server what it is.
func refused(t *testing.T, cfg sqlconn.Config, words string) {
	t.Helper()
	_, err := sqlconn.Dial(t.Context(), cfg)
	require.ErrorIs(t, err, errs.ServerUnsupported)
	require.ErrorContains(t, err, words)
	require.ErrorContains(t, err, cfg.Addr)
	require.NotEmpty(t, errs.Of(err).NextSteps())
	cfg.Plain = true
	conn, err := sqlconn.Dial(t.Context(), cfg)
	require.NoError(t, err)
	defer conn.Close()
	version, _, _ := strings.Cut(words, ":")
	require.Contains(t, conn.ServerVersion(), version)
}

// TestGreetings: servers that cannot be used are refused by what they are. Each is a recorded greeting and an OK for whatever is answered.
func TestGreetings(t *testing.T) {
	raw, err := os.ReadFile(greeting)
	if *update {
		raw, err = recordGreeting(t), nil
	}
	require.NoError(t, err)
	mariadb, err := hex.DecodeString(strings.TrimSpace(string(raw)))
	require.NoError(t, err)
	refused(t, sqlconn.Config{Addr: greeter(t, mariadb), User: "u", Password: "p"}, "MariaDB")

	end := bytes.IndexByte(mariadb[5:], 0) + 5 // the version ends
	old := append([]byte("\x0a"+"5.7.44-log"), mariadb[end:]...)
	old = append([]byte{byte(len(old)), 0, 0, 0}, old...)
	refused(t, sqlconn.Config{Addr: greeter(t, old), User: "u", Password: "p"}, "5.7.44-log: it is older than MySQL 8.0")
}

// greeter accepts connections, greets, and says OK to everything until it is hung up on.
func greeter(t *testing.T, greeting []byte) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Write(greeting)
			for head := make([]byte, 4); ; {
				if _, err := io.ReadFull(conn, head); err != nil {
					break
				}
				size := binary.LittleEndian.Uint32(head) & 0xffffff
				if _, err := io.CopyN(io.Discard, conn, int64(size)); err != nil {
					break
				}
				conn.Write([]byte{7, 0, 0, head[3] + 1, 0, 0, 0, 2, 0, 0, 0})
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String()
}

// TestMariaDB refuses a real one, if there is a mariadbd on the PATH.
func TestMariaDB(t *testing.T) { refused(t, mariaDB(t), "MariaDB") }

// mariaDB starts a MariaDB for a test.
func mariaDB(t *testing.T) sqlconn.Config {
	if _, err := exec.LookPath("mariadbd"); err != nil {
		t.Skip("no mariadbd on the PATH")
	}
	dir := t.TempDir()
	data, socket := filepath.Join(dir, "data"), filepath.Join(dir, "s")
	require.NoError(t, os.Mkdir(data, 0o700))
	who, err := user.Current()
	require.NoError(t, err)
	// Without grant tables it needs no system tables either.
	server := exec.CommandContext(t.Context(), "mariadbd", "--no-defaults", "--user="+who.Username, "--datadir="+data, "--socket="+socket,
		"--skip-networking", "--skip-grant-tables")
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
	})
	cfg := sqlconn.Config{Addr: socket, User: "root", Plain: true}
	require.Eventually(t, func() bool {
		conn, err := sqlconn.Dial(t.Context(), cfg)
		if err == nil {
			conn.Close()
		}
		return err == nil || !errors.Is(err, os.ErrNotExist) && !strings.Contains(err.Error(), "refused")
	}, time.Minute, 20*time.Millisecond)
	cfg.Plain = false
	return cfg
}

// recordGreeting is the first packet of a MariaDB, as hex.
func recordGreeting(t *testing.T) []byte {
	conn, err := net.Dial("unix", mariaDB(t).Addr)
	require.NoError(t, err)
	defer conn.Close()
	packet := make([]byte, 4)
	_, err = io.ReadFull(conn, packet)
	require.NoError(t, err)
	body := make([]byte, binary.LittleEndian.Uint32(packet)&0xffffff)
	_, err = io.ReadFull(conn, body)
	require.NoError(t, err)
	text := []byte(hex.EncodeToString(append(packet, body...)) + "\n")
	require.NoError(t, os.MkdirAll("testdata", 0o755))
	require.NoError(t, os.WriteFile(greeting, text, 0o600))
	return text
}

// TestOddPasswords: whatever characters a password has, they are the ones that the server gets.
func TestOddPasswords(t *testing.T) {
	server, _ := mysqldtest.Shared(t)
	conn := mysqldtest.Dial(t, server.Root())
	query(t, conn, "SET NAMES utf8mb4")
	for i, password := range []string{`p:a@ss/w?rd)(#%26 "'\`, "ünïcödé 日本 😀", " space ", "tab\tline\n", `\\''""`, "`;--", strings.Repeat("long", 50), "%s%d", "$HOME"} {
		name := "odd" + string(rune('a'+i))
		query(t, conn, "CREATE USER "+name+" IDENTIFIED BY "+sqlconn.Quote(password))
		for _, addr := range []string{server.Addr(), server.Socket(), server.Addr()} {
			odd, err := sqlconn.Dial(t.Context(), sqlconn.Config{Addr: addr, User: name, Password: password})
			require.NoError(t, err, "%q", password)
			require.NoError(t, odd.Close())
		}
		_, err := sqlconn.Dial(t.Context(), sqlconn.Config{Addr: server.Addr(), User: name, Password: password + "x"})
		require.Equal(t, uint16(1045), sqlconn.ErrCode(err), "%q", password)
		query(t, conn, "DROP USER "+name)
	}
}
