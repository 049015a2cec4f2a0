package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	controlpb "braid/api/control"
	"braid/internal/vreplication"
)

// makerFlags are what move and reshard share.
type makerFlags struct {
	keyspace, target           string
	sourceShards, targetShards []string
	tables                     []string
	stopped, dryRun, wait      bool
	timeout                    time.Duration
	throttle                   controlpb.Throttle
	replicaLag, commitLatency  time.Duration
	tabletTypes                []string
	copyReaders                int
}

func (a *app) moveCmd() *cobra.Command {
	var f makerFlags
	cmd := &cobra.Command{Use: "move NAME", Short: "Move tables to another keyspace, live", GroupID: "data", Args: exactArgs(1),
		Long: "Creates a workflow that copies tables from one keyspace to another and follows every later change.\n" +
			"Traffic stays where it is until `braid workflow switch NAME`.",
		Example: "  braid move orders --source commerce --target customer --tables customer,corder --wait",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.create(cmd.Context(), &f, &controlpb.CreateWorkflowRequest{Name: args[0], Type: "move", Throttle: f.bounds(),
				SourceKeyspace: f.keyspace, TargetKeyspace: f.target, Tables: f.tables, Stopped: f.stopped, DryRun: f.dryRun,
				TabletTypes: upper(f.tabletTypes), CopyReaders: int32(f.copyReaders)})
		}}
	cmd.Flags().StringVar(&f.keyspace, "source", "", "keyspace that has the tables")
	cmd.Flags().StringVar(&f.target, "target", "", "keyspace that gets them")
	cmd.Flags().StringSliceVar(&f.tables, "tables", nil, "tables to move (default: all but sequences)")
	a.makerFlags(cmd, &f)
	required(cmd, "source", "target")
	return cmd
}

func (a *app) reshardCmd() *cobra.Command {
	var f makerFlags
	cmd := &cobra.Command{Use: "reshard NAME", Short: "Split or merge the shards of a keyspace, live", GroupID: "data", Args: exactArgs(1),
		Example: "  braid reshard split --keyspace customer --source-shards 0 --target-shards -80,80- --wait",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.create(cmd.Context(), &f, &controlpb.CreateWorkflowRequest{Name: args[0], Type: "reshard", Throttle: f.bounds(),
				SourceKeyspace: f.keyspace, TargetKeyspace: f.keyspace, SourceShards: f.sourceShards, TargetShards: f.targetShards,
				Stopped: f.stopped, DryRun: f.dryRun, TabletTypes: upper(f.tabletTypes), CopyReaders: int32(f.copyReaders)})
		}}
	cmd.Flags().StringVar(&f.keyspace, "keyspace", "", "keyspace to reshard")
	cmd.Flags().StringSliceVar(&f.sourceShards, "source-shards", nil, "shards that serve now")
	cmd.Flags().StringSliceVar(&f.targetShards, "target-shards", nil, "shards that shall serve")
	a.makerFlags(cmd, &f)
	required(cmd, "keyspace", "source-shards", "target-shards")
	return cmd
}

func (a *app) makerFlags(cmd *cobra.Command, f *makerFlags) {
	cmd.Flags().BoolVar(&f.stopped, "stopped", false, "create the streams, but do not start them")
	cmd.Flags().BoolVar(&f.wait, "wait", false, "wait until the copy is done and the streams follow")
	timeoutFlag(cmd, &f.timeout)
	dryRunFlag(cmd, &f.dryRun)
	fl := cmd.Flags()
	fl.StringSliceVar(&f.tabletTypes, "tablet-types", nil, "tablets that the copy reads, in order of preference; what follows is read from the primary, if it is one of them "+
		"(default rdonly,replica,primary)")
	fl.IntVar(&f.copyReaders, "copy-readers", 0, "sessions that read the tables of a source at the same time (default 4)")
	fl.Int64Var(&f.throttle.SourceHistory, "max-source-history", 0, "pause the copy while the source's history list is longer (0: no bound, as below)")
	fl.DurationVar(&f.replicaLag, "max-replica-lag", 0, "pause the copy while a replica of the source's or the target's shard is further behind")
	fl.DurationVar(&f.commitLatency, "max-commit-latency", 0, "pause the copy while commits of the target take longer")
	fl.Int64Var(&f.throttle.ThreadsRunning, "max-threads-running", 0, "pause the copy while more threads run on the target")
	fl.StringVar(&f.throttle.Query, "throttle-query", "", "pause the copy while this query, run on the target, returns more than --throttle-query-max")
	fl.Float64Var(&f.throttle.QueryMax, "throttle-query-max", 0, "the bound of --throttle-query")
}

// bounds are those of the copy.
func (f *makerFlags) bounds() *controlpb.Throttle {
	f.throttle.ReplicaLagMs, f.throttle.CommitLatencyMs = f.replicaLag.Milliseconds(), f.commitLatency.Milliseconds()
	return &f.throttle
}

func required(cmd *cobra.Command, flags ...string) {
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, name := range flags {
			if !cmd.Flags().Changed(name) {
				return usageError{fmt.Errorf("%s needs --%s", cmd.CommandPath(), name)}
			}
		}
		return run(cmd, args)
	}
}

func timeoutFlag(cmd *cobra.Command, to *time.Duration) {
	cmd.Flags().DurationVar(to, "timeout", 10*time.Minute, "how long to wait; the cluster goes on afterwards")
}

func (a *app) create(ctx context.Context, f *makerFlags, req *controlpb.CreateWorkflowRequest) error {
	reply, err := call(ctx, a, func(ctx context.Context, c controlpb.ControlClient) (*controlpb.WorkflowReply, error) {
		return c.CreateWorkflow(ctx, req)
	})
	if err != nil {
		return err
	}
	if f.dryRun || !f.wait {
		return a.printReply(reply)
	}
	return a.waitWorkflow(ctx, req.Name, f.timeout, func(w *controlpb.Workflow) bool { return !w.Busy && w.State == "Running" })
}

func (a *app) workflowCmd() *cobra.Command {
	return noun("workflow", "Show, switch, reverse, complete or cancel a move or reshard", "data",
		a.workflowListCmd(), a.workflowShowCmd(), a.workflowWatchCmd(),
		a.workflowVerb("start", "Start the streams", false, controlpb.ControlClient.StartWorkflow),
		a.workflowVerb("stop", "Stop the streams; they keep their positions", false, controlpb.ControlClient.StopWorkflow),
		a.switchVerb("switch", "Send the traffic to the target", controlpb.ControlClient.SwitchTraffic),
		a.switchVerb("reverse", "Send the traffic back to the source", controlpb.ControlClient.ReverseTraffic),
		a.workflowVerb("complete", "End a switched workflow: drop what the source no longer needs", true, controlpb.ControlClient.CompleteWorkflow),
		a.workflowVerb("cancel", "End a workflow that has not switched writes: drop the copy", true, controlpb.ControlClient.CancelWorkflow),
		a.diffCmd())
}

func (a *app) workflowListCmd() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List workflows", Args: exactArgs(0), RunE: func(cmd *cobra.Command, _ []string) error {
		resp, err := call(cmd.Context(), a, func(ctx context.Context, c controlpb.ControlClient) (*controlpb.ListWorkflowsResponse, error) {
			return c.ListWorkflows(ctx, &controlpb.ListWorkflowsRequest{})
		})
		if err != nil {
			return err
		}
		if a.output == "json" {
			return printProto(a.out, resp)
		}
		t := newTable(a.out, "NAME", "TYPE", "FROM", "TO", "STATE", "SERVING", "MESSAGE")
		for _, w := range resp.Workflows {
			t.row(w.Name, w.Type, side(w.SourceKeyspace, w.SourceShards), side(w.TargetKeyspace, w.TargetShards), w.State, serving(w), w.Message)
		}
		return t.flush()
	}}
}

func side(keyspace string, shards []string) string { return keyspace + "/" + strings.Join(shards, ",") }

func serving(w *controlpb.Workflow) string {
	var parts []string
	for _, t := range []string{"RDONLY", "REPLICA", "PRIMARY"} {
		if s := w.Serving[t]; s != "" {
			parts = append(parts, t+":"+s)
		}
	}
	return strings.Join(parts, " ")
}

func (a *app) showWorkflow(ctx context.Context, name string) (*controlpb.Workflow, error) {
	return call(ctx, a, func(ctx context.Context, c controlpb.ControlClient) (*controlpb.Workflow, error) {
		return c.ShowWorkflow(ctx, &controlpb.ShowWorkflowRequest{Name: name})
	})
}

func (a *app) workflowShowCmd() *cobra.Command {
	return &cobra.Command{Use: "show NAME", Short: "Show one workflow: state, streams, history", Args: exactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		w, err := a.showWorkflow(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if a.output == "json" {
			return printProto(a.out, w)
		}
		return printWorkflow(a.out, w)
	}}
}

func printWorkflow(out io.Writer, w *controlpb.Workflow) error {
	fmt.Fprintf(out, "%s  %s  %s → %s\n", w.Name, w.Type, side(w.SourceKeyspace, w.SourceShards), side(w.TargetKeyspace, w.TargetShards))
	fmt.Fprintf(out, "tables     %s\n", strings.Join(w.Tables, ", "))
	fmt.Fprintf(out, "state      %s%s\n", w.State, map[bool]string{true: " (" + w.Step + ")"}[w.Busy])
	fmt.Fprintf(out, "direction  %s\n", w.Direction)
	fmt.Fprintf(out, "serving    %s\n", serving(w))
	if w.Message != "" {
		fmt.Fprintf(out, "message    %s\n", w.Message)
	}
	if s := w.LastSwitch; s != nil {
		killed := ""
		if s.Killed > 0 {
			killed = fmt.Sprintf(", %d open transactions rolled back", s.Killed)
		}
		fmt.Fprintf(out, "last switch %s %s: %s, writes held %.0f ms%s %s\n", s.Direction, strings.Join(s.TabletTypes, ","), s.Result, s.FencedMs, killed, s.Error)
	}
	fmt.Fprintln(out)
	t := newTable(out, "STREAM", "FROM", "TO", "READS", "STATE", "ROWS", "TRANSACTIONS", "LAG", "MESSAGE")
	for _, s := range w.Streams {
		t.row(fmt.Sprintf("%s:%d", s.Tablet, s.Id), s.Source, s.Target, s.ReadsFrom, s.State, fmt.Sprintf("%d/%d", s.RowsCopied, max(s.RowsTotal, s.RowsCopied)), s.Transactions, lag(s.LagMs), s.Message)
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, s := range w.Streams {
		if s.Copy == nil {
			continue
		}
		var tables []vreplication.TableView
		for _, t := range s.Tables {
			tables = append(tables, vreplication.TableView{Table: t.Table, RowsCopied: t.RowsCopied, RowsTotal: t.RowsTotal, BytesCopied: t.BytesCopied, Done: t.Done})
		}
		if err := printTables(out, tables); err != nil {
			return err
		}
	}
	if len(w.History) > 0 {
		fmt.Fprintln(out)
	}
	for _, e := range w.History {
		fmt.Fprintf(out, "%s  %-22s %s\n", time.UnixMicro(e.AtUs).Format("15:04:05.000"), e.Step, e.Text)
	}
	return nil
}

func (a *app) workflowWatchCmd() *cobra.Command {
	return &cobra.Command{Use: "watch NAME", Short: "Follow a workflow until it has nothing under way", Args: exactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		return a.waitWorkflow(cmd.Context(), args[0], 0, func(w *controlpb.Workflow) bool { return !w.Busy && w.State != "Copying" })
	}}
}

type verbCall func(controlpb.ControlClient, context.Context, *controlpb.WorkflowRequest, ...grpc.CallOption) (*controlpb.WorkflowReply, error)

func (a *app) workflowVerb(verb, short string, destroys bool, do verbCall) *cobra.Command {
	var dryRun, keepData bool
	var timeout time.Duration
	cmd := &cobra.Command{Use: verb + " NAME", Short: short, Args: exactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		if destroys && !dryRun && !keepData {
			if err := a.confirm(cmd, fmt.Sprintf("%s workflow %s? Tables are dropped (--keep-data keeps them, --dry-run shows which).", verb, args[0])); err != nil {
				return err
			}
		}
		reply, err := call(cmd.Context(), a, func(ctx context.Context, c controlpb.ControlClient) (*controlpb.WorkflowReply, error) {
			return do(c, ctx, &controlpb.WorkflowRequest{Name: args[0], DryRun: dryRun, KeepData: keepData})
		})
		if err != nil {
			return err
		}
		if dryRun {
			return a.printReply(reply)
		}
		return a.waitVerb(cmd.Context(), args[0], timeout, reply)
	}}
	if destroys {
		cmd.Flags().BoolVar(&keepData, "keep-data", false, "leave the tables")
	}
	timeoutFlag(cmd, &timeout)
	dryRunFlag(cmd, &dryRun)
	return cmd
}

type switchCall func(controlpb.ControlClient, context.Context, *controlpb.SwitchTrafficRequest, ...grpc.CallOption) (*controlpb.WorkflowReply, error)

func (a *app) switchVerb(verb, short string, do switchCall) *cobra.Command {
	var types []string
	var dryRun bool
	var maxLag, timeout time.Duration
	cmd := &cobra.Command{Use: verb + " NAME", Short: short, Args: exactArgs(1),
		Example: fmt.Sprintf("  braid workflow %s split --tablet-types rdonly,replica\n  braid workflow %s split --dry-run", verb, verb),
		RunE: func(cmd *cobra.Command, args []string) error {
			reply, err := call(cmd.Context(), a, func(ctx context.Context, c controlpb.ControlClient) (*controlpb.WorkflowReply, error) {
				return do(c, ctx, &controlpb.SwitchTrafficRequest{Name: args[0], TabletTypes: upper(types), DryRun: dryRun, MaxLagMs: maxLag.Milliseconds()})
			})
			if err != nil {
				return err
			}
			if dryRun {
				return a.printReply(reply)
			}
			return a.waitVerb(cmd.Context(), args[0], timeout, reply)
		}}
	cmd.Flags().StringSliceVar(&types, "tablet-types", nil, "rdonly, replica, primary (default: all that are not there yet)")
	cmd.Flags().DurationVar(&maxLag, "max-lag", 0, "refuse to switch writes when a stream is further behind (default 10s)")
	timeoutFlag(cmd, &timeout)
	dryRunFlag(cmd, &dryRun)
	return cmd
}

func upper(in []string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = strings.ToUpper(s)
	}
	return out
}

func (a *app) printReply(reply *controlpb.WorkflowReply) error {
	if a.output == "json" {
		return printProto(a.out, reply)
	}
	printSteps(a.out, reply.Steps)
	return nil
}

// waitVerb follows a verb to its end and prints the outcome.
func (a *app) waitVerb(ctx context.Context, name string, timeout time.Duration, reply *controlpb.WorkflowReply) error {
	if !reply.Changed {
		if a.output == "json" {
			return printProto(a.out, reply)
		}
		fmt.Fprintln(a.err, "nothing was changed: it is so already")
		return nil
	}
	return a.waitWorkflow(ctx, name, timeout, func(w *controlpb.Workflow) bool { return !w.Busy })
}

const watchPeriod = 500 * time.Millisecond

// waitWorkflow prints progress until done says so. A verb that ended undone is a failure.
func (a *app) waitWorkflow(ctx context.Context, name string, timeout time.Duration, done func(*controlpb.Workflow) bool) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, errTimedOut)
		defer cancel()
	}
	tick := time.NewTicker(watchPeriod)
	defer tick.Stop()
	var last string
	for {
		w, err := a.showWorkflow(ctx, name)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil {
			if line := progressLine(w); line != last {
				fmt.Fprintln(a.err, line)
				last = line
			}
			if done(w) {
				return a.outcome(w)
			}
			if w.State == "Error" {
				return fmt.Errorf("workflow %s: %s", name, w.Message)
			}
		}
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), errTimedOut) {
				return exitError{5, fmt.Errorf("workflow %s is not done after %s; the cluster goes on: `braid workflow watch %s`", name, timeout, name)}
			}
			return errInterrupted
		case <-tick.C:
		}
	}
}

var errTimedOut = errors.New("timed out")

func (a *app) outcome(w *controlpb.Workflow) error {
	if a.output == "json" {
		if err := printProto(a.out, w); err != nil {
			return err
		}
	}
	if s := w.LastSwitch; s != nil && s.Result == "undone" && w.State != "Switched" {
		return fmt.Errorf("workflow %s: the switch was undone, traffic is where it was: %s", w.Name, s.Error)
	}
	if a.output != "json" {
		fmt.Fprintf(a.out, "%s: %s  %s\n", w.Name, w.State, serving(w))
	}
	return nil
}

func progressLine(w *controlpb.Workflow) string {
	var copied, total, lagMS int64
	for _, s := range w.Streams {
		copied += s.RowsCopied
		total += max(s.RowsTotal, s.RowsCopied)
		lagMS = max(lagMS, s.LagMs)
	}
	line := fmt.Sprintf("%s: %s", w.Name, w.State)
	if w.Busy {
		line += " (" + w.Step + ")"
	}
	if w.State == "Copying" && total > 0 {
		line += fmt.Sprintf("  %d of %d rows, %d %%", copied, total, 100*copied/total)
	}
	if w.Message != "" {
		line += "  " + w.Message
	}
	return line
}
