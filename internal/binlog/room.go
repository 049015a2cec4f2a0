package binlog

// room is memory for what the decoder yields, many things in one piece: with one row a transaction, allocating them one by one is a fifth of
// the time of reading. A piece goes when the last of its things has gone; those of one time leave the ring, or the user, together. What
// the things of a piece refer to is bounded, too: a slab's bytes, or a single transaction. Pieces grow while the log is busy, so
// that an idle connection keeps little.
type room struct {
	transactions []Transaction
	rows         []Rows
	piece        int
	bytes        int // of rows, in the piece
}

const maxPiece = 64

// transaction returns a zero value for so many bytes of rows.
func (m *room) transaction(bytes int) *Transaction {
	if m.bytes += bytes; m.bytes > maxSlab {
		*m = room{}
	}
	if len(m.transactions) == 0 {
		m.piece = min(max(2*m.piece, 1), maxPiece)
		m.transactions = make([]Transaction, m.piece)
	}
	tx := &m.transactions[0]
	m.transactions = m.transactions[1:]
	return tx
}

// one returns an empty slice with room for one: most transactions of a busy log have one row event.
func (m *room) one() []Rows {
	if len(m.rows) == 0 {
		m.rows = make([]Rows, max(m.piece, 1))
	}
	one := m.rows[:0:1]
	m.rows = m.rows[1:]
	return one
}
