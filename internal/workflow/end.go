package workflow

import (
	"slices"
	"time"
)

// complete ends a workflow whose traffic is on the target: streams go first, so that nothing writes to the tables that are
// dropped. A reshard drops nothing: the old shards keep their data and their record, and serve nothing; they are deleted
// with their servers, by `braid shard delete`.

func (s *State) retireEffects() []Effect { return s.deleteAllStreams() }

func (s *State) deleteAllStreams() []Effect {
	var effects []Effect
	for _, side := range []Side{Source, Target} {
		effects = append(effects, eachShard(s.Shards(side), func(at Shard) Effect { return DeleteStreams{at, s.StreamName(side)} })...)
	}
	return effects
}

func (s *State) retireDone(now time.Time, _ []Result) {
	s.log(now, string(StageRetire), "streams are deleted")
	s.to(StageDropSource)
}

func (s *State) dropSourceEffects() []Effect {
	if s.Verb.KeepData || s.Spec.Type == Reshard {
		return nil
	}
	return s.dropTables(Source)
}

// dropTables drops in the reverse order of creation: what a foreign key refers to goes last.
func (s *State) dropTables(side Side) []Effect {
	tables := s.TableNames()
	slices.Reverse(tables)
	return eachShard(s.Shards(side), func(at Shard) Effect { return DropTables{at, tables} })
}

func (s *State) dropSourceFailed(now time.Time, err error, _ []Result) { s.back(now, StageRetire, err) }

func (s *State) completeDone(now time.Time, _ []Result) {
	s.Message = ""
	s.log(now, string(Complete), "completed")
	s.rest(Completed)
}

// cancel takes everything back. The accepted state sends reads back to the source; the rules for the tables stay until the
// tables are gone from the target, or a half copied table would be served under its own name for a moment.

func (s *State) unrouteEffects() []Effect { return s.deleteAllStreams() }

func (s *State) unrouteDone(now time.Time, _ []Result) {
	s.log(now, string(StageUnroute), "streams are deleted")
	s.to(StageDropTarget)
}

func (s *State) dropTargetEffects() []Effect {
	if s.Verb.KeepData || !s.SchemaDone {
		return nil
	}
	return s.dropTables(Target)
}

func (s *State) dropTargetFailed(now time.Time, err error, _ []Result) {
	s.back(now, StageUnroute, err)
}

func (s *State) cancelDone(now time.Time, _ []Result) {
	s.Message = ""
	if !s.SchemaDone {
		s.log(now, string(Cancel), "the tables on the target were not all this workflow's: nothing is dropped")
	}
	s.log(now, string(Cancel), "cancelled")
	s.rest(Cancelled)
}
