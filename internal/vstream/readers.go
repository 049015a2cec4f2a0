package vstream

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/binlog"
	"braid/internal/sqlconn"
)

const defaultReaders = 4

// readers are the sessions that read chunks for the streams of one workflow. Who reads what with whom is in scans; here is the I/O.
type readers struct {
	ctx   context.Context
	dial  func() readerSource
	log   *slog.Logger
	stats *Stats
	pace  *pacer
	done  sync.WaitGroup

	mu struct {
		sync.Mutex
		scans  *scans
		idle   []readerSource
		splits map[string]*splitCall
		timer  *time.Timer
		reap   *time.Timer
	}
}

// readerSource is a session of the source.
type readerSource interface {
	chunkSource
	openView(ctx context.Context, cmd *command) (chunkRead, error)
	split(ctx context.Context, t *table, req *SplitRequest) (*Split, error)
	close()
}

// Stats counts what a source has read for chunks, and what it has sent of it. They differ by rows of other key ranges, rows that were
// touched, and reads that were repeated.
type Stats struct {
	RowsRead, RowsSent, Reads atomic.Int64
}

func newReaders(ctx context.Context, sessions int, dial func() readerSource, stats *Stats, pace *pacer, log *slog.Logger) *readers {
	r := &readers{ctx: ctx, dial: dial, log: log, stats: stats, pace: pace}
	r.mu.scans, r.mu.splits = newScans(sessions, pace), map[string]*splitCall{}
	return r
}

// enter adds a stream; leave must follow.
func (r *readers) enter(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.scans.enter(m, time.Now())
}

// leave ends a stream's part, and reports whether it was the last. Reads that were for it alone are cancelled, not waited for.
func (r *readers) leave(m *member) (last bool) {
	r.do(func(s *scans, now time.Time) { s.leave(m, now) })
	r.mu.Lock()
	last = len(r.mu.scans.members) == 0
	for _, timer := range []*time.Timer{r.mu.timer, r.mu.reap} {
		if last && timer != nil {
			timer.Stop()
		}
	}
	r.mu.Unlock()
	if last {
		r.closeIdle()
	}
	return last
}

// wait returns when no read is under way any more.
func (r *readers) wait() { r.done.Wait() }

// closeIdle closes the sessions that nobody uses.
func (r *readers) closeIdle() {
	r.mu.Lock()
	idle := r.mu.idle
	r.mu.idle = nil
	r.mu.Unlock()
	for _, src := range idle {
		src.close()
	}
}

// do changes who reads what, and does what follows.
func (r *readers) do(change func(s *scans, now time.Time)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	change(r.mu.scans, now)
	effects := r.mu.scans.take()
	if at := r.mu.scans.wake(now); !at.IsZero() {
		if r.mu.timer == nil {
			r.mu.timer = time.AfterFunc(at.Sub(now), r.tick)
		} else {
			r.mu.timer.Reset(at.Sub(now))
		}
	}
	for _, e := range effects {
		if e.read != nil {
			r.start(e.read)
		} else {
			e.member.tell(e.note)
		}
	}
}

func (r *readers) tick() { r.do(func(s *scans, now time.Time) { s.advance(now) }) }

func (r *readers) join(m *member, cmd *command) {
	r.do(func(s *scans, now time.Time) { s.join(m, cmd, now) })
}

func (r *readers) opened(m *member, cmd *command) {
	r.do(func(s *scans, now time.Time) { s.opened(m, cmd, now) })
}

// start reads for a turn. The lock is held.
func (r *readers) start(t *turn) {
	ctx, cancel := context.WithCancel(r.ctx)
	t.cancel = cancel
	cmd := t.cmd
	r.done.Go(func() {
		defer cancel()
		var read chunkRead
		err := r.with(ctx, func(src readerSource) (err error) {
			if cmd.kind == holdOpen {
				read, err = src.openView(ctx, cmd)
			} else {
				read, err = readChunk(ctx, src, cmd)
			}
			return err
		})
		r.stats.Reads.Add(1)
		r.stats.RowsRead.Add(int64(len(read.rows)))
		read.heldBack = r.pace.end(read.size)
		r.do(func(s *scans, now time.Time) { s.finished(t, read, err, now) })
	})
}

// askEnd reads the end of the log for a stream.
func (r *readers) askEnd(ctx context.Context, m *member) {
	r.done.Go(func() {
		var end binlog.Coordinates
		err := r.with(ctx, func(src readerSource) (err error) {
			end, err = src.logEnd(ctx)
			return err
		})
		m.tell(note{kind: noteEnd, end: end, err: err})
	})
}

// with lends a session, and another if the first is lost: what a session reads may be read again (W1).
func (r *readers) with(ctx context.Context, fn func(readerSource) error) error {
	deadline := time.Now().Add(timeouts.SourceGone)
	for pause := timeouts.RetryMin; ; pause = min(2*pause, timeouts.RetryMax) {
		src := r.borrow()
		err := fn(src)
		if err == nil || ctx.Err() != nil || !lost(err) || time.Now().After(deadline) {
			r.giveBack(src)
			return err
		}
		src.close()
		r.log.Info("a reader lost its session", "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// lost tells errors of the session from those of the statement.
func lost(err error) bool {
	switch sqlconn.ErrCode(err) {
	case 0, // not the server's answer
		1040, 1053, 1317, 3169: // too many connections, shutdown, interrupted, killed
		return !errors.Is(err, errPermanent) && !errors.Is(err, errs.StreamFailed)
	}
	return false
}

// errPermanent is wrapped by errors of ours that another session would meet too.
var errPermanent = errors.New("cannot be read")

func (r *readers) borrow() readerSource {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.mu.idle); n > 0 {
		src := r.mu.idle[n-1]
		r.mu.idle = r.mu.idle[:n-1]
		return src
	}
	return r.dial()
}

func (r *readers) giveBack(src readerSource) {
	if !r.keep(src) {
		src.close()
	}
}

func (r *readers) keep(src readerSource) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.mu.scans.members) == 0 || len(r.mu.idle) > r.mu.scans.sessions {
		return false
	}
	r.mu.idle = append(r.mu.idle, src)
	if r.mu.reap == nil {
		r.mu.reap = time.AfterFunc(timeouts.ReaderIdle, r.closeIdle)
	} else {
		r.mu.reap.Reset(timeouts.ReaderIdle)
	}
	return true
}
