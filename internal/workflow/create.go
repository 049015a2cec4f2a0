package workflow

import (
	"slices"
	"time"
)

// create: the accepted state routes the tables to the source under both names. When every target has read that (a table
// must not be served under its new name before it is whole), the tables are made there, then the streams.

func (s *State) announceEffects() []Effect {
	return eachShard(s.Shards(Target), func(at Shard) Effect { return AwaitFence{at, s.Epoch} })
}

func (s *State) announceDone(time.Time, []Result) { s.to(StageSchema) }

func (s *State) schemaEffects() []Effect {
	return []Effect{CopySchema{From: s.Shards(Source)[0], To: s.Shards(Target), Tables: s.TableNames(), Sharded: s.targetSharded()}}
}

// targetSharded: in a sharded keyspace ids come from sequences; two shards that each count for themselves would collide.
func (s *State) targetSharded() bool {
	return len(s.Spec.TargetShards) > 1 || slices.ContainsFunc(s.Spec.Tables, func(t Table) bool { return t.OnTarget.Vindex != "" })
}

func (s *State) schemaDone(now time.Time, _ []Result) {
	s.SchemaDone = true
	s.log(now, string(StageSchema), "tables are on the target: %s", join(s.TableNames()))
	s.to(StageStreams)
}

func (s *State) streamsEffects() []Effect {
	var effects []Effect
	at := s.streamsAt(Target)
	for _, shard := range s.Shards(Target) {
		effects = append(effects, CreateStreams{At: shard, Streams: at[shard]})
	}
	return effects
}

func (s *State) streamsDone(now time.Time, _ []Result) {
	s.Created, s.Message = true, ""
	s.log(now, string(StageStreams), "%d streams are made", len(s.Streams(Target)))
	if s.Stopped {
		s.rest(Stopped)
		return
	}
	s.rest(Copying)
}

func (s *State) createFailed(now time.Time, err error, _ []Result) {
	if permanent(err) {
		s.Message = err.Error()
		s.log(now, string(s.Verb.Stage), "given up: %s", err)
		s.rest(Failed)
		return
	}
	s.back(now, StageAnnounce, err)
}

// start and stop set the active streams. The others stand still in any case.

func (s *State) startEffects() []Effect {
	return eachShard(s.Shards(s.Follower()), func(at Shard) Effect { return StartStreams{at, s.StreamName(s.Follower())} })
}

func (s *State) startDone(now time.Time, _ []Result) {
	s.Stopped, s.Message = false, ""
	s.log(now, string(StageStart), "streams are started")
	s.rest(s.following())
	if s.Phase == Running {
		s.Phase = Copying // until every stream says that it follows
	}
}

func (s *State) stopEffects() []Effect {
	return eachShard(s.Shards(s.Follower()), func(at Shard) Effect { return StopStreams{at, s.StreamName(s.Follower())} })
}

func (s *State) stopDone(now time.Time, _ []Result) {
	s.Stopped, s.Message = true, ""
	s.log(now, string(StageStop), "streams are stopped")
	s.rest(Stopped)
}

func eachShard(shards []Shard, effect func(Shard) Effect) []Effect {
	effects := make([]Effect, len(shards))
	for i, shard := range shards {
		effects[i] = effect(shard)
	}
	return effects
}
