package writeset

import "sort"

// maxClock is how many sequence numbers of a binlog file are remembered. A last_committed before them means the newest forgotten one.
const maxClock = 8192

// clockIndex translates last_committed into local sequences. The sequence numbers have gaps: filtered transactions count as done.
type clockIndex struct {
	file  uint64
	start uint64  // everything up to here comes before all transactions of the file that are remembered
	sns   []int64 // ascending
	seqs  []uint64
}

// reset is a barrier at seq.
func (c *clockIndex) reset(seq uint64) {
	c.file, c.start, c.sns, c.seqs = 0, seq, c.sns[:0], c.seqs[:0]
}

// floor returns up to where everything must be done before transaction seq, and remembers it.
func (c *clockIndex) floor(clock Clock, seq uint64) uint64 {
	if !clock.known() {
		c.reset(seq)
		return seq - 1
	}
	if n := len(c.sns); clock.File != c.file || n > 0 && clock.Sequence <= c.sns[n-1] {
		c.reset(seq - 1)
		c.file = clock.File
	}
	floor := c.start
	if i := sort.Search(len(c.sns), func(i int) bool { return c.sns[i] > clock.LastCommitted }); i > 0 {
		floor = c.seqs[i-1]
	}
	c.add(clock.Sequence, seq)
	return floor
}

func (c *clockIndex) add(sn int64, seq uint64) {
	if n := len(c.sns); n == 2*maxClock {
		c.start = c.seqs[maxClock-1]
		copy(c.sns, c.sns[maxClock:])
		copy(c.seqs, c.seqs[maxClock:])
		c.sns, c.seqs = c.sns[:maxClock], c.seqs[:maxClock]
	}
	c.sns, c.seqs = append(c.sns, sn), append(c.seqs, seq)
}
