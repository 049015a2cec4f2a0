package replicate

import (
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
)

// Tables of two databases become tables of one, where names of foreign keys are unique.
func TestForeignKeysOfOneName(t *testing.T) {
	w := newWorld(t)
	w.source.exec("CREATE TABLE "+w.db+".p (id int PRIMARY KEY)", "CREATE TABLE "+w.db+".c (id int PRIMARY KEY, pid int, CONSTRAINT fk_1 FOREIGN KEY (pid) REFERENCES p (id))",
		"CREATE TABLE "+w.db2+".p2 (id int PRIMARY KEY)", "CREATE TABLE "+w.db2+".c2 (id int PRIMARY KEY, pid int, CONSTRAINT fk_1 FOREIGN KEY (pid) REFERENCES p2 (id))")
	err := w.run(once, func(c *Config) { c.Selection.Rename = []string{w.db2 + ".*=" + w.db + ".*"} })
	require.ErrorIs(t, err, errs.BadInput)
	require.ErrorContains(t, err, "fk_1")
	require.NoError(t, w.run(once), "each in its own")
}

// The name of a foreign key is taken by a table that is not replicated.
func TestNameOfAForeignKeyIsTaken(t *testing.T) {
	w := newWorld(t)
	w.source.exec("CREATE TABLE "+w.db+".p (id int PRIMARY KEY)", "CREATE TABLE "+w.db+".c (id int PRIMARY KEY, pid int, CONSTRAINT fk_1 FOREIGN KEY (pid) REFERENCES p (id))",
		"INSERT INTO "+w.db+".p VALUES (1)", "INSERT INTO "+w.db+".c VALUES (1,1)")
	w.target.exec("CREATE DATABASE "+w.db, "CREATE TABLE "+w.db+".own (id int PRIMARY KEY)", "CREATE TABLE "+w.db+".mine (id int PRIMARY KEY, oid int, CONSTRAINT fk_1 FOREIGN KEY (oid) REFERENCES own (id))")
	err := w.run()
	require.ErrorContains(t, err, "whose name is taken")
	require.ErrorContains(t, err, "fk_1")
	w.equal(w.db + ".c")
	w.target.exec("DROP TABLE " + w.db + ".mine")
	require.NoError(t, w.run(once), "the name is free")
	require.Equal(t, "c", w.target.one("SELECT TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA='"+w.db+"' AND CONSTRAINT_NAME='fk_1'"))
}
