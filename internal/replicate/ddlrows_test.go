package replicate

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
)

// Rows that were there before get the same cells in a new column on both sides, though what they get depends on the moment.
func TestDDLFillsRows(t *testing.T) {
	w := newWorld(t)
	table := w.db + ".t"
	w.source.exec("CREATE TABLE "+table+" (id int PRIMARY KEY, n int)", "INSERT INTO "+table+" VALUES (5,1), (1,2), (3,3)",
		"CREATE TABLE "+w.db+".u (a varchar(9) NOT NULL, UNIQUE KEY (a))", "INSERT INTO "+w.db+".u VALUES ('z'), ('a'), ('m')")
	r := w.start()
	r.running()
	w.source.exec("SET time_zone='+05:00', auto_increment_increment=10, auto_increment_offset=3",
		"ALTER TABLE "+table+" ADD COLUMN a timestamp DEFAULT CURRENT_TIMESTAMP, ADD COLUMN b datetime(6) DEFAULT CURRENT_TIMESTAMP(6), ADD COLUMN c timestamp(3) DEFAULT NOW(3) ON UPDATE NOW(3)",
		"ALTER TABLE "+table+" ADD COLUMN d date DEFAULT (CURDATE()), ADD COLUMN e time DEFAULT (CURTIME())",
		"ALTER TABLE "+table+" ADD COLUMN no bigint AUTO_INCREMENT UNIQUE FIRST",
		"ALTER TABLE "+w.db+".u ADD COLUMN no bigint AUTO_INCREMENT PRIMARY KEY",
		"SET time_zone=DEFAULT, auto_increment_increment=1, auto_increment_offset=1")
	r.catchUp()
	w.equal(table, w.db+".u")
	require.Equal(t, "3", w.target.one("SELECT no%10 FROM "+table+" WHERE id=5"))
}

// Numbers that would not be the source's are not given, and what is said instead helps.
func TestDDLThatNumbersRowsOtherwise(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config, *world)
		table  string
		rows   string
		ddl    string
		why    string
	}{
		"no key":  {func(c *Config, _ *world) { snapshot(c) }, "(n int)", "(5), (1), (3)", "ADD COLUMN id int AUTO_INCREMENT PRIMARY KEY", "the table has no key"},
		"none":    {func(c *Config, _ *world) { snapshot(c) }, "(n int)", "(5), (1), (3)", "ADD COLUMN id int AUTO_INCREMENT, ADD KEY (id)", "the table has no key"},
		"changed": {func(c *Config, _ *world) { snapshot(c) }, "(n int, m int)", "(5,NULL), (1,NULL), (3,NULL)", "MODIFY m int AUTO_INCREMENT UNIQUE", "the table has no key"},
		"where": {func(c *Config, w *world) { c.Selection.Where = []string{w.db + ".t:n > 1"} }, "(n int PRIMARY KEY)", "(5), (1), (3)",
			"ADD COLUMN id int AUTO_INCREMENT UNIQUE", "only some of the source's rows"},
		"others": {func(c *Config, w *world) {
			c.AllowNonEmpty = true
			w.target.exec("CREATE DATABASE "+w.db, "CREATE TABLE "+w.db+".t (n int PRIMARY KEY)", "INSERT INTO "+w.db+".t VALUES (2)")
		}, "(n int PRIMARY KEY)", "(5), (1), (3)", "ADD COLUMN id int AUTO_INCREMENT UNIQUE", "rows of others"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			table := w.db + ".t"
			w.source.exec("CREATE TABLE "+table+c.table, "INSERT INTO "+table+" VALUES "+c.rows)
			change := func(cfg *Config) { c.change(cfg, w) }
			r := w.start(change)
			r.running()
			w.source.exec("ALTER TABLE " + table + " " + c.ddl)
			err := r.wait()
			require.ErrorIs(t, err, errs.StreamFailed)
			require.ErrorContains(t, err, c.why)
			_, sql, _ := strings.Cut(steps(t, err)[0], "on the target: ")
			w.target.exec(strings.Split(strings.TrimSuffix(sql, ";"), "; ")...)
			again := func(cfg *Config) {
				if once(cfg); name != "others" {
					change(cfg)
				}
			}
			w.source.exec("INSERT INTO " + table + " (n) VALUES (7)")
			require.NoError(t, w.run(again))
			if name == "where" {
				require.Equal(t, w.source.contents(table, "n>1"), w.target.contents(table, "TRUE"))
			} else {
				w.equal(table)
			}
		})
	}
}

// Nothing is said where no row gets a number.
func TestDDLThatNumbersNothing(t *testing.T) {
	w := newWorld(t)
	w.source.exec("CREATE TABLE "+w.db+".empty (n int)", "CREATE TABLE "+w.db+".full (n int)", "INSERT INTO "+w.db+".full VALUES (3), (4)")
	r := w.start(snapshot)
	r.running()
	w.source.exec("ALTER TABLE "+w.db+".empty ADD COLUMN id SERIAL", "INSERT INTO "+w.db+".empty (n) VALUES (1)",
		"ALTER TABLE "+w.db+".full MODIFY n int AUTO_INCREMENT UNIQUE", "INSERT INTO "+w.db+".full VALUES (NULL)", "ALTER TABLE "+w.db+".full MODIFY N bigint AUTO_INCREMENT")
	r.catchUp()
	w.equal(w.db+".empty", w.db+".full")
	require.NoError(t, r.stop())
}
