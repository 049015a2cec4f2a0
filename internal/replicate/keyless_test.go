package replicate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
	"braid/internal/vreplication"
)

func snapshot(c *Config) { c.WithoutKey = vreplication.SnapshotKeyless }
func lock(c *Config)     { c.WithoutKey = vreplication.LockKeyless }

// fillKeyless makes tables without a key: of every type that is hard to compare, with rows that are equal in all of them; and one whose
// unique key may be NULL.
func (w *world) fillKeyless() []string {
	w.source.exec("SET NAMES utf8mb4",
		"CREATE TABLE "+w.db+".plain (a int, f float, d double, j json, s varchar(40) COLLATE utf8mb4_0900_ai_ci, b blob, t timestamp(6) NULL, e enum('x','y'), "+
			"bits bit(9), y year, dec1 decimal(20,6), c char(5) COLLATE latin1_swedish_ci, bin binary(4), g int AS (a+1), se set('p','q'))",
		"CREATE TABLE "+w.db+".maybe (u int, v int, UNIQUE KEY (u))",
		"CREATE TABLE "+w.db2+".keyed (id int PRIMARY KEY, n int)", "INSERT INTO "+w.db2+".keyed VALUES (1, 0), (2, 0)",
		"INSERT INTO "+w.db+".maybe VALUES (1,1),(2,2),(NULL,3),(NULL,3),(NULL,4)")
	for range 3 { // each row three times
		w.source.exec("INSERT INTO " + w.db + ".plain (a,f,d,j,s,b,t,e,bits,y,dec1,c,bin,se) VALUES " + strings.Join(keylessRows, ","))
	}
	w.source.exec("SET NAMES binary")
	return []string{w.db + ".plain", w.db + ".maybe", w.db2 + ".keyed"}
}

var keylessRows = []string{
	`(1, 0.1, 0.1, '{"b": 1, "a": [1, 2.50, null]}', 'a', x'00ff', '2026-01-02 03:04:05.123456', 'x', b'1', 2026, 1.5, 'é', x'61', 'p')`,
	`(1, 0.1, 0.1, '{"b": 1, "a": [1, 2.50, null]}', 'A', x'00ff', '2026-01-02 03:04:05.123456', 'x', b'1', 2026, 1.5, 'e', x'61', 'p,q')`,
	`(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`,
	`(2, 16777216, 1e308, '1.0', 'ä''\\', '', NULL, 'y', b'100000000', 0, -0.000001, '', '', '')`,
	`(2, 1.17549435e-38, -2.2250738585072014e-308, '"1.0"', 'ä ', 'x', NULL, 'y', b'0', 1901, 0, ' ', x'00000000', '')`,
	`(3, 3.4028235e38, 0.30000000000000004, 'null', '☃', 'y', '1970-01-02 00:00:01', 'x', b'0', 1901, 99999999999999.999999, 'ß', x'ff', 'q')`,
}

// keylessWrites are changes of one of several equal rows, and of many at once.
func (w *world) keylessWrites(rng *rand.Rand) []string {
	plain, maybe := w.db+".plain", w.db+".maybe"
	row := keylessRows[rng.IntN(len(keylessRows))]
	return [][]string{
		{"INSERT INTO " + plain + " (a,f,d,j,s,b,t,e,bits,y,dec1,c,bin,se) VALUES " + row + "," + row},
		{"DELETE FROM " + plain + " WHERE a<=>" + []string{"1", "2", "3", "NULL"}[rng.IntN(4)] + " LIMIT 1"},
		{"UPDATE " + plain + " SET f=f*1.1, d=d/3 WHERE a=1 LIMIT 2"},
		{"UPDATE " + plain + " SET j=JSON_SET(j, '$.n', " + fmt.Sprint(rng.IntN(3)) + ") WHERE JSON_TYPE(j)='OBJECT' LIMIT 1"},
		{"UPDATE " + plain + " SET s=UPPER(s), t=NOW(6) WHERE a IS NOT NULL LIMIT 3"},
		{"UPDATE " + plain + " SET a=NULL, s=NULL WHERE a=3 LIMIT 1"},
		{"INSERT INTO " + maybe + " VALUES (NULL, 3), (NULL, 3)", "DELETE FROM " + maybe + " WHERE u IS NULL LIMIT 2"},
		{"BEGIN", "UPDATE " + w.db2 + ".keyed SET n=n+1", "INSERT INTO " + maybe + " VALUES (NULL, 9)", "COMMIT"},
		{"BEGIN", "UPDATE " + maybe + " SET u=NULL WHERE u=1", "INSERT INTO " + maybe + " VALUES (1, " + fmt.Sprint(rng.IntN(3)) + ")", "COMMIT"},
	}[rng.IntN(9)]
}

func TestKeylessRefused(t *testing.T) {
	w := newWorld(t)
	w.fillKeyless()
	err := w.run(once)
	require.ErrorIs(t, err, errs.NoPrimaryKey)
	require.ErrorContains(t, err, w.db+".plain")
	require.Contains(t, strings.Join(steps(t, err), "\n"), "--without-key snapshot")
	w.target.exec("CREATE DATABASE "+w.db, "CREATE TABLE "+w.db+".maybe (u int, v int, UNIQUE KEY (u))", "INSERT INTO "+w.db+".maybe VALUES (7, 7)")
	err = w.run(once, snapshot, func(c *Config) { c.AllowNonEmpty = true })
	require.ErrorIs(t, err, errs.TargetNotEmpty, "its rows would be replaced")
	w.target.exec(strings.TrimPrefix(steps(t, err)[0], "on the target: "))
	require.NoError(t, w.run(once, snapshot))
}

// Who wants tables to be locked is told before anything is written if the source's account may not do that.
func TestLockNeedsItsPrivilege(t *testing.T) {
	w := newWorld(t)
	w.fillKeyless()
	w.source.exec("CREATE USER IF NOT EXISTS keyless_reader", "GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO keyless_reader")
	defer w.source.exec("DROP USER keyless_reader")
	account := func(c *Config) { c.Source.User, c.Source.Password = "keyless_reader", "" }
	err := w.run(once, lock, account)
	require.ErrorIs(t, err, errs.SourcePrecondition)
	require.Equal(t, "0", w.target.one("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE '"+w.db+"%'"))
	w.source.exec(steps(t, err)...)
	require.NoError(t, w.run(once, lock, account))
}

// Tables without a key are copied while they are written, and followed exactly, with both writers.
func TestKeyless(t *testing.T) {
	for _, writer := range []string{"native", "sql"} {
		t.Run(writer, func(t *testing.T) {
			w := newWorld(t)
			tables := w.fillKeyless()
			if writer == "sql" {
				w.withoutRowEvents()
			}
			rng := rand.New(rand.NewPCG(7, 7))
			var wg sync.WaitGroup
			stop := make(chan struct{})
			conn := mysqldtest.Dial(t, w.source.Root())
			_, err := conn.Exec(t.Context(), "SET NAMES utf8mb4")
			require.NoError(t, err)
			wg.Go(func() {
				for {
					for _, sql := range w.keylessWrites(rng) {
						if _, err := conn.Exec(context.Background(), sql); err != nil {
							t.Error(sql, err)
						}
					}
					select {
					case <-stop:
						return
					default:
					}
				}
			})
			r := w.start(lock)
			r.running()
			for range 3 { // a DBA
				w.target.kill()
				r.catchUp()
			}
			close(stop)
			wg.Wait()
			r.catchUp()
			w.equal(tables...)
			w.source.exec("USE "+w.db, "CREATE TABLE "+w.db+".later (a int, s text)", "INSERT INTO "+w.db+".later VALUES (1,'x'),(1,'x'),(NULL,NULL)", "DELETE FROM "+w.db+".later LIMIT 1")
			r.catchUp()
			require.NoError(t, r.stop())
			w.source.exec("UPDATE " + w.db + ".later SET a=5 LIMIT 1")
			require.NoError(t, w.run(once), "nothing is left to copy")
			w.equal(append(tables, w.db+".later")...)
		})
	}
}

// A copy that is cut off begins again with an empty table: after a lost session, and in another process.
func TestKeylessCopyIsCutOff(t *testing.T) {
	w := newWorld(t)
	w.source.exec("CREATE TABLE "+w.db+".big (n int, pad varchar(500), KEY (n))", "CREATE TABLE "+w.db2+".big (id int PRIMARY KEY, n int)", "INSERT INTO "+w.db2+".big VALUES (1, 1)",
		"SET SESSION cte_max_recursion_depth=100000",
		"INSERT INTO "+w.db+".big WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i+1 FROM n WHERE i<40000) SELECT i DIV 4, REPEAT(i DIV 4, 80) FROM n")
	other := mysqldtest.Dial(t, w.target.Root())
	exec := func(sql string) {
		_, err := other.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
	}
	exec("SET SESSION transaction_isolation='READ-COMMITTED'")
	// midway returns when some rows of the copy are committed, and no more can be: what a chunk records of the copy is locked, but for moments.
	midway := func(r *runner) {
		r.until("some rows are there", func(Status) bool {
			exec("BEGIN")
			res, err := other.Query(t.Context(), "SELECT 1 FROM _braid.copy_state WHERE whole=1 AND rows_copied BETWEEN 1 AND 39999 AND table_name="+sqlconn.Quote(w.db+".big")+" FOR UPDATE")
			if err == nil && len(res.Rows) > 0 {
				return true
			}
			exec("ROLLBACK")
			return false
		})
	}
	r := w.start(snapshot)
	midway(r)
	w.source.exec("UPDATE "+w.db+".big SET n=-1 LIMIT 10", "DELETE FROM "+w.db+".big WHERE n=5", "UPDATE "+w.db2+".big SET n=2")
	w.target.kill(fmt.Sprint(other.ID()))
	exec("ROLLBACK")
	midway(r)
	require.NoError(t, r.stop())
	exec("ROLLBACK")
	w.source.exec("INSERT INTO "+w.db+".big SELECT * FROM "+w.db+".big LIMIT 3", "UPDATE "+w.db2+".big SET n=3")
	require.NoError(t, w.run(once, snapshot))
	w.equal(w.db+".big", w.db2+".big")
}

// Without a lock a table that is written all the time is tried again and again, until a moment comes when it is not.
func TestKeylessBusy(t *testing.T) {
	w := newWorld(t)
	w.source.exec("CREATE TABLE "+w.db+".busy (n int)", "INSERT INTO "+w.db+".busy VALUES (0), (0)")
	conn := mysqldtest.Dial(t, w.source.Root())
	var wg sync.WaitGroup
	stop := make(chan struct{})
	end := sync.OnceFunc(func() { close(stop); wg.Wait() })
	defer end()
	wg.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := conn.Exec(context.Background(), fmt.Sprintf("UPDATE %s.busy SET n=%d LIMIT 1", w.db, n)); err != nil {
				t.Error(err)
			}
		}
	})
	r := w.start(snapshot)
	r.running()
	end()
	r.catchUp()
	w.equal(w.db + ".busy")
}
