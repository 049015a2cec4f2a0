package binlog

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
)

// What we decode of a character set, MySQL converts to the same: every character of one byte, and the two of GBK.
func TestCharsets(t *testing.T) {
	srv, db := mysqldtest.Shared(t)
	conn := dial(t, srv, db)
	for _, c := range charsets {
		res, err := conn.Query(t.Context(), "SELECT ID FROM information_schema.COLLATIONS WHERE CHARACTER_SET_NAME='"+c.name+"' ORDER BY ID")
		require.NoError(t, err)
		var ids []string
		for _, row := range res.Rows {
			ids = append(ids, string(row[0]))
		}
		require.Equal(t, strings.Join(ids, " "), strings.Trim(fmt.Sprint(c.collations), "[]"), c.name)
		d := dialect{charset: c.collations[0]}
		var raws, ours []string
		try := func(raw string) {
			if s, err := d.decode(raw); err == nil {
				raws, ours = append(raws, raw), append(ours, s)
			}
		}
		for a := 0x20; a < 256; a++ {
			try(string([]byte{byte(a)}))
			for b := 0x30; c.name == "gbk" && a >= 0x80 && b < 256; b++ {
				try(string([]byte{byte(a), byte(b)}))
			}
		}
		wrong := 0
		for at := 0; at < len(raws); at += 1000 {
			end := min(at+1000, len(raws))
			var sql []string
			for _, raw := range raws[at:end] {
				sql = append(sql, fmt.Sprintf("SELECT HEX(CONVERT(_%s X'%x' USING utf8mb4))", c.name, raw))
			}
			res, err := conn.Query(t.Context(), strings.Join(sql, " UNION ALL "))
			require.NoError(t, err, c.name)
			for i, row := range res.Rows {
				if string(row[0]) != fmt.Sprintf("%X", ours[at+i]) {
					if wrong++; wrong < 5 {
						t.Errorf("%s: %X is %s on the server, and %X here", c.name, raws[at+i], row[0], ours[at+i])
					}
				}
			}
		}
		t.Logf("%s: %d, %d wrong", c.name, len(raws), wrong)
	}
}

// The text of a statement is read as its session wrote it: names in the session's character set, and strings that end where they end there.
func TestStatementsOfOtherSessions(t *testing.T) {
	srv, db := mysqldtest.Shared(t)
	conn := dial(t, srv, db)
	exec(t, conn, "SET NAMES utf8mb4", "CREATE TABLE tä (id INT)", "CREATE TABLE 表 (id INT)", "CREATE TABLE t (id INT)")
	for _, c := range []struct {
		settings, sql string
		want          []string
	}{
		{"SET NAMES latin1", "TRUNCATE TABLE t\xe4", []string{"tä"}},
		{"SET NAMES latin1", "DROP TABLE t\xe4", []string{"tä"}},
		{"SET NAMES gbk", "TRUNCATE TABLE \xb1\xed", []string{"表"}},
		{"SET NAMES gbk", "ALTER TABLE t COMMENT '\x81\x5c', RENAME TO u", []string{"t", "u"}},
		{"SET NAMES utf8mb4, sql_mode='NO_BACKSLASH_ESCAPES'", `ALTER TABLE u COMMENT 'C:\', RENAME TO t`, []string{"u", "t"}},
		{"SET NAMES utf8mb4, sql_mode='ANSI_QUOTES'", `ALTER TABLE t CHANGE id "i\" INT, RENAME TO "u"`, []string{"t", "u"}},
	} {
		from := executed(t, conn)
		exec(t, conn, c.settings, c.sql)
		got, err := readUntil(t, srv, conn, from, db)
		require.NoError(t, err)
		var names []string
		d := got[0].(*DDL)
		for _, o := range d.Objects {
			names = append(names, o.Table)
		}
		require.Equal(t, c.want, names, c.sql)
		if !strings.HasPrefix(c.sql, "DROP") {
			raw, err := Encode(d.SQL, d.Settings)
			require.NoError(t, err)
			require.Equal(t, c.sql, raw)
		}
	}
	from := executed(t, conn)
	exec(t, conn, "SET NAMES sjis, sql_mode=''", "CREATE TABLE s (id INT) COMMENT '\x95\x5c'")
	_, err := readUntil(t, srv, conn, from, db)
	require.ErrorContains(t, err, "cannot be converted")
}
