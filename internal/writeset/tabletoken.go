package writeset

// maxProvable is how many exclusive holders of a table are kept to be compared by the source's clock. The next one follows all of them,
// and everything later follows it.
const maxProvable = 64

// holder is a transaction that has a table exclusively.
type holder struct {
	seq   uint64
	clock Clock // zero: its order to others cannot be disproved
}

// tableToken is the token of a whole table, or of a whole database. It is not part of the history: there is one for each table.
type tableToken struct {
	exclusive []holder
	shared    [maxSharers]uint64 // the last sharers since the last exclusive holder, a ring
	sharers   int                // how many there were
	dropped   uint64             // the last one that fell out of the ring
}

func (t *tableToken) clear() {
	t.exclusive, t.sharers, t.dropped = t.exclusive[:0], 0, 0
}

func (t *tableToken) lastSharer() uint64 {
	if t.sharers == 0 {
		return 0
	}
	return t.shared[(t.sharers-1)%maxSharers]
}

// holds reports whether seq has the token exclusively.
func (t *tableToken) holds(seq uint64) bool {
	n := len(t.exclusive)
	return n > 0 && t.exclusive[n-1].seq == seq
}

func (t *tableToken) share(seq uint64, w *waits) {
	if t.lastSharer() == seq || t.holds(seq) {
		return
	}
	for _, h := range t.exclusive {
		w.after(h.seq)
	}
	slot := &t.shared[t.sharers%maxSharers]
	if t.sharers >= maxSharers {
		t.dropped = *slot
	}
	*slot = seq
	t.sharers++
}

// take is share, exclusively. With a clock that is not zero the order to an earlier holder is left open where the clocks prove that it does not matter.
func (t *tableToken) take(seq uint64, clock Clock, w *waits) {
	if t.holds(seq) {
		return
	}
	if t.sharers > 0 || len(t.exclusive) >= maxProvable {
		clock = Clock{}
	}
	for i := len(t.exclusive) - 1; i >= 0; i-- { // the newest first, as waits wants them
		if h := &t.exclusive[i]; !clock.parallel(h.clock) {
			w.after(h.seq)
		}
	}
	w.upTo(t.dropped)
	for i := range min(t.sharers, maxSharers) {
		w.after(t.shared[i])
	}
	t.sharers, t.dropped = 0, 0
	if !clock.known() { // it follows all of them, and whoever follows it does, too
		t.exclusive = t.exclusive[:0]
	}
	t.exclusive = append(t.exclusive, holder{seq, clock})
}
