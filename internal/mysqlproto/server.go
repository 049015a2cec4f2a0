package mysqlproto

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/base/timeouts"
)

// Config is a server's.
type Config struct {
	Listen   string // host:port
	Version  string // what the greeting says; clients choose features by it
	MaxConns int    // connections beyond it are refused with "Too many connections"; 0 is no limit
	TLS      *tls.Config
	// Password returns a user's password in clear, and whether there is such a user. The empty password is one.
	Password func(user string) (string, bool)
	// Open begins the session of a client that has logged in.
	Open func(ctx context.Context, c *ServerConn) (Session, error)
}

// Session is what stands behind one connection. Its methods are called by one goroutine.
type Session interface {
	// Handle runs one command and writes its whole answer. payload is valid during the call. An error ends the connection:
	// what a client is to be told goes through WriteError.
	Handle(ctx context.Context, cmd byte, payload []byte) error
	// Close ends it, whatever state it is in.
	Close()
}

// Idler is a Session that wants to know when its client has been silent for a while, to give back what it holds.
type Idler interface {
	// Idle is called once per silence.
	Idle()
}

// IdleAfter is the silence after which Idle is called.
const IdleAfter = 2 * time.Second

// Server accepts connections. Make one with New; it is a service.
type Server struct {
	cfg    Config
	log    *slog.Logger
	lis    net.Listener
	nextID atomic.Uint32
	wg     sync.WaitGroup
	cancel context.CancelFunc

	mu struct {
		sync.Mutex
		conns   map[uint32]*ServerConn
		stopped bool
	}
}

// New makes a server; it does not listen yet.
func New(cfg Config, log *slog.Logger) *Server {
	s := &Server{cfg: cfg, log: log}
	s.mu.conns = map[uint32]*ServerConn{}
	return s
}

// Start listens. Connections live until Stop, or until ctx ends.
func (s *Server) Start(ctx context.Context) error {
	lis, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen for MySQL clients: %w", err)
	}
	run, cancel := context.WithCancel(ctx)
	s.lis, s.cancel = lis, cancel
	s.wg.Go(func() { s.accept(run) })
	return nil
}

// Addr is where the server listens: useful when the port was left to the system.
func (s *Server) Addr() string { return s.lis.Addr().String() }

// Stop closes the listener and all connections, and waits for their sessions to end. Stopping twice is fine.
func (s *Server) Stop() {
	if s.lis == nil {
		return
	}
	s.cancel()
	s.lis.Close()
	s.mu.Lock()
	s.mu.stopped = true
	for _, c := range s.mu.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Conns is the number of open connections.
func (s *Server) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.conns)
}

func (s *Server) accept(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { s.lis.Close() })
	defer stop()
	for {
		nc, err := s.lis.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of file descriptors, most likely: they come back when connections end.
			s.log.Warn("accept", "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(timeouts.RetryMin):
			}
			continue
		}
		c := &ServerConn{Conn: newConn(nc), ID: s.nextID.Add(1), Status: mysql.SERVER_STATUS_AUTOCOMMIT}
		if !s.admit(c) {
			refuse(c)
			continue
		}
		s.wg.Go(func() {
			defer s.forget(c)
			s.serve(ctx, c)
		})
	}
}

func refuse(c *ServerConn) {
	c.caps = mysql.CLIENT_PROTOCOL_41
	c.nc.SetDeadline(time.Now().Add(time.Second)) //nolint:errcheck // a socket that is broken fails below
	if err := c.WriteError(Error(mysql.ER_CON_COUNT_ERROR, "08004", "Too many connections")); err == nil {
		c.Flush() //nolint:errcheck // it is closed anyway
	}
	c.Close()
}

func (s *Server) admit(c *ServerConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.stopped || s.cfg.MaxConns > 0 && len(s.mu.conns) >= s.cfg.MaxConns {
		return false
	}
	s.mu.conns[c.ID] = c
	return true
}

func (s *Server) forget(c *ServerConn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.conns, c.ID)
}

// serve is the life of one connection.
func (s *Server) serve(ctx context.Context, c *ServerConn) {
	c.nc.SetDeadline(time.Now().Add(timeouts.Dial)) //nolint:errcheck // a socket that is broken fails below
	err := c.handshake(&s.cfg)
	var session Session
	if err == nil {
		c.nc.SetDeadline(time.Time{}) //nolint:errcheck // likewise
		session, err = s.cfg.Open(ctx, c)
	}
	if err != nil {
		if e, ok := errors.AsType[*mysql.MyError](err); ok && c.WriteError(e) == nil {
			c.Flush() //nolint:errcheck // it is closed anyway
		}
		return
	}
	defer func() { session.Close() }()
	if c.WriteOK(OK{}) != nil || c.Flush() != nil {
		return
	}
	for {
		cmd, payload, err := c.command(session)
		if err != nil || cmd == mysql.COM_QUIT {
			if errors.Is(err, ErrTooLarge) && c.WriteError(Error(mysql.ER_NET_PACKET_TOO_LARGE, "08S01", "Got a packet bigger than 'max_allowed_packet' bytes")) == nil {
				c.Flush() //nolint:errcheck // it is closed anyway
			}
			return
		}
		if cmd == mysql.COM_CHANGE_USER {
			next, err := s.changeUser(ctx, c, session, payload)
			if err != nil {
				return
			}
			session = next
		} else if err := session.Handle(ctx, cmd, payload); err != nil {
			c.Flush() //nolint:errcheck // what was written may still explain it
			return
		}
		if c.Flush() != nil {
			return
		}
	}
}

// nothing is the session of a connection whose own has ended.
type nothing struct{}

func (nothing) Handle(context.Context, byte, []byte) error { return net.ErrClosed }
func (nothing) Close()                                     {}

func (s *Server) changeUser(ctx context.Context, c *ServerConn, old Session, payload []byte) (Session, error) {
	payload = append([]byte(nil), payload...)
	old.Close()
	err := c.changeUser(&s.cfg, payload)
	var next Session = nothing{}
	if err == nil {
		c.Status = mysql.SERVER_STATUS_AUTOCOMMIT
		next, err = s.cfg.Open(ctx, c)
	}
	if err != nil {
		if e, ok := errors.AsType[*mysql.MyError](err); ok && c.WriteError(e) == nil {
			c.Flush() //nolint:errcheck // it is closed anyway
		}
		return nothing{}, err
	}
	return next, c.WriteOK(OK{})
}
