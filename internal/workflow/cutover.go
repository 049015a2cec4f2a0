package workflow

import (
	"errors"
	"slices"
	"time"

	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/topo"
)

// The cutover of PRIMARY, from the side that serves writes to the other. A switch of reads alone ends after check: they
// need no fence, because a replica is behind its primary anyway.

func (s *State) movesWrites() bool { return slices.Contains(s.Verb.Types, topo.Primary) }

// to is the side that a cutover sends writes to.
func (c *Cut) to() Side { return c.From.Other() }

func (s *State) checkEffects() []Effect {
	effects := eachShard(s.Shards(s.Follower()), func(at Shard) Effect { return ListStreams{at, s.StreamName(s.Follower())} })
	if !s.movesWrites() {
		return effects
	}
	for _, side := range []Side{Source, Target} {
		effects = append(effects, eachShard(s.Shards(side), func(at Shard) Effect { return CheckTablet{at} })...)
	}
	return append(effects,
		CompareSchema{s.Shards(s.Writes()), s.Shards(s.Follower()), s.TableNames(), s.Spec.Type == Reshard},
		FindSequences{s.Keyspace(s.Follower()), s.TableNames()})
}

func (s *State) checkDone(now time.Time, results []Result) {
	cut, err := s.inspect(results)
	switch {
	case err != nil:
		s.refuse(now, err, nil)
	case !s.movesWrites():
		s.readsDone(now)
	default:
		s.Cut = cut
		s.to(StageLock)
	}
}

// Check says why a switch that stands at its check must be refused, given the results of that.
func Check(s State, results []Result) error {
	if err := firstError(results); err != nil {
		return err
	}
	_, err := s.inspect(results)
	return err
}

// inspect reads the results of check into a cutover, or says why there must be none.
func (s *State) inspect(results []Result) (*Cut, error) {
	cut := &Cut{From: s.Writes()}
	seen := map[Shard][]StreamSeen{}
	for _, r := range results {
		switch e := r.Effect.(type) {
		case ListStreams:
			seen[e.At] = r.Value.([]StreamSeen)
		case FindSequences:
			cut.Sequences = r.Value.([]Sequence)
		}
	}
	for _, shard := range s.Shards(s.Follower()) {
		for _, st := range seen[shard] {
			cut.Streams = append(cut.Streams, StreamRef{At: shard, ID: st.ID, Source: st.Source})
		}
	}
	return cut, s.judge(seen, time.Duration(s.Verb.MaxLagMS)*time.Millisecond)
}

// judge says why the streams are not fit for a switch: every pair of shards has its stream, running, with little lag.
func (s *State) judge(seen map[Shard][]StreamSeen, maxLag time.Duration) error {
	for _, want := range s.Streams(s.Follower()) {
		i := slices.IndexFunc(seen[want.At], func(st StreamSeen) bool { return st.Source == want.Source })
		if i < 0 {
			return errs.New(errs.StreamsNotRunning, nil, "the stream from %s to %s does not exist", want.Source, want.At)
		}
		switch st := seen[want.At][i]; {
		case st.State == StreamLagging:
			return errs.New(errs.LagTooHigh, nil, "the stream from %s to %s is lagging by %s, at most %s is allowed", want.Source, want.At, lag(st.LagMS), maxLag)
		case st.State != StreamRunning:
			return errs.New(errs.StreamsNotRunning, nil, "the stream from %s to %s is %s%s", want.Source, want.At, st.State, colon(st.Message))
		case st.LagMS < 0:
			return errs.New(errs.LagTooHigh, nil, "the lag of the stream from %s to %s is not known", want.Source, want.At)
		case lag(st.LagMS) > maxLag:
			return errs.New(errs.LagTooHigh, nil, "the stream from %s to %s is behind by %s, at most %s is allowed", want.Source, want.At, lag(st.LagMS), maxLag)
		}
	}
	return nil
}

func lag(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

func colon(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

// readsDone switches reads; the write of this state is the switch.
func (s *State) readsDone(now time.Time) {
	v := *s.Verb
	s.servedBy(v.Towards(), v.Types)
	s.Last = &Switch{Verb: v.Kind, Types: v.Types, Result: Done}
	s.Message = ""
	s.log(now, string(StageRoute), "%s are served by the %s", joinTypes(v.Types), v.Towards())
	s.rest(s.following())
}

func (s *State) servedBy(side Side, types []topo.TabletType) {
	for _, t := range types {
		s.Served[t] = side
	}
}

// refuse ends a switch of which nothing was done yet.
func (s *State) refuse(now time.Time, err error, _ []Result) {
	s.Last = &Switch{Verb: s.Verb.Kind, Types: s.Verb.Types, Result: Undone, Error: err.Error()}
	s.Message = err.Error()
	s.log(now, string(s.Verb.Stage), "not switched: %s", err)
	s.rest(s.Verb.Before)
}

// lock: and what an undone attempt may have left over is removed, so that it costs nothing while writes are held.
func (s *State) lockEffects() []Effect {
	keyspaces := []string{s.Spec.SourceKeyspace, s.Spec.TargetKeyspace}
	slices.Sort(keyspaces) // one order for everybody: no deadlock
	effects := []Effect{LockKeyspaces{slices.Compact(keyspaces)}}
	if s.Cut.From == Source {
		effects = append(effects, eachShard(s.Shards(Source), func(at Shard) Effect { return DeleteStreams{at, s.StreamName(Source)} })...)
	}
	return effects
}

func (s *State) lockDone(now time.Time, _ []Result) {
	s.Cut.FencedUS = now.UnixMicro()
	s.log(now, string(StageFence), "writes to %s are held", s.Keyspace(s.Cut.From))
	s.to(StageFence)
}

func (s *State) fenceEffects() []Effect {
	return eachShard(s.Shards(s.Cut.From), func(at Shard) Effect { return AwaitFence{at, s.Cut.Epoch} })
}

var errNoPosition = errors.New("the tablet gave no position")

func (s *State) fenceDone(now time.Time, results []Result) {
	positions := map[string]string{}
	for _, r := range results {
		at, drained := r.Effect.(AwaitFence).At, r.Value.(Drained)
		if drained.Position == "" {
			s.undo(now, errNoPosition, nil)
			return
		}
		positions[at.String()] = drained.Position
		if drained.Killed > 0 {
			s.Cut.Killed += drained.Killed
			s.log(now, string(StageFence), "%d transactions on %s did not end within %s and were rolled back", drained.Killed, at, timeouts.FenceDrain)
		}
	}
	s.Cut.FromPositions = positions
	s.to(StageCatchUp)
}

// catch-up: the greatest ids are read at the same time; nobody writes where they are read.
func (s *State) catchUpEffects() []Effect {
	effects := eachShard(s.Shards(s.Cut.to()), func(at Shard) Effect {
		e := WaitForPosition{At: at, Name: s.StreamName(s.Cut.to()), Positions: map[int64]string{}, TimeoutMS: s.Verb.TimeoutMS}
		for _, st := range s.Cut.Streams {
			if st.At == at {
				e.Positions[st.ID] = s.Cut.FromPositions[st.Source.String()]
			}
		}
		return e
	})
	for _, seq := range s.Cut.Sequences {
		effects = append(effects, eachShard(s.Shards(s.Cut.From), func(at Shard) Effect { return MaxColumn{at, seq.Table, seq.Column} })...)
	}
	return effects
}

func (s *State) catchUpDone(now time.Time, results []Result) {
	positions := map[string]string{}
	for _, r := range results {
		switch e := r.Effect.(type) {
		case WaitForPosition:
			if r.Value.(string) == "" {
				s.undo(now, errNoPosition, nil)
				return
			}
			positions[e.At.String()] = r.Value.(string)
		case MaxColumn:
			for i := range s.Cut.Sequences {
				if seq := &s.Cut.Sequences[i]; seq.Table == e.Table && seq.Column == e.Column {
					seq.Max = max(seq.Max, r.Value.(int64))
				}
			}
		}
	}
	s.Cut.ToPositions = positions
	s.to(StageHandOver)
}

// hand-over: the active streams stop, the passive ones are placed where their source stands, sequences are raised.
func (s *State) handOverEffects() []Effect {
	effects := eachShard(s.Shards(s.Cut.to()), func(at Shard) Effect { return StopStreams{at, s.StreamName(s.Cut.to())} })
	effects = append(effects, eachShard(s.Shards(s.Cut.From), func(at Shard) Effect { return PlaceStreams{at, s.passiveAt(at)} })...)
	for _, seq := range s.Cut.Sequences {
		effects = append(effects, RaiseSequence{seq.Keyspace, seq.Sequence, seq.Max + 1})
	}
	return effects
}

// passiveAt are the streams that will write at a shard of the fenced side, standing still at their positions.
func (s *State) passiveAt(at Shard) []Stream {
	streams := s.streamsAt(s.Cut.From)[at]
	for i := range streams {
		streams[i].Position, streams[i].Stopped = s.Cut.ToPositions[streams[i].Source.String()], true
	}
	return streams
}

func (s *State) handOverDone(time.Time, []Result) { s.to(StageJournal) }

func (s *State) journalEffects() []Effect {
	j := Journal{Workflow: s.Name, Epoch: s.Cut.Epoch, From: s.Cut.From, FromPositions: s.Cut.FromPositions, ToPositions: s.Cut.ToPositions}
	return eachShard(s.Shards(s.Cut.From), func(at Shard) Effect { return WriteJournal{at, j} })
}

// route: the write of this state is the switch.
func (s *State) journalDone(now time.Time, _ []Result) {
	v := s.Verb
	s.servedBy(v.Towards(), v.Types)
	s.Last = &Switch{Verb: v.Kind, Types: v.Types, Result: Done, FencedMS: s.held(now), Killed: s.Cut.Killed, Epoch: s.Cut.Epoch}
	s.Message = ""
	s.log(now, string(StageRoute), "%s are served by the %s", joinTypes(v.Types), v.Towards())
	s.to(StageRoute)
}

// journalFailed: nobody knows whether a journal was written.
func (s *State) journalFailed(now time.Time, err error, _ []Result) {
	s.Cut.Error = err.Error()
	s.back(now, StageDecide, err)
}

func (s *State) decideEffects() []Effect {
	return eachShard(s.Shards(s.Cut.From), func(at Shard) Effect { return ReadJournal{at, s.Name, s.Cut.Epoch} })
}

func (s *State) decided(now time.Time, results []Result) {
	if j := findJournal(results); j != nil {
		s.forward(now, j)
		return
	}
	s.undo(now, errors.New(s.Cut.Error), nil)
}

// decideFailed: one journal is proof enough; that there is none takes the word of every source.
func (s *State) decideFailed(now time.Time, err error, results []Result) {
	if j := findJournal(results); j != nil {
		s.forward(now, j)
		return
	}
	s.again(now, err, nil)
}

func findJournal(results []Result) *Journal {
	for _, r := range results {
		if j, ok := r.Value.(*Journal); ok && j != nil && r.Err == nil {
			return j
		}
	}
	return nil
}

// forward goes on after the point of no return: what was prepared before it is in place, the journal has the positions.
func (s *State) forward(now time.Time, j *Journal) {
	s.Cut.FromPositions, s.Cut.ToPositions, s.Cut.Error = j.FromPositions, j.ToPositions, ""
	s.log(now, string(StageDecide), "a journal is written: the switch goes on")
	n := s.Verb.Failures // a source that cannot take its journal is asked again after a pause
	s.to(StageJournal)
	s.Verb.Failures = n
}

// held is for how many milliseconds writes have been held.
func (s *State) held(now time.Time) float64 { return float64(now.UnixMicro()-s.Cut.FencedUS) / 1000 }

// settle: reverse streams that a late call of an earlier attempt removed are made again at the same positions; those that
// exist stay as they are. After a reverse they are removed before the forward streams start, so that the two
// directions never run at once.
func (s *State) routeEffects() []Effect {
	if s.Cut.From == Source {
		return eachShard(s.Shards(Source), func(at Shard) Effect { return CreateStreams{at, s.passiveAt(at)} })
	}
	return eachShard(s.Shards(Source), func(at Shard) Effect { return DeleteStreams{at, s.StreamName(Source)} })
}

func (s *State) routeDone(time.Time, []Result) { s.to(StageFinish) }

// routed notes when the write that routed was durable: the end of the pause, if this process has seen its beginning.
func (s *State) routed(at time.Time) {
	if s.Verb == nil || s.Verb.Stage != StageRoute || s.Cut.FencedUS == 0 || s.Verb.Failures > 0 {
		return
	}
	last := *s.Last
	last.FencedMS = s.held(at)
	s.Last = &last
	s.log(at, string(StageRoute), "writes were held for %.1f ms", last.FencedMS)
	s.Cut.FencedUS = 0
}

func (s *State) finishEffects() []Effect {
	return eachShard(s.Shards(s.Cut.From), func(at Shard) Effect { return StartStreams{at, s.StreamName(s.Cut.From)} })
}

func (s *State) finishDone(now time.Time, _ []Result) {
	s.Message = ""
	s.log(now, string(StageFinish), "streams run from the %s to the %s", s.Follower().Other(), s.Follower())
	s.rest(s.following())
}

func (s *State) finishFailed(now time.Time, err error, _ []Result) { s.back(now, StageRoute, err) }

// undo: the write of this state lifts the fence. Then the passive streams of a first switch are removed (those of a reverse
// stay where they stand), and the active ones go on.
func (s *State) undo(now time.Time, err error, _ []Result) {
	s.Cut.Error = err.Error()
	s.Message = err.Error()
	s.log(now, string(StageUndo), "undone at %s after %.1f ms: %s", s.Verb.Stage.Work(), s.held(now), err)
	s.to(StageUndo)
}

func (s *State) undoEffects() []Effect {
	effects := eachShard(s.Shards(s.Cut.to()), func(at Shard) Effect { return StartStreams{at, s.StreamName(s.Cut.to())} })
	if s.Cut.From == Source {
		effects = append(effects, eachShard(s.Shards(Source), func(at Shard) Effect { return DeleteStreams{at, s.StreamName(Source)} })...)
	}
	return effects
}

func (s *State) undoDone(now time.Time, _ []Result) {
	s.Last = &Switch{Verb: s.Verb.Kind, Types: s.Verb.Types, Result: Undone, Error: s.Cut.Error, Killed: s.Cut.Killed, Epoch: s.Cut.Epoch}
	s.Message = "the last switch was undone: " + s.Cut.Error
	s.log(now, string(StageUndo), "everything is as it was before the switch")
	s.rest(s.following())
}
