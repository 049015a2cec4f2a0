package gate

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	gosql "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
	"braid/internal/tablet/queryserver"
	"braid/internal/topo"
	"braid/internal/topo/memory"
)

// testCluster is a gate, tablets' query servers and real mysqlds: keyspace commerce on one, customer on two shards, and a
// database "plain" that holds what both shards hold.
type testCluster struct {
	t       testing.TB
	topo    *topo.Topology
	cache   *topo.Cache
	gate    *Gate
	tablets map[string]*testTablet // by shard: commerce/0, customer/-80, …
	plain   *mysqld.Server
	uid     uint32
}

type testTablet struct {
	*queryserver.Server
	mysqld *mysqld.Server
	cache  *topo.Cache
	rec    topo.Tablet
	reg    *topo.TabletRegistration
	cfg    queryserver.Config
}

const sidecar = "CREATE TABLE IF NOT EXISTS _braid.dependency (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, gtid VARCHAR(255) NOT NULL)"

const commerceVSchema = `{"tables": {
	"product": {}, "seq": {"type": "sequence"}, "order_seq": {"type": "sequence"},
	"ticket": {"auto_increment": {"column": "id", "sequence": "commerce.seq"}}}}`

const customerVSchema = `{"sharded": true, "vindexes": {"hash": {"type": "hash"}, "xx": {"type": "xxhash"}}, "tables": {
	"customer": {"column_vindexes": [{"column": "customer_id", "name": "hash"}], "auto_increment": {"column": "customer_id", "sequence": "commerce.seq"}},
	"corder": {"column_vindexes": [{"column": "customer_id", "name": "hash"}], "auto_increment": {"column": "order_id", "sequence": "commerce.order_seq"}},
	"words": {"column_vindexes": [{"column": "id", "name": "hash"}]},
	"named": {"column_vindexes": [{"column": "name", "name": "xx"}]},
	"country": {"type": "reference"}}}`

var commerceTables = []string{
	"CREATE TABLE product (sku VARCHAR(100) PRIMARY KEY, price BIGINT)",
	"CREATE TABLE ticket (id BIGINT PRIMARY KEY, text VARCHAR(100))",
	"CREATE TABLE plain_auto (id BIGINT AUTO_INCREMENT PRIMARY KEY, v INT)",
	"CREATE TABLE seq (id INT PRIMARY KEY, next_id BIGINT, cache BIGINT) COMMENT 'vitess_sequence'",
	"CREATE TABLE order_seq (id INT PRIMARY KEY, next_id BIGINT, cache BIGINT) COMMENT 'vitess_sequence'",
	"INSERT INTO seq VALUES (0, 1000, 10)", "INSERT INTO order_seq VALUES (0, 5000, 10)",
}

var customerTables = []string{
	"CREATE TABLE customer (customer_id BIGINT PRIMARY KEY, email VARCHAR(100), joined DATETIME(3), score DECIMAL(10,2), ratio DOUBLE, level ENUM('low','mid','high'))",
	"CREATE TABLE corder (order_id BIGINT PRIMARY KEY, customer_id BIGINT NOT NULL, sku VARCHAR(100), price BIGINT, f FLOAT, ts TIMESTAMP(6) NULL, b VARBINARY(20), doc JSON, txt VARCHAR(50) CHARACTER SET latin1, g BIGINT AS (price + 1))",
	"CREATE TABLE words (id BIGINT PRIMARY KEY, a VARCHAR(50) COLLATE utf8mb4_0900_ai_ci, g VARCHAR(50) COLLATE utf8mb4_general_ci, l VARCHAR(50) CHARACTER SET latin1, b VARCHAR(50) COLLATE utf8mb4_bin, x VARBINARY(50), t TIME(2), d DATE, y YEAR, n DECIMAL(30,10), u BIGINT UNSIGNED)",
	"CREATE TABLE named (name VARCHAR(50) COLLATE utf8mb4_0900_bin PRIMARY KEY, v INT)",
	"CREATE TABLE country (code CHAR(2) PRIMARY KEY, name VARCHAR(50))",
}

func newCluster(t testing.TB) *testCluster {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a mysqld")
	}
	ctx := t.Context()
	c := &testCluster{t: t, topo: topo.New(memory.New()), tablets: map[string]*testTablet{}}
	require.NoError(t, c.topo.CreateCell(ctx, "zone1"))
	for _, ks := range []string{"commerce", "customer"} {
		require.NoError(t, c.topo.CreateKeyspace(ctx, ks))
	}
	c.plain = mysqldtest.New(t, mysqldtest.Options{})
	mysqldtest.Exec(t, c.plain, append([]string{"CREATE DATABASE plain", "USE plain"}, customerTables...)...)
	c.addTablet("commerce", "0", c.plain, commerceTables)
	c.addTablet("customer", "-80", nil, customerTables)
	c.addTablet("customer", "80-", nil, customerTables)
	c.vschema("commerce", commerceVSchema)
	c.vschema("customer", customerVSchema)
	c.cache = c.newCache()
	c.gate = c.newGate(c.cache)
	c.synced()
	return c
}

// synced waits until the gate knows all tablets, shards and VSchemas.
func (c *testCluster) synced() {
	r, err := c.topo.Routing(c.t.Context())
	require.NoError(c.t, err)
	require.Eventually(c.t, func() bool {
		if c.cache.Routing().Epoch < r.Epoch || len(c.cache.VSchemas()) < 2 || len(c.cache.Tablets()) < len(c.tablets) {
			return false
		}
		for _, t := range c.tablets {
			if p, ok := c.cache.PrimaryOf(t.rec.Keyspace, t.rec.Shard); !ok || p.Alias != t.rec.Alias || t.cache.Routing().Epoch < r.Epoch {
				return false
			}
		}
		return true
	}, 10*time.Second, time.Millisecond)
}

func (c *testCluster) newCache() *topo.Cache {
	cache := topo.NewCache(c.topo)
	require.NoError(c.t, cache.Start(c.t.Context()))
	c.t.Cleanup(cache.Stop)
	return cache
}

func (c *testCluster) newGate(cache *topo.Cache) *Gate {
	g, err := New(Config{Listen: "127.0.0.1:0", Users: map[string]string{"app": "pass word", "other": "x"}, TabletUser: "gate", TabletPassword: "secret", Hold: 20 * time.Second},
		Deps{Topo: c.topo, Cache: cache, Log: c.log()})
	require.NoError(c.t, err)
	require.NoError(c.t, g.Start(c.t.Context()))
	c.t.Cleanup(g.Stop)
	return g
}

func (c *testCluster) log() *slog.Logger {
	if os.Getenv("BRAID_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.DiscardHandler)
}

func (c *testCluster) vschema(keyspace, doc string) {
	_, err := c.topo.SetVSchema(c.t.Context(), keyspace, []byte(doc), -1)
	require.NoError(c.t, err)
}

// addTablet starts a primary of a shard, on a server of its own unless one is given.
func (c *testCluster) addTablet(keyspace, shard string, server *mysqld.Server, tables []string) *testTablet {
	ctx := c.t.Context()
	if server == nil {
		server = mysqldtest.New(c.t, mysqldtest.Options{})
	}
	mysqldtest.Exec(c.t, server, append([]string{"CREATE DATABASE IF NOT EXISTS _braid", sidecar, "CREATE DATABASE " + keyspace, "USE " + keyspace}, tables...)...)
	require.NoError(c.t, c.topo.CreateShard(ctx, keyspace, shard))
	c.uid++
	t := &testTablet{mysqld: server, cache: c.newCache()}
	t.cfg = queryserver.Config{
		Listen: "127.0.0.1:0", Keyspace: keyspace, Shard: shard, Type: func() topo.TabletType { return topo.Primary },
		Backend: server.App(), GateUser: "gate", GatePassword: "secret",
	}
	t.Server = queryserver.New(t.cfg, queryserver.Deps{Routing: t.cache, Log: c.log()})
	require.NoError(c.t, t.Start(ctx))
	c.t.Cleanup(func() { t.Stop() })
	t.cfg.Listen = t.Addr()
	t.rec = topo.Tablet{
		Alias: fmt.Sprintf("zone1-%d", 100+c.uid), Cell: "zone1", UID: 100 + c.uid, Keyspace: keyspace, Shard: shard, Type: topo.Primary,
		MySQLAddr: t.Addr(), DBAddr: server.Addr(), Serving: true, GRPCAddr: "127.0.0.1:1",
	}
	reg, err := c.topo.RegisterTablet(ctx, t.rec, time.Minute)
	require.NoError(c.t, err)
	t.reg = reg
	require.NoError(c.t, c.topo.SetShardPrimary(ctx, keyspace, shard, t.rec.Alias))
	c.tablets[keyspace+"/"+shard] = t
	return t
}

// addReplica starts a query server of type REPLICA on the primary's server.
func (c *testCluster) addReplica(keyspace, shard string) *queryserver.Server {
	ctx := c.t.Context()
	primary := c.tablets[keyspace+"/"+shard]
	cfg := primary.cfg
	cfg.Listen, cfg.Type = "127.0.0.1:0", func() topo.TabletType { return topo.Replica }
	server := queryserver.New(cfg, queryserver.Deps{Routing: primary.cache, Log: c.log()})
	require.NoError(c.t, server.Start(ctx))
	c.t.Cleanup(server.Stop)
	c.uid++
	rec := primary.rec
	rec.Alias, rec.UID, rec.Type, rec.MySQLAddr = fmt.Sprintf("zone1-%d", 100+c.uid), 100+c.uid, topo.Replica, server.Addr()
	_, err := c.topo.RegisterTablet(ctx, rec, time.Minute)
	require.NoError(c.t, err)
	require.Eventually(c.t, func() bool { return len(c.cache.TabletsOf(keyspace, shard, topo.Replica)) == 1 }, 5*time.Second, time.Millisecond)
	return server
}

// restart ends a tablet's query server and starts another at the same address.
func (c *testCluster) restart(t *testTablet) {
	t.Stop()
	t.Server = queryserver.New(t.cfg, queryserver.Deps{Routing: t.cache, Log: c.log()})
	require.Eventually(c.t, func() bool { return t.Start(c.t.Context()) == nil }, 10*time.Second, time.Millisecond)
}

func (c *testCluster) dsn(db, params string) string {
	cfg := gosql.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.DBName = "app", "pass word", "tcp", c.gate.Addr(), db
	if params != "" {
		params = "?" + params
	}
	return cfg.FormatDSN() + params
}

// db is a pool of connections to the gate.
func (c *testCluster) db(db, params string) *sql.DB {
	pool, err := sql.Open("mysql", c.dsn(db, params))
	require.NoError(c.t, err)
	c.t.Cleanup(func() { pool.Close() })
	return pool
}

// conn is one connection to the gate.
func (c *testCluster) conn(t testing.TB, db, params string) *sql.Conn {
	conn, err := c.db(db, params).Conn(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// root is a connection to the server of a shard.
func (c *testCluster) root(t testing.TB, shard string) *sqlconn.Conn {
	cfg := c.tablets[shard].mysqld.Root()
	cfg.DB, _, _ = strings.Cut(shard, "/")
	return mysqldtest.Dial(t, cfg)
}

type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// rows runs a query and renders its rows, values parted by '|'. NULL is <nil>.
func rows(t testing.TB, q queryer, query string, args ...any) []string {
	t.Helper()
	out, err := tryRows(q, query, args...)
	require.NoError(t, err, query)
	return out
}

func tryRows(q queryer, query string, args ...any) ([]string, error) {
	res, err := q.QueryContext(context.Background(), query, args...)
	if err != nil {
		return nil, err
	}
	defer res.Close()
	cols, err := res.Columns()
	if err != nil {
		return nil, err
	}
	out := []string{}
	for res.Next() {
		cells := make([]sql.RawBytes, len(cols))
		ptrs := make([]any, len(cols))
		for i := range cells {
			ptrs[i] = &cells[i]
		}
		if err := res.Scan(ptrs...); err != nil {
			return nil, err
		}
		var line []string
		for _, cell := range cells {
			if cell == nil {
				line = append(line, "<nil>")
			} else {
				line = append(line, string(cell))
			}
		}
		out = append(out, strings.Join(line, "|"))
	}
	return out, res.Err()
}

func exec(t testing.TB, q queryer, query string, args ...any) sql.Result {
	t.Helper()
	res, err := q.ExecContext(context.Background(), query, args...)
	require.NoError(t, err, query)
	return res
}

func affected(t testing.TB, res sql.Result) int64 {
	t.Helper()
	n, err := res.RowsAffected()
	require.NoError(t, err)
	return n
}

func insertID(t testing.TB, res sql.Result) int64 {
	t.Helper()
	n, err := res.LastInsertId()
	require.NoError(t, err)
	return n
}

// code is the number of a MySQL error; 0 for none, -1 for something else.
func code(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := err.(*gosql.MySQLError); ok {
		return int(e.Number)
	}
	return -1
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

func itoa(n int) string { return strconv.Itoa(n) }
