package vstream

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/rowimage"
)

// counted counts how often definitions are read.
type counted struct {
	definitions
	loads, together int
}

func (c *counted) load(ctx context.Context, after gtid.Set, db, table string) (loaded, error) {
	c.loads++
	return c.definitions.load(ctx, after, db, table)
}

func (c *counted) loadFrom(ctx context.Context, after gtid.Set, db, table string, wanted func(string) bool) ([]loaded, error) {
	c.together++
	return c.definitions.loadFrom(ctx, after, db, table, wanted)
}

// A stream that asks for many tables gets definitions many at a time. What was read ahead is forgotten when a DDL passes, as what was asked for.
func TestDefinitionsTogether(t *testing.T) {
	srv := sharedServer(t)
	const tables = 40
	name := func(i int) string { return fmt.Sprintf("t%02d", i) }
	for i := range tables {
		srv.exec("CREATE TABLE " + name(i) + " (id INT PRIMARY KEY, v INT)")
		srv.exec("INSERT INTO " + name(i) + " VALUES (1, 10)")
	}
	srv.exec("CREATE TABLE other (id INT PRIMARY KEY)")
	st, err := srv.local().Open(t.Context(), Start{FromNow: true, Rules: filter.Rules{Rules: []filter.Rule{{Table: "/t[0-9]*"}}}})
	require.NoError(t, err)
	defer st.Close()
	catalog := st.(*stream).catalog
	source := &counted{definitions: catalog.definitions}
	catalog.definitions = source
	copied := func(i int) []rowimage.Row {
		require.NoError(t, st.OpenWindow(WindowRequest{ID: uint64(i), Table: name(i)}))
		for {
			items, err := st.Recv()
			require.NoError(t, err)
			for _, item := range items {
				if chunk, ok := item.(*Chunk); ok {
					return chunk.Rows
				}
			}
		}
	}
	for i := range tables - 3 {
		require.Equal(t, "10", string(copied(i)[0][1]))
	}
	require.Equal(t, readAlone, source.loads)
	require.Equal(t, 1, source.together, "the rest is read at once")
	require.Nil(t, catalog.tables["other"], "what the rules do not follow is not read")

	srv.exec("ALTER TABLE " + name(tables-1) + " ADD COLUMN w INT NOT NULL DEFAULT 7 FIRST")
	srv.exec("DROP TABLE " + name(tables-2))
	srv.exec("UPDATE " + name(tables-3) + " SET v = 11")
	passed := 0
	for passed < 2 {
		items, err := st.Recv()
		require.NoError(t, err)
		for _, item := range items {
			if _, ok := item.(*DDL); ok {
				passed++
			}
		}
	}
	rows := copied(tables - 1)
	require.Equal(t, []string{"7", "1", "10"}, []string{string(rows[0][0]), string(rows[0][1]), string(rows[0][2])})
	require.Equal(t, "11", string(copied(tables - 3)[0][1]))
	require.NoError(t, st.OpenWindow(WindowRequest{ID: 1000, Table: name(tables - 2)}))
	for err == nil {
		_, err = st.Recv()
	}
	var gone *GoneError
	require.ErrorAs(t, err, &gone)
}
