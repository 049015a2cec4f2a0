package vreplication

import (
	"fmt"
	"strings"

	"braid/internal/base/errs"
)

// State is what a stream does, as the row says it.
type State uint8

// The states. Lagging is never stored: it is a running stream whose lag is above its bound.
const (
	Init    State = iota + 1 // made; nothing has been read yet
	Copying                  // tables are being copied, changes of all of them are applied
	Running                  // all is copied
	Stopped                  // by somebody, or because the stop position is reached
	Lagging
	Error // it cannot go on until somebody mends what the message says
)

var stateNames = [...]string{"Unknown", "Init", "Copying", "Running", "Stopped", "Lagging", "Error"}

// String is the name in the row.
func (s State) String() string {
	if int(s) >= len(stateNames) {
		return stateNames[0]
	}
	return stateNames[s]
}

// ParseState accepts a name in any case.
func ParseState(name string) (State, error) {
	for i, n := range stateNames[1:] {
		if strings.EqualFold(n, name) {
			return State(i + 1), nil
		}
	}
	return 0, errs.New(errs.BadInput, nil, "stream state %q (one of %s)", name, strings.Join(stateNames[1:], ", "))
}

// wanted says that the row asks for the stream to be run.
func (s State) wanted() bool { return s == Init || s == Copying || s == Running || s == Lagging }

// started normalizes what somebody may write to start a stream.
func started(name string) (State, error) {
	s, err := ParseState(name)
	if err != nil {
		return 0, err
	}
	switch s {
	case Stopped, Error:
		return s, nil
	case Init, Running, Copying, Lagging:
		return Init, nil // the stream finds out by itself whether there is something to copy
	}
	return 0, fmt.Errorf("state %s", s)
}
