package vreplication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"braid/internal/apply"
	"braid/internal/base/errs"
	"braid/internal/gtid"
	"braid/internal/sqlconn"
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
	c   *controller
	log *slog.Logger

	row    *row
	others []*row // the workflow's other streams
	conn   *sqlconn.Conn
	source vstream.Source
	stream vstream.Stream
	ap     *apply.Applier

	copies   map[string]*tableCopy // by source table; those that are, or were, copied
	order    []*tableCopy
	plans    map[uint32]*tablePlan
	windows  windows
	differ   *differ
	checking bool // foreign keys

	sourceUS       int64 // when the source committed, or had, the last item whose lag was not measured yet
	stopping       bool  // the stop position is reached by the commit under way
	savedAt        time.Time
	contested      contested
	contestedSince time.Time
	said           string // the row's message
	saidOnce       bool   // the next commit takes it away
	progressed     bool   // something was committed, so the next failure is a new one
}

// run holds the stream's lock on the very session that writes: MySQL gives it up when that session has ended and its open
// transaction is decided. So no two appliers of a stream ever write, and the position that is read after the lock is
// the outcome of a COMMIT whose answer was lost (A1).
func (r *run) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := r.prepare(ctx); err != nil {
		return err
	}
	defer r.conn.Close()
	types, err := r.row.tabletTypes()
	if err != nil {
		return permanent{err}
	}
	src, err := r.c.e.deps.OpenSource(ctx, r.row.Source.Keyspace, r.row.Source.Shard, types)
	if err != nil {
		return fmt.Errorf("open source %s: %w", r.row.Source.name(), err)
	}
	r.source = src
	start := vstream.Start{Position: r.row.Pos.String(), FromNow: r.row.Pos.Empty(), Rules: r.row.Source.Rules, Workflow: r.row.Workflow}
	if r.stream, err = src.Open(ctx, start); err != nil {
		return fmt.Errorf("open stream of %s: %w", r.row.Source.name(), err)
	}
	group, gctx := errgroup.WithContext(ctx)
	r.differ = newDiffer(r, group, gctx)
	batches := make(chan []vstream.Item, received)
	group.Go(func() error { return r.receive(gctx, batches) })
	group.Go(func() error {
		defer cancel() // the receiver waits in Recv
		return r.apply(gctx, batches)
	})
	err = group.Wait()
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
	if err := r.lock(ctx); err != nil {
		return err
	}
	rows, err := loadRows(ctx, r.conn, r.c.e.scope())
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.ID == r.c.id {
			r.row, r.others = row, siblings(rows, row)
		}
	}
	if r.row == nil || !r.row.State.wanted() {
		return errNotWanted
	}
	if r.row.Source.OnDDL != "" && r.row.Source.OnDDL != "IGNORE" {
		return permanent{errs.New(errs.BadInput, nil, "stream %d: policy %q for DDL is not one that streams follow: IGNORE is", r.row.ID, r.row.Source.OnDDL)}
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
	r.ap = apply.New(apply.Config{Save: r.save, Contest: r.contest, Contested: r.contested.any, Kept: r.kept, Committed: r.committed, Repeats: r.repeats}, r.conn, r.row.Pos)
	r.c.begin(r.row.Pos)
	if r.reached(r.row.Pos) {
		return r.stopHere(ctx)
	}
	return nil
}

// lockPatience is how long the session of an earlier run may need to end before it is killed. It belongs to a process that
// died without a word, or to one that was cut off.
const lockPatience = 3 * time.Second

func (r *run) lock(ctx context.Context) error {
	name := sqlconn.Quote(fmt.Sprintf("braid_stream_%d", r.c.id))
	res, err := r.conn.Query(ctx, fmt.Sprintf("SELECT GET_LOCK(%s, %d)", name, int(lockPatience.Seconds())))
	if err != nil {
		return fmt.Errorf("lock stream: %w", err)
	}
	if string(res.Rows[0][0]) == "1" {
		return nil
	}
	if res, err = r.conn.Query(ctx, "SELECT IS_USED_LOCK("+name+")"); err == nil && res.Rows[0][0] != nil {
		r.log.Warn("the session of an earlier run is killed", "session", string(res.Rows[0][0]))
		if _, err = r.conn.Exec(ctx, "KILL "+string(res.Rows[0][0])); err != nil && sqlconn.ErrCode(err) != erNoSuchThread {
			return fmt.Errorf("lock stream: kill the session of an earlier run: %w", err)
		}
	}
	return errors.New("waits for the session of an earlier run to end")
}

const erNoSuchThread = 1094

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

// apply takes what is received. Whatever is there already goes into one commit; when nothing is, it commits at once.
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
		case <-r.c.kick:
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// idle commits what there is, saves a position that is due, and asks for the next window.
func (r *run) idle(ctx context.Context) error {
	if r.ap.Pending() {
		if err := r.commit(ctx); err != nil {
			return err
		}
	} else if r.ap.Unsaved() && (r.c.waited() || time.Since(r.savedAt) >= savePeriod) {
		if err := r.commit(ctx); err != nil {
			return err
		}
	}
	return r.attend(ctx)
}

// attend does what is due beside the stream's items. A stream that is never idle gets to it between two batches.
func (r *run) attend(ctx context.Context) error {
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
	return r.ask(ctx)
}

func (r *run) items(ctx context.Context, items []vstream.Item) error {
	if err := r.attend(ctx); err != nil {
		return err
	}
	for _, item := range items {
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
	if r.row.hasStop && r.passed(tx) {
		r.ap.Skip(r.row.StopPos)
		return r.commit(ctx)
	}
	r.differ.watch(tx)
	if err := r.ap.Add(ctx, tx); err != nil {
		return err
	}
	if r.sourceUS = tx.CommitUS; !r.ap.Pending() { // it was committed, or has no rows for us
		r.after()
	}
	if tx.Last && r.row.hasStop && r.reached(r.ap.Position()) {
		return r.commit(ctx)
	}
	return r.throttle(ctx)
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
	r.ap.Skip(position)
	if r.row.hasStop && r.reached(r.ap.Position()) {
		return r.commit(ctx)
	}
	if r.sourceUS = h.SourceUS; !r.ap.Pending() {
		r.after()
	}
	return nil
}

// ddl is logged and not run: a workflow brings both sides' definitions itself. If the table does not fit any more, its next
// change says so.
func (r *run) ddl(ctx context.Context, d *vstream.DDL) error {
	r.log.Info("DDL of the source is ignored", "gtid", d.GTID, "sql", d.SQL)
	if err := r.commit(ctx); err != nil {
		return err
	}
	if d.GTID != "" {
		position := r.ap.Position()
		if err := position.Add(d.GTID); err != nil {
			return permanent{err}
		}
		r.ap.Skip(position)
	}
	if err := r.c.e.exec(ctx, logStatement(r.row.ID, "ddl ignored", r.row.State, d.SQL)); err != nil {
		return err
	}
	return r.commit(ctx)
}

// commit commits everything that was added, and wakes who waits for it.
func (r *run) commit(ctx context.Context) error {
	saved := r.ap.Saved()
	if err := r.ap.Drain(ctx); err != nil {
		return err
	}
	if !saved.Equal(r.ap.Saved()) {
		r.savedAt = time.Now()
	}
	r.after()
	if r.saidOnce && !r.ap.Pending() {
		r.say("")
	}
	if r.stopping && r.reached(r.ap.Saved()) {
		r.stopped()
		return errNotWanted
	}
	return nil
}

// after publishes what the data has reached.
func (r *run) after() {
	r.progressed = true
	if r.ap.Pending() {
		return
	}
	r.c.measured(r.sourceUS)
	r.sourceUS = 0
	r.c.advance(r.ap.Position(), r.ap.Saved())
}

// save is the statement that goes with every commit (A1).
func (r *run) save(p apply.Progress) string {
	sql := fmt.Sprintf("UPDATE _braid.vreplication SET pos='%s', time_updated=%d", p.Position, nowUS())
	if p.CommitUS > 0 {
		sql += fmt.Sprintf(", transaction_timestamp=%d", p.CommitUS)
	}
	if p.Transactions > 0 {
		sql += fmt.Sprintf(", transactions=transactions+%d", p.Transactions)
	}
	if r.stopping = r.reached(p.Position); r.stopping {
		sql += ", state='Stopped', message='reached the stop position'"
	}
	return sql + fmt.Sprintf(" WHERE id=%d", r.row.ID)
}

// repeats is told by the applier that a packet is sent again.
func (r *run) repeats(err error, attempt int) {
	if attempt == 5 { // about ten seconds of lock waits, or a storm of deadlocks
		r.say("repeats a transaction: " + err.Error())
	}
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
func (r *run) throttle(ctx context.Context) error {
	if r.row.MaxTPS <= 0 || r.ap.Pending() && r.ap.Transactions() < r.row.MaxTPS/10+1 {
		return nil
	}
	n := r.ap.Transactions()
	if err := r.commit(ctx); err != nil {
		return err
	}
	if !sleep(ctx, time.Duration(n)*time.Second/time.Duration(r.row.MaxTPS)) {
		return context.Cause(ctx)
	}
	return nil
}
