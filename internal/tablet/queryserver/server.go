package queryserver

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"braid/internal/mysqlproto"
	"braid/internal/sqlconn"
	"braid/internal/topo"
)

// Config says which tablet this is.
type Config struct {
	Listen          string // host:port
	Keyspace, Shard string
	Type            func() topo.TabletType
	Backend         sqlconn.Config // mysqld, as the account of the applications
	GateUser        string
	GatePassword    string
	MaxConns        int // of gates; 0 is no limit
}

// Routing is where the tablet learns who may write where. A *topo.Cache is one.
type Routing interface {
	Routing() *topo.Routing
	// Refresh returns when Routing is at least what was written before the call.
	Refresh(ctx context.Context) error
}

// Deps is what the server gets from its process.
type Deps struct {
	Routing Routing
	Log     *slog.Logger
}

// Server is the front. Make one with New; it is a service.
type Server struct {
	cfg  Config
	deps Deps
	log  *slog.Logger
	srv  *mysqlproto.Server

	mu struct {
		sync.Mutex
		serving  bool
		reason   string // why not
		routing  *topo.Routing
		sessions map[uint32]*session
		changed  chan struct{} // closed when a session stops to block, or has its mysqld session; nil while nobody waits
	}
}

// New makes a server; it does not listen yet. It serves from Start on, unless SetServing says otherwise.
func New(cfg Config, deps Deps) *Server {
	s := &Server{cfg: cfg, deps: deps, log: deps.Log}
	s.mu.serving = true
	s.mu.routing = &topo.Routing{}
	s.mu.sessions = map[uint32]*session{}
	return s
}

// Start reads the routing (F3) and listens.
func (s *Server) Start(ctx context.Context) error {
	if err := s.deps.Routing.Refresh(ctx); err != nil {
		return fmt.Errorf("read routing: %w", err)
	}
	tls, err := mysqlproto.SelfSigned()
	if err != nil {
		return err
	}
	s.srv = mysqlproto.New(mysqlproto.Config{
		Listen: s.cfg.Listen, Version: "8.4.0-braid-tablet", MaxConns: s.cfg.MaxConns, TLS: tls,
		Password: func(user string) (string, bool) { return s.cfg.GatePassword, user == s.cfg.GateUser },
		Open:     s.open,
	}, s.log)
	// Connections outlive the context of the start: they end with Stop.
	return s.srv.Start(context.WithoutCancel(ctx))
}

// Stop ends all connections and waits for them. Stopping twice is fine.
func (s *Server) Stop() {
	if s.srv != nil {
		s.srv.Stop()
	}
}

// Addr is where the server listens.
func (s *Server) Addr() string { return s.srv.Addr() }

// SetServing lets statements in, or refuses new ones with BR003 and the reason. Open transactions go on.
func (s *Server) SetServing(serving bool, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.serving, s.mu.reason = serving, reason
}

func (s *Server) open(_ context.Context, c *mysqlproto.ServerConn) (mysqlproto.Session, error) {
	sess := &session{srv: s, conn: c}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.sessions[c.ID] = sess
	return sess, nil
}

// current is the routing to check against (F2). Call it with mu held.
func (s *Server) current() *topo.Routing {
	if r := s.deps.Routing.Routing(); r.Epoch >= s.mu.routing.Epoch {
		s.mu.routing = r
	}
	return s.mu.routing
}

// wake tells those who wait that a session changed. Call it with mu held; so is wait.
func (s *Server) wake() {
	if s.mu.changed != nil {
		close(s.mu.changed)
		s.mu.changed = nil
	}
}

// wait returns a channel that is closed at the next wake.
func (s *Server) wait() <-chan struct{} {
	if s.mu.changed == nil {
		s.mu.changed = make(chan struct{})
	}
	return s.mu.changed
}
