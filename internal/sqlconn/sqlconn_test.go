package sqlconn_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
)

// session gives a test a connection to the shared server, in a database of its own.
func session(t *testing.T) *sqlconn.Conn {
	server, db := mysqldtest.Shared(t)
	return mysqldtest.Dial(t, server.Root().WithDB(db))
}

func query(t *testing.T, conn *sqlconn.Conn, sql string) [][][]byte {
	t.Helper()
	res, err := conn.Query(t.Context(), sql)
	require.NoError(t, err, sql)
	return res.Rows
}

func text(rows [][][]byte) string {
	var b strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				b.WriteByte(' ')
			}
			if cell == nil {
				b.WriteString("NULL")
			} else {
				fmt.Fprintf(&b, "%q", cell)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// A password over TCP without TLS needs the server's RSA key at the first login; a socket does not; the second login is quick.
func TestLogin(t *testing.T) {
	server := mysqldtest.New(t, mysqldtest.Options{})
	for _, cfg := range []sqlconn.Config{server.Admin(), server.Admin(), server.App(), server.Repl(), server.Root()} {
		conn := mysqldtest.Dial(t, cfg)
		require.Equal(t, "\"1\"\n", text(query(t, conn, "SELECT 1")))
		require.NotZero(t, conn.ID())
	}
	wrong := server.Admin()
	wrong.Password = "wrong"
	_, err := sqlconn.Dial(t.Context(), wrong)
	require.Equal(t, uint16(mysql.ER_ACCESS_DENIED_ERROR), sqlconn.ErrCode(err))
	require.ErrorContains(t, err, server.Addr())
}

func TestCellsAreWhatTheServerSent(t *testing.T) {
	conn := session(t)
	rows := query(t, conn, `SELECT 18446744073709551615, -1, CAST(1.10 AS DECIMAL(5,2)), CAST(0.1 AS FLOAT), 1e300, NULL, '', x'00ff27',
		CAST('2024-02-29 01:02:03.000100' AS DATETIME(6)), CAST('-838:59:59' AS TIME), CAST(_utf8mb4'{"a": [1, null]}' AS JSON)`)
	require.Equal(t, `"18446744073709551615" "-1" "1.10" "0.1" "1e300" NULL "" "\x00\xff'" "2024-02-29 01:02:03.000100" "-838:59:59" "{\"a\": [1, null]}"`+"\n", text(rows))
}

func TestSessionSettings(t *testing.T) {
	conn := session(t)
	require.Equal(t, `"+00:00" "binary" "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES" "1"`+"\n",
		text(query(t, conn, "SELECT @@time_zone, @@character_set_client, @@sql_mode, @@autocommit")))
	server, _ := mysqldtest.Shared(t)
	cfg := server.Root()
	cfg.Plain = true
	require.Equal(t, "\"SYSTEM\" \"utf8mb4\"\n", text(query(t, mysqldtest.Dial(t, cfg), "SELECT @@time_zone, @@character_set_client")))
}

func TestResultOfAWrite(t *testing.T) {
	conn := session(t)
	query(t, conn, "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)")
	res, err := conn.Exec(t.Context(), "INSERT INTO t (v) VALUES (1), (2)")
	require.NoError(t, err)
	require.Equal(t, uint64(2), res.Affected)
	require.Equal(t, uint64(1), res.InsertID)
	require.Contains(t, res.Info, "Records: 2")
	res, err = conn.Exec(t.Context(), "UPDATE t SET v = 1 WHERE id = 1") // changes nothing, but a row was found
	require.NoError(t, err)
	require.Equal(t, uint64(1), res.Affected)
	_, err = conn.Exec(t.Context(), "INSERT INTO t VALUES (1, 1)")
	require.Equal(t, uint16(mysql.ER_DUP_ENTRY), sqlconn.ErrCode(err))
	require.False(t, conn.Broken(), "an answer of the server breaks nothing")

	query(t, conn, "BEGIN")
	require.True(t, conn.InTransaction())
	query(t, conn, "ROLLBACK")
	require.False(t, conn.InTransaction())

	query(t, conn, "SET session_track_gtids = OWN_GTID")
	res, err = conn.Exec(t.Context(), "DELETE FROM t WHERE id = 2")
	require.NoError(t, err)
	require.Equal(t, string(query(t, conn, "SELECT @@server_uuid")[0][0]), res.GTID[:36])
}

func TestMultiSaysWhichStatementFailed(t *testing.T) {
	conn := session(t)
	query(t, conn, "CREATE TABLE t (id INT PRIMARY KEY)")
	require.NoError(t, conn.ExecMulti(t.Context(), []byte("BEGIN; INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); COMMIT")))
	for i, sql := range []string{
		"INSERT INTO t VALUES (1); SELECT 1",
		"INSERT INTO t VALUES (10); INSERT INTO t VALUES (1); INSERT INTO t VALUES (11)",
		"INSERT INTO t VALUES (20); SELECT * FROM t; INSERT INTO t VALUES (1)",
		"INSERT INTO t VALUES (30); SELECT * FROM t; DO 1; SELECT id, (SELECT id FROM t) FROM t",
	} {
		err := conn.ExecMulti(t.Context(), []byte(sql))
		multi, ok := errors.AsType[*sqlconn.MultiError](err)
		require.True(t, ok, sql)
		require.Equal(t, i, multi.Index, sql)
		require.NotZero(t, sqlconn.ErrCode(err), sql)
	}
	require.Equal(t, "\"1\"\n\"2\"\n\"10\"\n\"20\"\n\"30\"\n", text(query(t, conn, "SELECT id FROM t ORDER BY id")))

	all, err := conn.QueryMulti(t.Context(), []byte("SELECT 1; DELETE FROM t WHERE id > 2; SELECT COUNT(*) FROM t"))
	require.NoError(t, err)
	require.Len(t, all, 3)
	require.Equal(t, uint64(3), all[1].Affected)
	require.Equal(t, "\"2\"\n", text(all[2].Rows))
	all, err = conn.QueryMulti(t.Context(), []byte("SELECT 1; SELECT 2; SELECT nonsense; SELECT 3"))
	require.Error(t, err)
	require.Len(t, all, 2, "results before the failure")
}

// A packet holds 16 MiB less one byte; the sizes around that, and around what a length prefix can hold, are where framing breaks.
func TestPacketSizes(t *testing.T) {
	conn := session(t)
	for _, size := range []int{0, 250, 251, 1<<16 - 1, 1 << 16, 1<<24 - 40, 1<<24 - 6, 1<<24 - 5, 1<<24 - 4, 1<<24 - 1, 1 << 24, 2*(1<<24-1) - 5, 40 << 20} {
		rows := query(t, conn, fmt.Sprintf("SELECT REPEAT('x', %d)", size))
		require.Equal(t, size, len(rows[0][0]), "received")
		prefix := "SELECT LENGTH('"
		rows = query(t, conn, prefix+strings.Repeat("y", size)+"')")
		require.Equal(t, fmt.Sprint(size), string(rows[0][0]), "sent")
	}
	for over := range 8 { // a command of exactly the payload's bound must be followed by an empty packet
		filler := strings.Repeat(" ", 1<<24-1-len("SELECT 1")-4+over)
		require.Equal(t, "\"1\"\n", text(query(t, conn, "SELECT 1"+filler)))
	}
}

func TestQueryStream(t *testing.T) {
	conn := session(t)
	const series = "WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n+1 FROM s WHERE n < %d) SELECT n, IF(n %% 2, NULL, n) FROM s"
	sum, rows := 0, 0
	query(t, conn, "SET cte_max_recursion_depth = 100000")
	err := conn.QueryStream(t.Context(), fmt.Sprintf(series, 50000), func(row [][]byte) error {
		rows++
		sum += len(row[0])
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 50000, rows)
	require.Equal(t, 9+90*2+900*3+9000*4+40001*5, sum)

	enough := errors.New("enough")
	err = conn.QueryStream(t.Context(), fmt.Sprintf(series, 50000), func([][]byte) error { return enough })
	require.Equal(t, enough, err)
	_, err = conn.Query(t.Context(), "SELECT 1")
	require.ErrorIs(t, err, sqlconn.ErrLost, "the rest of the rows was not read")

	conn = session(t)
	err = conn.QueryStream(t.Context(), "SELECT nonsense", func([][]byte) error { return nil })
	require.Equal(t, uint16(mysql.ER_BAD_FIELD_ERROR), sqlconn.ErrCode(err))
	require.False(t, conn.Broken())
}

// C1: a call ends with its ctx; C2: the session is broken from then on.
func TestContextEndsACall(t *testing.T) {
	conn := session(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := conn.Query(ctx, "SELECT SLEEP(30)")
	require.Less(t, time.Since(begin), 10*time.Second)
	require.ErrorIs(t, err, sqlconn.ErrLost)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, conn.Broken())
	require.ErrorIs(t, conn.Ping(t.Context()), sqlconn.ErrLost)

	conn = session(t)
	_, err = conn.Query(ctx, "SELECT 1")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.False(t, conn.Broken(), "nothing was sent")
}

func TestCloseEndsACall(t *testing.T) {
	conn, other := session(t), session(t)
	done := make(chan error, 1)
	go func() {
		done <- conn.Ping(t.Context())
		_, err := conn.Query(t.Context(), "SELECT SLEEP(30)")
		done <- err
	}()
	require.NoError(t, <-done)
	require.Eventually(t, func() bool {
		return len(query(t, other, fmt.Sprintf("SELECT 1 FROM information_schema.processlist WHERE id = %d AND info LIKE '%%SLEEP%%'", conn.ID()))) == 1
	}, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, conn.Close())
	require.NoError(t, conn.Close())
	require.ErrorIs(t, <-done, sqlconn.ErrLost)
}

func TestServerGoesAway(t *testing.T) {
	server := mysqldtest.New(t, mysqldtest.Options{})
	conn := mysqldtest.Dial(t, server.Root())
	server.Kill()
	_, err := conn.Query(t.Context(), "SELECT 1")
	require.ErrorIs(t, err, sqlconn.ErrLost)
	_, err = sqlconn.Dial(t.Context(), server.Root())
	require.ErrorContains(t, err, server.Socket())
}

// A peer that accepts and says nothing must not hold a caller (C1). No MySQL is needed.
func TestDialGivesUpOnASilentPeer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	begin := time.Now()
	_, err = sqlconn.Dial(t.Context(), sqlconn.Config{Addr: l.Addr().String(), User: "u", ConnectTimeout: 50 * time.Millisecond})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(begin), 10*time.Second)
}

func TestPool(t *testing.T) {
	server, _ := mysqldtest.Shared(t)
	pool := sqlconn.NewPool(server.Root(), 1)
	defer pool.Close()
	var first uint32
	id := func(conn *sqlconn.Conn) error { first = conn.ID(); return nil }
	require.NoError(t, pool.Do(t.Context(), id))
	before := first
	require.NoError(t, pool.Do(t.Context(), id))
	require.Equal(t, before, first, "sessions are used again")

	require.NoError(t, pool.Do(t.Context(), func(conn *sqlconn.Conn) error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, pool.Do(ctx, id), context.DeadlineExceeded, "one at a time")
		_, err := conn.Exec(t.Context(), "BEGIN")
		return err
	}))
	require.NoError(t, pool.Do(t.Context(), id))
	require.NotEqual(t, before, first, "a session with an open transaction is not lent again")

	mysqldtest.Exec(t, server, fmt.Sprintf("KILL %d", first))
	before = first
	require.NoError(t, pool.Do(t.Context(), id))
	require.NotEqual(t, before, first, "a dead session is replaced")
}
