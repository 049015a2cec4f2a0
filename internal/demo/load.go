package demo

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Loaded says what the load made; ids are 1 to the number of rows.
type Loaded struct{ Customers, Orders int }

// Email is what the load gave a customer.
func (Loaded) Email(id int64) string { return fmt.Sprintf("c%d@example.com", id) }

// Order is what the load gave an order. Writers own every n-th id, and order and customer have the same number, so a loaded
// order and its customer belong to the same writer.
func (l Loaded) Order(id int64) Order {
	return Order{CustomerID: (id-1)%int64(l.Customers) + 1, SKU: fmt.Sprintf("sku-%d", id%10), Price: id % 100}
}

const (
	loadBatch = 1000 // rows per INSERT
	loaders   = 2
)

// load fills the tables through the gate, and writes everything into the ledger.
func load(ctx context.Context, db *sql.DB, ledger *Ledger, rows int, progress func(done int)) (Loaded, error) {
	l := Loaded{Customers: rows, Orders: rows}
	var products []string
	for i := range 10 {
		products = append(products, fmt.Sprintf("('sku-%d', 'product %d', %d)", i, i, 10*i))
	}
	statements := []string{
		"INSERT INTO product (sku, description, price) VALUES " + strings.Join(products, ", "),
		fmt.Sprintf("INSERT INTO customer_seq (id, next_id, cache) VALUES (0, %d, %d)", rows+1, sequenceCache),
		fmt.Sprintf("INSERT INTO order_seq (id, next_id, cache) VALUES (0, %d, %d)", rows+1, sequenceCache),
	}
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return l, fmt.Errorf("load: %w", err)
		}
	}
	batches := make(chan int64)
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(batches)
		for first := int64(1); first <= int64(rows); first += loadBatch {
			select {
			case batches <- first:
			case <-gctx.Done():
				return gctx.Err()
			}
		}
		return nil
	})
	for range loaders {
		group.Go(func() error {
			for first := range batches {
				n, err := loadOne(gctx, db, ledger, l, first)
				if err != nil {
					return fmt.Errorf("load rows from %d on: %w", first, err)
				}
				progress(n)
			}
			return nil
		})
	}
	return l, group.Wait()
}

// loadOne writes one batch of customers and of orders.
func loadOne(ctx context.Context, db *sql.DB, ledger *Ledger, l Loaded, first int64) (int, error) {
	last := min(first+loadBatch-1, int64(l.Customers))
	var customers, orders strings.Builder
	customers.WriteString("INSERT INTO customer (customer_id, email) VALUES ")
	orders.WriteString("INSERT INTO corder (order_id, customer_id, sku, price) VALUES ")
	writes := make([]Write, 0, 2*loadBatch)
	for id := first; id <= last; id++ {
		if id > first {
			customers.WriteByte(',')
			orders.WriteByte(',')
		}
		o := l.Order(id)
		fmt.Fprintf(&customers, "(%d,'%s')", id, l.Email(id))
		fmt.Fprintf(&orders, "(%d,%d,'%s',%d)", id, o.CustomerID, o.SKU, o.Price)
		writes = append(writes, Write{CustomerID: id, Email: l.Email(id)}, Write{IsOrder: true, OrderID: id, Order: o})
	}
	for _, s := range []string{customers.String(), orders.String()} {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return 0, err
		}
	}
	ledger.Acked(writes...)
	return len(writes), nil
}
