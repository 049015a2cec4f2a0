package workflow

import (
	"braid/internal/filter"
	"braid/internal/keyrange"
	"braid/internal/throttle"
	"braid/internal/topo"
)

// Stream is one stream to be made where it writes.
type Stream struct {
	Name     string // of all streams of one side of a workflow
	At       Shard
	Source   Shard
	KeyRange string // "" is everything
	Rules    []byte // JSON of filter.Rules
	Position string // "" copies first
	Stopped  bool
	Throttle throttle.Limits
	Types    []topo.TabletType // where it reads while it copies, in order of preference; none: PRIMARY
	Readers  int               // sessions that read chunks; 0: the default
}

// Streams are the streams that write on a side: one for each pair of shards that can have rows in common.
func (s *State) Streams(on Side) []Stream {
	var all []Stream
	for _, w := range s.Shards(on) {
		for _, r := range s.Shards(on.Other()) {
			keys, needed := s.keysBetween(r, w)
			if !needed {
				continue
			}
			st := Stream{Name: s.StreamName(on), At: w, Source: r, KeyRange: keys, Rules: s.rules(on, keys).JSON(), Stopped: s.Stopped}
			if on == Target { // the way back copies nothing
				st.Throttle, st.Types, st.Readers = s.Spec.Throttle, s.Spec.TabletTypes, s.Spec.CopyReaders
			}
			all = append(all, st)
		}
	}
	return all
}

// keysBetween returns the key range that a stream from r to w keeps. Within one keyspace a shard that lies inside another
// gives all its rows to it, and shards that do not overlap have nothing to do with each other. Between keyspaces the
// vindexes may differ, so every pair counts.
func (s *State) keysBetween(r, w Shard) (keys string, needed bool) {
	to, err := keyrange.Parse(w.Name)
	if err != nil || to.IsFull() {
		return "", true
	}
	if s.Spec.Type == Move {
		return w.Name, true
	}
	from, err := keyrange.Parse(r.Name)
	if err != nil {
		return w.Name, true
	}
	if to.ContainsRange(from) {
		return "", true
	}
	return w.Name, from.Overlaps(to)
}

// rules name every table. The vindex is given also where no row is left out: a merge finds the row that a change is about
// by its vindex columns too.
func (s *State) rules(on Side, keys string) filter.Rules {
	var r filter.Rules
	for _, t := range s.Spec.Tables {
		sharding := t.OnTarget
		if on == Source {
			sharding = t.OnSource
		}
		r.Rules = append(r.Rules, filter.Rule{Table: t.Name, KeyRange: keys, Vindex: sharding.Vindex, VindexColumns: sharding.Columns})
	}
	return r
}

// streamsAt groups streams by the shard where they write, in the order of the side's shards.
func (s *State) streamsAt(on Side) map[Shard][]Stream {
	at := map[Shard][]Stream{}
	for _, st := range s.Streams(on) {
		at[st.At] = append(at[st.At], st)
	}
	return at
}
