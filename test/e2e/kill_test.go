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

// progress sums the rows of the workflow's streams; zero while nobody can be asked.
func (c *testCluster) progress(ctx context.Context) (rows, total int64) {
	w, err := c.control.ShowWorkflow(ctx, &controlpb.ShowWorkflowRequest{Name: workflow})
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
	deadline := time.Now().Add(time.Minute)
	for {
		err := s.Traffic(ctx, workflow, "forward", "PRIMARY", "REPLICA", "RDONLY")
		if err == nil || time.Now().After(deadline) {
			return err
		}
		c.t.Logf("switch not possible yet: %v", err)
	}
}
