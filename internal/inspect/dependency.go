package inspect

import (
	"hash/fnv"

	"braid/internal/rowimage"
	"braid/internal/writeset"
)

// history is how many tokens a tracker remembers: more than an applier needs, since a span is looked at as a whole.
const history = 1_000_000

// tracked feeds a writeset.Tracker with a scan.
type tracked struct {
	tracker *writeset.Tracker
	known   map[uint32]*Table
}

func newTracked(mode writeset.Mode) *tracked {
	return &tracked{tracker: writeset.New(writeset.Config{Mode: mode, History: history}), known: map[uint32]*Table{}}
}

func (k *tracked) begin(t *Transaction) {
	k.tracker.Begin(writeset.Header{Clock: clock(t), Barrier: t.DDL != nil})
}

// end returns what the transaction must wait for: everything, if it did something that is not in rows. That is also taken of one without any
// rows, which may have changed accounts, views or routines.
func (k *tracked) end(t *Transaction) writeset.Dependency {
	if len(t.Statements) > 0 || t.Rows == 0 {
		k.opaque()
	}
	return k.tracker.End()
}

// clock is the source's logical clock; an XA transaction has none that says anything.
func clock(t *Transaction) writeset.Clock {
	if t.Prepared != "" {
		return writeset.Clock{}
	}
	h := fnv.New64a()
	h.Write([]byte(t.File))
	return writeset.Clock{File: max(h.Sum64(), 1), LastCommitted: t.LastCommitted, Sequence: t.Sequence}
}

// table makes a table known before its rows come.
func (k *tracked) table(t *Table) {
	if k.known[t.ID] != t && t.Def != nil {
		k.known[t.ID] = t
		k.tracker.SetTable(t.ID, t.Def, nil)
	}
}

func (k *tracked) row(e *RowEvent, before, after rowimage.Row) {
	k.tracker.Row(e.Table.ID, before, after, e.Flags())
}

// opaque is an event whose rows cannot be read: a table that the tracker does not know is a barrier.
func (k *tracked) opaque() { k.tracker.Row(0, nil, nil, 0) }

// feed adds an event to several trackers, decoding it once.
func feed(e *RowEvent, all ...*tracked) error {
	for _, k := range all {
		k.table(e.Table)
		if e.Opaque != "" {
			k.opaque()
		}
	}
	return e.Each(func(before, after rowimage.Row) error {
		for _, k := range all {
			k.row(e, before, after)
		}
		return nil
	})
}
