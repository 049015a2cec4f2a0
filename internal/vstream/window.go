package vstream

import (
	"cmp"
	"context"
	"slices"

	"braid/internal/binlog"
	"braid/internal/gtid"
	"braid/internal/rowimage"
)

// windows is the window algorithm (doc.go) as a pure state machine: any number of windows at once, in one table and in many. It is
// fed what passes on the stream and what the readers report; step says what to do next.
//
//	request ─▶ queued, until the stream is near the log's end and there is room
//	  ▼
//	join: a reader is asked for a turn ◀──────────────────────────────┐
//	  ▼                                                               │ missed: the turn went without this stream
//	open: remember keys, P := received                                │ spoiled: too many keys, or a DDL
//	  ▼                                                               │
//	read: wait for P, SELECT, end of the log ─▶ wait until the stream passes that end ─▶ chunk
//
// # What is remembered
//
// Each open window needs the keys that have passed since it opened. Windows of one table overlap, so keys are kept by generations: the opening
// of a window begins one, a key goes into the newest, and a window looks into its own and those after it. So a change costs one
// entry, however many windows are open; and when a window closes, its generation joins the one before, or is dropped if there is none.
//
// # Keys are compared as bytes
//
// Two keys that a collation holds for equal can differ in bytes, and a chunk's row must be dropped exactly if its row was
// touched. Bytes suffice: let v be the row that the SELECT saw, of key class c, and t1 … tn the changes of class c that passed while
// the window was open, in order. They follow each other by row lock, and the SELECT saw the state after some tj. If j ≥ 1, v is the
// after image of tj; if j = 0 and n ≥ 1, v is the before image of t1. Either image is on the stream, with v's bytes, and both keys
// of every change are remembered. If n = 0 nothing with v's bytes was remembered, because such a change would be one of class c.
// The same argument holds per image under a key range: a change of which neither image is in range need not be remembered.
//
// # A table whose rows have no key
//
// It is read whole, under one read view, and its window spans the opening of that view only. If nothing of the table passes from the window's
// opening to the end of the log, or if the view was opened while nobody could write, the view is the table at that end. The stream
// stands still until the view is open, so that it cannot pass the end before that is known.
type windows struct {
	queue  []*window // waiting for their turn; those to be read again are first
	active []*window // the others, in the order in which they joined
	logs   map[string]*touchLog
	size   int // bytes of remembered keys
	serial uint64

	asking  bool // a command reads the end of the log
	fresh   bool // end is of now: nothing was admitted since it was read
	end     binlog.Coordinates
	far     bool // the stream has to pass end before anything opens
	wasNear bool // once was: from then on it is when nothing more is there

	near   uint64 // a stream that is at most this many bytes of log behind may open windows
	limit  int    // bytes of keys that all windows may remember
	most   int    // windows at once
	width  int    // likewise, after some were spoiled by their size
	budget int64  // bytes of rows that windows may hold
	tries  int    // of a view without a lock, before one with

	large map[string]int64 // of tables with rows larger than a chunk: the most bytes that a read has brought
}

// window is a request that is being worked on.
type window struct {
	serial   uint64 // of this attempt
	req      WindowRequest
	phase    phase
	turn     bool               // a reader is ready: open
	until    binlog.Coordinates // in closing
	keys     *generation        // nil when not open
	attempts int                // reads that were spoiled
	small    int                // of these by their size: read less
	alone    bool               // a shared turn went without this stream
	spoiled  bool
	changed  bool // rows of a table without a key have passed
	read     chunkRead
}

type phase uint8

const (
	joining phase = iota + 1 // waits for a reader's turn
	reading                  // open; a reader reads the chunk
	closing                  // open; the stream has to pass the end of the log
)

// command is what the owner of the machine does; the answers come back through ended, turn, missed and chunkRead.
type command struct {
	kind     commandKind
	serial   uint64
	req      WindowRequest
	table    *table          // to read with; the owner of the machine fills it in
	life     context.Context // likewise: of the stream, which ends a view
	received gtid.Set        // P
	attempt  int             // read fewer rows with each
	alone    bool            // share the read with nobody
	lock     bool            // of a whole table: open the view under a lock
	final    bool            // likewise: no attempts are left
}

type commandKind uint8

const (
	askEnd   commandKind = iota + 1 // read the end of the log
	askTurn                         // ask a reader for a turn
	isOpen                          // the window is open: read
	holdOpen                        // likewise, for a table without a key
)

// chunkRead is what a read returned.
type chunkRead struct {
	table *table
	rows  []rowimage.Row // all that were scanned
	size  int64          // bytes of them
	done  bool           // nothing lies behind them
	// rekeyed: the request's keys are none of the table's
	rekeyed bool
	// heldBack: it could have been read earlier
	heldBack bool
	last     rowimage.Row // up to here everything was read; nil: the key of the last row
	cost     int64        // rows that the source has read for this stream
	end      binlog.Coordinates
	err      error // the table is not as defined: if no DDL passes before end, it is final
	view     *view // of a table without a key: its rows are still to come
	locked   bool  // the view was opened while nobody could write
}

// closed is a window that has ended: its chunk belongs into the stream here.
type closed struct {
	req     WindowRequest
	read    chunkRead
	rows    []rowimage.Row // those that were not touched
	touched []string       // encoded keys, if they were asked for
}

const (
	// nearBytes is how far behind a stream may be to open a window: what it remembers until it has passed the window's end is
	// bounded by that and by what is written meanwhile.
	nearBytes = 64 << 20
	// touchedBytes bounds the keys that a stream remembers. The window that holds the most is read again with fewer rows beyond it.
	touchedBytes = 64 << 20
	keyOverhead  = 64 // of a map entry
	// maxOpen and heldBytes bound what waits for its place in a stream. Twice the readers, so that they need not wait for the stream.
	maxOpen   = 8
	heldBytes = 96 << 20
	// viewAttempts is how often the view of a table without a key is opened without a lock.
	viewAttempts = 20
)

func newWindows() *windows {
	return &windows{
		logs: map[string]*touchLog{}, large: map[string]int64{}, near: nearBytes, limit: touchedBytes, most: maxOpen, width: maxOpen, budget: heldBytes, tries: 2,
	}
}

func (m *windows) request(r WindowRequest) { m.queue = append(m.queue, &window{req: r}) }

// idle reports whether nothing is asked for and nothing is remembered.
func (m *windows) idle() bool { return len(m.queue)+len(m.active) == 0 }

// open reports whether keys of the table must be remembered.
func (m *windows) open(table string) bool { return m.logs[table] != nil }

// touch remembers a key, in the encoding of rowimage.AppendRow. Call it for both keys of each change for whose table open says so.
func (m *windows) touch(table string, key []byte) {
	log := m.logs[table]
	if log == nil {
		return
	}
	m.size += log.touch(key)
	for m.size > m.limit {
		m.shrink()
	}
}

// shrink spoils the window by whose end the most can be forgotten.
func (m *windows) shrink() {
	var fullest *window
	for _, w := range m.active {
		if w.keys != nil && m.logs[w.req.table()].generations[0] == w.keys && (fullest == nil || w.keys.size > fullest.keys.size) {
			fullest = w
		}
	}
	fullest.spoiled = true
	fullest.small++
	m.forget(fullest)
	m.width = max(1, min(m.width, len(m.active))/2)
}

// forget ends a window's remembering.
func (m *windows) forget(w *window) {
	if w.keys == nil {
		return
	}
	name := w.req.table()
	log := m.logs[name]
	m.size -= log.drop(w.keys)
	if w.keys = nil; len(log.generations) == 0 {
		delete(m.logs, name)
	}
}

// changed tells that the table's definition, or its contents as a whole, changed at this point of the stream.
func (m *windows) changed(table string) {
	for _, w := range m.active {
		if w.phase != joining && w.req.table() == table {
			w.spoiled = true
			m.forget(w)
		}
	}
}

// passed tells that rows of a table have changed, for one that is read whole.
func (m *windows) passed(table string) {
	if len(m.active) == 0 || m.active[0].req.Whole == 0 {
		return
	}
	for _, w := range m.active {
		if w.phase != joining && w.req.table() == table {
			w.changed = true
		}
	}
}

// holds reports whether the stream must stand still: the view of a table without a key is being opened.
func (m *windows) holds() bool {
	return len(m.active) > 0 && m.active[0].req.Whole != 0 && m.active[0].phase == reading
}

// ended takes the result of askEnd.
func (m *windows) ended(end binlog.Coordinates) { m.asking, m.fresh, m.end = false, true, end }

func (m *windows) find(serial uint64) *window {
	for _, w := range m.active {
		if w.serial == serial {
			return w
		}
	}
	return nil
}

// turn tells that a reader is ready for a window.
func (m *windows) turn(serial uint64) {
	if w := m.find(serial); w != nil && w.phase == joining {
		w.turn = true
	}
}

// missed tells that the window opened too late for its turn: it gets one of its own.
func (m *windows) missed(serial uint64) {
	if w := m.find(serial); w != nil && w.phase != closing {
		w.alone = true
		m.again(w)
	}
}

// chunkRead takes the result of a read.
func (m *windows) chunkRead(serial uint64, r chunkRead) {
	if r.end.Reaches(m.end) {
		m.fresh, m.end = true, r.end
	}
	w := m.find(serial)
	if w == nil || w.phase != reading {
		r.view.close()
		return
	}
	if name := w.req.table(); r.size > max(w.req.bytes(), m.large[name]) {
		m.large[name] = r.size
	}
	r.cost += w.read.cost // of reads that were spoiled
	w.read, w.until, w.phase = r, r.end, closing
}

// step is called between transactions, at every end of one and after every answer: at is how far the stream is, received what has
// passed on it, caughtUp whether nothing more is there right now. At most one of both results is given; call it
// again until none is.
func (m *windows) step(at binlog.Coordinates, received gtid.Set, caughtUp bool) (*command, *closed) {
	for i := 0; i < len(m.active); i++ {
		switch w := m.active[i]; {
		case w.phase == joining && w.turn:
			return m.openWindow(w, received), nil
		case w.phase == closing && m.void(w):
			w.read.view.close()
			w.attempts++
			m.again(w)
			i--
		case w.phase == closing && at.Reaches(w.until):
			return nil, m.close(w)
		}
	}
	return m.admit(at, caughtUp), nil
}

// void reports whether a read must be done again.
func (m *windows) void(w *window) bool {
	return w.spoiled || w.changed && !w.read.locked && w.read.err == nil
}

// again puts a window back to where it waits for its turn.
func (m *windows) again(w *window) {
	m.forget(w)
	m.leave(w)
	w.phase, w.turn, w.read = 0, false, chunkRead{cost: w.read.cost}
	m.queue = slices.Insert(m.queue, 0, w)
}

func (m *windows) leave(w *window) {
	m.active = slices.DeleteFunc(m.active, func(o *window) bool { return o == w })
}

// admit lets the next window join, if the stream is near enough to the end of the log.
func (m *windows) admit(at binlog.Coordinates, caughtUp bool) *command {
	if len(m.queue) == 0 || !m.room(m.queue[0]) {
		return nil
	}
	switch {
	case caughtUp && m.wasNear:
		m.far = false
	case m.asking:
		return nil
	case m.far:
		if m.far = !at.Reaches(m.end); m.far {
			return nil
		}
		m.asking = true
		return &command{kind: askEnd}
	case !m.fresh:
		m.asking = true
		return &command{kind: askEnd}
	case !at.Near(m.end, m.near):
		m.far = true
		return nil
	}
	w := m.queue[0]
	m.serial++
	w.serial = m.serial
	m.queue = m.queue[1:]
	m.active = append(m.active, w)
	m.wasNear = true
	m.fresh = m.fresh && len(m.queue) > 0 && m.room(m.queue[0])
	w.phase = joining
	return m.command(askTurn, w)
}

func (m *windows) command(kind commandKind, w *window) *command {
	return &command{
		kind: kind, serial: w.serial, req: w.req, attempt: w.small, alone: w.alone || w.attempts > 0,
		lock: w.req.Whole == WholeLocked && w.attempts >= m.tries, final: w.attempts >= viewAttempts,
	}
}

// room reports whether one more window may be under way.
func (m *windows) room(next *window) bool {
	if len(m.active) == 0 {
		return true
	}
	if len(m.active) >= min(m.most, m.width) || next.req.Whole != 0 || m.active[0].req.Whole != 0 {
		return false
	}
	held := m.expects(next)
	for _, w := range m.active {
		held += m.expects(w)
	}
	return held <= m.budget
}

// expects is how many bytes of rows a window holds, or will. A chunk has one row at least, however large.
func (m *windows) expects(w *window) int64 {
	if w.phase == closing {
		return w.read.size
	}
	return max(w.req.bytes(), m.large[w.req.table()])
}

// bytes is how large the chunk is to be.
func (r *WindowRequest) bytes() int64 { return cmp.Or(r.MaxBytes, defaultChunkBytes) }

// openWindow opens it: from here on keys are remembered.
func (m *windows) openWindow(w *window, received gtid.Set) *command {
	w.phase, w.turn, w.spoiled, w.changed = reading, false, false, false
	kind := holdOpen
	if w.req.Whole == 0 {
		kind = isOpen
		log := m.logs[w.req.table()]
		if log == nil {
			log = &touchLog{}
			m.logs[w.req.table()] = log
		}
		w.keys = log.begin()
	}
	c := m.command(kind, w)
	c.received = received
	return c
}

func (m *windows) close(w *window) *closed {
	c := &closed{req: w.req, read: w.read, rows: w.read.rows}
	if w.keys != nil {
		since := m.logs[w.req.table()].since(w.keys)
		c.leaveOut(since)
		if w.req.IncludeTouched {
			c.touched = since.all()
		}
		m.forget(w)
	}
	m.leave(w)
	m.width = min(m.width+1, m.most)
	return c
}

// leaveOut removes the rows whose keys were remembered.
func (c *closed) leaveOut(touched generations) {
	if touched = touched.some(); len(touched) == 0 {
		return
	}
	var buf []byte
	c.rows = make([]rowimage.Row, 0, len(c.read.rows))
	for _, row := range c.read.rows {
		buf = appendKey(buf[:0], row, c.read.table.key)
		if !touched.have(buf) {
			c.rows = append(c.rows, row)
		}
	}
}

// appendKey appends the encoded key of a row.
func appendKey(dst []byte, row rowimage.Row, key []int) []byte {
	for _, c := range key {
		dst = rowimage.AppendRow(dst, row[c:c+1])
	}
	return dst
}
