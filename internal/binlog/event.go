package binlog

import (
	"context"
	"fmt"

	"braid/internal/base/errs"
	"braid/internal/gtid"
)

// Event is a *Transaction, a *DDL or a *Mark.
type Event interface{ isEvent() }

// Transaction is a transaction, or a fragment of one, with the row events of followed tables in their order.
type Transaction struct {
	Stamp
	GTID     string
	Prepared string // of an XA transaction: the GTID of its XA PREPARE, which joins the position together with GTID (B2)
	CommitUS int64  // commit on the server where it was first executed, microseconds since 1970
	Rows     []Rows
	// Statements are changes that were logged as statements. Only a lenient reader passes them.
	Statements []Statement
	// Other is the statement of a group that has no other, and that changes neither rows nor tables: GRANT, CREATE VIEW. Only a lenient
	// reader passes it.
	Other *Statement
	First bool
	Last  bool        // complete: the GTIDs count as read
	End   Coordinates // the end of the log as read so far; with Last, the end of the transaction

	id, preparedID gtid.GTID
	events         int // row events of all tables, in this fragment and in those before it
	// left are the tables of which this has rows that nobody followed when they were read: they are not here. Outside of a hub it is
	// empty, since its only user never changes his mind.
	left []*TableMap
}

// Reach adds the GTIDs of a complete transaction to a position.
func (t *Transaction) Reach(position *gtid.Set) {
	if t.Prepared != "" {
		position.AddGTID(t.preparedID)
	}
	if t.GTID != "" {
		position.AddGTID(t.id)
	}
}

// ID is GTID as a value.
func (t *Transaction) ID() gtid.GTID { return t.id }

// Stamp is what the log says about a group of events beside its changes. Fields are 0 where the log does not say.
type Stamp struct {
	LastCommitted int64 // the source's logical clock: the group may run beside those behind this sequence number of the same file
	Sequence      int64
	LoggedUS      int64  // commit on the server whose log it is, microseconds since 1970
	Length        uint64 // bytes in the log, all events included; of an XA transaction, of both parts
	Server        uint32 // server_id of the origin
	Session       uint32 // connection id of the session there
}

// Statement is a change that was logged as a statement.
type Statement struct {
	DB  string // default database
	SQL string
}

// RowsKind is what a row event does.
type RowsKind uint8

// The kinds of row events.
const (
	Insert RowsKind = iota + 1
	Update
	Delete
)

func (k RowsKind) String() string {
	switch k {
	case Insert:
		return "insert"
	case Update:
		return "update"
	case Delete:
		return "delete"
	}
	return fmt.Sprintf("RowsKind(%d)", uint8(k))
}

// Rows is one row event.
type Rows struct {
	Table *TableMap
	Kind  RowsKind
	Body  []byte // the event without common header and checksum; shared, read-only
	Query []byte // the statement's text, if the source has binlog_rows_query_log_events=ON; shared, read-only
	// Partial says that the after images have differences in place of JSON documents (binlog_row_value_options=PARTIAL_JSON).
	Partial bool

	shared *shared // nil outside of a hub
}

// TableMap binds a table id to a table. The same pointer comes again as long as the server sends the same bytes, so that what a user
// compiles from it can be kept by pointer.
type TableMap struct {
	ID        uint64
	DB, Table string
	Body      []byte // the event without common header and checksum
}

// DDL is a statement that changed tables or databases.
type DDL struct {
	Stamp
	// GTID is also that of the Transaction that follows, if Rows.
	GTID     string
	Rows     bool // it is CREATE TABLE … SELECT: the Transaction with its rows follows
	Kept     bool // it leaves the definitions of tables as they are: TRUNCATE, ALTER DATABASE
	CommitUS int64
	BegunUS  int64  // when the session began to run it, which is CURRENT_TIMESTAMP in it; microseconds since 1970
	DB       string // default database of the statement
	SQL      string
	Settings []byte // of the session that has run it: see Settings
	Objects  []Object
	End      Coordinates

	id gtid.GTID
}

// Reach adds the statement's GTID to a position, unless its rows follow.
func (d *DDL) Reach(position *gtid.Set) {
	if !d.Rows {
		position.AddGTID(d.id)
	}
}

// Object is what a DDL touches: a table, or with an empty Table a whole database.
type Object struct{ DB, Table string }

// Mark is progress of the log without anything for the user.
type Mark struct{ End Coordinates }

func (*Transaction) isEvent() {}
func (*DDL) isEvent()         {}
func (*Mark) isEvent()        {}

// Reader yields the events of one source in binlog order. It has one user; Close may be called by any goroutine, more than
// once, and returns when nothing of the reader runs any more.
type Reader interface {
	// Poll returns the next event, or nil when there is none yet. An error is final: every later call returns it again.
	Poll() (Event, error)
	// Ready receives a value when Poll may have something, an error included. A value may be spurious; none is lost.
	Ready() <-chan struct{}
	Close() error
}

// Next is Poll that waits.
func Next(ctx context.Context, r Reader) (Event, error) {
	for {
		ev, err := r.Poll()
		if ev != nil || err != nil {
			return ev, err
		}
		select {
		case <-r.Ready():
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Refusal ends a reader: the log holds something that cannot be followed exactly. It is a StreamFailed of the catalogue, because the same place of the
// log is refused whenever it is read.
type Refusal struct {
	Event  string // "QUERY", "INCIDENT", …
	GTID   string // "" outside of a transaction
	At     Coordinates
	Reason string
	Remedy string

	id gtid.GTID
}

func (r *Refusal) Error() string {
	gtid := r.GTID
	if gtid == "" {
		gtid = "(none)"
	}
	return fmt.Sprintf("binlog event %s, GTID %s, at %s: %s", r.Event, gtid, r.At, r.Reason)
}

// Unwrap is the entry of the catalogue, with the remedy as what to do.
func (r *Refusal) Unwrap() error {
	return errs.New(errs.StreamFailed, nil, "%s", r.Reason).With(r.Remedy)
}
