package binlog

import (
	"context"
	"sync"
	"time"

	"braid/internal/gtid"
)

// Open returns a reader of what comes after the position, with the row events of the tables that follow wants. follow is called by
// several goroutines and must not block. ctx bounds the opening only.
//
// The reader is on the ring, or on its way there with a connection of its own; both are one to its user. It ends when the source
// cannot be heard for timeouts.SourceGone, has lost what comes next, or has something in its log that cannot be followed.
func (h *Hub) Open(ctx context.Context, position gtid.Set, follow func(db, table string) bool) (Reader, error) {
	r := &hubReader{hub: h, follow: follow, ready: make(chan struct{}, 1)}
	r.mu.position, r.mu.followed = position, map[*TableMap]bool{}
	if err := h.enter(r); err != nil {
		return nil, err
	}
	if err := r.open(ctx); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// hubReader is a Reader of a hub.
type hubReader struct {
	hub    *Hub
	follow func(db, table string) bool
	ready  chan struct{}
	server string // UUID of the one that is read, known when the reader is open
	waits  bool   // guarded by the ring's lock: it is to be woken

	mu struct {
		sync.Mutex
		run      *run  // whose ring the reader is on; nil when it has its own connection
		private  *dump // that connection, or nil
		at       place
		batch    []entry     // taken from the ring and not passed on yet
		end      Coordinates // the last that was told
		position gtid.Set    // of what was passed on
		done     progress    // what was passed on of the next transaction
		begun    bool        // a part of it was
		followed map[*TableMap]bool
		since    int       // events from the private connection since the last try to join
		ahead    time.Time // since when the ring is behind the private connection
		err      error     // final
	}
}

const (
	// waitAhead is how long the opening waits for a hub that is about to come to the position: a reader that starts at what is
	// executed now is ahead by what is on its way.
	waitAhead = time.Second
	// jumpAhead is how long a reader is ahead of the hub before the hub gives up what lies between.
	jumpAhead = 2 * time.Second
	// joinEvery is how many events pass between two tries to join while there are more.
	joinEvery = 256
	// privateBytes bounds what a private connection reads ahead.
	privateBytes = 4 << 20
)

func (r *hubReader) open(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	wait := time.NewTimer(waitAhead)
	defer wait.Stop()
	for {
		run, made := r.hub.current(r.mu.position)
		if run == nil {
			return errClosed
		}
		select {
		case <-run.ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if run.err != nil {
			if made {
				return run.err
			}
			continue // it was the position of another
		}
		at, standing := run.join(r.mu.position, r.follow)
		switch standing {
		case joined:
			r.mu.run, r.mu.at = run, at
			r.server = run.feed.server
			return nil
		case outside:
			return r.openPrivate(ctx)
		}
		run.await(r)
		select {
		case <-r.ready:
		case <-run.stopped:
		case <-wait.C:
			run.forget(r)
			return r.openPrivate(ctx)
		case <-ctx.Done():
			run.forget(r)
			return context.Cause(ctx)
		}
	}
}

func (r *hubReader) openPrivate(ctx context.Context) error {
	d := r.newPrivate()
	if err := d.feed.open(ctx); err != nil {
		d.Close()
		return err
	}
	r.server = d.feed.server
	d.start()
	r.mu.private = d
	return nil
}

// Server is the UUID of the server that is read.
func (r *hubReader) Server() string { return r.server }

func (r *hubReader) newPrivate() *dump {
	d := newDump(Config{DB: r.hub.cfg.DB, Position: r.mu.position, Follow: r.follow, QueueBytes: privateBytes, held: r.hub.cfg.held, log: r.hub.cfg.Log})
	d.queue.ready = r.ready
	d.feed.done, d.feed.server = r.mu.done, r.server
	return d
}

// Ready implements Reader.
func (r *hubReader) Ready() <-chan struct{} { return r.ready }

// Heard is when the source was last heard.
func (r *hubReader) Heard() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.mu.private != nil:
		return r.mu.private.Heard()
	case r.mu.run != nil:
		return time.Unix(0, r.mu.run.feed.heard.Load())
	}
	return time.Time{}
}

// Close implements Reader.
func (r *hubReader) Close() error {
	r.mu.Lock()
	if r.mu.err == nil {
		r.mu.err = errClosed
	}
	run, private := r.mu.run, r.mu.private
	r.mu.run, r.mu.private, r.mu.batch = nil, nil, nil
	r.mu.Unlock()
	if run != nil {
		run.leave(r)
	}
	if private != nil {
		private.Close()
	}
	r.hub.leave(r)
	signal(r.ready)
	return nil
}

// Poll implements Reader.
func (r *hubReader) Poll() (Event, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.mu.err == nil {
		ev, err := r.next()
		if err != nil {
			r.mu.err = err
			break
		}
		if ev == nil {
			return nil, nil
		}
		if ev := r.pass(ev); ev != nil {
			return ev, nil
		}
	}
	return nil, r.mu.err
}

// next is the next event from where the reader stands.
func (r *hubReader) next() (Event, error) {
	for {
		if r.mu.private != nil {
			if !r.rejoin() {
				r.mu.since++
				return r.mu.private.Poll()
			}
		}
		if len(r.mu.batch) > 0 {
			ev := r.mu.batch[0].event
			r.mu.batch = r.mu.batch[1:]
			why := r.alone(ev)
			if why == "" {
				return ev, nil
			}
			r.detach(why)
			continue
		}
		r.mu.batch = nil // so that it does not keep its segment
		events, at, end, lost, err := r.mu.run.take(r, r.mu.at)
		switch {
		case lost:
			r.detach("too slow")
			continue
		case err != nil:
			return nil, err
		}
		r.mu.batch, r.mu.at = events, at
		if len(events) > 0 {
			continue
		}
		if end == r.mu.end || end.File == "" {
			return nil, nil
		}
		return &Mark{End: end}, nil
	}
}

// alone says why the reader cannot take an event from the ring; "": it can.
func (r *hubReader) alone(ev Event) string {
	switch ev := ev.(type) {
	case *barrier:
		return "barrier"
	case *Transaction:
		for _, tm := range ev.left {
			if r.follows(tm) {
				return "rows that nobody followed when they came"
			}
		}
	}
	return ""
}

// detach leaves the ring for a connection of the reader's own.
func (r *hubReader) detach(why string) {
	r.hub.cfg.Log.Debug("stream leaves the hub", "source", r.hub.cfg.DB.Addr, "why", why)
	r.mu.run.leave(r)
	r.mu.run, r.mu.batch, r.mu.since = nil, nil, 0
	r.mu.private = r.newPrivate()
	r.mu.private.feed.heard.Store(time.Now().UnixNano())
	r.mu.private.start()
}

// rejoin puts the reader on the ring if its position is there.
func (r *hubReader) rejoin() bool {
	if r.mu.done.gtid != "" || r.mu.since%joinEvery != 0 && r.mu.private.queue.some() {
		return false
	}
	run, _ := r.hub.current(r.mu.position)
	if run == nil || !run.stands() {
		return false
	}
	at, standing := run.join(r.mu.position, r.follow)
	switch standing {
	case outside:
		r.mu.ahead = time.Time{}
		return false
	case ahead:
		if r.mu.ahead.IsZero() {
			r.mu.ahead = time.Now()
		} else if time.Since(r.mu.ahead) > jumpAhead {
			r.mu.ahead = time.Time{}
			run.jump(r.mu.position)
		}
		return false
	}
	r.mu.private.Close()
	r.mu.private, r.mu.run, r.mu.at, r.mu.ahead = nil, run, at, time.Time{}
	return true
}

// stands reports whether the first connection succeeded.
func (r *run) stands() bool {
	select {
	case <-r.ready:
		return r.err == nil
	default:
		return false
	}
}

// pass notes an event and takes from it what the reader does not follow. nil: nothing is left.
func (r *hubReader) pass(ev Event) Event {
	switch ev := ev.(type) {
	case *Transaction:
		return r.transaction(ev)
	case *DDL:
		ev.Reach(&r.mu.position)
		r.mu.done.note(ev)
		r.mu.end = ev.End
	case *Mark:
		r.mu.end = ev.End
	}
	return ev
}

// transaction returns the transaction itself if the reader follows all of it; it is shared.
func (r *hubReader) transaction(tx *Transaction) Event {
	r.mu.end = tx.End
	first, wanted := !r.mu.begun, 0
	for i := range tx.Rows {
		if r.follows(tx.Rows[i].Table) {
			wanted++
		}
	}
	r.mu.done.note(tx)
	switch {
	case tx.Last:
		tx.Reach(&r.mu.position)
		r.mu.begun = false
	case wanted == 0:
		return nil
	default:
		r.mu.begun = true
	}
	if wanted == len(tx.Rows) && tx.First == first {
		return tx
	}
	own := *tx
	own.First = first
	if wanted < len(tx.Rows) {
		own.Rows = nil
		if wanted > 0 {
			own.Rows = make([]Rows, 0, wanted)
		}
		for i := range tx.Rows {
			if r.follows(tx.Rows[i].Table) {
				own.Rows = append(own.Rows, tx.Rows[i])
			}
		}
	}
	return &own
}

func (r *hubReader) follows(tm *TableMap) bool {
	wanted, known := r.mu.followed[tm]
	if !known {
		if len(r.mu.followed) >= maxTableMaps {
			clear(r.mu.followed)
		}
		wanted = r.follow(tm.DB, tm.Table)
		r.mu.followed[tm] = wanted
	}
	return wanted
}
