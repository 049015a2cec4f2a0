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
	// maxQueuedWindows bounds requests that wait; a target asks for a few at a time.
	maxQueuedWindows = 1024
)

// ErrClosed is returned by a stream that was closed by its user.
var ErrClosed = errors.New("stream closed")

// stream is the Stream of a Local. Recv runs everything but the I/O of windows, which has a goroutine of its own once a window is
// asked for.
type stream struct {
	ctx       context.Context
	cancel    context.CancelCauseFunc
	reader    binlog.Reader
	catalog   *catalog
	chunks    chunkSource
	transform transform
	windows   *windows
	now       func() time.Time
	server    uint64 // tells the source's binlog files from those of other servers

	// Owned by Recv.
	out      []Item
	size     int
	err      error
	position gtid.Set           // of everything passed
	current  string             // GTID of the transaction that is being decoded
	at       binlog.Coordinates // likewise
	inside   bool               // of a transaction: the next event is a fragment of it
	begun    bool               // items of that transaction were emitted
	depends  []string           // of that transaction, not emitted yet
	commitUS int64              // of the last transaction passed
	unsent   bool               // transactions passed whose GTIDs no item has told
	unsentAt time.Time          // the last of them
	beatAt   time.Time          // the last heartbeat
	timer    *time.Timer

	requests requests
	commands chan *command
	results  chan result
	worker   sync.Once
	done     sync.WaitGroup
}

// result is what a command returned.
type result struct {
	cmd  *command
	end  binlog.Coordinates
	read chunkRead
	err  error
}

func newStream(ctx context.Context, reader binlog.Reader, catalog *catalog, chunks chunkSource, position gtid.Set) *stream {
	s := &stream{
		reader: reader, catalog: catalog, chunks: chunks, windows: newWindows(), now: time.Now, position: position,
		timer: time.NewTimer(time.Hour), requests: requests{some: make(chan struct{}, 1)},
		commands: make(chan *command, 1), results: make(chan result, 1),
	}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	catalog.received = s.received
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
	caughtUp := false
	for s.size < batchBytes && !caughtUp {
		ev, err := s.reader.Poll()
		if err != nil {
			return err
		}
		if ev == nil {
			caughtUp = true
		} else if err := s.handle(ev); err != nil {
			return err
		}
		if !s.inside {
			if err := s.step(caughtUp); err != nil {
				return err
			}
		}
	}
	s.beat(caughtUp)
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
	tx := &Transaction{GTID: ev.GTID, Prepared: ev.Prepared, CommitUS: ev.CommitUS, Last: ev.Last, Clock: clock(s.server, ev)}
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
	s.at, s.commitUS = ev.End, ev.CommitUS
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
	followed := s.catalog.changed(ev.Objects)
	for _, table := range followed {
		s.windows.changed(table)
	}
	switch {
	case len(followed) > 0:
		s.emit(&DDL{GTID: ev.GTID, CommitUS: ev.CommitUS, DB: ev.DB, SQL: ev.SQL})
	case ev.GTID != "":
		s.pass()
	}
	if ev.GTID == "" { // its transaction follows, and ends
		s.inside = true
		return nil
	}
	s.at, s.commitUS = ev.End, ev.CommitUS
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
	case <-s.requests.some:
	case r := <-s.results:
		return s.result(r)
	case <-s.timer.C:
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
	return nil
}

// step lets the windows do what can be done between two transactions.
func (s *stream) step(caughtUp bool) error {
	for more := true; more; {
		s.requests.take(s.windows)
		select {
		case r := <-s.results:
			if err := s.result(r); err != nil {
				return err
			}
		default:
			more = false
		}
	}
	for {
		cmd, end := s.windows.step(s.at, s.position, caughtUp)
		switch {
		case end != nil:
			if err := s.chunk(end); err != nil {
				return err
			}
		case cmd != nil:
			if err := s.start(cmd); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// start hands a command to the worker. The definition to read with is the one in force at this point of the stream.
func (s *stream) start(cmd *command) error {
	if !cmd.askEnd {
		t, err := s.catalog.keyed(s.ctx, cmd.req.Table)
		if err != nil {
			return err
		}
		cmd.table = t
	}
	s.commands <- cmd
	return nil
}

func (s *stream) result(r result) error {
	switch {
	case r.err != nil:
		return r.err
	case r.cmd.askEnd:
		s.windows.ended(r.end)
	default:
		s.windows.chunkRead(r.read)
	}
	return nil
}

// chunk emits what a window has copied, filtered like any change.
func (s *stream) chunk(c *closed) error {
	if c.read.err != nil {
		return c.read.err
	}
	t := c.read.table
	item := &Chunk{Window: c.req.ID, TableID: t.id, Done: c.read.done, Position: s.position.String()}
	if n := len(c.read.rows); n > 0 && c.req.Keys == nil {
		item.Last = c.read.rows[n-1].Key(t.key)
	}
	for _, row := range c.rows {
		in, err := t.plan.Match(row)
		if err != nil {
			return fmt.Errorf("copy %s: %w", t.def.Name, err)
		}
		if in {
			item.Rows = append(item.Rows, row)
			s.size += row.Size() + 4*len(row)
		}
	}
	for _, key := range c.touched {
		row, _, err := rowimage.DecodeRow([]byte(key), len(t.key))
		if err != nil {
			return fmt.Errorf("copy %s: touched key: %w", t.def.Name, err)
		}
		item.Touched = append(item.Touched, row)
		s.size += len(key)
	}
	if !t.sent {
		t.sent = true
		s.emit(t.item())
	}
	s.emit(item)
	return nil
}

// OpenWindow implements Stream.
func (s *stream) OpenWindow(r WindowRequest) error {
	if err := context.Cause(s.ctx); err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return err
	}
	s.worker.Do(func() { s.done.Go(s.work) })
	return s.requests.add(r)
}

// requests are the windows that were asked for since Recv last looked.
type requests struct {
	some chan struct{}
	mu   struct {
		sync.Mutex
		queue []WindowRequest
	}
}

func (q *requests) add(r WindowRequest) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.mu.queue) >= maxQueuedWindows {
		return fmt.Errorf("window %d of %s: %d requests are waiting", r.ID, r.Table, maxQueuedWindows)
	}
	q.mu.queue = append(q.mu.queue, r)
	select {
	case q.some <- struct{}{}:
	default:
	}
	return nil
}

func (q *requests) take(m *windows) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.mu.queue {
		m.request(r)
	}
	q.mu.queue = nil
}

// work performs the commands of windows, one at a time.
func (s *stream) work() {
	if c, ok := s.chunks.(interface{ close() }); ok {
		defer c.close()
	}
	for {
		select {
		case cmd := <-s.commands:
			r := result{cmd: cmd}
			if cmd.askEnd {
				r.end, r.err = s.chunks.logEnd(s.ctx)
			} else {
				r.read, r.err = readChunk(s.ctx, s.chunks, cmd)
			}
			s.results <- r // room for one: there is one command at a time
		case <-s.ctx.Done():
			return
		}
	}
}

// Close implements Stream.
func (s *stream) Close() error {
	s.cancel(ErrClosed)
	s.worker.Do(func() {}) // none starts any more
	s.done.Wait()
	s.timer.Stop()
	return s.reader.Close()
}
