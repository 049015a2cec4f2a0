package vstream

import (
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/writeset"
)

// TestCascades: since 9.6 a server logs the rows that a foreign key changes with their parents, before the parent's own, and marks all of them.
func TestCascades(t *testing.T) {
	srv := sharedServer(t)
	srv.exec("CREATE TABLE parent (id INT PRIMARY KEY)")
	srv.exec("CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE)")
	srv.exec("CREATE TABLE orphan (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE SET NULL)")
	srv.exec("INSERT INTO parent VALUES (1), (2)")
	srv.exec("INSERT INTO child VALUES (10, 1), (11, 2)")
	srv.exec("INSERT INTO orphan VALUES (20, 1)")
	res, err := srv.conn.Query(t.Context(), "SHOW GLOBAL VARIABLES LIKE 'innodb_native_foreign_keys'")
	require.NoError(t, err)
	if len(res.Rows) == 0 || string(res.Rows[0][1]) == "ON" {
		t.Skip("this server cascades inside of InnoDB, and logs nothing of it")
	}
	from := srv.executed()
	srv.exec("DELETE FROM parent WHERE id = 1")
	srv.exec("UPDATE parent SET id = 3 WHERE id = 2")
	r := record(t, srv.local(), from, srv.executed())
	var got []string
	for _, tx := range r.txs {
		for _, c := range tx.Changes {
			require.NotZero(t, c.Flags&writeset.SQLForeignKeys)
			row := c.Before
			if c.After != nil {
				row = c.After
			}
			got = append(got, c.Op.String()+" "+r.maps[c.TableID].Def.Name+" "+rowText(row))
		}
	}
	last := map[string]int{}
	for i, line := range got {
		last[line] = i
	}
	t.Log(got)
	require.Len(t, got, 5)
	require.Equal(t, 2, last["delete parent "+rowText([][]byte{[]byte("1")})], "children come first")
	require.Equal(t, 4, last["update parent "+rowText([][]byte{[]byte("3")})])
	require.Contains(t, last, "delete child "+rowText([][]byte{[]byte("10"), []byte("1")}))
	require.Contains(t, last, "update child "+rowText([][]byte{[]byte("11"), []byte("3")}))
	require.Contains(t, last, "update orphan "+rowText([][]byte{[]byte("20"), nil}))
}
