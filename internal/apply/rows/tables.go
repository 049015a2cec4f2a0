package rows

import (
	"maps"
	"sync/atomic"
)

// Tables says how the changes of a stream's tables are written. It is shared by the sessions of an applier. A new definition comes
// under a new view; transactions that were received before keep theirs.
type Tables struct {
	view atomic.Pointer[View]
}

// View is what Tables said at one place of the stream. It is immutable.
type View struct {
	tables map[uint32]*Table
}

// Set says how the changes of a table ID are written from here on. One goroutine at a time calls it.
func (t *Tables) Set(id uint32, table *Table) {
	next := &View{tables: map[uint32]*Table{}}
	maps.Copy(next.tables, t.View().tables)
	next.tables[id] = table
	t.view.Store(next)
}

// View is what holds now.
func (t *Tables) View() *View {
	if v := t.view.Load(); v != nil {
		return v
	}
	return &View{}
}

// Table returns what Set has set, or nil.
func (v *View) Table(id uint32) *Table { return v.tables[id] }
