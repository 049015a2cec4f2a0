package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"braid/internal/apply/rows"
	"braid/internal/gtid"
	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
	"braid/internal/writeset"
)

// Defaults of Config.
const (
	// GroupTransactions: a larger group is not faster, and repeats more work after a deadlock.
	GroupTransactions = 200
	GroupBytes        = 1 << 20
	// QueueBytes holds the next groups of all workers, and what is looked at beyond those that are blocked; or a chunk for each of a few
	// workers. Of small transactions less is held: readAhead; and of one that comes in fragments: openBytes.
	QueueBytes = 64 << 20
)

const (
	checkpointPeriod = time.Second
	laneBytes        = 16 << 10         // of GTID text, from which the base is moved at once
	idleSession      = 30 * time.Second // after which a worker's session is given back
	refusedSession   = idleSession      // after which a session that the server refused is asked for again
	openBytes        = 8 << 20          // of a transaction that is not complete: enough that the server never waits for the next fragment
)

// Config is fixed for the life of an Applier, but for Order and Workers.
type Config struct {
	Workers int // sessions at most; 0: DefaultWorkers
	Mode    writeset.Mode
	Order   Order
	Linger  time.Duration // SetLinger

	GroupTransactions, GroupBytes, QueueBytes int // 0: the defaults

	// Connect opens the session of a lane. It returns when no other process can have one for the same lane, and when rows.Prepare is
	// done. It may be called at any time, by several goroutines.
	Connect func(ctx context.Context, lane int) (*sqlconn.Conn, error)
	// Control is a session of the caller, for Drain and Barrier: it is used inside of calls of the applier only.
	Control *sqlconn.Conn
	Rows    rows.SessionConfig

	// SaveLane returns the statement that records a lane's progress, SaveBase that of the base. They commit with data (A1).
	SaveLane func(Lane) string
	SaveBase func(Base) string
	// Committed is told what a commit, or a position that was saved, has reached. Calls do not overlap, and never go back. It must not call
	// the applier.
	Committed func(Progress)
	// Repeats is told why a group is sent again, and how often it was. Any worker calls it.
	Repeats func(err error, attempt int)
	// Split is told why a group failed whose transactions did not when they were applied one by one.
	Split func(err error)
	// Fewer is told that the server refuses another session, and how many workers go on.
	Fewer func(err error, workers int)

	open func(ctx context.Context, lane int) (session, error) // of tests
	exec func(ctx context.Context, sql string) error
}

// Lane is what a worker's row says.
type Lane struct {
	Lane         int
	GTIDs        string // of the lane, above the base
	Transactions int    // source transactions of this commit
	CommitUS     int64  // when the source committed the last of them; 0: unknown
}

// Base is what the stream's row says.
type Base struct {
	Position gtid.Set
	CommitUS int64
}

// Progress is what the target has.
type Progress struct {
	Applied gtid.Set // what the data reaches
	Saved   gtid.Set // what base and lanes say: Applied, less positions of transactions without rows for us
	// SourceUS is when the source committed, or had, the last of what is applied without a gap; 0: nothing new is known.
	SourceUS int64
}

// Applier writes the transactions of one stream through several sessions. Its methods belong to one goroutine, but for Status.
type Applier struct {
	cfg     Config
	tables  rows.Tables
	defs    map[uint32][2]*schema.Table
	tracker *writeset.Tracker
	events  chan struct{}
	ctx     context.Context
	cancel  context.CancelFunc
	done    sync.WaitGroup
	later   *time.Timer   // rouses a worker for what has waited
	freed   chan struct{} // the queue has become shorter, or something has failed
	addedAt time.Time
	settled bool // the tracker has given its memory back

	publishing sync.Mutex // taken before mu

	mu struct {
		sync.Mutex
		queue
		err        error // what has ended the applier
		closed     bool
		order      Order
		workers    int              // that there may be
		wanted     int              // of them; more than workers when the server has refused a session
		refused    time.Time        // when it did; zero: it did not, or was asked again
		checks     bool             // foreign keys are checked
		lanes      []*worker        // by lane; nil: has no session
		sets       map[int]gtid.Set // what the rows of lanes say, less what the base has
		idle       []*worker        // wait for work, the last one has worked last
		groups     []*group         // under way, in the order of their first transactions
		due        []func()         // to be called by the owner
		dropped    []uint64         // chunks that are committed, for the tracker
		looking    bool             // somebody looks for lock victims
		blind      bool             // the account cannot see lock waits
		stats      statistics       // of Status
		telling    int              // commits that Committed was not told of yet
		unassigned int              // bytes of entries without a group
		chunks     int              // of these entries
		since      time.Time        // the first of them may be waiting
		linger     time.Duration    // for which it may
		draining   bool             // the owner waits for all of them
		offering   bool             // late will run
	}
}

// New returns an applier that goes on behind a position, which the base has: what lanes had beside it is folded into it before, and their
// rows are gone.
func New(cfg Config, at gtid.Set) *Applier {
	cfg.Workers = cmp.Or(cfg.Workers, DefaultWorkers)
	cfg.GroupTransactions = cmp.Or(cfg.GroupTransactions, GroupTransactions)
	cfg.GroupBytes = cmp.Or(cfg.GroupBytes, GroupBytes)
	cfg.QueueBytes = cmp.Or(cfg.QueueBytes, QueueBytes)
	a := &Applier{
		cfg: cfg, defs: map[uint32][2]*schema.Table{}, tracker: writeset.New(writeset.Config{Mode: cfg.Mode}),
		events: make(chan struct{}, 1), freed: make(chan struct{}, 1),
	}
	if cfg.open == nil {
		a.cfg.open = a.connect
	}
	if cfg.exec == nil {
		a.cfg.exec = a.control
	}
	a.tracker.CheckForeignKeys(false)
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.later = time.AfterFunc(time.Hour, a.late)
	a.later.Stop()
	a.mu.order, a.mu.workers, a.mu.wanted, a.mu.linger, a.mu.sets = cfg.Order, cfg.Workers, cfg.Workers, cfg.Linger, map[int]gtid.Set{}
	a.mu.reset(at)
	return a
}

func (a *Applier) control(ctx context.Context, sql string) error {
	_, err := a.cfg.Control.Exec(ctx, sql)
	return err
}

// Reset makes an applier that has nothing to do go on behind another position, which is saved.
func (a *Applier) Reset(position gtid.Set) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.reset(position)
	clear(a.mu.sets)
}

// SetTable says how changes of a table ID are written from here on.
func (a *Applier) SetTable(id uint32, t *Table) {
	a.tables.Set(id, t)
	if defs := [2]*schema.Table{t.Source, t.Target}; a.defs[id] != defs {
		a.defs[id] = defs
		a.tracker.SetTable(id, t.Source, t.Target)
	}
}

// Table returns what SetTable has set, or nil.
func (a *Applier) Table(id uint32) *Table { return a.tables.View().Table(id) }

// Position is what everything added so far reaches.
func (a *Applier) Position() gtid.Set {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.position
}

// Saved is what base and lanes say.
func (a *Applier) Saved() gtid.Set {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.saved
}

// Pending says that something was added that is not committed.
func (a *Applier) Pending() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.mu.empty()
}

// Open says that a transaction has come in part.
func (a *Applier) Open() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.open != nil
}

// Unsaved says that base and lanes are behind, be it only by transactions without rows for us.
func (a *Applier) Unsaved() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.mu.saved.Equal(a.mu.position)
}

// Add takes a source transaction, or a fragment of one. It waits while the queue is full (A4).
func (a *Applier) Add(ctx context.Context, tx *vstream.Transaction) error {
	a.settle()
	a.mu.Lock()
	e := a.mu.open
	a.mu.Unlock()
	if e == nil && tx.Last && len(tx.Changes) == 0 {
		return a.reach(tx)
	}
	bytes := size(tx)
	if err := a.room(ctx, bytes); err != nil {
		return err
	}
	if e != nil {
		return a.fragment(e, tx, bytes)
	}
	d := a.depend(tx)
	e = &entry{seq: d.Seq, floor: d.Floor, preds: append([]uint64(nil), d.Preds...), parts: []part{{tx, a.tables.View()}}, bytes: bytes, large: !tx.Last}
	a.mu.Lock()
	defer a.mu.Unlock()
	if tx.Last {
		if err := a.mu.reach(e, tx); err != nil {
			return err
		}
	} else {
		a.mu.open = e
	}
	a.put(e)
	return nil
}

// reach takes a transaction without rows.
func (a *Applier) reach(tx *vstream.Transaction) error {
	if tx.GTID == "" {
		return nil
	}
	a.mu.Lock()
	position := a.mu.position
	a.mu.Unlock()
	if err := tx.Reach(&position); err != nil {
		return err
	}
	a.Heard(position, tx.CommitUS)
	return nil
}

// depend finds what a transaction, or its first fragment, must follow. Later fragments need not: their transaction runs when all
// before it is committed.
func (a *Applier) depend(tx *vstream.Transaction) writeset.Dependency {
	a.tracker.Begin(writeset.Header{Clock: tx.Clock})
	a.changes(tx)
	if tx.Last {
		return a.tracker.End()
	}
	return a.tracker.Take()
}

func (a *Applier) changes(tx *vstream.Transaction) {
	for i := range tx.Changes {
		c := &tx.Changes[i]
		a.tracker.Row(c.TableID, c.Before, c.After, c.Flags)
	}
}

func (a *Applier) fragment(e *entry, tx *vstream.Transaction, bytes int) error {
	a.changes(tx)
	if tx.Last {
		a.tracker.End()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	e.parts = append(e.parts, part{tx, a.tables.View()})
	e.bytes += bytes
	a.mu.bytes += bytes
	if e.group == nil {
		a.mu.unassigned += bytes
	}
	if tx.Last {
		if err := a.mu.reach(e, tx); err != nil {
			return err
		}
		a.mu.open = nil
	}
	if e.group != nil {
		e.group.worker.signal()
	}
	return nil
}

// put appends an entry to the queue, under the lock.
func (a *Applier) put(e *entry) {
	a.mu.push(e)
	a.addedAt, a.settled = time.Now(), false
	if a.mu.ahead() == 1 {
		a.mu.since = a.addedAt
	}
	a.mu.unassigned += e.bytes
	if e.chunk != nil {
		a.mu.chunks++
	}
	if a.mu.free(e, nil) {
		a.offer()
	}
}

// Skip takes a position that transactions without rows for us have reached.
func (a *Applier) Skip(position gtid.Set) { a.Heard(position, 0) }

// Heard is Skip with how far the source was read for it: when it was, in microseconds since 1970.
func (a *Applier) Heard(position gtid.Set, sourceUS int64) {
	a.mu.Lock()
	a.mu.position = a.mu.position.Union(position)
	a.mu.heardUS = max(a.mu.heardUS, sourceUS)
	idle := a.mu.empty()
	if idle {
		a.mu.advance()
	}
	a.mu.Unlock()
	if idle {
		a.publish()
	}
}

// Drain returns when everything that was added is committed, and its position saved. In the middle of a large transaction it does
// nothing.
func (a *Applier) Drain(ctx context.Context) error {
	if a.Open() {
		return a.Poll(ctx)
	}
	a.drain(true)
	err := a.await(ctx, func() bool { return a.mu.empty() && a.mu.telling == 0 })
	a.drain(false)
	if err != nil {
		return err
	}
	return a.Save(ctx)
}

func (a *Applier) drain(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.draining = on; on && a.mu.linger > 0 && a.mu.ahead() > 0 {
		a.rouse()
	}
}

// Save saves the position of what is applied, also of transactions without rows for us.
func (a *Applier) Save(ctx context.Context) error {
	a.mu.Lock()
	if a.mu.err != nil || a.mu.moving || a.mu.prefix.Empty() || a.mu.saved.Contains(a.mu.prefix) {
		defer a.mu.Unlock()
		return a.mu.err
	}
	a.mu.moving = true
	base := a.mu.base.Union(a.mu.prefix)
	sql := a.cfg.SaveBase(Base{Position: base, CommitUS: a.mu.commitUS})
	a.mu.Unlock()
	err := a.cfg.exec(ctx, sql)
	for attempt := 1; rows.Retryable(err) && pause(ctx, attempt) == nil; attempt++ {
		err = a.cfg.exec(ctx, sql)
	}
	a.mu.Lock()
	if a.mu.moving = false; err == nil {
		a.mu.moved(base)
	}
	a.mu.Unlock()
	if err != nil {
		return fmt.Errorf("save position: %w", err)
	}
	a.publish()
	return nil
}

// Barrier runs fn alone, on the control session, when everything before is committed.
func (a *Applier) Barrier(ctx context.Context, fn func(ctx context.Context, conn *sqlconn.Conn) error) error {
	if a.Open() {
		return errors.New("barrier inside of a transaction")
	}
	if err := a.Drain(ctx); err != nil {
		return err
	}
	return fn(ctx, a.cfg.Control)
}

// CheckForeignKeys says whether foreign keys are checked, and cascade, from here on. They are not at first.
func (a *Applier) CheckForeignKeys(ctx context.Context, on bool) error {
	return a.between(ctx, func() {
		a.mu.checks = on
		a.tracker.CheckForeignKeys(on)
	})
}

// Events is signalled when Poll has something to do.
func (a *Applier) Events() <-chan struct{} { return a.events }

// Poll calls what is due (Chunk.Done), and returns the error that has ended the applier.
func (a *Applier) Poll(context.Context) error {
	a.mu.Lock()
	due, err := a.mu.due, a.mu.err
	a.mu.due = nil
	a.mu.Unlock()
	for _, fn := range due {
		fn()
	}
	return err
}

// Close ends the sessions, and waits until the workers have ended. What was not committed is rolled back.
func (a *Applier) Close() {
	a.mu.Lock()
	a.mu.closed = true
	a.mu.Unlock()
	a.later.Stop()
	a.cancel()
	a.done.Wait()
}

// room waits until the queue has room, for a first entry always.
func (a *Applier) room(ctx context.Context, bytes int) error {
	return a.await(ctx, func() bool {
		if e := a.mu.open; e != nil && e.bytes > 0 && e.bytes+bytes > openBytes {
			return false
		}
		return a.mu.bytes == 0 || a.mu.bytes+bytes <= a.cfg.QueueBytes && a.mu.ahead() < readAhead
	})
}

// wakeAdder wakes Add, if it waits for room, when a quarter of it is free. Under the lock.
func (a *Applier) wakeAdder() {
	if a.mu.full && a.mu.bytes <= a.cfg.QueueBytes/4*3 && a.mu.ahead() <= readAhead/4*3 {
		notify(a.freed)
	}
}

// await waits for a condition of the queue, and calls what is due meanwhile.
func (a *Applier) await(ctx context.Context, cond func() bool) error {
	for {
		if err := a.Poll(ctx); err != nil {
			return err
		}
		a.mu.Lock()
		ok := cond()
		a.mu.full = !ok
		a.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-a.freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// late is offer for what has waited.
func (a *Applier) late() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.offering = false; a.mu.next <= a.mu.lastSeq() {
		a.rouse()
	}
}

// settle tells the tracker what is done.
func (a *Applier) settle() {
	a.mu.Lock()
	low, dropped := a.mu.low, a.mu.dropped
	a.mu.dropped = nil
	a.mu.Unlock()
	a.tracker.Complete(low)
	for _, seq := range dropped {
		a.tracker.DropChunk(seq)
	}
}

// Rest gives memory back when nothing has come for a while.
func (a *Applier) Rest() {
	if a.settled || a.Pending() || time.Since(a.addedAt) < idleSession {
		return
	}
	a.settled = true
	a.settle()
	a.tracker.Release()
}

// fail ends the applier. Who executes finishes; who waits for a turn gives up.
func (a *Applier) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.err != nil || a.mu.closed {
		return
	}
	a.mu.err = err
	for _, w := range a.mu.lanes {
		if w != nil {
			w.signal()
		}
	}
	notify(a.events)
	notify(a.freed)
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// publish tells the owner what is reached. It reads under its own lock, so that calls are in order.
func (a *Applier) publish() {
	if a.cfg.Committed == nil {
		return
	}
	a.publishing.Lock()
	defer a.publishing.Unlock()
	a.mu.Lock()
	p := Progress{Applied: a.mu.applied, Saved: a.mu.saved, SourceUS: a.mu.sourceUS}
	a.mu.Unlock()
	a.cfg.Committed(p)
}

// size estimates what a transaction holds.
func size(tx *vstream.Transaction) int {
	n := 256
	for i := range tx.Changes {
		c := &tx.Changes[i]
		n += rowBytes(c.Before) + rowBytes(c.After) + len(c.RawBefore) + len(c.RawAfter)
	}
	return n
}

// rowBytes is what a row holds: its cells, their headers, and what it was decoded from.
func rowBytes(row rowimage.Row) int {
	if row == nil {
		return 0
	}
	n := 48 + 24*len(row)
	for _, cell := range row {
		n += len(cell)
	}
	return n
}
