package gate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"braid/internal/base/timeouts"
	"braid/internal/mysqlproto"
	"braid/internal/topo"
)

// Config is a gate's.
type Config struct {
	Listen         string            // host:port for MySQL clients
	Users          map[string]string // name → password in clear
	TabletUser     string            // what the gate logs in with at tablets
	TabletPassword string
	MaxConns       int           // clients at a time; 0 is DefaultMaxConns
	Version        string        // what clients are told; "" is DefaultVersion
	TLS            *tls.Config   // nil: a certificate made at start
	Hold           time.Duration // how long a statement waits for a cutover; 0 is timeouts.GateHold
}

// Defaults of the configuration.
const (
	DefaultMaxConns = 10000
	DefaultVersion  = "8.4.0-braid" // drivers choose features by it; what the gate speaks is that of 8.4
)

// Validate names every field that is missing or wrong.
func (c Config) Validate() error {
	var errs []error
	if c.Listen == "" {
		errs = append(errs, errors.New("listen address is empty"))
	}
	if len(c.Users) == 0 {
		errs = append(errs, errors.New("there are no users"))
	}
	if c.TabletUser == "" {
		errs = append(errs, errors.New("tablet user is empty"))
	}
	return errors.Join(errs...)
}

// Deps is what a gate gets from its process.
type Deps struct {
	Topo  *topo.Topology // for SHOW only; may be nil
	Cache *topo.Cache    // started
	Log   *slog.Logger
}

// Gate is the daemon. Make one with New; it is a service.
type Gate struct {
	cfg       Config
	deps      Deps
	log       *slog.Logger
	srv       *mysqlproto.Server
	pool      *pool
	vschemas  vschemaCache
	tables    tableCache
	sequences sequences
	pads      padCache

	mu struct {
		sync.Mutex
		sessions map[uint32]*session // for KILL and SHOW PROCESSLIST
	}
}

// New checks the configuration; nothing runs yet.
func New(cfg Config, deps Deps) (*Gate, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("gate configuration: %w", err)
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = DefaultMaxConns
	}
	if cfg.Version == "" {
		cfg.Version = DefaultVersion
	}
	if cfg.Hold == 0 {
		cfg.Hold = timeouts.GateHold
	}
	g := &Gate{cfg: cfg, deps: deps, log: deps.Log, pool: newPool(cfg.TabletUser, cfg.TabletPassword)}
	g.mu.sessions = map[uint32]*session{}
	return g, nil
}

// Start listens.
func (g *Gate) Start(ctx context.Context) error {
	conf := g.cfg.TLS
	if conf == nil {
		var err error
		if conf, err = mysqlproto.SelfSigned(); err != nil {
			return err
		}
	}
	g.srv = mysqlproto.New(mysqlproto.Config{
		Listen: g.cfg.Listen, Version: g.cfg.Version, MaxConns: g.cfg.MaxConns, TLS: conf,
		Password: func(user string) (string, bool) { p, ok := g.cfg.Users[user]; return p, ok },
		Open:     g.open,
	}, g.log)
	return g.srv.Start(context.WithoutCancel(ctx))
}

// Stop ends all sessions and waits for them. Stopping twice is fine.
func (g *Gate) Stop() {
	if g.srv != nil {
		g.killAll()
		g.srv.Stop()
	}
	g.pool.close()
}

// Addr is where the gate listens.
func (g *Gate) Addr() string { return g.srv.Addr() }

func (g *Gate) killAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.mu.sessions {
		s.cancel()
	}
}
