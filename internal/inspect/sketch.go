package inspect

import (
	"cmp"
	"container/heap"
	"slices"
)

// sketch finds the keys with the greatest weights among any number of keys, in the memory of a fixed number: the space-saving algorithm of
// Metwally, Agrawal and El Abbadi (2005). A key that takes the place of the lightest one inherits its weight, as an error: the true weight is
// between weight-error and weight. A key whose true weight is above total/size is never missed.
type sketch struct {
	size  int
	byKey map[string]*counter
	heap  counters
}

type counter struct {
	key    string
	weight int64
	error  int64
	bytes  int64 // since it is counted
	last   int64 // number of the last transaction
	trx    int64 // transactions since it is counted
	place  int
}

func newSketch(size int) *sketch { return &sketch{size: size, byKey: map[string]*counter{}} }

// add counts one change of the key. It allocates only for a key that is new.
func (s *sketch) add(key []byte, bytes, transaction int64) {
	c := s.byKey[string(key)]
	switch {
	case c != nil:
	case len(s.heap) < s.size:
		c = &counter{key: string(key)}
		s.byKey[c.key] = c
		heap.Push(&s.heap, c)
	default:
		c = s.heap[0]
		delete(s.byKey, c.key)
		*c = counter{key: string(key), weight: c.weight, error: c.weight, place: c.place}
		s.byKey[c.key] = c
	}
	c.weight++
	c.bytes += bytes
	if c.last != transaction {
		c.trx++
		c.last = transaction
	}
	heap.Fix(&s.heap, c.place)
}

// top returns the heaviest keys for certain: those whose least possible weight is above 1.
func (s *sketch) top(n int) []*counter {
	out := slices.Clone(s.heap)
	out = slices.DeleteFunc(out, func(c *counter) bool { return c.weight-c.error <= 1 })
	slices.SortFunc(out, func(a, b *counter) int {
		return cmp.Or(cmp.Compare(b.weight-b.error, a.weight-a.error), cmp.Compare(a.key, b.key))
	})
	return out[:min(n, len(out))]
}

type counters []*counter

func (c counters) Len() int           { return len(c) }
func (c counters) Less(i, j int) bool { return c[i].weight < c[j].weight }
func (c counters) Swap(i, j int) {
	c[i], c[j] = c[j], c[i]
	c[i].place, c[j].place = i, j
}
func (c *counters) Push(x any) {
	e := x.(*counter)
	e.place = len(*c)
	*c = append(*c, e)
}
func (c *counters) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}
