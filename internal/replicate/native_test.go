package replicate

import (
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
	"braid/internal/mysqld/mysqldtest"
)

// nativeWorld has a source whose binlog does not tell what foreign keys change, as all before 9.6.
func nativeWorld(t *testing.T) *world {
	w := worldOf(t, mysqldtest.New(t, mysqldtest.Options{Options: []string{"innodb_native_foreign_keys=ON"}}), mysqldtest.New(t, mysqldtest.Options{}), "app")
	w.source.exec("CREATE TABLE app.p (id int PRIMARY KEY, n int)",
		"CREATE TABLE app.c (id int PRIMARY KEY, pid int, FOREIGN KEY (pid) REFERENCES p (id) ON DELETE CASCADE ON UPDATE CASCADE)",
		"CREATE TABLE app.g (id int PRIMARY KEY, cid int, FOREIGN KEY (cid) REFERENCES c (id) ON DELETE SET NULL)",
		"INSERT INTO app.p VALUES (1,0),(2,0),(3,0),(4,0)", "INSERT INTO app.c VALUES (10,1),(20,2),(30,3),(40,4)", "INSERT INTO app.g VALUES (100,10),(200,20),(300,30),(400,40)")
	return w
}

// copying starts a run which holds when all but one table are copied, and returns what lets it go on.
func (w *world) copying() (r *runner, release func()) {
	w.t.Helper()
	w.source.exec("CREATE TABLE app.z (id int PRIMARY KEY)", "INSERT INTO app.z VALUES (1)")
	lock := w.source.another("LOCK TABLES app.z WRITE")
	r = w.start()
	r.until("three tables are copied", func(s Status) bool {
		done := 0
		for _, t := range s.Tables {
			if t.Done {
				done++
			}
		}
		return done == 3
	})
	return r, func() {
		_, err := lock.Exec(w.t.Context(), "UNLOCK TABLES")
		require.NoError(w.t, err)
	}
}

// Once all is copied, the target's own foreign keys do what the source's do. Other changes of the parent do no harm meanwhile.
func TestUnloggedCascades(t *testing.T) {
	w := nativeWorld(t)
	r, release := w.copying()
	w.source.exec("UPDATE app.p SET n=1", "INSERT INTO app.p VALUES (5,0)", "DELETE FROM app.g WHERE id=400", "SET foreign_key_checks=0", "DELETE FROM app.p WHERE id=4", "SET foreign_key_checks=1")
	release()
	r.running()
	w.source.exec("DELETE FROM app.p WHERE id=1", "UPDATE app.p SET id=22 WHERE id=2")
	r.catchUp()
	w.equal("app.p", "app.c", "app.g")
	require.NoError(t, r.stop())
}

// While tables are copied, what the source's engine did to children cannot be followed: the stream stops in front of it.
func TestUnloggedCascadeDuringTheCopy(t *testing.T) {
	for _, sql := range []string{"DELETE FROM app.p WHERE id=1", "UPDATE app.p SET id=11 WHERE id=1", "DELETE FROM app.c WHERE id=10"} {
		t.Run(sql, func(t *testing.T) {
			w := nativeWorld(t)
			r, release := w.copying()
			w.source.exec(sql)
			release()
			require.ErrorContains(t, r.wait(), "by a foreign key, which the source's binlog does not tell")
		})
	}
}

// Cascades that the target could not do, or that only it would do.
func TestCascadesThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		target []string
		change func(*Config)
		want   string
	}{
		"parent left out":     {nil, func(c *Config) { c.Selection.IgnoreTables = []string{"app.p"} }, "its parent is not replicated"},
		"parent filtered":     {nil, func(c *Config) { c.Selection.Where = []string{"app.p:id < 3"} }, "not all rows of its parent are replicated"},
		"target lacks it":     {[]string{"CREATE DATABASE app", "CREATE TABLE app.c (id int PRIMARY KEY, pid int)"}, func(*Config) {}, "the target's table lacks it"},
		"target alone has it": {[]string{"CREATE DATABASE app", "CREATE TABLE app.c (id int PRIMARY KEY, pid int)", "CREATE TABLE app.g (id int PRIMARY KEY, cid int, FOREIGN KEY (cid) REFERENCES c (id) ON DELETE CASCADE)"}, func(*Config) {}, "the target alone has it"},
	} {
		t.Run(name, func(t *testing.T) {
			w := nativeWorld(t)
			w.target.exec(c.target...)
			err := w.run(once, c.change)
			require.ErrorIs(t, err, errs.BadInput)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// One row of a transaction is refused by a foreign key that only the target has; what another one cascades to comes all the same.
func TestUncheckedRowAlone(t *testing.T) {
	w := nativeWorld(t)
	w.source.exec("CREATE TABLE app.x (id int PRIMARY KEY, pid int)", "INSERT INTO app.x VALUES (50,NULL)")
	r := w.start()
	r.running()
	w.target.exec("CREATE TABLE app.own (id int PRIMARY KEY)", "ALTER TABLE app.x ADD FOREIGN KEY (pid) REFERENCES own (id)")
	w.source.exec("BEGIN", "INSERT INTO app.x VALUES (1,1),(2,2)", "DELETE FROM app.p WHERE id=1", "UPDATE app.x SET pid=7 WHERE id=50", "UPDATE app.p SET id=22 WHERE id=2", "COMMIT")
	r.catchUp()
	w.equal("app.x", "app.p", "app.c", "app.g")
	require.NoError(t, r.stop())
}
