package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	controlpb "braid/api/control"
)

func (a *app) diffCmd() *cobra.Command {
	var tables []string
	var maxRows int32
	var timeout time.Duration
	var last bool
	cmd := &cobra.Command{Use: "diff NAME", Short: "Compare source and target, row by row, while both go on (exit code 4: they differ)", Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			start := !last
			d, err := call(cmd.Context(), a, func(ctx context.Context, c controlpb.ControlClient) (*controlpb.Diff, error) {
				if start {
					return c.StartDiff(ctx, &controlpb.StartDiffRequest{Workflow: args[0], Tables: tables, MaxReportRows: maxRows})
				}
				return c.ShowDiff(ctx, &controlpb.ShowDiffRequest{Workflow: args[0]})
			})
			if err != nil {
				return err
			}
			if d, err = a.waitDiff(cmd.Context(), d, timeout); err != nil {
				return err
			}
			return a.printDiff(d)
		}}
	cmd.Flags().StringSliceVar(&tables, "tables", nil, "only these tables")
	cmd.Flags().Int32Var(&maxRows, "max-rows", 10, "differing rows to print, per table and shard")
	cmd.Flags().BoolVar(&last, "last", false, "show the last comparison instead of starting one")
	timeoutFlag(cmd, &timeout)
	return cmd
}

func (a *app) waitDiff(ctx context.Context, d *controlpb.Diff, timeout time.Duration) (*controlpb.Diff, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errTimedOut)
	defer cancel()
	tick := time.NewTicker(watchPeriod)
	defer tick.Stop()
	var line string
	for d.State != "completed" && d.State != "error" {
		var compared, total int64
		for _, t := range d.Tables {
			compared += t.RowsCompared
			total += max(t.RowsTotal, t.RowsCompared)
		}
		if l := fmt.Sprintf("%s: compared %d of about %d rows", d.Workflow, compared, total); l != line {
			fmt.Fprintln(a.err, l)
			line = l
		}
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), errTimedOut) {
				return nil, exitError{5, fmt.Errorf("the comparison is not done after %s; it goes on: `braid workflow diff %s --last`", timeout, d.Workflow)}
			}
			return nil, errInterrupted
		case <-tick.C:
		}
		next, err := call(ctx, a, func(ctx context.Context, c controlpb.ControlClient) (*controlpb.Diff, error) {
			return c.ShowDiff(ctx, &controlpb.ShowDiffRequest{Workflow: d.Workflow, Uuid: d.Uuid})
		})
		if err != nil && ctx.Err() == nil {
			return nil, err
		}
		if err == nil {
			d = next
		}
	}
	return d, nil
}

func differences(d *controlpb.Diff) int64 {
	var n int64
	for _, t := range d.Tables {
		n += t.Mismatched + t.ExtraSource + t.ExtraTarget
	}
	return n
}

func (a *app) printDiff(d *controlpb.Diff) error {
	if a.output == "json" {
		if err := printProto(a.out, d); err != nil {
			return err
		}
	} else {
		t := newTable(a.out, "TABLE", "FROM", "TO", "ROWS", "MISMATCHED", "MISSING ON TARGET", "EXTRA ON TARGET")
		for _, tb := range d.Tables {
			t.row(tb.Table, tb.Source, tb.Target, tb.RowsCompared, tb.Mismatched, tb.ExtraSource, tb.ExtraTarget)
		}
		if err := t.flush(); err != nil {
			return err
		}
		for _, tb := range d.Tables {
			for _, row := range tb.Rows {
				fmt.Fprintf(a.out, "%s %s: %s\n", tb.Table, tb.Source, row)
			}
		}
	}
	switch {
	case d.State == "error":
		return fmt.Errorf("diff of %s: %s", d.Workflow, d.Error)
	case differences(d) > 0:
		return exitError{code: 4}
	}
	return nil
}
