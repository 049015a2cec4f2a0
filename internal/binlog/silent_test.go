package binlog

import (
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/base/timeouts"
	"braid/internal/mysqld/mysqldtest"
)

// lines is a log that a test reads.
type lines struct {
	sync.Mutex
	text string
}

func (l *lines) Write(p []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	l.text += string(p)
	return len(p), nil
}

func (l *lines) with(text string) (found []string) {
	l.Lock()
	defer l.Unlock()
	for line := range strings.Lines(l.text) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// TestSilentServer: a server that is stopped keeps its connections, and is noticed by its silence; when it goes on, so do its readers, with everything.
func TestSilentServer(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", hubTable)
	var log lines
	h := NewHub(HubConfig{DB: srv.Repl(), Log: slog.New(slog.NewTextHandler(&log, nil))})
	t.Cleanup(h.Stop)
	f := openFollower(t, h, executed(t, conn), all)
	fill(t, conn, 3, 10)
	f.until(executed(t, conn))

	began := time.Now()
	require.NoError(t, syscall.Kill(srv.Pid(), syscall.SIGSTOP))
	t.Cleanup(func() { syscall.Kill(srv.Pid(), syscall.SIGCONT) })
	require.Eventually(t, func() bool { return len(log.with("level=WARN")) > 0 }, timeouts.StreamSilence+2*time.Second, 50*time.Millisecond, "nobody notices")
	require.Greater(t, time.Since(began), timeouts.StreamSilence-timeouts.StreamHeartbeat, "it is not taken for gone before")
	require.Contains(t, log.with("level=WARN")[0], "i/o timeout")
	ev, err := f.reader.Poll()
	require.NoError(t, err, "it may come back")
	require.Nil(t, ev)

	require.NoError(t, syscall.Kill(srv.Pid(), syscall.SIGCONT))
	fill(t, conn, 3, 10)
	f.until(executed(t, conn))
	require.Equal(t, 6, f.bodies)
}

// TestCutsAreTold: a source whose connections end again and again, and bring something each time, is read on, but not without a word.
func TestCutsAreTold(t *testing.T) {
	srv, db := mysqldtest.Shared(t)
	conn := dial(t, srv, db)
	exec(t, conn, hubTable)
	var log lines
	p := newProxy(t, srv, cutAfter(20_000))
	at := srv.Repl()
	at.Addr = p.listener.Addr().String()
	h := NewHub(HubConfig{DB: at, Log: slog.New(slog.NewTextHandler(&log, nil))})
	t.Cleanup(h.Stop)
	f := openFollower(t, h, executed(t, conn), all)
	for range 5 {
		fill(t, conn, 1, 15_000)
		f.until(executed(t, conn))
	}
	require.Greater(t, p.conns.Load(), int32(4))
	told := log.with("level=WARN")
	require.Len(t, told, 1, "once for a while")
	require.Contains(t, told[0], "times=1")
	require.Contains(t, told[0], at.Addr)

	var c cuts
	now := time.Unix(1e9, 0)
	for i, want := range []int{1, 0, 0, 3, 0} { // at 0, 25, 50, 75 and 100 seconds
		n, tell := c.add(now.Add(time.Duration(i) * 25 * time.Second))
		require.Equal(t, want, n)
		require.Equal(t, want > 0, tell)
	}
}

// cutAfter lets so many bytes of each connection pass.
func cutAfter(most int) func() func([]byte) int {
	return func() func([]byte) int {
		left := most
		return func(b []byte) int {
			keep := min(len(b), left)
			left -= keep
			return keep
		}
	}
}
