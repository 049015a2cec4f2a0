package tablet

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"braid/internal/mysqld/mysqldtest"
	"braid/internal/throttle"
	"braid/internal/topo"
	"braid/internal/topo/memory"
)

// The bounds of a workflow's copy become figures: of the target's server, of the source's as its tablet tells, of the replicas as the topology has them.
func TestCopyProbes(t *testing.T) {
	server, _ := mysqldtest.Shared(t)
	topology := topo.New(memory.New())
	cache := topo.NewCache(topology)
	require.NoError(t, cache.Start(t.Context()))
	t.Cleanup(cache.Stop)
	var conns []*grpc.ClientConn
	t.Cleanup(func() {
		for _, c := range conns {
			require.NoError(t, c.Close())
		}
	})
	dial := func(addr string) (grpc.ClientConnInterface, error) {
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		conns = append(conns, conn)
		return conn, err
	}
	port := func() string {
		n, err := mysqldtest.FreePort()
		require.NoError(t, err)
		return fmt.Sprintf("127.0.0.1:%d", n)
	}
	tabletOf := func(uid uint32, keyspace string) *Tablet {
		admin := server.Admin()
		tablet, err := New(Config{Cell: "c", UID: uid, Keyspace: keyspace, Shard: "0", Type: topo.Primary, GRPCListen: port(), MySQLListen: port(), DBAddr: admin.Addr,
			AdminUser: admin.User, AdminPassword: admin.Password, AppUser: "app", ReplUser: server.Repl().User, ReplPassword: server.Repl().Password, GateUser: "gate"},
			Deps{Topo: topology, Cache: cache, Dial: dial, Log: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		return tablet
	}
	source, target := tabletOf(1, "src"), tabletOf(2, "dst")
	limits := throttle.Limits{SourceHistory: 1000, ReplicaLag: 2 * time.Second, Threads: 100, Query: "SELECT 4", QueryMax: 3}
	read := func(name string) (float64, error) {
		for _, p := range target.copyProbes("src", "0", limits) {
			if p.Figure().Where+" "+p.Figure().Name == name {
				defer p.Close()
				return p.Read(t.Context())
			}
		}
		t.Fatal("no figure " + name)
		return 0, nil
	}
	_, err := read("source src/0 history list length")
	require.ErrorContains(t, err, "it has no primary tablet")
	require.NoError(t, source.Start(t.Context()))
	t.Cleanup(source.Stop)
	require.Eventually(t, func() bool { _, ok := cache.PrimaryOf("src", "0"); return ok }, time.Minute, 10*time.Millisecond)
	v, err := read("source src/0 history list length")
	require.NoError(t, err)
	require.GreaterOrEqual(t, v, 0.0)
	v, err = read("target throttle query")
	require.NoError(t, err)
	require.Equal(t, 4.0, v)
	v, err = read("target number of running threads")
	require.NoError(t, err)
	require.GreaterOrEqual(t, v, 1.0)

	v, err = read("replicas of src/0 replication lag")
	require.NoError(t, err)
	require.Zero(t, v, "there is none")
	lag := func(uid uint32, keyspace string, kind topo.TabletType, ms int64) {
		_, err := topology.RegisterTablet(t.Context(), topo.Tablet{Alias: topo.TabletAlias("c", uid), Cell: "c", UID: uid, Keyspace: keyspace, Shard: "0", Type: kind, LagMS: ms, Reason: "starting"}, time.Minute)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return len(cache.TabletsOf(keyspace, "0", kind)) > 0 }, time.Minute, 10*time.Millisecond)
	}
	lag(11, "src", topo.Replica, 1500)
	lag(12, "src", topo.Rdonly, 2500)
	lag(13, "dst", topo.Replica, -1)
	v, err = read("replicas of src/0 replication lag")
	require.NoError(t, err)
	require.Equal(t, 2.5, v)
	_, err = read("replicas of dst/0 replication lag")
	require.ErrorContains(t, err, "tablet c-13 does not know its lag: starting")
	require.Empty(t, target.copyProbes("src", "0", throttle.Limits{}))
}
