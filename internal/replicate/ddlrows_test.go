package replicate

import (
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

// Numbers that would not be the source's are not given.
func TestDDLThatNumbersRowsWithoutOrder(t *testing.T) {
	w := newWorld(t)
	table := w.db + ".t"
	w.source.exec("CREATE TABLE "+table+" (n int)", "INSERT INTO "+table+" VALUES (5), (1), (3)", "CREATE TABLE "+w.db+".empty (n int)")
	r := w.start(snapshot)
	r.running()
	w.source.exec("ALTER TABLE "+w.db+".empty ADD COLUMN id SERIAL", "INSERT INTO "+w.db+".empty (n) VALUES (1)")
	r.catchUp()
	w.equal(w.db + ".empty")
	w.source.exec("ALTER TABLE " + table + " ADD COLUMN id int AUTO_INCREMENT PRIMARY KEY")
	err := r.wait()
	require.ErrorIs(t, err, errs.StreamFailed)
	require.ErrorContains(t, err, "the table has no key")
}
