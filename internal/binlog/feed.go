package binlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/gtid"
	"braid/internal/sqlconn"
)

// sink takes what a feed has read. put may wait for room; its error ends the feed. cost is about how many bytes the event keeps.
type sink interface {
	put(ev Event, cost int) error
}

// feed reads a source's log over one dump connection at a time and gives the events to a sink. It remembers what the sink has, so that
// after a cut another connection goes on without gap or repetition (B2): from the last complete transaction, less the fragments
// of the next that the sink has already.
type feed struct {
	db      sqlconn.Config
	follow  func(db, table string) bool
	changes *atomic.Uint64 // see decoder
	lenient bool
	held    int // see decoder.most; 0: maxPrepared
	log     *slog.Logger
	sink    sink

	// Owned by the goroutine that reads.
	position gtid.Set // see reached
	pending  pending
	done     progress
	cuts     cuts
	passed   Coordinates // how far the log was read
	server   string      // UUID of the first server; it stays when the first connection stands
	wire     *wire

	heard atomic.Int64 // when the source was last heard, in nanoseconds since 1970

	mu struct {
		sync.Mutex
		wire        *wire
		part        *wire // see again
		closed      bool
		interrupted bool // run returns, to be called again
	}
}

// open connects at the position.
func (f *feed) open(ctx context.Context) error {
	position := f.reached()
	w, err := dialWire(ctx, f.db, &position, seen{f.server, f.passed})
	if err != nil {
		return err
	}
	if f.server != "" && f.server != w.server {
		w.sock.Close()
		return f.another(w)
	}
	if err := w.dump(position); err != nil {
		w.sock.Close()
		return err
	}
	f.mu.Lock()
	f.mu.wire = w
	closed := f.mu.closed || f.mu.interrupted // before there was a connection to cut
	f.mu.Unlock()
	if closed {
		w.sock.Close()
		return errClosed
	}
	if f.server == "" {
		f.server = w.server
	}
	f.wire, w.heard = w, &f.heard
	f.heard.Store(time.Now().UnixNano())
	return nil
}

func (f *feed) another(w *wire) error {
	return AnotherServer(f.db.Addr, w.server, f.server)
}

// AnotherServer is the error of who finds another server at an address than the one that it began with.
func AnotherServer(addr, now, before string) error {
	return errs.New(errs.StreamFailed, nil, "MySQL at %s: another server answers there: its UUID is %s, it was %s", addr, now, before).
		With("Start the stream again: it goes on where it was, if the server has the same transactions.")
}

// read decodes until the connection ends, or the sink or the decoder refuses.
func (f *feed) read(ctx context.Context) error {
	defer f.wire.sock.Close()
	dec := newDecoder(f.follow)
	dec.changes, dec.lenient, dec.done, dec.most = f.changes, f.lenient, f.done, cmp.Or(f.held, maxPrepared)
	dec.reread = func(of *transaction) (part, error) { return f.reread(ctx, of) }
	defer dec.closeAgain()
	defer func() {
		if dec.coords.Reaches(f.passed) {
			f.passed = dec.coords
		}
	}()
	for {
		ev, err := f.wire.next()
		if err != nil {
			return err
		}
		if err := f.decode(dec, ev); err != nil {
			return err
		}
		if dec.kept {
			f.wire.kept, f.wire.dull, dec.kept = true, 0, false
		}
	}
}

func (f *feed) decode(dec *decoder, ev rawEvent) error {
	err := dec.decode(ev)
	for {
		if passed := f.pass(dec); passed != nil {
			return passed
		}
		switch {
		case err != nil:
			return err
		case dec.payload != nil:
			err = dec.nextInner()
		case dec.again != nil:
			err = dec.nextAgain()
		default:
			return nil
		}
	}
}

// pass gives the sink what the decoder has finished. What the events keep is counted with the first.
func (f *feed) pass(dec *decoder) error {
	for ev := dec.take(); ev != nil; ev = dec.take() {
		if err := f.sink.put(ev, dec.takeCost()); err != nil {
			return err
		}
		f.done.note(ev)
		f.reach(ev)
	}
	return nil
}

// reach notes the GTIDs of an event. Most follow the one before; they are put into the position when somebody asks for it.
func (f *feed) reach(ev Event) {
	switch ev := ev.(type) {
	case *Transaction:
		if !ev.Last || ev.GTID == "" {
			return
		}
		f.settle(ev.id)
		if ev.Prepared != "" {
			f.position.AddGTID(ev.preparedID)
		}
	case *DDL:
		if !ev.Rows {
			f.settle(ev.id)
		}
	}
}

// run of GTIDs that are not in the position yet.
type pending struct {
	source      gtid.Source
	first, last int64
}

func (f *feed) settle(id gtid.GTID) {
	if p := &f.pending; p.last+1 == id.Number && p.source == id.Source {
		p.last++
		return
	}
	f.reached()
	f.pending = pending{id.Source, id.Number, id.Number}
}

// reached is the position with all that the sink has.
func (f *feed) reached() gtid.Set {
	if p := &f.pending; p.first > 0 {
		f.position.AddInterval(p.source, gtid.Interval{First: p.first, Last: p.last})
		*p = pending{}
	}
	return f.position
}

// run opens and reads, and opens again after a cut, until something else than the connection fails, the source was not to be heard for
// too long, or it is heard and what it sends cannot be read.
func (f *feed) run(ctx context.Context) error {
	var bad attempts
	damaged := 0
	for pause := timeouts.RetryMin; ; {
		if f.wire == nil {
			if err := f.open(ctx); f.lasting(ctx, err) {
				return err
			} else if err != nil {
				f.cut(err, 0)
				if err := sleep(ctx, pause); err != nil {
					return err
				}
				pause = min(2*pause, timeouts.RetryMax)
				continue
			}
		}
		before, done, opened := f.reached(), f.done, time.Now()
		err := f.explain(ctx, f.read(ctx))
		f.wire = nil
		if f.lasting(ctx, err) {
			return err
		}
		moved := f.done != done || !before.Equal(f.reached())
		if moved {
			damaged = 0
		}
		if moved || time.Since(opened) > timeouts.StreamSilence { // on an idle source only heartbeats come
			pause, bad = timeouts.RetryMin, attempts{}
		}
		if errors.Is(err, errs.BinlogDamaged) {
			if damaged++; damaged == maxDamaged {
				return err
			}
		}
		if bad.tooMany(opened) {
			return errs.New(errs.StreamFailed, err, "binlog of %s: for %s every connection has ended before it brought anything", f.db.Addr, timeouts.SourceGone).
				With("Look at what the message names, at the source's error log, and at what is between the source and here. Then start the stream again: it goes on where it was.")
		}
		f.cut(err, time.Since(opened))
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, timeouts.RetryMax)
	}
}

// cut tells of a connection that has ended, or could not be made, before another is tried. lived is how long it stood.
func (f *feed) cut(err error, lived time.Duration) {
	if n, tell := f.cuts.add(time.Now()); tell {
		f.log.Warn("the connection to the source ended, and is made again", "source", f.db.Addr, "times", n, "lived", lived.Round(time.Millisecond), "error", err)
	}
}

// cuts counts connections that have ended. A source whose connections end again and again may bring something each time, and is read on; so it
// is said, the first time at once, and then every cutsPeriod with how often it was since.
type cuts struct {
	n    int // since it was told
	told time.Time
}

const cutsPeriod = time.Minute

// add counts one, and reports whether it is to be told, with how many there were.
func (c *cuts) add(now time.Time) (n int, tell bool) {
	c.n++
	if now.Sub(c.told) < cutsPeriod {
		return 0, false
	}
	n = c.n
	c.n, c.told = 0, now
	return n, true
}

// attempts are connections in a row that were made and ended before they brought anything.
type attempts struct {
	n     int
	since time.Time
}

// tooMany counts one more, and reports whether there is no hope in others.
func (a *attempts) tooMany(opened time.Time) bool {
	if a.n++; a.n == 1 {
		a.since = opened
	}
	return a.n > maxDamaged && time.Since(a.since) > timeouts.SourceGone
}

// maxDamaged is how often in a row the same place of the log may come damaged before it is taken to be so on the source's disk.
const maxDamaged = 3

const errCannotRead = 1236 // ER_SOURCE_FATAL_ERROR_READING_BINLOG

// explain finds the words for the server's refusal to send the log. Mostly the log was purged between the check and the dump; the server's
// own message then names no GTIDs.
func (f *feed) explain(ctx context.Context, err error) error {
	if sqlconn.ErrCode(err) != errCannotRead || ctx.Err() != nil || f.isOver() {
		return err
	}
	position := f.reached()
	if why := checkResume(ctx, f.db, position); errors.Is(why, errs.BinlogPurged) || errors.Is(why, errs.StreamFailed) {
		return why
	}
	return errs.New(errs.StreamFailed, err, "binlog of %s: the server cannot send what comes after %s", f.db.Addr, position).With(
		"If the message names max_allowed_packet: SET PERSIST max_allowed_packet=1073741824 on the source, then start the stream again.",
		"If the message names a checksum, a file or an event: the log is damaged on the source's disk; its error log says more. Copy the tables again.")
}

// lasting reports whether an error is not of the kind that another connection mends.
func (f *feed) lasting(ctx context.Context, err error) bool {
	if err == nil {
		return false
	}
	if ctx.Err() != nil || f.isOver() {
		return true
	}
	if _, refused := errors.AsType[*Refusal](err); refused {
		return true
	}
	for _, def := range []error{errs.BinlogPurged, errs.StreamFailed, errs.SourcePrecondition} {
		if errors.Is(err, def) {
			return true
		}
	}
	switch sqlconn.ErrCode(err) {
	case 1044, 1045, 1227: // access denied, privilege missing
		return true
	}
	return time.Since(time.Unix(0, f.heard.Load())) > timeouts.SourceGone
}

func (f *feed) isOver() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.closed || f.mu.interrupted
}

// restart has the next run begin at a position.
func (f *feed) restart(position gtid.Set) {
	f.position, f.pending, f.done = position, pending{}, progress{}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.interrupted = false
}

// hangUp cuts the connection under whatever is being done with it. If it is final, the feed ends; else run returns.
func (f *feed) hangUp(final bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.closed = f.mu.closed || final
	f.mu.interrupted = true
	for _, w := range []*wire{f.mu.wire, f.mu.part} {
		if w != nil {
			w.sock.Close()
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the source: %w", context.Cause(ctx))
	}
}
