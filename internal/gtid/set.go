package gtid

import (
	"slices"
	"strconv"
)

// Set is a set of GTIDs, and a value: assignment copies it. The zero value is empty.
type Set struct {
	entries []entry // ordered by source; shared between copies, never written
	// hot is the entry that grows: it stands for entries[grows-1]. It is kept by value, so that adding to it allocates nothing and writes to
	// nothing that is shared. 0: none does.
	hot   entry
	grows int
}

func (s *Set) find(source Source) (int, bool) {
	return slices.BinarySearchFunc(s.entries, source, func(e entry, want Source) int { return compareSources(e.source, want) })
}

// entry is the i-th source of the set. It is not to be written.
func (s *Set) entry(i int) *entry {
	if i == s.grows-1 {
		return &s.hot
	}
	return &s.entries[i]
}

// all are the entries of the set. They are not to be written.
func (s *Set) all() []entry {
	if s.grows == 0 {
		return s.entries
	}
	all := slices.Clone(s.entries)
	all[s.grows-1] = s.hot
	return all
}

// Empty reports whether the set has no transaction.
func (s Set) Empty() bool { return len(s.entries) == 0 }

// Clone returns the set. A Set is a value; this is for those who like to see the copy.
func (s Set) Clone() Set { return s }

// Count is the number of transactions.
func (s Set) Count() uint64 {
	var n uint64
	for i := range s.entries {
		e := s.entry(i)
		for j := range e.len() {
			n += e.at(j).count()
		}
	}
	return n
}

// Add adds one GTID, given as text, to the variable s.
func (s *Set) Add(gtid string) error {
	g, err := ParseGTID(gtid)
	if err != nil {
		return err
	}
	s.AddGTID(g)
	return nil
}

// AddGTID is Add without the parsing. The number must be in 1 to MaxNumber.
func (s *Set) AddGTID(g GTID) {
	if s.grows > 0 && s.hot.source == g.Source {
		s.hot.add(g.Number)
		return
	}
	s.entries = s.all()
	i, found := s.find(g.Source)
	if !found {
		s.entries = slices.Insert(slices.Clip(s.entries), i, newEntry(g.Source, []Interval{{g.Number, g.Number}}))
	}
	s.hot, s.grows = s.entries[i], i+1
	s.hot.add(g.Number)
}

// AddInterval adds the transactions of one source from first to last, both included.
func (s *Set) AddInterval(source Source, i Interval) {
	*s = s.Union(Set{entries: []entry{newEntry(source, []Interval{i})}})
}

// ContainsGTID reports whether the transaction is in the set. Text that is not a GTID is in no set.
func (s Set) ContainsGTID(gtid string) bool {
	g, err := ParseGTID(gtid)
	return err == nil && s.Has(g)
}

// Has is ContainsGTID without the parsing.
func (s Set) Has(g GTID) bool {
	i, found := s.find(g.Source)
	return found && s.entry(i).contains(Interval{g.Number, g.Number})
}

// HasServer reports whether the set has any transaction of the server, tagged or not.
func (s Set) HasServer(u UUID) bool {
	i, found := s.find(Source{UUID: u})
	return found || i < len(s.entries) && s.entries[i].source.UUID == u
}

// Contains reports whether every transaction of o is in s.
func (s Set) Contains(o Set) bool {
	for i := range o.entries {
		e := o.entry(i)
		j, found := s.find(e.source)
		if !found || !s.entry(j).containsAll(e) {
			return false
		}
	}
	return true
}

// Equal reports whether both have the same transactions.
func (s Set) Equal(o Set) bool {
	if len(s.entries) != len(o.entries) {
		return false
	}
	for i := range s.entries {
		if !s.entry(i).equal(o.entry(i)) {
			return false
		}
	}
	return true
}

// Union returns what is in s, in o, or in both.
func (s Set) Union(o Set) Set {
	if len(o.entries) == 0 || s.Contains(o) {
		return s
	}
	out := make([]entry, 0, len(s.entries)+len(o.entries))
	a, b := s.all(), o.all()
	for len(a) > 0 && len(b) > 0 {
		switch c := compareSources(a[0].source, b[0].source); {
		case c < 0:
			out, a = append(out, a[0]), a[1:]
		case c > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			both := append(a[0].intervals(b[0].len()), b[0].intervals(0)...)
			out = append(out, newEntry(a[0].source, normalize(both)))
			a, b = a[1:], b[1:]
		}
	}
	return Set{entries: append(append(out, a...), b...)}
}

// Subtract returns what is in s and not in o.
func (s Set) Subtract(o Set) Set {
	out := make([]entry, 0, len(s.entries))
	for i := range s.entries {
		e := s.entry(i)
		j, found := o.find(e.source)
		if !found {
			out = append(out, *e)
			continue
		}
		if rest := subtract(e, o.entry(j)); len(rest) > 0 {
			out = append(out, newEntry(e.source, rest))
		}
	}
	return Set{entries: out}
}

// Intersect returns what is in both.
func (s Set) Intersect(o Set) Set { return s.Subtract(s.Subtract(o)) }

// All yields every source with its intervals in ascending order.
func (s Set) All(yield func(Source, []Interval) bool) {
	for i := range s.entries {
		if e := s.entry(i); !yield(e.source, e.intervals(0)) {
			return
		}
	}
}

// String is the canonical form: sources in order, a UUID once with its untagged intervals first, no white space.
func (s Set) String() string {
	var dst []byte
	for i := range s.entries {
		e := s.entry(i)
		if i == 0 || s.entries[i-1].source.UUID != e.source.UUID {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = e.source.UUID.append(dst)
		}
		if e.source.Tag != "" {
			dst = append(append(dst, ':'), e.source.Tag...)
		}
		for j := range e.len() {
			dst = e.at(j).append(append(dst, ':'))
		}
	}
	return string(dst)
}

func (i Interval) append(dst []byte) []byte {
	dst = strconv.AppendInt(dst, i.First, 10)
	if i.Last > i.First {
		dst = strconv.AppendInt(append(dst, '-'), i.Last, 10)
	}
	return dst
}
