package writeset

import "braid/internal/rowimage"

// chunk is the key entries of copied rows. They are not part of the history, which a chunk of 80,000 rows would push out, and are dropped
// as soon as the chunk is done.
type chunk struct {
	seq    uint64
	tokens map[uint64]struct{}
}

// AddChunk gives copied rows of a table the next sequence. The chunk follows what has changed these rows before; what changes them
// later follows the chunk, until DropChunk. Chunks do not follow each other: rows that would conflict were changed in between
// (W1), and what changed them has a place between both. The rows are not kept.
func (t *Tracker) AddChunk(table uint32, rows []rowimage.Row) Dependency {
	t.Begin(Header{})
	if len(rows) == 0 {
		return t.End()
	}
	p := t.plans[table]
	c := chunk{seq: t.seq, tokens: map[uint64]struct{}{}}
	switch {
	case p == nil:
		t.barrier = true
	case t.mode == Database:
		p.database.share(t.seq, &t.waits)
	case p.coarse != "":
		t.takeUnclear(p)
		t.barrier = t.mode == LogicalClock // what the clock orders does not ask for the table's token
	default:
		p.token.share(t.seq, &t.waits)
		for _, row := range rows {
			if !p.fits(row) {
				t.barrier = true
				break
			}
			t.chunkRow(p, row, &c)
		}
		t.waitForAll()
	}
	if len(c.tokens) > 0 {
		t.chunks = append(t.chunks, c)
	}
	return t.End()
}

// waitForAll: the tokens of transactions that the clock has ordered are not known.
func (t *Tracker) waitForAll() {
	if t.mode == LogicalClock {
		t.waits.upTo(t.seq - 1)
	}
}

func (t *Tracker) chunkRow(p *plan, row rowimage.Row, c *chunk) {
	for i := range p.keys {
		token, buf, o := p.keys[i].token(t.scratch, row)
		t.scratch = buf
		switch o {
		case made:
			t.history.look(token, &t.waits)
			c.tokens[token] = struct{}{}
		case unclear:
			t.takeUnclear(p)
		}
	}
	if !t.noFK && (len(p.parents) > 0 || len(p.entries) > 0) {
		t.takeParents(p, nil, row)
		t.takeEntries(p, nil, row, 0)
	}
}

// afterChunks makes the open transaction follow the chunks that have the key entry.
func (t *Tracker) afterChunks(token uint64) {
	for i := range t.chunks {
		if _, ok := t.chunks[i].tokens[token]; ok {
			t.waits.after(t.chunks[i].seq)
		}
	}
}

// clockedKeys is for a row whose order to transactions is left to the clock, which knows nothing of chunks.
func (t *Tracker) clockedKeys(p *plan, before, after rowimage.Row) {
	if len(t.chunks) == 0 {
		return
	}
	for _, row := range [...]rowimage.Row{before, after} {
		if row == nil {
			continue
		}
		for i := range p.keys {
			token, buf, o := p.keys[i].token(t.scratch, row)
			t.scratch = buf
			switch o {
			case made:
				t.afterChunks(token)
			case unclear:
				t.waits.upTo(t.chunks[len(t.chunks)-1].seq)
			}
		}
	}
}

// DropChunk says that a chunk has been done.
func (t *Tracker) DropChunk(seq uint64) {
	for i := range t.chunks {
		if t.chunks[i].seq == seq {
			t.chunks = append(t.chunks[:i], t.chunks[i+1:]...)
			return
		}
	}
}

// look is exclusive for a holder that keeps its tokens itself.
func (h *history) look(token uint64, w *waits) {
	e, ok := h.young.entries[token]
	nodes := h.young.nodes
	if !ok {
		e, nodes = h.old.entries[token], h.old.nodes
	}
	if e.sharers > maxSharers {
		w.upTo(e.last)
		return
	}
	for i := e.head; i != 0; i = nodes[i-1].next {
		w.after(nodes[i-1].seq)
	}
	w.after(e.exclusive)
}
