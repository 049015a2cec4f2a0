package vstream

import (
	"fmt"

	"braid/internal/gtid"
	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/writeset"
)

// Item is one thing of a stream: *Table, *Transaction, *DDL, *Chunk, *Split or *Heartbeat. Items and what they point to are read-only.
type Item interface{ isItem() }

// Table describes a table before its first row, and again, under the same ID, when its definition has changed.
type Table struct {
	ID       uint32
	Target   string        // name on the target
	TargetDB string        // database on the target; empty: the one that the stream writes to
	Def      *schema.Table // as it is on the source, whose database it names
	// Map is the body of the TABLE_MAP event that the raw images of later changes belong to, nil before the first change. When the
	// binlog's form of the rows changes, the table is described again.
	Map []byte
}

// Transaction is a source transaction as far as the stream's rules follow it, or a fragment of a large one.
type Transaction struct {
	GTID     string
	Prepared string   // of an XA transaction: the GTID of its XA PREPARE. It joins the position together with GTID; see Reach.
	CommitUS int64    // commit on the source, by the clock of the process that reads it; microseconds since 1970
	Depends  []string // GTIDs of other servers that must be applied before
	Changes  []Change
	Last     bool           // complete; fragments before it carry the same GTID, nothing comes in between
	Clock    writeset.Clock // the source's logical clock; zero for XA transactions
}

// Reach adds a complete transaction to a position.
func (t *Transaction) Reach(position *gtid.Set) error {
	if t.Prepared != "" {
		if err := position.Add(t.Prepared); err != nil {
			return err
		}
	}
	return position.Add(t.GTID)
}

// Op is what a Change does.
type Op uint8

// The operations.
const (
	Insert Op = iota + 1
	Update
	Delete
)

func (o Op) String() string {
	switch o {
	case Insert:
		return "insert"
	case Update:
		return "update"
	case Delete:
		return "delete"
	}
	return fmt.Sprintf("Op(%d)", uint8(o))
}

// Change is a change of one row. Images are full: one cell per column of the table, generated and invisible columns included.
type Change struct {
	TableID uint32
	Op      Op
	Before  rowimage.Row // nil for Insert
	After   rowimage.Row // nil for Delete
	// RawBefore and RawAfter are the images as the binlog has them, in the form of Table.Map: the bitmap of NULLs, and the cells. nil where
	// there is no image.
	RawBefore, RawAfter []byte
	Flags               writeset.RowFlags
}

// DDL is a statement that changed a followed table.
type DDL struct {
	GTID     string
	Rows     bool // a Transaction with the same GTID follows: CREATE TABLE … SELECT
	CommitUS int64
	BegunUS  int64  // when the session began to run it, which is CURRENT_TIMESTAMP in it; microseconds since 1970
	DB       string // default database of the statement
	Home     string // the database whose tables the stream follows; empty where its rules name databases
	SQL      string
	Settings []byte // of the session that has run it: see binlog.Settings
}

// Chunk is what one window copied, at its place in the stream: rows that nothing before it in the stream has, or has had, since the
// window opened (W1).
type Chunk struct {
	Window  uint64 // the request's ID
	TableID uint32
	Rows    []rowimage.Row
	Last    rowimage.Row   // key of the last row that was looked at, whether the rules follow it or not; nil when there was none
	Done    bool           // nothing lies behind Last; for requested keys always
	Touched []rowimage.Row // keys that passed during the window, if they were asked for
	First   bool           // of the chunks of a table without a key: replaces all rows that the target has of it; see Whole
	// Rekeyed: the table's key is not what the request took it for, so nothing was read. What was copied up to the request's keys says nothing
	// about what lies behind them now.
	Rekeyed bool
	// HeldBack: chunks are read more slowly than they could be, so that those who write to the source keep their rate.
	HeldBack bool
	// Read is how many rows the source has read for this chunk: rows of other key ranges included, none that another stream's chunk counts.
	Read int64
	// Position is the position of everything before the chunk.
	Position string
}

// Split answers a SplitRequest: the ranges up to and including the first key, from there to the second, and so on, and what lies behind
// the last. A key need not be that of a row. The streams of a workflow get the same keys while one of them lives.
type Split struct {
	ID   uint64
	Keys []rowimage.Row // none: the table is one range
	Rows int64          // estimates of the server: rows of the table,
	Size int64          // and bytes
}

// Heartbeat is a position: that of everything before it in the stream, transactions that the rules do not follow included. It is
// the first item of a stream, and comes at least every timeouts.StreamHeartbeat when there is nothing else.
type Heartbeat struct {
	Position string
	SourceUS int64 // how far the source was read: now, when the stream has caught up; microseconds since 1970; 0: not known yet
}

func (*Table) isItem()       {}
func (*Transaction) isItem() {}
func (*DDL) isItem()         {}
func (*Chunk) isItem()       {}
func (*Split) isItem()       {}
func (*Heartbeat) isItem()   {}
