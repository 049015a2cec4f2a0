package replicate

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
	"braid/internal/vreplication"
)

// What goes wrong on the target while the stream runs: each is waited for, or stops the stream, with a message that says what to do; when its cause
// is gone, it goes on, and both sides are equal.

// eachWriter runs a test with row events and with SQL statements.
func eachWriter(t *testing.T, test func(t *testing.T, w *world)) {
	for _, writer := range []string{"native", "sql"} {
		t.Run(writer, func(t *testing.T) {
			w := newWorld(t)
			if writer == "sql" {
				w.withoutRowEvents()
			}
			test(t, w)
		})
	}
}

// another is a session of somebody else.
func (s *side) another(statements ...string) *sqlconn.Conn {
	s.t.Helper()
	conn := mysqldtest.Dial(s.t, s.Root())
	for _, sql := range statements {
		_, err := conn.Exec(s.t.Context(), sql)
		require.NoError(s.t, err, sql)
	}
	return conn
}

func (r *runner) says(parts ...string) {
	r.w.t.Helper()
	for _, part := range parts {
		r.until("it says "+part, func(s Status) bool { return strings.Contains(s.Message, part) })
	}
}

// Another user's transaction and ours each wait for a row of the other. The server rolls back the smaller one, which is ours.
func TestDeadlockWithAnotherUser(t *testing.T) {
	eachWriter(t, func(t *testing.T, w *world) {
		w.fill()
		r := w.start()
		r.running()
		w.target.exec("CREATE TABLE "+w.db+".heavy (id int PRIMARY KEY, v int)",
			"INSERT INTO "+w.db+".heavy SELECT ROW_NUMBER() OVER (), 0 FROM "+w.db+".item a, (SELECT 1 FROM "+w.db+".item LIMIT 10) b")
		deadlocks := "SELECT `COUNT` FROM information_schema.INNODB_METRICS WHERE NAME='lock_deadlocks'"
		before := w.target.one(deadlocks)
		other := w.target.another("BEGIN", "UPDATE "+w.db+".heavy SET v=1", "SELECT id FROM "+w.db+".item WHERE id=50 FOR UPDATE")
		w.source.exec("UPDATE " + w.db + ".item SET qty=-1")
		require.Eventually(t, func() bool {
			return w.target.one("SELECT COUNT(*) FROM information_schema.INNODB_TRX WHERE trx_state='LOCK WAIT'") == "1"
		}, time.Minute, 250*time.Millisecond, "ours waits for row 50") // the table is a copy of a tenth of a second ago, and not made while it is read all the time
		_, err := other.Exec(t.Context(), "SELECT id FROM "+w.db+".item WHERE id<>50 FOR UPDATE")
		require.NoError(t, err, "ours gives way")
		require.NotEqual(t, before, w.target.one(deadlocks))
		require.Positive(t, r.until("it is repeated", func(s Status) bool { return s.Repeats > 0 }).Repeats)
		_, err = other.Exec(t.Context(), "ROLLBACK")
		require.NoError(t, err)
		r.catchUp()
		w.equal(w.db + ".item")
		require.NoError(t, r.stop())
	})
}

// Somebody holds the lock of a row for long.
func TestLockOfAnotherUser(t *testing.T) {
	eachWriter(t, func(t *testing.T, w *world) {
		w.fill()
		r := w.start()
		r.running()
		other := w.target.another("BEGIN", "SELECT id FROM "+w.db+".item WHERE id=5 FOR UPDATE")
		w.source.exec("UPDATE " + w.db + ".item SET qty=-1")
		r.says("Lock wait timeout exceeded", "sys.innodb_lock_waits")
		_, err := other.Exec(t.Context(), "ROLLBACK")
		require.NoError(t, err)
		r.catchUp()
		w.equal(w.db + ".item")
		require.NoError(t, r.stop())
	})
}

// A lag above the bound that was asked for is called so.
func TestMaxReplicationLag(t *testing.T) {
	w := newWorld(t)
	w.fill()
	require.ErrorContains(t, w.run(func(c *Config) { c.MaxLag = 1500 * time.Millisecond }), "--max-replication-lag 1.5s: whole seconds")
	r := w.start(func(c *Config) { c.MaxLag = 2 * time.Second })
	r.running()
	other := w.target.another("BEGIN", "SELECT id FROM "+w.db+".item WHERE id=5 FOR UPDATE")
	w.source.exec("UPDATE " + w.db + ".item SET qty=-1")
	s := r.until("lagging", func(s Status) bool { return s.State == "Lagging" })
	require.Greater(t, s.LagMS, int64(2000))
	require.Less(t, s.LagMS, int64(9000), "the default is ten seconds")
	_, err := other.Exec(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	r.catchUp()
	w.equal(w.db + ".item")
	require.NoError(t, r.stop())
}

// The disk is full for the tables, and then it is not. The tablespace has a bound, so that nothing need be mounted.
func TestTargetWithoutSpace(t *testing.T) {
	source, _ := mysqldtest.Shared(t)
	target := mysqldtest.New(t, mysqldtest.Options{Options: []string{"innodb_file_per_table=0", "innodb_data_file_path=ibdata1:9M:autoextend:max:24M"}})
	w := worldOf(t, source, target, "nospace")
	w.source.exec("CREATE TABLE "+w.db+".a (id int PRIMARY KEY, v longblob)", "INSERT INTO "+w.db+".a VALUES (1, 'x')")
	r := w.start()
	r.running()
	w.target.exec("CREATE TABLE mysql.ballast (id int AUTO_INCREMENT PRIMARY KEY, v longblob)")
	for full := false; !full; {
		_, err := w.target.conn.Exec(t.Context(), "INSERT INTO mysql.ballast (v) VALUES (REPEAT('x', 100000))")
		full = sqlconn.ErrCode(err) == 1114
		require.True(t, full || err == nil, err)
	}
	for i := range 10 {
		w.source.exec(fmt.Sprintf("INSERT INTO %s.a VALUES (%d, REPEAT('y', 200000))", w.db, 10+i))
	}
	r.says("is full", "make room")
	w.target.exec("DROP TABLE mysql.ballast")
	r.catchUp()
	w.equal(w.db + ".a")
	require.NoError(t, r.stop())
}

// A row that does not fit the target's max_allowed_packet, which is smaller than the source's. A copy is not sent in statements, and passes.
func TestRowLargerThanAPacket(t *testing.T) {
	eachWriter(t, func(t *testing.T, w *world) {
		w.source.exec("CREATE TABLE "+w.db+".a (id int PRIMARY KEY, v longblob)", "INSERT INTO "+w.db+".a VALUES (1, REPEAT('x', 5<<20))")
		w.target.exec("SET GLOBAL max_allowed_packet=4194304")
		defer w.target.exec("SET GLOBAL max_allowed_packet=67108864")
		require.NoError(t, w.run(once))
		w.source.exec("INSERT INTO " + w.db + ".a VALUES (2, REPEAT('y', 6<<20))")
		err := w.run(once)
		require.ErrorIs(t, err, errs.StreamFailed)
		require.ErrorContains(t, err, "(id=2)")
		require.ErrorContains(t, err, "SET PERSIST max_allowed_packet=")
		w.target.exec("SET GLOBAL max_allowed_packet=67108864")
		require.NoError(t, w.run(once))
		w.equal(w.db + ".a")
	})
}

// Privileges that are taken away while the stream runs.
func TestPrivilegesTakenAway(t *testing.T) {
	eachWriter(t, func(t *testing.T, w *world) {
		w.fill()
		if w.cfg.Target.User == "root" {
			w.withoutRowEvents()
			w.target.exec("GRANT BINLOG_ADMIN ON *.* TO " + w.cfg.Target.User)
		}
		user := w.cfg.Target.User
		r := w.start()
		r.running()
		w.target.exec("REVOKE INSERT, UPDATE ON *.* FROM " + user)
		w.target.kill()
		w.source.exec("UPDATE "+w.db+".item SET qty=-1", "INSERT INTO "+w.db+".note VALUES ('k', 1, '', NULL)")
		r.says("denied", "GRANT")
		w.target.exec("GRANT INSERT, UPDATE ON *.* TO " + user)
		r.catchUp()
		w.equal(w.db+".item", w.db+".note")
		require.NoError(t, r.stop())
	})
}

// Rows that are copied fire triggers, whichever writer writes the changes.
func TestTriggerDuringTheCopy(t *testing.T) {
	w := newWorld(t)
	for _, s := range []*side{w.source, w.target} {
		s.exec("CREATE DATABASE IF NOT EXISTS "+w.db, "CREATE TABLE "+w.db+".a (id int PRIMARY KEY, n int)", "CREATE TABLE "+w.db+".b (id int PRIMARY KEY)")
	}
	w.source.exec("INSERT INTO "+w.db+".a VALUES (1,1)", "INSERT INTO "+w.db+".b VALUES (1)")
	w.target.another("BEGIN", "SELECT * FROM "+w.db+".b FOR UPDATE") // b is not copied
	r := w.start()
	r.until("copying", func(s Status) bool { return s.State == "Copying" })
	w.target.exec("CREATE TRIGGER " + w.db + ".tr BEFORE INSERT ON " + w.db + ".a FOR EACH ROW SET NEW.n=NEW.n+1")
	err := r.wait()
	require.ErrorIs(t, err, errs.TargetPrecondition)
	require.Contains(t, steps(t, err)[1], "compare")
}

// A table that DDL makes, or gives another name, while the stream runs is looked at under the name that it has.
func TestTriggerOnATableMadeLater(t *testing.T) {
	for _, name := range []string{"fresh", "renamed"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.withoutRowEvents()
			w.source.exec("CREATE TABLE " + w.db + ".a (id int PRIMARY KEY, n int)")
			r := w.start()
			r.running()
			w.source.exec("CREATE TABLE "+w.db+".fresh (id int PRIMARY KEY, n int)", "RENAME TABLE "+w.db+".a TO "+w.db+".renamed", "INSERT INTO "+w.db+"."+name+" VALUES (1,1)")
			r.catchUp()
			w.target.exec("CREATE TRIGGER " + w.db + ".tr BEFORE UPDATE ON " + w.db + "." + name + " FOR EACH ROW SET NEW.n=NEW.n+1")
			require.ErrorIs(t, r.wait(), errs.TargetPrecondition)
		})
	}
}

// Privileges for DDL are not what is wrong with a statement: it waits for them, also where statements that fail are left out.
func TestPrivilegesForDDLTakenAway(t *testing.T) {
	for _, policy := range []vreplication.DDLPolicy{vreplication.DDLExec, vreplication.DDLExecIgnore} {
		t.Run(string(policy), func(t *testing.T) {
			w := newWorld(t)
			w.fill()
			w.withoutRowEvents()
			user := w.cfg.Target.User
			r := w.start(func(c *Config) { c.OnDDL = policy })
			r.running()
			w.target.exec("REVOKE CREATE, ALTER ON *.* FROM " + user)
			w.target.kill()
			w.source.exec("ALTER TABLE "+w.db+".item ADD COLUMN extra int NOT NULL DEFAULT 5", "UPDATE "+w.db+".item SET extra=6 WHERE id<10", "CREATE TABLE "+w.db+".made (PRIMARY KEY (id)) AS SELECT 1 id")
			r.says("denied", "GRANT")
			w.target.exec("GRANT CREATE, ALTER ON *.* TO " + user)
			r.catchUp()
			w.equal(w.db+".item", w.db+".made")
			require.NoError(t, r.stop())
		})
	}
}

// DDL needs settings that the target's account may not have: it waits for the privilege.
func TestPrivilegeForSettingsOfDDL(t *testing.T) {
	w := newWorld(t)
	w.fill()
	w.withoutRowEvents()
	user := w.cfg.Target.User
	w.target.exec("REVOKE SESSION_VARIABLES_ADMIN, SYSTEM_VARIABLES_ADMIN ON *.* FROM " + user)
	r := w.start()
	r.running()
	w.target.exec("SET GLOBAL sql_generate_invisible_primary_key=ON")
	defer w.target.exec("SET GLOBAL sql_generate_invisible_primary_key=OFF")
	w.source.exec("CREATE TABLE "+w.db+".made (id int PRIMARY KEY, v varchar(9))", "INSERT INTO "+w.db+".made VALUES (1,'a')")
	r.says("SESSION_VARIABLES_ADMIN", "GRANT what is missing")
	w.target.exec("GRANT SESSION_VARIABLES_ADMIN ON *.* TO " + user)
	r.catchUp()
	w.equal(w.db + ".made")
	require.NoError(t, r.stop())
}

// A foreign key that only the target has, and whose parents it does not have.
func TestForeignKeyOfTheTargetAlone(t *testing.T) {
	eachWriter(t, func(t *testing.T, w *world) {
		w.fill()
		r := w.start()
		r.running()
		w.target.exec("CREATE TABLE "+w.db+".region (name varchar(20) PRIMARY KEY)", "INSERT INTO "+w.db+".region VALUES ('eu'), ('us')",
			"ALTER TABLE "+w.db+".note ADD FOREIGN KEY (region) REFERENCES "+w.db+".region (name)")
		w.source.exec("INSERT INTO "+w.db+".note VALUES ('asia', 1, '', NULL), ('eu', 2, '', NULL)", "UPDATE "+w.db+".note SET region='africa' WHERE region='us'")
		r.catchUp()
		w.equal(w.db + ".note")
		require.NoError(t, r.stop())
	})
}

// A trigger that somebody makes on the target while the stream runs.
func TestTriggerOnTheTarget(t *testing.T) {
	eachWriter(t, func(t *testing.T, w *world) {
		w.fill()
		r := w.start()
		r.running()
		w.source.exec("UPDATE " + w.db + ".item SET qty=-1 WHERE id=1")
		r.catchUp()
		w.target.exec("CREATE TRIGGER " + w.db + ".tr BEFORE UPDATE ON " + w.db + ".item FOR EACH ROW SET NEW.name=CONCAT(NEW.name, '!')")
		var err error
		if w.cfg.Target.User == "root" { // row events do not fire it, so it stands in nobody's way before the next start
			w.source.exec("UPDATE " + w.db + ".item SET qty=-2 WHERE id=2")
			r.catchUp()
			w.equal(w.db + ".item")
			require.NoError(t, r.stop())
			err = w.run(once)
		} else {
			err = r.wait()
			require.Contains(t, steps(t, err)[1], "compare")
		}
		require.ErrorIs(t, err, errs.TargetPrecondition)
		w.target.exec(strings.TrimPrefix(steps(t, err)[0], "on the target: "))
		w.source.exec("UPDATE " + w.db + ".item SET qty=-3 WHERE id=3")
		require.NoError(t, w.run(once))
		w.equal(w.db + ".item")
	})
}
