package inspect

import (
	"sort"

	"braid/internal/writeset"
)

const (
	// commitWindow is how far apart transactions that committed together may be at most: a flush to a slow disk.
	commitWindow = 10_000 // µs
	// maxOrder is how many transactions are remembered; last_committed rarely goes back further.
	maxOrder = 1 << 14
	// maxSessions bounds the sessions that are remembered.
	maxSessions = 1 << 16
)

// order finds dependencies from the log's headers: by the logical clock alone, or by commit order as the package comment explains it.
type order struct {
	commits  bool // by commit order
	file     string
	start    uint64 // everything up to here comes before all that is remembered
	past     []logged
	sessions map[session]uint64
	seq      uint64
}

type logged struct {
	sequence int64
	seq      uint64
	us       int64
}

type session struct {
	server, id uint32
}

// add returns what the next transaction must wait for: a Floor only, since a clock knows no single predecessors.
func (o *order) add(t *Transaction) writeset.Dependency {
	o.seq++
	d := writeset.Dependency{Seq: o.seq}
	if n := len(o.past); t.File != o.file || t.Sequence <= 0 || n > 0 && t.Sequence <= o.past[n-1].sequence {
		o.file, o.start, o.past = t.File, o.seq-1, o.past[:0]
	}
	d.Floor = o.start
	if i := sort.Search(len(o.past), func(i int) bool { return o.past[i].sequence > t.LastCommitted }); i > 0 {
		d.Floor = o.past[i-1].seq
	}
	if o.commits {
		d.Floor = max(d.Floor, o.apart(t.LoggedUS), o.session(t))
	}
	if len(o.past) == maxOrder {
		o.start = o.past[maxOrder/2-1].seq
		o.past = append(o.past[:0], o.past[maxOrder/2:]...)
	}
	o.past = append(o.past, logged{t.Sequence, o.seq, t.LoggedUS})
	return d
}

// apart returns the last transaction that committed too long ago to have run together with this one.
func (o *order) apart(us int64) uint64 {
	for i := len(o.past) - 1; i >= 0; i-- {
		if o.past[i].us+commitWindow < us {
			return o.past[i].seq
		}
	}
	return 0
}

// session returns the transaction before in the same session.
func (o *order) session(t *Transaction) uint64 {
	if t.Session == 0 {
		return 0
	}
	if o.sessions == nil || len(o.sessions) >= maxSessions {
		o.sessions = map[session]uint64{}
	}
	key := session{t.Server, t.Session}
	before := o.sessions[key]
	o.sessions[key] = o.seq
	return before
}
