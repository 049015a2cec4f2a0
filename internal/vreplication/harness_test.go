package vreplication

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/filter"
	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
	"braid/internal/throttle"
	"braid/internal/topo"
	"braid/internal/vstream"
)

// side is a database on a server, with a session.
type side struct {
	*mysqld.Server
	t    testing.TB
	db   string
	conn *sqlconn.Conn
}

func newSide(t testing.TB, server *mysqld.Server, db string) *side {
	mysqldtest.Exec(t, server, "CREATE DATABASE IF NOT EXISTS "+sqlconn.QuoteIdent(db))
	return &side{Server: server, t: t, db: db, conn: mysqldtest.Dial(t, server.Root().WithDB(db))}
}

func (s *side) exec(statements ...string) {
	s.t.Helper()
	for _, sql := range statements {
		_, err := s.conn.Exec(s.t.Context(), sql)
		require.NoError(s.t, err, sql)
	}
}

func (s *side) one(sql string) string {
	s.t.Helper()
	res, err := s.conn.Query(s.t.Context(), sql)
	require.NoError(s.t, err, sql)
	if len(res.Rows) == 0 {
		return ""
	}
	return string(res.Rows[0][0])
}

func (s *side) executed() string { return s.one("SELECT @@GLOBAL.gtid_executed") }

// contents is a table as text, in order of a key.
func (s *side) contents(table string) string {
	s.t.Helper()
	res, err := s.conn.Query(s.t.Context(), "SELECT * FROM "+table+" ORDER BY 1, 2")
	require.NoError(s.t, err)
	var b strings.Builder
	for _, row := range res.Rows {
		fmt.Fprintf(&b, "%q\n", row)
	}
	return b.String()
}

// world is a target with an engine, and its sources by keyspace/shard.
type world struct {
	t       testing.TB
	target  *side
	sources map[string]*side
	engine  *Engine
	opened  atomic.Int64
	// wrap, if set, stands between the engine and a stream.
	wrap func(vstream.Source) vstream.Source
	// remote lets streams come over gRPC, as they do in a cluster.
	remote bool
	// sizes and probes, if set, are those of the engines that start from here on.
	sizes  *copySizes
	probes func(keyspace, shard string, limits throttle.Limits) []throttle.Probe
}

// newWorld starts an engine. All servers that are nil are the shared one, with databases of their own.
func newWorld(t testing.TB, target *mysqld.Server, sources map[string]*mysqld.Server) *world {
	w := &world{t: t, sources: map[string]*side{}}
	if target == nil {
		server, db := mysqldtest.Shared(t)
		w.target = newSide(t, server, db)
	} else {
		w.target = newSide(t, target, "target")
	}
	require.NoError(t, InitSidecar(t.Context(), w.target.conn))
	for name, server := range sources {
		if server == nil {
			shared, db := mysqldtest.Shared(t)
			w.sources[name] = newSide(t, shared, db+"_"+strings.Map(letters, name))
			t.Cleanup(func() {})
		} else {
			w.sources[name] = newSide(t, server, "source")
		}
	}
	w.start()
	t.Cleanup(func() { w.engine.Stop() })
	return w
}

func letters(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
		return r
	}
	return '_'
}

func testLog(t testing.TB) *slog.Logger {
	if os.Getenv("BRAID_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

func (w *world) start() {
	w.engine = NewEngine(Config{DBName: w.target.db, Keyspace: "ks", Shard: "0"}, Deps{Admin: w.target.Admin(), OpenSource: w.open, Log: testLog(w.t), Probes: w.probes})
	if w.sizes != nil {
		w.engine.sizes = *w.sizes
	}
	require.NoError(w.t, w.engine.Start(w.t.Context()))
}

// restart is what a killed tablet looks like to the database: its sessions end wherever they are.
func (w *world) restart() {
	w.engine.Stop()
	w.start()
}

func (w *world) open(_ context.Context, keyspace, shard string, _ []topo.TabletType) (vstream.Source, error) {
	w.opened.Add(1)
	s := w.sources[keyspace+"/"+shard]
	if s == nil {
		return nil, fmt.Errorf("no source %s/%s", keyspace, shard)
	}
	var source vstream.Source = vstream.NewLocal(vstream.LocalConfig{DB: s.Repl(), DBName: s.db}, testLog(w.t))
	if w.remote {
		source = overGRPC(w.t, source)
	}
	if w.wrap != nil {
		source = w.wrap(source)
	}
	return source, nil
}

// served is a tablet that has nothing but a source.
type served struct {
	tabletpb.UnimplementedTabletServer
	source vstream.Source
}

func (s *served) Stream(rpc grpc.BidiStreamingServer[tabletpb.StreamRequest, tabletpb.StreamResponse]) error {
	return errs.ToGRPC(vstream.Serve(rpc, s.source))
}

// overGRPC is the source as another tablet sees it.
func overGRPC(t testing.TB, source vstream.Source) vstream.Source {
	lis := bufconn.Listen(1 << 16)
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(vstream.MaxMessageBytes), grpc.MaxSendMsgSize(vstream.MaxMessageBytes))
	tabletpb.RegisterTabletServer(srv, &served{source: source})
	done := make(chan error, 1)
	go func() { done <- srv.Serve(lis) }()
	conn, err := grpc.NewClient("passthrough:///tablet", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		srv.Stop()
		require.NoError(t, <-done)
	})
	return vstream.NewRemote(conn)
}

func (w *world) spec(name string, rules ...filter.Rule) *tabletpb.StreamSpec {
	keyspace, shard, _ := strings.Cut(name, "/")
	return &tabletpb.StreamSpec{Workflow: "w", SourceKeyspace: keyspace, SourceShard: shard, Rules: filter.Rules{Rules: rules}.JSON(), DbName: w.target.db}
}

func (w *world) create(specs ...*tabletpb.StreamSpec) []*tabletpb.StreamStatus {
	w.t.Helper()
	streams, err := w.engine.Create(w.t.Context(), specs)
	require.NoError(w.t, err)
	return streams
}

func (w *world) list() []*tabletpb.StreamStatus {
	w.t.Helper()
	streams, err := w.engine.List(w.t.Context(), "w")
	require.NoError(w.t, err)
	return streams
}

// await waits until all streams are in a state.
func (w *world) await(state State) []*tabletpb.StreamStatus {
	w.t.Helper()
	var streams []*tabletpb.StreamStatus
	require.Eventually(w.t, func() bool {
		streams = w.list()
		for _, s := range streams {
			if s.State != state.String() {
				return false
			}
		}
		return true
	}, time.Minute, 20*time.Millisecond, "streams: %v", lazy{func() any { return w.list() }})
	return streams
}

// lazy is printed when a test fails, not when the condition begins.
type lazy struct{ f func() any }

func (l lazy) String() string { return fmt.Sprint(l.f()) }

// catchUp waits until the target has applied what its sources have executed.
func (w *world) catchUp() {
	w.t.Helper()
	positions := map[int64]string{}
	for _, s := range w.list() {
		positions[s.Id] = w.sources[s.Spec.SourceKeyspace+"/"+s.Spec.SourceShard].executed()
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	_, err := w.engine.WaitForPosition(ctx, "w", positions)
	require.NoError(w.t, err)
}

// equal compares tables of one source with the target's.
func (w *world) equal(source string, tables ...string) {
	w.t.Helper()
	for _, table := range tables {
		require.Equal(w.t, w.sources[source].contents(table), w.target.contents(table), table)
	}
}

func rule(table string) filter.Rule { return filter.Rule{Table: table} }

// source1 is one source, on the shared server.
var source1 = map[string]*mysqld.Server{"src/0": nil}
