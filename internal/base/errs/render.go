package errs

import (
	"encoding/json"
	"fmt"
	"io"
)

// Render writes an error for people:
//
//	error: BRAID4001 lag of shard 80- is 12s, at most 10s is allowed
//	cause: writes would be held for at least as long as the streams are behind
//	remedy: Wait until `braid workflow show orders` shows …
//
// or, for programs, its JSON envelope as one line.
func Render(w io.Writer, err error, asJSON bool) {
	if err == nil {
		return
	}
	if asJSON {
		fmt.Fprintf(w, "%s\n", JSON(err))
		return
	}
	e := Of(err)
	fmt.Fprintf(w, "error: %s %s\n", e.Code, e.what())
	fmt.Fprintf(w, "cause: %s\n", e.cause())
	for _, step := range e.NextSteps() {
		fmt.Fprintf(w, "remedy: %s\n", step)
	}
	if RetryOf(err) == RetryUnknown && e.Retry != RetryUnknown {
		fmt.Fprintf(w, "note: %s\n", RetryUnknown)
	}
}

func (e *Error) what() string {
	if e.Text == "" {
		return e.Def.Text
	}
	return e.Text
}

func (e *Error) cause() string {
	if e.Cause != nil {
		return e.Cause.Error()
	}
	return e.Def.Cause
}

// Envelope is an error as programs read it.
type Envelope struct {
	Status    string   `json:"status"` // error, action_required
	Code      string   `json:"code"`   // BRAID4001_LAG_TOO_HIGH
	Error     string   `json:"error"`
	Cause     string   `json:"cause"`
	NextSteps []string `json:"next_steps"`
	Retry     string   `json:"retry"` // never, safe, unknown
}

// EnvelopeOf fills an envelope.
func EnvelopeOf(err error) Envelope {
	e := Of(err)
	v := Envelope{Status: "error", Code: e.Code + "_" + e.Name, Error: e.what(), Cause: e.cause(), NextSteps: e.NextSteps(), Retry: "never"}
	if e.Class == ActionRequired {
		v.Status = "action_required"
	}
	switch RetryOf(err) {
	case RetrySafe:
		v.Retry = "safe"
	case RetryUnknown:
		v.Retry = "unknown"
	}
	return v
}

// JSON is the envelope as one line.
func JSON(err error) []byte {
	b, merr := json.Marshal(EnvelopeOf(err))
	if merr != nil {
		panic(merr) // strings only
	}
	return b
}
