package gate

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
	"braid/internal/topo"
)

func TestHold(t *testing.T) {
	c := newCluster(t)
	q := c.conn(t, "customer", "interpolateParams=true")
	run(t, q, "INSERT INTO customer (customer_id, email) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')")
	t.Run("epochs", func(t *testing.T) { testEpochs(t, c) })
	t.Run("fence", func(t *testing.T) { testFence(t, c) })
	t.Run("fenced transaction", func(t *testing.T) { testFencedTransaction(t, c) })
	t.Run("move", func(t *testing.T) { testMovedTable(t, c) })
	t.Run("tablet restart", func(t *testing.T) { testTabletRestart(t, c) })
	t.Run("mysqld restart", func(t *testing.T) { testServerRestart(t, c) })
	t.Run("lost answer", func(t *testing.T) { testLostAnswer(t, c) })
	t.Run("reshard", func(t *testing.T) { testReshard(t, c) })
}

func (c *testCluster) route(t *testing.T, change func(r *topo.Routing)) *topo.Routing {
	t.Helper()
	r, err := c.topo.UpdateRouting(t.Context(), func(r *topo.Routing) error { change(r); return nil })
	require.NoError(t, err)
	return r
}

// fence sets or lifts a fence and waits until the source's tablets have drained.
func (c *testCluster) fence(t *testing.T, keyspace string, shards, tables []string) {
	t.Helper()
	t.Cleanup(func() {
		c.topo.UpdateRouting(context.Background(), func(r *topo.Routing) error { delete(r.Fences, "w"); return nil }) //nolint:errcheck // of a test that failed
	})
	r := c.route(t, func(r *topo.Routing) {
		r.Fences["w"] = topo.Fence{Keyspace: keyspace, Shards: shards, Tables: tables, Epoch: r.Epoch + 1}
	})
	for _, s := range shards {
		_, err := c.tablets[keyspace+"/"+s].AwaitFence(t.Context(), r.Epoch, 3*time.Second)
		require.NoError(t, err)
	}
}

func (c *testCluster) unfence(t *testing.T) {
	c.route(t, func(r *topo.Routing) { delete(r.Fences, "w") })
}

// A gate whose routing is outdated reads it again and goes on: in and outside of transactions.
func testEpochs(t *testing.T, c *testCluster) {
	q := c.conn(t, "customer", "interpolateParams=true")
	run(t, q, "BEGIN")
	run(t, q, "UPDATE customer SET score = 1 WHERE customer_id = 1")
	for i := range 20 {
		c.route(t, func(r *topo.Routing) {
			r.Tables[fmt.Sprintf("commerce.none%d", i)] = topo.TableRouting{topo.Primary: "customer"}
		})
		require.Equal(t, []string{"4"}, rows(t, q, "SELECT COUNT(*) FROM customer"))
		run(t, q, "UPDATE customer SET score = score + 1")
	}
	run(t, q, "COMMIT")
	require.Equal(t, []string{"21.00"}, rows(t, q, "SELECT score FROM customer WHERE customer_id = 1"))
}

// Writes wait for a fence, reads and writes to other tables do not; a client sees a pause and no error.
func testFence(t *testing.T, c *testCluster) {
	q, other := c.conn(t, "customer", "interpolateParams=true"), c.conn(t, "customer", "interpolateParams=true")
	for _, sql := range []string{
		"UPDATE customer SET email = 'x' WHERE customer_id = 1", "UPDATE customer SET email = 'y'",
		"INSERT INTO customer (customer_id, email) VALUES (901, 'z'), (902, 'z')", "DELETE FROM customer WHERE customer_id IN (901, 902)",
	} {
		c.fence(t, "customer", []string{"-80", "80-"}, []string{"customer"})
		done := make(chan error, 1)
		go func() {
			_, err := q.ExecContext(context.Background(), sql)
			done <- err
		}()
		require.NotEmpty(t, rows(t, other, "SELECT * FROM customer"))
		run(t, other, "INSERT INTO corder (order_id, customer_id) VALUES (900, 1)")
		run(t, other, "DELETE FROM corder WHERE order_id = 900")
		select {
		case err := <-done:
			t.Fatalf("the write did not wait: %v", err)
		default:
		}
		c.unfence(t)
		require.NoError(t, <-done, sql)
	}
	// The first statement of a transaction waits too.
	c.fence(t, "customer", []string{"-80", "80-"}, nil)
	run(t, q, "BEGIN")
	done := make(chan error, 1)
	go func() {
		_, err := q.ExecContext(context.Background(), "UPDATE customer SET email = 'first' WHERE customer_id = 2")
		done <- err
	}()
	c.unfence(t)
	require.NoError(t, <-done)
	run(t, q, "COMMIT")
	require.Equal(t, []string{"first"}, rows(t, q, "SELECT email FROM customer WHERE customer_id = 2"))

	// A wait has an end.
	cfg := c.gate.cfg
	cfg.Hold, cfg.Listen = 50*time.Millisecond, "127.0.0.1:0"
	c.fence(t, "customer", []string{"-80", "80-"}, nil)
	g, err := New(cfg, c.gate.deps)
	require.NoError(t, err)
	require.NoError(t, g.Start(t.Context()))
	defer g.Stop()
	impatient := &testCluster{t: t, gate: g}
	_, err = impatient.conn(t, "customer", "").ExecContext(context.Background(), "UPDATE customer SET email = 'never'")
	require.ErrorContains(t, err, "BRAID5002")
	c.unfence(t)
}

// A transaction that has written to one fenced shard cannot wait for the fence on another: it is rolled back so that it can be repeated.
func testFencedTransaction(t *testing.T, c *testCluster) {
	q := c.conn(t, "customer", "interpolateParams=true")
	low, high := idsIn("customer/-80", 1, 1)[0], idsIn("customer/80-", 1, 1)[0]
	run(t, q, "BEGIN")
	run(t, q, fmt.Sprintf("UPDATE customer SET email = 'lost' WHERE customer_id = %d", low))
	r := c.route(t, func(r *topo.Routing) {
		r.Fences["w"] = topo.Fence{Keyspace: "customer", Shards: []string{"-80", "80-"}, Epoch: r.Epoch + 1}
	})
	_, err := c.cache.WaitRouting(t.Context(), r.Epoch)
	require.NoError(t, err)
	_, err = q.ExecContext(context.Background(), fmt.Sprintf("UPDATE customer SET email = 'lost' WHERE customer_id = %d", high))
	require.Equal(t, 1213, code(err))
	for _, s := range []string{"-80", "80-"} {
		killed, err := c.tablets["customer/"+s].AwaitFence(t.Context(), r.Epoch, 3*time.Second)
		require.NoError(t, err)
		require.Zero(t, killed, "it did not hold up the fence")
	}
	c.unfence(t)
	require.Equal(t, []string{"0"}, rows(t, q, "SELECT COUNT(*) FROM customer WHERE email = 'lost'"))
}

// A table that moves to another keyspace is found there under its old name, also while statements are under way.
func testMovedTable(t *testing.T, c *testCluster) {
	ctx := t.Context()
	commerce, customer := c.root(t, "commerce/0"), c.root(t, "customer/-80")
	require.NotNil(t, customer)
	_, err := commerce.Exec(ctx, "CREATE TABLE country (code CHAR(2) PRIMARY KEY, name VARCHAR(50))")
	require.NoError(t, err)
	_, err = commerce.Exec(ctx, "INSERT INTO country VALUES ('XX', 'old')")
	require.NoError(t, err)
	for _, s := range []string{"customer/-80", "customer/80-"} {
		_, err := c.root(t, s).Exec(ctx, "INSERT INTO country VALUES ('XX', 'new')")
		require.NoError(t, err)
	}
	q := c.conn(t, "commerce", "interpolateParams=true")
	c.vschema("commerce", `{"tables": {"product": {}, "seq": {"type": "sequence"}, "order_seq": {"type": "sequence"}, "country": {}}}`)
	require.Eventually(t, func() bool { return rows(t, q, "SELECT name FROM country")[0] == "old" }, 5*time.Second, time.Millisecond)
	c.fence(t, "commerce", []string{"0"}, []string{"country"})
	done := make(chan error, 1)
	go func() {
		_, err := q.ExecContext(context.Background(), "UPDATE country SET name = 'newer' WHERE commerce.country.code = 'XX'")
		done <- err
	}()
	c.route(t, func(r *topo.Routing) {
		delete(r.Fences, "w")
		r.Tables["commerce.country"] = topo.TableRouting{topo.Primary: "customer"}
	})
	require.NoError(t, <-done)
	require.Equal(t, []string{"newer"}, rows(t, q, "SELECT name FROM country"))
	require.Equal(t, []string{"newer"}, rows(t, q, "SELECT commerce.country.name FROM commerce.country"))
	res, err := commerce.Query(ctx, "SELECT name FROM country")
	require.NoError(t, err)
	require.Equal(t, "old", string(res.Rows[0][0]))
}

func testTabletRestart(t *testing.T, c *testCluster) {
	q := c.conn(t, "commerce", "interpolateParams=true")
	run(t, q, "INSERT INTO product VALUES ('restart', 0)")
	inTxn := c.conn(t, "commerce", "interpolateParams=true")
	run(t, inTxn, "BEGIN")
	run(t, inTxn, "INSERT INTO product VALUES ('never', 0)")
	for i := range 3 {
		c.restart(c.tablets["commerce/0"])
		run(t, q, "UPDATE product SET price = price + 1 WHERE sku = 'restart'")
		require.Equal(t, []string{itoa(i + 1)}, rows(t, q, "SELECT price FROM product WHERE sku = 'restart'"))
	}
	_, err := inTxn.ExecContext(context.Background(), "COMMIT")
	require.Error(t, err)
	require.Equal(t, []string{"0"}, rows(t, inTxn, "SELECT COUNT(*) FROM product WHERE sku = 'never'"))
}

func testServerRestart(t *testing.T, c *testCluster) {
	q := c.conn(t, "customer", "interpolateParams=true")
	require.Equal(t, []string{"4"}, rows(t, q, "SELECT COUNT(*) FROM customer"))
	server := c.tablets["customer/80-"].mysqld
	server.Kill()
	done := make(chan error, 1)
	go func() {
		_, err := q.ExecContext(context.Background(), "UPDATE customer SET email = 'back'")
		done <- err
	}()
	require.NoError(t, server.Start(t.Context()))
	require.NoError(t, <-done)
	require.Equal(t, []string{"4"}, rows(t, q, "SELECT COUNT(*) FROM customer WHERE email = 'back'"))
}

// A write that was sent and whose answer was lost is not repeated, and the client is told.
func testLostAnswer(t *testing.T, c *testCluster) {
	q := c.conn(t, "commerce", "interpolateParams=true")
	run(t, q, "INSERT INTO product VALUES ('lost', 0)")
	blocker := mysqldtest.Dial(t, c.plain.Root().WithDB("commerce"))
	for _, sql := range []string{"BEGIN", "UPDATE product SET price = 0 WHERE sku = 'lost'"} {
		_, err := blocker.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := q.ExecContext(context.Background(), "UPDATE product SET price = price + 1 WHERE sku = 'lost'")
		done <- err
	}()
	require.Eventually(t, func() bool {
		res, err := c.root(t, "commerce/0").Query(t.Context(), "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'UPDATE product SET price = price + 1%'")
		return err == nil && string(res.Rows[0][0]) == "1"
	}, 10*time.Second, 5*time.Millisecond)
	c.restart(c.tablets["commerce/0"])
	require.ErrorContains(t, <-done, "BRAID9002")
}

// A shard is split under load: its rows are copied behind a fence, then the routing changes. Clients see no error, no write is
// lost, none is done twice, and the pause is short.
func testReshard(t *testing.T, c *testCluster) {
	for _, s := range []string{"-40", "40-80"} {
		c.addTablet("customer", s, nil, customerTables)
	}
	c.synced()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var acked [6]atomic.Int64
	var longest atomic.Int64
	for w := range acked {
		q := c.conn(t, "customer", "interpolateParams=true")
		for i := range 10 {
			run(t, q, fmt.Sprintf("INSERT INTO customer (customer_id, score) VALUES (%d, 0)", 50000+100*w+i))
		}
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				start := time.Now()
				if _, err := q.ExecContext(context.Background(), fmt.Sprintf("UPDATE customer SET score = score + 1 WHERE customer_id = %d", 50000+100*w+i%10)); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				acked[w].Add(1)
				longest.Store(max(longest.Load(), int64(time.Since(start))))
			}
		})
	}
	require.Eventually(t, func() bool { return acked[0].Load() > 20 }, 10*time.Second, time.Millisecond)
	c.fence(t, "customer", []string{"-80"}, nil)
	fenced := time.Now()
	source := c.root(t, "customer/-80")
	res, err := source.Query(t.Context(), "SELECT customer_id, COALESCE(score, 0) FROM customer")
	require.NoError(t, err)
	for _, s := range []string{"customer/-40", "customer/40-80"} {
		target := c.root(t, s)
		for _, row := range res.Rows {
			if fourShards(string(row[0])) == s {
				_, err := target.Exec(t.Context(), fmt.Sprintf("INSERT INTO customer (customer_id, score) VALUES (%s, %s)", row[0], row[1]))
				require.NoError(t, err)
			}
		}
	}
	copied := time.Since(fenced)
	longest.Store(0)
	before := acked[0].Load()
	c.route(t, func(r *topo.Routing) {
		delete(r.Fences, "w")
		r.Keyspaces["customer"] = topo.KeyspaceRouting{topo.Primary: {"-40", "40-80", "80-"}}
	})
	require.Eventually(t, func() bool { return acked[0].Load() > before+20 }, 10*time.Second, time.Millisecond)
	cancel()
	wg.Wait()
	t.Logf("copy %s, longest write %s: %s of it beside the copy", copied, time.Duration(longest.Load()), time.Duration(longest.Load())-copied)
	q := c.conn(t, "customer", "interpolateParams=true")
	for w := range acked {
		require.Equal(t, []string{fmt.Sprintf("%d.00", acked[w].Load())}, rows(t, q, fmt.Sprintf("SELECT SUM(score) FROM customer WHERE customer_id BETWEEN %d AND %d", 50000+100*w, 50000+100*w+99)))
	}
}
