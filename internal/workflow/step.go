package workflow

import (
	"time"

	"braid/internal/base/errs"
)

// Event is what can happen to a workflow.
type Event interface{ event() }

type (
	// Accept begins a verb that Admit admitted.
	Accept struct{ Verb Verb }
	// Resume is sent by whoever has read the state and goes on with it, with the token of its term.
	Resume struct{ Term int64 }
	// Ran are the results of all effects of the last step. Began is when they began: when the state was written.
	Ran struct {
		Results []Result
		Began   time.Time
	}
	// Observed is how the active streams are, by the shards where they write.
	Observed struct{ Shards []Observation }
)

// Observation is what one tablet says of the active streams that write there; Err when it could not be asked.
type Observation struct {
	At      Shard
	Streams []StreamSeen
	Err     error
}

func (Accept) event()   {}
func (Resume) event()   {}
func (Ran) event()      {}
func (Observed) event() {}

// Step is the machine. The caller writes the new state down, unless it is Volatile, before it runs the effects; if
// the state is no longer the one that Step was given, it runs nothing.
func Step(s State, now time.Time, event Event) (State, []Effect) {
	s = s.clone()
	switch e := event.(type) {
	case Accept:
		s.accept(now, e.Verb)
	case Resume:
		s.resume(now, e.Term)
	case Ran:
		s.routed(e.Began)
		s.ran(now, e.Results)
	case Observed:
		return s, s.observed(now, e)
	}
	return s, s.Effects()
}

// Effects are what the present stage asks for; none when nothing is under way.
func (s State) Effects() []Effect {
	if s.Verb == nil {
		return nil
	}
	return stages[s.Verb.Stage].effects(&s)
}

var firstStage = map[VerbKind]Stage{
	Create: StageAnnounce, Start: StageStart, Stop: StageStop, SwitchTraffic: StageCheck, Reverse: StageCheck,
	Complete: StageRetire, Cancel: StageUnroute,
}

func (s *State) accept(now time.Time, v Verb) {
	v.Stage, v.Failures, v.Before = firstStage[v.Kind], 0, s.Phase
	s.Verb, s.Cut, s.Message = &v, nil, ""
	s.Serial++
	s.log(now, string(v.Kind), "%s", v.describe())
	switch v.Kind {
	case Create:
		s.Phase = Creating
	case SwitchTraffic, Reverse:
		s.Phase = Switching
	case Complete:
		s.Phase = Completing
	case Cancel:
		s.Phase = Cancelling
		s.servedBy(Source, s.pending(Verb{Kind: Reverse}))
	}
}

// resume: every stage is repeated, but a cutover that was interrupted with writes held asks for the journal first.
func (s *State) resume(now time.Time, term int64) {
	if s.Verb == nil {
		return
	}
	s.Term = term
	s.Verb.Failures = 0
	switch s.Verb.Stage {
	case StageFence:
		s.log(now, string(StageDecide), "taken over with writes held: the journals decide")
		s.Cut.Error = "the controller that switched it died or lost its term"
		s.to(StageDecide)
	case StageRoute:
		s.Cut.FencedUS = 0 // nobody measured the end of the pause
	}
}

// to moves on to a stage.
func (s *State) to(stage Stage) { s.Verb.Stage, s.Verb.Failures = stage, 0 }

func (s *State) ran(now time.Time, results []Result) {
	if s.Verb == nil {
		return
	}
	def := stages[s.Verb.Stage]
	if err := firstError(results); err != nil {
		def.failed(s, now, err, results)
		return
	}
	def.done(s, now, results)
}

func firstError(results []Result) error {
	for _, r := range results {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}

// again keeps the stage, to be repeated after a pause.
func (s *State) again(now time.Time, err error, _ []Result) {
	s.Verb.Failures++
	s.wait(now, err)
}

// back returns from a stage that is not written down to the one that is.
func (s *State) back(now time.Time, stage Stage, err error) {
	n := s.Verb.Failures + 1
	s.to(stage)
	s.Verb.Failures = n
	s.wait(now, err)
}

func (s *State) wait(now time.Time, err error) {
	text := "repeats " + s.Verb.Stage.Work() + ": " + err.Error()
	if s.Message != text {
		s.log(now, string(s.Verb.Stage), "%s", text)
	}
	s.Message = text
}

// rest ends the verb.
func (s *State) rest(phase Phase) {
	s.Verb, s.Cut, s.Phase = nil, nil, phase
}

// following is the phase of a workflow whose streams run.
func (s *State) following() Phase {
	switch {
	case s.Stopped:
		return Stopped
	case s.Writes() == Target:
		return Switched
	}
	return Running
}

// permanent errors of create are for the operator: repeating it would fail for ever.
func permanent(err error) bool { return errs.RetryOf(err) == errs.RetryNever }
