package vreplication

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/filter"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/schema"
	"braid/internal/throttle"
)

// deferring makes the source's tables on the target without what is added later.
func (w *world) deferring(names ...string) {
	w.t.Helper()
	src := w.sources["src/0"]
	w.target.exec("SET NAMES utf8mb4, foreign_key_checks=0")
	for _, name := range names {
		defs, err := schema.Load(w.t.Context(), src.conn, src.db, []string{name})
		require.NoError(w.t, err)
		require.NoError(w.t, CreateTable(w.t.Context(), w.target.conn, w.target.db, name, defs[0].CreateStatement, deferRows))
	}
}

// sameDefinitions compares tables, foreign keys included.
func (w *world) sameDefinitions(names ...string) {
	w.t.Helper()
	src := w.sources["src/0"]
	for _, name := range names {
		want, err := schema.Load(w.t.Context(), src.conn, src.db, []string{name})
		require.NoError(w.t, err)
		have, err := schema.Load(w.t.Context(), w.target.conn, w.target.db, []string{name})
		require.NoError(w.t, err)
		require.Equal(w.t, want[0].CreateStatement, strings.ReplaceAll(have[0].CreateStatement, w.target.db, src.db))
	}
}

// DDL comes while indexes and foreign keys are added beside the stream: what it drops is not added again, and a foreign key refers to its parent under the
// name that it has got.
func TestDDLBesideTheFinisher(t *testing.T) {
	for name, c := range map[string]struct {
		ddl    string
		tables []string
	}{
		"drop":   {"ALTER TABLE item DROP FOREIGN KEY fk, DROP KEY a", []string{"slow", "parent", "item"}},
		"rename": {"RENAME TABLE parent TO mother", []string{"slow", "mother", "item"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil, source1)
			src := w.sources["src/0"]
			src.exec("CREATE TABLE slow (id int PRIMARY KEY, a int, KEY a (a))", "CREATE TABLE parent (id int PRIMARY KEY, a int)",
				"CREATE TABLE item (id int PRIMARY KEY, a int, KEY a (a), CONSTRAINT fk FOREIGN KEY (a) REFERENCES parent (id))",
				"INSERT INTO slow VALUES (1,1)", "INSERT INTO parent VALUES (1,1)", "INSERT INTO item VALUES (1,1)")
			w.deferring("slow", "parent", "item")
			reader := mysqldtest.Dial(t, w.target.Root().WithDB(w.target.db))
			for _, sql := range []string{"BEGIN", "SELECT * FROM slow"} { // the finisher waits for its end
				_, err := reader.Exec(t.Context(), sql)
				require.NoError(t, err)
			}
			w.follow(DDLExec, rule("/.*"))
			require.Eventually(t, func() bool {
				return w.target.one("SELECT COUNT(*) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME='item' AND INDEX_NAME='a'") == "1"
			}, time.Minute, 10*time.Millisecond, "the finisher works at the others")
			src.exec(c.ddl, "INSERT INTO slow VALUES (2,7)")
			w.catchUp()
			_, err := reader.Exec(t.Context(), "COMMIT")
			require.NoError(t, err)
			w.await(Running)
			w.catchUp()
			w.equal("src/0", c.tables...)
			w.sameDefinitions(c.tables...)
		})
	}
}

// DDL of a table to which indexes are being added waits for that, and the row says so.
func TestDDLWaitsForTheFinisher(t *testing.T) {
	w := newWorld(t, nil, source1)
	src := w.sources["src/0"]
	src.exec("CREATE TABLE slow (id int PRIMARY KEY, a int, KEY a (a))", "INSERT INTO slow VALUES (1,1)")
	w.deferring("slow")
	reader := mysqldtest.Dial(t, w.target.Root().WithDB(w.target.db))
	for _, sql := range []string{"BEGIN", "SELECT * FROM slow"} { // the finisher waits for its end
		_, err := reader.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	w.follow(DDLExec, rule("/.*"))
	require.Eventually(t, func() bool {
		return w.target.one("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE='Waiting for table metadata lock' AND INFO LIKE CONCAT('ALTER TABLE `', DATABASE(), '`.`slow`%')") == "1"
	}, time.Minute, 10*time.Millisecond, "the finisher waits")
	src.exec("ALTER TABLE slow ADD COLUMN b int")
	says := func() string { return w.list()[0].Message }
	require.Eventually(t, func() bool { return strings.Contains(says(), "of "+w.target.db+".slow are being added") }, time.Minute, 10*time.Millisecond)
	_, err := reader.Exec(t.Context(), "COMMIT")
	require.NoError(t, err)
	w.await(Running)
	w.catchUp()
	w.equal("src/0", "slow")
	w.sameDefinitions("slow")
	require.NotContains(t, says(), "being added")
}

// A table of the source has no key, and there is none of its name on the target.
func TestTargetTableMissing(t *testing.T) {
	w := newWorld(t, nil, source1)
	w.sources["src/0"].exec("CREATE TABLE nokey (a int)", "INSERT INTO nokey VALUES (1)")
	w.follow(DDLIgnore, rule("nokey"))
	s := w.await(Error)[0]
	require.Contains(t, s.Message, "table nokey is not on the target")
	require.Contains(t, s.Message, "Create the table on the target")
}

// A table that is made like another, whose indexes are still to be added, has them.
func TestTableLikeOneThatLacksIndexes(t *testing.T) {
	w := newWorld(t, nil, source1)
	var pressure atomic.Int64
	pressure.Store(100)
	w.probes = func(string, string, throttle.Limits) []throttle.Probe { return []throttle.Probe{gauge{&pressure}} }
	w.restart()
	src := w.sources["src/0"]
	src.exec("CREATE TABLE item (id int PRIMARY KEY, a int, KEY a (a))", "INSERT INTO item VALUES (1,2)")
	w.deferring("item")
	w.follow(DDLExec, filter.Rule{Table: "/.*"})
	w.await(Copying)
	src.exec("CREATE TABLE twin LIKE item", "INSERT INTO twin VALUES (1,1)")
	w.catchUp()
	w.sameDefinitions("item", "twin")
	pressure.Store(0)
	w.await(Running)
	w.equal("src/0", "item", "twin")
}

// Somebody reads a table of the target in a long transaction, as a backup does, while its index is to be added: changes of the table go on, it is said who that
// is, and other tables get their indexes.
func TestIndexesBesideAReader(t *testing.T) {
	w := newWorld(t, mysqldtest.New(t, mysqldtest.Options{Options: []string{"performance_schema=ON"}}), source1)
	src := w.sources["src/0"]
	src.exec("CREATE TABLE slow (id int PRIMARY KEY, a int, KEY a (a))", "CREATE TABLE other (id int PRIMARY KEY, a int, KEY a (a))", "INSERT INTO slow VALUES (0,1)", "INSERT INTO other VALUES (0,1)")
	w.deferring("slow", "other")
	reader := mysqldtest.Dial(t, w.target.Root().WithDB(w.target.db))
	for _, sql := range []string{"BEGIN", "SELECT * FROM slow"} {
		_, err := reader.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	w.follow(DDLExec, rule("/.*"))
	res, err := reader.Query(t.Context(), "SELECT CONNECTION_ID()")
	require.NoError(t, err)
	text := "of " + w.target.db + ".slow are being added, and somebody uses the table: session"
	said := func() bool {
		c := w.list()[0].Copy
		return c != nil && strings.Contains(c.Bottleneck, text) && strings.Contains(c.Bottleneck, string(res.Rows[0][0])+" (")
	}
	require.Eventually(t, said, time.Minute, 10*time.Millisecond, "%v", lazy{func() any { return w.list() }})
	for i, until := 1, time.Now().Add(8*time.Second); time.Now().Before(until); i++ {
		began := time.Now()
		src.exec(fmt.Sprintf("INSERT INTO slow VALUES (%d,%d)", i, i))
		w.catchUp()
		require.Less(t, time.Since(began), 3*time.Second, "change %d", i)
	}
	w.sameDefinitions("other")
	_, err = reader.Exec(t.Context(), "COMMIT")
	require.NoError(t, err)
	w.await(Running)
	w.sameDefinitions("slow")
	w.equal("src/0", "slow", "other")
}

// Changes of a table without a key look its rows up by the indexes that it has, so none is left for later.
func TestIndexesOfTablesWithoutKey(t *testing.T) {
	w := newWorld(t, nil, source1)
	w.sources["src/0"].exec("CREATE TABLE keyed (a int NOT NULL, b int, UNIQUE KEY a (a), KEY b (b))", "CREATE TABLE keyless (a int, b int, UNIQUE KEY a (a), KEY b (b))")
	w.deferring("keyed", "keyless")
	for table, want := range map[string]string{"keyed": "a", "keyless": "a,b"} {
		require.Equal(t, want, w.target.one("SELECT GROUP_CONCAT(INDEX_NAME ORDER BY INDEX_NAME) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME='"+table+"'"))
	}
}
