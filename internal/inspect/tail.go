package inspect

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"

	"braid/internal/binlog"
	"braid/internal/rowimage"
)

// Tail is the Sink that writes transactions with their rows, as text or as JSON, one line each. A transaction is written while it is read: its
// size does not matter. Everything of a transaction has been flushed at its End.
type Tail struct {
	out    *bufio.Writer
	json   bool
	filter *Patterns // nil: all
	open   bool      // the transaction's head is written
	rows   int64
	buf    []byte
}

// NewTail writes to out; of tables that the filter does not match nothing is written.
func NewTail(out io.Writer, asJSON bool, filter *Patterns) *Tail {
	return &Tail{out: bufio.NewWriterSize(out, 64<<10), json: asJSON, filter: filter}
}

// Begin implements Sink.
func (w *Tail) Begin(t *Transaction) error {
	w.open, w.rows = false, 0
	if w.filter == nil || t.DDL != nil && w.touches(t.DDL) {
		w.head(t)
	}
	return nil
}

// touches reports whether a DDL is of a table that is wanted.
func (w *Tail) touches(ddl *binlog.DDL) bool {
	for _, o := range ddl.Objects {
		if o.Table == "" && w.filter.MatchDB(o.DB) || o.Table != "" && w.filter.Match(o.DB, o.Table) {
			return true
		}
	}
	return false
}

// Rows implements Sink.
func (w *Tail) Rows(t *Transaction, e *RowEvent) error {
	if !w.open {
		w.head(t)
	}
	if e.Opaque != "" {
		w.opaque(e)
		return w.bad()
	}
	err := e.Each(func(before, after rowimage.Row) error {
		if w.json {
			w.rowJSON(e, before, after)
		} else {
			w.rowText(e, before, after)
		}
		return w.bad()
	})
	return err
}

// End implements Sink.
func (w *Tail) End(t *Transaction) error {
	if !w.open {
		return nil
	}
	if w.json {
		w.endJSON(t)
	} else {
		for _, s := range t.Statements {
			fmt.Fprintf(w.out, "  statement %s\n", oneLine(s.SQL))
		}
		if t.Other != nil {
			fmt.Fprintf(w.out, "  other %s\n", oneLine(t.Other.SQL))
		}
	}
	if err := w.out.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// bad is an error of the writer below, which a bufio.Writer keeps.
func (w *Tail) bad() error {
	if _, err := w.out.Write(nil); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func (w *Tail) head(t *Transaction) {
	w.open = true
	if w.json {
		w.headJSON(t)
		return
	}
	id := t.GTID
	if id == "" {
		id = "(no GTID)"
	}
	fmt.Fprintf(w.out, "%s  %s  %s  last_committed=%d sequence_number=%d\n", stamp(t.At), id, Size(t.Bytes()), t.LastCommitted, t.Sequence)
	if t.DDL != nil {
		fmt.Fprintf(w.out, "  ddl %s\n", oneLine(t.DDL.SQL))
	}
}

func (w *Tail) opaque(e *RowEvent) {
	if !w.json {
		fmt.Fprintf(w.out, "  %s %s  (%s)\n", e.Kind, e.Table.Name, e.Opaque)
		return
	}
	w.comma()
	w.buf = appendJSON(append(w.buf[:0], `{"table":`...), e.Table.Name)
	w.buf = append(w.buf, `,"kind":"`+e.Kind.String()+`","unreadable":`...)
	w.buf = append(appendJSON(w.buf, e.Opaque), '}')
	w.out.Write(w.buf)
}

// rowText writes a row for people: of an update, the key and what changed.
func (w *Tail) rowText(e *RowEvent, before, after rowimage.Row) {
	fmt.Fprintf(w.out, "  %s %s  ", e.Kind, e.Table.Name)
	columns := e.Table.Def.Columns
	if before == nil || after == nil {
		row := after
		if row == nil {
			row = before
		}
		for i := range columns {
			w.separate(i > 0)
			w.out.WriteString(newCell(&columns[i], row[i]).String())
		}
		w.out.WriteByte('\n')
		return
	}
	first := true
	for _, k := range e.Table.Key() {
		w.separate(!first)
		w.out.WriteString(newCell(&columns[k], before[k]).String())
		first = false
	}
	w.out.WriteString(":")
	for i := range columns {
		if (before[i] == nil) == (after[i] == nil) && bytes.Equal(before[i], after[i]) {
			continue
		}
		to := newCell(&columns[i], after[i])
		to.Column = ""
		fmt.Fprintf(w.out, " %s → %s", newCell(&columns[i], before[i]), to.String()[1:])
	}
	w.out.WriteByte('\n')
}

func (w *Tail) separate(yes bool) {
	if yes {
		w.out.WriteString(", ")
	}
}

func (w *Tail) headJSON(t *Transaction) {
	b := appendJSON(append(w.buf[:0], `{"gtid":`...), t.GTID)
	if t.Prepared != "" {
		b = appendJSON(append(b, `,"prepared":`...), t.Prepared)
	}
	b = appendJSON(append(b, `,"at":`...), stamp(t.At))
	b = appendJSON(append(b, `,"committed":`...), stamp(t.Committed))
	b = strconv.AppendInt(append(b, `,"last_committed":`...), t.LastCommitted, 10)
	b = strconv.AppendInt(append(b, `,"sequence_number":`...), t.Sequence, 10)
	if t.DDL != nil {
		b = appendJSON(append(b, `,"ddl":`...), t.DDL.SQL)
	}
	w.buf = append(b, `,"rows":[`...)
	w.out.Write(w.buf)
}

func (w *Tail) comma() {
	if w.rows > 0 {
		w.out.WriteByte(',')
	}
	w.rows++
}

func (w *Tail) rowJSON(e *RowEvent, before, after rowimage.Row) {
	w.comma()
	b := appendJSON(append(w.buf[:0], `{"table":`...), e.Table.Name)
	b = append(b, `,"kind":"`+e.Kind.String()+`"`...)
	if before != nil {
		b = appendRow(append(b, `,"before":`...), e.Table, before)
	}
	if after != nil {
		b = appendRow(append(b, `,"after":`...), e.Table, after)
	}
	w.buf = append(b, '}')
	w.out.Write(w.buf)
}

// appendRow appends an object with the columns in their order.
func appendRow(b []byte, t *Table, row rowimage.Row) []byte {
	b = append(b, '{')
	for i := range t.Def.Columns {
		col := &t.Def.Columns[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendJSON(b, col.Name), ':')
		if row[i] == nil {
			b = append(b, "null"...)
			continue
		}
		text, _ := value(col, row[i])
		b = appendJSON(b, text)
	}
	return append(b, '}')
}

func (w *Tail) endJSON(t *Transaction) {
	b := append(w.buf[:0], ']')
	for i, s := range t.Statements {
		if i == 0 {
			b = append(b, `,"statements":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendJSON(b, s.SQL)
		if i == len(t.Statements)-1 {
			b = append(b, ']')
		}
	}
	if t.Other != nil {
		b = appendJSON(append(b, `,"other":`...), t.Other.SQL)
	}
	b = strconv.AppendInt(append(b, `,"bytes":`...), t.Bytes(), 10)
	w.buf = append(b, "}\n"...)
	w.out.Write(w.buf)
}

// oneLine is a statement without line breaks, shortened.
func oneLine(sql string) string {
	const most = 200
	return cut(string(bytes.Join(bytes.Fields([]byte(sql)), []byte(" "))), most)
}
