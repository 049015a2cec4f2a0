package storm_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"braid/internal/base/errs"
	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
	"braid/test/storm"
)

var (
	seed  = flag.Uint64("storm.seed", 1, "seed of the storm; 0: the time")
	units = flag.Int("storm.units", 2500, "units of the storm")
)

func seedOf(t *testing.T) uint64 {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano()) % 1_000_000
	}
	t.Logf("repeat with: go test ./test/storm -run '^%s$' -storm.seed %d -storm.units %d", t.Name(), s, *units)
	return s
}

// TestRepeatable: the units depend on the seed only.
func TestRepeatable(t *testing.T) {
	list := func(seed uint64) (out []storm.Unit) {
		g := storm.NewGenerator(storm.Config{Seed: seed})
		g.Setup()
		for range 3000 {
			u := g.Next()
			if u.Kind == storm.Definition {
				g.Done(len(out)%3 > 0)
			}
			out = append(out, u)
		}
		return out
	}
	require.Equal(t, list(7), list(7))
	require.NotEqual(t, list(7), list(8))
}

var databases = []string{"storm_a", "storm_b"}

// TestModel is the contract of the change source: whatever a source does, and however its connection is cut, a reader that does what the items
// say has the source's rows in the end, each transaction once.
func TestModel(t *testing.T) {
	seed := seedOf(t)
	srv := mysqldtest.New(t, mysqldtest.Options{})
	proxy, err := storm.NewProxy(srv.Addr(), seed, 200_000)
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	cfg := storm.Config{Seed: seed, Databases: databases, HugeRows: 8000}
	s := storm.New(cfg, srv.Root())

	readers, ctx := errgroup.WithContext(t.Context())
	repl := srv.Repl()
	repl.Addr = proxy.Addr()
	r := &reader{model: storm.NewModel(), until: make(chan gtid.Set, 1)}
	r.model.Position = executed(t, srv)
	r.source = vstream.NewLocal(vstream.LocalConfig{DB: repl}, slog.New(slog.NewTextHandler(logTo(t), nil)))
	t.Cleanup(r.source.Close)
	require.NoError(t, s.Setup(ctx))
	readers.Go(func() error { return r.run(ctx) })

	middle := make(chan struct{})
	var observed atomic.Int64
	once := sync.OnceFunc(func() { close(middle) })
	s.Observe = func(_ int, sql string, err error) {
		if observed.Add(1) > int64(*units) { // a unit is about four statements
			once()
		}
		observe(t, sql, err)
	}
	running := make(chan error, 1)
	go func() { running <- s.Run(ctx, *units, 0) }()
	readers.Go(func() error { return rotate(ctx, srv, middle) })
	select {
	case <-middle:
	case err := <-running:
		t.Fatalf("the storm ended before its middle: %v, %v", err, context.Cause(ctx))
	}
	// It ends cleanly: MySQL 9.7 that is killed in an XA COMMIT may forget the prepared transaction without a word in its log, and then
	// nobody can be equal to it.
	require.NoError(t, srv.Stop(t.Context()))
	require.NoError(t, srv.Start(t.Context()))
	require.NoError(t, <-running)
	require.NoError(t, context.Cause(ctx), "the reader")
	require.NoError(t, s.End(ctx))
	counts := s.Counts()
	t.Log(&counts)
	proxy.Calm()
	end := executed(t, srv)
	r.until <- end
	if err := readers.Wait(); err != nil {
		t.Fatalf("%v\nnot read: %s", err, end.Subtract(r.model.Position))
	}

	conn := mysqldtest.Dial(t, srv.Root())
	differences, err := r.model.Compare(t.Context(), conn, databases)
	require.NoError(t, err)
	require.Empty(t, differences, "%s", strings.Join(differences, "\n"))
	t.Logf("%d transactions, %d definitions, %d rows; %d streams", r.model.Transactions, r.model.Definitions, r.model.Rows(), r.streams)
	t.Logf("%d cuts", proxy.Cuts())
	require.Greater(t, proxy.Cuts(), 3, "connections were cut")
	require.Greater(t, counts.Done, 2**units, "most statements do something")
}

// rotate lets the server begin another file of its log again and again.
func rotate(ctx context.Context, srv *mysqld.Server, until <-chan struct{}) error {
	conn, err := sqlconn.Dial(ctx, srv.Root())
	if err != nil {
		return err
	}
	defer conn.Close()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-until:
			return nil
		}
		if _, err := conn.Exec(ctx, "FLUSH BINARY LOGS"); err != nil {
			select {
			case <-until: // the server stops
				return nil
			default:
				return fmt.Errorf("begin another log file: %w", err)
			}
		}
	}
}

// observe prints the statements that fail, or all: BRAID_STORM_TRACE=1054 or all.
func observe(t *testing.T, sql string, err error) {
	switch trace := os.Getenv("BRAID_STORM_TRACE"); {
	case trace == "all", trace != "" && trace == strconv.Itoa(int(sqlconn.ErrCode(err))):
		t.Logf("%s: %v", sql, err)
	}
}

func logTo(t *testing.T) io.Writer {
	if os.Getenv("BRAID_TEST_LOG") == "" {
		return io.Discard
	}
	return os.Stderr
}

func executed(t *testing.T, srv *mysqld.Server) gtid.Set {
	t.Helper()
	res, err := mysqldtest.Dial(t, srv.Root()).Query(t.Context(), "SELECT @@GLOBAL.gtid_executed")
	require.NoError(t, err)
	return gtid.MustParse(string(res.Rows[0][0]))
}

// reader follows one database until a position that it is told later.
type reader struct {
	model   *storm.Model
	source  *vstream.Local
	until   chan gtid.Set
	streams int
}

func (r *reader) run(ctx context.Context) error {
	end, known := gtid.Set{}, false
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for ctx.Err() == nil {
		err := r.follow(ctx, func() bool {
			select {
			case end = <-r.until:
				known = true
				time.AfterFunc(catchUp, func() { cancel(fmt.Errorf("the end was not reached within %v", catchUp)) })
			default:
			}
			return known && r.model.Position.Contains(end)
		})
		if err == nil || !cut(err) {
			return err
		}
	}
	return context.Cause(ctx)
}

// catchUp bounds how long a reader takes to the end when the storm is over.
const catchUp = 90 * time.Second

// follow reads one stream until done, or its end.
func (r *reader) follow(ctx context.Context, done func() bool) error {
	r.model.Begin()
	r.streams++
	stream, err := r.source.Open(ctx, vstream.Start{Position: r.model.Position.String(), Rules: filter.Rules{Rules: []filter.Rule{{DB: "/storm_.*", Table: "/.*"}}}})
	if err != nil {
		return err
	}
	defer stream.Close()
	for !done() {
		items, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := r.model.Apply(items); err != nil {
			return err
		}
	}
	return nil
}

// cut tells errors of the network, after which a stream is opened again, from those that mean something.
func cut(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network || storm.Away(err) || errors.Is(err, errs.MySQLUnreachable) || errors.Is(err, sqlconn.ErrLost) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
