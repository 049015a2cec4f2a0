package writeset

// maxSharers is how many transactions that share a token are kept one by one. An exclusive holder that comes after more of them waits
// for everything up to the last of them.
const maxSharers = 32

// entry is the state of a token: its last exclusive holder, and who shares it since.
type entry struct {
	exclusive uint64
	last      uint64 // the last sharer; 0: none
	head      uint32 // list of all sharers in the generation's nodes, 1-based
	sharers   uint32 // above maxSharers the list is gone
}

type node struct {
	seq  uint64
	next uint32
}

// generation is one half of the history.
type generation struct {
	entries map[uint64]entry
	nodes   []node
	last    uint64 // the last transaction that may have an entry here
}

func (g *generation) size() int { return len(g.entries) + len(g.nodes) }

func (g *generation) clear() {
	clear(g.entries)
	g.nodes, g.last = g.nodes[:0], 0
}

// history maps tokens to their holders (WS2).
type history struct {
	young, old generation
	limit      int // of one generation
}

func newHistory(limit int) history {
	return history{limit: max(limit/2, 1), young: generation{entries: map[uint64]entry{}}, old: generation{entries: map[uint64]entry{}}}
}

func (h *history) clear() {
	h.young.clear()
	h.old.clear()
}

// find returns the state of a token and moves it into the young generation's hands: the caller stores it there.
func (h *history) find(token uint64) entry {
	if e, ok := h.young.entries[token]; ok {
		return e
	}
	e, ok := h.old.entries[token]
	if !ok {
		return entry{}
	}
	head := e.head
	e.head = 0
	for ; head != 0; head = h.old.nodes[head-1].next { // the order of sharers does not matter
		h.push(&e, h.old.nodes[head-1].seq)
	}
	return e
}

func (h *history) push(e *entry, seq uint64) {
	h.young.nodes = append(h.young.nodes, node{seq, e.head})
	e.head = uint32(len(h.young.nodes))
}

// exclusive takes a token for seq and reports those who must come before.
func (h *history) exclusive(token, seq uint64, w *waits) {
	e := h.find(token)
	switch {
	case e.exclusive == seq:
		return
	case e.last == 0:
		w.after(e.exclusive)
	case e.sharers > maxSharers:
		w.upTo(e.last)
	default:
		for i := e.head; i != 0; i = h.young.nodes[i-1].next {
			w.after(h.young.nodes[i-1].seq)
		}
		w.after(e.exclusive) // a sharer may be seq itself
	}
	h.young.entries[token] = entry{exclusive: seq}
}

// share is exclusive for a holder that tolerates others.
func (h *history) share(token, seq uint64, w *waits) {
	e := h.find(token)
	if e.exclusive == seq || e.last == seq {
		return
	}
	w.after(e.exclusive)
	e.last = seq
	if e.sharers++; e.sharers > maxSharers {
		e.head = 0
	} else {
		h.push(&e, seq)
	}
	h.young.entries[token] = e
}

// overflow forgets the old generation when the young one is full, and returns the new base, or 0. seq may have entries in the young one.
func (h *history) overflow(seq uint64) (base uint64) {
	if h.young.size() < h.limit {
		return 0
	}
	base = h.old.last
	h.old.clear()
	h.young, h.old = h.old, h.young
	h.old.last = seq
	return base
}
