package binlog

import (
	"maps"
	"runtime"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"braid/internal/gtid"
)

// ring holds the newest events of the log, bounded in bytes, for any number of readers. They are kept in segments, which leave as a
// whole. A reader's place is a segment's number and an index; a place whose segment has left means that the reader is too slow.
//
// A place can be entered only between two transactions, and only by a reader whose position is exactly that of the place. Each segment
// knows the position before it, so that finding the place costs one binary search over segments and a walk over one of them.
type ring struct {
	limit   int
	moved   chan struct{} // a reader has moved, or left
	stopped chan struct{}
	notes   atomic.Int64 // bytes that readers have noted with events

	mu struct {
		sync.Mutex
		left     map[Object]uint64 // tables of which rows were left out, and the value of total behind the last of them
		pruned   int               // how many tables were there when those of the past were last taken out
		segments []*segment        // oldest first, never empty
		bytes    int
		total    uint64      // bytes of all events ever put
		head     gtid.Set    // position behind the newest event
		end      Coordinates // how far the log was read
		inside   bool        // the newest event is a part of a transaction that is not complete
		err      error       // why nothing more will come
		waiting  []*hubReader
		front    uint64 // value of total up to which the fastest reader has taken
		members  int    // readers that have a place
		hurried  bool
	}
}

type segment struct {
	number  uint64
	start   uint64   // value of total before its first event
	before  gtid.Set // position before its first event
	inside  bool     // its first event goes on with a transaction
	entries []entry
	bytes   int
}

type entry struct {
	event Event
	whole bool   // what follows is another transaction
	after uint64 // value of total behind it
}

type place struct {
	segment uint64
	index   int
}

const (
	defaultRingBytes = 64 << 20
	segmentShare     = 256 // a segment is the ring's size divided by this
	minSegment       = 4 << 10
)

func newRing(limit int, position gtid.Set) *ring {
	r := &ring{limit: limit, moved: make(chan struct{}, 1), stopped: make(chan struct{})}
	r.mu.head, r.mu.left = position, map[Object]uint64{}
	r.mu.segments = []*segment{{before: position}}
	return r
}

// put implements sink. It waits while the fastest reader is half a ring behind: nobody would read what came now. A reader that is
// slower than that one is not waited for.
func (r *ring) put(ev Event, cost int) error {
	for {
		r.mu.Lock()
		if !r.paced() {
			break
		}
		r.mu.Unlock()
		select {
		case <-r.moved:
		case <-r.stopped:
			return errClosed
		}
	}
	begun := r.accept(ev, cost)
	r.mu.Unlock()
	if begun {
		runtime.Gosched() // the readers take the segment before while it is in the processor's cache
	}
	return nil
}

// accept notes an event, and reports whether a segment begins with it. The lock is held.
func (r *ring) accept(ev Event, cost int) (begun bool) {
	if mark, ok := ev.(*Mark); ok {
		r.mark(mark.End)
		return false
	}
	if tx, ok := ev.(*Transaction); ok {
		r.share(tx)
	}
	newest := r.mu.segments[len(r.mu.segments)-1].number
	r.add(ev, cost)
	r.wake()
	return r.mu.segments[len(r.mu.segments)-1].number > newest
}

// paced reports whether the fastest reader is far behind.
func (r *ring) paced() bool {
	if r.mu.members == 0 || r.mu.hurried {
		return false
	}
	// One that has fallen off, and does not know yet, is not waited for.
	return r.mu.front >= r.mu.segments[0].start && r.mu.total-r.mu.front > uint64(r.limit/2)
}

func (r *ring) add(ev Event, cost int) {
	newest := r.mu.segments[len(r.mu.segments)-1]
	if newest.bytes >= max(r.limit/segmentShare, minSegment) {
		newest = &segment{number: newest.number + 1, start: r.mu.total, before: r.mu.head, inside: r.mu.inside}
		r.mu.segments = append(r.mu.segments, newest)
	}
	e := entry{event: ev}
	switch ev := ev.(type) {
	case *Transaction:
		if e.whole = ev.Last; ev.Last {
			ev.Reach(&r.mu.head)
		}
		r.mu.end = ev.End
	case *DDL:
		e.whole = !ev.Rows
		ev.Reach(&r.mu.head)
		r.mu.end = ev.End
	case *barrier:
		e.whole = true
		r.mu.head.AddGTID(ev.id)
	}
	r.mu.inside = !e.whole
	r.mu.total += uint64(cost)
	e.after = r.mu.total
	if tx, ok := ev.(*Transaction); ok {
		for _, tm := range tx.left {
			r.mu.left[Object{tm.DB, tm.Table}] = e.after
		}
	}
	newest.entries = append(newest.entries, e)
	newest.bytes += cost
	r.mu.bytes += cost
	for r.mu.bytes > r.limit && len(r.mu.segments) > 1 {
		r.mu.bytes -= r.mu.segments[0].bytes
		r.mu.segments[0].forget()
		r.mu.segments[0] = nil
		r.mu.segments = r.mu.segments[1:]
	}
	r.prune()
}

// prune forgets the tables whose rows were left out only before the ring begins.
func (r *ring) prune() {
	if len(r.mu.left) < 2*r.mu.pruned+64 {
		return
	}
	maps.DeleteFunc(r.mu.left, func(_ Object, after uint64) bool { return after <= r.mu.segments[0].start })
	r.mu.pruned = len(r.mu.left)
}

// mark notes progress of the log. The coordinates of prepared parts that are read again after a cut are old ones.
func (r *ring) mark(end Coordinates) {
	if end != r.mu.end && end.Reaches(r.mu.end) {
		r.mu.end = end
		r.wake()
	}
}

func (r *ring) wake() {
	for i, reader := range r.mu.waiting {
		reader.waits = false
		signal(reader.ready)
		r.mu.waiting[i] = nil
	}
	r.mu.waiting = r.mu.waiting[:0]
}

// reset empties the ring and lets it begin anew at a position. Everyone in it falls off.
func (r *ring) reset(position gtid.Set) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.mu.segments[len(r.mu.segments)-1].number
	for _, s := range r.mu.segments {
		s.forget()
	}
	r.mu.segments = []*segment{{number: last + 1, start: r.mu.total, before: position}}
	clear(r.mu.left)
	r.mu.bytes, r.mu.head, r.mu.inside, r.mu.end, r.mu.hurried = 0, position, false, Coordinates{}, false
	r.wake()
}

// fail ends the ring: those who have read everything get the error.
func (r *ring) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.err == nil {
		r.mu.err = err
	}
	r.wake()
}

// standing is where a position stands to the ring.
type standing uint8

const (
	outside standing = iota // behind it, or none of the positions that the ring has passed
	joined                  // now in it
	ahead                   // the ring has not come there yet
)

// join finds the place of a position and makes the reader a member, if the ring has the rows of its tables from there on.
func (r *ring) join(position gtid.Set, follow func(db, table string) bool) (place, standing) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, s := r.find(position)
	if s == joined {
		taken := r.taken(at)
		for table, after := range r.mu.left {
			if after > taken && follow(table.DB, table.Table) {
				return place{}, outside
			}
		}
		if r.mu.members++; r.mu.members == 1 {
			r.mu.front = taken
		}
		r.mu.front = max(r.mu.front, taken)
	}
	return at, s
}

// taken is the value of total at a place in the ring.
func (r *ring) taken(at place) uint64 {
	s := r.mu.segments[at.segment-r.mu.segments[0].number]
	if at.index == 0 {
		return s.start
	}
	return s.entries[at.index-1].after
}

func (r *ring) find(position gtid.Set) (place, standing) {
	segments := r.mu.segments
	i := sort.Search(len(segments), func(i int) bool { return !position.Contains(segments[i].before) }) - 1
	for i >= 0 && segments[i].inside { // the place before a transaction is where its first part is
		i--
	}
	if i < 0 {
		return place{}, outside
	}
	missing := position.Count() - segments[i].before.Count()
	at := place{segment: segments[i].number}
	for missing > 0 && i < len(segments) {
		if at.index == len(segments[i].entries) {
			if i++; i < len(segments) {
				at = place{segment: segments[i].number}
			}
			continue
		}
		e := segments[i].entries[at.index]
		at.index++
		n, within := e.covered(position)
		if !within || n > missing {
			return place{}, outside
		}
		missing -= n
	}
	switch {
	case missing > 0:
		return place{}, ahead
	case r.barred(i, at.index):
		return place{}, outside // it would have to leave at once
	}
	return at, joined
}

// barred reports whether a barrier follows the place in the i-th segment.
func (r *ring) barred(i, index int) bool {
	for ; i < len(r.mu.segments); i, index = i+1, 0 {
		if entries := r.mu.segments[i].entries; index < len(entries) {
			_, is := entries[index].event.(*barrier)
			return is
		}
	}
	return false
}

// covered counts the GTIDs that an entry completes; all must be in the position.
func (e *entry) covered(position gtid.Set) (n uint64, within bool) {
	if !e.whole {
		return 0, true
	}
	switch ev := e.event.(type) {
	case *Transaction:
		if !position.Has(ev.id) || ev.Prepared != "" && !position.Has(ev.preparedID) {
			return 0, false
		}
		if ev.Prepared != "" {
			return 2, true
		}
		return 1, true
	case *DDL:
		return 1, position.Has(ev.id)
	case *barrier:
		return 1, position.Has(ev.id)
	}
	return 0, true
}

// take returns what follows a place, and the place behind it. lost: it is not in the ring any more. If nothing follows, end is how far the
// log was read, and the reader will be woken.
func (r *ring) take(reader *hubReader, at place) (events []entry, next place, end Coordinates, lost bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest := r.mu.segments[0].number
	if at.segment < oldest {
		return nil, at, end, true, nil
	}
	for i := int(at.segment - oldest); i < len(r.mu.segments); i++ {
		s := r.mu.segments[i]
		if at.segment != s.number {
			at = place{segment: s.number}
		}
		if at.index < len(s.entries) {
			events = s.entries[at.index:len(s.entries):len(s.entries)]
			at.index = len(s.entries)
			if taken := r.taken(at); taken > r.mu.front {
				r.mu.front = taken
				signal(r.moved)
			}
			return events, at, end, false, nil
		}
	}
	if r.mu.err != nil {
		return nil, at, end, false, r.mu.err
	}
	r.wait(reader)
	return nil, at, r.mu.end, false, nil
}

func (r *ring) wait(reader *hubReader) {
	if !reader.waits {
		reader.waits = true
		r.mu.waiting = append(r.mu.waiting, reader)
	}
}

// await has the reader woken when something comes.
func (r *ring) await(reader *hubReader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wait(reader)
}

// leave ends a membership.
func (r *ring) leave(reader *hubReader) {
	r.forget(reader)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.members--
	signal(r.moved)
}

// forget is the opposite of await.
func (r *ring) forget(reader *hubReader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if reader.waits {
		reader.waits = false
		r.mu.waiting = slices.DeleteFunc(r.mu.waiting, func(w *hubReader) bool { return w == reader })
	}
}

// hurry ends the waiting for readers until the next reset.
func (r *ring) hurry() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.hurried = true
	signal(r.moved)
}
