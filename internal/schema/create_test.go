package schema_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

func TestDefer(t *testing.T) {
	for _, tc := range []struct {
		name, create, bare string
		d                  schema.Deferred
	}{{
		"all kinds",
		"CREATE TABLE `t` (\n  `id` bigint NOT NULL,\n  `c` varchar(9) DEFAULT 'KEY `x` (`y`),' COMMENT 'it''s, a \\' (\\\\',\n  PRIMARY KEY (`id`),\n  UNIQUE KEY `u` (`c`),\n" +
			"  KEY `k,``)` (`c`(2) DESC,(lower(`c`))) USING BTREE COMMENT 'a, b' /*!80000 INVISIBLE */,\n  FULLTEXT KEY `f` (`c`),\n  SPATIAL KEY `s` (`g`),\n" +
			"  CONSTRAINT `fk` FOREIGN KEY (`c`) REFERENCES `p` (`id`) ON DELETE CASCADE,\n  CONSTRAINT `FOREIGN KEY ` CHECK ((`id` > 0))\n) ENGINE=InnoDB COMMENT='), KEY'\n/*!50100 PARTITION BY HASH (`id`) (PARTITION a, PARTITION b) */",
		"CREATE TABLE `t` (\n  `id` bigint NOT NULL,\n  `c` varchar(9) DEFAULT 'KEY `x` (`y`),' COMMENT 'it''s, a \\' (\\\\',\n  PRIMARY KEY (`id`),\n  UNIQUE KEY `u` (`c`),\n" +
			"  FULLTEXT KEY `f` (`c`),\n  SPATIAL KEY `s` (`g`),\n" +
			"  CONSTRAINT `FOREIGN KEY ` CHECK ((`id` > 0))\n) ENGINE=InnoDB COMMENT='), KEY'\n/*!50100 PARTITION BY HASH (`id`) (PARTITION a, PARTITION b) */",
		schema.Deferred{Indexes: []schema.Definition{
			{"k,`)", "KEY `k,``)` (`c`(2) DESC,(lower(`c`))) USING BTREE COMMENT 'a, b' /*!80000 INVISIBLE */"},
		}, ForeignKeys: []schema.Definition{{"fk", "CONSTRAINT `fk` FOREIGN KEY (`c`) REFERENCES `p` (`id`) ON DELETE CASCADE"}}},
	}, {
		"the last item goes",
		"CREATE TABLE `t` (\n  `id` int NOT NULL,\n  KEY `a` (`id`)\n) ENGINE=InnoDB", "CREATE TABLE `t` (\n  `id` int NOT NULL\n) ENGINE=InnoDB",
		schema.Deferred{Indexes: []schema.Definition{{"a", "KEY `a` (`id`)"}}},
	}, {
		"a counter needs its index",
		"CREATE TABLE `t` (\n  `id` int NOT NULL AUTO_INCREMENT,\n  `n` int COMMENT ' AUTO_INCREMENT',\n  KEY `n` (`n`,`id`),\n  KEY `a` (`id`,`n`),\n  KEY `b` (`id`)\n)",
		"CREATE TABLE `t` (\n  `id` int NOT NULL AUTO_INCREMENT,\n  `n` int COMMENT ' AUTO_INCREMENT',\n  KEY `a` (`id`,`n`)\n)",
		schema.Deferred{Indexes: []schema.Definition{{"n", "KEY `n` (`n`,`id`)"}, {"b", "KEY `b` (`id`)"}}},
	}, {
		"a counter with a unique one needs no other",
		"CREATE TABLE `t` (\n  `id` int NOT NULL AUTO_INCREMENT,\n  KEY `a` (`id`),\n  UNIQUE KEY `b` (`id`)\n)", "CREATE TABLE `t` (\n  `id` int NOT NULL AUTO_INCREMENT,\n  UNIQUE KEY `b` (`id`)\n)",
		schema.Deferred{Indexes: []schema.Definition{{"a", "KEY `a` (`id`)"}}},
	}} {
		t.Run(tc.name, func(t *testing.T) {
			bare, d, err := schema.Defer(tc.create)
			require.NoError(t, err)
			require.Equal(t, tc.bare, bare)
			require.Equal(t, tc.d, d)
			again, none, err := schema.Defer(bare)
			require.NoError(t, err)
			require.Equal(t, bare, again)
			require.True(t, none.Empty())
		})
	}
	for _, bad := range []string{"", "CREATE VIEW `v` AS select 1", "CREATE TABLE `t` (`a` int", "DROP TABLE `t`", "'", "CREATE TABLE t ()"} {
		_, _, err := schema.Defer(bad)
		if bad != "CREATE TABLE t ()" {
			require.Error(t, err, bad)
		}
	}
}

// A table that is made bare and gets what was deferred is the same table, whatever it has.
func TestDeferredMakesTheSameTable(t *testing.T) {
	server, db := mysqldtest.Shared(t)
	conn := mysqldtest.Dial(t, server.Root().WithDB(db))
	exec(t, conn, "SET NAMES utf8mb4",
		"CREATE TABLE parent (id INT PRIMARY KEY, a INT, b INT, KEY ab (a, b), KEY hidden (b) INVISIBLE, CONSTRAINT self FOREIGN KEY (a) REFERENCES parent (id))",
		"CREATE TABLE `child ``☃` (`i d` BIGINT NOT NULL AUTO_INCREMENT, `p'id` INT, t VARCHAR(50) COLLATE utf8mb4_0900_as_cs DEFAULT 'it''s `, KEY (' COMMENT 'any \"\\n\\\\ ''☃'', character', t2 TEXT COLLATE utf8mb4_0900_as_cs, g POINT NOT NULL SRID 4326, "+
			"j JSON, v INT AS (json_extract(j, '$.\"a''b\"')) VIRTUAL, inv INT INVISIBLE DEFAULT 7, ex INT DEFAULT (1 + 2), PRIMARY KEY (`i d`), UNIQUE KEY u (t(5)), KEY `p'id` (`p'id`, t(3) DESC) COMMENT 'x, '')', "+
			"KEY fn ((lower(t))), KEY mv ((CAST(j->'$.tags' AS UNSIGNED ARRAY))), KEY virt (v), FULLTEXT KEY f1 (t) /*!50100 WITH PARSER ngram */, FULLTEXT KEY f2 (t, t2), SPATIAL KEY sp (g), "+
			"CONSTRAINT fk FOREIGN KEY (`p'id`) REFERENCES parent (id) ON DELETE SET NULL ON UPDATE CASCADE, CONSTRAINT c CHECK (t <> 'KEY `x` (`a`)') /*!80016 NOT ENFORCED */) COMMENT 'KEY, ) ''x'''",
		"CREATE TABLE parts (a INT NOT NULL, b DATE NOT NULL, n INT NOT NULL AUTO_INCREMENT, PRIMARY KEY (a, b), KEY n (n), KEY b (b)) COMMENT ' PARTITION BY ' PARTITION BY RANGE COLUMNS (b) (PARTITION p0 VALUES LESS THAN ('2024-01-01') COMMENT 'a, b', PARTITION p1 VALUES LESS THAN (MAXVALUE))",
		"CREATE TABLE nokey (a INT, KEY a (a))",
	)
	wanted := loadAll(t, conn, db)
	exec(t, conn, "SET foreign_key_checks=0")
	for _, want := range wanted {
		bare, d, err := schema.Defer(want.CreateStatement)
		require.NoError(t, err)
		exec(t, conn, "DROP TABLE "+sqlconn.QuoteIdent(want.Name), bare)
		have := loadOne(t, conn, db, want.Name)
		require.NotEmpty(t, schema.Differences(want, have), "%s lacks what was deferred", want.Name)
		exec(t, conn, d.IndexAlter(have))
		again := loadOne(t, conn, db, want.Name)
		require.Empty(t, d.IndexAlter(again), "what is there is not added again")
		if sql := d.ForeignKeyAlter(again); sql != "" {
			exec(t, conn, sql)
		}
		have = loadOne(t, conn, db, want.Name)
		require.Empty(t, d.ForeignKeyAlter(have))
		require.Empty(t, schema.Differences(want, have))
	}
	child := loadOne(t, conn, db, "child `☃")
	_, d, err := schema.Defer(child.CreateStatement)
	require.NoError(t, err)
	require.Len(t, d.Indexes, 4, "not the FULLTEXT and SPATIAL ones")
}

func TestDifferencesAreNamed(t *testing.T) {
	server, db := mysqldtest.Shared(t)
	conn := mysqldtest.Dial(t, server.Root().WithDB(db))
	const table = "CREATE TABLE t (id INT PRIMARY KEY, a INT DEFAULT 1, b VARCHAR(9), p INT, UNIQUE KEY u (a), KEY k (b(3)), CONSTRAINT c CHECK (a > 0), CONSTRAINT fk FOREIGN KEY (p) REFERENCES t (id)) COMMENT 'x'"
	exec(t, conn, table)
	want := loadOne(t, conn, db, "t")
	for _, tc := range []struct{ alter, diff string }{
		{"DROP KEY k", "index k: none, not BTREE (b(3))"}, {"DROP KEY k, ADD KEY k (b)", "index k: BTREE (b), not BTREE (b(3))"}, {"ALTER INDEX k INVISIBLE", "index k: BTREE INVISIBLE (b(3)), not BTREE (b(3))"},
		{"DROP KEY u, ADD KEY u (a)", "index u: BTREE (a), not UNIQUE BTREE (a)"}, {"ADD KEY more (a, id DESC)", "index more: BTREE (a, id DESC), not none"},
		{"ALTER COLUMN a SET DEFAULT 2", "column a: default: '2', not '1'"}, {"ALTER COLUMN b SET INVISIBLE", "column b: visible: false, not true"},
		{"DROP CHECK c", "check c: none, not CONSTRAINT `c` CHECK ((`a` > 0))"},
		{"DROP FOREIGN KEY fk", "foreign key fk: none, not (p) REFERENCES t (id) ON DELETE NO ACTION ON UPDATE NO ACTION"},
		{"DROP FOREIGN KEY fk, DROP KEY fk, DROP KEY u; ALTER TABLE t PARTITION BY HASH (id)", "partitions:  PARTITION BY HASH (`id`) */, not none"},
	} {
		exec(t, conn, "ALTER TABLE t "+tc.alter)
		var lines []string
		for _, d := range schema.Differences(want, loadOne(t, conn, db, "t")) {
			lines = append(lines, d.String())
		}
		require.Contains(t, lines, tc.diff)
		exec(t, conn, "DROP TABLE t", table)
		require.Empty(t, schema.Differences(want, loadOne(t, conn, db, "t")))
	}
}

func loadOne(t *testing.T, conn *sqlconn.Conn, db, name string) *schema.Table {
	t.Helper()
	tables, err := schema.Load(t.Context(), conn, db, []string{name})
	require.NoError(t, err)
	return tables[0]
}

func TestHasKey(t *testing.T) {
	const create = "CREATE TABLE `t` (\n  `a` int NOT NULL COMMENT 'it''s NOT NULL',\n  `b` int DEFAULT NULL COMMENT ' NOT NULL',\n  `un``ique` int NOT NULL,\n%s  KEY `k` (`b`)\n) ENGINE=InnoDB"
	for keys, want := range map[string]bool{
		"":                       false,
		"  PRIMARY KEY (`a`),\n": true,
		"  UNIQUE KEY `u` (`a`,`un``ique` DESC),\n": true,
		"  UNIQUE KEY `u` (`a`,`b`),\n":             false,
		"  UNIQUE KEY `a` (`b`),\n":                 false,
		"  UNIQUE KEY `b``` (`a`),\n":               true,
	} {
		got, err := schema.HasKey(fmt.Sprintf(create, keys))
		require.NoError(t, err)
		require.Equal(t, want, got, keys)
	}
}
