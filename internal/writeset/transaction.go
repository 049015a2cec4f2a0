package writeset

import "braid/internal/rowimage"

// Header is what is known of a transaction beside its rows.
type Header struct {
	Clock Clock
	// Barrier is set for DDL and for everything whose effect is not in its rows: it follows all, and all follow it.
	Barrier bool
}

// Clock is the source's logical clock of a transaction. The zero Clock proves nothing; it is right for XA transactions and wherever one
// of the fields is not known.
type Clock struct {
	// File identifies the binlog file and the server that wrote it; the numbers of two files cannot be compared. 0 is unknown.
	File          uint64
	LastCommitted int64
	Sequence      int64 // 0 is unknown; has gaps where transactions were filtered
}

func (c Clock) known() bool {
	return c.File != 0 && c.Sequence > 0 && c.LastCommitted >= 0 && c.LastCommitted < c.Sequence
}

// parallel reports whether the source proves that c and the earlier one held all their locks at the same time.
func (c Clock) parallel(earlier Clock) bool {
	return c.known() && earlier.known() && c.File == earlier.File && earlier.Sequence < c.Sequence && c.LastCommitted < earlier.Sequence
}

// RowFlags are flags of the row event that a change came in.
type RowFlags uint8

// The flags, with MySQL's names.
const (
	SQLForeignKeys      RowFlags = 1 << iota // USE_SQL_FOREIGN_KEY_F: what the change cascades to is in the events (MySQL 9.6 and later)
	RelaxedUniqueChecks                      // RELAXED_UNIQUE_CHECKS_F: the session had unique_checks off
	NoForeignKeyChecks                       // NO_FOREIGN_KEY_CHECKS_F: the session had foreign_key_checks off, so nothing cascaded
)

// Change is a change of one row: an insert has no Before, a delete no After. Cells are canonical, in the order of the source's columns.
type Change struct {
	Table  uint32
	Before rowimage.Row
	After  rowimage.Row
	Flags  RowFlags
}

// Transaction is a whole transaction, for those who have it at once.
type Transaction struct {
	Header
	Changes []Change
}

// Dependency is what a transaction must wait for: everything up to Floor, and each of Preds.
type Dependency struct {
	Seq   uint64   // its own local sequence, from 1 without gaps
	Floor uint64   // 0: nothing
	Preds []uint64 // newest first, all above Floor; valid until the tracker's next call
}

// Barrier reports whether the transaction must wait for all before it.
func (d *Dependency) Barrier() bool { return d.Floor+1 == d.Seq }
