package apply

import (
	"time"

	"braid/internal/apply/rows"
	"braid/internal/gtid"
	"braid/internal/vstream"
)

// entry is a transaction, or a chunk, of the queue.
type entry struct {
	seq   uint64
	floor uint64     // everything up to here must come before
	preds []uint64   // and these
	view  *rows.View // of a chunk
	bytes int

	parts  []part // one, or the fragments that were not sent yet
	large  bool   // comes in fragments: runs alone, when all before it is committed
	last   bool   // all of it has come
	chunk  *Chunk // instead of parts
	gtid   string
	own    gtid.GTID
	xa     gtid.GTID // Prepared; none as a rule
	after  gtid.Set  // the position of the stream behind it
	commit int64     // CommitUS

	group *group // that has it
	run   bool   // was, or is being, executed by its group
	done  bool   // is committed
}

// part is a transaction, or a fragment of one, with the tables as they were described in front of it: a fragment may be the first to
// change a table.
type part struct {
	tx   *vstream.Transaction
	view *rows.View
}

// queue is the group assigned queue: everything from the low-water mark on, with what the position is made of.
type queue struct {
	entries []*entry // of sequences low+1, …
	low     uint64   // the low-water mark: everything up to here is committed
	next    uint64   // the first sequence that may have no group
	bytes   int
	open    *entry // the last one, of which fragments are missing
	full    bool   // the owner waits

	position gtid.Set // of everything that was added, or skipped
	prefix   gtid.Set // what the low-water mark stands for
	applied  gtid.Set // prefix, and what is committed above it
	saved    gtid.Set // what base and lanes say
	base     gtid.Set // what the base says
	moving   bool     // somebody saves a new base
	movedAt  time.Time

	commitUS int64 // of the last transaction of the prefix
	heardUS  int64 // how far the source was read for position
	sourceUS int64 // how far it was read for prefix
}

func (q *queue) reset(at gtid.Set) {
	q.position, q.prefix, q.applied, q.saved, q.base = at, at, at, at, at
	q.next = q.low + 1
}

func (q *queue) empty() bool { return len(q.entries) == 0 }

func (q *queue) lastSeq() uint64 { return q.low + uint64(len(q.entries)) }

// ahead is how many entries there are from the first without a group on.
func (q *queue) ahead() int { return int(q.lastSeq()+1) - int(q.next) }

func (q *queue) at(seq uint64) *entry { return q.entries[seq-q.low-1] }

func (q *queue) push(e *entry) {
	if e.seq != q.lastSeq()+1 {
		panic("apply: sequences have a gap")
	}
	q.entries = append(q.entries, e)
	q.bytes += e.bytes
}

// reach notes that all of a transaction has come.
func (q *queue) reach(e *entry, tx *vstream.Transaction) error {
	e.last, e.commit, e.gtid = true, tx.CommitUS, tx.GTID
	var err error
	if tx.Prepared != "" {
		if e.xa, err = gtid.ParseGTID(tx.Prepared); err != nil {
			return err
		}
	}
	if tx.GTID != "" {
		if e.own, err = gtid.ParseGTID(tx.GTID); err != nil {
			return err
		}
	}
	e.reach(&q.position)
	e.after = q.position
	return nil
}

// reach adds the entry's transaction to a set.
func (e *entry) reach(set *gtid.Set) {
	for _, g := range [...]*gtid.GTID{&e.xa, &e.own} {
		if g.Number > 0 {
			set.AddGTID(*g)
		}
	}
}

// free reports whether everything that e must follow is committed, or stands before it in g and is executed there.
func (q *queue) free(e *entry, g *group) bool {
	if e.large {
		return q.low+1 == e.seq
	}
	for seq := q.low + 1; seq <= e.floor; seq++ {
		if !q.passed(seq, g) {
			return false
		}
	}
	for _, seq := range e.preds {
		if seq > q.low && !q.passed(seq, g) {
			return false
		}
	}
	return true
}

func (q *queue) passed(seq uint64, g *group) bool {
	e := q.at(seq)
	return e.done || g != nil && e.group == g && e.run
}

// advance moves the low-water mark over what is committed.
func (q *queue) advance() {
	n := 0
	for n < len(q.entries) && q.entries[n].done {
		if c := q.entries[n].commit; c > 0 {
			q.commitUS = c
		}
		n++
	}
	if n > 0 {
		q.prefix, q.sourceUS = q.entries[n-1].after, q.commitUS
		clear(q.entries[:n])
		q.entries = q.entries[n:]
		q.low += uint64(n)
		q.next = max(q.next, q.low+1)
	}
	if len(q.entries) == 0 {
		q.entries = nil // what append has grown is given back
		q.prefix = q.position
		q.sourceUS = max(q.sourceUS, q.heardUS)
	}
	q.applied = q.applied.Union(q.prefix)
}

// moved notes that a base is saved.
func (q *queue) moved(base gtid.Set) {
	q.base, q.movedAt = base, time.Now()
	q.saved = q.saved.Union(base)
}
