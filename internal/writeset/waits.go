package writeset

import (
	"cmp"
	"slices"
)

// waits collects what the open transaction must wait for.
type waits struct {
	seq   uint64 // the open transaction
	done  uint64 // everything up to here has been done: not worth a dependency
	floor uint64
	preds []uint64
	limit int // of preds, before duplicates are looked for
}

const minPreds = 256

func (w *waits) begin(seq uint64) {
	w.seq, w.floor, w.preds, w.limit = seq, 0, w.preds[:0], minPreds
}

// after adds one transaction.
func (w *waits) after(seq uint64) {
	if seq >= w.seq || seq <= w.floor || seq <= w.done {
		return
	}
	if n := len(w.preds); n > 0 && w.preds[n-1] == seq {
		return
	}
	if len(w.preds) >= w.limit {
		w.compact()
		w.limit = max(minPreds, 2*len(w.preds))
	}
	w.preds = append(w.preds, seq)
}

// upTo adds everything up to seq.
func (w *waits) upTo(seq uint64) {
	if seq = min(seq, w.seq-1); seq > w.done {
		w.floor = max(w.floor, seq)
	}
}

// compact sorts the newest first.
func (w *waits) compact() {
	newest := func(a, b uint64) int { return cmp.Compare(b, a) }
	if !slices.IsSortedFunc(w.preds, newest) {
		slices.SortFunc(w.preds, newest)
	}
	w.preds = slices.Compact(w.preds)
	for n := len(w.preds); n > 0 && w.preds[n-1] <= w.floor; n-- {
		w.preds = w.preds[:n-1]
	}
}

// window is how far back implied dependencies are recognised.
const window = 256

// span is a set of transactions by their distance to one: bit i is distance i+1.
type span [window / 64]uint64

func (s *span) has(distance uint64) bool {
	return distance <= window && s[(distance-1)/64]>>((distance-1)%64)&1 != 0
}

func (s *span) add(distance uint64) {
	if distance <= window {
		s[(distance-1)/64] |= 1 << ((distance - 1) % 64)
	}
}

// from adds all transactions at this distance or further.
func (s *span) from(distance uint64) {
	for i := range s {
		low := uint64(i) * 64
		switch {
		case distance <= low+1:
			s[i] = ^uint64(0)
		case distance <= low+64:
			s[i] |= ^uint64(0) << (distance - 1 - low)
		}
	}
}

// join adds what another transaction at this distance has in its span.
func (s *span) join(o *span, distance uint64) {
	if distance >= window {
		return
	}
	words, bits := int(distance/64), distance%64
	for i := len(s) - 1; i >= words; i-- {
		s[i] |= o[i-words] << bits
		if i > words {
			s[i] |= o[i-words-1] >> (64 - bits) // by 64 when bits is 0: nothing
		}
	}
}

// reducer drops dependencies that others imply. It remembers whom each of the last transactions follows, directly or not.
type reducer struct {
	spans [window]span // by sequence modulo window
	open  span         // of the open transaction
}

// reduce removes from preds, newest first, what the floor or newer members imply.
func (r *reducer) reduce(seq, floor uint64, preds []uint64) []uint64 {
	if floor > 0 {
		r.open.from(seq - floor)
	}
	kept := preds[:0]
	for _, p := range preds {
		distance := seq - p
		if p <= floor || r.open.has(distance) {
			continue
		}
		kept = append(kept, p)
		r.open.add(distance)
		if distance < window {
			r.open.join(&r.spans[p%window], distance)
		}
	}
	return kept
}

// end keeps the open transaction's span.
func (r *reducer) end(seq uint64) {
	r.spans[seq%window] = r.open
	r.open = span{}
}
