package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	controlpb "braid/api/control"
	"braid/internal/base/service"
	"braid/internal/base/timeouts"
	"braid/internal/topo"
)

// Config says where a controller listens and who it is.
type Config struct {
	GRPCListen string // host:port of the control API
	HTTPListen string // host:port of /livez; empty: none
	ID         string // for people: who leads
}

// Validate names every field that is missing.
func (c Config) Validate() error {
	var errs []error
	if c.GRPCListen == "" {
		errs = append(errs, errors.New("grpc listen address is empty"))
	}
	if c.ID == "" {
		errs = append(errs, errors.New("id is empty"))
	}
	return errors.Join(errs...)
}

// Deps is what a controller gets from its process.
type Deps struct {
	Topo *topo.Topology
	// Dial returns a shared connection to a daemon's gRPC address.
	Dial func(addr string) (grpc.ClientConnInterface, error)
	Log  *slog.Logger
}

// Controller is the daemon. Make one with New, run it with Start and Stop.
type Controller struct {
	cfg   Config
	deps  Deps
	log   *slog.Logger
	cache *topo.Cache
	exec  *executor
	group service.Group
	grpc  *grpc.Server
	http  *http.Server
	addr  net.Addr // of the control API
	live  net.Addr // of /livez, nil when there is none

	period time.Duration // of looking at the streams of workflows at rest
}

// New checks the configuration; nothing runs yet.
func New(cfg Config, deps Deps) (*Controller, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("controller configuration: %w", err)
	}
	c := &Controller{cfg: cfg, deps: deps, log: deps.Log.With("controller", cfg.ID), cache: topo.NewCache(deps.Topo), period: observePeriod}
	c.exec = &executor{topo: deps.Topo, tablets: &directory{cache: c.cache, dial: deps.Dial}}
	return c, nil
}

// Start listens, and takes part in the election. It returns when the API answers.
func (c *Controller) Start(ctx context.Context) error {
	lis, err := net.Listen("tcp", c.cfg.GRPCListen)
	if err != nil {
		return fmt.Errorf("control API: %w", err)
	}
	return c.start(ctx, lis)
}

func (c *Controller) start(ctx context.Context, lis net.Listener) error {
	if err := c.group.Start(ctx); err != nil {
		lis.Close()
		return fmt.Errorf("controller: %w", err)
	}
	if err := c.cache.Start(c.group.Context()); err != nil {
		lis.Close()
		c.group.Stop()
		return err
	}
	c.grpc = grpc.NewServer(grpc.MaxRecvMsgSize(64<<20), grpc.MaxSendMsgSize(64<<20))
	controlpb.RegisterControlServer(c.grpc, newAPI(c))
	hs := health.NewServer()
	hs.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(c.grpc, hs)
	c.addr = lis.Addr()
	c.group.Go("control API", func(context.Context) error { return c.grpc.Serve(lis) })
	c.group.Go("election", c.campaign)
	if c.cfg.HTTPListen != "" {
		if err := c.serveHTTP(); err != nil {
			c.Stop()
			return err
		}
	}
	c.log.Info("controller is up", "grpc", c.addr.String())
	return nil
}

// serveHTTP answers /livez for supervisors.
func (c *Controller) serveHTTP() error {
	lis, err := net.Listen("tcp", c.cfg.HTTPListen)
	if err != nil {
		return fmt.Errorf("controller http: %w", err)
	}
	c.live = lis.Addr()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	c.http = &http.Server{Handler: mux, ReadHeaderTimeout: timeouts.RPC}
	c.group.Go("http", func(context.Context) error {
		if err := c.http.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return nil
}

// Stop ends the controller: its term, the verbs it runs (another controller takes them over), its API.
func (c *Controller) Stop() {
	if c.http != nil {
		c.http.Close() //nolint:errcheck // it ends in any case
	}
	if c.grpc != nil {
		c.grpc.Stop()
	}
	c.group.Stop()
	c.cache.Stop()
}

// campaign takes part in the election for as long as the controller runs, and leads while it is elected.
func (c *Controller) campaign(ctx context.Context) error {
	for ctx.Err() == nil {
		term, err := c.deps.Topo.Elect(ctx, "controller", c.cfg.ID, timeouts.LeaderLease)
		if err != nil {
			if ctx.Err() == nil {
				c.log.Warn("election", "error", err)
			}
			continue
		}
		c.log.Info("this controller leads", "term", term.Token())
		c.lead(ctx, term)
		c.log.Info("the term is over", "term", term.Token())
		rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeouts.Topology)
		if err := term.Resign(rctx); err != nil {
			c.log.Warn("resign", "error", err)
		}
		cancel()
	}
	return nil
}

// lead runs workflows until the term is over.
func (c *Controller) lead(ctx context.Context, term topo.Leader) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := afterDone(ctx, term.Done(), cancel)
	defer stop()
	f := newForeman(foremanDeps{topo: c.deps.Topo, exec: c.exec, log: c.log, now: time.Now, period: c.period}, term.Token(), c.cfg.ID)
	f.run(ctx)
}

// afterDone calls fn when done is closed, unless ctx ends or stop is called before. stop waits for the end of the watcher.
func afterDone(ctx context.Context, done <-chan struct{}, fn func()) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var g service.Group
	if err := g.Start(ctx); err != nil {
		panic(err) // a fresh group
	}
	g.Go("watch", func(ctx context.Context) error {
		select {
		case <-done:
			fn()
		case <-ctx.Done():
		}
		return nil
	})
	return func() { cancel(); g.Stop() }
}
