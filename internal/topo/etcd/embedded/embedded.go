package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
)

const (
	quota     = 512 << 20 // etcd refuses writes above it; a cluster of thousands of shards needs a tenth
	minSpace  = 256 << 20 // etcd preallocates 64 MiB segments of its log, two at a time
	revisions = "10000"   // kept for watches that were away
)

// Config is where the server works and listens.
type Config struct {
	Dir        string // made if it is missing
	ClientAddr string // host:port; port 0 picks a free one
	PeerAddr   string // for other members, of which there are none; default a free port of 127.0.0.1
}

// Server is a running etcd.
type Server struct {
	etcd   *embed.Etcd
	lock   *os.File
	client string
	err    chan error
	stop   chan struct{}
	once   sync.Once
	wg     sync.WaitGroup
}

// Start starts a server and returns when it answers.
func Start(cfg Config) (*Server, error) {
	lock, err := claim(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s, err := start(cfg, lock)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return s, nil
}

func start(cfg Config, lock *os.File) (*Server, error) {
	client, err := resolve(cfg.ClientAddr)
	if err != nil {
		return nil, err
	}
	peer, err := resolve(cmp.Or(cfg.PeerAddr, "127.0.0.1:0"))
	if err != nil {
		return nil, err
	}
	e, err := embed.StartEtcd(settings(cfg.Dir, client, peer))
	if err != nil {
		return nil, explain(err, cfg.Dir)
	}
	select {
	case <-e.Server.ReadyNotify():
	case err = <-e.Err():
	case <-e.Server.StopNotify():
		err = errors.New("it stopped while it started")
	case <-time.After(timeouts.EtcdStart):
		err = context.DeadlineExceeded
	}
	if err != nil {
		e.Close()
		return nil, explain(err, cfg.Dir)
	}
	s := &Server{etcd: e, lock: lock, client: client, err: make(chan error, 1), stop: make(chan struct{})}
	s.wg.Go(s.watch)
	return s, nil
}

func settings(dir, client, peer string) *embed.Config {
	c := embed.NewConfig()
	c.Name = "braid"
	c.Dir = filepath.Join(dir, "data")
	c.ListenClientUrls, c.AdvertiseClientUrls = urls(client), urls(client)
	c.ListenPeerUrls, c.AdvertisePeerUrls = urls(peer), urls(peer)
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.InitialClusterToken = c.Name
	c.AutoCompactionMode, c.AutoCompactionRetention = "revision", revisions
	c.QuotaBackendBytes = quota
	c.EnableGRPCGateway = false
	c.Logger, c.LogLevel, c.LogOutputs = "zap", "warn", []string{filepath.Join(dir, "etcd.log")}
	return c
}

func urls(addr string) []url.URL { return []url.URL{{Scheme: "http", Host: addr}} }

// claim makes the directory, looks whether there is room, and keeps other processes out.
func claim(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, explain(err, dir)
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err == nil {
		if err := room(dir, fs.Bavail*uint64(fs.Bsize)); err != nil {
			return nil, err
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, explain(err, dir)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, errs.New(errs.DirInUse, nil, "etcd directory %s belongs to a running process", dir)
	}
	return lock, nil
}

func room(dir string, free uint64) error {
	if free >= minSpace {
		return nil
	}
	return errs.New(errs.NoSpace, nil, "etcd needs %d MiB in %s, %d MiB are free", minSpace>>20, dir, free>>20)
}

// resolve picks a port if none is given, and finds out whether the port is free: etcd itself listens a moment later.
func resolve(addr string) (string, error) {
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return "", errs.New(errs.PortTaken, err, "etcd cannot listen on %s", addr)
		}
		return "", errs.New(errs.BadInput, err, "etcd cannot listen on %q", addr)
	}
	defer lis.Close()
	return lis.Addr().String(), nil
}

func explain(err error, dir string) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return errs.New(errs.PortTaken, err, "etcd cannot listen")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return errs.New(errs.NoSpace, err, "etcd in %s", dir)
	case errors.Is(err, context.DeadlineExceeded):
		return errs.New(errs.Timeout, nil, "etcd in %s did not answer within %s", dir, timeouts.EtcdStart).
			With("Read " + filepath.Join(dir, "etcd.log") + ".")
	}
	return fmt.Errorf("start etcd in %s: %w", dir, err)
}

// watch tells Err when the server ends by itself.
func (s *Server) watch() {
	var err error
	select {
	case <-s.stop:
		return
	case err = <-s.etcd.Err():
	case <-s.etcd.Server.StopNotify():
		err = errors.New("etcd stopped by itself: see etcd.log in its directory")
	}
	select {
	case <-s.stop: // it was asked to
	default:
		s.err <- err
	}
}

// Addr is host:port for clients.
func (s *Server) Addr() string { return s.client }

// Endpoints is Addr as clients' configuration wants it.
func (s *Server) Endpoints() []string { return []string{s.client} }

// Err has one error if the server ends without being stopped.
func (s *Server) Err() <-chan error { return s.err }

// Stop ends the server and waits for it. Stopping twice is fine.
func (s *Server) Stop() {
	s.once.Do(func() {
		close(s.stop)
		s.etcd.Close()
		s.wg.Wait()
		s.lock.Close() // gives the directory free
	})
}
