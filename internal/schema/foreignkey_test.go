package schema_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

func TestLoadForeignKeys(t *testing.T) {
	server, db := mysqldtest.Shared(t)
	mysqldtest.Exec(t, server,
		"USE "+sqlconn.QuoteIdent(db),
		"CREATE TABLE parent (a INT, b INT, PRIMARY KEY (a, b))",
		"CREATE TABLE child (id INT PRIMARY KEY, y INT, x INT, up INT, "+
			"CONSTRAINT both_columns FOREIGN KEY (x, y) REFERENCES parent (a, b) ON DELETE CASCADE ON UPDATE RESTRICT, "+
			"CONSTRAINT tree FOREIGN KEY (up) REFERENCES child (id) ON DELETE SET NULL)")
	conn := mysqldtest.Dial(t, server.Root())
	tables, err := schema.Load(t.Context(), conn, db, []string{"child", "parent"})
	require.NoError(t, err)
	require.Empty(t, tables[1].ForeignKeys, "a parent has none")
	want := []schema.ForeignKey{
		{Name: "both_columns", Columns: []int{2, 1}, RefDB: db, RefTable: "parent", RefColumns: []string{"a", "b"}, OnDelete: "CASCADE", OnUpdate: "RESTRICT"},
		{Name: "tree", Columns: []int{3}, RefDB: db, RefTable: "child", RefColumns: []string{"id"}, OnDelete: "SET NULL", OnUpdate: "NO ACTION"},
	}
	require.Equal(t, want, tables[0].ForeignKeys)

	raw, err := json.Marshal(tables[0])
	require.NoError(t, err)
	var back schema.Table
	require.NoError(t, json.Unmarshal(raw, &back))
	require.Equal(t, tables[0], &back)
}
