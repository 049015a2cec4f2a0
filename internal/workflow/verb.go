package workflow

import (
	"slices"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/topo"
)

// VerbKind is what an operator can ask of a workflow.
type VerbKind string

// The verbs.
const (
	Create        VerbKind = "create"
	Start         VerbKind = "start"
	Stop          VerbKind = "stop"
	SwitchTraffic VerbKind = "switch"
	Reverse       VerbKind = "reverse"
	Complete      VerbKind = "complete"
	Cancel        VerbKind = "cancel"
)

// Verb is a request and, while it is under way, how far it is.
type Verb struct {
	Kind      VerbKind          `json:"kind"`
	Types     []topo.TabletType `json:"types,omitempty"` // switch and reverse: what changes sides
	KeepData  bool              `json:"keep_data,omitempty"`
	MaxLagMS  int64             `json:"max_lag_ms,omitempty"`
	TimeoutMS int64             `json:"timeout_ms,omitempty"`

	Before   Phase `json:"before"` // where a verb that is refused returns to
	Stage    Stage `json:"step"`
	Failures int   `json:"failures,omitempty"` // of the present stage, in a row
}

func (v *Verb) same(o Verb) bool {
	return v.Kind == o.Kind && slices.Equal(v.Types, o.Types) && v.KeepData == o.KeepData
}

// Admit completes a verb with its defaults and says whether the state allows it. changed is false when there is nothing to
// do. A verb that is under way already is admitted with joined: its caller has only to wait.
func Admit(s State, v Verb) (admitted Verb, changed, joined bool, err error) {
	if s.Phase.Ended() {
		return v, false, false, s.admitEnded(v)
	}
	todo := s.complete(&v)
	if s.Verb != nil {
		if s.Verb.same(v) {
			return v, true, true, nil
		}
		if !s.supersedes(v) {
			return v, false, false, errs.New(errs.WorkflowBusy, nil, "workflow %s is busy with %s (at %s)", s.Name, s.Verb.Kind, s.Verb.Stage)
		}
	}
	if !todo {
		return v, false, false, nil
	}
	return v, true, false, s.allowed(v)
}

// supersedes: whatever has not switched anything may be given up for cancel, or a create that waits for a dead tablet
// could never be ended.
func (s *State) supersedes(v Verb) bool {
	return v.Kind == Cancel && (s.Verb.Kind == Create || s.Verb.Kind == Start || s.Verb.Kind == Stop)
}

func (s *State) admitEnded(v Verb) error {
	if s.Phase == Completed && v.Kind == Complete || s.Phase == Cancelled && v.Kind == Cancel {
		return nil
	}
	return errs.New(errs.WorkflowState, nil, "workflow %s is %s: it has ended", s.Name, strings.ToLower(string(s.Phase)))
}

// complete fills in defaults and reports whether anything is left to do.
func (s *State) complete(v *Verb) bool {
	switch v.Kind {
	case SwitchTraffic, Reverse:
		if v.MaxLagMS == 0 {
			v.MaxLagMS = timeouts.MaxLag.Milliseconds()
		}
		if v.TimeoutMS == 0 {
			v.TimeoutMS = timeouts.CatchUp.Milliseconds()
		}
		if s.joins(*v) {
			v.Types = s.Verb.Types
		} else {
			v.Types = s.pending(*v)
		}
		return len(v.Types) > 0
	case Start:
		return s.Stopped || s.Phase == Failed || s.Trouble
	case Stop:
		return !s.Stopped
	case Create:
		return !s.Created
	}
	return true
}

// joins reports whether a switch or reverse asks for what one under way does. Its types are compared as asked: some of them
// may have moved by now.
func (s *State) joins(v Verb) bool {
	if s.Verb == nil || s.Verb.Kind != v.Kind {
		return false
	}
	asked := slices.Clone(v.Types)
	slices.Sort(asked)
	moving := slices.Clone(s.Verb.Types)
	slices.Sort(moving)
	return len(asked) == 0 || slices.Equal(slices.Compact(asked), moving)
}

// Towards is the side that a switch or a reverse sends traffic to.
func (v Verb) Towards() Side {
	if v.Kind == Reverse {
		return Source
	}
	return Target
}

// pending are the asked types (none: all) that are not on the wanted side yet, in the usual order.
func (s *State) pending(v Verb) []topo.TabletType {
	var types []topo.TabletType
	for _, t := range topo.ServingTypes {
		asked := len(v.Types) == 0 || slices.Contains(v.Types, t)
		if asked && s.Served[t] != v.Towards() {
			types = append(types, t)
		}
	}
	return types
}

func (s *State) allowed(v Verb) error {
	switch {
	case v.Kind == Create:
		return nil
	case v.Kind == Cancel:
		if s.Writes() == Target {
			return errs.New(errs.WorkflowState, nil, "writes of workflow %s are on the target already", s.Name).
				With("Send the traffic back first: `braid workflow reverse "+s.Name+"`, then cancel.",
					"Or end it as it is: `braid workflow complete "+s.Name+"`.")
		}
		return nil
	case !s.Created:
		return errs.New(errs.WorkflowState, nil, "the streams of workflow %s do not exist yet: %s", s.Name, s.Message).
			With("Mend what the message names and repeat the command that created it, or cancel it.")
	case v.Kind == Complete:
		return s.allowComplete()
	case v.Kind == SwitchTraffic || v.Kind == Reverse:
		return s.allowSwitch(v)
	}
	return nil
}

func (s *State) allowComplete() error {
	for _, t := range topo.ServingTypes {
		if s.Served[t] != Target {
			return errs.New(errs.WorkflowState, nil, "%s of workflow %s is still served by the source", t, s.Name).
				With("Switch everything first: `braid workflow switch " + s.Name + "`, then complete.")
		}
	}
	return nil
}

func (s *State) allowSwitch(v Verb) error {
	if s.Stopped {
		return errs.New(errs.StreamsNotRunning, nil, "the streams of workflow %s are stopped", s.Name).
			With("`braid workflow start " + s.Name + "`, then switch.")
	}
	if !slices.Contains(v.Types, topo.Primary) {
		return nil
	}
	for _, t := range []topo.TabletType{topo.Rdonly, topo.Replica} {
		if s.Served[t] != v.Towards() && !slices.Contains(v.Types, t) {
			return errs.New(errs.ReadsNotSwitched, nil, "%s of workflow %s is still served by the %s: writes go last", t, s.Name, s.Served[t]).
				With("Name " + string(t) + " too, or leave out the tablet types: all are switched together.")
		}
	}
	return nil
}
