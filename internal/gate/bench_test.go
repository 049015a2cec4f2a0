package gate

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/sqlast"
)

// BenchmarkPointSelect is one row by its key: of the server itself, and through the gate and a tablet.
func BenchmarkPointSelect(b *testing.B) {
	c := newCluster(b)
	conn := c.conn(b, "customer", "interpolateParams=true")
	exec(b, conn, "INSERT INTO customer (customer_id, email) VALUES (1, 'a')")
	direct, err := sql.Open("mysql", fmt.Sprintf("root:root@unix(%s)/customer?interpolateParams=true", c.tablets["customer/-80"].mysqld.Socket()))
	require.NoError(b, err)
	defer direct.Close()
	b.Run("direct", func(b *testing.B) { pointSelects(b, direct) })
	b.Run("gate", func(b *testing.B) { pointSelects(b, conn) })
}

func pointSelects(b *testing.B, q queryer) {
	b.ReportAllocs()
	for b.Loop() {
		res, err := q.QueryContext(context.Background(), "SELECT email FROM customer WHERE customer_id = ?", 1)
		if err != nil {
			b.Fatal(err)
		}
		for res.Next() {
		}
		res.Close()
	}
}

// BenchmarkPlan is what the gate itself does for a statement on one shard.
func BenchmarkPlan(b *testing.B) {
	p := &planner{catalog: planCatalog(b), scope: scope{keyspace: "customer", typ: "PRIMARY"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.plan(sqlast.Parse("UPDATE corder SET price = price + 1 WHERE order_id = 5 AND customer_id = 7")); err != nil {
			b.Fatal(err)
		}
	}
}
