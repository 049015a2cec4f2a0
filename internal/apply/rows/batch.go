package rows

import (
	"bytes"
	"fmt"
	"slices"

	"braid/internal/base/errs"
	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// Bounds of one statement: more rows do not make it faster, and a longer IN list costs the optimizer memory.
const (
	maxStatementRows  = 500
	maxStatementBytes = 256 << 10
	maxEventBytes     = 1 << 20 // of a BINLOG statement, before it is encoded
)

// anyRows is the expectation of a statement that may find any number of rows.
const anyRows = -1

type verb uint8

const (
	verbControl verb = iota
	verbInsert
	verbUpsert // replaces the row that is there
	verbIgnore // keeps it, or whatever else is in the way
	verbUpdate
	verbUpdates // many rows, as upserts that must all find one
	verbDelete
	verbEvents // a BINLOG statement
)

func (v verb) String() string {
	return [...]string{"control", "insert", "insert", "insert", "update", "update", "delete", "change"}[v]
}

// statement is what the packet's answer is checked against, and what an error is explained with.
type statement struct {
	table *Table
	verb  verb
	rows  int
	want  int  // rows that it must find, or anyRows
	soft  bool // fewer are no failure: the keys may be contested
	from  int  // of a soft one: the place of its first row in merged
	gtid  string
	op    vstream.Op   // of its first row
	row   rowimage.Row // its first one
}

// Final is what a key of a merged table is after a batch: a row, or nil when it was deleted.
type Final struct {
	Key, Row rowimage.Row
}

// written is a change of a merged table.
type written struct {
	table         *Table
	before, after rowimage.Row
}

// Batch is the text of packets under construction: consecutive changes of a kind become one statement. It is reused, so
// that a change costs no allocation once the buffers have grown.
type Batch struct {
	Single bool // one row per statement, to find the row that fails

	rowEvents   bool   // the session takes BINLOG statements
	foreignKeys bool   // and checks foreign keys, but
	checking    bool   // whether it does behind the text so far; statements may change it for a while
	checks      bool   // what the change that is being added wants
	execMode    Mode   // what its rbr_exec_mode will be behind the text so far: Strict, Upsert, or unset when it is not known
	most        limits // of statements and packets

	buf     []byte
	stmts   []statement
	packets []packet
	open    bool // the last statement takes more rows
	begun   int  // where the last statement's text begins
	first   int  // where the packet begins that it is in
	checked bool // some statement has an expectation
	merged  []written
	gtid    string

	events   events
	decoders map[*native]*rowimage.Decoder
	// the one that was used last
	lastNative  *native
	lastDecoder *rowimage.Decoder
}

// packet is what is sent at once: text[from:to], which is the statements up to stmts that no packet before it has.
type packet struct{ from, to, stmts int }

// Reset empties the batch and starts a transaction in it, unless one is open on the session already.
func (b *Batch) Reset(begin bool) {
	b.buf, b.stmts, b.packets, b.merged = b.buf[:0], b.stmts[:0], b.packets[:0], b.merged[:0]
	b.open, b.checked, b.gtid, b.begun, b.first = false, false, "", 0, 0
	b.checking = b.foreignKeys
	if begin {
		b.Control("BEGIN")
	}
}

// Len is the size of the text so far. The last statement's may not be in it yet.
func (b *Batch) Len() int { return len(b.buf) }

// Empty says that nothing was added.
func (b *Batch) Empty() bool { return len(b.stmts) == 0 }

// source names the source transaction of the following changes, for messages.
func (b *Batch) source(gtid string) { b.gtid = gtid }

// Control adds a statement of ours; none when it is empty.
func (b *Batch) Control(sql string) {
	if sql == "" {
		return
	}
	b.start(statement{verb: verbControl, want: anyRows})
	b.buf = append(b.buf, sql...)
}

// Change adds a change of a row, in the order in which the source has made it.
func (b *Batch) Change(t *Table, c *vstream.Change) error {
	if err := checkWidth(t, c.Op, c.Before, c.After); err != nil {
		return err
	}
	b.checks = b.foreignKeys && t.checks(c.Flags)
	before, after := image{c.Before, c.RawBefore}, image{c.After, c.RawAfter}
	switch {
	case t.Mode == Merge:
		b.changeMerge(t, c.Op, c.Before, c.After)
		return nil
	case t.Mode != Strict && t.Mode != Upsert:
		return fmt.Errorf("table %s: mode is not set", t.name)
	case t.Mode == Upsert && len(t.key) == 0:
		return errs.New(errs.NoPrimaryKey, nil, "table %s has no primary key, nor a unique key without NULLs: while it is copied, its rows cannot be told apart", t.name)
	case c.Op == vstream.Update && t.Mode == Strict:
		return b.change(t, before, after)
	case c.Op == vstream.Delete || c.Op == vstream.Update && !t.sameKey(c.Before, c.After):
		if err := b.remove(t, before); err != nil {
			return err
		}
	}
	if c.Op != vstream.Delete {
		return b.insert(t, after)
	}
	return nil
}

// setChecks makes SQL statements look at foreign keys as row events do by their flags. A table that has none to look at does not care.
func (b *Batch) setChecks(t *Table) {
	if b.checking == b.checks || t.apart {
		return
	}
	b.restoreChecks(b.checks)
}

func (b *Batch) restoreChecks(to bool) {
	if b.checking == to {
		return
	}
	b.checking = to
	if to {
		b.Control("SET SESSION foreign_key_checks=1")
	} else {
		b.Control("SET SESSION foreign_key_checks=0")
	}
}

// want is what a strict change must find.
func (t *Table) want() int {
	if t.Mode == Strict {
		return 1
	}
	return anyRows
}

// insert writes a row: in strict mode a new one, else over what is there.
func (b *Batch) insert(t *Table, im image) error {
	if b.sends(t, im) {
		return b.event(t, rowimage.EventWriteRows, vstream.Insert, im, image{})
	}
	b.setChecks(t)
	if t.Mode == Strict {
		b.row(t, verbInsert, im.row, 1)
	} else {
		b.row(t, verbUpsert, im.row, anyRows)
	}
	return nil
}

// remove deletes a row by its key.
func (b *Batch) remove(t *Table, im image) error {
	if b.sends(t, im) {
		return b.event(t, rowimage.EventDeleteRows, vstream.Delete, im, image{})
	}
	b.setChecks(t)
	b.deleteKey(t, im.row, t.want())
	return nil
}

// change updates a row that must be there.
func (b *Batch) change(t *Table, before, after image) error {
	if b.sends(t, before) && b.sends(t, after) {
		return b.event(t, rowimage.EventUpdateRows, vstream.Update, before, after)
	}
	b.setChecks(t)
	if b.follows(t) && t.bulkUpdate(before.row, after.row) {
		b.checked = true
		b.row(t, verbUpdates, after.row, 2)
		return nil
	}
	b.updateRow(t, before.row, after.row, 1)
	return nil
}

// checkWidth keeps a wrong image from a panic: it would be the stream's fault, and the stream's message must say so.
func checkWidth(t *Table, op vstream.Op, before, after rowimage.Row) error {
	n := len(t.Source.Columns)
	if op != vstream.Insert && len(before) != n || op != vstream.Delete && len(after) != n {
		return fmt.Errorf("table %s: row image of %d and %d cells, the table has %d columns", t.name, len(before), len(after), n)
	}
	return nil
}

// bulkBytes is the size of a row above which sending all of it costs more than a statement of its own.
const bulkBytes = 1 << 10

// bulkUpdate says that an update may be a row of INSERT … ON DUPLICATE KEY UPDATE. MySQL counts such a row as two when it has
// changed one that was there, and as one when it was missing (or had these values): the sum tells whether all were found. With
// another unique key it could change a row of another primary key, so those tables are left out; and so are those without any key, where every row
// is a new one.
func (t *Table) bulkUpdate(before, after rowimage.Row) bool {
	return t.rows && len(t.key) > 0 && t.sameKey(before, after) && after.Size() < bulkBytes && t.differs(before, after)
}

func (t *Table) differs(before, after rowimage.Row) bool {
	for _, c := range t.write {
		if !sameCell(before[c], after[c]) {
			return true
		}
	}
	return false
}

// follows says that the last statement updates the table too. A single update is smaller as an UPDATE.
func (b *Batch) follows(t *Table) bool {
	if b.Single || len(b.stmts) == 0 {
		return false
	}
	s := &b.stmts[len(b.stmts)-1]
	return s.table == t && (s.verb == verbUpdate || s.verb == verbUpdates)
}

// changeMerge touches nobody else's row. What is in the way of an insert, or has taken the place of an updated row, shows in
// the counts.
func (b *Batch) changeMerge(t *Table, op vstream.Op, before, after rowimage.Row) {
	b.checks = b.foreignKeys
	b.setChecks(t)
	b.merged = append(b.merged, written{t, before, after})
	switch {
	case op == vstream.Update && t.sameKey(before, after):
		b.updateRow(t, before, after, 1)
		b.soft()
		return
	case op != vstream.Insert:
		b.deleteOwn(t, before)
	}
	if op != vstream.Delete {
		b.ignoreRow(t, after)
	}
}

func (b *Batch) ignoreRow(t *Table, row rowimage.Row) {
	b.row(t, verbIgnore, row, 1)
	b.soft()
	b.checked = true
}

// soft marks the last statement, whose last row is the last of merged.
func (b *Batch) soft() {
	s := &b.stmts[len(b.stmts)-1]
	s.soft, s.from = true, len(b.merged)-s.rows
}

// doubtful are the keys of statements that have missed rows, and those that kept names, with what the batch leaves of them.
func (b *Batch) doubtful(missed []int, kept func(t *Table, key string) bool) map[*Table]map[string]Final {
	all := map[*Table]map[string]Final{}
	for _, i := range missed {
		s := &b.stmts[i]
		for _, w := range b.merged[s.from : s.from+s.rows] {
			w.each(func(key string, f Final) { doubt(all, w.table, key, f) })
		}
	}
	for _, w := range b.merged {
		w.each(func(key string, f Final) {
			if _, doubted := all[w.table][key]; doubted || kept(w.table, key) {
				doubt(all, w.table, key, f)
			}
		})
	}
	return all
}

func doubt(all map[*Table]map[string]Final, t *Table, key string, f Final) {
	if all[t] == nil {
		all[t] = map[string]Final{}
	}
	all[t][key] = f
}

// each visits the keys of both images with what the change leaves of them.
func (w *written) each(visit func(key string, f Final)) {
	if w.before != nil {
		key := w.table.Key(w.before)
		visit(string(rowimage.AppendRow(nil, key)), Final{Key: key})
	}
	if w.after != nil {
		key := w.table.Key(w.after)
		visit(string(rowimage.AppendRow(nil, key)), Final{Key: key, Row: w.after})
	}
}

// Rows adds copied rows.
func (b *Batch) Rows(t *Table, rows []rowimage.Row) error {
	for _, row := range rows {
		if err := checkWidth(t, vstream.Insert, nil, row); err != nil {
			return err
		}
		b.checks = b.foreignKeys
		b.setChecks(t)
		if t.Mode == Merge {
			b.merged = append(b.merged, written{table: t, after: row})
			b.ignoreRow(t, row)
		} else {
			b.row(t, verbUpsert, row, anyRows)
		}
	}
	return nil
}

// start closes the open statement and begins another.
func (b *Batch) start(s statement) {
	b.close()
	if len(b.buf) > 0 {
		b.buf = append(b.buf, separator...)
	}
	s.gtid = b.gtid
	b.stmts = append(b.stmts, s)
	b.begun = len(b.buf)
}

const separator = ";\n"

// cut makes the last statement, which is complete, the first of a new packet if it does not fit behind those before it.
func (b *Batch) cut() {
	if len(b.buf)-b.first <= b.most.packet || b.begun == b.first {
		return
	}
	b.packets = append(b.packets, packet{from: b.first, to: b.begun - len(separator), stmts: len(b.stmts) - 1})
	b.first = b.begun
}

// finish completes the last statement and its packet.
func (b *Batch) finish() {
	b.close()
	if len(b.packets) == 0 || b.packets[len(b.packets)-1].stmts < len(b.stmts) {
		b.packets = append(b.packets, packet{from: b.first, to: len(b.buf), stmts: len(b.stmts)})
	}
}

func (b *Batch) close() {
	defer b.cut()
	if !b.open {
		return
	}
	b.open = false
	switch s := &b.stmts[len(b.stmts)-1]; s.verb {
	case verbUpsert, verbUpdates:
		b.buf = append(b.buf, s.table.upsert...)
	case verbDelete:
		b.buf = append(b.buf, ')')
	case verbEvents:
		b.buf = b.events.appendStatement(b.buf)
	}
}

// extend reports whether the open statement takes another row of the same kind, and counts it.
func (b *Batch) extend(t *Table, v verb, want int) bool {
	if !b.open || b.Single {
		return false
	}
	s := &b.stmts[len(b.stmts)-1]
	if s.table != t || s.verb != v || s.rows >= maxStatementRows || len(b.buf)-b.begun > b.most.statement || (s.want == anyRows) != (want == anyRows) {
		return false
	}
	s.rows++
	if want != anyRows {
		s.want += want
	}
	b.buf = append(b.buf, ',')
	return true
}

func (b *Batch) row(t *Table, v verb, row rowimage.Row, want int) {
	if !b.extend(t, v, want) {
		b.start(statement{table: t, verb: v, rows: 1, want: want, row: row})
		if v == verbIgnore {
			b.buf = append(b.buf, t.ignore...)
		} else {
			b.buf = append(b.buf, t.insert...)
		}
		b.open = true
	}
	b.buf = t.appendValues(b.buf, row)
}

// deleteKey deletes by key, many keys in one statement.
func (b *Batch) deleteKey(t *Table, row rowimage.Row, want int) {
	b.checked = b.checked || want != anyRows
	if len(t.key) == 0 || t.unlisted() {
		b.start(statement{table: t, verb: verbDelete, rows: 1, want: want, row: row})
		b.buf = append(b.buf, t.delete...)
		b.where(t, row)
		return
	}
	if !b.extend(t, verbDelete, want) {
		b.start(statement{table: t, verb: verbDelete, rows: 1, want: want, row: row})
		b.buf = append(b.buf, t.delete...)
		b.keyTuple(t)
		b.buf = append(b.buf, " IN ("...)
		b.open = true
	}
	if len(t.key) > 1 {
		b.buf = append(b.buf, '(')
		defer func() { b.buf = append(b.buf, ')') }()
	}
	for i, c := range t.key {
		if i > 0 {
			b.buf = append(b.buf, ',')
		}
		b.literal(t, c, row[c])
	}
}

// unlisted says that MySQL would not find rows by a list of keys: in (a, b) IN ((1, 2), (3, 4)) it compares an ENUM or a SET as a text, which
// the numbers are not. a = 1 AND b = 2 is right, and so is a IN (1, 3).
func (t *Table) unlisted() bool {
	return len(t.key) > 1 && slices.ContainsFunc(t.key, func(c int) bool { return isMember(&t.Source.Columns[c]) })
}

func (b *Batch) keyTuple(t *Table) {
	if len(t.key) == 1 {
		b.buf = append(b.buf, t.column[t.key[0]]...)
		return
	}
	sep := byte('(')
	for _, c := range t.key {
		b.buf = append(append(b.buf, sep), t.column[c]...)
		sep = ','
	}
	b.buf = append(b.buf, ')')
}

// deleteOwn deletes a row if it is still its source's.
func (b *Batch) deleteOwn(t *Table, before rowimage.Row) {
	b.start(statement{table: t, verb: verbDelete, rows: 1, want: anyRows, row: before})
	b.buf = append(b.buf, t.delete...)
	b.where(t, before)
}

// updateRow sets what changed, and what would change by itself. A change of nothing sets a key column to itself, so that the row is still looked for.
func (b *Batch) updateRow(t *Table, before, after rowimage.Row, want int) {
	b.checked = b.checked || want != anyRows
	b.start(statement{table: t, verb: verbUpdate, rows: 1, want: want, row: before})
	b.buf = append(b.buf, t.update...)
	n := 0
	for _, c := range t.write {
		if sameCell(before[c], after[c]) && !slices.Contains(t.moving, c) {
			continue
		}
		if n > 0 {
			b.buf = append(b.buf, ',')
		}
		n++
		b.buf = append(append(b.buf, t.column[c]...), '=')
		b.literal(t, c, after[c])
	}
	if n == 0 {
		c := t.column[t.write[0]]
		if len(t.key) > 0 {
			c = t.column[t.key[0]]
		}
		b.buf = append(append(append(b.buf, c...), '='), c...)
	}
	b.buf = append(b.buf, " WHERE "...)
	b.where(t, before)
}

// where names the row by its key and, when several sources write here, by the vindex columns that make it its source's.
func (b *Batch) where(t *Table, row rowimage.Row) {
	if len(t.key) == 0 {
		b.whereAll(t, row)
		return
	}
	for i, c := range t.key {
		if i > 0 {
			b.buf = append(b.buf, " AND "...)
		}
		b.buf = append(append(b.buf, t.column[c]...), '=')
		b.literal(t, c, row[c])
	}
	for _, c := range t.owner {
		b.buf = append(append(append(b.buf, " AND "...), t.column[c]...), "<=>"...)
		b.literal(t, c, row[c])
	}
}

// whereAll names one row by all of its cells, byte by byte: equal by a collation is not enough, and lets an index find it all the same.
func (b *Batch) whereAll(t *Table, row rowimage.Row) {
	for i, c := range t.write {
		if i > 0 {
			b.buf = append(b.buf, " AND "...)
		}
		column := &t.Source.Columns[c]
		switch {
		case row[c] == nil:
			b.buf = append(append(b.buf, t.column[c]...), " IS NULL"...)
		case column.DataType == "json":
			b.buf = append(append(append(b.buf, "CAST(CAST("...), t.column[c]...), " AS CHAR CHARACTER SET utf8mb4) AS BINARY)=_binary"...)
			b.buf = sqlconn.AppendQuoted(b.buf, row[c])
		case column.DataType == "vector": // which equals nothing but a vector
			b.buf = append(append(append(b.buf, "HEX("...), t.column[c]...), ")=HEX("...)
			b.literal(t, c, row[c])
			b.buf = append(b.buf, ')')
		case column.Charset != "" && !isMember(column):
			b.buf = append(append(b.buf, t.column[c]...), '=')
			b.literal(t, c, row[c])
			b.buf = append(append(append(b.buf, " AND CAST("...), t.column[c]...), " AS BINARY)="...)
			b.literal(t, c, row[c])
		default:
			b.buf = append(append(b.buf, t.column[c]...), '=')
			b.literal(t, c, row[c])
		}
	}
	b.buf = append(b.buf, " LIMIT 1"...)
}

func isMember(c *schema.Column) bool { return c.DataType == "enum" || c.DataType == "set" }

func (b *Batch) literal(t *Table, column int, cell []byte) {
	b.buf = rowimage.AppendLiteralTo(b.buf, &t.Source.Columns[column], cell)
}

func (t *Table) sameKey(before, after rowimage.Row) bool {
	for _, c := range t.key {
		if !bytes.Equal(before[c], after[c]) {
			return false
		}
	}
	return true
}

func sameCell(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// InsertIgnore is a statement that writes rows whose keys are free, and leaves the others.
func (t *Table) InsertIgnore(rows []rowimage.Row) string {
	sql := append([]byte(nil), t.ignore...)
	for i, row := range rows {
		if i > 0 {
			sql = append(sql, ',')
		}
		sql = t.appendValues(sql, row)
	}
	return string(sql)
}

func (t *Table) appendValues(dst []byte, row rowimage.Row) []byte {
	dst = append(dst, '(')
	for i, c := range t.write {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = rowimage.AppendLiteralTo(dst, &t.Source.Columns[c], row[c])
	}
	return append(dst, ')')
}
