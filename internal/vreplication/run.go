package vreplication

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"braid/internal/apply"
	"braid/internal/apply/rows"
	"braid/internal/gtid"
	"braid/internal/sqlconn"
	"braid/internal/throttle"
	"braid/internal/vstream"
)

const (
	// savePeriod bounds how often a position without rows for us is written: an idle stream costs one commit a second.
	savePeriod = time.Second
	// received is how many batches may wait between the reader and the applier. The stream bounds their bytes.
	received = 4
)

// run is one attempt of a stream, from the connection to the first failure. Everything is owned by the goroutine of
// run, which is the applier; a second goroutine receives, a third compares chunks while a diff runs.
type run struct {
	c     *controller
	log   *slog.Logger
	guard guard

	row    *row
	others []*row        // the workflow's other streams
	conn   *sqlconn.Conn // the control session; workers have their own
	source vstream.Source
	stream vstream.Stream
	ap     *apply.Applier

	listed  []string              // to be copied by a stream that begins
	copies  map[string]*tableCopy // by source table; those that are, or were, copied
	order   []*tableCopy
	plans   map[uint32]*tablePlan
	refusal string // why the target's account may not send row events
	targets targets
	windows windows
	differ  *differ

	throttling *throttle.Throttle
	finishing  finishing
	aside      bool // it reads from a replica, and shall not when all is copied
	checking   bool // foreign keys
	lingers    bool // changes wait for others with which they are committed

	writersAt      time.Time // they were written down
	measuredUS     int64     // how far the source was read when the lag was measured last; of the commits' callback
	paced          int64     // transactions since the last pause for max_tps
	savedAt        time.Time
	contested      contested
	contestedSince time.Time
	said           string                 // the row's message
	saidOnce       bool                   // the next commit takes it away
	trouble        atomic.Pointer[string] // what a worker wants the row to say
	progressed     atomic.Bool            // something was committed, so the next failure is a new one
}

// run is the stream from the connection to the first failure. The position is read when no session of an earlier run lives any more:
// it is the outcome also of a COMMIT whose answer was lost (A1).
func (r *run) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := r.prepare(ctx); err != nil {
		return err
	}
	defer r.conn.Close()
	types, err := r.readTypes()
	if err != nil {
		return permanent{err}
	}
	src, err := r.c.e.deps.OpenSource(ctx, r.row.Source.Keyspace, r.row.Source.Shard, types)
	if err != nil {
		return fmt.Errorf("open source %s: %w", r.row.Source.name(), err)
	}
	r.source = src
	start := vstream.Start{Position: r.row.Pos.String(), FromNow: r.row.Pos.Empty(), Copies: r.row.Pos.Empty(), Rules: r.row.Source.Rules, Workflow: r.row.Workflow, Readers: r.row.Source.CopyReaders}
	if begins := r.c.e.deps.Begins; begins != nil && start.FromNow {
		at, tables, err := begins(ctx)
		if err != nil {
			return fmt.Errorf("begin copy: %w", err)
		}
		start.Position, start.FromNow, r.listed = at.String(), at.Empty(), tables
	}
	if r.stream, err = src.Open(ctx, start); err != nil {
		return fmt.Errorf("open stream of %s: %w", r.row.Source.name(), err)
	}
	r.opened(types)
	defer r.c.readsFrom.Store(nil)
	group, gctx := errgroup.WithContext(ctx)
	r.differ = newDiffer(r, group, gctx)
	var probes []throttle.Probe
	if r.c.e.deps.Probes != nil {
		probes = r.c.e.deps.Probes(r.row.Source.Keyspace, r.row.Source.Shard, r.row.Source.Throttle)
	}
	r.throttling = throttle.Start(gctx, probes)
	defer r.throttling.Stop()
	batches := make(chan []vstream.Item, received)
	group.Go(func() error { return r.receive(gctx, batches) })
	group.Go(func() error {
		defer cancel() // the receiver waits in Recv
		return r.apply(gctx, batches)
	})
	err = group.Wait()
	r.c.applier.Store(nil)
	r.ap.Close()
	r.differ.close()
	if cerr := r.stream.Close(); cerr != nil && err == nil {
		err = cerr
	}
	return err
}

// prepare connects, takes the stream's lock and reads the row.
func (r *run) prepare(ctx context.Context) (err error) {
	if r.conn, err = sqlconn.Dial(ctx, r.c.e.deps.Admin.WithDB(r.c.e.cfg.DBName)); err != nil {
		return fmt.Errorf("connect to the target: %w", err)
	}
	if err = r.load(ctx); err != nil {
		r.conn.Close()
	}
	return err
}

func (r *run) load(ctx context.Context) error {
	if err := apply.Session(ctx, r.conn); err != nil {
		return err
	}
	if err := r.takeOver(ctx); err != nil {
		return err
	}
	var err error
	if r.refusal, err = apply.Refusal(ctx, r.conn); err != nil {
		return err
	}
	all, err := loadRows(ctx, r.conn, r.c.e.scope())
	if err != nil {
		return err
	}
	for _, row := range all {
		if row.ID == r.c.id {
			r.row, r.others = row, siblings(all, row)
		}
	}
	if r.row == nil || !r.row.State.wanted() {
		return errNotWanted
	}
	r.said = r.row.Message // of an earlier run; it goes when this one is at work
	if text := r.c.waits.Load(); text != nil && r.said == "" {
		r.said = *text
	}
	r.saidOnce = r.said != ""
	if err := r.fold(ctx); err != nil {
		return err
	}
	if r.copies, r.order, err = loadCopies(ctx, r.conn, r.row.ID); err != nil {
		return err
	}
	if r.contested, err = loadContested(ctx, r.conn, r.row.ID); err != nil {
		return err
	}
	r.c.contested.Store(int64(r.contested.count()))
	r.plans = map[uint32]*tablePlan{}
	r.windows.open = map[uint64]*window{}
	r.ap = apply.New(apply.Config{
		Workers: r.workers(), Mode: r.row.Source.Parallel, Order: r.commitOrder(), Linger: copyLinger,
		Connect: r.connect, Control: r.conn, SaveLane: r.saveLane, SaveBase: r.saveBase, Committed: r.committed, Repeats: r.repeats, Fewer: r.fewer, Split: r.missed,
		Rows: rows.SessionConfig{Contest: r.contest, Contested: r.contested.any, Kept: r.kept},
	}, r.row.Pos)
	r.lingers = true
	r.c.applier.Store(r.ap)
	r.c.begin(r.row.Pos)
	if r.reached(r.row.Pos) {
		return r.stopHere(ctx)
	}
	return nil
}

func (r *run) receive(ctx context.Context, batches chan<- []vstream.Item) error {
	for {
		items, err := r.stream.Recv()
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("stream of %s: %w", r.row.Source.name(), err)
		}
		select {
		case batches <- items:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// apply takes what is received. Workers commit what is there by themselves.
func (r *run) apply(ctx context.Context, batches <-chan []vstream.Item) error {
	tick := time.NewTicker(savePeriod)
	defer tick.Stop()
	for {
		select {
		case items := <-batches:
			if err := r.items(ctx, items); err != nil {
				return err
			}
			continue
		default:
		}
		if err := r.idle(ctx); err != nil {
			return err
		}
		select {
		case items := <-batches:
			if err := r.items(ctx, items); err != nil {
				return err
			}
		case outcome := <-r.differ.outcomes:
			if err := r.differ.compared(ctx, outcome); err != nil {
				return err
			}
		case <-r.ap.Events():
		case <-r.c.kick:
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// idle saves a position that is due, and asks for the next window.
func (r *run) idle(ctx context.Context) error {
	if err := r.ap.Poll(ctx); err != nil {
		return err
	}
	if err := r.quiesce(ctx); err != nil {
		return err
	}
	if r.ap.Unsaved() && (r.c.waited() || time.Since(r.savedAt) >= savePeriod) {
		if err := r.ap.Save(ctx); err != nil {
			return err
		}
		r.savedAt = time.Now()
	}
	r.ap.Rest()
	return r.attend(ctx)
}

// attend does what is due beside the stream's items. A stream that is never idle gets to it between two batches.
func (r *run) attend(ctx context.Context) error {
	if text := r.trouble.Swap(nil); text != nil {
		r.say(*text)
	} else if r.saidOnce && !r.ap.Pending() {
		r.say("")
	}
	select {
	case outcome := <-r.differ.outcomes:
		if err := r.differ.compared(ctx, outcome); err != nil {
			return err
		}
	default:
	}
	if err := r.retake(ctx); err != nil {
		return err
	}
	if time.Since(r.writersAt) >= savePeriod {
		if err := r.saveWriters(ctx); err != nil {
			return err
		}
	}
	return r.ask(ctx)
}

func (r *run) items(ctx context.Context, items []vstream.Item) error {
	if err := r.attend(ctx); err != nil {
		return err
	}
	for _, item := range items {
		if err := r.quiesce(ctx); err != nil {
			return err
		}
		if err := r.item(ctx, item); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) item(ctx context.Context, item vstream.Item) error {
	switch it := item.(type) {
	case *vstream.Transaction:
		return r.transaction(ctx, it)
	case *vstream.Heartbeat:
		return r.heartbeat(ctx, it)
	case *vstream.Chunk:
		return r.chunk(ctx, it)
	case *vstream.Split:
		return r.split(ctx, it)
	case *vstream.Table:
		return r.table(ctx, it)
	case *vstream.DDL:
		return r.ddl(ctx, it)
	}
	return permanent{fmt.Errorf("the stream sent a %T, which this version does not know", item)}
}

func (r *run) transaction(ctx context.Context, tx *vstream.Transaction) error {
	if len(r.others) > 0 && (len(tx.Depends) > 0 || len(r.c.early) > 0) {
		if err := r.await(ctx, tx); err != nil {
			return err
		}
	}
	if r.row.hasStop && r.passed(tx.GTID) {
		r.ap.Skip(r.row.StopPos)
		return r.stop(ctx)
	}
	if err := r.delay(ctx, tx.CommitUS); err != nil {
		return err
	}
	if !r.checking {
		if err := r.unlogged(tx); err != nil {
			return err
		}
	}
	r.differ.watch(tx)
	if err := r.ap.Add(ctx, r.withoutPending(tx)); err != nil {
		return err
	}
	if tx.Last && r.row.hasStop && r.reached(r.ap.Position()) {
		return r.stop(ctx)
	}
	return r.throttle(ctx, tx)
}

// heartbeat says that everything before it is all there was at SourceUS.
func (r *run) heartbeat(ctx context.Context, h *vstream.Heartbeat) error {
	position, err := gtid.Parse(h.Position)
	if err != nil {
		return permanent{fmt.Errorf("position of a heartbeat: %w", err)}
	}
	if r.row.Pos.Empty() {
		return r.initialize(ctx, position)
	}
	r.ap.Heard(position, h.SourceUS)
	if r.row.hasStop && r.reached(r.ap.Position()) {
		return r.stop(ctx)
	}
	return nil
}

// commit returns when everything that was added is committed.
func (r *run) commit(ctx context.Context) error {
	if err := r.ap.Drain(ctx); err != nil {
		return err
	}
	r.savedAt = time.Now()
	return nil
}

// repeats is told by a worker that a group is sent again.
func (r *run) repeats(err error, attempt int) {
	if attempt == 5 { // about ten seconds of lock waits, or a storm of deadlocks
		text := "repeats a transaction: " + Trouble(err)
		r.trouble.Store(&text)
		r.c.poke()
	}
}

// missed is told by a worker that a group has failed whose transactions did not one by one. The target is right; what they follow was not seen.
func (r *run) missed(err error) {
	r.log.Warn("transactions that failed together were applied one by one: a dependency was missed; please report it", "error", err)
}

// fewer is told by a worker that the target refuses its session.
func (r *run) fewer(err error, workers int) {
	r.log.Warn("the target takes no more sessions; fewer workers go on, and more are tried later", "workers", workers, "error", err)
}

// say puts a message into the row while the stream goes on; "" takes it away. The run's own session may be inside of a
// transaction, so another one writes it.
func (r *run) say(text string) {
	if text == r.said {
		return
	}
	r.said, r.saidOnce = text, text != ""
	r.c.message(r.c.e.ctx, text)
}

// stay is say for what lasts longer than the next commit.
func (r *run) stay(text string) {
	r.say(text)
	r.saidOnce = false
}

// throttle keeps to max_tps.
func (r *run) throttle(ctx context.Context, tx *vstream.Transaction) error {
	if r.row.MaxTPS <= 0 || !tx.Last || len(tx.Changes) == 0 {
		return nil
	}
	if r.paced++; r.paced < r.row.MaxTPS/10+1 {
		return nil
	}
	n := r.paced
	r.paced = 0
	if !sleep(ctx, time.Duration(n)*time.Second/time.Duration(r.row.MaxTPS)) {
		return context.Cause(ctx)
	}
	return nil
}

// delay holds back what was committed until it is old enough. A copy does not wait: its chunks come behind the changes.
func (r *run) delay(ctx context.Context, commitUS int64) error {
	if r.row.Source.Delay <= 0 || commitUS == 0 || r.ap.Open() || r.row.State != Running {
		return nil
	}
	due := time.UnixMicro(commitUS).Add(r.row.Source.delay())
	for {
		wait := time.Until(due)
		if wait <= 0 {
			return nil
		}
		if err := r.idle(ctx); err != nil { // what came before goes on
			return err
		}
		if !sleep(ctx, min(wait, savePeriod)) {
			return context.Cause(ctx)
		}
	}
}

func (r *run) workers() int {
	if r.mayMerge() {
		return 1
	}
	return r.row.Source.Workers
}

// commitOrder is relaxed while tables are copied: nobody is to read the target then.
func (r *run) commitOrder() apply.Order {
	if r.row.Pos.Empty() {
		return apply.Relaxed
	}
	for _, tc := range r.order {
		if !tc.done {
			return apply.Relaxed
		}
	}
	return r.row.Source.CommitOrder
}
