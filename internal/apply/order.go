package apply

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// DefaultWorkers is as many sessions as MySQL's own applier has.
const DefaultWorkers = 4

// Order is how commits follow each other.
type Order uint8

// The orders.
const (
	Preserve Order = iota // in source order: the target always shows a state that the source had (A2)
	Relaxed               // as workers finish: while nobody reads the target
)

var orderNames = [...]string{"preserve", "relaxed"}

func (o Order) String() string {
	if int(o) < len(orderNames) {
		return orderNames[o]
	}
	return fmt.Sprintf("Order(%d)", uint8(o))
}

// ParseOrder reads what String writes.
func ParseOrder(s string) (Order, error) {
	for i, name := range orderNames {
		if s == name {
			return Order(i), nil
		}
	}
	return 0, fmt.Errorf("commit order %q: not one of %q", s, orderNames)
}

// MarshalText and UnmarshalText make an Order a string in configuration and JSON.
func (o Order) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText is ParseOrder.
func (o *Order) UnmarshalText(text []byte) (err error) {
	*o, err = ParseOrder(string(text))
	return err
}

// SetOrder changes the commit order, on a complete prefix.
func (a *Applier) SetOrder(ctx context.Context, o Order) error {
	return a.between(ctx, func() { a.mu.order = o })
}

// SetLinger says for how long transactions may wait for others with which they make a group, where nobody looks at the target: many small commits cost
// several times one large.
func (a *Applier) SetLinger(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.linger = d; a.mu.ahead() > 0 {
		a.rouse()
	}
}

// SetWorkers changes how many sessions there may be, on a complete prefix.
func (a *Applier) SetWorkers(ctx context.Context, n int) error {
	a.mu.Lock()
	same := a.mu.wanted == max(n, 1)
	a.mu.Unlock()
	if same {
		return nil
	}
	return a.between(ctx, func() { a.mu.workers, a.mu.wanted, a.mu.refused = max(n, 1), max(n, 1), time.Time{} })
}

// between runs change when nothing is under way.
func (a *Applier) between(ctx context.Context, change func()) error {
	if a.Open() {
		return errors.New("change of the applier inside of a transaction")
	}
	if err := a.Drain(ctx); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
	return nil
}
