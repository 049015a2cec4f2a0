package vreplication

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
)

// How many tables are written, each with a long reason, is more than a packet; and it is not looked for again with each batch.
func TestSaveWritersOfManyTables(t *testing.T) {
	server := mysqldtest.New(t, mysqldtest.Options{Options: []string{"max_allowed_packet=4M"}})
	conn := mysqldtest.Dial(t, server.Admin())
	require.NoError(t, InitSidecar(t.Context(), conn))
	e := NewEngine(Config{}, Deps{Admin: server.Admin(), Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(e.Stop)
	r := &run{c: &controller{e: e, written: newWritten()}, row: &row{ID: 7}}
	const tables = 3*writersAtOnce + 1
	for i := range tables {
		r.c.written.set(TableWriter{fmt.Sprintf("t%04d", i), "sql", strings.Repeat("'", 9000)})
	}
	require.NoError(t, r.saveWriters(t.Context()))
	saved, err := loadWriters(t.Context(), conn, 7)
	require.NoError(t, err)
	require.Len(t, saved, tables)
	require.Empty(t, r.c.written.all(true))
	r.writersAt = time.Time{}
	require.NoError(t, r.saveWriters(t.Context()))
	require.NotZero(t, r.writersAt, "nothing is new, and that was seen")
}
