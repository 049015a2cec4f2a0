package schema_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
	"braid/internal/schema"
)

// Members of an ENUM are read, and written, as MySQL prints them, whatever the sql_mode of the session that made the table.
func TestMembers(t *testing.T) {
	server, db := mysqldtest.Shared(t)
	conn := mysqldtest.Dial(t, server.Root().WithDB(db))
	for table, sql := range map[string]string{
		"escapes": `CREATE TABLE escapes (e ENUM('it''s', '"', '\\', '\\\\n', 'a,b', ')', 'x\ny', 'x\ry', '☃', 'x\0y', '%') CHARACTER SET utf8mb4)`,
		"plain":   `CREATE TABLE plain (e ENUM('it''s', '"', '\', '\\n', 'a,b', ')', '☃', '%') CHARACTER SET utf8mb4)`,
	} {
		want := []string{"it's", `"`, `\`, `\\n`, "a,b", ")", "x\ny", "x\ry", "☃", "x\x00y", "%"}
		mode := "SET SESSION sql_mode=''"
		if table == "plain" {
			mode, want = "SET SESSION sql_mode='NO_BACKSLASH_ESCAPES'", []string{"it's", `"`, `\`, `\\n`, "a,b", ")", "☃", "%"}
		}
		for _, s := range []string{"SET NAMES utf8mb4", mode, sql} {
			_, err := conn.Exec(t.Context(), s)
			require.NoError(t, err, s)
		}
		defs, err := schema.Load(t.Context(), conn, db, []string{table})
		require.NoError(t, err)
		require.Equal(t, want, defs[0].Columns[0].EnumValues)
		require.Equal(t, defs[0].Columns[0].ColumnType, schema.MemberType("enum", want))
	}
}
