package binlog

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/klauspost/compress/zstd"

	"braid/internal/gtid"
)

const (
	// maxFragment bounds the row bytes that are held before a part of a transaction is yielded.
	maxFragment = 1 << 20
	// maxPrepared bounds the row bytes of all prepared XA transactions that are held until their XA COMMIT. What is more is read again then.
	maxPrepared = 64 << 20
	// maxTableMaps bounds the cache of table maps; ids grow with every DDL and every reopening of a table.
	maxTableMaps = 4096
)

// decoder cuts events into transactions. It is driven by decode and keeps what it yields in out.
type decoder struct {
	follow  func(db, table string) bool
	changes *atomic.Uint64 // moves when follow begins to answer otherwise; nil if it never does, see Hub.wanted
	lenient bool           // see Config
	coords  Coordinates
	tables  map[uint64]*mapped
	trx     *transaction // open, or nil
	own     transaction  // what trx points to, unless it is held
	held    map[string]*transaction
	heldLen int
	most    int    // of heldLen
	path    string // of the file that is read; empty: it is not one of our own
	reread  func(*transaction) (part, error)
	again   *again   // a prepared part that is read again, or nil
	rereads bool     // this decoder reads a prepared part again
	payload *payload // a compressed transaction that is being read, or nil
	zip     *zstd.Decoder
	text    []byte // text of the statement whose rows come next, where the log has it
	cost    int    // bytes that what was decoded keeps, since takeCost
	done    progress
	kept    bool // what was decoded refers to the bytes of its event
	names   names
	room    room
	parts   uint64 // counts transactions, and the fragments of one
	out     []Event
	taken   int // of out
}

// progress is how much of a transaction was yielded before the connection was cut: that many row events, and the statement before
// them, are not yielded again.
type progress struct {
	gtid   string // "" between transactions
	events int
}

func (p *progress) note(ev Event) {
	switch ev := ev.(type) {
	case *Transaction:
		if *p = (progress{}); !ev.Last {
			*p = progress{gtid: ev.GTID, events: ev.events}
		}
	case *DDL:
		if *p = (progress{}); ev.Rows {
			*p = progress{gtid: ev.GTID}
		}
	}
}

const (
	eventCost = 64  // of an event beside its bytes, when kept
	groupCost = 512 // of a transaction
)

// takeCost returns about how many bytes the events keep that were decoded since the last call.
func (d *decoder) takeCost() int {
	n := d.cost
	d.cost = 0
	return n
}

// mapped is a table map and whether anybody follows its table.
type mapped struct {
	TableMap
	followed bool
	asked    uint64      // value of decoder.changes when followed was found
	left     uint64      // value of decoder.parts when rows were last left out
	alone    []*TableMap // the map itself, as what most transactions leave out
}

// transaction is a group of events under one GTID, as far as it was read.
type transaction struct {
	Stamp
	id       gtid.GTID
	gtid     string
	prepared *transaction // of an XA COMMIT: what was prepared
	commitUS int64
	begun    bool        // BEGIN or XA START was seen; otherwise the next statement is the whole group
	xid      string      // of an XA transaction
	dropped  bool        // of a prepared part: its rows were too many to hold
	path     string      // likewise: of the file that it is in, see decoder
	begin    Coordinates // behind its GTID event
	rows     []Rows
	texts    []Statement
	other    *Statement // see Transaction.Other
	bytes    int
	events   int         // row events, of tables that are not followed too
	any      bool        // some rows of followed tables were seen
	cut      bool        // fragments were yielded
	left     []*TableMap // see Transaction
}

func newDecoder(follow func(db, table string) bool) *decoder {
	return &decoder{follow: follow, tables: map[uint64]*mapped{}, held: map[string]*transaction{}, most: maxPrepared}
}

// take returns the next finished event, or nil.
func (d *decoder) take() Event {
	if d.taken == len(d.out) {
		d.out, d.taken = d.out[:0], 0
		return nil
	}
	ev := d.out[d.taken]
	d.out[d.taken] = nil
	d.taken++
	return ev
}

func (d *decoder) yield(ev Event) { d.out = append(d.out, ev) }

// decode takes an event of the log itself and moves the coordinates.
func (d *decoder) decode(ev rawEvent) error {
	h := &ev.header
	if h.EventType == replication.ROTATE_EVENT {
		if len(ev.body) < 8 {
			return d.malformed("ROTATE", nil)
		}
		d.coords = Coordinates{File: string(ev.body[8:]), Pos: binary.LittleEndian.Uint64(ev.body)}
		d.yield(&Mark{End: d.coords})
		return nil
	}
	if h.EventType == replication.HEARTBEAT_LOG_EVENT_V2 {
		return d.heartbeat(ev.body)
	}
	if h.LogPos != 0 && h.Flags&replication.LOG_EVENT_ARTIFICIAL_F == 0 {
		size := h.EventSize
		if h.EventType == replication.HEARTBEAT_EVENT {
			size = 0
		}
		d.coords = d.coords.advance(h.LogPos, size)
	}
	return d.dispatch(ev)
}

// heartbeat says where the server reads, with all bits of the offset: after a file's first 4 GiB it mends what the headers do not say. The
// server sends it when it has nothing else, so that everything before this place has come (B3).
func (d *decoder) heartbeat(body []byte) error {
	at, err := parseHeartbeat(body)
	if err != nil {
		return d.malformed("HEARTBEAT", err)
	}
	if d.trx == nil && at.Reaches(d.coords) {
		d.coords = at
	}
	d.cost += eventCost
	d.yield(&Mark{End: d.coords})
	return nil
}

// parseHeartbeat reads the fields of a heartbeat: type, length, value, and a zero behind the last.
func parseHeartbeat(b []byte) (at Coordinates, err error) {
	const end, file, offset = 0, 1, 2
	for len(b) > 0 && b[0] != end {
		field := b[0]
		var length uint64
		if length, b, err = lenenc(b[1:]); err != nil {
			return at, err
		}
		if length > uint64(len(b)) {
			return at, io.ErrUnexpectedEOF
		}
		switch field {
		case file:
			at.File = string(b[:length])
		case offset:
			if at.Pos, _, err = lenenc(b[:length]); err != nil {
				return at, err
			}
		}
		b = b[length:]
	}
	if at.File == "" || at.Pos == 0 {
		return at, errors.New("it does not say where the log is")
	}
	return at, nil
}

// dispatch takes an event of the log or of a compressed transaction.
func (d *decoder) dispatch(ev rawEvent) error {
	d.cost += len(ev.body) + eventCost
	switch t := ev.header.EventType; t {
	case replication.HEARTBEAT_EVENT, replication.HEARTBEAT_LOG_EVENT_V2:
		d.yield(&Mark{End: d.coords})
		return nil
	case replication.FORMAT_DESCRIPTION_EVENT:
		return d.newFile()
	case replication.GTID_EVENT, replication.GTID_TAGGED_LOG_EVENT:
		return d.gtid(ev)
	case replication.ANONYMOUS_GTID_EVENT:
		if d.lenient {
			return d.gtid(ev)
		}
		return d.refuse("ANONYMOUS_GTID", "the transaction has no GTID", "set gtid_mode=ON on the source and start a new copy")
	case replication.TABLE_MAP_EVENT:
		return d.tableMap(ev.body)
	case replication.WRITE_ROWS_EVENTv2:
		return d.rows(Insert, ev.body, false)
	case replication.UPDATE_ROWS_EVENTv2:
		return d.rows(Update, ev.body, false)
	case replication.DELETE_ROWS_EVENTv2:
		return d.rows(Delete, ev.body, false)
	case replication.XID_EVENT:
		return d.commit("XID")
	case replication.QUERY_EVENT:
		return d.query(ev)
	case replication.XA_PREPARE_LOG_EVENT:
		return d.xaPrepare(ev.body)
	case replication.TRANSACTION_PAYLOAD_EVENT:
		return d.openPayload(ev.body)
	}
	return d.other(ev)
}

// other is every event that is not part of an ordinary transaction.
func (d *decoder) other(ev rawEvent) error {
	switch t := ev.header.EventType; t {
	case replication.ROWS_QUERY_EVENT:
		if len(ev.body) > 0 { // the first byte is the length, too short to be of use
			d.text, d.kept = ev.body[1:], true
		}
		return nil
	case replication.PREVIOUS_GTIDS_EVENT, replication.STOP_EVENT, replication.IGNORABLE_EVENT,
		replication.TRANSACTION_CONTEXT_EVENT, replication.VIEW_CHANGE_EVENT,
		// parts of a statement whose QUERY event follows and decides
		replication.INTVAR_EVENT, replication.RAND_EVENT, replication.USER_VAR_EVENT:
		return nil
	case replication.PARTIAL_UPDATE_ROWS_EVENT:
		return d.rows(Update, ev.body, true)
	case replication.INCIDENT_EVENT:
		return d.refuse("INCIDENT", fmt.Sprintf("the source lost events: %s", incidentText(ev.body)), "copy the tables again")
	case replication.BEGIN_LOAD_QUERY_EVENT, replication.APPEND_BLOCK_EVENT, replication.EXECUTE_LOAD_QUERY_EVENT, replication.DELETE_FILE_EVENT:
		if d.lenient && d.trx != nil {
			if t == replication.EXECUTE_LOAD_QUERY_EVENT {
				d.trx.texts = append(d.trx.texts, Statement{SQL: "LOAD DATA"})
			}
			return nil
		}
		return d.refuse(t.String(), "LOAD DATA was logged as a statement", remedyRowFormat)
	case replication.WRITE_ROWS_EVENTv0, replication.WRITE_ROWS_EVENTv1, replication.UPDATE_ROWS_EVENTv0, replication.UPDATE_ROWS_EVENTv1,
		replication.DELETE_ROWS_EVENTv0, replication.DELETE_ROWS_EVENTv1:
		return d.refuse(t.String(), "row events of version 0 and 1 come from servers older than 8.0",
			"set log_bin_use_v1_row_events=OFF on the source, or upgrade it")
	}
	if ev.header.Flags&replication.LOG_EVENT_IGNORABLE_F != 0 {
		return nil
	}
	return d.refuse(fmt.Sprintf("type %d", ev.header.EventType), "this kind of event is not known and not marked as ignorable", "upgrade braid")
}

// newFile is the start of a log file. Table ids begin anew there, and a transaction never goes over a file's end: one that
// is open was cut off by a crash of the source.
func (d *decoder) newFile() error {
	clear(d.tables)
	if d.trx != nil && d.trx.cut {
		return d.refuse("FORMAT_DESCRIPTION", "the log ends inside of a transaction", "start the stream again")
	}
	d.trx = nil
	return nil
}

// unended is a group of events that begins before the one before it has ended.
func (d *decoder) unended(event string) error {
	if d.lenient {
		return d.commit(event)
	}
	return d.refuse(event, "another transaction begins before this one has ended", remedyDamaged)
}

func (d *decoder) gtid(ev rawEvent) error {
	if d.trx != nil {
		if err := d.unended("GTID"); err != nil {
			return err
		}
	}
	if len(d.tables) > maxTableMaps {
		clear(d.tables) // between transactions no map is in use
	}
	g, err := d.parseGTID(ev)
	if err != nil {
		return d.malformed("GTID", err)
	}
	us := cmp.Or(g.original, g.immediate, uint64(ev.header.Timestamp)*1e6)
	d.cost += groupCost
	d.text = nil
	d.parts++
	d.own = transaction{
		id: g.id, gtid: d.names.of(g.id, ev.header.EventType), commitUS: int64(us), Stamp: Stamp{
			LastCommitted: g.lastCommitted, Sequence: g.sequence, Length: g.length, Server: ev.header.ServerID,
			LoggedUS: int64(cmp.Or(g.immediate, us)),
		}, begin: d.coords,
	}
	d.trx = &d.own
	return nil
}

// tableMap reads ids and names only.
func (d *decoder) tableMap(body []byte) error {
	if len(body) < 10 {
		return d.malformed("TABLE_MAP", nil)
	}
	id := tableID(body)
	if tm, ok := d.tables[id]; ok && bytes.Equal(tm.Body, body) {
		return nil
	}
	db, rest, ok := cutName(body[8:])
	table, _, ok2 := cutName(rest)
	if !ok || !ok2 {
		return d.malformed("TABLE_MAP", nil)
	}
	// The map outlives the buffer that the event came in.
	tm := &mapped{TableMap: TableMap{ID: id, DB: string(db), Table: string(table), Body: bytes.Clone(body)}}
	tm.alone = []*TableMap{&tm.TableMap}
	d.ask(tm)
	d.tables[id] = tm
	return nil
}

// ask finds whether a table is followed. What changes meanwhile is asked for again.
func (d *decoder) ask(tm *mapped) {
	if d.changes != nil {
		tm.asked = d.changes.Load()
	}
	tm.followed = d.follow(tm.DB, tm.Table)
}

// wanted reports whether rows are passed on. Those of prepared transactions always are, where others may come to follow the table
// before the commit: they cannot be had again.
func (d *decoder) wanted(tm *mapped) bool {
	if d.changes == nil {
		return tm.followed
	}
	if tm.asked != d.changes.Load() {
		d.ask(tm)
	}
	return tm.followed || d.trx.xid != ""
}

// leaveOut notes a table whose rows are not passed on.
func (d *decoder) leaveOut(tm *mapped) {
	if d.changes == nil || tm.left == d.parts {
		return
	}
	tm.left = d.parts
	if t := d.trx; t.left == nil {
		t.left = tm.alone
	} else {
		t.left = append(t.left, &tm.TableMap)
	}
}

// dummyTable is the id of a row event that only ends a statement.
const dummyTable = 1<<48 - 1

func (d *decoder) rows(kind RowsKind, body []byte, partial bool) error {
	if len(body) < 8 {
		return d.malformed("ROWS", nil)
	}
	if d.trx == nil {
		return d.refuse("ROWS", "rows without a GTID", "set gtid_mode=ON on the source and start a new copy")
	}
	id := tableID(body)
	if id == dummyTable {
		return nil
	}
	tm, ok := d.tables[id]
	if !ok {
		return d.refuse("ROWS", fmt.Sprintf("table id %d has no table map", id), "start the stream again; if it stays, the log is damaged: copy the tables again")
	}
	t := d.trx
	t.events++
	passed := d.done.gtid == t.gtid && t.events <= d.done.events // before a cut of the connection
	t.cut = t.cut || passed
	if !d.wanted(tm) {
		d.leaveOut(tm)
		return nil
	}
	t.any = true
	if passed {
		return nil
	}
	return d.keep(t, Rows{Table: &tm.TableMap, Kind: kind, Body: body, Query: d.text, Partial: partial})
}

// keep adds rows to the open transaction.
func (d *decoder) keep(t *transaction, r Rows) error {
	if t.xid != "" && (t.dropped || d.heldLen+t.bytes+len(r.Body) > d.most) {
		t.dropped, t.rows, t.bytes = true, nil, 0
		return nil
	}
	if t.xid != "" { // it may be held for days, the buffer that it came in is larger than it is
		r.Body, r.Query = bytes.Clone(r.Body), bytes.Clone(r.Query)
	}
	if t.rows == nil && t.xid == "" {
		t.rows = d.room.one()
	}
	t.rows = append(t.rows, r)
	t.bytes += len(r.Body)
	d.kept = d.kept || t.xid == ""
	if t.xid == "" && t.bytes >= maxFragment {
		tx := d.room.transaction(t.bytes)
		*tx = Transaction{
			Stamp: t.Stamp, GTID: t.gtid, CommitUS: t.commitUS, Rows: t.rows, First: !t.cut, End: d.coords, id: t.id, events: t.events, left: t.left,
		}
		d.yield(tx)
		t.rows, t.bytes, t.cut, t.left = nil, 0, true, nil
		d.parts++
	}
	return nil
}

// commit ends the open transaction.
func (d *decoder) commit(event string) error {
	t := d.trx
	if t == nil {
		return d.refuse(event, "a commit without a transaction", "set gtid_mode=ON on the source and start a new copy")
	}
	d.trx = nil
	d.finish(t)
	return nil
}

func (d *decoder) finish(t *transaction) {
	tx := d.room.transaction(t.bytes)
	*tx = Transaction{
		Stamp: t.Stamp, GTID: t.gtid, CommitUS: t.commitUS, Rows: t.rows, Statements: t.texts, Other: t.other,
		First: !t.cut, Last: true, End: d.coords, id: t.id, events: t.events, left: t.left,
	}
	if t.prepared != nil {
		tx.Prepared, tx.preparedID = t.prepared.gtid, t.prepared.id
	}
	d.yield(tx)
}

func (d *decoder) refuse(event, reason, remedy string) error {
	r := &Refusal{Event: event, At: d.coords, Reason: reason, Remedy: remedy}
	if d.trx != nil {
		r.GTID, r.id = d.trx.gtid, d.trx.id
	}
	return r
}

// malformed refuses an event that cannot be read; err says why, if it is known.
func (d *decoder) malformed(event string, err error) error {
	reason := "the event is malformed"
	if err != nil {
		reason += ": " + err.Error()
	}
	return d.refuse(event, reason, remedyDamaged)
}

const remedyDamaged = "check the source's log with mysqlbinlog --verify-binlog-checksum; if it is damaged, copy the tables again"

func tableID(body []byte) uint64 {
	return uint64(binary.LittleEndian.Uint32(body)) | uint64(binary.LittleEndian.Uint16(body[4:]))<<32
}

// cutName reads a name with its length in front and a zero behind.
func cutName(b []byte) (name, rest []byte, ok bool) {
	if len(b) == 0 || len(b) < int(b[0])+2 {
		return nil, nil, false
	}
	n := int(b[0])
	return b[1 : 1+n], b[n+2:], true
}

func incidentText(body []byte) string {
	if len(body) > 3 && len(body) >= 3+int(body[2]) {
		return string(body[3 : 3+int(body[2])])
	}
	return "no message"
}

// guard turns a panic of go-mysql's parsers, which do not check lengths, into an error.
func guard(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", io.ErrUnexpectedEOF, p)
		}
	}()
	return fn()
}
