package cli

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	blog "braid/internal/base/log"
	"braid/internal/base/timeouts"
	"braid/internal/cluster"
	"braid/internal/controller"
	"braid/internal/gate"
	"braid/internal/tablet"
	"braid/internal/topo"
	"braid/internal/topo/etcd"
	"braid/internal/topo/etcd/embedded"
)

// The daemons read everything from the cluster's plan in --data-dir; on a cluster of many machines each machine has its own.

func (a *app) tabletCmd() *cobra.Command {
	var uid uint32
	run := &cobra.Command{Use: "run", Short: "Run a tablet beside its mysqld", Args: exactArgs(0), RunE: func(cmd *cobra.Command, _ []string) error {
		return a.daemon(cmd.Context(), fmt.Sprintf("tablet-%d", uid), func(ctx context.Context, d daemonDeps) error {
			cfg, err := d.plan.TabletConfig(uid)
			if err != nil {
				return err
			}
			cache := topo.NewCache(d.topo)
			if err := cache.Start(ctx); err != nil {
				return fmt.Errorf("read the topology: %w", err)
			}
			defer cache.Stop()
			t, err := tablet.New(tabletConfig(cfg), tablet.Deps{Topo: d.topo, Cache: cache, Dial: d.dial, Log: d.log})
			if err != nil {
				return err
			}
			return serve(ctx, t)
		})
	}}
	run.Flags().Uint32Var(&uid, "uid", 0, "number of the tablet in the plan")
	required(run, "uid")
	list := &cobra.Command{Use: "list", Short: "List the tablets that are alive", Args: exactArgs(0), RunE: func(cmd *cobra.Command, _ []string) error {
		return a.listTablets(cmd.Context())
	}}
	return noun("tablet", "Tablets: one per mysqld", "look", list, run)
}

func tabletConfig(c cluster.TabletConfig) tablet.Config {
	return tablet.Config{
		Cell: c.Cell, UID: c.UID, Keyspace: c.Keyspace, Shard: c.Shard, Type: c.Type,
		GRPCListen: c.GRPCAddr, MySQLListen: c.MySQLAddr, DBAddr: c.DBAddr,
		AdminUser: c.Accounts.Admin.User, AdminPassword: c.Accounts.Admin.Password,
		AppUser: c.Accounts.App.User, AppPassword: c.Accounts.App.Password,
		ReplUser: c.Accounts.Repl.User, ReplPassword: c.Accounts.Repl.Password,
		GateUser: c.Gate.User, GatePassword: c.Gate.Password,
	}
}

func (a *app) gateCmd() *cobra.Command {
	run := &cobra.Command{Use: "run", Short: "Run a gate", Args: exactArgs(0), RunE: func(cmd *cobra.Command, _ []string) error {
		return a.daemon(cmd.Context(), "gate", func(ctx context.Context, d daemonDeps) error {
			cache := topo.NewCache(d.topo)
			if err := cache.Start(ctx); err != nil {
				return fmt.Errorf("read the topology: %w", err)
			}
			defer cache.Stop()
			c := d.plan.GateConfig()
			g, err := gate.New(gate.Config{Listen: c.Listen, Users: c.Users, TabletUser: c.Tablet.User, TabletPassword: c.Tablet.Password},
				gate.Deps{Topo: d.topo, Cache: cache, Log: d.log})
			if err != nil {
				return err
			}
			return serve(ctx, g)
		})
	}}
	return noun("gate", "The MySQL endpoint of applications", "daemon", run)
}

func (a *app) controllerCmd() *cobra.Command {
	run := &cobra.Command{Use: "run", Short: "Run a controller", Args: exactArgs(0), RunE: func(cmd *cobra.Command, _ []string) error {
		return a.daemon(cmd.Context(), "controller", func(ctx context.Context, d daemonDeps) error {
			c, err := controller.New(controller.Config{GRPCListen: d.plan.ControllerAddr(), ID: fmt.Sprintf("%s/controller", d.plan.Cell)},
				controller.Deps{Topo: d.topo, Dial: d.dial, Log: d.log})
			if err != nil {
				return err
			}
			return serve(ctx, c)
		})
	}}
	return noun("controller", "Runs workflows", "daemon", run)
}

func (a *app) etcdCmd() *cobra.Command {
	run := &cobra.Command{Use: "run", Short: "Run the embedded etcd of a cluster on one machine", Args: exactArgs(0), RunE: func(cmd *cobra.Command, _ []string) error {
		plan, err := cluster.Load(a.dataDir)
		if err != nil {
			return err
		}
		s, err := embedded.Start(plan.EtcdConfig())
		if err != nil {
			return err
		}
		defer s.Stop()
		select {
		case <-cmd.Context().Done():
			return nil
		case err := <-s.Err():
			return fmt.Errorf("etcd ended: %w", err)
		}
	}}
	return noun("etcd", "The coordination service", "daemon", run)
}

// daemonDeps is what every daemon starts with.
type daemonDeps struct {
	plan *cluster.Plan
	topo *topo.Topology
	dial func(addr string) (grpc.ClientConnInterface, error)
	log  *slog.Logger
}

func (a *app) daemon(ctx context.Context, name string, run func(context.Context, daemonDeps) error) error {
	plan, err := cluster.Load(a.dataDir)
	if err != nil {
		return err
	}
	log := blog.New(a.err, blog.JSON).With("daemon", name)
	store, err := etcd.Open(ctx, etcd.Config{Endpoints: plan.EtcdEndpoints(), Root: plan.EtcdRoot(), DialTimeout: timeouts.Dial})
	if err != nil {
		return err
	}
	defer store.Close()
	dials := &dialer{}
	defer dials.close()
	return run(ctx, daemonDeps{plan: plan, topo: topo.New(store), dial: dials.dial, log: log})
}

// daemonService is what serve runs.
type daemonService interface {
	Start(ctx context.Context) error
	Stop()
}

func serve(ctx context.Context, s daemonService) error {
	if err := s.Start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	s.Stop()
	return nil
}

// dialer shares one connection per address.
type dialer struct {
	mu struct {
		sync.Mutex
		conns map[string]*grpc.ClientConn
	}
}

func (d *dialer) dial(addr string) (grpc.ClientConnInterface, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if conn, ok := d.mu.conns[addr]; ok {
		return conn, nil
	}
	conn, err := dial(addr)
	if err != nil {
		return nil, err
	}
	if d.mu.conns == nil {
		d.mu.conns = map[string]*grpc.ClientConn{}
	}
	d.mu.conns[addr] = conn
	return conn, nil
}

func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.mu.conns {
		c.Close()
	}
}
