package etcd

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/topo"
)

// DefaultRoot is where a cluster's keys stand unless configured otherwise.
const DefaultRoot = "braid/"

// Config says which etcd, and where in it.
type Config struct {
	Endpoints   []string      // host:port, or URLs
	Root        string        // prefix of all keys, ending in "/"; default DefaultRoot
	DialTimeout time.Duration // bounds the first contact; default timeouts.Topology
	Username    string
	Password    string
	TLS         *tls.Config
}

// Store implements topo.Store.
type Store struct {
	cli  *clientv3.Client
	root string

	ctx    context.Context // the store's life
	cancel context.CancelFunc
	mute   bool // tests: die without giving leases back

	mu struct {
		sync.Mutex
		closed bool
		wg     sync.WaitGroup // registrations, locks, watches; grows only while not closed
	}
}

var _ topo.Store = (*Store)(nil)

// Open connects, and asks for a key to be sure that something answers.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	root := cmp.Or(cfg.Root, DefaultRoot)
	if !strings.HasSuffix(root, "/") || strings.HasPrefix(root, "/") || len(cfg.Endpoints) == 0 {
		return nil, errs.New(errs.BadInput, nil, "etcd: root %q must end in / and not begin with it, and there must be endpoints", root)
	}
	cli, err := clientv3.New(clientConfig(cfg))
	if err != nil {
		return nil, errs.New(errs.BadInput, err, "etcd at %s", strings.Join(cfg.Endpoints, ","))
	}
	s := &Store{cli: cli, root: root}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	pctx, cancel := context.WithTimeout(ctx, cmp.Or(cfg.DialTimeout, timeouts.Topology))
	defer cancel()
	if _, err := cli.Get(pctx, root+"probe"); err != nil {
		err = s.fail(ctx, "connect", strings.Join(cfg.Endpoints, ","), err, false)
		s.Close()
		return nil, err
	}
	return s, nil
}

func clientConfig(cfg Config) clientv3.Config {
	return clientv3.Config{
		Endpoints: cfg.Endpoints, Username: cfg.Username, Password: cfg.Password, TLS: cfg.TLS,
		// A peer that is gone without a word is noticed after these two; more often than every ten seconds gRPC does not ask.
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
		PermitWithoutStream: true,
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: timeouts.RetryMin, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 2 * time.Second,
		})},
		Logger: zap.NewNop(), // what it would log, the operations return
	}
}

// Close gives back what this client holds, as far as etcd can be reached, and ends its goroutines.
func (s *Store) Close() error {
	s.mu.Lock()
	first := !s.mu.closed
	s.mu.closed = true
	s.mu.Unlock()
	s.cancel()
	s.mu.wg.Wait()
	if first {
		_ = s.cli.Close() // it says only that its context was canceled
	}
	return nil
}

// Erase removes everything below the store's root: the cluster is over.
func (s *Store) Erase(ctx context.Context) error {
	if _, err := s.cli.Delete(ctx, s.root, clientv3.WithPrefix()); err != nil {
		return s.fail(ctx, "erase", s.root, err, false)
	}
	return nil
}

// spawn runs fn in a goroutine that Close waits for.
func (s *Store) spawn(fn func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return fmt.Errorf("%w: the store is closed", topo.ErrUnreachable)
	}
	s.mu.wg.Go(fn)
	return nil
}

func (s *Store) key(key string) string    { return s.root + "data/" + key }
func (s *Store) lockKey(n string) string  { return s.root + "lock/" + n }
func (s *Store) electKey(n string) string { return s.root + "elect/" + n }
func (s *Store) strip(full []byte) string { return strings.TrimPrefix(string(full), s.root+"data/") }

// bound is the context of one operation: it also ends with the store.
func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	octx, cancel := context.WithTimeout(ctx, timeouts.Topology)
	detach := context.AfterFunc(s.ctx, cancel)
	return octx, func() { detach(); cancel() }
}

// Read implements topo.Store.
func (s *Store) Read(ctx context.Context, key string) ([]byte, int64, error) {
	octx, cancel := s.bound(ctx)
	defer cancel()
	resp, err := s.cli.Get(octx, s.key(key))
	if err != nil {
		return nil, 0, s.fail(ctx, "read", key, err, false)
	}
	if len(resp.Kvs) == 0 {
		return nil, 0, fmt.Errorf("read %s: %w", key, topo.ErrNotFound)
	}
	return notNil(resp.Kvs[0].Value), resp.Kvs[0].ModRevision, nil
}

// List implements topo.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]topo.Change, error) {
	all, _, err := s.list(ctx, prefix)
	return all, err
}

// list also returns the revision of the whole answer.
func (s *Store) list(ctx context.Context, prefix string) ([]topo.Change, int64, error) {
	octx, cancel := s.bound(ctx)
	defer cancel()
	resp, err := s.cli.Get(octx, s.key(prefix), clientv3.WithPrefix())
	if err != nil {
		return nil, 0, s.fail(ctx, "list", prefix, err, false)
	}
	all := make([]topo.Change, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		all = append(all, s.change(kv))
	}
	return all, resp.Header.Revision, nil
}

func (s *Store) change(kv *mvccpb.KeyValue) topo.Change {
	return topo.Change{Key: s.strip(kv.Key), Value: notNil(kv.Value), Version: kv.ModRevision}
}

// notNil keeps an empty value apart from none.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
