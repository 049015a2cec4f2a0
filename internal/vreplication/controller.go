package vreplication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"braid/internal/apply"
	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/gtid"
	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// controller keeps one stream running: run after run, until the row or the engine says otherwise. Its fields without a lock
// belong to whoever holds the engine's reconciling lock; the goroutine reads only what start copied.
type controller struct {
	e    *Engine
	id   int64
	name string // of the source: keyspace/shard

	label      atomic.Pointer[string] // the workflow, for metrics
	workflow   string
	definition string // what the present run was started with
	*tracker
	log *slog.Logger

	written written                      // how tables are written
	diffs   atomic.Bool                  // there may be diffs to take up
	copying atomic.Pointer[CopyProgress] // nil while nothing is copied
	stale   atomic.Bool                  // a sibling has added foreign keys to the target

	readsFrom atomic.Pointer[string] // tablet and type, while that is known

	// early are dependencies that were found in the middle of a large transaction, by its GTID: the next run waits for
	// them before it begins. Of the goroutine.
	early map[string][]gtid.GTID
	// vanished are tables that the source does not have any more, or not with a key: no chunk of them is asked for until the DDL has come
	// that says why. Of the goroutine.
	vanished map[string]bool

	cancel context.CancelCauseFunc
	gone   chan struct{} // closed when the goroutine has ended; nil before the first start
}

func newController(e *Engine, id int64) *controller {
	c := &controller{e: e, id: id, tracker: newTracker(), written: newWritten(), early: map[string][]gtid.GTID{}, vanished: map[string]bool{}, log: e.log.With("stream", id)}
	c.diffs.Store(true)
	return c
}

func (c *controller) running() bool {
	if c.gone == nil {
		return false
	}
	select {
	case <-c.gone:
		return false
	default:
		return true
	}
}

func (c *controller) start(ctx context.Context) {
	ctx, c.cancel = context.WithCancelCause(ctx)
	gone := make(chan struct{})
	c.gone = gone
	c.end(nil)
	log := c.log.With("workflow", c.workflow, "source", c.name)
	c.e.done.Go(func() {
		defer close(gone)
		c.live(ctx, log)
	})
}

// stop ends the goroutine and waits for it. reason, if any, is told to who waits for the stream.
func (c *controller) stop(reason error) {
	if c.cancel != nil {
		c.cancel(errStopping)
		<-c.gone
		c.cancel = nil
	}
	if reason != nil {
		c.end(reason)
	}
}

// errAgain ends a run that must be begun again from what is stored: nothing has failed.
var errAgain = errors.New("begins again")

// errNotWanted ends a life: the row says that the stream shall not run.
var errNotWanted = errors.New("the stream is not to run")

// permanent says that a run's error needs a person.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// live repeats runs. A run that got somewhere starts the pauses over.
func (c *controller) live(ctx context.Context, log *slog.Logger) {
	told := ""
	for attempt := 0; ; attempt++ {
		r := &run{c: c, log: log, guard: newGuard(c.id)}
		c.diffs.Store(true) // one may have been under way
		err := r.run(ctx)
		if ctx.Err() != nil || errors.Is(err, errNotWanted) {
			return
		}
		if gone, ok := errors.AsType[*vstream.GoneError](err); ok {
			err = r.gone(ctx, gone)
		}
		if errors.Is(err, errAgain) {
			attempt = -1
			continue
		}
		if r.progressed.Load() {
			attempt, told = 0, ""
		}
		if isPermanent(err) {
			if c.fail(ctx, log, err) == nil {
				return
			}
		} else {
			text := Trouble(err)
			if text != told {
				told = text
				log.Warn("stream interrupted, it is tried again", "error", err)
			}
			if said := c.waits.Load(); said == nil || *said != text { // the run may have taken it away
				c.message(ctx, text)
			}
		}
		if !sleep(ctx, backoff(attempt)) {
			return
		}
	}
}

// isPermanent: MySQL's data errors, what the catalogue says is never to be repeated, and our own refusals.
func isPermanent(err error) bool {
	// A table that is gone on the source is one that a DDL has taken, which is still to come on the stream.
	if errors.Is(err, apply.ErrRepeat) || errors.Is(err, sqlconn.ErrLost) || errors.Is(err, schema.ErrNoTable) {
		return false
	}
	if _, ok := errors.AsType[permanent](err); ok || apply.Permanent(err) {
		return true
	}
	for _, d := range []*errs.Def{errs.BinlogPurged, errs.NoPrimaryKey, errs.TableDiffers, errs.SourcePrecondition, errs.BadInput, errs.BadVSchema, errs.StreamFailed, errs.TableUnknown} {
		if errors.Is(err, d) {
			return true
		}
	}
	return false
}

func backoff(attempt int) time.Duration {
	d := min(timeouts.RetryMin<<min(attempt, 10), timeouts.RetryMax)
	return d/2 + rand.N(d/2)
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// fail writes the error into the row. A row that is not to run any more keeps its state.
func (c *controller) fail(ctx context.Context, log *slog.Logger, err error) error {
	text := err.Error()
	if e, ok := errors.AsType[*errs.Error](err); ok {
		for _, step := range e.NextSteps() {
			text += " | " + step
		}
	} else {
		text += " | " + errs.StreamFailed.Remedy
	}
	log.Error("stream stopped by an error", "error", err)
	werr := c.e.exec(ctx, fmt.Sprintf("UPDATE _braid.vreplication SET state='Error', message=%s, time_updated=%d WHERE id=%d AND state<>'Stopped'",
		quoteText(text), nowUS(), c.id), logStatement(c.id, "error", Error, text))
	if werr != nil {
		log.Warn("stream's error not written", "error", werr)
		return werr
	}
	c.end(errs.New(errs.StreamsNotRunning, err, "stream %d of workflow %s is in error", c.id, c.workflow))
	return nil
}

// message says in the row what the stream waits for. It is best effort: the next one comes with the next attempt.
func (c *controller) message(ctx context.Context, text string) {
	c.waits.Store(&text)
	err := c.e.exec(ctx, fmt.Sprintf("UPDATE _braid.vreplication SET message=%s, time_updated=%d WHERE id=%d AND state NOT IN ('Stopped','Error')",
		quoteText(text), nowUS(), c.id))
	if err != nil && ctx.Err() == nil {
		c.log.Debug("stream's message not written", "error", err)
	}
}

func logStatement(id int64, kind string, state State, text string) string {
	return fmt.Sprintf("INSERT INTO _braid.vreplication_log (vrepl_id, type, state, created_at, message) VALUES (%d, %s, %s, %d, %s)",
		id, sqlconn.Quote(kind), sqlconn.Quote(state.String()), nowUS(), quoteText(text))
}

// quoteText is a literal for a TEXT column: it must be valid UTF-8 and fit.
func quoteText(s string) string {
	const most = 8000
	if len(s) > most {
		s = s[:most]
	}
	return sqlconn.Quote(validUTF8(s))
}
