package replicate

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
)

// Rows that differ on the source in their keys alone would replace each other on the target.
func TestUniqueKeyOfTheTargetAlone(t *testing.T) {
	w := newWorld(t)
	u := w.db + ".u"
	w.source.exec("CREATE TABLE "+u+" (id int PRIMARY KEY, a int, b int, UNIQUE KEY (b))", "INSERT INTO "+u+" VALUES (1,5,1),(2,5,2),(3,7,3)")
	w.target.exec("CREATE DATABASE "+w.db, "CREATE TABLE "+u+" (id int PRIMARY KEY, a int, b int, UNIQUE KEY a (a), UNIQUE KEY (b), UNIQUE KEY of_b (a, b))")
	for _, allow := range []bool{false, true} {
		err := w.run(once, func(c *Config) { c.AllowNonEmpty = allow })
		require.ErrorIs(t, err, errs.TableDiffers)
		require.ErrorContains(t, err, "has unique keys that the source does not have: a;", "a key that follows from one of the source's is none")
		require.Equal(t, "0", w.target.one("SELECT COUNT(*) FROM "+u))
		if allow {
			w.target.exec(strings.TrimPrefix(steps(t, err)[0], "on the target: "))
		}
	}
	require.NoError(t, w.run(once))
	w.equal(u)
}
