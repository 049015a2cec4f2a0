package cli

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"

	_ "github.com/go-sql-driver/mysql" // the demo's writers are ordinary applications
	"github.com/spf13/cobra"

	controlpb "braid/api/control"
	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/cluster"
	"braid/internal/demo"
	"braid/internal/topo/etcd"
)

const demoWriters = 4

func (a *app) demoCmd() *cobra.Command {
	var f upFlags
	var rows int
	var keep bool
	cmd := &cobra.Command{Use: "demo", Short: "A live move and reshard of real MySQL on this machine, with a report", GroupID: "machine", Args: exactArgs(0),
		Long: "Starts a cluster of its own in --data-dir, loads it, writes to it without a pause, moves two tables to another keyspace,\n" +
			"splits that into two shards, goes back and forth once, and proves that nothing was lost.",
		RunE: func(cmd *cobra.Command, _ []string) error { return a.demo(cmd.Context(), f, rows, keep) }}
	f.register(cmd)
	cmd.Flags().IntVar(&rows, "rows", 200_000, "customers, and as many orders")
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the cluster running afterwards")
	return cmd
}

func (a *app) demo(ctx context.Context, f upFlags, rows int, keep bool) error {
	if rows < 100 {
		return usageError{fmt.Errorf("--rows %d: the demo needs at least 100", rows)}
	}
	if err := freshDataDir(ctx, a.dataDir); err != nil {
		return err
	}
	c, err := a.startDemoCluster(ctx, f)
	if err != nil {
		return err
	}
	defer c.stop()
	report, err := a.tellStory(ctx, c, demo.Config{Rows: rows, Writers: demoWriters, Seed: 1})
	if err != nil {
		if ended := c.ended(); ended != nil && ctx.Err() == nil {
			return errors.Join(fmt.Errorf("the cluster ended: %w", ended), err)
		}
		return err
	}
	if keep {
		if err := c.keep(); err != nil {
			return err
		}
	}
	if a.output == "json" {
		err = report.JSON(a.out)
	} else {
		err = report.Text(a.out)
	}
	if err == nil && keep && a.output != "json" {
		fmt.Fprintln(a.out)
		err = a.printEndpoints(a.out, c.plan)
	}
	if err == nil && !report.OK {
		return exitError{code: 1}
	}
	return err
}

// freshDataDir makes way for a run from the beginning: what an earlier demo left is removed, a running cluster is not.
func freshDataDir(ctx context.Context, dir string) error {
	st, err := cluster.Look(dir)
	if errors.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Running {
		return exitError{3, fmt.Errorf("a cluster runs in %s: stop it with `braid down --data-dir %s`, or give the demo another --data-dir", dir, dir)}
	}
	if !st.Plan.Disposable {
		return exitError{3, fmt.Errorf("%s holds a cluster that no demo made, with its data: give the demo another directory with --data-dir", dir)}
	}
	if len(st.Plan.Etcd.External) > 0 {
		if err := eraseTopology(ctx, st.Plan); err != nil {
			return err
		}
	}
	return cluster.Remove(dir)
}

// eraseTopology removes what an earlier demo has left in an etcd that is not its own.
func eraseTopology(ctx context.Context, p *cluster.Plan) error {
	store, err := etcd.Open(ctx, etcd.Config{Endpoints: p.EtcdEndpoints(), Root: p.EtcdRoot(), DialTimeout: timeouts.Dial})
	if err != nil {
		return err
	}
	defer store.Close()
	return store.Erase(ctx)
}

func (a *app) tellStory(ctx context.Context, c *demoCluster, cfg demo.Config) (*demo.Report, error) {
	conn, err := dial(c.plan.ControllerAddr())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	e := endpointsOf(c.plan)
	gate, err := openMySQL(e.Gate, "commerce")
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	return demo.Run(ctx, cfg, demo.Deps{
		Control: controlpb.NewControlClient(conn), Gate: gate, Progress: demo.NewProgress(a.err, terminal(a.err)),
		Shards: func(keyspace, shard string) (*sql.DB, error) {
			p, ok := e.Primaries[keyspace+"/"+shard]
			if !ok {
				return nil, fmt.Errorf("%s/%s has no primary in the plan", keyspace, shard)
			}
			return openMySQL(p, keyspace)
		},
	})
}

func openMySQL(e endpoint, db string) (*sql.DB, error) {
	h, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)/%s?interpolateParams=true", e.User, e.Password, e.Addr, db))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", e.Addr, err)
	}
	return h, nil
}

// demoCluster is a `braid up` that this process started. It ends with this process, by a pipe, unless it is told to stay.
type demoCluster struct {
	cmd      *exec.Cmd
	lifeline *os.File
	plan     *cluster.Plan
	exited   chan struct{}
	err      error // after exited is closed
	once     sync.Once
}

func (a *app) startDemoCluster(ctx context.Context, f upFlags) (*demoCluster, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	theirs, ours, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("lifeline: %w", err)
	}
	defer theirs.Close()
	c := &demoCluster{lifeline: ours, exited: make(chan struct{})}
	args := []string{"up", "--output", "json", "--data-dir", a.dataDir, "--lifeline", "3", "--disposable"}
	if f.portBase > 0 {
		args = append(args, "--port-base", strconv.Itoa(f.portBase))
	}
	for _, e := range f.etcd {
		args = append(args, "--etcd", e)
	}
	c.cmd = exec.Command(exe, args...)
	c.cmd.ExtraFiles = []*os.File{theirs}
	c.cmd.Stderr = a.err
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is ours to handle, in order
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the cluster: %w", err)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the cluster: %w", err)
	}
	ready := make(chan error, 1)
	var reading sync.WaitGroup
	reading.Go(func() {
		var e endpoints
		ready <- json.NewDecoder(stdout).Decode(&e)
		_, _ = io.Copy(io.Discard, stdout) // until it ends
		c.err = c.cmd.Wait()
		close(c.exited)
	})
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = errInterrupted
	}
	if err != nil {
		c.stop()
		if ctx.Err() != nil {
			return nil, errInterrupted
		}
		return nil, c.startError()
	}
	c.plan, err = cluster.Load(a.dataDir)
	if err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

// startError is what `up` printed as its error; its own rendering is repeated as it was, with its exit code.
func (c *demoCluster) startError() error {
	code := 1
	if c.cmd.ProcessState != nil && c.cmd.ProcessState.ExitCode() > 0 {
		code = c.cmd.ProcessState.ExitCode()
	}
	return exitError{code: code} // its stderr was ours: the error has been printed
}

// ended returns why the cluster is gone, nil while it runs.
func (c *demoCluster) ended() error {
	select {
	case <-c.exited:
		if c.err == nil {
			return errors.New("it was stopped")
		}
		return c.err
	default:
		return nil
	}
}

func (c *demoCluster) keep() error {
	if err := cluster.Keep(c.lifeline); err != nil {
		return err
	}
	c.once.Do(func() { c.lifeline.Close() })
	return nil
}

// stop ends the cluster, unless it was kept, and waits until everything is gone.
func (c *demoCluster) stop() {
	c.once.Do(func() {
		c.lifeline.Close()
		<-c.exited
	})
}
