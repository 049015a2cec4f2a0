package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	controlpb "braid/api/control"
	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
)

// Config says how large the demo is.
type Config struct {
	Rows    int // customers, and as many orders
	Writers int
	Seed    uint64
}

// Deps is the cluster that the demo drives.
type Deps struct {
	Control  controlpb.ControlClient
	Gate     *sql.DB // an application's view: one database, default keyspace commerce
	Progress *Progress
	// Shards opens the mysqld of a shard's primary itself, for the audit, without gate or tablet in between.
	Shards func(keyspace, shard string) (*sql.DB, error)
}

// Names of the workflows.
const (
	moveName    = "to_customer"
	reshardName = "split"
)

// Story is one run, step by step. Run tells the whole of it; tests tell parts of it, with accidents in between.
type Story struct {
	cfg    Config
	deps   Deps
	report *Report
	ledger *Ledger
	ws     *Writers
	loaded Loaded
	start  time.Time
}

// Run tells the story. The report is complete only when the error is nil; Report.OK says whether everything held.
func Run(ctx context.Context, cfg Config, deps Deps) (*Report, error) {
	s := NewStory(cfg, deps)
	s.report.expect = whole
	defer s.StopWriters()
	for _, step := range []func(context.Context) error{s.Prepare, s.Load, s.StartWriters, s.Move, s.Reshard, s.backAndForth} {
		if err := step(ctx); err != nil {
			return s.report, err
		}
	}
	if err := s.Audit(ctx, "-80", "80-"); err != nil {
		return s.report, err
	}
	return s.Report(), nil
}

// NewStory begins a run.
func NewStory(cfg Config, deps Deps) *Story {
	return &Story{cfg: cfg, deps: deps, report: &Report{APIVersion: "braid/v1"}, ledger: NewLedger(), start: time.Now()}
}

// Report judges what was measured so far.
func (s *Story) Report() *Report {
	s.report.Seconds = time.Since(s.start).Seconds()
	s.report.judge()
	return s.report
}

// StopWriters ends the writers, if there are any.
func (s *Story) StopWriters() {
	if s.ws != nil {
		s.ws.Stop()
	}
}

// Prepare creates tables and sequences in keyspace commerce, and the VSchemas.
func (s *Story) Prepare(ctx context.Context) error {
	s.deps.Progress.Say("creating tables and sequences in keyspace commerce")
	if _, err := s.deps.Control.ApplySchema(ctx, &controlpb.ApplySchemaRequest{Keyspace: "commerce", Sql: createTables}); err != nil {
		return fmt.Errorf("create tables: %w", errs.FromGRPC(err))
	}
	for ks, doc := range map[string]string{"commerce": commerceVSchema, "customer": customerUnshardedVSchema} {
		if _, err := s.deps.Control.ApplyVSchema(ctx, &controlpb.ApplyVSchemaRequest{Keyspace: ks, VschemaJson: doc}); err != nil {
			return fmt.Errorf("vschema of %s: %w", ks, errs.FromGRPC(err))
		}
	}
	db, err := s.deps.Shards("commerce", "0")
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.QueryRowContext(ctx, "SELECT @@version").Scan(&s.report.MySQL); err != nil {
		return fmt.Errorf("version of MySQL: %w", err)
	}
	return nil
}

// Load fills the tables through the gate.
func (s *Story) Load(ctx context.Context) error {
	s.deps.Progress.Say("loading %d customers and %d orders through the gate", s.cfg.Rows, s.cfg.Rows)
	bar := s.deps.Progress.Bar("load")
	done := make(chan int, 16)
	var counter sync.WaitGroup // one goroutine, which owns the bar and ends with the load
	counter.Go(func() {
		total := 0
		for n := range done {
			total += n
			bar.Set(int64(total), int64(2*s.cfg.Rows))
		}
		bar.Done()
	})
	loaded, err := load(ctx, s.deps.Gate, s.ledger, s.cfg.Rows, func(n int) { done <- n })
	close(done)
	counter.Wait()
	s.loaded, s.report.Customers, s.report.Orders = loaded, loaded.Customers, loaded.Orders
	return err
}

// StartWriters lets applications write from now to the audit.
func (s *Story) StartWriters(ctx context.Context) error {
	s.deps.Progress.Say("%d writers begin, and write until the end", s.cfg.Writers)
	s.ws = StartWriters(ctx, s.deps.Gate, s.ledger, s.cfg.Writers, s.loaded, s.cfg.Seed)
	return nil
}

// Move takes customer and corder to a keyspace of their own, switches, and completes.
func (s *Story) Move(ctx context.Context) error {
	s.deps.Progress.Say("move: customer and corder from commerce to customer/0")
	err := s.Copy(ctx, MoveRequest())
	if err != nil {
		return err
	}
	if err := s.Diff(ctx, moveName, "before the switch"); err != nil {
		return err
	}
	if err := s.traffic(ctx, moveName, "forward", "RDONLY", "REPLICA"); err != nil {
		return err
	}
	if err := s.traffic(ctx, moveName, "forward", "PRIMARY"); err != nil {
		return err
	}
	if err := s.followed(ctx, moveName); err != nil {
		return err
	}
	return s.Verb(ctx, moveName, "complete", func(ctx context.Context) (*controlpb.WorkflowReply, error) {
		return s.deps.Control.CompleteWorkflow(ctx, &controlpb.WorkflowRequest{Name: moveName})
	})
}

// Reshard splits the new keyspace in two.
func (s *Story) Reshard(ctx context.Context) error {
	s.deps.Progress.Say("reshard: customer/0 into -80 and 80-, by hash of customer_id")
	if _, err := s.deps.Control.ApplyVSchema(ctx, &controlpb.ApplyVSchemaRequest{Keyspace: "customer", VschemaJson: customerVSchema}); err != nil {
		return fmt.Errorf("vschema of customer: %w", errs.FromGRPC(err))
	}
	err := s.Copy(ctx, &controlpb.CreateWorkflowRequest{Name: reshardName, Type: "reshard", SourceKeyspace: "customer", TargetKeyspace: "customer",
		SourceShards: []string{"0"}, TargetShards: []string{"-80", "80-"}})
	if err != nil {
		return err
	}
	if err := s.Diff(ctx, reshardName, "before the switch"); err != nil {
		return err
	}
	for _, t := range []string{"RDONLY", "REPLICA", "PRIMARY"} {
		if err := s.traffic(ctx, reshardName, "forward", t); err != nil {
			return err
		}
	}
	return nil
}

// backAndForth reverses the traffic once, and switches again.
func (s *Story) backAndForth(ctx context.Context) error {
	s.deps.Progress.Say("reverse: traffic back to customer/0, then to the shards again")
	if err := s.traffic(ctx, reshardName, "reverse"); err != nil {
		return err
	}
	if err := s.Diff(ctx, reshardName, "reversed"); err != nil {
		return err
	}
	if err := s.traffic(ctx, reshardName, "forward"); err != nil {
		return err
	}
	if err := s.Diff(ctx, reshardName, "switched again"); err != nil {
		return err
	}
	return s.followed(ctx, reshardName)
}

// Copy creates a workflow and waits until its streams follow.
func (s *Story) Copy(ctx context.Context, req *controlpb.CreateWorkflowRequest) error {
	begun := time.Now()
	err := s.patiently(ctx, func() error {
		if _, err := s.deps.Control.CreateWorkflow(ctx, req); err != nil {
			return fmt.Errorf("create workflow %s: %w", req.Name, errs.FromGRPC(err))
		}
		return nil
	})
	if err != nil {
		return err
	}
	bar := s.deps.Progress.Bar("copy")
	var rows int64
	err = s.wait(ctx, req.Name, func(w *controlpb.Workflow) bool {
		rows = 0
		var total int64
		for _, st := range w.Streams {
			rows += st.RowsCopied
			total += max(st.RowsTotal, st.RowsCopied)
		}
		bar.Set(rows, total)
		return !w.Busy && w.State == "Running"
	})
	bar.Done()
	if err != nil {
		return err
	}
	took := time.Since(begun).Seconds()
	s.report.Copies = append(s.report.Copies, Copy{Workflow: req.Name, Rows: rows, Seconds: took, RowsPerSec: float64(rows) / took})
	s.deps.Progress.Say("copied %d rows in %.1f s", rows, took)
	return nil
}

// ErrUndone says that a switch failed and everything is as it was before it; it can be tried again.
var ErrUndone = errors.New("the switch was undone")

// MoveRequest is the workflow that takes customer and corder out of commerce, into a keyspace of their own.
func MoveRequest() *controlpb.CreateWorkflowRequest {
	return &controlpb.CreateWorkflowRequest{Name: moveName, Type: "move", SourceKeyspace: "commerce", TargetKeyspace: "customer",
		Tables: []string{"customer", "corder"}}
}

// settle is how long writers go on after a switch before its pause is read: a gap ends with the next acknowledged write.
const settle = time.Second

// Traffic switches (or reverses) some tablet types, none meaning all, and measures the writers' pause.
func (s *Story) Traffic(ctx context.Context, name, direction string, types ...string) error {
	begun := time.Now()
	err := s.Verb(ctx, name, direction+" switch", func(ctx context.Context) (*controlpb.WorkflowReply, error) {
		req := &controlpb.SwitchTrafficRequest{Name: name, TabletTypes: types}
		if direction == "reverse" {
			return s.deps.Control.ReverseTraffic(ctx, req)
		}
		return s.deps.Control.SwitchTraffic(ctx, req)
	})
	if err != nil {
		return err
	}
	ended := time.Now()
	pause(ctx, settle)
	w, err := s.show(ctx, name)
	if err != nil {
		return err
	}
	if len(types) == 0 {
		types = []string{"RDONLY", "REPLICA", "PRIMARY"}
	}
	sw := Switch{Workflow: name, Direction: direction, TabletTypes: types, PauseMS: float64(s.ws.LongestGap(begun, ended).Microseconds()) / 1000}
	if last := w.LastSwitch; last != nil {
		if last.Result != "done" {
			return fmt.Errorf("%w: %s of %s: %s", ErrUndone, direction, name, last.Error)
		}
		sw.FencedMS = last.FencedMs
	}
	s.report.Switches = append(s.report.Switches, sw)
	s.deps.Progress.Say("%s %s: %s, longest write pause %.0f ms", name, direction, strings.Join(types, " "), sw.PauseMS)
	return nil
}

// traffic is Traffic, tried again while nothing was switched because a part of the cluster was away.
func (s *Story) traffic(ctx context.Context, name, direction string, types ...string) error {
	return s.patiently(ctx, func() error { return s.Traffic(ctx, name, direction, types...) })
}

// patiently repeats what has done nothing because some part was away: for as long as patience lasts.
func (s *Story) patiently(ctx context.Context, fn func() error) error {
	begun, told := time.Now(), ""
	for {
		err := fn()
		if err == nil || !errors.Is(err, ErrUndone) && errs.RetryOf(err) != errs.RetrySafe || ctx.Err() != nil || time.Since(begun) > patience {
			return err
		}
		if text := err.Error(); text != told {
			told = text
			s.deps.Progress.Say("tried again: %s", text)
		}
		pause(ctx, time.Second)
	}
}

// Verb asks for something and waits until it has ended.
func (s *Story) Verb(ctx context.Context, name, what string, do func(context.Context) (*controlpb.WorkflowReply, error)) error {
	err := s.patiently(ctx, func() error {
		if _, err := do(ctx); err != nil {
			return fmt.Errorf("%s of %s: %w", what, name, errs.FromGRPC(err))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.wait(ctx, name, func(w *controlpb.Workflow) bool { return !w.Busy })
}

func (s *Story) followed(ctx context.Context, name string) error {
	w, err := s.show(ctx, name)
	if err != nil {
		return err
	}
	for _, st := range w.Streams {
		s.report.TransactionsFollowed += st.Transactions
	}
	return nil
}

func (s *Story) show(ctx context.Context, name string) (*controlpb.Workflow, error) {
	ctx, cancel := context.WithTimeout(ctx, timeouts.RPC)
	defer cancel()
	w, err := s.deps.Control.ShowWorkflow(ctx, &controlpb.ShowWorkflowRequest{Name: name})
	if err != nil {
		return nil, fmt.Errorf("show workflow %s: %w", name, errs.FromGRPC(err))
	}
	return w, nil
}

const (
	pollPeriod = 100 * time.Millisecond
	// patience is how long a controller may be away (restarting, electing) before the demo gives up on it.
	patience = time.Minute
)

// wait polls a workflow until done says so.
func (s *Story) wait(ctx context.Context, name string, done func(*controlpb.Workflow) bool) error {
	return poll(ctx, func() (bool, error) {
		w, err := s.show(ctx, name)
		switch {
		case err != nil:
			return false, err
		case w.State == "Error" && !w.Busy:
			return false, final{fmt.Errorf("workflow %s: %s", name, w.Message)}
		}
		return done(w), nil
	})
}

// final is an error that waiting does not mend.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// poll calls fn until it is done. Errors are borne for as long as patience lasts.
func poll(ctx context.Context, fn func() (bool, error)) error {
	var since time.Time
	for {
		done, err := fn()
		var end final
		switch {
		case errors.As(err, &end):
			return end.error
		case err == nil && done:
			return nil
		case err == nil:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) > patience:
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pause(ctx, pollPeriod)
	}
}

// Diff compares both sides while everything goes on.
func (s *Story) Diff(ctx context.Context, name, when string) error {
	begun := time.Now()
	var d *controlpb.Diff
	err := s.patiently(ctx, func() (err error) {
		if d, err = s.deps.Control.StartDiff(ctx, &controlpb.StartDiffRequest{Workflow: name, MaxReportRows: 5}); err != nil {
			return fmt.Errorf("diff of %s: %w", name, errs.FromGRPC(err))
		}
		return nil
	})
	if err != nil {
		return err
	}
	bar := s.deps.Progress.Bar("vdiff")
	uuid := d.Uuid
	err = poll(ctx, func() (bool, error) {
		rctx, cancel := context.WithTimeout(ctx, timeouts.RPC)
		defer cancel()
		if d, err = s.deps.Control.ShowDiff(rctx, &controlpb.ShowDiffRequest{Workflow: name, Uuid: uuid}); err != nil {
			return false, errs.FromGRPC(err)
		}
		var compared, total int64
		for _, t := range d.Tables {
			compared += t.RowsCompared
			total += max(t.RowsTotal, t.RowsCompared)
		}
		bar.Set(compared, total)
		if d.State == "error" {
			return false, final{fmt.Errorf("diff of %s: %s", name, d.Error)}
		}
		return d.State == "completed", nil
	})
	bar.Done()
	if err != nil {
		return err
	}
	result := Diff{Workflow: name, When: when, Seconds: time.Since(begun).Seconds()}
	for _, t := range d.Tables {
		result.Rows += t.RowsCompared
		result.Differences += t.Mismatched + t.ExtraSource + t.ExtraTarget
		for _, row := range t.Rows {
			s.report.Problems = append(s.report.Problems, fmt.Sprintf("%s %s: %s", t.Table, t.Source, row))
		}
	}
	s.report.Diffs = append(s.report.Diffs, result)
	s.deps.Progress.Say("vdiff of %s (%s): %d rows compared in %.1f s, %d differences", name, when, result.Rows, result.Seconds, result.Differences)
	return nil
}
