package vreplication

import (
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
)

// An older sidecar is brought up to date, with its rows; one that is up to date is not touched.
func TestInitSidecar(t *testing.T) {
	server := mysqldtest.New(t, mysqldtest.Options{})
	conn := mysqldtest.Dial(t, server.Admin())
	ctx := t.Context()
	require.NoError(t, InitSidecar(ctx, conn))
	mysqldtest.Exec(t, server, "INSERT INTO _braid.journal (workflow, epoch, val) VALUES ('w', 7, 'kept')",
		"ALTER TABLE _braid.journal MODIFY COLUMN workflow varchar(20) NOT NULL", "ALTER TABLE _braid.vreplication DROP COLUMN transactions, ADD COLUMN older int",
		"DROP TABLE _braid.vdiff")
	require.NoError(t, InitSidecar(ctx, conn))
	present, err := sidecarColumns(ctx, conn)
	require.NoError(t, err)
	for i := range sidecar {
		require.Empty(t, sidecar[i].alter(present[sidecar[i].name]), sidecar[i].name)
	}
	require.Equal(t, "int", present["vreplication"]["older"], "what a newer version does not know is left alone")
	res, err := conn.Query(ctx, "SELECT val FROM _braid.journal")
	require.NoError(t, err)
	require.Equal(t, "kept", string(res.Rows[0][0]))
	before, err := conn.Query(ctx, "SELECT @@GLOBAL.gtid_executed")
	require.NoError(t, err)
	require.NoError(t, InitSidecar(ctx, conn))
	after, err := conn.Query(ctx, "SELECT @@GLOBAL.gtid_executed")
	require.NoError(t, err)
	require.LessOrEqual(t, len(after.Rows[0][0])-len(before.Rows[0][0]), 1, "no statement but CREATE DATABASE IF NOT EXISTS")
}
