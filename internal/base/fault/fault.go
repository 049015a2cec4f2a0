package fault

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Env is the variable that a process reads its faults from.
const Env = "BRAID_FAULTS"

// ErrInjected is what a point of kind error returns.
var ErrInjected = errors.New("injected fault")

type action struct {
	kind  string // kill, error, delay
	delay time.Duration
	at    int64 // the n-th time only; 0 always
	hits  atomic.Int64
}

var active atomic.Pointer[map[string]*action]

func init() {
	spec := os.Getenv(Env)
	if spec == "" {
		return
	}
	if _, err := Set(spec); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", Env, err)
		os.Exit(2)
	}
}

// Point is a place where a fault may happen. It returns an error that matches ErrInjected, or nil.
func Point(name string) error {
	m := active.Load()
	if m == nil {
		return nil
	}
	a, ok := (*m)[name]
	if !ok {
		return nil
	}
	return a.fire(name)
}

func (a *action) fire(name string) error {
	if n := a.hits.Add(1); a.at != 0 && n != a.at {
		return nil
	}
	switch a.kind {
	case "kill":
		fmt.Fprintf(os.Stderr, "fault %s: kill\n", name)
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			panic(err) // a process may always kill itself
		}
		select {} // the signal is on its way
	case "delay":
		time.Sleep(a.delay) //nolint:forbidigo // a delay is what was asked for
		return nil
	default:
		return fmt.Errorf("%w at %s", ErrInjected, name)
	}
}

// Set replaces the faults of this process, "" removes them all. restore brings back what was set before.
func Set(spec string) (restore func(), err error) {
	parsed, err := parse(spec)
	if err != nil {
		return nil, err
	}
	var next *map[string]*action
	if len(parsed) > 0 {
		next = &parsed
	}
	before := active.Swap(next)
	return func() { active.Store(before) }, nil
}

func parse(spec string) (map[string]*action, error) {
	all := map[string]*action{}
	for _, one := range strings.FieldsFunc(spec, func(r rune) bool { return r == ';' || r == ',' }) {
		name, what, ok := strings.Cut(strings.TrimSpace(one), "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("fault %q: want name=kill|error|delay:<duration>[@n]", one)
		}
		a, err := parseAction(what)
		if err != nil {
			return nil, fmt.Errorf("fault %s: %w", name, err)
		}
		all[name] = a
	}
	return all, nil
}

func parseAction(what string) (*action, error) {
	a := &action{}
	what, nth, counted := strings.Cut(what, "@")
	if counted {
		n, err := strconv.ParseInt(nth, 10, 64)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("@%s: want a number from 1", nth)
		}
		a.at = n
	}
	kind, arg, _ := strings.Cut(what, ":")
	switch {
	case kind == "kill" && arg == "", kind == "error" && arg == "":
		a.kind = kind
		return a, nil
	case kind == "delay":
		d, err := time.ParseDuration(arg)
		if err != nil {
			return nil, fmt.Errorf("delay: %w", err)
		}
		a.kind, a.delay = kind, d
		return a, nil
	}
	return nil, fmt.Errorf("%q: want kill, error or delay:<duration>", what)
}
