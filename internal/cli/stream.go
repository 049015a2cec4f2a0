package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	controlpb "braid/api/control"
	"braid/internal/base/errs"
	"braid/internal/sqlconn"
	"braid/internal/vreplication"
)

func (a *app) streamCmd() *cobra.Command {
	var target string
	show := &cobra.Command{
		Use:   "show [WORKFLOW] [--target DSN]",
		Short: "The streams of a target: state, position, workers, last events",
		Long: "Of a MySQL server (--target): everything that is stored about its streams, and what the sessions of their workers do now; --output json has all of it.\n" +
			"Without --target: the streams of a cluster's workflows, as the controller sees them.",
		Example: "  BRAID_TARGET='@/etc/braid/target.dsn' braid stream show\n  braid stream show orders --target 'braid@tcp(db2)/' --output json",
		Args:    atMostArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			workflow := ""
			if len(args) == 1 {
				workflow = args[0]
			}
			if target == "" {
				return a.clusterStreams(cmd.Context(), workflow)
			}
			return a.targetStreams(cmd.Context(), target, workflow)
		}}
	show.Flags().StringVar(&target, "target", env("BRAID_TARGET", ""), "the server: "+dsnForm+", or @file (also in BRAID_TARGET; password also in BRAID_TARGET_PASSWORD)")
	return noun("stream", "Streams and their workers", "look", show)
}

// targetStreams reads them from the server that they write to.
func (a *app) targetStreams(ctx context.Context, dsn, workflow string) error {
	cfg, err := readDSN("target", dsn, "BRAID_TARGET_PASSWORD")
	if err != nil {
		return err
	}
	conn, err := sqlconn.Dial(ctx, cfg)
	if err != nil {
		return errs.New(errs.MySQLUnreachable, err, "target")
	}
	defer conn.Close()
	views, err := vreplication.Show(ctx, conn, workflow)
	if err != nil {
		return fmt.Errorf("streams of %s: %w", cfg.Addr, err)
	}
	if workflow != "" && len(views) == 0 {
		return errs.New(errs.NotFound, nil, "stream %s on %s", workflow, cfg.Addr)
	}
	if err := vreplication.Rates(ctx, conn, views, ratePeriod); err != nil {
		return fmt.Errorf("streams of %s: %w", cfg.Addr, err)
	}
	if a.output == "json" {
		if views == nil {
			views = []vreplication.View{}
		}
		return printJSON(a.out, map[string]any{"apiVersion": apiVersion, "target": cfg.Addr, "streams": views})
	}
	t := newTable(a.out, "ID", "STREAM", "SOURCE", "STATE", "RUNS", "COPIED", "TRANSACTIONS", "LAST COMMIT AT SOURCE", "POSITION")
	for i := range views {
		v := &views[i]
		t.row(v.ID, v.Workflow, v.Source, v.State, runs(v), fmt.Sprintf("%s/%s", thousands(v.RowsCopied), thousands(v.RowsTotal)), thousands(v.Transactions), when(v.CommittedUS), orDash(v.Position))
	}
	if err := t.flush(); err != nil {
		return err
	}
	for i := range views {
		if err := a.printView(&views[i]); err != nil {
			return err
		}
	}
	return nil
}

// ratePeriod is how long the rate of a copy is measured: some chunks should be committed in it.
const ratePeriod = 2 * time.Second

func runs(v *vreplication.View) string {
	if v.Session == 0 {
		return "no"
	}
	return "yes"
}

func when(us int64) string {
	if us == 0 {
		return "-"
	}
	return time.UnixMicro(us).Format("2006-01-02 15:04:05.000")
}

// printView is what the table of all streams has no room for.
func (a *app) printView(v *vreplication.View) error {
	if v.Message != "" {
		fmt.Fprintf(a.out, "\n%s: %s\n", v.Workflow, v.Message)
	}
	if v.Rate != nil {
		fmt.Fprintf(a.out, "\n%s: copies %s rows/s, %s/s; %s copied", v.Workflow, thousands(int64(v.Rate.RowsPerSec)), megabytes(int64(v.Rate.BytesPerSec)), megabytes(v.BytesCopied))
		if v.Rate.ETASeconds > 0 {
			fmt.Fprintf(a.out, ", %s left", time.Duration(v.Rate.ETASeconds)*time.Second)
		}
		fmt.Fprintln(a.out)
		if err := printTables(a.out, v.Tables); err != nil {
			return err
		}
	}
	if len(v.Lanes) > 0 {
		fmt.Fprintf(a.out, "\n%s: everything up to %s, and by worker:\n", v.Workflow, orDash(v.LWM))
		t := newTable(a.out, "LANE", "SESSION", "DOES", "SECONDS", "GROUP", "GROUPS", "REPEATS", "TRANSACTIONS", "APPLIED ABOVE")
		for _, l := range v.Lanes {
			does := l.Command
			if l.Command == "Query" {
				does = l.State
			}
			groups, repeats := "-", "-"
			if w := l.Worker; w != nil {
				groups, repeats = thousands(w.Groups), thousands(w.Repeats)
			}
			t.row(l.Lane, l.Session, orDash(does), l.Seconds, l.GroupText(), groups, repeats, thousands(l.Transactions), orDash(l.GTIDs))
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if err := a.printWriters(v); err != nil {
		return err
	}
	if len(v.Log) == 0 {
		return nil
	}
	fmt.Fprintf(a.out, "\n%s: last events\n", v.Workflow)
	t := newTable(a.out, "AT", "EVENT", "MESSAGE")
	for _, e := range v.Log {
		t.row(when(e.AtUS), e.Type, orDash(cut(e.Message, 120)))
	}
	return t.flush()
}

// mostTables is how many tables that are under way are listed; --output json has all.
const mostTables = 20

// printTables lists the tables of which a part is copied.
func printTables(out io.Writer, tables []vreplication.TableView) error {
	begun := slices.DeleteFunc(slices.Clone(tables), func(t vreplication.TableView) bool { return t.Done || t.RowsCopied == 0 })
	if len(begun) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	list := newTable(out, "TABLE UNDER WAY", "ROWS", "COPIED")
	for _, t := range begun[:min(len(begun), mostTables)] {
		list.row(t.Table, fmt.Sprintf("%s/%s", thousands(t.RowsCopied), thousands(t.RowsTotal)), megabytes(t.BytesCopied))
	}
	return list.flush()
}

// printWriters has a line for each way of writing: there may be thousands of tables.
func (a *app) printWriters(v *vreplication.View) error {
	type way struct{ writer, reason string }
	var ways []way
	tables := map[way][]string{}
	for _, t := range v.Writers {
		w := way{t.Writer, t.Reason}
		if tables[w] == nil {
			ways = append(ways, w)
		}
		tables[w] = append(tables[w], t.Table)
	}
	if len(ways) == 0 {
		return nil
	}
	fmt.Fprintf(a.out, "\n%s: how changes are written\n", v.Workflow)
	t := newTable(a.out, "WRITER", "TABLES", "WHICH", "WHY NOT NATIVE")
	for _, w := range ways {
		t.row(w.writer, len(tables[w]), cut(strings.Join(tables[w], ", "), 60), orDash(w.reason))
	}
	return t.flush()
}

func cut(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most]) + "…"
}

// clusterStreams asks the controller.
func (a *app) clusterStreams(ctx context.Context, workflow string) error {
	resp, err := call(ctx, a, func(ctx context.Context, c controlpb.ControlClient) (*controlpb.ListWorkflowsResponse, error) {
		return c.ListWorkflows(ctx, &controlpb.ListWorkflowsRequest{})
	})
	if err != nil {
		return err
	}
	found := workflow == ""
	kept := &controlpb.ListWorkflowsResponse{}
	for _, w := range resp.Workflows {
		if workflow == "" || w.Name == workflow {
			found, kept.Workflows = true, append(kept.Workflows, w)
		}
	}
	if !found {
		return errs.New(errs.NotFound, nil, "workflow %s", workflow)
	}
	if a.output == "json" {
		return printProto(a.out, kept)
	}
	t := newTable(a.out, "WORKFLOW", "ID", "TABLET", "SOURCE", "TARGET", "STATE", "COPIED", "TRANSACTIONS", "LAG", "POSITION")
	for _, w := range kept.Workflows {
		for _, s := range w.Streams {
			lag := "unknown"
			if s.LagMs >= 0 {
				lag = (time.Duration(s.LagMs) * time.Millisecond).String()
			}
			t.row(w.Name, s.Id, s.Tablet, s.Source, s.Target, s.State, fmt.Sprintf("%s/%s", thousands(s.RowsCopied), thousands(s.RowsTotal)), thousands(s.Transactions), lag, orDash(s.Position))
		}
	}
	return t.flush()
}
