package workflow

import (
	"maps"
	"slices"
	"strings"

	"braid/internal/keyrange"
	"braid/internal/topo"
)

// Route edits a routing to what the state asks for: which side serves the tables or the key range, and the fence. Doing it
// twice changes nothing; what belongs to other workflows stays. A fence of epoch 0 stands for the epoch that the edited
// routing will get. The two last phases take back what was needed only on the way.
func (s *State) Route(r *topo.Routing) {
	switch s.Spec.Type {
	case Move:
		s.routeTables(r)
	case Reshard:
		s.routeShards(r)
	}
	if !s.Fenced() {
		delete(r.Fences, s.Name)
		return
	}
	fence := topo.Fence{Keyspace: s.Keyspace(s.Cut.From), Epoch: s.Cut.Epoch}
	for _, shard := range s.Shards(s.Cut.From) {
		fence.Shards = append(fence.Shards, shard.Name)
	}
	if s.Spec.Type == Move {
		fence.Tables = s.TableNames()
	}
	r.Fences[s.Name] = fence
}

// Routed is the state as it is written beside a routing of this epoch. A cutover that begins to hold writes gets its name.
func (s State) Routed(epoch uint64) State {
	s.Epoch = epoch
	if s.Fenced() && s.Cut.Epoch == 0 {
		cut := *s.Cut
		cut.Epoch = epoch
		s.Cut = &cut
	}
	return s
}

// Fenced reports whether the present stage holds writes.
func (s *State) Fenced() bool {
	return s.Verb != nil && s.Cut != nil && stages[s.Verb.Stage].fenced
}

func (s *State) routeTables(r *topo.Routing) {
	for _, t := range s.TableNames() {
		rule := topo.TableRouting{}
		for typ, side := range s.Served {
			rule[typ] = s.Keyspace(side)
		}
		source, target := s.Spec.SourceKeyspace+"."+t, s.Spec.TargetKeyspace+"."+t
		names := append(s.aliasesOf(t), source, target)
		for _, name := range names {
			r.Tables[name] = maps.Clone(rule)
		}
		switch s.Phase {
		case Completed: // old names go on working; the table's own name needs no rule
			delete(r.Tables, target)
		case Cancelled:
			delete(r.Tables, source)
			if !slices.Contains(s.Spec.Aliases, target) {
				delete(r.Tables, target)
			}
		}
	}
}

// aliasesOf are the names of earlier moves under which a table is known.
func (s *State) aliasesOf(table string) []string {
	var names []string
	for _, name := range s.Spec.Aliases {
		if _, t, _ := strings.Cut(name, "."); t == table {
			names = append(names, name)
		}
	}
	return names
}

func (s *State) routeShards(r *topo.Routing) {
	ks := s.Spec.SourceKeyspace
	next := topo.KeyspaceRouting{}
	for _, t := range topo.ServingTypes {
		shards := slices.DeleteFunc(slices.Clone(r.ServingShards(ks, t)), func(shard string) bool {
			return slices.Contains(s.Spec.SourceShards, shard) || slices.Contains(s.Spec.TargetShards, shard)
		})
		for _, shard := range s.Shards(s.Served[t]) {
			shards = append(shards, shard.Name)
		}
		slices.SortFunc(shards, compareShards)
		next[t] = shards
	}
	if s.Phase.Ended() {
		for _, t := range []topo.TabletType{topo.Rdonly, topo.Replica} {
			if slices.Equal(next[t], next[topo.Primary]) {
				delete(next, t)
			}
		}
	}
	r.Keyspaces[ks] = next
}

func compareShards(a, b string) int {
	ra, aerr := keyrange.Parse(a)
	rb, berr := keyrange.Parse(b)
	if aerr != nil || berr != nil {
		return strings.Compare(a, b)
	}
	return keyrange.Compare(ra, rb)
}
