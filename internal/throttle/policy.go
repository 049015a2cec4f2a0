package throttle

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Unit is how a figure is printed.
type Unit uint8

// The units.
const (
	Count   Unit = iota
	Seconds      // values are seconds
)

// Figure is what is looked at, and how much of it is too much.
type Figure struct {
	Name  string // "history list length"
	Where string // the server: "source", "replica db2:3306 of the target"
	Unit  Unit
	Max   float64
}

// Reading is a figure's value at one moment, or why there is none.
type Reading struct {
	Figure
	Value float64
	Err   error
}

// again is the share of the bound below which a figure that was bad is good.
const again = 0.9

// Policy decides, and remembers which figures are bad. The zero value knows of none. One goroutine uses it.
type Policy struct{ bad map[Figure]bool }

// Step takes all readings of one moment and returns why the copy has to pause; "" means that it need not.
func (p *Policy) Step(readings []Reading) string {
	bad := make(map[Figure]bool, len(readings))
	var reasons []string
	for _, r := range readings {
		bound := r.Max
		if p.bad[r.Figure] {
			bound *= again
		}
		switch {
		case r.Err != nil:
			reasons = append(reasons, fmt.Sprintf("%s of the %s cannot be read: %v", r.Name, r.Where, r.Err))
		case !(r.Value <= bound): // a value that is no number, too
			reasons = append(reasons, fmt.Sprintf("%s of the %s is %s, the bound is %s", r.Name, r.Where, r.Unit.format(r.Value), r.Unit.format(r.Max)))
			bad[r.Figure] = true
		}
	}
	p.bad = bad
	return strings.Join(reasons, "; ")
}

func (u Unit) format(v float64) string {
	if u == Seconds {
		return time.Duration(v * float64(time.Second)).Round(time.Millisecond).String()
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}
