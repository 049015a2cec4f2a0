package replicate

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/vreplication"
)

// How each table is written, and why, is known from the beginning where the account decides it, else with the table's first row. It is logged
// once, is in the status, and is there for who looks at the target alone.
func TestWriterAndReason(t *testing.T) {
	eachWriter(t, func(t *testing.T, w *world) {
		w.fill()
		w.target.exec("CREATE DATABASE "+w.db, "CREATE TABLE "+w.db+".item (mine int DEFAULT 7, id bigint PRIMARY KEY, name varchar(60) NOT NULL, qty int, UNIQUE KEY name (name)) CHARACTER SET utf8mb4")
		w.source.exec("CREATE TABLE " + w.db + ".quiet (id int PRIMARY KEY)")
		native := w.cfg.Target.User == "root"
		r := w.start()
		r.running()
		w.source.exec("UPDATE "+w.db+".item SET qty=1", "UPDATE "+w.db+".note SET body='x'", "CREATE TABLE "+w.db+".late (id int PRIMARY KEY)", "INSERT INTO "+w.db+".late VALUES (1)",
			"UPDATE "+w.db+".item SET qty=2", "RENAME TABLE "+w.db+".note TO "+w.db+".memo", "UPDATE "+w.db+".memo SET body='y'")
		r.catchUp()
		of := func(writers []Writer) map[string]Writer {
			all := map[string]Writer{}
			for _, wr := range writers {
				all[strings.TrimPrefix(wr.Table, w.db+".")] = wr
			}
			return all
		}
		seen := of(r.until("late is known", func(s Status) bool { return of(s.Writers)["late"].Writer != "" && of(s.Writers)["memo"].Writer != "" }).Writers)
		require.NoError(t, r.stop())
		require.NotContains(t, seen, "note")
		if native {
			require.Equal(t, "native", seen["memo"].Writer)
			require.Equal(t, "native", seen["late"].Writer)
			require.NotContains(t, seen, "quiet", "no row has come")
			require.Contains(t, seen["item"].Reason, "mine")
		} else {
			require.Contains(t, seen["quiet"].Reason, "GRANT BINLOG_ADMIN", "it is the account's")
			require.Contains(t, seen["late"].Reason, "GRANT BINLOG_ADMIN")
			require.Contains(t, seen["item"].Reason, "GRANT BINLOG_ADMIN")
		}
		require.Equal(t, "sql", seen["item"].Writer)
		log := r.log.String()
		require.NotContains(t, log, "has not told how")
		for _, table := range []string{"item", "late", "memo"} {
			require.Len(t, regexp.MustCompile("table is written.*`"+w.db+"`.`"+table+"`").FindAllString(log, -1), 1, table)
		}
		views, err := vreplication.Show(t.Context(), w.target.conn, w.db)
		require.NoError(t, err)
		require.Equal(t, seen, of(views[0].Writers))
	})
}
