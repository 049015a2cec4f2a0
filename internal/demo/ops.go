package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// The transactions of the writers. Statements are those of an application that knows one database and no shards.

func (w *writer) text(kind string) string {
	w.serial++
	return fmt.Sprintf("w%d-%s%d", w.id, kind, w.serial)
}

func (w *writer) insertCustomer(ctx context.Context) ([]Write, error) {
	email := w.text("c") + "@example.com"
	res, err := w.conn.ExecContext(ctx, "INSERT INTO customer (email) VALUES (?)", email)
	if err != nil {
		return []Write{{Email: email}}, outcomeUnknown{err}
	}
	id, err := res.LastInsertId()
	if err != nil || id == 0 {
		return []Write{{Email: email}}, outcomeUnknown{fmt.Errorf("no id for the new customer: %w", errOrZero(err))}
	}
	return []Write{{CustomerID: id, Email: email}}, nil
}

func (w *writer) insertOrder(ctx context.Context) ([]Write, error) {
	o := Order{CustomerID: w.anyCustomer(), SKU: w.text("o"), Price: w.rnd.Int64N(1000)}
	res, err := w.conn.ExecContext(ctx, "INSERT INTO corder (customer_id, sku, price) VALUES (?, ?, ?)", o.CustomerID, o.SKU, o.Price)
	if err != nil {
		return []Write{{IsOrder: true, Order: o}}, outcomeUnknown{err}
	}
	id, err := res.LastInsertId()
	if err != nil || id == 0 {
		return []Write{{IsOrder: true, Order: o}}, outcomeUnknown{fmt.Errorf("no id for the new order: %w", errOrZero(err))}
	}
	return []Write{{IsOrder: true, OrderID: id, Order: o}}, nil
}

// updateOrder adds to the price: applied twice, or not at all, it would show.
func (w *writer) updateOrder(ctx context.Context) ([]Write, error) {
	id, o, ok := w.anyOrder()
	if !ok {
		return nil, nil
	}
	add := 1 + w.rnd.Int64N(9)
	o.Price += add
	write := []Write{{IsOrder: true, OrderID: id, Order: o}}
	res, err := w.conn.ExecContext(ctx, "UPDATE corder SET price = price + ? WHERE order_id = ? AND customer_id = ?", add, id, o.CustomerID)
	return write, oneRow(res, err)
}

func (w *writer) deleteOrder(ctx context.Context) ([]Write, error) {
	id, o, ok := w.anyOrder()
	if !ok {
		return nil, nil
	}
	write := []Write{{IsOrder: true, OrderID: id, Order: o, Delete: true}}
	res, err := w.conn.ExecContext(ctx, "DELETE FROM corder WHERE order_id = ?", id)
	return write, oneRow(res, err)
}

// transaction is an order and a change of it, for one customer, committed together.
func (w *writer) transaction(ctx context.Context) ([]Write, error) {
	o := Order{CustomerID: w.anyCustomer(), SKU: w.text("t"), Price: 100}
	if _, err := w.conn.ExecContext(ctx, "BEGIN"); err != nil {
		return nil, err
	}
	res, err := w.conn.ExecContext(ctx, "INSERT INTO corder (customer_id, sku, price) VALUES (?, ?, ?)", o.CustomerID, o.SKU, o.Price)
	if err != nil {
		return nil, w.rollback(ctx, err)
	}
	id, err := res.LastInsertId()
	if err != nil {
		return nil, w.rollback(ctx, err)
	}
	o.Price += 11
	if _, err := w.conn.ExecContext(ctx, "UPDATE corder SET price = price + 11 WHERE order_id = ? AND customer_id = ?", id, o.CustomerID); err != nil {
		return nil, w.rollback(ctx, err)
	}
	write := []Write{{IsOrder: true, OrderID: id, Order: o}}
	if _, err := w.conn.ExecContext(ctx, "COMMIT"); err != nil {
		return write, outcomeUnknown{err}
	}
	return write, nil
}

// moveOrder gives an order to another customer, who may live on another shard.
func (w *writer) moveOrder(ctx context.Context) ([]Write, error) {
	id, o, ok := w.anyOrder()
	if !ok {
		return nil, nil
	}
	to := w.anyCustomer()
	if to == o.CustomerID {
		return nil, nil
	}
	o.CustomerID = to
	write := []Write{{IsOrder: true, OrderID: id, Order: o}}
	res, err := w.conn.ExecContext(ctx, "UPDATE corder SET customer_id = ? WHERE order_id = ?", to, id)
	return write, oneRow(res, err)
}

// rollback ends a transaction that failed before its COMMIT: nothing of it is there, whatever becomes of the connection.
func (w *writer) rollback(ctx context.Context, cause error) error {
	if _, err := w.conn.ExecContext(ctx, "ROLLBACK"); err != nil {
		return errors.Join(cause, fmt.Errorf("rollback: %w", err))
	}
	return cause
}

func (w *writer) anyCustomer() int64 { return w.customers[w.rnd.IntN(len(w.customers))] }

func (w *writer) anyOrder() (int64, Order, bool) {
	if len(w.orders) == 0 {
		return 0, Order{}, false
	}
	id := w.orders[w.rnd.IntN(len(w.orders))]
	return id, w.state[id], true
}

// oneRow wants exactly one row to have been touched: an acknowledged update of nothing is a lost row.
func oneRow(res sql.Result, err error) error {
	if err != nil {
		return outcomeUnknown{err}
	}
	n, err := res.RowsAffected()
	if err != nil {
		return outcomeUnknown{err}
	}
	if n != 1 {
		return outcomeUnknown{fmt.Errorf("%d rows touched, expected 1", n)}
	}
	return nil
}

func errOrZero(err error) error {
	if err == nil {
		return errors.New("the id is 0")
	}
	return err
}
