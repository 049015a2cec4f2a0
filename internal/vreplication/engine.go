package vreplication

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/gtid"
	"braid/internal/sqlconn"
	"braid/internal/throttle"
	"braid/internal/topo"
	"braid/internal/vstream"
)

const (
	heartbeat  = timeouts.StreamHeartbeat
	pollPeriod = time.Second // how soon a state that was set by SQL acts
	adminConns = 4           // sessions for rows of state; each stream has one of its own for data
)

// Config says whose streams these are.
type Config struct {
	DBName   string // where the streams write; empty: in the databases that their rules name
	Workflow string // its streams alone; empty: of all workflows of the database
	Keyspace string // of this shard, for messages
	Shard    string
}

// Deps is what the engine gets from its tablet.
type Deps struct {
	Admin sqlconn.Config // account for the data and for the sidecar database
	// OpenSource finds where to read a shard: a tablet of one of the types, the first that can be read. It is called again after every failure, so it may
	// choose another place. A stream that has From() topo.Tablet tells which it is.
	OpenSource func(ctx context.Context, keyspace, shard string, types []topo.TabletType) (vstream.Source, error)
	Log        *slog.Logger
	// Probes are what pauses the copy of a stream from a shard; the stream closes them. nil: nothing does.
	Probes func(keyspace, shard string, limits throttle.Limits) []throttle.Probe
	// Begins, if set, is asked where a stream begins that has not begun yet, and which tables, as its rules call them, the source had there: the
	// target's are the same. nil: the stream begins at the source's present position.
	Begins func(context.Context) (at gtid.Set, tables []string, err error)
}

// Engine runs the streams that write to one mysqld.
type Engine struct {
	cfg  Config
	deps Deps
	log  *slog.Logger
	pool *sqlconn.Pool

	sizes copySizes // of tests, if not the default

	ctx    context.Context // of everything that runs
	cancel context.CancelFunc
	done   sync.WaitGroup

	// reconciling is held while rows and controllers are brought in line: by the poll and by the verbs. It is taken
	// before mu. No controller takes it, so it may be held while one is stopped.
	reconciling sync.Mutex

	mu struct {
		sync.Mutex
		streams map[int64]*controller
	}
}

// NewEngine makes an engine; nothing runs before Start.
func NewEngine(cfg Config, deps Deps) *Engine {
	e := &Engine{cfg: cfg, deps: deps, log: cmp.Or(deps.Log, slog.Default()), sizes: defaultSizes}
	e.pool = sqlconn.NewPool(deps.Admin, adminConns)
	e.mu.streams = map[int64]*controller{}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e
}

// Start begins to run streams. mysqld need not be up, nor have the sidecar database: the engine waits for both.
func (e *Engine) Start(context.Context) error {
	e.done.Go(e.poll)
	return nil
}

// Stop ends all runs and waits for them. The rows stay as they are: streams go on when an engine starts again. Stopping
// twice is fine.
func (e *Engine) Stop() {
	e.cancel()
	e.done.Wait()
	e.reconciling.Lock()
	defer e.reconciling.Unlock()
	for _, c := range e.all() {
		c.stop(errStopping)
	}
	e.pool.Close()
}

var errStopping = errors.New("the tablet is stopping")

// poll brings rows and controllers in line, so that SQL on the row is as good as a call.
func (e *Engine) poll() {
	tick := time.NewTicker(pollPeriod)
	defer tick.Stop()
	told := ""
	workers := publisher{e: e}
	for {
		err := e.reconcile(e.ctx)
		if perr := workers.publish(e.ctx); perr != nil && e.ctx.Err() == nil {
			e.log.Debug("what the workers do is not written", "error", perr) // the next second has another
		}
		if e.ctx.Err() != nil {
			return
		}
		if text := errText(err); text != told {
			told = text
			if err != nil {
				e.log.Warn("streams: rows not read", "error", err)
			}
		}
		select {
		case <-e.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// reconcile starts and stops controllers until they agree with the rows.
func (e *Engine) reconcile(ctx context.Context) error {
	e.reconciling.Lock()
	defer e.reconciling.Unlock()
	return e.reconcileLocked(ctx)
}

func (e *Engine) reconcileLocked(ctx context.Context) error {
	if e.ctx.Err() != nil {
		return errStopping
	}
	var rows []*row
	var waiting map[int64]int64
	err := e.pool.Do(ctx, func(conn *sqlconn.Conn) (err error) {
		if rows, err = loadRows(ctx, conn, e.scope()); err == nil && e.newcomer(rows) {
			waiting, err = countContested(ctx, conn)
		}
		return err
	})
	if err != nil {
		return err
	}
	present := map[int64]bool{}
	for _, r := range rows {
		present[r.ID] = true
		e.know(r, waiting) // all of them before one runs: a stream asks how far its siblings are
	}
	for _, r := range rows {
		e.adopt(r, siblings(rows, r))
	}
	for _, c := range e.all() {
		if !present[c.id] {
			e.mu.Lock()
			delete(e.mu.streams, c.id)
			e.mu.Unlock()
			c.stop(errs.New(errs.NotFound, nil, "stream %d was deleted", c.id))
		}
	}
	return nil
}

// know makes a controller for a row, and tells one that does not run where its stream is.
func (e *Engine) know(r *row, waiting map[int64]int64) {
	e.mu.Lock()
	c := e.mu.streams[r.ID]
	if c == nil {
		c = newController(e, r.ID)
		e.mu.streams[r.ID] = c
	}
	e.mu.Unlock()
	c.label.Store(&r.Workflow)
	if c.running() {
		return
	}
	if waiting != nil {
		c.contested.Store(waiting[r.ID])
	}
	c.advance(r.Pos, r.Pos)
}

// newcomer says that a row has no controller yet.
func (e *Engine) newcomer(rows []*row) bool {
	for _, r := range rows {
		if e.stream(r.ID) == nil {
			return true
		}
	}
	return false
}

// adopt makes a controller do what its row says.
func (e *Engine) adopt(r *row, siblings []*row) {
	c := e.stream(r.ID)
	definition := r.definition()
	for _, s := range siblings {
		definition += "\x01" + s.definition()
	}
	switch {
	case !r.State.wanted():
		c.stop(notRunning(r))
	case !c.running() || c.definition != definition:
		c.stop(nil)
		c.definition, c.workflow, c.name = definition, r.Workflow, r.Source.name()
		c.start(e.ctx)
	}
}

// notRunning is what a waiter of a stopped stream hears.
func notRunning(r *row) error {
	text := fmt.Sprintf("stream %d of workflow %s from %s is %s", r.ID, r.Workflow, r.Source.name(), r.State)
	if r.Message != "" {
		text += ": " + r.Message
	}
	return errs.New(errs.StreamsNotRunning, nil, "%s", text)
}

// siblings are the other streams of the workflow.
func siblings(rows []*row, r *row) []*row {
	var others []*row
	for _, o := range rows {
		if o.Workflow == r.Workflow && o.ID != r.ID {
			others = append(others, o)
		}
	}
	return others
}

func (e *Engine) stream(id int64) *controller {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mu.streams[id]
}

// all returns the controllers in order of id.
func (e *Engine) all() []*controller {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]*controller, 0, len(e.mu.streams))
	for _, c := range e.mu.streams {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *controller) int { return cmp.Compare(a.id, b.id) })
	return all
}

// exec runs statements of state on a session of the pool, as one transaction.
func (e *Engine) exec(ctx context.Context, statements ...string) error {
	return e.pool.Do(ctx, func(conn *sqlconn.Conn) error { return execAll(ctx, conn, statements...) })
}

func execAll(ctx context.Context, conn *sqlconn.Conn, statements ...string) error {
	if len(statements) == 1 {
		_, err := conn.Exec(ctx, statements[0])
		return err
	}
	err := conn.ExecMulti(ctx, []byte("BEGIN;"+strings.Join(statements, ";")+";COMMIT"))
	if err != nil && !conn.Broken() {
		if _, rerr := conn.Exec(ctx, "ROLLBACK"); rerr != nil {
			return errors.Join(err, rerr)
		}
	}
	return err
}

func nowUS() int64 { return time.Now().UnixMicro() }
