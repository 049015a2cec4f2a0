package vstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"braid/internal/base/timeouts"
	"braid/internal/binlog"
	"braid/internal/gtid"
	"braid/internal/rowimage"
)

const (
	// batchBytes is about how much Recv returns at once under load. Enough that the cost per batch does not show, little enough
	// that the target starts early.
	batchBytes = 256 << 10
	// quiet is how long the source must have been idle before the position of transactions that the rules do not follow is sent.
	// A cutover waits for a position that may end in such transactions; a busy source is not answered one by one.
	quiet = 2 * time.Millisecond
	// maxQueued bounds requests that wait; a target asks for a few at a time.
	maxQueued = 1024
)

// ErrClosed is returned by a stream that was closed by its user.
var ErrClosed = errors.New("stream closed")

// stream is the Stream of a Local. Recv runs everything but the reading of chunks, which the readers do.
type stream struct {
	ctx       context.Context
	cancel    context.CancelCauseFunc
	reader    binlog.Reader
	catalog   *catalog
	readers   *readers
	member    *member
	enter     func(*stream) (leave func()) // begins to use the readers; nil where there are none
	transform transform
	windows   *windows
	now       func() time.Time
	clock     sourceClock
	server    uint64 // tells the source's binlog files from those of other servers

	// Owned by Recv.
	out      []Item
	size     int
	err      error
	position gtid.Set           // of everything passed
	current  string             // GTID of the transaction that is being decoded
	at       binlog.Coordinates // likewise
	inside   bool               // of a transaction: the next event is a fragment of it
	caughtUp bool               // nothing more was there
	begun    bool               // items of that transaction were emitted
	depends  []string           // of that transaction, not emitted yet
	commitUS int64              // of the last transaction passed
	unsent   bool               // transactions passed whose GTIDs no item has told
	unsentAt time.Time          // the last of them
	beatAt   time.Time          // the last heartbeat
	timer    *time.Timer
	pour     *closed   // a table without a key: its rows come now, and nothing else
	part     *viewPart // of them, not emitted yet
	poured   bool      // some were emitted

	inbox inbox
	mu    struct {
		sync.Mutex
		leave  func() // the readers; nil before they are used
		closed bool
	}
}

func newStream(ctx context.Context, reader binlog.Reader, catalog *catalog, position gtid.Set, clock sourceClock) *stream {
	s := &stream{
		reader: reader, catalog: catalog, windows: newWindows(), now: clock.now, clock: clock, position: position,
		timer: time.NewTimer(time.Hour), inbox: inbox{some: make(chan struct{}, 1)},
	}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.member = &member{tell: s.inbox.note}
	catalog.received = s.received
	catalog.passed = func() binlog.Coordinates { return s.at }
	s.transform = transform{catalog: catalog, windows: s.windows, emit: s.emit}
	s.heartbeat(false)
	return s
}

// Recv implements Stream.
func (s *stream) Recv() ([]Item, error) {
	for s.err == nil {
		s.err = s.fill()
		if len(s.out) > 0 {
			return s.flush(), nil
		}
		if s.err == nil {
			s.err = s.wait()
		}
	}
	if cause := context.Cause(s.ctx); cause != nil {
		s.err = cause // the reason, not what it led to
	}
	return nil, s.err
}

func (s *stream) flush() []Item {
	items := s.out
	s.out, s.size = nil, 0
	return items
}

// fill handles what is there until the batch is full.
func (s *stream) fill() error {
	if err := context.Cause(s.ctx); err != nil {
		return err
	}
	for idle := false; s.size < batchBytes && !idle; {
		if !s.inside {
			if err := s.step(); err != nil {
				return err
			}
		}
		switch {
		case s.pour != nil:
			more, err := s.pourOn()
			if err != nil {
				return err
			}
			idle = !more
		case s.windows.holds():
			idle = true
		case s.size < batchBytes:
			ev, err := s.reader.Poll()
			if err != nil {
				return err
			}
			s.clock.idle = s.caughtUp
			if s.caughtUp = ev == nil; s.caughtUp {
				idle = true
				if !s.inside {
					if err := s.step(); err != nil { // now that it is caught up
						return err
					}
				}
			} else if err := s.handle(ev); err != nil {
				return err
			}
		}
	}
	s.beat(s.caughtUp)
	return nil
}

// handle takes one event of the log.
func (s *stream) handle(ev binlog.Event) error {
	switch ev := ev.(type) {
	case *binlog.Transaction:
		return s.transaction(ev)
	case *binlog.DDL:
		return s.ddl(ev)
	case *binlog.Mark:
		if !s.inside {
			s.at = ev.End
		}
	}
	return nil
}

func (s *stream) transaction(ev *binlog.Transaction) error {
	s.current = ev.GTID
	commitUS := s.clock.ours(s.ctx, ev.LoggedUS)
	tx := &Transaction{GTID: ev.GTID, Prepared: ev.Prepared, CommitUS: commitUS, Last: ev.Last, Clock: clock(s.server, ev)}
	if err := s.transform.rows(s.ctx, tx, ev.Rows); err != nil {
		return fmt.Errorf("transaction %s: %w", ev.GTID, err)
	}
	s.size += s.transform.size
	s.inside = !ev.Last
	s.depends = append(s.depends, tx.Depends...)
	if len(tx.Changes) > 0 || s.begun && tx.Last {
		tx.Depends, s.depends, s.begun = s.depends, nil, true
		s.emit(tx)
	} else if tx.Last {
		s.pass()
	}
	if !tx.Last {
		return nil
	}
	s.begun, s.depends, s.current = false, nil, ""
	s.at, s.commitUS = ev.End, commitUS
	if ev.Prepared != "" {
		s.pass() // so that a heartbeat tells it even to a target that adds only GTIDs
	}
	ev.Reach(&s.position)
	return nil
}

// received is the position with the transaction that is being decoded.
func (s *stream) received() gtid.Set {
	set := s.position
	if id, err := gtid.ParseGTID(s.current); err == nil {
		set.AddGTID(id)
	}
	return set
}

// pass notes a transaction that the stream does not carry.
func (s *stream) pass() { s.unsent, s.unsentAt = true, s.now() }

func (s *stream) ddl(ev *binlog.DDL) error {
	commitUS := s.clock.ours(s.ctx, ev.LoggedUS)
	followed := s.catalog.changed(ev.Objects)
	for _, table := range followed {
		s.windows.changed(table)
	}
	switch {
	case len(followed) > 0:
		s.emit(&DDL{GTID: ev.GTID, Rows: ev.Rows, CommitUS: commitUS, BegunUS: ev.BegunUS, DB: ev.DB, Home: s.catalog.home(), SQL: ev.SQL, Settings: ev.Settings})
	case !ev.Rows:
		s.pass()
	}
	if ev.Rows { // its transaction follows, and ends; who has got the statement is told that end, rows or none
		s.inside, s.begun = true, len(followed) > 0
		return nil
	}
	s.at, s.commitUS = ev.End, commitUS
	ev.Reach(&s.position)
	return nil
}

func (s *stream) emit(item Item) {
	s.out = append(s.out, item)
	s.size += 64
}

// beat emits a heartbeat when one is due: the source is quiet and has passed transactions that were not told, or nothing has
// told the position for a period.
func (s *stream) beat(caughtUp bool) {
	if s.inside {
		return
	}
	now := s.now()
	due := now.Sub(s.beatAt) >= timeouts.StreamHeartbeat
	if due || caughtUp && s.unsent && now.Sub(s.unsentAt) >= quiet {
		s.heartbeat(caughtUp)
	}
}

func (s *stream) heartbeat(caughtUp bool) {
	s.unsent, s.beatAt = false, s.now()
	us := s.commitUS
	if caughtUp {
		us = s.heard().UnixMicro()
	}
	s.emit(&Heartbeat{Position: s.position.String(), SourceUS: us})
}

// heard is how far the source was read, for a stream that has read all that came: now, unless the source has gone silent.
func (s *stream) heard() time.Time {
	if r, ok := s.reader.(interface{ Heard() time.Time }); ok {
		if at := r.Heard(); s.beatAt.Sub(at) > 2*timeouts.StreamHeartbeat {
			return at
		}
	}
	return s.beatAt
}

// wait returns when there may be something to do.
func (s *stream) wait() error {
	next := s.beatAt.Add(timeouts.StreamHeartbeat)
	if s.unsent {
		if at := s.unsentAt.Add(quiet); at.Before(next) {
			next = at
		}
	}
	s.timer.Reset(max(next.Sub(s.now()), 0))
	select {
	case <-s.reader.Ready():
	case <-s.inbox.some:
	case part := <-s.parts():
		s.part = &part
	case <-s.timer.C:
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
	return nil
}

// parts is where the rows of a table without a key come from, when they are due.
func (s *stream) parts() <-chan viewPart {
	if s.pour == nil || s.part != nil {
		return nil
	}
	return s.pour.read.view.parts
}

// step lets the windows do what can be done between two transactions.
func (s *stream) step() error {
	if s.pour != nil {
		return nil
	}
	if err := s.inbox.take(s); err != nil {
		return err
	}
	for s.size < batchBytes && s.pour == nil { // chunks beyond that come with the next batch
		cmd, end := s.windows.step(s.at, s.position, s.caughtUp)
		switch {
		case end != nil:
			if err := s.chunk(end); err != nil {
				return err
			}
		case cmd != nil:
			if err := s.command(cmd); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

// command does what the windows want.
func (s *stream) command(cmd *command) error {
	switch cmd.kind {
	case askEnd:
		s.readers.askEnd(s.ctx, s.member)
		return nil
	case askTurn:
		s.readers.join(s.member, cmd)
		return nil
	}
	// The definition to read with is the one in force at this point of the stream.
	t, err := s.tableOf(cmd)
	if err != nil {
		return err
	}
	cmd.table = t
	s.readers.opened(s.member, cmd)
	return nil
}

func (s *stream) tableOf(cmd *command) (*table, error) {
	if cmd.kind == holdOpen {
		cmd.life = s.ctx
		return s.catalog.named(s.ctx, cmd.req.Table)
	}
	return s.catalog.keyed(s.ctx, cmd.req.Table)
}

// note takes what the readers tell.
func (s *stream) note(n *note) error {
	switch {
	case n.err != nil:
		return n.err
	case n.kind == noteTurn:
		s.windows.turn(n.serial)
	case n.kind == noteMissed:
		s.windows.missed(n.serial)
	case n.kind == noteRead:
		s.windows.chunkRead(n.serial, n.read)
	case n.kind == noteEnd:
		s.windows.ended(n.end)
	case n.kind == noteSplit:
		s.emit(n.split)
	}
	return nil
}

// chunk emits what a window has copied, filtered like any change.
func (s *stream) chunk(c *closed) error {
	if c.read.err != nil {
		return c.read.err
	}
	t := c.read.table
	s.describe(t)
	if c.read.view != nil {
		s.pour, s.poured = c, false
		return nil
	}
	item := &Chunk{Window: c.req.ID, TableID: t.id, Done: c.read.done, Rekeyed: c.read.rekeyed, HeldBack: c.read.heldBack, Read: c.read.cost, Position: s.position.String()}
	if c.req.Keys == nil {
		item.Last = c.read.lastKey()
	}
	if err := s.fillChunk(item, c); err != nil {
		return fmt.Errorf("copy %s: %w", t.def.Name, err)
	}
	for _, key := range c.touched {
		row, _, err := rowimage.DecodeRow([]byte(key), len(t.key))
		if err != nil {
			return fmt.Errorf("copy %s: touched key: %w", t.def.Name, err)
		}
		item.Touched = append(item.Touched, row)
		s.size += len(key)
	}
	s.emit(item)
	return nil
}

// fillChunk puts the rows into a chunk that the rules hold.
func (s *stream) fillChunk(item *Chunk, c *closed) (err error) {
	if item.Rows, err = c.matching(c.read.table.plan); err != nil {
		return err
	}
	for _, row := range item.Rows {
		s.size += row.Size() + 4*len(row)
	}
	s.readers.stats.RowsSent.Add(int64(len(item.Rows)))
	return nil
}

func (s *stream) describe(t *table) {
	if !t.sent {
		t.sent = true
		s.emit(t.item())
	}
}

// pourOn emits the next rows of a table without a key; more is false if there are none right now.
func (s *stream) pourOn() (more bool, err error) {
	if s.part == nil {
		select {
		case part := <-s.parts():
			s.part = &part
		default:
			return false, nil
		}
	}
	part, c := s.part, s.pour
	if s.part = nil; part.err != nil {
		return false, part.err
	}
	item := &Chunk{Window: c.req.ID, TableID: c.read.table.id, Read: int64(len(part.rows)), Position: s.position.String()}
	item.First, item.Done = !s.poured, part.done
	c.rows = part.rows
	if err := s.fillChunk(item, c); err != nil {
		return false, fmt.Errorf("copy %s: %w", c.read.table.def.Name, err)
	}
	s.readers.stats.RowsRead.Add(int64(len(part.rows)))
	s.emit(item)
	if s.poured = true; part.done {
		c.read.view.close()
		s.pour = nil
	}
	return true, nil
}

// OpenWindow implements Stream.
func (s *stream) OpenWindow(r WindowRequest) error {
	if err := context.Cause(s.ctx); err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return err
	}
	s.useReaders()
	return s.inbox.request(r)
}

// useReaders makes the stream one of its workflow's that copy, when it first wants something.
func (s *stream) useReaders() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.leave == nil && !s.mu.closed {
		s.mu.leave = s.enter(s)
	}
}

// Split implements Stream.
func (s *stream) Split(r SplitRequest) error {
	if err := context.Cause(s.ctx); err != nil {
		return err
	}
	s.useReaders()
	return s.inbox.split(r)
}

// Close implements Stream.
func (s *stream) Close() error {
	s.cancel(ErrClosed)
	s.mu.Lock()
	leave := s.mu.leave
	if s.mu.closed {
		leave = nil
	}
	s.mu.closed = true
	s.mu.Unlock()
	if leave != nil {
		leave()
	}
	s.timer.Stop()
	return s.reader.Close()
}
