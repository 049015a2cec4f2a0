package e2e

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	controlpb "braid/api/control"
	"braid/internal/demo"
)

const (
	workflow     = "to_customer"
	targetTablet = "tablet-200" // keyspace customer is the second of the plan
	targetMySQL  = "mysql-200"
	controller   = "controller"
)

// victims are the processes whose death a move must survive.
var victims = map[string]string{"tablet": targetTablet, "mysqld": targetMySQL, "controller": controller}

// A process dies in the middle of the copy, and is started again: the workflow ends with equal sides and an intact ledger,
// and no write has failed, because traffic does not pass through the target yet.
func TestKillDuringCopy(t *testing.T) {
	for name, victim := range victims {
		t.Run(name, func(t *testing.T) {
			c := up(t, upOptions{shards: "commerce/0,customer/0", types: "primary"})
			s := c.story(100_000)
			t.Cleanup(s.StopWriters)
			ctx := t.Context()
			for _, step := range []func(context.Context) error{s.Prepare, s.Load, s.StartWriters} {
				require.NoError(t, step(ctx))
			}
			copied := make(chan error, 1)
			go func() { copied <- s.Copy(ctx, demo.MoveRequest()) }()
			eventually(t, time.Minute, "rows are being copied", func() bool {
				rows, total := c.progress(ctx)
				return rows > 0 && rows < total/2
			})
			c.kill(victim)
			require.NoError(t, <-copied)
			require.NoError(t, s.Diff(ctx, workflow, "after the kill"))
			require.NoError(t, s.Traffic(ctx, workflow, "forward", "PRIMARY", "REPLICA", "RDONLY"))
			require.NoError(t, s.Diff(ctx, workflow, "after the switch"))
			require.NoError(t, s.Audit(ctx, "0"))
			report := s.Report()
			require.True(t, report.OK, "%+v", report)
		})
	}
}

// A process dies while a switch holds the writes, before the point of no return. The switch is undone or finished, never
// half done; it can be repeated; nothing is lost.
func TestKillDuringSwitch(t *testing.T) {
	for name, victim := range victims {
		t.Run(name, func(t *testing.T) {
			c := up(t, upOptions{shards: "commerce/0,customer/0", types: "primary", faults: "workflow.catch-up.before=delay:2s@1"})
			s := c.story(5_000)
			t.Cleanup(s.StopWriters)
			ctx := t.Context()
			for _, step := range []func(context.Context) error{s.Prepare, s.Load, s.StartWriters} {
				require.NoError(t, step(ctx))
			}
			require.NoError(t, s.Copy(ctx, demo.MoveRequest()))
			switched := make(chan error, 1)
			go func() { switched <- s.Traffic(ctx, workflow, "forward", "PRIMARY", "REPLICA", "RDONLY") }()
			eventually(t, time.Minute, "writes are held", func() bool { return c.fenced(ctx) })
			c.kill(victim)
			if err := <-switched; errors.Is(err, demo.ErrUndone) {
				t.Logf("undone, trying again: %v", err)
				require.NoError(t, c.switchUntilDone(ctx, s))
			} else {
				require.NoError(t, err)
			}
			require.NoError(t, s.Diff(ctx, workflow, "after the switch"))
			require.NoError(t, s.Audit(ctx, "0"))
			report := s.Report()
			require.True(t, report.OK, "%+v", report)
		})
	}
}

// The controller dies at each durable step of a switch; another process takes the work up where it was.
func TestControllerDiesAtEachStep(t *testing.T) {
	for _, point := range []string{
		"workflow.fence.after", "workflow.hand-over.after", "workflow.journal.before", "workflow.journal.after", "workflow.route.before",
		"workflow.route.after", "workflow.finish.after",
	} {
		t.Run(point, func(t *testing.T) {
			c := up(t, upOptions{shards: "commerce/0,customer/0", types: "primary", faults: point + "=kill@1"})
			s := c.story(2_000)
			t.Cleanup(s.StopWriters)
			ctx := t.Context()
			for _, step := range []func(context.Context) error{s.Prepare, s.Load, s.StartWriters} {
				require.NoError(t, step(ctx))
			}
			require.NoError(t, s.Copy(ctx, demo.MoveRequest()))
			before := c.pid(controller)
			if err := s.Traffic(ctx, workflow, "forward", "PRIMARY", "REPLICA", "RDONLY"); errors.Is(err, demo.ErrUndone) {
				require.NoError(t, c.switchUntilDone(ctx, s))
			} else {
				require.NoError(t, err)
			}
			require.NotEqual(t, before, c.pid(controller), "the controller died and was started again")
			require.NoError(t, s.Diff(ctx, workflow, "after the switch"))
			require.NoError(t, s.Audit(ctx, "0"))
			report := s.Report()
			require.True(t, report.OK, "%+v", report)
		})
	}
}

// The way back of a split merges two shards into one, with rows that move between them all the time. What dies while it is
// switched, or while the shards are copied, is started again; nothing is lost, and the way forward works again.
func TestKillDuringReshard(t *testing.T) {
	for name, victim := range map[string]string{"target of the way back": "tablet-200", "controller": controller} {
		t.Run(name, func(t *testing.T) {
			c := up(t, upOptions{
				shards: "commerce/0,customer/0,customer/-80,customer/80-", types: "primary",
				faults: "workflow.catch-up.before=delay:2s@3", // the move's, the split's, and then the way back's
			})
			s := c.story(30_000)
			t.Cleanup(s.StopWriters)
			ctx := t.Context()
			for _, step := range []func(context.Context) error{s.Prepare, s.Load, s.StartWriters, s.Move} {
				require.NoError(t, step(ctx))
			}
			split := make(chan error, 1)
			go func() { split <- s.Reshard(ctx) }()
			eventually(t, time.Minute, "rows are being copied to the shards", func() bool {
				rows, _ := c.progressOf(ctx, "split")
				return rows > 0
			})
			c.kill("tablet-201") // of customer/-80
			require.NoError(t, <-split)

			reversed := make(chan error, 1)
			go func() { reversed <- s.Traffic(ctx, "split", "reverse") }()
			eventually(t, time.Minute, "writes are held", func() bool { return c.fenced(ctx) })
			c.kill(victim)
			if err := <-reversed; errors.Is(err, demo.ErrUndone) {
				t.Logf("undone, trying again: %v", err)
				require.NoError(t, c.untilDone(func() error { return s.Traffic(ctx, "split", "reverse") }))
			} else {
				require.NoError(t, err)
			}
			require.NoError(t, s.Diff(ctx, "split", "reversed"))
			require.NoError(t, s.Traffic(ctx, "split", "forward"))
			require.NoError(t, s.Diff(ctx, "split", "switched again"))
			require.NoError(t, s.Audit(ctx, "-80", "80-"))
			report := s.Report()
			require.True(t, report.OK, "%+v", report)
			require.Positive(t, report.Writes.RowMoves)
		})
	}
}

// progress sums the rows of the workflow's streams; zero while nobody can be asked.
func (c *testCluster) progress(ctx context.Context) (rows, total int64) {
	return c.progressOf(ctx, workflow)
}

func (c *testCluster) progressOf(ctx context.Context, name string) (rows, total int64) {
	w, err := c.control.ShowWorkflow(ctx, &controlpb.ShowWorkflowRequest{Name: name})
	if err != nil {
		return 0, 0
	}
	for _, s := range w.Streams {
		rows += s.RowsCopied
		total += s.RowsTotal
	}
	return rows, total
}

// fenced reports whether the routing holds writes now.
func (c *testCluster) fenced(ctx context.Context) bool {
	r, err := c.control.ShowRouting(ctx, &controlpb.ShowRoutingRequest{})
	return err == nil && containsFence(r.RoutingJson)
}

// switchUntilDone repeats a switch that was undone, until the part that died is back.
func (c *testCluster) switchUntilDone(ctx context.Context, s *demo.Story) error {
	return c.untilDone(func() error { return s.Traffic(ctx, workflow, "forward", "PRIMARY", "REPLICA", "RDONLY") })
}

func (c *testCluster) untilDone(do func() error) error {
	deadline := time.Now().Add(time.Minute)
	for {
		err := do()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		c.t.Logf("not possible yet: %v", err)
	}
}
