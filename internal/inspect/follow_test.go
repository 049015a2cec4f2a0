package inspect

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/gtid"
)

// followed is a scan that runs.
type followed struct {
	done chan struct{}
	out  bytes.Buffer
	sum  Summary
	err  error
}

func (s *server) follow(span Span) *followed {
	f, src := &followed{done: make(chan struct{})}, s.live()
	go func() {
		defer close(f.done)
		f.sum, f.err = src.Scan(s.t.Context(), span, nil, NewTail(&f.out, false, nil))
	}()
	return f
}

// rows are the ids that were inserted, once the scan has ended.
func (f *followed) rows(t *testing.T) (ids string) {
	t.Helper()
	select {
	case <-f.done:
	case <-time.After(30 * time.Second):
		require.Fail(t, "the scan does not end")
	}
	require.NoError(t, f.err)
	for line := range strings.Lines(f.out.String()) {
		if _, id, found := strings.Cut(line, "insert d.t  id="); found {
			ids += strings.TrimSpace(id)
		}
	}
	return ids
}

// TestFollowToAnEnd: a log that is followed ends with the span, also where that end is still to come; one that is not ends with what is there, and a note.
func TestFollowToAnEnd(t *testing.T) {
	s := newServer(t)
	s.exec("CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)")
	insert := func(id int) { s.exec(fmt.Sprintf("INSERT INTO d.t VALUES (%d)", id)) }
	clock := func() time.Time {
		now, err := serverTime(t.Context(), s.conn)
		require.NoError(t, err)
		return now
	}
	next := func(n int) *gtid.Set { // what the server has, and its next n
		set := s.position().Clone()
		res, err := s.conn.Query(t.Context(), "SELECT @@server_uuid")
		require.NoError(t, err)
		last := int(set.Count())
		more, err := gtid.Parse(fmt.Sprintf("%s:%d-%d", res.Rows[0][0], last+1, last+n))
		require.NoError(t, err)
		set = set.Union(more)
		return &set
	}
	reading := func(yes bool) {
		require.Eventually(t, func() bool {
			res, err := s.conn.Query(t.Context(), "SELECT 1 FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'")
			return err == nil && len(res.Rows) > 0 == yes
		}, 10*time.Second, 10*time.Millisecond)
	}
	insert(1)

	// transactions to come, from now on, and from a position on
	from, to := s.position(), next(2)
	scan := s.follow(Span{Now: true, Follow: true, To: to})
	reading(true)
	for id := 2; id <= 5; id++ {
		insert(id)
	}
	require.Equal(t, "23", scan.rows(t))
	require.Equal(t, "23", s.follow(Span{From: from, Follow: true, To: to}).rows(t), "they are there now")
	require.Equal(t, "123", s.follow(Span{Now: true, Follow: true, To: to}).rows(t), "from the log's begin")

	// a time to come, with nothing behind it
	reading(false)
	from = s.position()
	until := clock().Add(1500 * time.Millisecond)
	scan = s.follow(Span{From: from, Follow: true, Until: until})
	reading(true)
	insert(6)
	require.Equal(t, "6", scan.rows(t))
	require.False(t, clock().Before(until))

	// a span that is to come, and a log that goes on behind it
	reading(false)
	since := clock().Add(500 * time.Millisecond)
	scan = s.follow(Span{Since: since, Follow: true, Until: since.Add(time.Second)})
	insert(7)
	s.exec("DO SLEEP(0.6)")
	insert(8)
	s.exec("DO SLEEP(1.1)")
	insert(9)
	require.Equal(t, "8", scan.rows(t))
	insert(10)
	require.Equal(t, "8", s.follow(Span{Since: since, Follow: true, Until: since.Add(time.Second)}).rows(t), "it has passed")

	// not followed
	for text, span := range map[string]Span{
		"--until lies in the future":                       {From: from, Until: clock().Add(time.Hour)},
		"--since lies in the future":                       {Since: clock().Add(time.Hour)},
		"the server does not have 3 transactions of --to-": {From: from, To: next(3)},
	} {
		scan := s.follow(span)
		want := "678910"
		if !span.Since.IsZero() {
			want = ""
		}
		require.Equal(t, want, scan.rows(t), text)
		require.Len(t, scan.sum.Notes, 1)
		require.Contains(t, scan.sum.Notes[0], text)
	}
}
