package gate

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	osexec "os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	goclient "github.com/go-mysql-org/go-mysql/client"
	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	tabletpb "braid/api/tablet"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/mysqlproto"
)

func testUse(t *testing.T, c *testCluster) {
	q := c.conn(t, "", "multiStatements=true")
	ex := func(sql string) { t.Helper(); run(t, q, sql) }
	require.Equal(t, []string{"<nil>"}, rows(t, q, "SELECT DATABASE()"))
	require.Equal(t, []string{"a|11"}, rows(t, q, "SELECT * FROM product WHERE sku = 'a'"), "a name that only one VSchema has")
	_, err := q.ExecContext(context.Background(), "SELECT * FROM plain_auto")
	require.Equal(t, 1046, code(err))
	_, err = q.ExecContext(context.Background(), "USE nowhere")
	require.Equal(t, 1049, code(err))

	ex("USE customer")
	ex("DELETE FROM customer WHERE customer_id < 9000")
	low, high := idsIn("customer/-80", 1, 1)[0], idsIn("customer/80-", 1, 1)[0]
	ex(fmt.Sprintf("INSERT INTO customer (customer_id) VALUES (%d), (%d)", low, high))
	for target, want := range map[string][]string{
		"`customer/-80`": {fmt.Sprint(low)}, "customer:80-": {fmt.Sprint(high)}, "customer/-80": {fmt.Sprint(low)},
		"customer/80-@primary": {fmt.Sprint(high)}, "customer": {fmt.Sprint(low), fmt.Sprint(high)},
	} {
		ex("USE " + target)
		got := rows(t, q, "SELECT customer_id FROM customer")
		slices.Sort(got)
		slices.Sort(want)
		require.Equal(t, want, got, target)
	}
	_, err = q.ExecContext(context.Background(), "USE customer/40-80")
	require.Equal(t, 1049, code(err))
	_, err = q.ExecContext(context.Background(), "USE customer@spare")
	require.Equal(t, 1049, code(err))
	ex("USE `customer/80-`; USE information_schema; USE customer")
	require.Equal(t, []string{"customer"}, rows(t, q, "SELECT DATABASE()"))
	ex("DELETE FROM customer")
}

func testReplicas(t *testing.T, c *testCluster) {
	q := c.conn(t, "customer@replica", "interpolateParams=true")
	c.addReplica("customer", "-80")
	c.addReplica("customer", "80-")
	require.Equal(t, []string{"0"}, rows(t, q, "SELECT COUNT(*) FROM customer"))
	_, err := q.ExecContext(context.Background(), "INSERT INTO customer (customer_id) VALUES (1)")
	require.Equal(t, 1290, code(err))
	_, err = q.ExecContext(context.Background(), "SELECT * FROM customer WHERE customer_id = 1 FOR UPDATE")
	require.Equal(t, 1290, code(err))
	run(t, q, "USE customer")
	run(t, q, "INSERT INTO customer (customer_id) VALUES (1)")
	run(t, q, "DELETE FROM customer")
}

// streamsTablet is a tablet's gRPC service that has one stream.
type streamsTablet struct {
	tabletpb.UnimplementedTabletServer
}

func (streamsTablet) ListStreams(context.Context, *tabletpb.ListStreamsRequest) (*tabletpb.ListStreamsResponse, error) {
	return &tabletpb.ListStreamsResponse{Streams: []*tabletpb.StreamStatus{{
		Id: 1, State: "Running", Position: "u:1-5", LagMs: 12, Spec: &tabletpb.StreamSpec{Workflow: "move", SourceKeyspace: "commerce", SourceShard: "0"},
	}}}, nil
}

func testShowStreams(t *testing.T, c *testCluster) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	tabletpb.RegisterTabletServer(server, streamsTablet{})
	go server.Serve(lis) //nolint:errcheck // it ends with the test
	t.Cleanup(server.Stop)
	for _, tablet := range c.tablets {
		tablet.rec.GRPCAddr = lis.Addr().String()
		require.NoError(t, tablet.reg.Update(t.Context(), tablet.rec))
	}
	q := c.conn(t, "", "")
	require.Eventually(t, func() bool {
		got, err := tryRows(q, "SHOW VREPLICATION STREAMS")
		return err == nil && len(got) == 3 && got[0] == "move|1|commerce|0|commerce/0|Running|u:1-5|12ms|"
	}, 10*time.Second, 10*time.Millisecond)
}

func run(t *testing.T, q queryer, sql string) {
	t.Helper()
	_, err := q.ExecContext(context.Background(), sql)
	require.NoError(t, err, sql)
}

func testShow(t *testing.T, c *testCluster) {
	q := c.conn(t, "customer", "interpolateParams=true")
	require.Equal(t, []string{"commerce", "customer", "information_schema"}, rows(t, q, "SHOW DATABASES"))
	require.Equal(t, []string{"customer"}, rows(t, q, "show databases like 'cust%'"))
	require.Equal(t, []string{"commerce", "customer"}, rows(t, q, "SHOW KEYSPACES"))
	require.Equal(t, []string{"commerce/0", "customer/-80", "customer/80-"}, rows(t, q, "SHOW VITESS_SHARDS"))
	require.Equal(t, []string{"customer/-80", "customer/80-"}, rows(t, q, "SHOW SHARDS LIKE 'customer/%'"))
	require.Len(t, rows(t, q, "SHOW TABLETS"), 3)
	require.Equal(t, []string{"corder", "country", "customer", "named", "words"}, rows(t, q, "SHOW TABLES"))
	require.Contains(t, rows(t, q, "SHOW TABLES FROM commerce"), "product")
	require.Contains(t, rows(t, q, "SHOW FULL TABLES FROM `commerce`"), "product|BASE TABLE")
	require.Len(t, rows(t, q, "SHOW COLUMNS FROM customer"), 6)
	require.Len(t, rows(t, q, "DESCRIBE commerce.product"), 2)
	require.Contains(t, rows(t, q, "SHOW CREATE TABLE customer")[0], "CREATE TABLE")
	require.Equal(t, []string{"sql_safe_updates|OFF"}, rows(t, q, "SHOW VARIABLES LIKE 'sql_safe_updates'"))
	require.NotEmpty(t, rows(t, q, "SHOW ENGINES"))
	require.NotEmpty(t, rows(t, q, "SHOW COLLATION LIKE 'utf8mb4_0900%'"))
	require.NotEmpty(t, rows(t, q, "SHOW PROCESSLIST"))
	require.Len(t, rows(t, q, "SHOW VSCHEMA"), 2)
	require.Len(t, rows(t, q, "SHOW VSCHEMA TABLES"), 5)
	require.Equal(t, []string{"customer|hash|hash|", "customer|xx|xxhash|"}, rows(t, q, "SHOW VSCHEMA VINDEXES"))
	require.Equal(t, []string{"customer"}, rows(t, q, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'customer' AND table_name = 'customer'"))
	require.Len(t, rows(t, q, "EXPLAIN FORMAT=ROUTE SELECT COUNT(*) FROM customer"), 2)
	require.NotEmpty(t, rows(t, q, "EXPLAIN SELECT * FROM customer WHERE customer_id = 5"))

	run(t, q, "SELECT 1 / 0")
	rows(t, q, "SELECT CAST('x' AS SIGNED) FROM country LIMIT 1")
	require.Contains(t, rows(t, q, "SHOW WARNINGS")[0], "1292")

	require.Equal(t, []string{"Braid"}, rows(t, q, "select @@version_comment limit 1"))
	require.Equal(t, []string{"1"}, rows(t, q, "SELECT 1"))
	require.NotEmpty(t, rows(t, q, "SELECT @@max_allowed_packet, @@system_time_zone, @@time_zone, @@auto_increment_increment"))

	require.Equal(t, []string{"nextval"}, columnOf(t, q, "select next 5 values from commerce.seq"))
	a, b := rows(t, q, "SELECT NEXT VALUE FROM commerce.seq"), rows(t, q, "SELECT NEXT VALUE FROM seq")
	require.NotEqual(t, a, b)
	for _, refused := range []string{"CREATE USER x", "CREATE DATABASE x", "LOAD DATA INFILE 'x' INTO TABLE customer", "LOCK TABLES customer READ"} {
		_, err := q.ExecContext(context.Background(), refused)
		require.Equal(t, 1235, code(err), refused)
	}
}

func columnOf(t *testing.T, q *sql.Conn, query string) []string {
	t.Helper()
	res, err := q.QueryContext(context.Background(), query)
	require.NoError(t, err)
	defer res.Close()
	cols, err := res.Columns()
	require.NoError(t, err)
	return cols
}

func testSettings(t *testing.T, c *testCluster) {
	q := c.conn(t, "customer", "interpolateParams=true")
	run(t, q, "SET sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), time_zone = '+03:00', @x = 5 + 1, @y = 'it''s'")
	for _, where := range []string{"customer_id = 1", "customer_id = 2", "customer_id = 3"} { // whatever shard
		rows(t, q, "SELECT * FROM customer WHERE "+where)
	}
	require.Equal(t, []string{"+03:00|6|it's"}, rows(t, q, "SELECT @@time_zone, @x, @y"))
	require.Contains(t, rows(t, q, "SELECT @@sql_mode")[0], "STRICT_ALL_TABLES")
	run(t, q, "USE commerce")
	require.Equal(t, []string{"+03:00|6"}, rows(t, q, "SELECT @@time_zone, @x FROM product LIMIT 1"))
	run(t, q, "SET NAMES latin1 COLLATE latin1_german1_ci")
	require.Equal(t, []string{"latin1|latin1_german1_ci"}, rows(t, q, "SELECT @@character_set_client, @@collation_connection"))
	for sql, want := range map[string]int{
		"SET nonsense = 1": 1193, "SET GLOBAL max_connections = 5": 1227, "SET sql_mode = 'ANSI_QUOTES'": 1235, "SET NAMES nonsense": 1115,
		"SET autocommit = 7": 1231, "SET time_zone = 'nowhere/at all'": 1298,
	} {
		_, err := q.ExecContext(context.Background(), sql)
		require.Equal(t, want, code(err), sql)
	}
	require.Equal(t, []string{"+03:00"}, rows(t, q, "SELECT @@time_zone"))

	// A connection of the pool is as new for the next session.
	require.NoError(t, q.Close())
	for range 3 {
		next := c.conn(t, "commerce", "")
		require.Equal(t, []string{"SYSTEM|<nil>"}, rows(t, next, "SELECT @@time_zone, @x"))
	}
}

func testMultiStatements(t *testing.T, c *testCluster) {
	q := c.conn(t, "commerce", "multiStatements=true")
	res, err := q.QueryContext(context.Background(), "SELECT 1; SELECT sku FROM product ORDER BY sku; INSERT INTO product VALUES ('multi', 3); SELECT ';'")
	require.NoError(t, err)
	sets := 0
	for more := true; more; more = res.NextResultSet() {
		for res.Next() {
			sets++
		}
	}
	require.NoError(t, res.Err())
	require.NoError(t, res.Close())
	require.GreaterOrEqual(t, sets, 3)
	_, err = q.ExecContext(context.Background(), "DELETE FROM product WHERE sku = 'multi'; SELECT * FROM nope; DELETE FROM product")
	require.Equal(t, 1146, code(err))
	require.NotEmpty(t, rows(t, q, "SELECT * FROM product"), "nothing runs after an error")
}

// testClients speaks to the gate in other ways than go-sql-driver: go-mysql's client with its end-of-rows packets, TLS, resets, another
// user, and the mysql command line client.
func testClients(t *testing.T, c *testCluster) {
	conn, err := goclient.Connect(c.gate.Addr(), "app", "pass word", "commerce", func(conn *goclient.Conn) error {
		conn.UseSSL(true)
		return nil
	})
	require.NoError(t, err)
	defer conn.Close()
	r, err := conn.Execute("SELECT sku, price FROM product ORDER BY sku")
	require.NoError(t, err)
	v, err := r.GetString(0, 0)
	require.NoError(t, err)
	require.Equal(t, "a", v)
	stmt, err := conn.Prepare("SELECT price, sku FROM product WHERE sku = ?")
	require.NoError(t, err)
	require.Equal(t, 1, stmt.ParamNum())
	require.Equal(t, 2, stmt.ColumnNum())
	r, err = stmt.Execute("a")
	require.NoError(t, err)
	n, err := r.GetInt(0, 0)
	require.NoError(t, err)
	require.EqualValues(t, 11, n)
	require.NoError(t, stmt.Close())
	_, err = conn.Prepare("SELECT * FROM nope")
	require.ErrorContains(t, err, "1146")
	fields, err := conn.FieldList("product", "")
	require.NoError(t, err)
	require.Len(t, fields, 2)
	_, err = goclient.Connect(c.gate.Addr(), "app", "wrong", "commerce")
	require.ErrorContains(t, err, "1045")
	_, err = goclient.Connect(c.gate.Addr(), "nobody", "", "commerce")
	require.ErrorContains(t, err, "1045")
	_, err = goclient.Connect(c.gate.Addr(), "app", "pass word", "nowhere")
	require.ErrorContains(t, err, "1049")

	raw, err := mysqlproto.Dial(t.Context(), mysqlproto.Login{Addr: c.gate.Addr(), User: "app", Password: "pass word", DB: "commerce"})
	require.NoError(t, err)
	defer raw.Close()
	for _, sql := range []string{"SET @x = 1", "BEGIN", "INSERT INTO product VALUES ('reset', 1)"} {
		resp, err := raw.Exec(t.Context(), sql)
		require.NoError(t, err)
		require.Nil(t, resp.Err)
	}
	require.NoError(t, raw.Send(gomysql.COM_RESET_CONNECTION, nil))
	resp, err := raw.Response()
	require.NoError(t, err)
	require.Nil(t, resp.Err)
	_, got, err := raw.Query(t.Context(), "SELECT COUNT(*), @x FROM product WHERE sku = 'reset'")
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("0"), nil}, got[0])
	_, _, err = raw.Query(t.Context(), strings.Repeat("x", 20<<20))
	require.ErrorContains(t, err, "1064", "a command of more than one packet")
	_, got, err = raw.Query(t.Context(), "SELECT REPEAT('y', 20000000)")
	require.NoError(t, err)
	require.Len(t, got[0][0], 20000000)
}

func testCommandLine(t *testing.T, c *testCluster) {
	bin, err := mysqldtest.Binary()
	require.NoError(t, err)
	argv, env, err := bin.Tool("mysql")
	if err != nil {
		t.Skip("this MySQL came without its command line client")
	}
	argv = append(argv, "--no-defaults", "--host=127.0.0.1", "--port="+port(c.gate.Addr()), "--user=app", "--password=pass word", "customer", "--table")
	cmd := osexec.Command(argv[0], argv[1:]...)
	cmd.Env = env
	cmd.Stdin = strings.NewReader("INSERT INTO customer (customer_id, email) VALUES (1, 'cli'), (2, 'cli'), (3, 'cli');\nSELECT customer_id, email FROM customer ORDER BY customer_id;\nshow databases;\nuse commerce;\nSELECT COUNT(*) FROM product;\nSELECT VERSION();\nDELETE FROM customer.customer;\n")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "|           3 | cli   |")
	require.Contains(t, string(out), "| information_schema |")
	require.Contains(t, string(out), DefaultVersion)
}

func testKill(t *testing.T, c *testCluster) {
	victim, killer := c.conn(t, "commerce", ""), c.conn(t, "commerce", "")
	id := rows(t, victim, "SELECT CONNECTION_ID()")[0]
	done := make(chan error, 1)
	go func() {
		_, err := tryRows(victim, "SELECT SLEEP(100) FROM product")
		done <- err
	}()
	require.Eventually(t, func() bool {
		return slices.ContainsFunc(rows(t, killer, "SHOW PROCESSLIST"), func(r string) bool { return strings.HasPrefix(r, id+"|") && strings.Contains(r, "SLEEP") })
	}, 10*time.Second, 5*time.Millisecond)
	run(t, killer, "KILL QUERY "+id)
	require.Equal(t, 1317, code(<-done))
	require.Equal(t, []string{id}, rows(t, victim, "SELECT CONNECTION_ID()"), "the session lives on")
	require.Eventually(t, func() bool {
		res, err := c.root(t, "commerce/0").Query(t.Context(), "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '%SLEEP(100)%' AND INFO NOT LIKE '%PROCESSLIST%'")
		return err == nil && string(res.Rows[0][0]) == "0"
	}, 10*time.Second, 5*time.Millisecond)
	_, err := killer.ExecContext(context.Background(), "KILL 999999")
	require.Equal(t, 1094, code(err))
}
