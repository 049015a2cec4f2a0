package rows

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
	"braid/internal/vstream"
)

// TestSmallPackets: a small max_allowed_packet of the target is obeyed, and a row that no packet can hold says what to do.
func TestSmallPackets(t *testing.T) {
	s := newSite(t)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT)", "INSERT INTO t VALUES (1,''),(2,''),(3,'')")
	all := []way{{mode: Strict, group: 100}, {sql: true, mode: Strict, group: 100}}
	var copies []string
	for range all {
		copies = append(copies, s.copyOf())
	}
	items := s.record(func() {
		for id := range 40 {
			s.exec(fmt.Sprintf("INSERT INTO t VALUES (%d,REPEAT('%d',%d))", 100+id, id%10, 500+2500*id))
		}
		s.exec("UPDATE t SET v=CONCAT(v,v) WHERE id>=100", "DELETE FROM t WHERE id BETWEEN 110 AND 120")
	})
	large := s.record(func() { s.exec("INSERT INTO t VALUES (9,REPEAT('x',1200000))") })
	admin := mysqldtest.Dial(t, s.srv.Root())
	set := func(n int) {
		_, err := admin.Exec(t.Context(), fmt.Sprintf("SET GLOBAL max_allowed_packet=%d", n))
		require.NoError(t, err)
	}
	set(1 << 20)
	defer set(64 << 20)
	for i, w := range all {
		t.Run(w.String(), func(t *testing.T) {
			to := s.open(t, copies[i], w)
			require.NoError(t, to.apply(items, w.group))
			s.exec("DELETE FROM t WHERE id=9")
			to.equal()
			err := to.apply(large, 1)
			require.ErrorIs(t, err, ErrPacket)
			require.ErrorContains(t, err, "insert of t (id=9)")
			require.True(t, Permanent(err))
			require.NoError(t, to.session.Rollback(t.Context()))
			to.equal()
		})
	}
}

// TestPrivileges: an account that may not use BINLOG statements writes with SQL, and the reason says what it lacks; one with the privileges
// that the reason names need not be more.
func TestPrivileges(t *testing.T) {
	s := newSite(t)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
	db := s.copyOf()
	items := s.record(func() {
		s.exec("INSERT INTO t VALUES (1,1)", "UPDATE t SET v=2", "INSERT INTO t VALUES (2,2)", "DELETE FROM t WHERE id=1")
	})
	user := fmt.Sprintf("u%s", s.db[:min(20, len(s.db))])
	s.exec(fmt.Sprintf("CREATE USER %s IDENTIFIED BY 'p'", user), fmt.Sprintf("GRANT ALL ON %s.* TO %s", db, user))
	defer s.exec("DROP USER " + user)
	for _, privileges := range []string{"", "SESSION_VARIABLES_ADMIN", "SESSION_VARIABLES_ADMIN, BINLOG_ADMIN"} {
		t.Run(privileges, func(t *testing.T) {
			if privileges != "" {
				s.exec(fmt.Sprintf("GRANT %s ON *.* TO %s", privileges, user))
			}
			s.exec("DELETE FROM " + db + ".t")
			cfg := s.srv.Root().WithDB(db)
			cfg.User, cfg.Password = user, "p"
			to := s.open(t, db, way{mode: Strict})
			conn := mysqldtest.Dial(t, cfg)
			require.NoError(t, Prepare(t.Context(), conn))
			to.session = NewSession(conn, SessionConfig{})
			require.NoError(t, to.apply(items, 2))
			to.equal()
			native, reason := to.session.Native()
			require.Equal(t, strings.Contains(privileges, "BINLOG_ADMIN"), native)
			if !native {
				require.Contains(t, reason, "GRANT BINLOG_ADMIN, SESSION_VARIABLES_ADMIN ON *.*")
			}
		})
	}
}

// TestTriggers: the target's triggers are named; row events do not fire them.
func TestTriggers(t *testing.T) {
	s := newSite(t)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v INT)", "CREATE TABLE log (id INT)")
	db := s.copyOf()
	s.exec("USE "+db, "CREATE TRIGGER watch BEFORE INSERT ON t FOR EACH ROW INSERT INTO log VALUES (NEW.id)", "USE "+s.db)
	items := s.record(func() { s.exec("INSERT INTO t VALUES (1,1)") })
	to := s.open(t, db, way{mode: Strict})
	require.NoError(t, to.apply(items, 1))
	require.Equal(t, []string{"watch"}, to.bound["t"].Triggers())
	require.Equal(t, "\"0\"\n", s.cells("SELECT COUNT(*) FROM "+db+".log"))
	s.exec("DELETE FROM " + db + ".t")
	to = s.open(t, db, way{sql: true, mode: Strict})
	require.NoError(t, to.apply(items, 1))
	require.Equal(t, "\"1\"\n", s.cells("SELECT COUNT(*) FROM "+db+".log"), "what the SQL writer cannot avoid is said")
}

// TestLateForeignKey: somebody makes a foreign key to a table that is bound already. An update that is written as a delete and an insert does not
// cascade, whatever stands before it in the group.
func TestLateForeignKey(t *testing.T) {
	s := newSite(t)
	s.exec("CREATE TABLE p (id INT PRIMARY KEY, u INT UNIQUE)", "CREATE TABLE c (id INT PRIMARY KEY, pid INT)")
	all := []way{{mode: Strict, foreignKeys: true}, {sql: true, mode: Strict, foreignKeys: true}}
	copies := []string{s.copyOf(), s.copyOf()}
	items := s.record(func() { s.exec("INSERT INTO p VALUES (1,1)", "INSERT INTO c VALUES (1,1)", "UPDATE p SET u=2") })
	at := slices.IndexFunc(items, func(it vstream.Item) bool { d, ok := it.(*vstream.Table); return ok && d.Def.Name == "c" })
	for i, w := range all {
		t.Run(w.String(), func(t *testing.T) {
			to := s.open(t, copies[i], w)
			require.NoError(t, to.apply(items[:at], 1))
			s.exec("ALTER TABLE " + to.db + ".c ADD FOREIGN KEY (pid) REFERENCES p (id) ON DELETE CASCADE")
			require.NoError(t, to.apply(items[at:], 100))
			to.equal()
		})
	}
}

// TestTargetBinlog: what the native writer does is in the target's own binlog, as rows of the target's table under a name of the target.
func TestTargetBinlog(t *testing.T) {
	s := newSite(t)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))", "INSERT INTO t VALUES (1,'a'),(2,'b')")
	db := s.copyOf()
	s.exec(fmt.Sprintf("RENAME TABLE %s.t TO %[1]s.other", db))
	items := s.record(func() {
		s.exec("UPDATE t SET v='c' WHERE id=1", "DELETE FROM t WHERE id=2", "INSERT INTO t VALUES (3,'d')")
	})
	again := s.copyOf()
	s.exec(fmt.Sprintf("DROP TABLE %s.t", again), fmt.Sprintf("CREATE TABLE %s.other LIKE t", again), fmt.Sprintf("INSERT INTO %s.other VALUES (1,'a'),(2,'b')", again))

	target := &site{t: t, srv: s.srv, db: db, conn: mysqldtest.Dial(t, s.srv.Root().WithDB(db))}
	to := s.open(t, db, way{mode: Strict})
	to.rename = func(string) string { return "other" }
	before := s.executed()
	logged := target.record(func() { require.NoError(t, to.apply(items, 100)) })
	require.EqualValues(t, 1, s.executed().Subtract(before).Count(), "one transaction")
	to.equal()

	third := s.open(t, again, way{mode: Strict})
	require.NoError(t, third.apply(logged, 1))
	require.Equal(t, s.cells("SELECT * FROM t"), s.cells("SELECT * FROM "+again+".other"))
}

// TestOddSettings: what the target's server has as defaults does not matter to a session.
func TestOddSettings(t *testing.T) {
	s := newSite(t)
	s.exec("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, ts TIMESTAMP(3) NULL, d DATE, s VARCHAR(5))")
	all := []way{{mode: Strict, group: 2}, {sql: true, mode: Strict, group: 2}}
	var copies []string
	for range all {
		copies = append(copies, s.copyOf())
	}
	items := s.record(func() {
		s.exec("SET sql_mode='NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'", "INSERT INTO t VALUES (0,'2024-10-27 02:30:00.5','2024-02-31','a\\\\b'),(7,NULL,'0000-00-00','')",
			"UPDATE t SET ts='1970-01-02 00:00:00', s='\\\\' WHERE id=0", "SET sql_mode=DEFAULT")
	})
	admin := mysqldtest.Dial(t, s.srv.Root())
	for _, sql := range []string{"SET GLOBAL time_zone='+13:45'", "SET GLOBAL sql_mode='ANSI,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES,NO_ZERO_DATE,PAD_CHAR_TO_FULL_LENGTH'", "SET GLOBAL autocommit=0"} {
		_, err := admin.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	defer func() {
		for _, sql := range []string{"SET GLOBAL time_zone=DEFAULT", "SET GLOBAL sql_mode=DEFAULT", "SET GLOBAL autocommit=1"} {
			_, err := admin.Exec(t.Context(), sql)
			require.NoError(t, err)
		}
	}()
	for i, w := range all {
		t.Run(w.String(), func(t *testing.T) {
			to := s.open(t, copies[i], w)
			require.NoError(t, to.apply(items, w.group))
			to.equal()
		})
	}
}
