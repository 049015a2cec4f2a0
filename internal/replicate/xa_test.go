package replicate

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// An XA transaction that is more than a stream holds comes in fragments at its XA COMMIT, behind what was committed before it, and once.
func TestLargePreparedTransaction(t *testing.T) {
	w := newWorld(t)
	table := w.db + ".prepared"
	w.source.exec("CREATE TABLE " + table + " (id INT PRIMARY KEY, v LONGTEXT)")
	require.NoError(t, w.run(once))
	xid := fmt.Sprintf("'%s'", w.db)
	w.source.exec("INSERT INTO "+table+" VALUES (1, 'before'), (2, 'gone')", "XA START "+xid, "DELETE FROM "+table+" WHERE id = 2")
	for id := range 72 {
		w.source.exec(fmt.Sprintf("INSERT INTO %s VALUES (%d, REPEAT('x', 1048576))", table, 10+id))
	}
	w.source.exec("UPDATE "+table+" SET v = 'last' WHERE id = 11", "XA END "+xid, "XA PREPARE "+xid, "INSERT INTO "+table+" VALUES (3, 'meanwhile')")
	r := w.start()
	r.running()
	w.source.exec("XA COMMIT "+xid, "UPDATE "+table+" SET v = 'behind' WHERE id = 12")
	r.catchUp()
	require.NoError(t, r.stop())
	w.equal(table)
}
