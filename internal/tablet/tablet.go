package tablet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	tabletpb "braid/api/tablet"
	"braid/internal/sqlconn"
	"braid/internal/tablet/queryserver"
	"braid/internal/topo"
	"braid/internal/vreplication"
	"braid/internal/vstream"
)

// Deps is what a tablet gets from its process.
type Deps struct {
	Topo  *topo.Topology
	Cache *topo.Cache // started; it has read the routing (T1)
	// Dial returns a shared connection to a daemon's gRPC address.
	Dial func(addr string) (grpc.ClientConnInterface, error)
	Log  *slog.Logger
}

// Sessions for the tablet's own work. Each is lent to one call; a health probe or a cutover's position never waits for a DDL.
const (
	probeConns = 3
	adminConns = 2
)

// Tablet is the daemon. Make one with New, run it with Start and Stop.
type Tablet struct {
	cfg  Config
	deps Deps
	log  *slog.Logger

	probes *sqlconn.Pool // what must not wait: health and positions
	admin  *sqlconn.Pool // what may take long: schema and DDL
	term   term
	local  *vstream.Local
	engine *vreplication.Engine // nil unless PRIMARY
	query  *queryserver.Server
	grpc   *grpc.Server
	health *health.Server

	cancel context.CancelFunc
	done   sync.WaitGroup

	mu struct {
		sync.Mutex
		status topo.Tablet // as last registered
	}
}

// New checks the configuration and builds the parts; nothing runs yet.
func New(cfg Config, deps Deps) (*Tablet, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("tablet configuration: %w", err)
	}
	t := &Tablet{cfg: cfg, deps: deps, log: deps.Log.With("tablet", cfg.Alias(), "keyspace", cfg.Keyspace, "shard", cfg.Shard)}
	admin := t.account(cfg.AdminUser, cfg.AdminPassword)
	t.probes, t.admin = sqlconn.NewPool(admin, probeConns), sqlconn.NewPool(admin, adminConns)
	t.local = vstream.NewLocal(vstream.LocalConfig{DB: t.account(cfg.ReplUser, cfg.ReplPassword), DBName: cfg.Keyspace}, t.log)
	if cfg.Type == topo.Primary {
		t.engine = vreplication.NewEngine(
			vreplication.Config{DBName: cfg.Keyspace, Keyspace: cfg.Keyspace, Shard: cfg.Shard},
			vreplication.Deps{Admin: admin, OpenSource: t.openSource, Probes: t.copyProbes, Log: t.log})
	}
	t.query = queryserver.New(queryserver.Config{
		Listen: cfg.MySQLListen, Keyspace: cfg.Keyspace, Shard: cfg.Shard,
		Type:     func() topo.TabletType { return cfg.Type },
		Backend:  t.account(cfg.AppUser, cfg.AppPassword),
		GateUser: cfg.GateUser, GatePassword: cfg.GatePassword,
	}, queryserver.Deps{Routing: deps.Cache, Log: t.log})
	return t, nil
}

func (t *Tablet) account(user, password string) sqlconn.Config {
	return sqlconn.Config{Addr: t.cfg.DBAddr, User: user, Password: password}
}

// Start listens, and registers the tablet. It returns when the tablet can be reached; whether it serves is in its status.
func (t *Tablet) Start(ctx context.Context) error {
	lis, err := net.Listen("tcp", t.cfg.GRPCListen)
	if err != nil {
		return fmt.Errorf("tablet service: %w", err)
	}
	if err := t.query.Start(ctx); err != nil {
		lis.Close()
		return fmt.Errorf("tablet queries: %w", err)
	}
	t.query.SetServing(false, "starting")
	if t.engine != nil {
		if err := t.engine.Start(ctx); err != nil {
			t.query.Stop()
			lis.Close()
			return fmt.Errorf("tablet streams: %w", err)
		}
	}
	t.grpc = grpc.NewServer(grpc.MaxRecvMsgSize(vstream.MaxMessageBytes), grpc.MaxSendMsgSize(vstream.MaxMessageBytes), grpc.UnaryInterceptor(t.ofTerm))
	t.health = health.NewServer()
	t.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	healthpb.RegisterHealthServer(t.grpc, t.health)
	tabletpb.RegisterTabletServer(t.grpc, &service{t: t})

	run, cancel := context.WithCancel(context.Background())
	t.cancel = cancel
	t.done.Go(func() {
		if err := t.grpc.Serve(lis); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.log.Error("tablet service ended", "error", err)
		}
	})
	reg, err := t.register(ctx)
	if err != nil {
		t.Stop()
		return err
	}
	t.done.Go(func() { t.healthLoop(run, reg) })
	return nil
}

// Stop ends the tablet: queries first, then streams, then its record. Stopping twice is fine.
func (t *Tablet) Stop() {
	t.query.SetServing(false, "stopping")
	if t.cancel != nil {
		t.cancel()
	}
	if t.grpc != nil {
		t.grpc.Stop()
	}
	t.done.Wait()
	t.query.Stop()
	if t.engine != nil {
		t.engine.Stop()
	}
	t.local.Close()
	t.probes.Close()
	t.admin.Close()
}

func (t *Tablet) register(ctx context.Context) (*topo.TabletRegistration, error) {
	rec := topo.Tablet{
		Alias: t.cfg.Alias(), Cell: t.cfg.Cell, UID: t.cfg.UID, Keyspace: t.cfg.Keyspace, Shard: t.cfg.Shard, Type: t.cfg.Type,
		GRPCAddr: t.cfg.GRPCListen, MySQLAddr: t.cfg.MySQLListen, DBAddr: t.cfg.DBAddr,
		Reason: "starting", LagMS: -1, StartedUS: time.Now().UnixMicro(),
	}
	reg, err := t.deps.Topo.RegisterTablet(ctx, rec, tabletLease)
	if err != nil {
		return nil, fmt.Errorf("register tablet %s: %w", rec.Alias, err)
	}
	t.mu.Lock()
	t.mu.status = rec
	t.mu.Unlock()
	return reg, nil
}
