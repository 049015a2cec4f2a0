package errs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
)

// Retry says whether the same call may be made again.
type Retry int

// The retry classes.
const (
	RetryNever   Retry = iota // it fails again until something is changed
	RetrySafe                 // nothing was done: the same call may succeed later
	RetryUnknown              // it may have been done: look before it is repeated
)

// String names the class for people.
func (r Retry) String() string {
	switch r {
	case RetrySafe:
		return "safe: nothing was done"
	case RetryUnknown:
		return "outcome unknown: look before it is repeated"
	default:
		return "not before something is changed"
	}
}

// Class is what the command line makes of an error: its value is the exit code.
type Class int

// The classes.
const (
	Failed         Class = 1
	Usage          Class = 2
	ActionRequired Class = 3 // a precondition or a confirmation is missing; nothing was changed
	Differences    Class = 4 // a check or a diff found some
	TimedOut       Class = 5 // the wait ended; the work goes on
)

// Def is an entry of the catalogue. It is an error, so it can be wrapped and matched with errors.Is.
type Def struct {
	Code  string // BRAID1002
	Name  string // NOT_FOUND
	Text  string // one clause, lower case
	Cause string // what usually leads to it
	// Remedy is what to do, in sentences.
	Remedy     string
	MySQLErrno uint16
	SQLState   string
	GRPC       codes.Code
	Retry      Retry
	Class      Class
}

// Error is the text, so that a wrapped entry reads well.
func (d *Def) Error() string { return d.Text }

// Error is one occurrence of an entry.
type Error struct {
	*Def
	Text  string   // what happened in this case
	Cause error    // nil when there is nothing underneath
	Steps []string // what to do in this case; none means the entry's remedy

	unknown bool // it came over the wire, and OutcomeUnknown was in its chain
}

// New makes an occurrence of d. cause may be nil. Without a format the entry's text is the text.
func New(d *Def, cause error, format string, args ...any) *Error {
	return &Error{Def: d, Text: fmt.Sprintf(format, args...), Cause: cause}
}

// With replaces the remedy by what helps in this very case.
func (e *Error) With(steps ...string) *Error {
	e.Steps = steps
	return e
}

// Error is the text and the cause.
func (e *Error) Error() string {
	if e.Cause == nil {
		return e.what()
	}
	return e.what() + ": " + e.Cause.Error()
}

// Unwrap lets errors.Is and errors.As see the entry and the cause.
func (e *Error) Unwrap() []error {
	all := []error{e.Def}
	if e.Cause != nil {
		all = append(all, e.Cause)
	}
	if e.unknown {
		all = append(all, OutcomeUnknown)
	}
	return all
}

// NextSteps is what to do about it.
func (e *Error) NextSteps() []string {
	if len(e.Steps) > 0 {
		return e.Steps
	}
	return []string{e.Remedy}
}

// Of returns err as an occurrence of the catalogue, nil for nil. Context that was wrapped around an occurrence is kept in
// the text. An error that knows no entry is Internal.
func Of(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return outer(err, e)
	}
	var d *Def
	switch {
	case errors.As(err, &d):
		return &Error{Def: d, Text: err.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Def: Timeout, Text: err.Error()}
	case errors.Is(err, context.Canceled):
		return &Error{Def: Canceled, Text: err.Error()}
	}
	return &Error{Def: Internal, Text: err.Error()}
}

func outer(err error, e *Error) *Error {
	if same, ok := err.(*Error); ok { //nolint:errorlint // the question is whether anything is wrapped around it
		return same
	}
	text := err.Error()
	if e.Cause != nil {
		text = strings.TrimSuffix(text, ": "+e.Cause.Error())
	}
	return &Error{Def: e.Def, Text: text, Cause: e.Cause, Steps: e.Steps, unknown: e.unknown}
}

// RetryOf says whether what returned err may be repeated. An unknown outcome anywhere in the chain decides.
func RetryOf(err error) Retry {
	if err == nil {
		return RetrySafe
	}
	if errors.Is(err, OutcomeUnknown) {
		return RetryUnknown
	}
	return Of(err).Retry
}

// ExitCode is the exit code of a command that ended with err.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, Canceled), errors.Is(err, context.Canceled):
		return 130
	}
	return int(Of(err).Class)
}

// Lookup finds an entry by its code or name, in any case; nil when there is none.
func Lookup(code string) *Def {
	code = strings.ToUpper(code)
	for _, d := range All() {
		if d.Code == code || d.Name == code || d.Code+"_"+d.Name == code {
			return d
		}
	}
	return nil
}
