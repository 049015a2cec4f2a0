package apply

import (
	"bytes"
	"fmt"

	"braid/internal/rowimage"
	"braid/internal/vstream"
)

// Bounds of one statement: more rows do not make it faster, and a longer IN list costs the optimizer memory.
const (
	maxStatementRows  = 500
	maxStatementBytes = 256 << 10
)

// anyRows is the expectation of a statement that may find any number of rows.
const anyRows = -1

type verb uint8

const (
	verbControl verb = iota
	verbInsert
	verbUpsert // replaces the row that is there
	verbAbsent // keeps it
	verbUpdate
	verbDelete
)

func (v verb) String() string {
	return [...]string{"control", "insert", "insert", "insert", "update", "delete"}[v]
}

// statement is what the packet's answer is checked against, and what an error is explained with.
type statement struct {
	table *Table
	verb  verb
	rows  int
	want  int // rows that it must find, or anyRows
	gtid  string
	key   rowimage.Row // of its first row
}

// Check is a key that another source may own on the target (Contested).
type Check struct {
	Table *Table
	Key   rowimage.Row
}

// Batch is the text of one packet under construction: consecutive changes of a kind become one statement. It is reused, so
// that a change costs no allocation once the buffers have grown.
type Batch struct {
	Single bool // one row per statement, to find the row that fails

	buf     []byte
	stmts   []statement
	open    bool // the last statement takes more rows
	begun   int  // where the open statement's text begins
	checked bool // some statement has an expectation
	checks  []Check
	gtid    string
}

// Reset empties the batch and starts a transaction in it, unless one is open on the session already.
func (b *Batch) Reset(begin bool) {
	b.buf, b.stmts, b.checks = b.buf[:0], b.stmts[:0], b.checks[:0]
	b.open, b.checked, b.gtid = false, false, ""
	if begin {
		b.Control("BEGIN")
	}
}

// Len is the size of the text so far.
func (b *Batch) Len() int { return len(b.buf) }

// mark remembers a place to go back to.
func (b *Batch) mark() (text, stmts int) {
	b.close()
	return len(b.buf), len(b.stmts)
}

func (b *Batch) restore(text, stmts int) { b.buf, b.stmts = b.buf[:text], b.stmts[:stmts] }

// Source names the source transaction of the following changes, for messages.
func (b *Batch) Source(gtid string) { b.gtid = gtid }

// Control adds a statement of ours; none when it is empty.
func (b *Batch) Control(sql string) {
	if sql == "" {
		return
	}
	b.start(statement{verb: verbControl, want: anyRows})
	b.buf = append(b.buf, sql...)
}

// Change adds a change of a row.
func (b *Batch) Change(t *Table, op vstream.Op, before, after rowimage.Row) error {
	if err := checkWidth(t, op, before, after); err != nil {
		return err
	}
	switch t.Mode {
	case Upsert:
		b.changeUpsert(t, op, before, after)
	case Strict:
		b.changeStrict(t, op, before, after)
	case Contested:
		b.changeContested(t, op, before, after)
	case Merge:
		b.changeMerge(t, op, before, after)
	default:
		return fmt.Errorf("table %s: mode is not set", t.name)
	}
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

func (b *Batch) changeUpsert(t *Table, op vstream.Op, before, after rowimage.Row) {
	if op == vstream.Delete || op == vstream.Update && !t.sameKey(before, after) {
		b.deleteKey(t, before, anyRows)
	}
	if op != vstream.Delete {
		b.row(t, verbUpsert, after, anyRows)
	}
}

func (b *Batch) changeStrict(t *Table, op vstream.Op, before, after rowimage.Row) {
	switch op {
	case vstream.Insert:
		b.row(t, verbInsert, after, 1)
	case vstream.Update:
		b.updateRow(t, before, after, 1)
	case vstream.Delete:
		b.deleteKey(t, before, 1)
	}
}

// changeMerge: an insert owns its key at once, whatever is there; the loser's delete comes later and does not match.
func (b *Batch) changeMerge(t *Table, op vstream.Op, before, after rowimage.Row) {
	switch {
	case op == vstream.Insert:
		b.row(t, verbUpsert, after, anyRows)
	case op == vstream.Update && t.sameKey(before, after):
		b.updateRow(t, before, after, anyRows)
	default:
		b.deleteOwn(t, before)
		if op == vstream.Update {
			b.row(t, verbUpsert, after, anyRows)
		}
	}
}

// changeContested never touches another source's row. An update is an update of our own row if it is there, then an insert
// if none is.
func (b *Batch) changeContested(t *Table, op vstream.Op, before, after rowimage.Row) {
	switch {
	case op == vstream.Update && t.sameKey(before, after):
		b.updateRow(t, before, after, anyRows)
	case op != vstream.Insert:
		b.deleteOwn(t, before)
	}
	if op != vstream.Delete {
		b.row(t, verbAbsent, after, anyRows)
		b.checks = append(b.checks, Check{t, t.Key(after)})
	}
}

// Rows adds copied rows.
func (b *Batch) Rows(t *Table, rows []rowimage.Row) error {
	for _, row := range rows {
		if err := checkWidth(t, vstream.Insert, nil, row); err != nil {
			return err
		}
		if t.Mode == Contested {
			b.row(t, verbAbsent, row, anyRows)
			b.checks = append(b.checks, Check{t, t.Key(row)})
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
		b.buf = append(b.buf, ';', '\n')
	}
	s.gtid = b.gtid
	b.stmts = append(b.stmts, s)
	b.begun = len(b.buf)
}

func (b *Batch) close() {
	if !b.open {
		return
	}
	b.open = false
	switch s := &b.stmts[len(b.stmts)-1]; s.verb {
	case verbUpsert:
		b.buf = append(b.buf, s.table.upsert...)
	case verbAbsent:
		b.buf = append(b.buf, s.table.absent...)
	case verbDelete:
		b.buf = append(b.buf, ')')
	}
}

// extend reports whether the open statement takes another row of the same kind, and counts it.
func (b *Batch) extend(t *Table, v verb, want int) bool {
	if !b.open || b.Single {
		return false
	}
	s := &b.stmts[len(b.stmts)-1]
	if s.table != t || s.verb != v || s.rows >= maxStatementRows || len(b.buf)-b.begun > maxStatementBytes || (s.want == anyRows) != (want == anyRows) {
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
		b.start(statement{table: t, verb: v, rows: 1, want: want, key: t.Key(row)})
		b.buf = append(b.buf, t.insert...)
		b.open = true
	}
	b.buf = append(b.buf, '(')
	for i, c := range t.write {
		if i > 0 {
			b.buf = append(b.buf, ',')
		}
		b.literal(t, c, row[c])
	}
	b.buf = append(b.buf, ')')
}

// deleteKey deletes by key, many keys in one statement.
func (b *Batch) deleteKey(t *Table, row rowimage.Row, want int) {
	b.checked = b.checked || want != anyRows
	if !b.extend(t, verbDelete, want) {
		b.start(statement{table: t, verb: verbDelete, rows: 1, want: want, key: t.Key(row)})
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
	b.start(statement{table: t, verb: verbDelete, rows: 1, want: anyRows, key: t.Key(before)})
	b.buf = append(b.buf, t.delete...)
	b.where(t, before)
}

// updateRow sets what changed. A change of nothing sets a key column to itself, so that the row is still looked for.
func (b *Batch) updateRow(t *Table, before, after rowimage.Row, want int) {
	b.checked = b.checked || want != anyRows
	b.start(statement{table: t, verb: verbUpdate, rows: 1, want: want, key: t.Key(before)})
	b.buf = append(b.buf, t.update...)
	n := 0
	for _, c := range t.write {
		if sameCell(before[c], after[c]) {
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
		c := t.column[t.key[0]]
		b.buf = append(append(append(b.buf, c...), '='), c...)
	}
	b.buf = append(b.buf, " WHERE "...)
	b.where(t, before)
}

// where names the row by its key and, when several sources write here, by the vindex columns that make it its source's.
func (b *Batch) where(t *Table, row rowimage.Row) {
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
