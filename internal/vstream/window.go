package vstream

import (
	"braid/internal/binlog"
	"braid/internal/gtid"
	"braid/internal/rowimage"
)

// windows is the window algorithm (DESIGN 5.2) as a pure state machine. It is fed what passes on the stream and what commands
// returned; step says what to do next. All methods but request and touch are called between transactions only.
//
//	request ─▶ not caught up: ask for the log's end; if it is far away, wait until the stream has passed it, ask again
//	  ▼
//	open: remember keys, P := received ◀─────────────────────────────┐
//	  ▼                                                              │ spoiled: too many keys to remember, or a DDL
//	read: wait for P, SELECT, end of the log ─▶ wait until the stream passes that end ─▶ chunk
//
// # Keys are compared as bytes
//
// Two keys that a collation holds for equal can differ in bytes, and a chunk's row must be dropped exactly if its row was
// touched. Bytes suffice: let v be the row that the SELECT saw, of key class c, and t1 … tn the changes of class c that passed while
// the window was open, in order. They follow each other by row lock, and the SELECT saw the state after some tj. If j ≥ 1, v is the
// after image of tj; if j = 0 and n ≥ 1, v is the before image of t1. Either image is on the stream, with v's bytes, and both keys
// of every change are remembered. If n = 0 nothing with v's bytes was remembered, because such a change would be one of class c.
// The same argument holds per image under a key range: a change of which neither image is in range need not be remembered.
type windows struct {
	queue []WindowRequest
	cur   *window

	wasNear bool // once was: from then on it is when nothing more is there

	near  uint64 // a stream that is at most this many bytes of log behind may open windows
	limit int    // bytes of keys that a window may remember
}

// window is the request that is being worked on.
type window struct {
	req      WindowRequest
	phase    phase
	until    binlog.Coordinates // in waiting and closing
	touched  map[string]struct{}
	size     int
	attempts int  // reads that were spoiled
	small    bool // one was spoiled by its size: read less
	spoiled  bool
	read     chunkRead
}

type phase uint8

const (
	asking  phase = iota + 1 // a command is reading the end of the log
	asked                    // it was read
	waiting                  // the stream is far behind; until it passes that end, no window opens
	reading                  // open; a command is reading the chunk
	closing                  // open; the stream has to pass the end of the log
)

// command is I/O that the owner of the machine performs; the result comes back through ended or chunkRead.
type command struct {
	askEnd   bool // read the end of the log
	req      WindowRequest
	table    *table   // to read with; the owner of the machine fills it in
	received gtid.Set // P
	attempt  int      // read fewer rows with each
}

// chunkRead is what a read returned.
type chunkRead struct {
	table *table
	rows  []rowimage.Row // all that were scanned
	done  bool           // nothing lies behind them
	end   binlog.Coordinates
	err   error // the table is not as defined: if no DDL passes before end, it is final
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
	// touchedBytes bounds the keys of a window, which is read again with fewer rows beyond it.
	touchedBytes = 64 << 20
	keyOverhead  = 64 // of a map entry
)

func newWindows() *windows { return &windows{near: nearBytes, limit: touchedBytes} }

func (m *windows) request(r WindowRequest) { m.queue = append(m.queue, r) }

// open reports whether keys of the table must be remembered.
func (m *windows) open(table string) bool {
	return m.cur != nil && (m.cur.phase == reading || m.cur.phase == closing) && !m.cur.spoiled && m.cur.req.Table == table
}

// touch remembers a key, in the encoding of rowimage.AppendRow. Call it for both keys of each change for whose table open says so.
func (m *windows) touch(key []byte) {
	w := m.cur
	if _, ok := w.touched[string(key)]; ok {
		return
	}
	w.touched[string(key)] = struct{}{}
	if w.size += len(key) + keyOverhead; w.size > m.limit {
		w.spoiled, w.small, w.touched = true, true, nil
	}
}

// changed tells that the table's definition, or its contents as a whole, changed at this point of the stream.
func (m *windows) changed(table string) {
	if m.open(table) {
		m.cur.spoiled, m.cur.touched = true, nil
	}
}

// ended takes the result of askEnd.
func (m *windows) ended(end binlog.Coordinates) {
	m.cur.until, m.cur.phase = end, asked
}

// chunkRead takes the result of a read.
func (m *windows) chunkRead(r chunkRead) {
	m.cur.read, m.cur.until, m.cur.phase = r, r.end, closing
}

// step is called between transactions, at every end of one and after every result: at is how far the stream is, received what has
// passed on it, caughtUp whether nothing more is there right now. At most one of both results is given; call it
// again until none is.
func (m *windows) step(at binlog.Coordinates, received gtid.Set, caughtUp bool) (*command, *closed) {
	if m.cur == nil {
		if len(m.queue) == 0 {
			return nil, nil
		}
		m.cur = &window{req: m.queue[0]}
		m.queue = m.queue[1:]
		if caughtUp && m.wasNear {
			return m.read(received), nil
		}
		m.cur.phase = asking
		return &command{askEnd: true}, nil
	}
	switch w := m.cur; w.phase {
	case asked:
		if at.Near(w.until, m.near) {
			m.wasNear = true
			return m.read(received), nil
		}
		w.phase = waiting
	case waiting:
		if at.Reaches(w.until) {
			w.phase = asking
			return &command{askEnd: true}, nil
		}
	case closing:
		switch {
		case w.spoiled:
			w.attempts++
			return m.read(received), nil
		case at.Reaches(w.until):
			m.cur = nil
			return nil, w.close()
		}
	}
	return nil, nil
}

// read opens the window: from here on keys are remembered.
func (m *windows) read(received gtid.Set) *command {
	w := m.cur
	w.phase, w.spoiled, w.size = reading, false, 0
	w.touched, w.read = map[string]struct{}{}, chunkRead{}
	c := &command{req: w.req, received: received}
	if w.small {
		c.attempt = w.attempts
	}
	return c
}

func (w *window) close() *closed {
	c := &closed{req: w.req, read: w.read}
	var buf []byte
	for _, row := range w.read.rows {
		buf = rowimage.AppendRow(buf[:0], row.Key(w.read.table.key))
		if _, touched := w.touched[string(buf)]; !touched {
			c.rows = append(c.rows, row)
		}
	}
	if w.req.IncludeTouched {
		for key := range w.touched {
			c.touched = append(c.touched, key)
		}
	}
	return c
}
