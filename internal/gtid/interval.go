package gtid

import (
	"slices"
	"sync/atomic"
)

// Interval is the transactions First to Last, both included.
type Interval struct {
	First, Last int64
}

func (i Interval) count() uint64 { return uint64(i.Last-i.First) + 1 }

// run is the append-only buffer behind the closed intervals of a source. Slots below used are never written again.
type run struct {
	slots []Interval
	used  atomic.Int64
}

// entry is one source of a Set: closed intervals in ascending order, then the last one. Entries are values.
type entry struct {
	source Source
	closed *run // nil when n is 0
	n      int  // how many of closed belong to this entry
	last   Interval
}

func newEntry(source Source, intervals []Interval) entry {
	n := len(intervals) - 1
	e := entry{source: source, n: n, last: intervals[n]}
	if n > 0 {
		e.closed = &run{slots: intervals[:n:n]}
		e.closed.used.Store(int64(n))
	}
	return e
}

func (e *entry) len() int { return e.n + 1 }

func (e *entry) at(i int) Interval {
	if i == e.n {
		return e.last
	}
	return e.closed.slots[i]
}

// intervals returns a fresh slice with room for more.
func (e *entry) intervals(more int) []Interval {
	all := make([]Interval, 0, e.len()+more)
	if e.n > 0 {
		all = append(all, e.closed.slots[:e.n]...)
	}
	return append(all, e.last)
}

// close appends the last interval to the closed ones, in place when no other copy has done so before, and begins a new last one.
func (e *entry) close(next Interval) {
	if e.closed != nil && e.n < len(e.closed.slots) && e.closed.used.CompareAndSwap(int64(e.n), int64(e.n+1)) {
		e.closed.slots[e.n] = e.last
	} else {
		grown := &run{slots: make([]Interval, max(4, 2*e.n))}
		if e.n > 0 {
			copy(grown.slots, e.closed.slots[:e.n])
		}
		grown.slots[e.n] = e.last
		grown.used.Store(int64(e.n + 1))
		e.closed = grown
	}
	e.n++
	e.last = next
}

// add puts one number into the entry.
func (e *entry) add(n int64) {
	switch {
	case n == e.last.Last+1:
		e.last.Last = n
	case n > e.last.Last:
		e.close(Interval{n, n})
	case n >= e.last.First, e.contains(Interval{n, n}):
	default:
		*e = newEntry(e.source, normalize(append(e.intervals(1), Interval{n, n})))
	}
}

// contains reports whether one interval of the entry holds all of i.
func (e *entry) contains(i Interval) bool {
	lo, hi := 0, e.len()
	for lo < hi { // the first interval that does not end before i begins
		mid := int(uint(lo+hi) >> 1)
		if e.at(mid).Last < i.First {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < e.len() && e.at(lo).First <= i.First && i.Last <= e.at(lo).Last
}

func (e *entry) containsAll(o *entry) bool {
	for i := range o.len() {
		if !e.contains(o.at(i)) {
			return false
		}
	}
	return true
}

func (e *entry) equal(o *entry) bool {
	if e.source != o.source || e.len() != o.len() {
		return false
	}
	for i := range e.len() {
		if e.at(i) != o.at(i) {
			return false
		}
	}
	return true
}

// normalize sorts, and joins what overlaps or touches. It works in place.
func normalize(all []Interval) []Interval {
	slices.SortFunc(all, func(a, b Interval) int {
		switch {
		case a.First < b.First:
			return -1
		case a.First > b.First:
			return 1
		}
		return 0
	})
	out := all[:0]
	for _, i := range all {
		if n := len(out); n > 0 && i.First <= out[n-1].Last+1 {
			out[n-1].Last = max(out[n-1].Last, i.Last)
			continue
		}
		out = append(out, i)
	}
	return out
}

// subtract returns what is in e and not in o, in order.
func subtract(e, o *entry) []Interval {
	var out []Interval
	j := 0
	for i := range e.len() {
		rest := e.at(i)
		for j < o.len() && o.at(j).Last < rest.First {
			j++
		}
		for k := j; k < o.len() && o.at(k).First <= rest.Last && rest.First <= rest.Last; k++ {
			cut := o.at(k)
			if rest.First < cut.First {
				out = append(out, Interval{rest.First, cut.First - 1})
			}
			rest.First = cut.Last + 1
		}
		if rest.First <= rest.Last {
			out = append(out, rest)
		}
	}
	return out
}
