package gate

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGate(t *testing.T) {
	c := newCluster(t)
	t.Run("unsharded", func(t *testing.T) { testUnsharded(t, c) })
	t.Run("prepared", func(t *testing.T) { testPrepared(t, c) })
	t.Run("sharded writes", func(t *testing.T) { testShardedWrites(t, c) })
	t.Run("differential", func(t *testing.T) { testDifferential(t, c) })
	t.Run("transactions", func(t *testing.T) { testTransactions(t, c) })
	t.Run("partial commit", func(t *testing.T) { testPartialCommit(t, c) })
	t.Run("row move", func(t *testing.T) { testRowMove(t, c) })
	t.Run("use", func(t *testing.T) { testUse(t, c) })
	t.Run("show", func(t *testing.T) { testShow(t, c) })
	t.Run("settings", func(t *testing.T) { testSettings(t, c) })
	t.Run("multi statements", func(t *testing.T) { testMultiStatements(t, c) })
	t.Run("clients", func(t *testing.T) { testClients(t, c) })
	t.Run("command line", func(t *testing.T) { testCommandLine(t, c) })
	t.Run("replicas", func(t *testing.T) { testReplicas(t, c) })
	t.Run("show streams", func(t *testing.T) { testShowStreams(t, c) })
	t.Run("kill", func(t *testing.T) { testKill(t, c) })
}

func testUnsharded(t *testing.T, c *testCluster) {
	q := c.conn(t, "commerce", "")
	exec(t, q, "INSERT INTO product VALUES ('a', 1), ('b', 2)")
	require.Equal(t, []string{"a|1", "b|2"}, rows(t, q, "SELECT * FROM product ORDER BY sku"))
	require.EqualValues(t, 2, affected(t, exec(t, q, "UPDATE product SET price = price + 10")))
	_, err := q.ExecContext(context.Background(), "INSERT INTO product VALUES ('a', 1)")
	require.Equal(t, 1062, code(err))
	_, err = q.ExecContext(context.Background(), "SELEC 1")
	require.Equal(t, 1064, code(err))
	_, err = q.ExecContext(context.Background(), "SELECT * FROM nothing_here")
	require.Equal(t, 1146, code(err))
	require.Equal(t, []string{"a|11"}, rows(t, q, "SELECT * FROM commerce.product WHERE commerce.product.sku = 'a'"))

	exec(t, q, "BEGIN")
	exec(t, q, "DELETE FROM product")
	require.Equal(t, []string{"0"}, rows(t, q, "SELECT COUNT(*) FROM product"))
	exec(t, q, "ROLLBACK")
	require.Equal(t, []string{"2"}, rows(t, q, "SELECT COUNT(*) FROM product"))

	require.EqualValues(t, 1000, insertID(t, exec(t, q, "INSERT INTO ticket (text) VALUES ('x'), ('y')")))
	require.Equal(t, []string{"1000|x", "1001|y"}, rows(t, q, "SELECT * FROM ticket ORDER BY id"))
	require.Equal(t, []string{"1000"}, rows(t, q, "SELECT LAST_INSERT_ID()"))
	require.EqualValues(t, 1, insertID(t, exec(t, q, "INSERT INTO plain_auto (v) VALUES (5)")))
	require.Equal(t, []string{"1|5"}, rows(t, q, "SELECT * FROM plain_auto WHERE id = LAST_INSERT_ID()"))
}

func testPrepared(t *testing.T, c *testCluster) {
	q := c.conn(t, "commerce", "")
	exec(t, q, "INSERT INTO product VALUES (?, ?)", "pre'pared\\ \x00", 7)
	require.Equal(t, []string{"pre'pared\\ \x00|7"}, rows(t, q, "SELECT sku, price FROM product WHERE price = ? AND sku LIKE ?", 7, "pre%"))
	stmt, err := q.PrepareContext(context.Background(), "SELECT ? + 1, ?, '?'")
	require.NoError(t, err)
	for i := range 3 {
		var a int
		var b, m string
		require.NoError(t, stmt.QueryRow(i, "x").Scan(&a, &b, &m))
		require.Equal(t, i+1, a)
		require.Equal(t, "?", m)
	}
	require.NoError(t, stmt.Close())
	exec(t, q, "DELETE FROM product WHERE price = ?", 7)
}

func testShardedWrites(t *testing.T, c *testCluster) {
	q := c.conn(t, "customer", "")
	res := exec(t, q, "INSERT INTO customer (email) VALUES ('a@x'), ('b@x'), ('c@x'), ('d@x')")
	require.EqualValues(t, 4, affected(t, res))
	first := insertID(t, res)
	require.Positive(t, first)
	require.Equal(t, []string{"4"}, rows(t, q, "SELECT COUNT(*) FROM customer"))
	require.Equal(t, []string{"b@x"}, rows(t, q, "SELECT email FROM customer WHERE customer_id = ?", first+1))
	require.Equal(t, []string{"d@x", "c@x"}, rows(t, q, "SELECT email FROM customer ORDER BY email DESC LIMIT 2"))
	require.EqualValues(t, 4, affected(t, exec(t, q, "UPDATE customer SET score = customer_id")))
	low, high := c.root(t, "customer/-80"), c.root(t, "customer/80-")
	for _, s := range []interface {
		Close() error
	}{low, high} {
		require.NotNil(t, s)
	}
	require.EqualValues(t, 4, affected(t, exec(t, q, "DELETE FROM customer")))
}
