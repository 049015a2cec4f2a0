package vstream

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/filter"
)

// TestLaggingDDL: a stream that comes to ordinary DDL long after the server has run it, and all that followed, reads each row as it was: its table's name, and
// its columns' names, order, types and character sets at that time.
func TestLaggingDDL(t *testing.T) {
	srv := sharedServer(t)
	for name, c := range map[string]struct{ statements, want []string }{
		"columns one by one": {
			[]string{"CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)", "ALTER TABLE t ADD COLUMN a INT DEFAULT 5", "INSERT INTO t VALUES (2, 6)",
				"ALTER TABLE t ADD COLUMN b VARCHAR(5) FIRST", "INSERT INTO t VALUES ('x', 3, 7)", "ALTER TABLE t DROP COLUMN a", "UPDATE t SET b = 'y' WHERE id = 3"},
			[]string{"t id=1", "t id=2 a=6", "t b=x id=3 a=7", "t b=y id=3"},
		},
		"renamed twice, and another of the name": {
			[]string{"CREATE TABLE t (id INT PRIMARY KEY, a INT)", "INSERT INTO t VALUES (1, 2)", "RENAME TABLE t TO u", "INSERT INTO u VALUES (2, 3)",
				"RENAME TABLE u TO w", "INSERT INTO w VALUES (3, 4)", "CREATE TABLE t (k VARCHAR(5) PRIMARY KEY)", "INSERT INTO t VALUES ('five')"},
			[]string{"t id=1 a=2", "u id=2 a=3", "w id=3 a=4", "t k=five"},
		},
		"dropped, and made otherwise": {
			[]string{"CREATE TABLE t (id INT PRIMARY KEY, a INT)", "INSERT INTO t VALUES (1, 2)", "DROP TABLE t",
				"CREATE TABLE t (a INT PRIMARY KEY, id INT)", "INSERT INTO t VALUES (1, 2)", "DROP TABLE t", "CREATE TABLE t (x DATE PRIMARY KEY)", "INSERT INTO t VALUES ('2024-02-03')", "DROP TABLE t"},
			[]string{"t id=1 a=2", "t a=1 id=2", "t x=2024-02-03"},
		},
		"types": {
			[]string{"CREATE TABLE t (id INT PRIMARY KEY, a INT)", "INSERT INTO t VALUES (1, -2)", "ALTER TABLE t MODIFY a VARCHAR(20)", "INSERT INTO t VALUES (2, 'x')",
				"DELETE FROM t WHERE id = 2", "ALTER TABLE t CHANGE a c DECIMAL(10,2)", "INSERT INTO t VALUES (3, 1.5)", "DELETE FROM t WHERE id = 1",
				"ALTER TABLE t MODIFY c BIGINT UNSIGNED", "INSERT INTO t VALUES (4, 18446744073709551615)"},
			[]string{"t id=1 a=-2", "t id=2 a=x", "t id=2 a=x gone", "t id=3 c=1.50", "t id=1 c=-2.00 gone", "t id=4 c=18446744073709551615"},
		},
		"character sets": {
			[]string{"CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20)) CHARSET latin1", "SET NAMES utf8mb4", "INSERT INTO t VALUES (1, 'ä')", "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4",
				"INSERT INTO t VALUES (2, 'ä')", "ALTER TABLE t MODIFY a VARCHAR(20) COLLATE utf8mb4_bin", "INSERT INTO t VALUES (3, 'ä')", "SET NAMES binary"},
			[]string{"t id=1 a=\xe4(latin1_swedish_ci)", "t id=2 a=ä(utf8mb4_0900_ai_ci)", "t id=3 a=ä(utf8mb4_bin)"},
		},
		"swapped": {
			[]string{"CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT)", "CREATE TABLE n (id INT PRIMARY KEY, b INT, a INT)", "INSERT INTO t VALUES (1, 2, 3)", "INSERT INTO n SELECT id, b, a FROM t",
				"RENAME TABLE t TO old, n TO t", "UPDATE t SET a = 7", "DROP TABLE old", "UPDATE t SET a = 8"},
			[]string{"t id=1 a=2 b=3", "n id=1 b=3 a=2", "t id=1 b=3 a=7", "t id=1 b=3 a=8"},
		},
		"members and key": {
			[]string{"CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a','b'), k INT NOT NULL)", "INSERT INTO t VALUES (1, 'a', 11)", "ALTER TABLE t MODIFY e ENUM('b','c','a')",
				"INSERT INTO t VALUES (2, 'a', 12)", "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (k)", "UPDATE t SET e = 'c' WHERE id = 1"},
			[]string{"t id=1 e=1['a','b'] k=11", "t id=2 e=3['b','c','a'] k=12", "t id=1 e=2['b','c','a'] k=11 by k"},
		},
		"the database": {
			[]string{"CREATE DATABASE IF NOT EXISTS lag_other", "CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)", "RENAME TABLE t TO lag_other.t",
				"INSERT INTO lag_other.t VALUES (2)", "ALTER TABLE lag_other.t ADD a INT DEFAULT 1", "RENAME TABLE lag_other.t TO t", "INSERT INTO t VALUES (3, 4)", "DROP DATABASE lag_other"},
			[]string{"t id=1", "t id=3 a=4"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv.exec("DROP TABLE IF EXISTS t, u, w, n, old")
			from := srv.executed()
			for _, sql := range c.statements {
				srv.exec(sql)
			}
			until := srv.executed()
			follower := newCopier(t, 10)
			follower.position = from
			follower.open(srv.local(), Start{Position: from.String(), Rules: filter.Rules{Rules: []filter.Rule{{Table: "/.*"}}}})
			var got []string
			for !follower.position.Contains(until) {
				items, err := follower.stream.Recv()
				require.NoError(t, err)
				for _, item := range items {
					follower.item(item)
					if tx, ok := item.(*Transaction); ok {
						for i := range tx.Changes {
							got = append(got, follower.text(&tx.Changes[i]))
						}
					}
				}
			}
			require.Equal(t, c.want, got)
		})
	}
}

// text is a change with what the definition says about it.
func (g *target) text(c *Change) string {
	def := g.tables[c.TableID].def
	row, behind := c.After, ""
	if row == nil {
		row, behind = c.Before, " gone"
	}
	line := def.Target
	for i, col := range def.Def.Columns {
		line += fmt.Sprintf(" %s=%s", col.Name, row[i])
		switch {
		case col.EnumValues != nil:
			line += "['" + strings.Join(col.EnumValues, "','") + "']"
		case col.Collation != "" && row[i] != nil && string(row[i]) > "\x7f":
			line += "(" + col.Collation + ")"
		}
	}
	for _, k := range def.Def.PrimaryKey {
		if name := def.Def.Columns[k].Name; name == "k" && len(def.Def.Columns) > 1 {
			line += " by k"
		}
	}
	return line + behind
}
