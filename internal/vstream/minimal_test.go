package vstream

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/filter"
)

// Rows without column names, from before a DDL that has run when they are read: types alone do not tell columns that have changed places. Such rows
// are refused before any of them is delivered; with names they are read; and where no such DDL lies ahead, nothing is refused.
func TestMinimalMetadata(t *testing.T) {
	srv := sharedServer(t)
	srv.exec("CREATE TABLE other (id INT PRIMARY KEY, a INT, b INT)")
	metadata := func(to string) {
		srv.exec("SET GLOBAL binlog_row_metadata=" + to)
		srv.exec("FLUSH TABLES")
	}
	defer metadata("FULL")
	for name, c := range map[string]struct {
		ddl     []string
		refused string // a part of the statement that is named
	}{
		"another column": {[]string{"ALTER TABLE t DROP a, ADD c INT"}, "DROP a, ADD c"},
		"places":         {[]string{"ALTER TABLE t MODIFY a INT AFTER b"}, "AFTER b"},
		"two at once":    {[]string{"ALTER TABLE t DROP b", "ALTER TABLE t ADD b INT AFTER id"}, "DROP b"},
		"renamed":        {[]string{"CREATE TABLE n (id INT PRIMARY KEY, b INT, a INT)", "RENAME TABLE t TO old, n TO t"}, "RENAME TABLE"},
		"emptied first":  {[]string{"TRUNCATE TABLE t", "INSERT INTO t VALUES (1, 10, 20)", "ALTER TABLE t MODIFY a INT AFTER b"}, "AFTER b"},
		"emptied":        {[]string{"TRUNCATE TABLE t", "ALTER DATABASE COLLATE utf8mb4_bin"}, ""},
		"of another":     {[]string{"ALTER TABLE other MODIFY a INT AFTER b", "ALTER TABLE other MODIFY b INT AFTER a"}, ""},
		"none":           {nil, ""},
	} {
		run := func(t *testing.T, refused bool) {
			srv.exec("DROP TABLE IF EXISTS t, old, n")
			srv.exec("CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT)")
			from := srv.executed()
			srv.exec("INSERT INTO t VALUES (1, 10, 20)")
			before := srv.contents("t")
			for _, ddl := range c.ddl {
				srv.exec(ddl)
			}
			srv.exec("INSERT INTO t (id, b) VALUES (2, 21)")
			source := srv.local()
			for range 2 { // a stream that begins again comes to the same end
				follower := newCopier(t, 10)
				follower.position = from
				follower.open(source, Start{Position: from.String(), Rules: filter.Rules{Rules: []filter.Rule{{Table: "t"}, {Table: "other"}}}})
				if refused {
					var err error
					for err == nil && follower.txs == 0 {
						err = follower.recv()
					}
					require.ErrorContains(t, err, srv.db+".t: the source has changed the table since")
					require.ErrorContains(t, err, c.refused)
					require.Zero(t, follower.txs)
					continue
				}
				if c.refused != "" { // the row as it was
					for follower.txs == 0 {
						items, err := follower.stream.Recv()
						require.NoError(t, err)
						for _, item := range items {
							if follower.txs == 0 {
								follower.item(item)
							}
						}
					}
					written := follower.byName["t"]
					require.Equal(t, before, written.contents())
					require.Equal(t, "id a b", strings.Join([]string{written.def.Def.Columns[0].Name, written.def.Def.Columns[1].Name, written.def.Def.Columns[2].Name}, " "))
					continue
				}
				follower.follow(srv.executed())
				require.Equal(t, srv.contents("t"), follower.byName["t"].contents())
				// Now that the stream is at the end, it goes on through the same.
				srv.exec("UPDATE t SET b = b + 1")
				follower.follow(srv.executed())
				srv.exec("ALTER TABLE t ADD COLUMN live INT FIRST")
				follower.follow(srv.executed())
				srv.exec("UPDATE t SET b = b + 1, live = 7")
				follower.follow(srv.executed())
				require.Equal(t, srv.contents("t"), follower.byName["t"].contents())
				return
			}
		}
		t.Run(name+"/minimal", func(t *testing.T) { metadata("MINIMAL"); run(t, c.refused != "") })
		t.Run(name+"/full", func(t *testing.T) { metadata("FULL"); run(t, false) })
	}
}
