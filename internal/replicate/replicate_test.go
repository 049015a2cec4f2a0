package replicate

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// fill makes two tables in each database, with rows.
func (w *world) fill() {
	for _, db := range []string{w.db, w.db2} {
		w.source.exec(
			"CREATE TABLE "+db+".item (id bigint PRIMARY KEY, name varchar(60) NOT NULL, qty int, UNIQUE KEY name (name)) CHARACTER SET utf8mb4",
			"CREATE TABLE "+db+".note (region varchar(20) NOT NULL, seq int NOT NULL, body varbinary(200), at timestamp(3) NULL, PRIMARY KEY (region, seq))",
			"INSERT INTO "+db+".note VALUES ('eu', 1, x'00ff27', '2026-01-01 00:00:00.123'), ('us', 1, NULL, NULL)")
		for i := range 5 {
			w.source.exec(fmt.Sprintf("INSERT INTO %s.item SELECT %d*100+n, CONCAT('n', %d*100+n), n FROM (SELECT ROW_NUMBER() OVER () n FROM information_schema.COLLATIONS LIMIT 100) x", db, i, i))
		}
	}
}

func TestCopyAndFollow(t *testing.T) {
	w := newWorld(t)
	w.fill()
	w.source.exec("ALTER DATABASE " + w.db2 + " CHARACTER SET latin1 COLLATE latin1_german1_ci")
	r := w.start()
	r.running()
	w.source.exec(
		"BEGIN", "UPDATE "+w.db+".item SET qty=qty+1 WHERE id<50", "DELETE FROM "+w.db2+".item WHERE id>400", "COMMIT",
		"INSERT INTO "+w.db+".note VALUES ('eu', 2, 'x', NOW(3))")
	r.catchUp()
	all := []string{w.db + ".item", w.db2 + ".item", w.db + ".note", w.db2 + ".note"}
	w.equal(all...)
	require.Equal(t, "latin1_german1_ci", w.target.one("SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME='"+w.db2+"'"))
	require.NoError(t, r.stop())

	w.source.exec("UPDATE "+w.db+".item SET qty=-1 WHERE id=7", "INSERT INTO "+w.db2+".note VALUES ('later', 1, '', NULL)")
	require.NoError(t, w.run(once))
	w.equal(all...)
}
