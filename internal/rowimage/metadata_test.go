package rowimage_test

import (
	"strconv"
	"testing"

	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
	"braid/internal/rowimage"
)

// What the optional metadata of a table map says is what information_schema says.
func TestOptionalMetadata(t *testing.T) {
	server, db := mysqldtest.Shared(t)
	conn := mysqldtest.Dial(t, server.Root().WithDB(db))
	writer := utf8Writer(t, server, db)
	exec(t, writer, `CREATE TABLE t (a INT UNSIGNED, b VARCHAR(10), c CHAR(3) CHARACTER SET latin1, d ENUM('x','ü'), e SET('p','q') COLLATE utf8mb4_bin, f TEXT INVISIBLE,
		g BLOB, h TINYINT, i DECIMAL(5,2) UNSIGNED, j YEAR, k VARCHAR(20) COLLATE utf8mb4_bin, PRIMARY KEY (k(3), a))`)
	for _, metadata := range []string{"FULL", "MINIMAL"} {
		exec(t, conn, "SET GLOBAL binlog_row_metadata = "+metadata, "FLUSH TABLES")
		from := logPosition(t, conn)
		exec(t, writer, "INSERT INTO t (a, k) VALUES (1, 'x')", "DELETE FROM t")
		var m *rowimage.TableMap
		for typ, body := range events(t, server, from, logPosition(t, conn)) {
			if typ == byte(replication.TABLE_MAP_EVENT) {
				var err error
				m, err = rowimage.ParseTableMap(body)
				require.NoError(t, err)
			}
		}
		def := load(t, conn, db, "t")
		require.True(t, m.Signed)
		require.Equal(t, metadata == "FULL", m.Named)
		for i, c := range def.Columns {
			got := m.Columns[i]
			require.Equal(t, c.Nullable, got.Nullable, c.Name)
			if c.DataType != "year" {
				require.Equal(t, c.Unsigned, got.Unsigned, c.Name)
			}
			isEnum := c.DataType == "enum" || c.DataType == "set"
			if c.Collation != "" && (m.Named || !isEnum) {
				res, err := conn.Query(t.Context(), "SELECT ID FROM information_schema.COLLATIONS WHERE COLLATION_NAME = '"+c.Collation+"'")
				require.NoError(t, err)
				require.Equal(t, string(res.Rows[0][0]), strconv.FormatUint(got.Collation, 10), c.Name)
			}
			if m.Named {
				require.Equal(t, c.Name, got.Name)
				require.Equal(t, c.EnumValues, got.Values, c.Name)
				require.Equal(t, c.Invisible, got.Invisible, c.Name)
			}
		}
		if m.Named {
			require.Equal(t, def.PrimaryKey, m.PrimaryKey)
		}
	}
	exec(t, conn, "SET GLOBAL binlog_row_metadata = FULL")
}
