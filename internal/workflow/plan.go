package workflow

import (
	"fmt"
	"slices"
	"time"

	"braid/internal/topo"
)

// Estimate is what a dry run knows of the cluster's speed.
type Estimate struct {
	Call time.Duration // a round of calls to tablets
	Lag  time.Duration // of the streams now
	// Sequences that the switch would raise.
	Sequences []Sequence
}

// pause is what a switch of writes would hold them for: two writes of the topology and four rounds of calls, each about as
// long as a call, and the time to apply what the streams are behind.
func (e Estimate) pause() time.Duration {
	return (6*e.Call + e.Lag).Round(time.Millisecond)
}

// Plan tells what a verb would do, in order. It runs the very machine, with effects that all succeed.
func Plan(s State, v Verb, est Estimate) []string {
	var p plan
	now := time.Now()
	before := s
	s, effects := Step(s, now, Accept{v})
	for range 20 { // no verb has as many stages
		p.state(before, s, est)
		p.effects(s, effects)
		if s.Verb == nil {
			break
		}
		before = s
		s, effects = Step(s, now, Ran{Results: succeed(s, effects, est), Began: now})
	}
	return p.steps
}

type plan struct{ steps []string }

func (p *plan) add(format string, args ...any) {
	p.steps = append(p.steps, fmt.Sprintf("%d. ", len(p.steps)+1)+fmt.Sprintf(format, args...))
}

// state tells what writing the new state changes.
func (p *plan) state(before, s State, est Estimate) {
	what := "all writes"
	if s.Spec.Type == Move {
		what = "writes to " + join(s.TableNames())
	}
	fenced := s.Fenced()
	switch {
	case fenced && !before.Fenced():
		p.add("hold %s on %s (a fence in the routing); expected pause of writes: about %s", what, joinShards(s.Shards(s.Cut.From)), est.pause())
	case s.Verb != nil && s.Verb.Stage == StageAnnounce && s.Spec.Type == Move && before.Verb == nil:
		p.add("route %s of both %s and %s to %s", join(s.TableNames()), s.Spec.SourceKeyspace, s.Spec.TargetKeyspace, s.Spec.SourceKeyspace)
	}
	for _, side := range []Side{Source, Target} {
		var moved []topo.TabletType
		for _, t := range topo.ServingTypes {
			if s.Served[t] != before.Served[t] && s.Served[t] == side {
				moved = append(moved, t)
			}
		}
		if len(moved) > 0 {
			p.add("send %s to %s (one new routing)%s", joinTypes(moved), joinShards(s.Shards(side)), reopened(moved))
		}
	}
	p.ended(before, s)
}

func reopened(types []topo.TabletType) string {
	if slices.Contains(types, topo.Primary) {
		return "; writes go on there"
	}
	return ""
}

func (p *plan) ended(before, s State) {
	if before.Phase == s.Phase || !s.Phase.Ended() {
		return
	}
	switch {
	case s.Phase == Completed && s.Spec.Type == Move:
		p.add("keep routing %s of %s to %s, so that old names go on working", join(s.TableNames()), s.Spec.SourceKeyspace, s.Spec.TargetKeyspace)
	case s.Phase == Completed:
		p.add("leave shards %s with their data; they serve nothing", joinShards(s.Shards(Source)))
	case s.Spec.Type == Move:
		p.add("remove the routing of %s", join(s.TableNames()))
	}
}

func (p *plan) effects(s State, effects []Effect) {
	for i := 0; i < len(effects); {
		text, places := effects[i].String(), []string{}
		for ; i < len(effects) && effects[i].String() == text; i++ {
			if w := effects[i].where(); w != "" {
				places = append(places, w)
			}
		}
		if len(places) > 0 {
			text = "on " + join(places) + ": " + text
		}
		p.add("%s", text)
	}
}

// succeed answers effects as a cluster in perfect health would.
func succeed(s State, effects []Effect, est Estimate) []Result {
	results := make([]Result, len(effects))
	for i, e := range effects {
		results[i] = Result{Effect: e, Value: answer(s, e, est)}
	}
	return results
}

func answer(s State, e Effect, est Estimate) any {
	switch e := e.(type) {
	case ListStreams:
		var seen []StreamSeen
		for i, st := range s.streamsAt(s.Follower())[e.At] {
			seen = append(seen, StreamSeen{ID: int64(i + 1), Source: st.Source, State: StreamRunning})
		}
		return seen
	case FindSequences:
		return est.Sequences
	case AwaitFence:
		return Drained{Position: "position"}
	case WaitForPosition:
		return "position"
	case MaxColumn:
		return int64(0)
	case ReadJournal:
		return (*Journal)(nil)
	}
	return nil
}
