package demo

import (
	"context"
	"fmt"
	"strconv"

	"braid/internal/keyrange"
	"braid/internal/vindex"
)

// Audit stops the writers and compares the ledger with what the mysqlds of these shards of keyspace customer hold.
func (s *Story) Audit(ctx context.Context, shards ...string) error {
	s.StopWriters()
	s.report.Writes = s.ws.Summary()
	s.deps.Progress.Say("writers stopped after %d transactions; checking the ledger against every row of every shard", s.report.Writes.Acknowledged)
	owner, err := shardOwner(shards)
	if err != nil {
		return err
	}
	a := s.ledger.Audit(owner)
	for _, shard := range shards {
		if err := s.auditShard(ctx, a, shard); err != nil {
			return fmt.Errorf("audit customer/%s: %w", shard, err)
		}
	}
	s.report.Ledger = a.Finish()
	return nil
}

// shardOwner maps a customer to its shard, by the vindex of the VSchema.
func shardOwner(shards []string) (func(int64) string, error) {
	hash, err := vindex.New("hash", nil)
	if err != nil {
		return nil, err
	}
	ranges := map[string]keyrange.Range{}
	for _, shard := range shards {
		if ranges[shard], err = keyrange.Parse(shard); err != nil {
			return nil, err
		}
	}
	return func(customer int64) string {
		id, err := hash.Map([][]byte{strconv.AppendInt(nil, customer, 10)})
		if err != nil {
			return "none: " + err.Error()
		}
		for shard, r := range ranges {
			if r.Contains(id) {
				return shard
			}
		}
		return "none"
	}, nil
}

func (s *Story) auditShard(ctx context.Context, a *Audit, shard string) error {
	db, err := s.deps.Shards("customer", shard)
	if err != nil {
		return err
	}
	defer db.Close()
	customers, err := db.QueryContext(ctx, "SELECT customer_id, email FROM customer")
	if err != nil {
		return err
	}
	defer customers.Close()
	for customers.Next() {
		var id int64
		var email string
		if err := customers.Scan(&id, &email); err != nil {
			return err
		}
		a.Customer(shard, id, email)
	}
	if err := customers.Err(); err != nil {
		return err
	}
	orders, err := db.QueryContext(ctx, "SELECT order_id, customer_id, sku, price FROM corder")
	if err != nil {
		return err
	}
	defer orders.Close()
	for orders.Next() {
		var id int64
		var o Order
		if err := orders.Scan(&id, &o.CustomerID, &o.SKU, &o.Price); err != nil {
			return err
		}
		a.Order(shard, id, o)
	}
	return orders.Err()
}
