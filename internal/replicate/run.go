package replicate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/base/retry"
	"braid/internal/base/timeouts"
	"braid/internal/binlog"
	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/sqlconn"
	"braid/internal/throttle"
	"braid/internal/topo"
	"braid/internal/vreplication"
	"braid/internal/vstream"
)

// lookPeriod is how often the stream is looked at; reports are made as often.
const lookPeriod = 500 * time.Millisecond

// ringBytes is little, because one stream reads the source: what it has passed serves nobody, and memory that was never used costs more
// than memory that is used again.
const ringBytes = 8 << 20

// Deps is what Run reports to.
type Deps struct {
	Log    *slog.Logger
	Report func(Status) // called by Run, every half second and at its end; nil: nobody looks
	// Metrics gets the stream's collector while there is one; nil: nobody looks.
	Metrics prometheus.Registerer
}

// Run replicates until ctx ends, which is no error, until the position is reached that it was asked to stop at, or until something needs a
// person.
func Run(ctx context.Context, cfg Config, deps Deps) error {
	rules, err := cfg.Validate()
	if err != nil {
		return err
	}
	if deps.Log == nil {
		deps.Log = slog.Default()
	}
	if deps.Report == nil {
		deps.Report = func(Status) {}
	}
	if deps.Metrics == nil {
		deps.Metrics = prometheus.NewRegistry()
	}
	r := &replication{cfg: cfg, rules: rules, log: deps.Log.With("name", cfg.Name), report: deps.Report, metrics: deps.Metrics,
		mark: fmt.Sprintf("braid_replicate_run_%016x", rand.Uint64())}
	defer r.close()
	if err = r.beginPatiently(ctx); err == nil {
		err = r.follow(ctx)
	}
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}

// replication is a Run.
type replication struct {
	cfg    Config
	rules  filter.Rules
	log    *slog.Logger
	report func(Status)

	source *sqlconn.Conn // for questions
	admin  *sqlconn.Conn // of the target; it holds the lock of the name
	local  *vstream.Local
	engine *vreplication.Engine
	plan   *plan
	meter  meter

	reached bool   // both servers have answered
	mark    string // name of a lock that the session with the lock of the name has, too, and no session of another run
	metrics prometheus.Registerer

	lockedAt   time.Time // the session with the lock was looked at
	triggersAt time.Time // triggers were looked for
	copying    bool      // tables were not copied then
}

func (r *replication) close() {
	if r.engine != nil {
		r.metrics.Unregister(r.engine)
		r.engine.Stop()
	}
	if r.local != nil {
		r.local.Close()
	}
	for _, conn := range []*sqlconn.Conn{r.source, r.admin} {
		if conn != nil {
			conn.Close()
		}
	}
	r.engine, r.local, r.source, r.admin = nil, nil, nil, nil
}

// beginPatiently begins, and again when a server goes away that was there: another attempt finds what was made so far. A server that was not reached at
// all is one that was named wrongly.
func (r *replication) beginPatiently(ctx context.Context) (err error) {
	for pause := (retry.Backoff{}); pause.Wait(ctx); {
		if err = r.begin(ctx); err == nil || !r.passes(err) {
			return err
		}
		r.close()
		r.log.Warn("cannot begin yet, it is tried again", "error", err)
		r.report(Status{Time: time.Now(), Name: r.cfg.Name, State: vreplication.Init.String(), Message: trouble(err), LagMS: -1, BehindGTIDs: -1})
	}
	return cmp.Or(ctx.Err(), err)
}

// notNow is an error of a server that was ready when the run began.
type notNow struct{ error }

func (n notNow) Unwrap() error { return n.error }

func (r *replication) passes(err error) bool {
	if _, ok := errors.AsType[notNow](err); ok {
		return true
	}
	if sqlconn.ErrCode(err) != 0 { // it has answered
		return vreplication.Passes(err)
	}
	return r.reached && (errors.Is(err, sqlconn.ErrLost) || errors.Is(err, errs.MySQLUnreachable))
}

// trouble is the message of an error that is waited out.
func trouble(err error) string {
	if e, ok := errors.AsType[notNow](err); ok {
		return fmt.Sprintf("%v; %s; then it goes on by itself", err, strings.Join(errs.Of(e.error).NextSteps(), "; "))
	}
	return vreplication.Trouble(err)
}

// begin checks both sides, makes what is missing, and starts the stream.
func (r *replication) begin(ctx context.Context) error {
	uuid, err := r.checkSource(ctx)
	if err != nil {
		return err
	}
	if err := r.openTarget(ctx, uuid); err != nil {
		return err
	}
	r.local = vstream.NewLocal(vstream.LocalConfig{DB: r.cfg.Source, RingBytes: ringBytes}, r.log)
	now, err := newPlan(ctx, r.source, r.local, r.rules)
	if err != nil {
		return err
	}
	if err := r.inherit(ctx, now); err != nil {
		return err
	}
	r.plan = now
	begun, err := r.begun(ctx)
	if err != nil {
		return err
	}
	if err := r.checkPlan(ctx, uuid, begun); err != nil {
		return err
	}
	if err := r.define(ctx); err != nil {
		return err
	}
	return r.start(ctx)
}

// checkSource connects, and returns the server's UUID.
func (r *replication) checkSource(ctx context.Context) (uuid string, err error) {
	plain := r.cfg.Source
	plain.Plain = true // so that a server of another kind comes as far as to be told so
	if r.source, err = sqlconn.Dial(ctx, plain); err != nil {
		return "", errs.New(errs.MySQLUnreachable, err, "source")
	}
	missing, err := binlog.Check(ctx, r.source)
	if err != nil {
		return "", fmt.Errorf("source: %w", err)
	}
	if err := binlog.Preconditions(r.cfg.Source.Addr, missing); err != nil {
		return "", err
	}
	r.source.Close()
	if r.source, err = sqlconn.Dial(ctx, r.cfg.Source); err != nil {
		return "", errs.New(errs.MySQLUnreachable, err, "source")
	}
	res, err := r.source.Query(ctx, "SELECT @@server_uuid")
	if err != nil {
		return "", fmt.Errorf("source: %w", err)
	}
	return string(res.Rows[0][0]), nil
}

// openTarget connects, checks what can be checked without the tables, and takes the lock of the name.
func (r *replication) openTarget(ctx context.Context, sourceUUID string) error {
	plain := r.cfg.Target
	plain.Plain = true
	conn, err := sqlconn.Dial(ctx, plain)
	if err != nil {
		return errs.New(errs.MySQLUnreachable, err, "target")
	}
	all, err := CheckTarget(ctx, conn, sourceUUID, nil)
	conn.Close()
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	if err := Unready(r.cfg.Target.Addr, all); err != nil {
		if r.reached {
			return notNow{err}
		}
		return err
	}
	if r.admin, err = sqlconn.Dial(ctx, r.cfg.Target); err != nil {
		return errs.New(errs.MySQLUnreachable, err, "target")
	}
	r.reached = true
	return r.lock(ctx)
}

// begun says that the stream exists: then its tables on the target are its own.
func (r *replication) begun(ctx context.Context) (bool, error) {
	res, err := r.admin.Query(ctx, "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA='_braid' AND TABLE_NAME='vreplication'")
	if err != nil || len(res.Rows) == 0 {
		return false, err
	}
	res, err = r.admin.Query(ctx, "SELECT pos<>'' FROM _braid.vreplication WHERE db_name='' AND workflow="+sqlconn.Quote(r.cfg.Name))
	return err == nil && len(res.Rows) > 0 && string(res.Rows[0][0]) == "1", err
}

func (r *replication) checkPlan(ctx context.Context, sourceUUID string, begun bool) error {
	if !begun {
		if err := r.checkSelected(ctx); err != nil {
			return err
		}
	}
	if err := r.plan.checkSource(begun || r.cfg.WithoutKey != vreplication.RefuseKeyless); err != nil {
		return err
	}
	if r.cfg.WithoutKey == vreplication.LockKeyless && !begun {
		if err := r.checkLock(ctx); err != nil {
			return err
		}
	}
	all, err := CheckTarget(ctx, r.admin, sourceUUID, r.plan.databases())
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	if err := Unready(r.cfg.Target.Addr, all); err != nil {
		return err
	}
	for _, p := range all {
		if p.Status == binlog.Advised {
			r.log.Warn("target: "+p.Name+" is "+p.Have, "why", p.Why, "remedy", p.Remedy)
		}
	}
	if begun {
		return r.plan.checkTriggers(ctx, r.admin)
	}
	if err := r.plan.checkNames(); err != nil {
		return err
	}
	if err := r.plan.compare(ctx, r.admin); err != nil {
		return err
	}
	if err := r.checkCascades(ctx); err != nil {
		return err
	}
	return r.checkRows(ctx, r.admin, r.plan)
}

// checkLock asks whether tables without a key may be locked on the source.
func (r *replication) checkLock(ctx context.Context) error {
	account, granted, err := readGrants(ctx, r.source)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	var missing []binlog.Precondition
	for _, t := range r.plan.tables {
		on := sqlconn.QuoteIdent(escapeWild(t.source.DB)) + ".*"
		p := binlog.Precondition{Name: "privilege on " + on, Have: "missing", Want: "LOCK TABLES", Remedy: fmt.Sprintf("GRANT LOCK TABLES ON %s TO %s;", on, quoteAccount(account))}
		if t.keyless() && !granted.on(t.source.DB, "LOCK TABLES") && !slices.Contains(missing, p) {
			missing = append(missing, p)
		}
	}
	return binlog.Preconditions(r.cfg.Source.Addr, missing)
}

// checkRows refuses tables of the target that have rows, or that others write to, unless the user lets them be overwritten.
func (r *replication) checkRows(ctx context.Context, target *sqlconn.Conn, p *plan) error {
	strict := p.tables
	if r.cfg.AllowNonEmpty { // a table without a key is replaced as a whole, so nobody else's rows can stay
		strict = slices.DeleteFunc(slices.Clone(strict), func(t *table) bool { return !t.keyless() })
	}
	if err := checkWriters(ctx, target, strict, r.cfg.Name); err != nil {
		return err
	}
	return checkEmpty(ctx, target, strict)
}

// checkSelected refuses names that the source does not have, and a selection of nothing.
func (r *replication) checkSelected(ctx context.Context) error {
	res, err := r.source.Query(ctx, "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA")
	if err != nil {
		return fmt.Errorf("databases of the source: %w", err)
	}
	var databases []string
	for _, row := range res.Rows {
		databases = append(databases, string(row[0]))
	}
	if lack := r.cfg.Selection.missing(r.plan, databases); len(lack) > 0 {
		return errs.New(errs.BadInput, nil, "the source does not have %s (or its account may not see it)", strings.Join(lack, ", "))
	}
	if len(r.plan.tables) == 0 {
		return errs.New(errs.BadInput, nil, "the selection has no table on the source (or its account may not see any)")
	}
	return nil
}

// define makes the sidecar database, and what is missing of databases and tables. Of a stream that has begun, tables that are gone are not
// made again: their rows would be missing.
func (r *replication) define(ctx context.Context) error {
	if err := vreplication.InitSidecar(ctx, r.admin); err != nil {
		return fmt.Errorf("target: %w", err)
	}
	begun, err := r.begun(ctx)
	if err != nil || begun {
		return err
	}
	d, err := newDefiner(ctx, r.cfg.Target, r.log)
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	defer d.close()
	if err := d.databases(ctx, r.source, r.plan); err != nil {
		return err
	}
	return r.makeTables(ctx, r.plan)
}

// inherit takes over what this process has made on the target by the plan before, and drops what the source defines otherwise now.
func (r *replication) inherit(ctx context.Context, now *plan) error {
	if r.plan == nil || !slices.ContainsFunc(r.plan.tables, func(t *table) bool { return t.made }) {
		return nil
	}
	d, err := newDefiner(ctx, r.cfg.Target, r.log)
	if err != nil {
		return err
	}
	defer d.close()
	return d.inherit(ctx, r.plan, now)
}

// Names of the source in the stream's row. A stream of a cluster has its keyspace and shard there.
const (
	sourceKeyspace = "source"
	sourceShard    = "-"
)

func (r *replication) start(ctx context.Context) error {
	r.engine = vreplication.NewEngine(vreplication.Config{Workflow: r.cfg.Name}, vreplication.Deps{
		Admin: r.cfg.Target,
		OpenSource: func(context.Context, string, string, []topo.TabletType) (vstream.Source, error) {
			return r.local, nil
		},
		Log:    r.log,
		Begins: r.settle,
		Probes: func(string, string, throttle.Limits) []throttle.Probe {
			return r.cfg.Throttle.Probes(r.cfg.Source, r.cfg.Target)
		},
	})
	if err := r.metrics.Register(r.engine); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	_, err := r.engine.Put(ctx, vreplication.Spec{
		Workflow: r.cfg.Name, Keyspace: sourceKeyspace, Shard: sourceShard, Rules: r.rules, OnDDL: r.cfg.OnDDL, Workers: r.cfg.Workers,
		Parallel: r.cfg.Parallel, CommitOrder: r.cfg.CommitOrder, Delay: r.cfg.Delay, WithoutKey: r.cfg.WithoutKey, CopyReaders: r.cfg.CopyReaders, MaxTPS: r.cfg.MaxTPS, MaxLag: r.cfg.MaxLag, StopPos: r.cfg.StopAt, Skip: r.cfg.Skip, NonEmpty: r.cfg.AllowNonEmpty,
	})
	if err != nil {
		return err
	}
	return r.engine.Start(ctx)
}

// follow looks at the stream until it ends, or shall.
func (r *replication) follow(ctx context.Context) error {
	tick := time.NewTicker(lookPeriod)
	defer tick.Stop()
	var goal gtid.Set // of Once
	var last Status
	told := ""
	for {
		stream, err := r.look(ctx)
		if err == nil {
			last, told = r.status(ctx, stream), ""
			r.report(last)
			done, err := r.ended(ctx, stream, &goal)
			if err != nil {
				return err
			}
			if done || time.Since(r.triggersAt) >= triggerPeriod {
				err = r.checkLateTriggers(ctx, stream)
			}
			if err == nil && !done {
				err = r.keepLock(ctx)
			}
			if done || err != nil {
				return errors.Join(err, r.stop(ctx))
			}
		} else if ctx.Err() == nil {
			if text := err.Error(); text != told {
				told = text
				r.log.Warn("the stream's row cannot be read", "error", err)
			}
			r.report(last.unread(err))
		}
		if !r.near(ctx, stream, goal) {
			select {
			case <-ctx.Done():
				return r.stop(ctx)
			case <-tick.C:
			}
		}
	}
}

// triggerPeriod is how often triggers are looked for that somebody makes on the target while the stream runs.
const triggerPeriod = 2 * time.Second

// checkLateTriggers refuses triggers that fire for what is written.
func (r *replication) checkLateTriggers(ctx context.Context, s *tabletpb.StreamStatus) error {
	r.triggersAt = time.Now()
	fire := r.firing(s)
	if len(fire) == 0 {
		return nil
	}
	conn, err := sqlconn.Dial(ctx, r.cfg.Target)
	if err != nil {
		return nil //nolint:nilerr // the target is away for now; the stream's message says so
	}
	defer conn.Close()
	err = checkTriggers(ctx, conn, fire)
	if e, ok := errors.AsType[*errs.Error](err); ok {
		return e.With(append(e.Steps, "compare these tables with the source's: rows that were written since the triggers were made may differ")...)
	}
	return nil
}

// firing are the tables of the target for which triggers would fire: those that are written with SQL statements, and all until they are copied, because
// rows that are copied are. Row events fire none.
func (r *replication) firing(s *tabletpb.StreamStatus) map[tableName]bool {
	var names []string
	for _, w := range r.engine.Writers(s.Id) {
		if w.Writer == "sql" {
			names = append(names, w.Table)
		}
	}
	copying := s.State == vreplication.Init.String() || slices.ContainsFunc(s.Tables, func(t *tabletpb.TableCopy) bool { return !t.Done })
	if copying || r.copying { // since triggers were looked for
		for _, t := range s.Tables {
			names = append(names, t.Table)
		}
	}
	r.copying = copying
	fire := map[tableName]bool{}
	for _, name := range names {
		db, table := r.rules.Split(name)
		if rule := r.rules.Match(db, table); rule != nil {
			fire[tableName{cmp.Or(rule.TargetDB, db), cmp.Or(rule.Target, table)}] = true
		}
	}
	return fire
}

// near waits for the goal, at most until the next look; the commit that reaches it wakes the wait.
func (r *replication) near(ctx context.Context, s *tabletpb.StreamStatus, goal gtid.Set) bool {
	if s == nil || goal.Empty() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, lookPeriod)
	defer cancel()
	_, err := r.engine.WaitForPosition(ctx, r.cfg.Name, map[int64]string{s.Id: goal.String()})
	return err == nil
}

// stop ends the stream on a complete prefix, and reports that. If that takes too long, the target may lack transactions before others that
// it has (in commit order relaxed); the next run adds them.
func (r *replication) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeouts.Quiesce)
	defer cancel()
	if err := r.engine.Quiesce(ctx); err != nil {
		r.log.Warn("not all that was received is applied; the next run goes on there", "error", err)
	}
	s, err := r.look(ctx)
	if err != nil {
		return fmt.Errorf("where the stream has ended: %w", err)
	}
	out := r.status(ctx, s)
	out.Final = true
	r.report(out)
	r.log.Info("stopped", "position", s.Position)
	return nil
}

func (r *replication) look(ctx context.Context) (*tabletpb.StreamStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, timeouts.StreamSilence) // a target that is cut off says nothing
	defer cancel()
	streams, err := r.engine.List(ctx, r.cfg.Name)
	if err != nil {
		return nil, err
	}
	if len(streams) != 1 {
		return nil, errs.New(errs.NotFound, nil, "stream %s on %s: its row was deleted", r.cfg.Name, r.cfg.Target.Addr)
	}
	return streams[0], nil
}

// again says how tables are copied again, where a message says that they must be.
func (r *replication) again(message string) []string {
	if !strings.Contains(strings.ToLower(message), "copy the tables again") {
		return nil
	}
	return []string{fmt.Sprintf("To copy the tables again: empty them on the target, run there DELETE FROM _braid.vreplication WHERE workflow=%s AND db_name=''; then run the same command.", sqlconn.Quote(r.cfg.Name))}
}

var failedTransaction = regexp.MustCompile(`transaction ([0-9a-f-]{36}:[a-z0-9_:]*[0-9])\b`)

// mend says what to do about a message that does not say it.
func mend(text string) []string {
	steps := []string{"mend on the target what the message names, then run the same command again: it goes on where it stopped"}
	if m := failedTransaction.FindStringSubmatch(text); m != nil {
		steps = append(steps, "or count the transaction as applied, without applying any of it: the same command with --skip "+m[1])
	}
	return steps
}

// ended says whether there is nothing more to do.
func (r *replication) ended(ctx context.Context, s *tabletpb.StreamStatus, goal *gtid.Set) (bool, error) {
	switch s.State {
	case vreplication.Error.String():
		text, steps, _ := strings.Cut(s.Message, " | ")
		next := strings.Split(steps, " | ")
		if steps == "" || steps == errs.StreamFailed.Remedy { // which is for workflows
			next = mend(text)
		}
		return true, errs.New(errs.StreamFailed, nil, "%s", text).With(append(next, r.again(s.Message)...)...)
	case vreplication.Stopped.String():
		if r.cfg.StopAt.Empty() {
			r.log.Info("the stream was stopped", "message", s.Message)
		}
		return true, nil
	}
	if !r.cfg.Once || !slices.Contains([]string{vreplication.Running.String(), vreplication.Lagging.String()}, s.State) {
		return false, nil
	}
	if goal.Empty() {
		executed, err := r.executed(ctx)
		if err != nil {
			return false, nil //nolint:nilerr // the source is away for now; the stream's message says so
		}
		*goal = executed
	}
	position, err := gtid.Parse(s.Position)
	if err != nil {
		return false, err
	}
	return position.Contains(*goal), nil
}
