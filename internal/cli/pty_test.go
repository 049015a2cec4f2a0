package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
)

// screen is a terminal of a few sequences: what our live view uses. It keeps all lines, also those that have left the window.
type screen struct {
	mu       sync.Mutex
	lines    []string
	row, col int
	width    int
	pending  string // a sequence that has come in part
	strange  []string
}

var escape = regexp.MustCompile(`^\x1b\[([0-9]*)([A-Za-z])`)

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.pending + string(p)
	for s.pending = ""; text != ""; {
		if text[0] != '\x1b' {
			r := []rune(text)[0]
			if r == '\uFFFD' && len(text) < 4 { // a character that has come in part
				s.pending = text
				break
			}
			s.put(r)
			text = text[len(string(r)):]
			continue
		}
		m := escape.FindStringSubmatch(text)
		if m == nil {
			s.pending = text
			break
		}
		s.sequence(m[1], m[2])
		text = text[len(m[0]):]
	}
	return len(p), nil
}

func (s *screen) sequence(number, verb string) {
	n := 1
	fmt.Sscan(number, &n) //nolint:errcheck // 1 is what none means
	switch {
	case verb == "A":
		s.row = max(0, s.row-n)
	case verb == "J" && number == "":
		s.lines = s.lines[:min(len(s.lines), s.row+1)]
		s.lines[s.row] = s.lines[s.row][:min(len(s.lines[s.row]), s.col)]
	default:
		s.strange = append(s.strange, number+verb)
	}
}

func (s *screen) put(r rune) {
	switch r {
	case '\r':
		s.col = 0
		return
	case '\n':
		s.row++
	default:
		if s.col == s.width {
			s.row, s.col = s.row+1, 0
		}
	}
	for len(s.lines) <= s.row {
		s.lines = append(s.lines, "")
	}
	if r != '\n' {
		line := []rune(s.lines[s.row])
		for len(line) <= s.col {
			line = append(line, ' ')
		}
		line[s.col] = r
		s.lines[s.row] = string(line)
		s.col++
	}
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// openTerminal returns both ends of a pseudo terminal.
func openTerminal(t *testing.T, width uint16) (ours, theirs *os.File) {
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { ours.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetWinsize(int(ours.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: width}))
	theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	return ours, theirs
}

// The live view is one block, drawn in place under the log, whatever is narrower than its lines; Ctrl-C ends the run well.
func TestLiveView(t *testing.T) {
	const width = 70
	source, db := mysqldtest.Shared(t)
	target := mysqldtest.Other(t)
	from, to := mysqldtest.Dial(t, source.Root()), mysqldtest.Dial(t, target.Root())
	sqlExec(t, from, "CREATE TABLE "+db+".item (id int PRIMARY KEY, v int)", "INSERT INTO "+db+".item VALUES (1, 1), (2, 2)")
	t.Cleanup(func() {
		conn, err := sqlconn.Dial(context.Background(), target.Root())
		require.NoError(t, err)
		defer conn.Close()
		_, err = conn.Exec(context.Background(), "DROP DATABASE IF EXISTS "+db)
		require.NoError(t, err)
	})
	ours, theirs := openTerminal(t, width)
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe, "replicate", "--databases", db, "--name", db)
	cmd.Args[0] = "braid"
	cmd.Env = append(os.Environ(), "BRAID_SOURCE=root:root@unix("+source.Root().Addr+")/", "BRAID_TARGET=root:root@unix("+target.Root().Addr+")/")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, cmd.Start())
	theirs.Close()
	s := &screen{width: width}
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 4096)
		for {
			n, err := ours.Read(buf)
			if err != nil {
				return // nobody has the other end any more
			}
			_, _ = s.Write(buf[:n])
		}
	}()
	shows := func(pattern string) {
		t.Helper()
		require.Eventually(t, func() bool { return regexp.MustCompile(pattern).MatchString(s.String()) }, time.Minute, 20*time.Millisecond, "%s\n%s", pattern, screenOf{s})
	}
	block := regexp.MustCompile(`(?m)^` + db + `  (Init|Copying|Running|Lagging)$`)
	shows(`(?m)^` + db + `  Running\n  copied  2 rows of 1 tables\n  follow  0 transactions, lag \S+, 0 transactions behind$`)
	sqlExec(t, from, "UPDATE "+db+".item SET v=3")
	shows(`follow  1 transactions, .* 0 transactions behind`)
	sqlExec(t, to, "BEGIN", "SELECT * FROM "+db+".item WHERE id=1 FOR UPDATE") // what it says now is longer than a line
	sqlExec(t, from, "UPDATE "+db+".item SET v=4")
	shows(`waits   repeats a transaction`)
	sqlExec(t, to, "ROLLBACK")
	shows(`follow  2 transactions, .* 0 transactions behind`)
	require.Len(t, block.FindAllString(s.String(), -1), 1, "%s", s)
	_, err = ours.WriteString("\x03")
	require.NoError(t, err)
	require.NoError(t, cmd.Wait(), "%s", s)
	<-read
	require.Len(t, block.FindAllString(s.String(), -1), 1, "%s", s)
	require.NotContains(t, s.String(), "waits", "%s", s)
	require.Contains(t, s.String(), "msg=stopped")
	require.Empty(t, s.strange, "sequences that the view does not need")
}

// screenOf prints the screen when a wait has failed, and not before.
type screenOf struct{ *screen }
