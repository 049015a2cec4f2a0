package writeset

import "braid/internal/rowimage"

// take takes the tokens of a change.
func (t *Tracker) take(p *plan, before, after rowimage.Row, flags RowFlags) {
	switch {
	case p.coarse != "":
		t.takeTable(p)
	case t.wide(p):
		t.takeUnclear(p)
	default:
		p.token.share(t.seq, &t.waits)
		t.takeKeys(p, before, after)
	}
	if !t.noFK && (len(p.parents) > 0 || len(p.entries) > 0) {
		t.takeParents(p, before, after)
		t.takeEntries(p, before, after, flags)
	}
}

// wide says that the open transaction has changed so many rows of the table that it takes all of it: to remember each would cost more than
// its followers gain by it.
func (t *Tracker) wide(p *plan) bool {
	if p.counted != t.seq {
		p.counted, p.rows = t.seq, 0
	}
	p.rows++
	return p.rows > t.wideRows
}

// takeTable takes the whole table, subject to the clock where that is trusted.
func (t *Tracker) takeTable(p *plan) {
	clock := Clock{}
	if p.trusted {
		clock = t.header.Clock
	}
	p.token.take(t.seq, clock, &t.waits)
}

// takeUnclear is for a row whose keys cannot be told: the whole table, and no proof.
func (t *Tracker) takeUnclear(p *plan) { p.token.take(t.seq, Clock{}, &t.waits) }

func (t *Tracker) takeKeys(p *plan, before, after rowimage.Row) {
	update := before != nil && after != nil
	for i := range p.keys {
		k := &p.keys[i]
		if update && k.same(before, after) {
			if i == p.identifying {
				t.takeEntry(p, k, after)
			}
			continue
		}
		if before != nil {
			t.takeEntry(p, k, before)
		}
		if after != nil {
			t.takeEntry(p, k, after)
		}
	}
}

func (t *Tracker) takeEntry(p *plan, k *key, row rowimage.Row) {
	token, buf, o := k.token(t.scratch, row)
	t.scratch = buf
	switch o {
	case made:
		t.history.exclusive(token, t.seq, &t.waits)
		t.afterChunks(token)
	case unclear:
		t.takeUnclear(p)
	}
}

// takeParents shares the entries that a child row names.
func (t *Tracker) takeParents(p *plan, before, after rowimage.Row) {
	for i := range p.parents {
		ref := &p.parents[i]
		if before != nil && after != nil && ref.same(before, after) {
			continue
		}
		if before != nil {
			t.takeParent(ref, before)
		}
		if after != nil {
			t.takeParent(ref, after)
		}
	}
}

func (t *Tracker) takeParent(ref *parentRef, row rowimage.Row) {
	token, buf, o := ref.token(t.scratch, row)
	t.scratch = buf
	switch {
	case o == none:
	case o == unclear || ref.whole:
		ref.parent.take(t.seq, Clock{}, &t.waits)
	default:
		ref.parent.share(t.seq, &t.waits)
		t.history.share(token, t.seq, &t.waits)
	}
}

// takeEntries takes the entries that children of a parent row may name, and what the engine does to the children.
func (t *Tracker) takeEntries(p *plan, before, after rowimage.Row, flags RowFlags) {
	for i := range p.entries {
		e := &p.entries[i]
		same := before != nil && after != nil && e.same(before, after)
		if before != nil {
			t.takeEntry(p, &e.key, before)
		}
		if after != nil && !same {
			t.takeEntry(p, &e.key, after)
		}
		switch {
		case before == nil || same:
		case after == nil:
			t.takeEffect(&e.goes, flags)
		default:
			t.takeEffect(&e.changes, flags)
		}
	}
}

func (t *Tracker) takeEffect(e *effect, flags RowFlags) {
	for _, token := range e.reads {
		token.share(t.seq, &t.waits)
	}
	for _, token := range e.writes {
		token.take(t.seq, Clock{}, &t.waits)
	}
	if flags&SQLForeignKeys != 0 {
		return
	}
	for _, token := range e.inEvents {
		token.take(t.seq, Clock{}, &t.waits)
	}
}
