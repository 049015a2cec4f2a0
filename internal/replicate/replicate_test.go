package replicate

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
	"braid/internal/gtid"
	"braid/internal/sqlconn"
	"braid/internal/vreplication"
)

// fill makes two tables in each database, with rows.
func (w *world) fill() {
	for _, db := range []string{w.db, w.db2} {
		w.source.exec(
			"CREATE TABLE "+db+".item (id bigint PRIMARY KEY, name varchar(60) NOT NULL, qty int, UNIQUE KEY name (name)) CHARACTER SET utf8mb4",
			"CREATE TABLE "+db+".note (region varchar(20) NOT NULL, seq int NOT NULL, body varbinary(200), at timestamp(3) NULL, PRIMARY KEY (region, seq))",
			"INSERT INTO "+db+".note VALUES ('eu', 1, x'00ff27', '2026-01-01 00:00:00.123'), ('us', 1, NULL, NULL)")
		for i := range 5 {
			w.source.exec(fmt.Sprintf("INSERT INTO %s.item SELECT %d*100+n, CONCAT('n', %d*100+n), n FROM (SELECT ROW_NUMBER() OVER () n FROM information_schema.COLLATIONS LIMIT 100) x", db, i, i))
		}
	}
}

func TestCopyAndFollow(t *testing.T) {
	w := newWorld(t)
	w.fill()
	w.source.exec("ALTER DATABASE " + w.db2 + " CHARACTER SET latin1 COLLATE latin1_german1_ci")
	r := w.start()
	r.running()
	w.source.exec(
		"BEGIN", "UPDATE "+w.db+".item SET qty=qty+1 WHERE id<50", "DELETE FROM "+w.db2+".item WHERE id>400", "COMMIT",
		"INSERT INTO "+w.db+".note VALUES ('eu', 2, 'x', NOW(3))")
	r.catchUp()
	all := []string{w.db + ".item", w.db2 + ".item", w.db + ".note", w.db2 + ".note"}
	w.equal(all...)
	require.Equal(t, "latin1_german1_ci", w.target.one("SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME='"+w.db2+"'"))
	require.NoError(t, r.stop())

	w.source.exec("UPDATE "+w.db+".item SET qty=-1 WHERE id=7", "INSERT INTO "+w.db2+".note VALUES ('later', 1, '', NULL)")
	require.NoError(t, w.run(once))
	w.equal(all...)
}

func TestSelectionRenameWhere(t *testing.T) {
	w := newWorld(t)
	w.fill()
	w.source.exec("CREATE TABLE "+w.db+".tmp_x (id int PRIMARY KEY)", "INSERT INTO "+w.db+".tmp_x VALUES (1)",
		"CREATE TABLE "+w.db+".child (id int PRIMARY KEY, item bigint, FOREIGN KEY (item) REFERENCES item (id) ON DELETE CASCADE)", "INSERT INTO "+w.db+".child VALUES (1, 101), (2, 102)")
	r := w.start(func(c *Config) {
		c.Selection.IgnoreTables = []string{w.db + ".tmp_*"}
		c.Selection.Rename = []string{w.db + ".note=" + w.db2 + ".memo", w.db + ".item=" + w.db2 + ".thing"}
		c.Selection.Where = []string{w.db2 + ".item:qty % 2 = 1 AND name <> 'N105'"}
	})
	r.running()
	w.source.exec("UPDATE "+w.db2+".item SET qty=qty+1", "INSERT INTO "+w.db+".note VALUES ('x', 9, '', NULL)", "DELETE FROM "+w.db+".item WHERE id=101", "INSERT INTO "+w.db+".tmp_x VALUES (2)")
	r.catchUp()
	w.equal(w.db+".note="+w.db2+".memo", w.db+".item="+w.db2+".thing", w.db2+".note", w.db+".child")
	require.Equal(t, w.source.contents(w.db2+".item", "qty % 2 = 1 AND name <> 'n105'"), w.target.contents(w.db2+".item", "TRUE"))
	require.Equal(t, "", w.target.one("SELECT 1 FROM information_schema.TABLES WHERE TABLE_NAME='tmp_x' AND TABLE_SCHEMA='"+w.db+"'"))
	require.Equal(t, w.db2+".thing", w.target.one("SELECT CONCAT(REFERENCED_TABLE_SCHEMA, '.', REFERENCED_TABLE_NAME) FROM information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA='"+w.db+"' AND TABLE_NAME='child' AND REFERENCED_TABLE_NAME IS NOT NULL"))
	require.NoError(t, r.stop())
	require.ErrorIs(t, w.run(once), errs.OtherRules)
}

// A transaction that spans two databases stays one.
func TestTransactionOfTwoDatabases(t *testing.T) {
	w := newWorld(t)
	w.source.exec("CREATE TABLE "+w.db+".a (id int PRIMARY KEY, n int)", "INSERT INTO "+w.db+".a VALUES (1, 0)", "CREATE TABLE "+w.db2+".a (id int PRIMARY KEY, n int)", "INSERT INTO "+w.db2+".a VALUES (1, 0)")
	r := w.start()
	r.running()
	stop := make(chan struct{})
	torn := make(chan string, 1)
	go func() {
		defer close(torn)
		conn, err := sqlconn.Dial(context.Background(), w.target.Root())
		if err != nil {
			torn <- err.Error()
			return
		}
		defer conn.Close()
		for {
			select {
			case <-stop:
				return
			default:
			}
			res, err := conn.Query(context.Background(), "SELECT x.n, y.n FROM "+w.db+".a x, "+w.db2+".a y")
			if err != nil || string(res.Rows[0][0]) != string(res.Rows[0][1]) {
				torn <- fmt.Sprint(err, res)
				return
			}
		}
	}()
	for range 200 {
		w.source.exec("BEGIN", "UPDATE "+w.db+".a SET n=n+1", "UPDATE "+w.db2+".a SET n=n+1", "COMMIT")
	}
	r.catchUp()
	close(stop)
	require.Empty(t, <-torn)
	w.equal(w.db+".a", w.db2+".a")
}

func gtids(t testing.TB, text string) gtid.Set {
	set, err := gtid.Parse(text)
	require.NoError(t, err)
	return set
}

func TestStopAt(t *testing.T) {
	w := newWorld(t)
	w.source.exec("CREATE TABLE " + w.db + ".a (id int PRIMARY KEY)")
	r := w.start()
	r.running()
	require.NoError(t, r.stop())
	for i := range 20 {
		w.source.exec(fmt.Sprintf("INSERT INTO %s.a VALUES (%d)", w.db, i))
	}
	at := gtids(t, w.source.one("SELECT @@GLOBAL.gtid_executed"))
	w.source.exec("INSERT INTO " + w.db + ".a VALUES (100)")
	require.NoError(t, w.run(func(c *Config) { c.StopAt = at }))
	require.Equal(t, "20", w.target.one("SELECT COUNT(*) FROM "+w.db+".a"))
	require.NoError(t, w.run(func(c *Config) { c.StopAt = at }), "it is there already")
	require.Equal(t, "20", w.target.one("SELECT COUNT(*) FROM "+w.db+".a"))
	require.NoError(t, w.run(once))
	w.equal(w.db + ".a")
}

// A stop position is exact around DDL, whether it is a statement itself, or what nothing tells that the stream carries.
func TestStopAtAroundDDL(t *testing.T) {
	w := newWorld(t)
	w.source.exec("CREATE TABLE " + w.db + ".a (id int PRIMARY KEY)")
	require.NoError(t, w.run(once))
	other := w.db2 + "_new" // not replicated
	w.source.exec("CREATE DATABASE "+other, "CREATE TABLE "+other+".t (id int PRIMARY KEY)")
	stops := []struct{ last, next string }{
		{"CREATE TABLE " + w.db + ".b (id int PRIMARY KEY)", "CREATE TABLE " + w.db + ".c (id int PRIMARY KEY)"},
		{"INSERT INTO " + other + ".t VALUES (1)", "CREATE TABLE " + w.db + ".d (id int PRIMARY KEY)"},
		{"INSERT INTO " + other + ".t VALUES (2)", "CREATE TABLE " + w.db + ".e (PRIMARY KEY (id)) AS SELECT 1 id"},
		{"CREATE TABLE " + w.db + ".f (PRIMARY KEY (id)) AS SELECT 1 id", "DROP TABLE " + w.db + ".a"},
	}
	at := make([]gtid.Set, len(stops))
	for i, s := range stops {
		w.source.exec(s.last)
		at[i] = gtids(t, w.source.one("SELECT @@GLOBAL.gtid_executed"))
		w.source.exec(s.next)
	}
	const tables = "SELECT GROUP_CONCAT(TABLE_NAME ORDER BY 1 SEPARATOR '') FROM information_schema.TABLES WHERE TABLE_SCHEMA="
	for i, there := range []string{"ab", "abc", "abcd", "abcdef"} {
		r := w.start(func(c *Config) { c.StopAt = at[i] })
		require.NoError(t, r.wait())
		require.Equal(t, at[i].String(), r.status().Position)
		require.Equal(t, there, w.target.one(tables+"'"+w.db+"'"), stops[i].last)
	}
	require.NoError(t, w.run(once))
	require.Equal(t, "bcdef", w.target.one(tables+"'"+w.db+"'"))
	w.equal(w.db+".e", w.db+".f")
}

// A row of the target that differs stops a stream with all that is needed to understand it; the transaction can be skipped.
func TestDivergenceAndSkip(t *testing.T) {
	w := newWorld(t)
	w.fill()
	require.NoError(t, w.run(once))
	w.target.exec("DELETE FROM " + w.db + ".item WHERE id=7")
	before := gtids(t, w.source.one("SELECT @@GLOBAL.gtid_executed"))
	w.source.exec("UPDATE " + w.db + ".item SET qty=-7 WHERE id=7")
	bad := gtids(t, w.source.one("SELECT @@GLOBAL.gtid_executed")).Subtract(before)
	w.source.exec("UPDATE " + w.db + ".item SET qty=-8 WHERE id=8")
	err := w.run()
	require.ErrorIs(t, err, errs.StreamFailed)
	for _, part := range []string{bad.String(), "item", "(id=7)", "the source had (id=7, name=", "the target none"} {
		require.ErrorContains(t, err, part)
	}
	remedies := strings.Join(steps(t, err), "\n")
	require.Contains(t, remedies, "run the same command again")
	require.Contains(t, remedies, "--skip "+bad.String())
	require.NotContains(t, remedies, "workflow")
	require.Equal(t, "8", w.target.one("SELECT qty FROM "+w.db+".item WHERE id=8"), "nothing behind it is applied")
	require.NoError(t, w.run(once, func(c *Config) { c.Skip = bad }))
	require.Equal(t, "-8", w.target.one("SELECT qty FROM "+w.db+".item WHERE id=8"))
	require.Equal(t, bad.String(), w.target.one("SELECT message FROM _braid.vreplication_log WHERE type='skip' AND vrepl_id=(SELECT id FROM _braid.vreplication WHERE workflow='"+w.db+"')"))
}

func TestDelay(t *testing.T) {
	w := newWorld(t)
	w.source.exec("CREATE TABLE " + w.db + ".a (id int PRIMARY KEY)")
	r := w.start(func(c *Config) { c.Delay = 3 * time.Second })
	r.running()
	began := time.Now()
	w.source.exec("INSERT INTO " + w.db + ".a VALUES (1)")
	for w.target.one("SELECT COUNT(*) FROM "+w.db+".a") == "0" {
		require.Less(t, time.Since(began), time.Minute)
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // looks at the target as a user would
	}
	require.GreaterOrEqual(t, time.Since(began), 3*time.Second)
}

// DDL is held back as a transaction is, also on a source where nothing else happens.
func TestDelayOfDDL(t *testing.T) {
	w := newWorld(t)
	w.source.exec("CREATE TABLE "+w.db+".a (id int PRIMARY KEY)", "INSERT INTO "+w.db+".a VALUES (1)")
	const delay = 2 * time.Second
	r := w.start(func(c *Config) { c.Delay = delay })
	r.running()
	for _, sql := range []string{"TRUNCATE TABLE " + w.db + ".a", "CREATE TABLE " + w.db + ".b (PRIMARY KEY (id)) AS SELECT 1 id", "DROP TABLE " + w.db + ".a"} {
		began := time.Now()
		w.source.exec(sql)
		r.catchUp()
		require.GreaterOrEqual(t, time.Since(began), delay-10*time.Millisecond, sql) // the source's clock has whole milliseconds in places
	}
	w.equal(w.db + ".b")
	require.NoError(t, r.stop())
}

func TestDDL(t *testing.T) {
	w := newWorld(t)
	w.fill()
	rename := func(c *Config) { c.Selection.Rename = []string{w.db2 + ".*=" + w.db2 + "_new.*"} }
	r := w.start(rename)
	r.running()
	w.source.exec(
		"ALTER TABLE "+w.db+".item ADD COLUMN extra varchar(20) NOT NULL DEFAULT 'é', ADD KEY q (qty)",
		"UPDATE "+w.db+".item SET extra='after' WHERE id<10",
		"USE "+w.db2, "CREATE TABLE fresh (id int PRIMARY KEY, item bigint, note text, FOREIGN KEY (item) REFERENCES item (id))", "INSERT INTO fresh VALUES (1, 1, 'x'), (2, 2, '')",
		"CREATE TABLE as_select (PRIMARY KEY (id)) AS SELECT id, name FROM item WHERE id<20", "INSERT INTO as_select VALUES (1000, 'later')",
		"RENAME TABLE note TO memo", "INSERT INTO memo VALUES ('r', 1, '', NULL)",
		"TRUNCATE TABLE "+w.db+".note", "INSERT INTO "+w.db+".note VALUES ('t', 1, '', NULL)",
		"CREATE UNIQUE INDEX u ON fresh (item)", "DROP INDEX q ON "+w.db+".item", "CREATE TABLE gone LIKE fresh", "DROP TABLE gone")
	r.catchUp()
	for _, table := range []string{"item", "fresh", "as_select", "memo"} {
		w.equal(w.db2 + "." + table + "=" + w.db2 + "_new." + table)
	}
	w.equal(w.db+".item", w.db+".note")
	require.Equal(t, "1", w.target.one("SELECT COUNT(*) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA='"+w.db2+"_new' AND INDEX_NAME='u'"))
	require.Equal(t, "", w.target.one("SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA='"+w.db2+"_new' AND TABLE_NAME IN ('gone','note')"))
	require.NoError(t, r.stop())
}

func TestDDLStop(t *testing.T) {
	w := newWorld(t)
	w.fill()
	stop := func(c *Config) { c.OnDDL = vreplication.DDLStop }
	require.NoError(t, w.run(once, stop))
	before := gtids(t, w.source.one("SELECT @@GLOBAL.gtid_executed"))
	w.source.exec("ALTER TABLE " + w.db + ".item ADD COLUMN extra int")
	at := gtids(t, w.source.one("SELECT @@GLOBAL.gtid_executed")).Subtract(before)
	w.source.exec("UPDATE " + w.db + ".item SET extra=1 WHERE id=1")
	err := w.run(stop)
	require.ErrorContains(t, err, "ADD COLUMN extra int")
	require.ErrorContains(t, err, at.String())
	var e *errs.Error
	require.ErrorAs(t, err, &e)
	require.Contains(t, strings.Join(e.NextSteps(), "\n"), "--skip "+at.String())
	w.target.exec("ALTER TABLE " + w.db + ".item ADD COLUMN extra int")
	require.NoError(t, w.run(once, stop, func(c *Config) { c.Skip = at }))
	w.equal(w.db + ".item")
}

func TestDDLIgnoreAndExecIgnore(t *testing.T) {
	w := newWorld(t)
	w.fill()
	require.NoError(t, w.run(once))
	w.source.exec("CREATE INDEX q ON " + w.db + ".item (qty)")
	w.source.exec("UPDATE " + w.db + ".item SET qty=1 WHERE id=1")
	require.NoError(t, w.run(once, func(c *Config) { c.OnDDL = vreplication.DDLIgnore }))
	require.Equal(t, "0", w.target.one("SELECT COUNT(*) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA='"+w.db+"' AND INDEX_NAME='q'"))
	w.equal(w.db + ".item")

	w.target.exec("CREATE INDEX p ON " + w.db + ".item (qty)")
	w.source.exec("CREATE INDEX p ON "+w.db+".item (qty)", "UPDATE "+w.db+".item SET qty=2 WHERE id=2")
	err := w.run()
	require.ErrorContains(t, err, "Duplicate key name 'p'")
	require.NoError(t, w.run(once, func(c *Config) { c.OnDDL = vreplication.DDLExecIgnore }))
	w.equal(w.db + ".item")
}

// One that dies between a statement and its position does not run it twice.
func TestDDLOnce(t *testing.T) {
	w := newWorld(t)
	w.fill()
	require.NoError(t, w.run(once))
	id := w.target.one("SELECT id FROM _braid.vreplication WHERE workflow='" + w.db + "'")
	pos := w.target.one("SELECT pos FROM _braid.vreplication WHERE id=" + id)
	w.source.exec("ALTER TABLE "+w.db+".item ADD COLUMN extra int", "RENAME TABLE "+w.db+".note TO "+w.db+".memo")
	require.NoError(t, w.run(once))
	require.Equal(t, uint64(2), gtids(t, w.source.one("SELECT @@GLOBAL.gtid_executed")).Subtract(gtids(t, pos)).Count())
	w.forgetDDL(id)
	w.source.exec("INSERT INTO " + w.db + ".memo VALUES ('z', 1, '', NULL)")
	require.NoError(t, w.run(once))
	w.equal(w.db+".item", w.db+".memo")
}

// forgetDDL makes the target what it is when a process dies between the source's last statement, which was DDL, and its position.
func (w *world) forgetDDL(id string) {
	last := w.target.one("SELECT MAX(id) FROM _braid.vreplication_log WHERE type='ddl begins' AND vrepl_id=" + id)
	w.target.exec("DELETE FROM _braid.vreplication_log WHERE vrepl_id="+id+" AND id>"+last, "DELETE FROM _braid.lanes WHERE vrepl_id="+id)
	for source, intervals := range gtids(w.t, w.source.one("SELECT @@GLOBAL.gtid_executed")).All {
		w.target.exec(fmt.Sprintf("UPDATE _braid.vreplication SET pos='%s:1-%d' WHERE id=%s", source.UUID, intervals[0].Last-1, id))
	}
}

// CREATE TABLE … SELECT is a statement and its rows. One that dies between the two goes on with the rows.
func TestCreateSelectOnce(t *testing.T) {
	w := newWorld(t)
	w.fill()
	require.NoError(t, w.run(once))
	id := w.target.one("SELECT id FROM _braid.vreplication WHERE workflow='" + w.db + "'")
	w.source.exec("CREATE TABLE " + w.db + ".chosen (PRIMARY KEY (id)) AS SELECT id, qty FROM " + w.db + ".item")
	require.NoError(t, w.run(once))
	w.target.exec("TRUNCATE TABLE "+w.db+".chosen", "DELETE FROM _braid.lanes WHERE vrepl_id="+id)
	for source, intervals := range gtids(t, w.source.one("SELECT @@GLOBAL.gtid_executed")).All {
		w.target.exec(fmt.Sprintf("UPDATE _braid.vreplication SET pos='%s:1-%d' WHERE id=%s", source.UUID, intervals[0].Last-1, id))
	}
	require.NoError(t, w.run(once))
	w.equal(w.db + ".chosen")
}

// Two tables that look alike and change their names show no trace of it; run twice, each would have the other's rows.
func TestSwapOnce(t *testing.T) {
	w := newWorld(t)
	w.source.exec("CREATE TABLE "+w.db+".a (id int PRIMARY KEY)", "CREATE TABLE "+w.db+".b LIKE "+w.db+".a",
		"INSERT INTO "+w.db+".a VALUES (1), (2)", "INSERT INTO "+w.db+".b VALUES (3)")
	require.NoError(t, w.run(once))
	id := w.target.one("SELECT id FROM _braid.vreplication WHERE workflow='" + w.db + "'")
	for range 2 { // there and back
		w.source.exec(fmt.Sprintf("RENAME TABLE %[1]s.a TO %[1]s.c, %[1]s.b TO %[1]s.a, %[1]s.c TO %[1]s.b", w.db))
		require.NoError(t, w.run(once))
		w.forgetDDL(id)
		w.source.exec("INSERT INTO " + w.db + ".a SELECT MAX(id)+10 FROM " + w.db + ".a")
		require.NoError(t, w.run(once))
		w.equal(w.db+".a", w.db+".b")
	}
}

// A foreign key that comes while the stream runs: an update of the parent's unique column is no delete to the rows that refer to it, whoever has made
// the key, and whichever writer writes.
func TestForeignKeyThatComesLater(t *testing.T) {
	const user = "writes_sql"
	for _, writer := range []string{"native", "sql"} {
		for _, by := range []string{"source", "somebody"} {
			t.Run(writer+" "+by, func(t *testing.T) {
				w := newWorld(t)
				w.source.exec("CREATE TABLE "+w.db+".p (id int PRIMARY KEY, u int UNIQUE)", "INSERT INTO "+w.db+".p VALUES (1,1), (2,2)")
				if by == "somebody" {
					w.source.exec("CREATE TABLE " + w.db + ".c (id int PRIMARY KEY, pid int)")
				}
				if writer == "sql" {
					w.cfg.Target.User, w.cfg.Target.Password = user, ""
					w.target.exec("CREATE USER IF NOT EXISTS "+user,
						"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, PROCESS, CONNECTION_ADMIN, SESSION_VARIABLES_ADMIN ON *.* TO "+user)
				}
				r := w.start()
				r.running()
				w.source.exec("INSERT INTO " + w.db + ".p VALUES (3,3)")
				r.catchUp()
				key := "ALTER TABLE " + w.db + ".c ADD FOREIGN KEY (pid) REFERENCES " + w.db + ".p (id) ON DELETE CASCADE"
				if by == "somebody" {
					w.target.exec(key)
				} else {
					w.source.exec("CREATE TABLE "+w.db+".c (id int PRIMARY KEY, pid int)", key)
				}
				w.source.exec("INSERT INTO "+w.db+".c VALUES (1,1), (2,2), (3,3)", "UPDATE "+w.db+".p SET u=u+10")
				r.catchUp()
				w.equal(w.db+".p", w.db+".c")
				require.NoError(t, r.stop())
			})
		}
	}
}
