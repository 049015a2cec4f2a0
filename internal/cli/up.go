package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	controlpb "braid/api/control"
	"braid/internal/base/timeouts"
	"braid/internal/cluster"
	"braid/internal/topo"
	"braid/internal/topo/etcd"
)

// demoShards are the shards of the demo, and of `braid up` when nothing else is said: a place to move to, and two to split into.
var demoShards = []string{"commerce/0", "customer/0", "customer/-80", "customer/80-"}

// upFlags are what up and demo share.
type upFlags struct {
	portBase int
	shards   []string
	types    []string
	etcd     []string
	lifeline int
	demo     bool
}

func (f *upFlags) register(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.portBase, "port-base", 0, "first of the ports to use, all on 127.0.0.1 (default 15000, or as before)")
	cmd.Flags().StringSliceVar(&f.etcd, "etcd", nil, "host:port,… of an etcd that runs already (default: one of our own)")
}

func (f *upFlags) spec() (cluster.Spec, error) {
	spec := cluster.Spec{PortBase: f.portBase, Shards: f.shards, Etcd: f.etcd, Disposable: f.demo}
	for _, name := range f.types {
		t, err := topo.ParseTabletType(name)
		if err != nil {
			return spec, usageError{err}
		}
		spec.Types = append(spec.Types, t)
	}
	return spec, nil
}

func (a *app) upCmd() *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{Use: "up", Short: "Start a cluster on this machine; Ctrl-C or `braid down` stops it", GroupID: "machine", Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.up(cmd.Context(), f) }}
	f.register(cmd)
	cmd.Flags().StringSliceVar(&f.shards, "shards", demoShards, "keyspace/shard,…: what to start, in this order")
	cmd.Flags().StringSliceVar(&f.types, "tablet-types", []string{"primary", "replica", "rdonly"}, "tablets of each shard")
	cmd.Flags().IntVar(&f.lifeline, "lifeline", 0, "descriptor whose end stops the cluster")
	cmd.Flags().BoolVar(&f.demo, "disposable", false, "the next demo may remove this cluster")
	for _, name := range []string{"lifeline", "disposable"} { // between demo and up
		_ = cmd.Flags().MarkHidden(name)
	}
	return cmd
}

func (a *app) up(ctx context.Context, f upFlags) error {
	spec, err := f.spec()
	if err != nil {
		return err
	}
	opts := cluster.Options{Ready: ready, Prepare: prepareTopology, Progress: func(line string) { fmt.Fprintln(a.err, line) }}
	if f.lifeline > 0 {
		if opts.Lifeline, err = cluster.Lifeline(f.lifeline); err != nil {
			return err
		}
	}
	s, err := cluster.New(a.dataDir, spec, opts)
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := s.Start(ctx); err != nil {
		return err
	}
	fmt.Fprintf(a.err, "ready after %.1f s\n", time.Since(begun).Seconds())
	if err := a.printEndpoints(a.out, s.Plan()); err != nil {
		return fmt.Errorf("%w; %w", err, s.Stop())
	}
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.err, "stopping")
		return s.Stop()
	case <-s.Done():
		if errors.Is(s.Err(), cluster.ErrLifeline) {
			return nil // whoever started this cluster for itself has ended
		}
		return s.Err()
	}
}

// prepareTopology writes cell, keyspaces and shards in the order of the plan, so that of two overlapping shards the first one
// serves.
func prepareTopology(ctx context.Context, p *cluster.Plan) error {
	store, err := etcd.Open(ctx, etcd.Config{Endpoints: p.EtcdEndpoints(), Root: p.EtcdRoot(), DialTimeout: timeouts.Dial})
	if err != nil {
		return err
	}
	defer store.Close()
	t := topo.New(store)
	if err := ignoreExists(t.CreateCell(ctx, p.Cell)); err != nil {
		return err
	}
	for _, s := range p.Shards {
		if err := ignoreExists(t.CreateKeyspace(ctx, s.Keyspace)); err != nil {
			return err
		}
		if err := ignoreExists(t.CreateShard(ctx, s.Keyspace, s.Name)); err != nil {
			return err
		}
	}
	return nil
}

// ready says whether a process of the cluster works, not only listens.
func ready(ctx context.Context, c cluster.Child) error {
	switch c.Kind {
	case cluster.KindTablet:
		return askGRPC(ctx, c.Addrs["grpc"], func(ctx context.Context, conn grpc.ClientConnInterface) error {
			resp, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
			if err != nil {
				return err
			}
			if resp.Status != healthpb.HealthCheckResponse_SERVING {
				return fmt.Errorf("%s does not serve yet", c.Name)
			}
			return nil
		})
	case cluster.KindController:
		return askGRPC(ctx, c.Addrs["grpc"], func(ctx context.Context, conn grpc.ClientConnInterface) error {
			_, err := controlpb.NewControlClient(conn).ListKeyspaces(ctx, &controlpb.ListKeyspacesRequest{})
			return err
		})
	default:
		return cluster.Listening(ctx, c)
	}
}

func askGRPC(ctx context.Context, addr string, ask func(context.Context, grpc.ClientConnInterface) error) error {
	conn, err := dial(addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, timeouts.Dial)
	defer cancel()
	return ask(ctx, conn)
}

// endpoints are what a user needs to use a cluster.
type endpoints struct {
	APIVersion string              `json:"apiVersion"`
	Gate       endpoint            `json:"gate"`
	Controller string              `json:"controller"`
	Primaries  map[string]endpoint `json:"primaries"` // keyspace/shard → its mysqld
}

type endpoint struct {
	Addr     string `json:"addr"`
	User     string `json:"user"`
	Password string `json:"password"`
}

func endpointsOf(p *cluster.Plan) endpoints {
	user := p.User()
	e := endpoints{APIVersion: apiVersion, Gate: endpoint{p.GateAddr(), user.User, user.Password}, Controller: p.ControllerAddr(), Primaries: map[string]endpoint{}}
	for _, t := range p.Tablets() {
		if t.Type == topo.Primary {
			e.Primaries[t.Keyspace+"/"+t.Shard] = endpoint{t.DBAddr, t.Accounts.Admin.User, t.Accounts.Admin.Password}
		}
	}
	return e
}

func (a *app) printEndpoints(w io.Writer, p *cluster.Plan) error {
	e := endpointsOf(p)
	if a.output == "json" {
		return printJSON(w, e)
	}
	host, port, _ := strings.Cut(e.Gate.Addr, ":")
	fmt.Fprintf(w, "gate        mysql -h %s -P %s -u %s -p%s %s\n", host, port, e.Gate.User, e.Gate.Password, p.Shards[0].Keyspace)
	fmt.Fprintf(w, "controller  %s\n", e.Controller)
	fmt.Fprintf(w, "logs        %s\n", p.LogPath("*"))
	fmt.Fprintf(w, "stop it     braid down --data-dir %s\n", p.DataDir())
	return nil
}

func (a *app) downCmd() *cobra.Command {
	return &cobra.Command{Use: "down", Short: "Stop the cluster of --data-dir", GroupID: "machine", Args: exactArgs(0), RunE: func(cmd *cobra.Command, _ []string) error {
		running, err := cluster.Down(cmd.Context(), a.dataDir)
		if err != nil {
			return err
		}
		if a.output == "json" {
			return printJSON(a.out, map[string]any{"apiVersion": apiVersion, "changed": running})
		}
		if !running {
			fmt.Fprintln(a.err, "nothing was running")
		}
		return nil
	}}
}

func (a *app) statusCmd() *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Show the processes of the cluster of --data-dir", GroupID: "machine", Args: exactArgs(0), RunE: func(*cobra.Command, []string) error {
		st, err := cluster.Look(a.dataDir)
		if err != nil {
			return err
		}
		if a.output == "json" {
			return printJSON(a.out, struct {
				*cluster.State
				APIVersion string    `json:"apiVersion"`
				Endpoints  endpoints `json:"endpoints"`
			}{st, apiVersion, endpointsOf(st.Plan)})
		}
		if !st.Running {
			fmt.Fprintf(a.err, "not running; start it with `braid up --data-dir %s`\n", st.Plan.DataDir())
		} else if err := a.printEndpoints(a.out, st.Plan); err != nil {
			return err
		}
		t := newTable(a.out, "PROCESS", "ALIVE", "PID", "LISTENS ON")
		for _, c := range st.Children {
			var addrs []string
			for what, addr := range c.Addrs {
				addrs = append(addrs, what+" "+addr)
			}
			slices.Sort(addrs)
			t.row(c.Name, c.Alive, c.Pid, strings.Join(addrs, ", "))
		}
		return t.flush()
	}}
}

func ignoreExists(err error) error {
	if errors.Is(err, topo.ErrExists) {
		return nil
	}
	return err
}
