package replicate

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A stream that comes to rows before a DDL when the source has run it takes what the binlog does not tell of their types from the target, which
// has not run it yet.
func TestTypesShownOtherwiseLater(t *testing.T) {
	w := newWorld(t)
	table := w.db + ".shown"
	w.source.exec("CREATE TABLE " + table + " (id INT PRIMARY KEY, b TINYINT, z INT UNSIGNED, g POINT)")
	require.NoError(t, w.run(once))
	w.source.exec("INSERT INTO "+table+" VALUES (1, 2, 3, ST_GeomFromText('POINT(1 2)'))",
		"ALTER TABLE "+table+" MODIFY b BOOLEAN, MODIFY z INT UNSIGNED ZEROFILL, MODIFY g GEOMETRY",
		"INSERT INTO "+table+" VALUES (2, 0, 4, ST_GeomFromText('LINESTRING(1 2, 3 4)'))")
	require.NoError(t, w.run(once))
	w.equal(table)
}
