package queryserver

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/stretchr/testify/require"

	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/mysqlproto"
	"braid/internal/topo"
)

// fakeRouting is a routing that a test sets. What Refresh brings in may be ahead of what is known.
type fakeRouting struct {
	known, stored atomic.Pointer[topo.Routing]
	refreshes     atomic.Int64
}

func (f *fakeRouting) Routing() *topo.Routing { return f.known.Load() }
func (f *fakeRouting) Refresh(context.Context) error {
	f.refreshes.Add(1)
	f.known.Store(f.stored.Load())
	return nil
}

func (f *fakeRouting) set(r *topo.Routing) {
	f.stored.Store(r)
	f.known.Store(r)
}

type fixture struct {
	*Server
	t       *testing.T
	db      string
	mysqld  *mysqld.Server
	routing *fakeRouting
	typ     atomic.Pointer[topo.TabletType]
}

func start(t *testing.T) *fixture {
	server, db := mysqldtest.Shared(t)
	f := &fixture{t: t, db: db, mysqld: server, routing: &fakeRouting{}}
	primary := topo.Primary
	f.typ.Store(&primary)
	f.routing.set(f.open(1))
	f.Server = New(Config{
		Listen: "127.0.0.1:0", Keyspace: db, Shard: "-", Type: func() topo.TabletType { return *f.typ.Load() },
		Backend: server.App(), GateUser: "gate", GatePassword: "secret",
	}, Deps{Routing: f.routing, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, f.Start(t.Context()))
	t.Cleanup(f.Stop)
	mysqldtest.Exec(t, server, "CREATE TABLE "+db+".t (id BIGINT AUTO_INCREMENT PRIMARY KEY, v BIGINT)", "CREATE TABLE "+db+".u (id BIGINT PRIMARY KEY)")
	return f
}

// open is a routing without fences.
func (f *fixture) open(epoch uint64) *topo.Routing {
	return &topo.Routing{Epoch: epoch, Keyspaces: map[string]topo.KeyspaceRouting{f.db: {topo.Primary: {"-"}}}}
}

// fenced is one with a fence on tables; none means all.
func (f *fixture) fenced(epoch uint64, tables ...string) *topo.Routing {
	r := f.open(epoch)
	r.Fences = map[string]topo.Fence{"w": {Keyspace: f.db, Shards: []string{"-"}, Tables: tables, Epoch: epoch}}
	return r
}

type gateConn struct {
	*mysqlproto.Client
	f *fixture
}

func (f *fixture) connect() *gateConn {
	f.t.Helper()
	c, err := mysqlproto.Dial(f.t.Context(), mysqlproto.Login{Addr: f.Addr(), User: "gate", Password: "secret", DB: f.db})
	require.NoError(f.t, err)
	f.t.Cleanup(c.Abort)
	return &gateConn{c, f}
}

// exec sends a statement with a tag, or without when epoch is 0.
func (c *gateConn) exec(epoch uint64, write bool, table, sql string) (mysqlproto.OK, error) {
	if epoch > 0 {
		sql = string(mysqlproto.Tag{Epoch: epoch, Write: write, Keyspace: c.f.db, Shard: "-", Tables: []string{table}}.Append(nil)) + sql
	}
	resp, err := c.Exec(context.Background(), sql)
	if err == nil && resp.Err != nil {
		err = resp.Err
	}
	return resp.OK, err
}

func (c *gateConn) must(epoch uint64, write bool, table, sql string) mysqlproto.OK {
	c.f.t.Helper()
	ok, err := c.exec(epoch, write, table, sql)
	require.NoError(c.f.t, err)
	return ok
}

func state(err error) string {
	if e := mysqlproto.AsMySQL(err); e != nil {
		return e.State
	}
	return fmt.Sprint(err)
}

func TestStatementsAreRelayed(t *testing.T) {
	f := start(t)
	c := f.connect()
	ok := c.must(1, true, "t", "INSERT INTO t (v) VALUES (1), (2)")
	require.EqualValues(t, 2, ok.Affected)
	require.EqualValues(t, 1, ok.InsertID)
	require.NotEmpty(t, ok.GTID(), "the GTID of a commit is reported")

	c.must(0, false, "", "BEGIN")
	ok = c.must(1, true, "t", "UPDATE t SET v = 3 WHERE id = 1")
	require.True(t, ok.InTransaction())
	c.must(0, false, "", "ROLLBACK")

	tag := mysqlproto.Tag{Epoch: 1, Keyspace: f.db, Shard: "-", Tables: []string{"t"}}
	cols, rows, err := c.Query(t.Context(), string(tag.Append(nil))+"SELECT id, v FROM t ORDER BY id")
	require.NoError(t, err)
	require.Equal(t, "v", cols[1].Name)
	require.Equal(t, [][][]byte{{[]byte("1"), []byte("1")}, {[]byte("2"), []byte("2")}}, rows)

	_, err = c.exec(1, true, "t", "INSERT INTO t VALUES (1, 1)")
	require.EqualValues(t, mysql.ER_DUP_ENTRY, mysqlproto.AsMySQL(err).Code)
	_, err = c.exec(0, false, "", "SELECT 1")
	require.ErrorContains(t, err, "gates only")

	require.NoError(t, c.Send(mysql.COM_RESET_CONNECTION, nil))
	resp, err := c.Response()
	require.NoError(t, err)
	require.Nil(t, resp.Err)
	require.NotEmpty(t, c.must(1, true, "t", "INSERT INTO t (v) VALUES (9)").GTID(), "settings of the tablet survive a reset")
}

func TestEpochs(t *testing.T) {
	f := start(t)
	f.routing.set(f.open(5))
	c := f.connect()
	_, err := c.exec(4, false, "t", "SELECT 1 FROM t")
	require.Equal(t, "BR001", state(err))
	require.ErrorContains(t, err, "epoch=5")

	f.routing.stored.Store(f.open(6)) // the tablet's watch is behind
	c.must(6, true, "t", "INSERT INTO t (v) VALUES (1)")
	_, err = c.exec(7, true, "t", "INSERT INTO t (v) VALUES (1)")
	require.Equal(t, "BR003", state(err), "an epoch that does not exist")

	c.must(0, false, "", "BEGIN")
	c.must(6, true, "t", "INSERT INTO t (v) VALUES (1)")
	f.routing.set(f.open(8))
	c.must(6, true, "t", "INSERT INTO t (v) VALUES (1)") // the transaction had begun before
	c.must(0, false, "", "COMMIT")
	c.must(0, false, "", "BEGIN")
	_, err = c.exec(6, true, "t", "INSERT INTO t (v) VALUES (1)")
	require.Equal(t, "BR001", state(err), "the next one must know the routing")
}

func TestServing(t *testing.T) {
	f := start(t)
	c := f.connect()
	f.SetServing(false, "mysqld is down")
	_, err := c.exec(1, false, "t", "SELECT 1 FROM t")
	require.Equal(t, "BR003", state(err))
	require.ErrorContains(t, err, "mysqld is down")
	f.SetServing(true, "")
	c.must(1, false, "t", "SELECT 1 FROM t")

	replica := topo.Replica
	f.typ.Store(&replica)
	_, err = c.exec(1, true, "t", "INSERT INTO t (v) VALUES (1)")
	require.EqualValues(t, mysql.ER_OPTION_PREVENTS_STATEMENT, mysqlproto.AsMySQL(err).Code)
	c.must(1, false, "t", "SELECT 1 FROM t")
}

// F1: a fence waits for open transactions that have written, lets them finish, and lets nothing else in.
func TestFenceDrains(t *testing.T) {
	f := start(t)
	writer, other, reader := f.connect(), f.connect(), f.connect()
	writer.must(0, false, "", "BEGIN")
	writer.must(1, true, "t", "INSERT INTO t (v) VALUES (1)")
	reader.must(0, false, "", "BEGIN")
	reader.must(1, false, "t", "SELECT 1 FROM t")

	f.routing.set(f.fenced(2, "t"))
	_, err := other.exec(2, true, "t", "INSERT INTO t (v) VALUES (2)")
	require.Equal(t, "BR002", state(err))
	other.must(2, true, "u", "INSERT INTO u VALUES (2)") // not fenced
	before := f.routing.refreshes.Load()
	other.must(2, false, "t", "SELECT 1 FROM t")
	require.Greater(t, f.routing.refreshes.Load(), before, "F4: a read of what is fenced reads the routing")
	_, err = reader.exec(1, true, "t", "INSERT INTO t (v) VALUES (2)")
	require.Equal(t, "BR002", state(err), "a transaction that has not written does not begin to")

	done := make(chan int, 1)
	go func() {
		killed, err := f.AwaitFence(t.Context(), 2, 20*time.Second)
		require.NoError(t, err)
		done <- killed
	}()
	writer.must(1, true, "t", "INSERT INTO t (v) VALUES (3)")
	select {
	case <-done:
		t.Fatal("the fence did not wait for the transaction")
	default:
	}
	writer.must(0, false, "", "COMMIT")
	require.Zero(t, <-done)
	_, err = writer.exec(2, true, "t", "INSERT INTO t (v) VALUES (4)")
	require.Equal(t, "BR002", state(err))
	f.routing.set(f.open(3))
	writer.must(3, true, "t", "INSERT INTO t (v) VALUES (5)")
}

func TestFenceKillsWhatDoesNotEnd(t *testing.T) {
	f := start(t)
	sleeper, writer := f.connect(), f.connect()
	writer.must(0, false, "", "BEGIN")
	writer.must(1, true, "t", "INSERT INTO t (v) VALUES (7)")
	answer := make(chan error, 1)
	go func() {
		_, err := sleeper.exec(1, true, "t", "INSERT INTO t (v) SELECT SLEEP(100)")
		answer <- err
	}()
	require.Eventually(t, func() bool {
		f.Server.mu.Lock()
		defer f.Server.mu.Unlock()
		n := 0
		for _, s := range f.Server.mu.sessions {
			if s.work.wrote {
				n++
			}
		}
		return n == 2
	}, 10*time.Second, time.Millisecond)
	f.routing.stored.Store(f.fenced(2)) // AwaitFence reads it itself
	killed, err := f.AwaitFence(t.Context(), 2, 20*time.Millisecond)
	require.NoError(t, err)
	require.Equal(t, 2, killed)
	require.Error(t, <-answer)
	_, err = writer.exec(0, false, "", "COMMIT")
	require.Equal(t, "40001", state(err), "an idle transaction learns that it was rolled back")
	// A killed SLEEP returns, and its INSERT may still commit: before AwaitFence returned, not after.
	require.Zero(t, f.count("v = 7"))
	_, err = f.AwaitFence(t.Context(), 3, 0)
	require.ErrorContains(t, err, "not yet 3")
}

func (f *fixture) count(where ...string) int {
	f.t.Helper()
	conn := mysqldtest.Dial(f.t, f.mysqld.Root())
	res, err := conn.Query(f.t.Context(), "SELECT COUNT(*) FROM "+f.db+".t WHERE "+strings.Join(append(where, "1"), " AND "))
	require.NoError(f.t, err)
	var n int
	fmt.Sscan(string(res.Rows[0][0]), &n)
	return n
}

// F1: statements that outlived the gate connection which sent them do not outlive the fence.
func TestFenceEndsStrangers(t *testing.T) {
	f := start(t)
	stranger, err := mysqlproto.Dial(t.Context(), mysqlproto.Login{Addr: f.mysqld.App().Addr, User: f.mysqld.App().User, Password: f.mysqld.App().Password, DB: f.db})
	require.NoError(t, err)
	defer stranger.Abort()
	for _, sql := range []string{"BEGIN", "INSERT INTO t (v) VALUES (1)"} {
		resp, err := stranger.Exec(t.Context(), sql)
		require.NoError(t, err)
		require.Nil(t, resp.Err)
	}
	f.routing.set(f.fenced(2))
	_, err = f.AwaitFence(t.Context(), 2, time.Second)
	require.NoError(t, err)
	resp, err := stranger.Exec(t.Context(), "COMMIT")
	require.True(t, err != nil || resp.Err != nil)
	require.Zero(t, f.count())
}

// F1 under load: writers hammer while fences come and go. What is in the table when AwaitFence returns is all there is until
// the fence goes, and every acknowledged write is there.
func TestFenceUnderLoad(t *testing.T) {
	f := start(t)
	var epoch atomic.Uint64
	epoch.Store(1)
	var acked atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() { hammer(ctx, f, w, &epoch, &acked) })
	}
	for round := range 15 {
		require.Eventually(t, func() bool { return acked.Load() > int64(20*round) }, 20*time.Second, time.Millisecond)
		e := epoch.Load() + 1
		f.routing.set(f.fenced(e))
		_, err := f.AwaitFence(t.Context(), e, 5*time.Millisecond)
		require.NoError(t, err)
		ackedThen, then := acked.Load(), f.count()
		require.LessOrEqual(t, ackedThen, int64(then), "an acknowledged write is missing")
		for range 3 {
			require.Equal(t, then, f.count(), "a write passed the fence")
		}
		epoch.Store(e + 1)
		f.routing.set(f.open(e + 1))
	}
	cancel()
	wg.Wait()
	require.LessOrEqual(t, acked.Load(), int64(f.count()))
	t.Logf("%d writes acknowledged, %d rows", acked.Load(), f.count())
}

func hammer(ctx context.Context, f *fixture, w int, epoch *atomic.Uint64, acked *atomic.Int64) {
	var c *mysqlproto.Client
	for i := 0; ctx.Err() == nil; i++ {
		if c == nil {
			var err error
			if c, err = mysqlproto.Dial(ctx, mysqlproto.Login{Addr: f.Addr(), User: "gate", Password: "secret", DB: f.db}); err != nil {
				continue
			}
		}
		g := &gateConn{c, f}
		rows, err := 1, error(nil)
		if (w+i)%2 == 0 {
			_, err = g.exec(epoch.Load(), true, "t", "INSERT INTO t (v) VALUES (1)")
		} else if _, err = g.exec(0, false, "", "BEGIN"); err == nil {
			rows = 2
			for range rows {
				if err == nil {
					_, err = g.exec(epoch.Load(), true, "t", "INSERT INTO t (v) VALUES (2)")
				}
			}
			if err == nil {
				_, err = g.exec(0, false, "", "COMMIT")
			} else if mysqlproto.AsMySQL(err) != nil {
				g.exec(0, false, "", "ROLLBACK") //nolint:errcheck // the connection shows it
			}
		}
		switch {
		case err == nil:
			acked.Add(int64(rows))
		case mysqlproto.AsMySQL(err) == nil || state(err) == "40001":
			c.Abort()
			c = nil
		}
	}
	if c != nil {
		c.Abort()
	}
}
