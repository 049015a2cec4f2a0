package demo

import (
	"fmt"
	"sync"
)

// Order is what the ledger knows of one row of corder.
type Order struct {
	CustomerID int64
	SKU        string
	Price      int64
}

// ledgerRow is the expected state of one row. A write whose outcome is unknown leaves two possible states until it is
// resolved by a read.
type ledgerRow[T comparable] struct {
	state   T
	present bool
	// maybe: the write's answer was lost; the row is either as above, or as here.
	maybe        bool
	maybeState   T
	maybePresent bool
}

// Ledger is every acknowledged write. Each row belongs to one writer, so the expected state of a row is what its writer
// last heard; "exactly once" shows in the row's price, which updates add to.
type Ledger struct {
	mu struct {
		sync.Mutex
		customers map[int64]*ledgerRow[string]
		orders    map[int64]*ledgerRow[Order]
		// inserts whose answer was lost, by their unique text: the id is not known.
		lostCustomers map[string]bool
		lostOrders    map[string]Order
	}
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	l := &Ledger{}
	l.mu.customers, l.mu.orders = map[int64]*ledgerRow[string]{}, map[int64]*ledgerRow[Order]{}
	l.mu.lostCustomers, l.mu.lostOrders = map[string]bool{}, map[string]Order{}
	return l
}

// Write is one acknowledged (or possibly lost) change of a row.
type Write struct {
	CustomerID int64
	Email      string // customer
	OrderID    int64
	Order      Order // order
	Delete     bool
	IsOrder    bool
}

// Acked records the writes of one acknowledged transaction.
func (l *Ledger) Acked(writes ...Write) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range writes {
		if w.IsOrder {
			l.mu.orders[w.OrderID] = &ledgerRow[Order]{state: w.Order, present: !w.Delete}
		} else {
			l.mu.customers[w.CustomerID] = &ledgerRow[string]{state: w.Email, present: !w.Delete}
		}
	}
}

// Unknown records the writes of a transaction whose answer was lost: it is there as a whole or not at all.
func (l *Ledger) Unknown(writes ...Write) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range writes {
		switch {
		case w.IsOrder && w.OrderID == 0:
			l.mu.lostOrders[w.Order.SKU] = w.Order
		case w.IsOrder:
			row := l.mu.orders[w.OrderID]
			if row == nil {
				row = &ledgerRow[Order]{}
				l.mu.orders[w.OrderID] = row
			}
			row.maybe, row.maybeState, row.maybePresent = true, w.Order, !w.Delete
		case w.CustomerID == 0:
			l.mu.lostCustomers[w.Email] = true
		default:
			row := l.mu.customers[w.CustomerID]
			if row == nil {
				row = &ledgerRow[string]{}
				l.mu.customers[w.CustomerID] = row
			}
			row.maybe, row.maybeState, row.maybePresent = true, w.Email, !w.Delete
		}
	}
}

// Audit compares the ledger with rows as they are found, shard by shard. Feed every row of every shard, then call Finish.
type Audit struct {
	l         *Ledger
	shardOf   func(customerID int64) string
	customers map[int64]string // id → shard where it was seen
	orders    map[int64]string
	result    AuditResult
}

// AuditResult is the verdict.
type AuditResult struct {
	Customers int      `json:"customers"`
	Orders    int      `json:"orders"`
	Missing   int      `json:"missing"`    // acknowledged, not there
	Extra     int      `json:"extra"`      // there, never written (or deleted)
	Wrong     int      `json:"wrong"`      // there with another state than acknowledged
	Misplaced int      `json:"misplaced"`  // on a shard that does not own it
	Twice     int      `json:"twice"`      // on two shards
	Unknown   int      `json:"unresolved"` // writes whose answer was lost; either outcome is accepted
	Samples   []string `json:"samples,omitempty"`
}

// OK says that every acknowledged write is there exactly once, in its place, and nothing else.
func (r AuditResult) OK() bool {
	return r.Missing+r.Extra+r.Wrong+r.Misplaced+r.Twice == 0 && r.Customers > 0
}

// Audit begins an audit; writers must have ended.
func (l *Ledger) Audit(shardOf func(customerID int64) string) *Audit {
	return &Audit{l: l, shardOf: shardOf, customers: map[int64]string{}, orders: map[int64]string{}}
}

const maxSamples = 20

func (a *Audit) sample(format string, args ...any) {
	if len(a.result.Samples) < maxSamples {
		a.result.Samples = append(a.result.Samples, fmt.Sprintf(format, args...))
	}
}

// Customer feeds one row found on a shard.
func (a *Audit) Customer(shard string, id int64, email string) {
	a.result.Customers++
	if before, ok := a.customers[id]; ok {
		a.result.Twice++
		a.sample("customer %d is on %s and on %s", id, before, shard)
	}
	a.customers[id] = shard
	a.place("customer", shard, id, id)
	row, ok := a.l.mu.customers[id]
	if !ok {
		if a.l.mu.lostCustomers[email] {
			delete(a.l.mu.lostCustomers, email) // once only: a second row with this text is extra
			a.result.Unknown++
			return
		}
		a.result.Extra++
		a.sample("customer %d (%s) on %s was never acknowledged", id, email, shard)
		return
	}
	check(a, "customer", id, shard, row, email)
}

// Order feeds one row found on a shard.
func (a *Audit) Order(shard string, id int64, o Order) {
	a.result.Orders++
	if before, ok := a.orders[id]; ok {
		a.result.Twice++
		a.sample("order %d is on %s and on %s", id, before, shard)
	}
	a.orders[id] = shard
	a.place("order", shard, id, o.CustomerID)
	row, ok := a.l.mu.orders[id]
	if !ok {
		if lost, found := a.l.mu.lostOrders[o.SKU]; found && lost == o {
			delete(a.l.mu.lostOrders, o.SKU)
			a.result.Unknown++
			return
		}
		a.result.Extra++
		a.sample("order %d %+v on %s was never acknowledged", id, o, shard)
		return
	}
	check(a, "order", id, shard, row, o)
}

func (a *Audit) place(what, shard string, id, customerID int64) {
	if want := a.shardOf(customerID); want != shard {
		a.result.Misplaced++
		a.sample("%s %d is on %s, belongs on %s", what, id, shard, want)
	}
}

func check[T comparable](a *Audit, what string, id int64, shard string, row *ledgerRow[T], found T) {
	if row.maybe {
		a.result.Unknown++
	}
	switch {
	case row.present && row.state == found, row.maybe && row.maybePresent && row.maybeState == found:
	case !row.present && !row.maybe:
		a.result.Extra++
		a.sample("%s %d on %s was deleted, and is there: %+v", what, id, shard, found)
	default:
		a.result.Wrong++
		a.sample("%s %d on %s is %+v, acknowledged was %+v", what, id, shard, found, row.state)
	}
}

// Finish looks for what is missing and returns the verdict.
func (a *Audit) Finish() AuditResult {
	missing(a, "customer", a.l.mu.customers, a.customers)
	missing(a, "order", a.l.mu.orders, a.orders)
	return a.result
}

func missing[T comparable](a *Audit, what string, rows map[int64]*ledgerRow[T], seen map[int64]string) {
	for id, row := range rows {
		if _, ok := seen[id]; ok || !row.present {
			continue
		}
		if row.maybe && !row.maybePresent {
			a.result.Unknown++
			continue
		}
		a.result.Missing++
		a.sample("%s %d %+v was acknowledged, and is nowhere", what, id, row.state)
	}
}
