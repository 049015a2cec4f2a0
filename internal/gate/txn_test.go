package gate

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/keyrange"
	"braid/internal/vindex"
)

// shardOf is the shard of a customer under the hash vindex.
func shardOf(id int64) string {
	v, err := vindex.New("hash", nil)
	if err != nil {
		panic(err)
	}
	ksid, err := v.Map([][]byte{fmt.Append(nil, id)})
	if err != nil {
		panic(err)
	}
	if r, _ := keyrange.Parse("-80"); r.Contains(ksid) {
		return "customer/-80"
	}
	return "customer/80-"
}

// idsIn returns n customer ids of a shard from an id on.
func idsIn(shard string, from int64, n int) []int64 {
	var out []int64
	for id := from; len(out) < n; id++ {
		if shardOf(id) == shard {
			out = append(out, id)
		}
	}
	return out
}

// has counts rows of a table on one shard's server.
func (c *testCluster) has(t *testing.T, shard, table, where string) int {
	t.Helper()
	res, err := c.root(t, shard).Query(t.Context(), "SELECT COUNT(*) FROM "+table+" WHERE "+where)
	require.NoError(t, err)
	var n int
	_, err = fmt.Sscan(string(res.Rows[0][0]), &n)
	require.NoError(t, err)
	return n
}

func testTransactions(t *testing.T, c *testCluster) {
	q := c.conn(t, "customer", "interpolateParams=true")
	low, high := idsIn("customer/-80", 10000, 3), idsIn("customer/80-", 10000, 3)
	insert := func(id int64) error {
		_, err := q.ExecContext(context.Background(), fmt.Sprintf("INSERT INTO customer (customer_id, email) VALUES (%d, 't')", id))
		return err
	}
	count := func() int {
		return c.has(t, "customer/-80", "customer", "customer_id >= 10000") + c.has(t, "customer/80-", "customer", "customer_id >= 10000")
	}

	exec(t, q, "BEGIN")
	require.NoError(t, insert(low[0]))
	require.NoError(t, insert(high[0]))
	require.Zero(t, count(), "nothing is committed yet")
	exec(t, q, "ROLLBACK")
	require.Zero(t, count())

	exec(t, q, "START TRANSACTION")
	require.NoError(t, insert(low[0]))
	require.NoError(t, insert(high[0]))
	require.Equal(t, 1062, code(insert(low[0])), "an error does not end the transaction")
	exec(t, q, "COMMIT")
	require.Equal(t, 2, count())
	require.Equal(t, 1, c.dependencies(t, "customer/80-", 1), "the later commit names the earlier one")
	noted := c.dependencies(t, "customer/80-", 0)
	require.EqualValues(t, 1, affected(t, exec(t, q, "UPDATE customer SET email = 'one' WHERE email = 't' AND customer_id + 0 = ?", low[0])))
	require.Equal(t, noted, c.dependencies(t, "customer/80-", 0), "a shard that changed nothing depends on nothing")
	exec(t, q, "/* why */ START TRANSACTION READ ONLY /* what */")
	require.Equal(t, 1792, code(insert(low[1])))
	exec(t, q, "ROLLBACK")

	// A statement on several shards that fails on one is undone on all; the transaction goes on.
	exec(t, q, "BEGIN")
	_, err := q.ExecContext(context.Background(), fmt.Sprintf("INSERT INTO customer (customer_id) VALUES (%d), (%d), (%d)", low[1], high[1], high[0]))
	require.Equal(t, 1062, code(err))
	require.NoError(t, insert(low[2]))
	exec(t, q, "COMMIT")
	require.Equal(t, 3, count())
	_, err = q.ExecContext(context.Background(), fmt.Sprintf("INSERT INTO customer (customer_id) VALUES (%d), (%d), (%d)", low[1], high[1], high[0]))
	require.Equal(t, 1062, code(err))
	require.Equal(t, 3, count(), "an autocommit statement that fails leaves nothing on any shard")

	exec(t, q, "BEGIN")
	require.NoError(t, insert(low[1]))
	exec(t, q, "SAVEPOINT a")
	require.NoError(t, insert(high[1]))
	exec(t, q, "ROLLBACK TO a")
	require.NoError(t, insert(high[2]))
	exec(t, q, "RELEASE SAVEPOINT a")
	_, err = q.ExecContext(context.Background(), "ROLLBACK TO SAVEPOINT a")
	require.Equal(t, 1305, code(err))
	exec(t, q, "COMMIT")
	require.Equal(t, 5, count())
	require.Equal(t, 0, c.has(t, "customer/80-", "customer", fmt.Sprintf("customer_id = %d", high[1])))

	exec(t, q, "SET autocommit = 0")
	require.NoError(t, insert(high[1]))
	exec(t, q, "ROLLBACK")
	require.Equal(t, 5, count())
	require.NoError(t, insert(high[1]))
	exec(t, q, "SET autocommit = 1")
	require.Equal(t, 6, count(), "switching autocommit on commits")

	exec(t, q, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
	exec(t, q, "BEGIN")
	require.NotEmpty(t, rows(t, q, "SELECT customer_id FROM customer WHERE customer_id >= 10000 FOR UPDATE"))
	exec(t, q, "COMMIT AND CHAIN")
	exec(t, q, "DELETE FROM customer WHERE customer_id >= 10000")
	exec(t, q, "COMMIT")
	require.Zero(t, count())
}

// dependencies counts the GTIDs that were noted on a shard, by the auto increment of the table; atLeast if there are that many.
func (c *testCluster) dependencies(t *testing.T, shard string, atLeast int) int {
	t.Helper()
	root := c.root(t, shard)
	res, err := root.Query(t.Context(), "SELECT COUNT(*) FROM _braid.dependency")
	require.NoError(t, err)
	require.Equal(t, "0", string(res.Rows[0][0]), "the table stays empty")
	res, err = root.Query(t.Context(), "SHOW CREATE TABLE _braid.dependency")
	require.NoError(t, err)
	_, after, ok := strings.Cut(string(res.Rows[0][1]), "AUTO_INCREMENT=")
	if !ok {
		return 0
	}
	var next int
	_, err = fmt.Sscan(after, &next)
	require.NoError(t, err)
	require.GreaterOrEqual(t, next-1, atLeast)
	if atLeast > 0 {
		return atLeast
	}
	return next - 1
}

// A later commit that fails is told exactly.
func testPartialCommit(t *testing.T, c *testCluster) {
	q := c.conn(t, "customer", "")
	low, high := idsIn("customer/-80", 20000, 1)[0], idsIn("customer/80-", 20000, 1)[0]
	root := c.root(t, "customer/80-")
	_, err := root.Exec(t.Context(), "RENAME TABLE _braid.dependency TO _braid.gone")
	require.NoError(t, err)
	exec(t, q, "BEGIN")
	exec(t, q, fmt.Sprintf("INSERT INTO customer (customer_id) VALUES (%d)", low))
	exec(t, q, fmt.Sprintf("INSERT INTO customer (customer_id) VALUES (%d)", high))
	_, err = q.ExecContext(context.Background(), "COMMIT")
	require.ErrorContains(t, err, "BRAID5005")
	require.ErrorContains(t, err, "committed on customer/-80")
	require.ErrorContains(t, err, "on customer/80-: rolled back")
	_, err = root.Exec(t.Context(), "RENAME TABLE _braid.gone TO _braid.dependency")
	require.NoError(t, err)
	require.Equal(t, []string{itoa(int(low))}, rows(t, q, "SELECT customer_id FROM customer WHERE customer_id >= 20000"), "the session is good afterwards")
	exec(t, q, "DELETE FROM customer WHERE customer_id >= 20000")
}

// An UPDATE of the sharding column moves the row, with every value as it was.
func testRowMove(t *testing.T, c *testCluster) {
	q := c.conn(t, "customer", "interpolateParams=true&charset=latin1&time_zone=%27%2B05%3A30%27")
	from, to := idsIn("customer/-80", 30000, 2), idsIn("customer/80-", 30000, 1)[0]
	exec(t, q, fmt.Sprintf(`INSERT INTO corder (order_id, customer_id, sku, price, f, ts, b, doc, txt) VALUES
		(30001, %d, 'gr\xf6sse', 5, 0.1, '2024-03-03 03:03:03.123456', x'00ff27', '{"a": 1.5, "b": ["x", null]}', 'M\xfcnchen'),
		(30002, %d, NULL, NULL, NULL, NULL, NULL, NULL, NULL), (30003, %d, 'there', 1, 1, NULL, NULL, NULL, NULL)`, from[0], from[1], to))
	const read = "SELECT order_id, customer_id, HEX(sku), price, f + 0.0e0, ts, HEX(b), doc, HEX(txt), g FROM corder WHERE order_id BETWEEN 30001 AND 30003 ORDER BY order_id"
	before := rows(t, q, read)

	require.EqualValues(t, 1, affected(t, exec(t, q, fmt.Sprintf("UPDATE corder SET customer_id = %d WHERE order_id = 30001", to))))
	require.Equal(t, 0, c.has(t, "customer/-80", "corder", "order_id = 30001"))
	require.Equal(t, 1, c.has(t, "customer/80-", "corder", "order_id = 30001"))
	after := rows(t, q, read)
	require.Equal(t, strings.Replace(before[0], fmt.Sprintf("|%d|", from[0]), fmt.Sprintf("|%d|", to), 1), after[0])

	// Other assignments are computed by MySQL, rows that are there already are updated in place, and all of it is one transaction.
	exec(t, q, "BEGIN")
	require.EqualValues(t, 3, affected(t, exec(t, q, fmt.Sprintf("UPDATE corder SET customer_id = %d, price = IFNULL(price, 7) * 2, sku = UPPER(sku) WHERE order_id BETWEEN 30001 AND 30003", from[0]))))
	exec(t, q, "ROLLBACK")
	require.Equal(t, after, rows(t, q, read))
	require.EqualValues(t, 3, affected(t, exec(t, q, fmt.Sprintf("UPDATE corder SET customer_id = %d, price = IFNULL(price, 7) * 2 WHERE order_id BETWEEN 30001 AND 30003", from[0]))))
	require.Equal(t, 3, c.has(t, "customer/-80", "corder", "order_id BETWEEN 30001 AND 30003"))
	require.Equal(t, []string{"10", "14", "2"}, rows(t, q, "SELECT price FROM corder WHERE order_id BETWEEN 30001 AND 30003 ORDER BY order_id"))
	require.Equal(t, []string{"latin1|+05:30"}, rows(t, q, "SELECT @@character_set_client, @@time_zone"), "the session's settings are as before")

	require.EqualValues(t, 0, affected(t, exec(t, q, fmt.Sprintf("UPDATE corder SET customer_id = %d WHERE order_id = 39999", to))))
	for _, refused := range []string{
		"UPDATE corder SET customer_id = customer_id + 1 WHERE order_id = 30001",
		fmt.Sprintf("UPDATE corder SET customer_id = %d LIMIT 1", to),
		fmt.Sprintf("UPDATE corder SET customer_id = %d, order_id = 5 WHERE order_id = 30001", to),
		fmt.Sprintf("UPDATE customer SET customer_id = %d WHERE customer_id = %d", to, from[0]),
		fmt.Sprintf("INSERT INTO corder (order_id, customer_id) VALUES (30001, %d) ON DUPLICATE KEY UPDATE customer_id = 5", from[0]),
	} {
		_, err := q.ExecContext(context.Background(), refused)
		require.Equal(t, 1235, code(err), refused)
	}
	exec(t, q, "DELETE FROM corder WHERE order_id BETWEEN 30001 AND 30003")
}

// fourShards is the shard of a customer after -80 was split.
func fourShards(id string) string {
	v, err := vindex.New("hash", nil)
	if err != nil {
		panic(err)
	}
	ksid, err := v.Map([][]byte{[]byte(id)})
	if err != nil {
		panic(err)
	}
	for _, s := range []string{"-40", "40-80"} {
		if r, _ := keyrange.Parse(s); r.Contains(ksid) {
			return "customer/" + s
		}
	}
	return "customer/80-"
}
