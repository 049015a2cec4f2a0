package vstream

import "slices"

// touchLog has the keys of one table that have passed since its oldest open window opened.
type touchLog struct{ generations generations }

// generation has the keys that passed from the opening of one window to that of the next.
type generation struct {
	keys map[string]struct{}
	size int
}

type generations []*generation

// begin starts a generation.
func (l *touchLog) begin() *generation {
	g := &generation{keys: map[string]struct{}{}}
	l.generations = append(l.generations, g)
	return g
}

// touch adds a key to the newest generation and returns the bytes that it takes.
func (l *touchLog) touch(key []byte) int {
	g := l.generations[len(l.generations)-1]
	if _, ok := g.keys[string(key)]; ok {
		return 0
	}
	g.keys[string(key)] = struct{}{}
	g.size += len(key) + keyOverhead
	return len(key) + keyOverhead
}

// drop ends a generation: those before it still need its keys. It returns the bytes that became free.
func (l *touchLog) drop(g *generation) (freed int) {
	i := slices.Index(l.generations, g)
	l.generations = slices.Delete(l.generations, i, i+1)
	if i == 0 {
		return g.size
	}
	before := l.generations[i-1]
	if len(before.keys) < len(g.keys) {
		before.keys, g.keys = g.keys, before.keys
		before.size, g.size = g.size, before.size
	}
	for key := range g.keys {
		if _, ok := before.keys[key]; ok {
			freed += len(key) + keyOverhead
			continue
		}
		before.keys[key] = struct{}{}
		before.size += len(key) + keyOverhead
	}
	return freed
}

// since are the generations from g on.
func (l *touchLog) since(g *generation) generations {
	return l.generations[slices.Index(l.generations, g):]
}

// some are those that are not empty.
func (s generations) some() (out generations) {
	for _, g := range s {
		if len(g.keys) > 0 {
			out = append(out, g)
		}
	}
	return out
}

func (s generations) have(key []byte) bool {
	for _, g := range s {
		if _, ok := g.keys[string(key)]; ok {
			return true
		}
	}
	return false
}

// all are their keys, each once.
func (s generations) all() (keys []string) {
	for i, g := range s {
		for key := range g.keys {
			if !s[:i].have([]byte(key)) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}
