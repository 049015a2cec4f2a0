package cluster

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/sqlconn"
	"braid/internal/topo"
)

// With real mysqlds: accounts work, a killed one comes back with its data, and a second start finds everything.
func TestRealMySQL(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a mysqld")
	}
	w := newWorld(t, func(_ string, spec *Spec, o *Options) {
		o.newMySQL = nil
		spec.Shards, spec.Types = []string{"shop_1/0"}, types(topo.Primary, topo.Replica)
	})
	begin := time.Now()
	require.NoError(t, w.Start(t.Context()))
	t.Logf("started in %v", time.Since(begin))
	primary, err := w.Plan().TabletConfig(100)
	require.NoError(t, err)
	admin := dial(t, primary.DBAddr, primary.Accounts.Admin, "")
	run(t, admin, "CREATE DATABASE shop_1", "CREATE TABLE shop_1.t (id INT PRIMARY KEY)")
	root := dial(t, filepath.Join(w.dir, "mysql-100", "mysql.sock"), primary.Accounts.Root, "")
	run(t, root, "CREATE DATABASE shopx1", "CREATE TABLE shopx1.t (id INT)")

	app := dial(t, primary.DBAddr, primary.Accounts.App, "shop_1")
	run(t, app, "INSERT INTO t VALUES (1)", "CREATE TABLE u (id INT)")
	_, err = app.Exec(t.Context(), "SELECT * FROM shopx1.t")
	require.Equal(t, uint16(1142), sqlconn.ErrCode(err), "an application sees its own database only: %v", err)
	_, err = app.Exec(t.Context(), "SELECT * FROM mysql.user")
	require.Equal(t, uint16(1142), sqlconn.ErrCode(err))

	require.NoError(t, w.Stop())
	again, err := New(w.dir, Spec{}, Options{})
	require.NoError(t, err)
	defer again.Stop()
	require.NoError(t, again.Start(t.Context()))
	res, err := dial(t, primary.DBAddr, primary.Accounts.Repl, "shop_1").Query(t.Context(), "SELECT COUNT(*) FROM t")
	require.NoError(t, err)
	require.Equal(t, "1", string(res.Rows[0][0]))
	require.NoError(t, again.Stop())
	require.Empty(t, processesOf(w.dir))
}

func dial(t *testing.T, addr string, a Account, db string) *sqlconn.Conn {
	t.Helper()
	conn, err := sqlconn.Dial(t.Context(), sqlconn.Config{Addr: addr, User: a.User, Password: a.Password, DB: db})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func run(t *testing.T, conn *sqlconn.Conn, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		_, err := conn.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
	}
}
