package binlog

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"braid/internal/base/timeouts"
	"braid/internal/gtid"
	"braid/internal/sqlconn"
)

// HubConfig says which source a hub reads.
type HubConfig struct {
	DB        sqlconn.Config // an account with REPLICATION SLAVE
	RingBytes int            // 0: 64 MiB
	Grace     time.Duration  // how long the connection stays when the last reader has left; 0: timeouts.HubGrace
	Log       *slog.Logger

	held int // see feed
}

// Hub reads one source once for any number of readers. It connects when the first reader comes and ends its connection some time
// after the last has left. See the package comment.
type Hub struct {
	cfg     HubConfig
	done    sync.WaitGroup
	changes atomic.Uint64 // moves when readers come or go
	mu      struct {
		sync.Mutex
		run     *run // nil when nothing is connected
		readers map[*hubReader]struct{}
		stopped bool
		timer   *time.Timer
	}
}

// run is one life of the hub's connection, with its ring.
type run struct {
	*ring
	feed   *feed
	cancel context.CancelFunc
	ready  chan struct{} // closed when the first connection stands, or has failed
	err    error         // of the first connection
	jumpTo atomic.Pointer[gtid.Set]
}

// barrier stands in the ring for a transaction that not every reader may be able to follow; which tables each follows decides. Who meets
// it goes on with a connection of its own, which passes the transaction, or refuses it.
type barrier struct{ id gtid.GTID }

func (*barrier) isEvent() {}

// NewHub returns a hub. Nothing connects before Open.
func NewHub(cfg HubConfig) *Hub {
	cfg.RingBytes = cmp.Or(cfg.RingBytes, defaultRingBytes)
	cfg.Grace = cmp.Or(cfg.Grace, timeouts.HubGrace)
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	h := &Hub{cfg: cfg}
	h.mu.readers = map[*hubReader]struct{}{}
	return h
}

// Stop ends the connection and all readers, and waits. A hub that was stopped opens no more readers.
func (h *Hub) Stop() {
	h.mu.Lock()
	h.mu.stopped = true
	readers := make([]*hubReader, 0, len(h.mu.readers))
	for r := range h.mu.readers {
		readers = append(readers, r)
	}
	h.mu.Unlock()
	for _, r := range readers {
		r.Close()
	}
	h.mu.Lock()
	if h.mu.timer != nil {
		h.mu.timer.Stop()
	}
	h.end()
	h.mu.Unlock()
	h.done.Wait()
}

// end ends the connection. The lock is held.
func (h *Hub) end() {
	if run := h.mu.run; run != nil {
		h.mu.run = nil
		run.cancel()
		run.feed.hangUp(true)
		close(run.stopped)
	}
}

func (h *Hub) enter(r *hubReader) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.stopped {
		return errClosed
	}
	h.mu.readers[r] = struct{}{}
	h.changes.Add(1)
	if h.mu.timer != nil {
		h.mu.timer.Stop()
	}
	return nil
}

func (h *Hub) leave(r *hubReader) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, there := h.mu.readers[r]; !there {
		return
	}
	delete(h.mu.readers, r)
	h.changes.Add(1)
	if len(h.mu.readers) == 0 && !h.mu.stopped {
		h.mu.timer = time.AfterFunc(h.cfg.Grace, h.idle)
	}
}

func (h *Hub) idle() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.mu.readers) == 0 && !h.mu.stopped {
		h.end()
	}
}

// wanted reports whether some reader follows a table. Rows of others do not stay in the ring. changes moves after a reader has come, and before
// its place on the ring is looked for, so that what is read from then on has its tables.
func (h *Hub) wanted(db, table string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range h.mu.readers {
		if r.follow(db, table) {
			return true
		}
	}
	return false
}

// current is the hub's connection. If there is none, one is started at the position, and made is true.
func (h *Hub) current(position gtid.Set) (r *run, made bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.run != nil || h.mu.stopped {
		return h.mu.run, false
	}
	ctx, cancel := context.WithCancel(context.Background())
	r = &run{ring: newRing(h.cfg.RingBytes, position), cancel: cancel, ready: make(chan struct{})}
	r.feed = &feed{db: h.cfg.DB, follow: h.wanted, changes: &h.changes, sink: r.ring, position: position, held: h.cfg.held, log: h.cfg.Log}
	h.mu.run = r
	h.done.Go(func() {
		err := h.drive(ctx, r)
		h.mu.Lock()
		if h.mu.run == r {
			h.end()
		}
		h.mu.Unlock()
		r.fail(err)
	})
	return r, true
}

// drive reads the log into the ring until the run is ended, or cannot go on.
func (h *Hub) drive(ctx context.Context, r *run) error {
	if err := r.feed.open(ctx); err != nil {
		h.mu.Lock()
		if h.mu.run == r {
			h.end() // before anybody hears of it, so that who tries again gets another
		}
		h.mu.Unlock()
		r.err = err
		close(r.ready)
		return err
	}
	close(r.ready)
	h.cfg.Log.Debug("hub connected", "source", h.cfg.DB.Addr, "position", r.feed.position.String())
	var pause pacer
	for {
		err := r.feed.run(ctx)
		if to := r.jumpTo.Swap(nil); to != nil && ctx.Err() == nil {
			r.feed.restart(*to)
			r.reset(*to)
			continue
		}
		refusal, refused := errors.AsType[*Refusal](err)
		if !refused || refusal.GTID == "" || ctx.Err() != nil {
			return err
		}
		h.cfg.Log.Info("hub passes over a transaction", "source", h.cfg.DB.Addr, "gtid", refusal.GTID, "reason", refusal.Error())
		if err := r.put(&barrier{id: refusal.id}, groupCost); err != nil {
			return err
		}
		next := r.feed.reached()
		next.AddGTID(refusal.id)
		r.feed.restart(next)
		if err := pause.wait(ctx); err != nil {
			return err
		}
	}
}

// jump makes the hub go on at a position that it would reach later. Whoever reads behind it does so alone.
func (r *run) jump(position gtid.Set) {
	r.jumpTo.Store(&position)
	r.hurry()
	r.feed.hangUp(false)
}

// pacer keeps a log in which every transaction is refused from costing a connection each.
type pacer struct {
	last  time.Time
	pause time.Duration
}

func (p *pacer) wait(ctx context.Context) error {
	if time.Since(p.last) > timeouts.StreamSilence {
		p.pause = 0
	}
	err := sleep(ctx, p.pause)
	p.last, p.pause = time.Now(), min(max(2*p.pause, timeouts.RetryMin), timeouts.RetryMax)
	return err
}
