package apply

import "fmt"

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
