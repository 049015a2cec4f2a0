package vstream

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/gtid"
	"braid/internal/rowimage"
)

// target applies a stream's items to memory, strictly where W1 says so: an upsert of a row is always right, but two rows never meet on
// a key in one Chunk, and a Chunk never brings a row whose key the target has.
type target struct {
	t        testing.TB
	tables   map[uint32]*targetTable
	byName   map[string]*targetTable
	position gtid.Set
	open     []*Transaction // fragments of one that is not complete
	ddl      []*DDL
	depends  []string
	chunks   []*Chunk
	txs      int
	ops      []Op

	fragmented int // transactions that came in parts
	ddlBefore  int // the last chunk
}

type targetTable struct {
	def  *Table
	key  []int
	rows map[string]rowimage.Row
}

func newTarget(t testing.TB) *target {
	return &target{t: t, tables: map[uint32]*targetTable{}, byName: map[string]*targetTable{}}
}

func keyString(key rowimage.Row) string { return string(rowimage.AppendRow(nil, key)) }

func (g *target) apply(items []Item) {
	for _, item := range items {
		g.item(item)
	}
}

func (g *target) item(item Item) {
	switch it := item.(type) {
	case *Table:
		tt := g.tables[it.ID]
		if tt == nil {
			tt = &targetTable{rows: map[string]rowimage.Row{}}
			if old := g.byName[it.Target]; old != nil {
				tt = old // of a stream before this one
			}
			g.tables[it.ID], g.byName[it.Target] = tt, tt
		}
		tt.def, tt.key = it, it.Def.KeyColumns()
	case *Transaction:
		g.open = append(g.open, it)
		if it.Last {
			g.commit()
		}
	case *DDL:
		require.Empty(g.t, g.open)
		g.ddl = append(g.ddl, it)
		if strings.HasPrefix(it.SQL, "TRUNCATE") {
			for _, tt := range g.byName {
				clear(tt.rows)
			}
		}
		if !it.Rows {
			require.NoError(g.t, g.position.Add(it.GTID))
		}
	case *Chunk:
		require.Empty(g.t, g.open, "a chunk inside of a transaction")
		g.chunk(it)
	case *Heartbeat:
		require.Empty(g.t, g.open, "a heartbeat inside of a transaction")
		g.reach(it.Position)
	}
}

func (g *target) reach(position string) {
	p, err := gtid.Parse(position)
	require.NoError(g.t, err)
	require.True(g.t, p.Contains(g.position), "position %s goes back behind %s", p, g.position)
	g.position = p
}

func (g *target) commit() {
	for _, tx := range g.open {
		require.Equal(g.t, g.open[0].GTID, tx.GTID)
		for i := range tx.Changes {
			g.change(&tx.Changes[i])
		}
		g.depends = append(g.depends, tx.Depends...)
	}
	require.False(g.t, g.position.ContainsGTID(g.open[0].GTID), "%s comes twice", g.open[0].GTID)
	require.NoError(g.t, g.open[len(g.open)-1].Reach(&g.position))
	if len(g.open) > 1 {
		g.fragmented++
	}
	g.open = nil
	g.txs++
}

func (g *target) change(c *Change) {
	tt := g.tables[c.TableID]
	require.NotNil(g.t, tt, "table %d was not described", c.TableID)
	g.ops = append(g.ops, c.Op)
	if c.Before != nil {
		delete(tt.rows, keyString(c.Before.Key(tt.key)))
	}
	if c.After != nil {
		tt.rows[keyString(c.After.Key(tt.key))] = c.After
	}
}

func (g *target) chunk(c *Chunk) {
	tt := g.tables[c.TableID]
	require.NotNil(g.t, tt, "table %d was not described", c.TableID)
	g.reach(c.Position)
	g.chunks, g.ddlBefore = append(g.chunks, c), len(g.ddl)
	for _, row := range c.Rows {
		tt.rows[keyString(row.Key(tt.key))] = row
	}
}

// contents prints a table, for comparison.
func (tt *targetTable) contents() map[string]string {
	out := map[string]string{}
	if tt == nil {
		return out
	}
	for k, row := range maps.All(tt.rows) {
		out[k] = rowText(row)
	}
	return out
}

func rowText(row rowimage.Row) string {
	s := ""
	for _, cell := range row {
		if cell == nil {
			s += "NULL|"
		} else {
			s += fmt.Sprintf("%q|", cell)
		}
	}
	return s
}
