package mysqld

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/process"
	"braid/internal/sqlconn"
)

// Server is one mysqld with its directory.
type Server struct {
	bin    *Binary
	cfg    Config
	socket string
	log    string

	mu struct {
		sync.Mutex
		proc *process.Process // of the latest start
		lock *process.Lock    // on the directory, from a start until the process has ended
	}
}

// New describes a server; nothing happens until Start.
func New(bin *Binary, cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("mysqld configuration: %w", err)
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("mysqld configuration: %w", err)
	}
	cfg.Dir = dir
	if cfg.Log == "" {
		cfg.Log = filepath.Join(dir, "error.log")
	}
	return &Server{bin: bin, cfg: cfg, socket: socketPath(dir), log: cfg.Log}, nil
}

// socketPath avoids paths that are too long for a socket's address.
func socketPath(dir string) string {
	const most = 100 // of 107, since mysqld makes a lock file beside it
	path := filepath.Join(dir, "mysql.sock")
	if len(path) <= most {
		return path
	}
	h := fnv.New64a()
	h.Write([]byte(dir))
	return filepath.Join(os.TempDir(), fmt.Sprintf("braid-%d-%016x.sock", os.Getuid(), h.Sum64()))
}

func (s *Server) path(name string) string { return filepath.Join(s.cfg.Dir, name) }
func (s *Server) dataDir() string         { return s.path("data") }

// Dir is the server's directory.
func (s *Server) Dir() string { return s.cfg.Dir }

// ErrorLog is the path of the server's log.
func (s *Server) ErrorLog() string { return s.log }

// Binary is the program that the server runs.
func (s *Server) Binary() *Binary { return s.bin }

// ServerID is the server's number among those that it replicates with.
func (s *Server) ServerID() uint32 { return s.cfg.ServerID }

// Addr is the server's address, host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.cfg.Port)) }

// Port is the server's port on 127.0.0.1.
func (s *Server) Port() int { return s.cfg.Port }

// Socket is the path of the server's socket.
func (s *Server) Socket() string { return s.socket }

// Root connects as root through the socket.
func (s *Server) Root() sqlconn.Config {
	return sqlconn.Config{Addr: s.socket, User: RootUser, Password: s.cfg.Passwords.Root}
}

// Admin connects as braid_admin.
func (s *Server) Admin() sqlconn.Config { return s.account(AdminUser, s.cfg.Passwords.Admin) }

// App connects as braid_app.
func (s *Server) App() sqlconn.Config { return s.account(AppUser, s.cfg.Passwords.App) }

// Repl connects as braid_repl.
func (s *Server) Repl() sqlconn.Config { return s.account(ReplUser, s.cfg.Passwords.Repl) }

func (s *Server) account(user, password string) sqlconn.Config {
	return sqlconn.Config{Addr: s.Addr(), User: user, Password: password}
}

// Pid is the process of the latest start, 0 before the first.
func (s *Server) Pid() int {
	if p := s.process(); p != nil {
		return p.Pid()
	}
	return 0
}

// Done is closed when the process of the latest start has ended; nil before the first start.
func (s *Server) Done() <-chan struct{} {
	if p := s.process(); p != nil {
		return p.Done()
	}
	return nil
}

// Running says whether the process is alive.
func (s *Server) Running() bool {
	p := s.process()
	return p != nil && !p.Ended()
}

func (s *Server) process() *process.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.proc
}

// Start makes the data directory if there is none, starts the server, and returns when it answers. A server that does not come up
// is ended before Start returns.
func (s *Server) Start(ctx context.Context) error {
	if s.Running() {
		return fmt.Errorf("mysqld on port %d runs already", s.cfg.Port)
	}
	if err := s.lockDir(); err != nil {
		return fmt.Errorf("start mysqld in %s: %w", s.cfg.Dir, err)
	}
	if err := s.start(ctx); err != nil {
		s.unlockDir()
		return fmt.Errorf("start mysqld in %s: %w", s.cfg.Dir, err)
	}
	return nil
}

// lockDir keeps other programs from running a server in the same directory. mysqld has a lock of its own, but waits for it for
// minutes, and meanwhile it is the other server that answers at the socket.
func (s *Server) lockDir() error {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.lock != nil {
		return nil // the process that it was taken for has ended by itself
	}
	lock, err := process.TryLock(s.path("lock"))
	if errors.Is(err, process.ErrLocked) {
		return errs.New(errs.DirInUse, nil, "another program runs a mysqld in %s", s.cfg.Dir)
	}
	s.mu.lock = lock
	return err
}

func (s *Server) unlockDir() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.lock != nil {
		s.mu.lock.Unlock()
		s.mu.lock = nil
	}
}

func (s *Server) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeouts.MySQLStart, fmt.Errorf("no answer within %v", timeouts.MySQLStart))
	defer cancel()
	if err := portFree(s.cfg.Port); err != nil {
		return err
	}
	first, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	options := s.options()
	if first {
		options = append(options, "--init-file="+s.path("init.sql"))
	}
	logFrom := process.Size(s.log)
	// What the server says before it opened its log, such as a wrong option, goes to the same file.
	argv, env := s.bin.preloading(s.cfg.Preload, s.bin.command(options...))
	proc, err := process.Start(process.Spec{Argv: argv, Env: env, Dir: s.cfg.Dir, Log: s.ErrorLog()})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.mu.proc = proc
	s.mu.Unlock()
	if err := s.waitReady(ctx, proc, logFrom); err != nil {
		proc.Kill()
		return err
	}
	if first {
		return s.markReady()
	}
	return nil
}

// prepare makes what is missing of the server's directory. first says that no start has succeeded yet.
func (s *Server) prepare(ctx context.Context) (first bool, err error) {
	if err := os.MkdirAll(s.path("tmp"), 0o700); err != nil {
		return false, err
	}
	if isFile(s.path("ready")) {
		return false, nil
	}
	if !isDir(s.dataDir()) {
		template, err := s.bin.template(ctx)
		if err != nil {
			return false, err
		}
		stage := s.path("data.making")
		if err := os.RemoveAll(stage); err != nil {
			return false, err
		}
		if err := copyTree(template, stage); err != nil {
			return false, noSpace(s.cfg.Dir, err)
		}
		if err := os.Rename(stage, s.dataDir()); err != nil {
			return false, err
		}
	}
	statements := accountStatements(s.bin.Version, s.cfg.DB, s.cfg.Passwords)
	return true, os.WriteFile(s.path("init.sql"), []byte(statements), 0o600)
}

func (s *Server) markReady() error {
	if err := os.Remove(s.path("init.sql")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(s.path("ready"), []byte(s.bin.Version.String()+"\n"), 0o600)
}

// waitReady asks until the server answers, at short intervals: mysqld tells nobody when it is ready.
func (s *Server) waitReady(ctx context.Context, proc *process.Process, logFrom int64) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := sqlconn.Dial(ctx, s.Root())
		if err == nil {
			conn.Close()
			return nil
		}
		if sqlconn.ErrCode(err) == errAccessDenied {
			return errs.New(errs.MySQLNotStarted, err, "mysqld on port %d answers, but not to the password that it should have", s.cfg.Port).
				With("Its directory " + s.cfg.Dir + " was made with other passwords: restore them, or start with another data directory.")
		}
		select {
		case <-tick.C:
		case <-proc.Done():
			return s.diagnose(proc.Err(), logFrom)
		case <-ctx.Done():
			return s.diagnose(context.Cause(ctx), logFrom)
		}
	}
}

const errAccessDenied = 1045

// Stop ends the server cleanly, or by force when that takes longer than timeouts.MySQLStop. Stopping twice is fine.
func (s *Server) Stop(ctx context.Context) error {
	p := s.process()
	if p == nil {
		return nil
	}
	defer s.unlockDir()
	if err := p.Stop(ctx, timeouts.MySQLStop); err != nil {
		return fmt.Errorf("stop mysqld on port %d: %w", s.cfg.Port, err)
	}
	return nil
}

// Kill ends the server with SIGKILL, as a crash would. Start brings it back.
func (s *Server) Kill() {
	if p := s.process(); p != nil {
		p.Kill()
		s.unlockDir()
	}
}

// Remove stops the server by force and deletes its directory.
func (s *Server) Remove() error {
	s.Kill()
	return errors.Join(os.RemoveAll(s.cfg.Dir), os.RemoveAll(s.socket), os.RemoveAll(s.socket+".lock"))
}
