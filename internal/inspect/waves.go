package inspect

import "braid/internal/writeset"

// keptWaves is how many transactions are remembered one by one.
const keptWaves = 1 << 18

// waves numbers transactions by the longest chain of predecessors, in bounded memory: what is older than keptWaves counts as one, which makes
// numbers too high at most.
type waves struct {
	ring []place
	seq  uint64
}

type place struct {
	wave int // of the transaction
	upTo int // highest wave up to it
	gtid string
}

// add returns the wave of the next transaction, from 1.
func (w *waves) add(d *writeset.Dependency, gtid string) int {
	wave := w.at(d.Floor).upTo
	for _, p := range d.Preds {
		wave = max(wave, w.at(p).wave)
	}
	wave++
	n := place{wave: wave, upTo: max(wave, w.at(w.seq).upTo), gtid: gtid}
	w.seq++
	if len(w.ring) < keptWaves {
		w.ring = append(w.ring, n)
	} else {
		w.ring[(w.seq-1)%keptWaves] = n
	}
	return wave
}

// at returns a transaction's place; 0 is before all.
func (w *waves) at(seq uint64) place {
	if seq == 0 {
		return place{}
	}
	if w.seq-seq >= keptWaves {
		oldest := w.ring[w.seq%keptWaves]
		return place{wave: oldest.upTo, upTo: oldest.upTo}
	}
	return w.ring[(seq-1)%keptWaves]
}
