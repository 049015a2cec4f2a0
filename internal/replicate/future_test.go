package replicate

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Rows that were written before a DDL, and are read after it, can look as if they were of the table that the DDL has made.
func TestRowsOfAnEarlierTableThatLooksAlike(t *testing.T) {
	w := newWorld(t)
	w.source.exec("CREATE TABLE "+w.db+".a (id int PRIMARY KEY, u varchar(20) COLLATE utf8mb4_0900_ai_ci, e enum('x','y'), UNIQUE KEY (u))",
		"CREATE TABLE "+w.db+".b (id int PRIMARY KEY, u varchar(20) COLLATE utf8mb4_bin, e enum('y','x'))",
		"CREATE TABLE "+w.db+".c (id int PRIMARY KEY, v varchar(200), w int NOT NULL, n int NOT NULL)",
		"CREATE TABLE "+w.db+".d (id int NOT NULL, v int NOT NULL, UNIQUE KEY one (id))")
	require.NoError(t, w.run(once))
	w.source.exec("INSERT INTO "+w.db+".a VALUES (1,'a','x')", "INSERT INTO "+w.db+".b VALUES (1,'a','x'), (2,'A','y')", "INSERT INTO "+w.db+".c VALUES (1,'c',5,6)", "INSERT INTO "+w.db+".d VALUES (1,2)",
		"RENAME TABLE "+w.db+".a TO "+w.db+".x, "+w.db+".b TO "+w.db+".a, "+w.db+".x TO "+w.db+".b",
		"ALTER TABLE "+w.db+".c MODIFY v varchar(400), DROP PRIMARY KEY, ADD PRIMARY KEY (w)",
		"ALTER TABLE "+w.db+".d DROP KEY one, ADD UNIQUE KEY two (v)",
		"INSERT INTO "+w.db+".a VALUES (3,'á','y')", "UPDATE "+w.db+".c SET id=2", "UPDATE "+w.db+".d SET id=2")
	require.NoError(t, w.run(once))
	w.equal(w.db+".a", w.db+".b", w.db+".c", w.db+".d")
}

// meanwhile does something when the log says something for the first time.
type meanwhile struct {
	slog.Handler
	says string
	once *sync.Once
	do   func()
}

func (m meanwhile) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == m.says {
		m.once.Do(m.do)
	}
	return m.Handler.Handle(ctx, r)
}

func (m meanwhile) WithAttrs(attrs []slog.Attr) slog.Handler {
	m.Handler = m.Handler.WithAttrs(attrs)
	return m
}

// DDL that comes when the definitions were read, and the position is not known at which the copy begins.
func TestDDLBeforeTheCopyBegins(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		w.source.exec("CREATE TABLE "+w.db+"."+name+" (id int PRIMARY KEY, v int, KEY v (v))", "INSERT INTO "+w.db+"."+name+" VALUES (1,1), (2,2)")
	}
	var log bytes.Buffer
	h := meanwhile{slog.NewTextHandler(&log, nil), "table made on the target", new(sync.Once), func() {
		w.source.exec("ALTER TABLE "+w.db+".a ADD COLUMN w int NOT NULL DEFAULT 5", "DROP TABLE "+w.db+".b", "RENAME TABLE "+w.db+".c TO "+w.db+".c2",
			"CREATE TABLE "+w.db+".e (id int PRIMARY KEY)", "INSERT INTO "+w.db+".e VALUES (7)", "INSERT INTO "+w.db+".a VALUES (3,3,3)", "UPDATE "+w.db+".c2 SET v=9")
	}}
	cfg := w.cfg
	cfg.Once = true
	require.NoError(t, Run(t.Context(), cfg, Deps{Log: slog.New(h)}), &log)
	w.equal(w.db+".a", w.db+".c2", w.db+".d", w.db+".e")
	require.Equal(t, "a,c2,d,e", w.target.one("SELECT GROUP_CONCAT(TABLE_NAME ORDER BY 1) FROM information_schema.TABLES WHERE TABLE_SCHEMA='"+w.db+"'"))
	require.Equal(t, "0", w.target.one("SELECT COUNT(*) FROM _braid.deferred WHERE db_name='"+w.db+"'"))
}
