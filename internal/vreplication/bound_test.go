package vreplication

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/filter"
	"braid/internal/throttle"
)

// A DDL changes a table of which no row comes afterwards; then all tables are bound again, because the indexes of others are there.
func TestBoundAgainBehindDDL(t *testing.T) {
	w := newWorld(t, nil, source1)
	var pressure atomic.Int64
	w.probes = func(string, string, throttle.Limits) []throttle.Probe { return []throttle.Probe{gauge{&pressure}} }
	w.restart()
	src := w.sources["src/0"]
	for _, s := range []*side{src, w.target} {
		s.exec("CREATE TABLE first (id int PRIMARY KEY, a int)", "CREATE TABLE item (id int PRIMARY KEY, a int, KEY a (a))")
	}
	w.target.exec("DROP TABLE item", "SET NAMES utf8mb4")
	require.NoError(t, CreateTable(t.Context(), w.target.conn, w.target.db, "item", "CREATE TABLE `item` (\n  `id` int NOT NULL,\n  `a` int DEFAULT NULL,\n  PRIMARY KEY (`id`),\n  KEY `a` (`a`)\n)", deferRows))
	src.exec("INSERT INTO first VALUES (1,1)", "INSERT INTO item VALUES (1,1)")
	pressure.Store(100)
	_, err := w.engine.Put(t.Context(), Spec{Workflow: "w", Keyspace: "src", Shard: "0", Rules: filter.Rules{Rules: []filter.Rule{rule("first"), rule("item")}}, OnDDL: DDLExec})
	require.NoError(t, err)
	w.await(Copying)
	src.exec("UPDATE first SET a=2") // describes it
	w.catchUp()
	src.exec("ALTER TABLE first CHANGE COLUMN a b bigint", "DROP TABLE IF EXISTS nothing")
	w.catchUp()
	src.exec("ALTER TABLE item ADD COLUMN b int") // its index is added before, and all tables are bound again
	w.catchUp()
	pressure.Store(0)
	w.await(Running)
	src.exec("UPDATE first SET b=3")
	w.catchUp()
	w.equal("src/0", "first", "item")
}
