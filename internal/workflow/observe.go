package workflow

import (
	"slices"
	"time"
)

// observed keeps the phase true while nothing is under way: copying becomes running when every stream follows, an error of
// a stream becomes the workflow's, and a stream that stands still although nobody stopped it (a call of an earlier leader
// that arrived late) is started.
func (s *State) observed(now time.Time, o Observed) []Effect {
	if s.Verb != nil || s.Phase.Ended() || !s.Created {
		return nil
	}
	sum := s.sumUp(o)
	phase, message := s.Phase, ""
	switch {
	case s.Stopped:
		return nil
	case sum.problem != "":
		phase, message = Failed, sum.problem
	case sum.unreachable != "":
		message = sum.unreachable
	case sum.copying:
		phase = Copying
	case sum.stopped == nil:
		phase = Running
	}
	if s.Writes() == Target {
		phase = Switched
	}
	if phase != s.Phase {
		s.log(now, "streams", "%s → %s%s", s.Phase, phase, colon(message))
	}
	s.Phase, s.Message, s.Trouble = phase, message, sum.problem != ""
	return eachShard(sum.stopped, func(at Shard) Effect { return StartStreams{at, s.StreamName(s.Follower())} })
}

type summary struct {
	problem     string
	unreachable string
	copying     bool
	stopped     []Shard
}

func (s *State) sumUp(o Observed) summary {
	var sum summary
	want := s.Streams(s.Follower())
	for _, at := range o.Shards {
		if at.Err != nil {
			sum.unreachable = at.At.String() + ": " + at.Err.Error()
			continue
		}
		for _, w := range want {
			if w.At == at.At && !slices.ContainsFunc(at.Streams, func(st StreamSeen) bool { return st.Source == w.Source }) {
				sum.problem = "the stream from " + w.Source.String() + " to " + w.At.String() + " is gone"
			}
		}
		for _, st := range at.Streams {
			sum.add(at.At, st)
		}
	}
	return sum
}

func (sum *summary) add(at Shard, st StreamSeen) {
	switch st.State {
	case StreamError:
		sum.problem = "the stream from " + st.Source.String() + " to " + at.String() + " has failed: " + st.Message
	case StreamCopying, StreamInit:
		sum.copying = true
	case StreamStopped:
		if !slices.Contains(sum.stopped, at) {
			sum.stopped = append(sum.stopped, at)
		}
	}
}
