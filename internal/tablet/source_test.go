package tablet

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	tabletpb "braid/api/tablet"
	"braid/internal/filter"
	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
	"braid/internal/throttle"
	"braid/internal/topo"
	"braid/internal/topo/memory"
)

// shards are two shards of real servers and tablets: src/0 with a primary, a replica and an RDONLY, and dst/0.
type shards struct {
	t                                *testing.T
	primary, rdonly, replica, target *mysqld.Server
	reader                           map[*mysqld.Server]*Tablet
	cache                            *topo.Cache
}

func newShards(t *testing.T) *shards {
	s := &shards{t: t, reader: map[*mysqld.Server]*Tablet{}}
	for _, server := range []**mysqld.Server{&s.primary, &s.rdonly, &s.replica} {
		*server = mysqldtest.New(t, mysqldtest.Options{})
	}
	s.target, _ = mysqldtest.Shared(t)
	mysqldtest.Exec(t, s.target, "DROP DATABASE IF EXISTS dst", "DROP DATABASE IF EXISTS _braid")
	topology := topo.New(memory.New())
	for _, keyspace := range []string{"src", "dst"} {
		require.NoError(t, topology.CreateKeyspace(t.Context(), keyspace))
		require.NoError(t, topology.CreateShard(t.Context(), keyspace, "0"))
	}
	s.cache = topo.NewCache(topology)
	require.NoError(t, s.cache.Start(t.Context()))
	t.Cleanup(s.cache.Stop)
	conns := map[string]*grpc.ClientConn{}
	dial := func(addr string) (_ grpc.ClientConnInterface, err error) {
		if conns[addr] == nil {
			conns[addr], err = grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		}
		return conns[addr], err
	}
	t.Cleanup(func() {
		for _, c := range conns {
			require.NoError(t, c.Close())
		}
	})
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("BRAID_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	port := func() string {
		n, err := mysqldtest.FreePort()
		require.NoError(t, err)
		return fmt.Sprintf("127.0.0.1:%d", n)
	}
	for i, of := range []struct {
		server   *mysqld.Server
		keyspace string
		kind     topo.TabletType
	}{{s.primary, "src", topo.Primary}, {s.rdonly, "src", topo.Rdonly}, {s.replica, "src", topo.Replica}, {s.target, "dst", topo.Primary}} {
		admin, repl, app := of.server.Admin(), of.server.Repl(), of.server.App()
		tablet, err := New(Config{Cell: "c", UID: uint32(i + 1), Keyspace: of.keyspace, Shard: "0", Type: of.kind, GRPCListen: port(), MySQLListen: port(), DBAddr: admin.Addr,
			AdminUser: admin.User, AdminPassword: admin.Password, AppUser: app.User, AppPassword: app.Password,
			ReplUser: repl.User, ReplPassword: repl.Password, GateUser: "gate"},
			Deps{Topo: topology, Cache: s.cache, Dial: dial, Log: log})
		require.NoError(t, err)
		require.NoError(t, tablet.Start(t.Context()))
		t.Cleanup(tablet.Stop)
		s.reader[of.server] = tablet
		s.serves(tablet)
	}
	return s
}

// serves waits until a tablet says that it does.
func (s *shards) serves(t *Tablet) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { rec, ok := s.cache.Tablet(t.cfg.Alias()); return ok && rec.Serving && rec.LagMS == 0 }, time.Minute, 10*time.Millisecond)
}

// create makes a stream from src/0 to dst/0 that copies as long as nothing is in the table closed of the target.
func (s *shards) create(workflow, types string) {
	s.t.Helper()
	gate := throttle.Limits{Query: "SELECT COUNT(*) FROM dst.closed", QueryMax: 0.5}
	_, err := s.reader[s.target].engine.Create(s.t.Context(), []*tabletpb.StreamSpec{{
		Workflow: workflow, SourceKeyspace: "src", SourceShard: "0", TabletTypes: types, Throttle: gate.JSON(), DbName: "dst",
		Rules: filter.Rules{Rules: []filter.Rule{{Table: workflow}}}.JSON(),
	}})
	require.NoError(s.t, err)
}

func (s *shards) stream(workflow string) *tabletpb.StreamStatus {
	all, err := s.reader[s.target].engine.List(s.t.Context(), workflow)
	require.NoError(s.t, err)
	require.Len(s.t, all, 1)
	return all[0]
}

func (s *shards) await(what string, cond func() bool) {
	s.t.Helper()
	require.Eventually(s.t, cond, time.Minute, 10*time.Millisecond, what)
}

func (s *shards) one(server *mysqld.Server, sql string) string {
	s.t.Helper()
	conn, err := sqlconn.Dial(s.t.Context(), server.Root())
	require.NoError(s.t, err)
	defer conn.Close()
	res, err := conn.Query(s.t.Context(), sql)
	require.NoError(s.t, err, sql)
	return string(res.Rows[0][0])
}

// chunkReads is how many SELECTs of the copy a server has seen since it logs statements.
func (s *shards) chunkReads(server *mysqld.Server) string {
	return s.one(server, "SELECT COUNT(*) FROM mysql.general_log WHERE argument RLIKE 'FORCE INDE[X].*LIMIT'")
}

// applied waits until the target has what the primary has executed.
func (s *shards) applied(workflow string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	_, err := s.reader[s.target].engine.WaitForPosition(ctx, workflow, map[int64]string{s.stream(workflow).Id: s.one(s.primary, "SELECT @@GLOBAL.gtid_executed")})
	require.NoError(s.t, err)
}

func (s *shards) equal(table string) {
	s.t.Helper()
	const sum = "SELECT CONCAT(COUNT(*), ' ', BIT_XOR(CAST(CRC32(CONCAT(id, ' ', n, ' ', SHA2(v, 224))) AS UNSIGNED))) FROM %s.%s"
	require.Equal(s.t, s.one(s.primary, fmt.Sprintf(sum, "src", table)), s.one(s.target, fmt.Sprintf(sum, "dst", table)))
}

// A copy reads from the RDONLY tablet, and the primary sees nothing of it. When the server of that dies in the middle, the copy goes on from the REPLICA. What
// follows is read from the primary: it does not matter to a cutover how far replicas are behind.
func TestCopyFromReplicas(t *testing.T) {
	s := newShards(t)
	const rows = 8_000
	mysqldtest.Exec(t, s.primary, "SET GLOBAL log_output='TABLE'", "SET GLOBAL general_log=ON")
	mysqldtest.Exec(t, s.replica, "SET GLOBAL log_output='TABLE'", "SET GLOBAL general_log=ON")
	for _, table := range []string{"moved", "slow"} {
		const columns = " (id INT PRIMARY KEY, n INT NOT NULL, v VARCHAR(6000) CHARACTER SET latin1 NOT NULL)"
		mysqldtest.Exec(t, s.primary, "CREATE TABLE src."+table+columns)
		mysqldtest.Exec(t, s.target, "CREATE TABLE dst."+table+columns)
	}
	mysqldtest.Exec(t, s.target, "CREATE TABLE dst.closed (id INT PRIMARY KEY)")
	mysqldtest.Exec(t, s.primary, "INSERT INTO src.slow VALUES (1, 1, 'a')")
	for from := 0; from < rows; from += 1000 { // 48 MB: more than may be under way at once
		mysqldtest.Exec(t, s.primary, fmt.Sprintf("INSERT INTO src.moved WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i+1 FROM n WHERE i<%d) SELECT i, i, REPEAT('v', 6000) FROM n", from+1, from+1000))
	}
	for _, server := range []*mysqld.Server{s.rdonly, s.replica} {
		require.Equal(t, "0", s.one(server, "SELECT WAIT_FOR_EXECUTED_GTID_SET('"+s.one(s.primary, "SELECT @@GLOBAL.gtid_executed")+"', 60)"))
	}
	writing, stop := context.WithCancel(t.Context())
	written := make(chan error, 1)
	go func() { written <- write(writing, s.primary.Root(), rows) }()
	defer func() {
		stop()
		require.NoError(t, <-written)
	}()

	s.create("moved", "RDONLY,REPLICA,PRIMARY")
	s.await("some rows are copied", func() bool { return s.stream("moved").RowsCopied > 0 })
	mysqldtest.Exec(t, s.target, "INSERT INTO dst.closed VALUES (1)")
	require.Equal(t, "c-2 (RDONLY)", s.stream("moved").ReadsFrom)
	require.Equal(t, "0", s.chunkReads(s.replica))
	s.rdonly.Kill()
	s.await("the stream reads elsewhere", func() bool { return s.stream("moved").ReadsFrom == "c-3 (REPLICA)" })
	require.Less(t, s.stream("moved").RowsCopied, int64(rows), "the test is about the middle of a copy")
	mysqldtest.Exec(t, s.target, "DELETE FROM dst.closed")
	s.await("the stream runs", func() bool { return s.stream("moved").State == "Running" })
	require.Equal(t, "c-1 (PRIMARY)", s.stream("moved").ReadsFrom)
	require.NotEqual(t, "0", s.chunkReads(s.replica))
	require.Equal(t, "0", s.chunkReads(s.primary), "the primary was spared")
	mysqldtest.Exec(t, s.replica, "STOP REPLICA SQL_THREAD")
	stop()
	s.applied("moved")
	s.equal("moved")

	// A stream that is to read from replicas alone waits for one to be fit, and follows it.
	mysqldtest.Exec(t, s.replica, "CHANGE REPLICATION SOURCE TO SOURCE_DELAY=3600", "START REPLICA")
	s.await("the replica is up", func() bool { rec, ok := s.cache.Tablet("c-3"); return ok && rec.Serving })
	mysqldtest.Exec(t, s.primary, "INSERT INTO src.slow VALUES (2, 2, 'b')")
	s.create("slow", "replica")
	s.await("it says why it waits", func() bool {
		return len(s.stream("slow").Message) > 0
	})
	require.Contains(t, s.stream("slow").Message, "no tablet of src/0 of type REPLICA can be read, the stream goes on by itself when one can: c-3")
	require.NotEqual(t, "Error", s.stream("slow").State)
	mysqldtest.Exec(t, s.replica, "STOP REPLICA", "CHANGE REPLICATION SOURCE TO SOURCE_DELAY=0", "START REPLICA")
	s.await("the stream runs", func() bool { return s.stream("slow").State == "Running" })
	require.Equal(t, "c-3 (REPLICA)", s.stream("slow").ReadsFrom)
	mysqldtest.Exec(t, s.primary, "INSERT INTO src.slow VALUES (3, 3, 'c')")
	s.applied("slow")
	s.equal("slow")
}

// write changes rows until ctx ends.
func write(ctx context.Context, cfg sqlconn.Config, rows int) error {
	conn, err := sqlconn.Dial(ctx, cfg)
	if err != nil {
		return err
	}
	defer conn.Close()
	for i := 0; ctx.Err() == nil; i++ {
		id := i * 7919 % rows
		for _, sql := range []string{
			fmt.Sprintf("UPDATE src.moved SET n = n + 1 WHERE id = %d", id),
			fmt.Sprintf("UPDATE src.moved SET id = id + %d WHERE id = %d", 2*rows, id+1),
			fmt.Sprintf("DELETE FROM src.moved WHERE id = %d", id+2),
			fmt.Sprintf("INSERT IGNORE INTO src.moved VALUES (%d, %d, 'new')", id+2, i),
		} {
			if _, err := conn.Exec(ctx, sql); err != nil && ctx.Err() == nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
	}
	return nil
}
