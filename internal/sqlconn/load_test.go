package sqlconn_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
)

const loadStatement = "LOAD DATA LOCAL INFILE 'braid' INTO TABLE t CHARACTER SET binary (id, c)"

func data(text string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

func TestLoadLocal(t *testing.T) {
	conn := session(t)
	query(t, conn, "CREATE TABLE t (id INT PRIMARY KEY, c LONGBLOB)")
	large := bytes.Repeat([]byte("x"), 20<<20) // more than one packet can be
	res, err := conn.LoadLocal(t.Context(), "BEGIN;"+loadStatement, 0, func(w io.Writer) error {
		for _, part := range [][]byte{[]byte("1\ta\\tb\\nc\\\\\n2\t\\N\n"), nil, []byte("3\t"), large, []byte("\n")} {
			if _, err := w.Write(part); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.EqualValues(t, 3, res.Affected)
	require.True(t, conn.InTransaction())
	query(t, conn, "COMMIT")
	require.Equal(t, "\"1\" \"a\\tb\\nc\\\\\"\n\"2\" NULL\n", text(query(t, conn, "SELECT * FROM t WHERE id < 3 ORDER BY id")))
	require.Equal(t, "\"20971520\"\n", text(query(t, conn, "SELECT LENGTH(c) FROM t WHERE id = 3")))

	res, err = conn.LoadLocal(t.Context(), loadStatement, 0, data(""))
	require.NoError(t, err)
	require.Zero(t, res.Affected)
}

// LOCAL makes warnings of what should be errors: they come back as such.
func TestLoadLocalWarnings(t *testing.T) {
	conn := session(t)
	query(t, conn, "CREATE TABLE t (id INT PRIMARY KEY, c VARCHAR(2))")
	for _, tc := range []struct {
		data  string
		code  uint16
		count int
	}{{"1\tabc\n", 1265, 1}, {"1\ta\n1\tb\n2\tc\n2\td\n", 1062, 2}, {"x\ta\n", 1366, 1}, {"3\n", 1261, 1}, {"3\ta\tb\n", 1262, 1}} {
		query(t, conn, "BEGIN")
		_, err := conn.LoadLocal(t.Context(), loadStatement, 0, data(tc.data))
		var warnings *sqlconn.WarningsError
		require.ErrorAs(t, err, &warnings, tc.data)
		require.Equal(t, tc.count, warnings.Count, "%s: %v", tc.data, err)
		require.Equal(t, tc.code, sqlconn.ErrCode(err), "%s: %v", tc.data, err)
		_, err = conn.LoadLocal(t.Context(), strings.Replace(loadStatement, "INTO", "REPLACE INTO", 1), 1, data("9\tabc\n"))
		require.NoError(t, err, "the warning was expected")
		query(t, conn, "ROLLBACK")
		require.Equal(t, "\"0\"\n", text(query(t, conn, "SELECT COUNT(*) FROM t")))
	}
}

func TestLoadLocalErrors(t *testing.T) {
	conn := session(t)
	query(t, conn, "CREATE TABLE t (id INT PRIMARY KEY, c INT)")
	large := strings.Repeat("1\t2\n", 1<<20)
	_, err := conn.LoadLocal(t.Context(), strings.Replace(loadStatement, "TABLE t", "TABLE nothing", 1), 0, data(large))
	require.EqualValues(t, 1146, sqlconn.ErrCode(err))
	query(t, conn, "CREATE TRIGGER refuse BEFORE INSERT ON t FOR EACH ROW SIGNAL SQLSTATE '45000'")
	_, err = conn.LoadLocal(t.Context(), loadStatement, 0, data(large))
	require.EqualValues(t, 1644, sqlconn.ErrCode(err))
	require.NoError(t, conn.Ping(t.Context()), "what the server refused in the middle has been read to its end")

	own := errors.New("cannot read on")
	_, err = conn.LoadLocal(t.Context(), loadStatement, 0, func(io.Writer) error { return own })
	require.ErrorIs(t, err, own)
	require.True(t, conn.Broken(), "data cannot be taken back")
}

// No statement but LoadLocal's gets data, and an application's session does not even offer it.
func TestLoadLocalIsNotOffered(t *testing.T) {
	server, db := mysqldtest.Shared(t)
	cfg := server.Root().WithDB(db)
	conn := mysqldtest.Dial(t, cfg)
	query(t, conn, "CREATE TABLE t (id INT PRIMARY KEY, c INT)")
	_, err := conn.Exec(t.Context(), strings.Replace(loadStatement, "'braid'", "'/etc/passwd'", 1))
	require.ErrorIs(t, err, sqlconn.ErrLost)
	require.ErrorContains(t, err, "asks for a file")
	cfg.Plain = true
	conn = mysqldtest.Dial(t, cfg)
	_, err = conn.Exec(t.Context(), loadStatement)
	require.EqualValues(t, 3948, sqlconn.ErrCode(err))
	require.False(t, conn.Broken())
}

func TestLoadLocalRefused(t *testing.T) {
	server := mysqldtest.New(t, mysqldtest.Options{Options: []string{"local-infile=OFF"}})
	conn := mysqldtest.Dial(t, server.Root())
	query(t, conn, "CREATE DATABASE d; USE d")
	query(t, conn, "CREATE TABLE d.t (id INT PRIMARY KEY, c INT)")
	_, err := conn.LoadLocal(t.Context(), strings.Replace(loadStatement, "TABLE t", "TABLE d.t", 1), 0, data("1\t1\n"))
	require.EqualValues(t, 3948, sqlconn.ErrCode(err))
	require.NoError(t, conn.Ping(t.Context()))
}
