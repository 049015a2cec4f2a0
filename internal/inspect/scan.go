package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"braid/internal/binlog"
	"braid/internal/gtid"
)

// Sink takes the transactions of a span. What it is given is valid during the call only.
type Sink interface {
	Begin(t *Transaction) error
	Rows(t *Transaction, e *RowEvent) error // one event; big transactions never stand in memory as a whole
	End(t *Transaction) error               // the transaction's totals are complete
}

// Transaction is a transaction of the span. DDL, and statements that were logged as such, are transactions too.
type Transaction struct {
	binlog.Stamp
	Number     int64 // in the span, from 1
	GTID       string
	Prepared   string // of an XA transaction: the GTID of its first part
	At         time.Time
	Committed  time.Time // where it was first executed
	File       string
	DDL        *binlog.DDL // nil if it is none
	Statements []binlog.Statement
	Other      *binlog.Statement // GRANT, CREATE VIEW: what changes neither rows nor tables; nil if it is none
	Rows       int64             // of followed tables
	RowBytes   int64
	Tables     []TableUse // in the order of their first change
}

// TableUse is what a transaction did to a table.
type TableUse struct {
	Table *Table
	Rows  int64
	Bytes int64
}

// Bytes is the transaction's size in the log, compressed if it is.
func (t *Transaction) Bytes() int64 { return cmp.Or(int64(t.Length), t.RowBytes) }

// Summary is what a scan saw.
type Summary struct {
	Transactions int64     `json:"transactions"`
	Rows         int64     `json:"rows"`
	Bytes        int64     `json:"bytes"`
	First        time.Time `json:"first,omitzero"` // commit of the first and the last transaction
	Last         time.Time `json:"last,omitzero"`
	Limited      bool      `json:"limited,omitempty"` // the limit ended it
	Notes        []string  `json:"notes,omitempty"`
}

// Length is the time between the first and the last transaction.
func (s *Summary) Length() time.Duration { return s.Last.Sub(s.First) }

// scan is one pass over a span.
type scan struct {
	span    Span
	sink    Sink
	catalog *catalog
	log     *opened
	sum     Summary
	trx     *Transaction // open, or nil
	ddl     *binlog.DDL  // CREATE TABLE … SELECT, whose transaction follows
	skip    bool         // the open transaction is not in the span
	seen    gtid.Set     // of what is wanted
	uses    map[*Table]int
	noted   map[string]bool
	until   <-chan time.Time // Span.Until of a log that is followed; nil before it is waited for
}

var errEnd = errors.New("end of the span")

// Scan reads a span. follow says which tables' rows are wanted; nil is all. The summary is right up to where an error ended the scan.
func (s *Source) Scan(ctx context.Context, span Span, follow func(db, table string) bool, sink Sink) (Summary, error) {
	if follow == nil {
		follow = func(string, string) bool { return true }
	}
	log, err := s.open(ctx, &span, follow)
	if err != nil {
		return Summary{}, err
	}
	defer log.close()
	sc := &scan{span: span, sink: sink, log: log, catalog: newCatalog(log.load), uses: map[*Table]int{}, noted: map[string]bool{}}
	for _, note := range log.notes {
		sc.note(note)
	}
	if !log.empty {
		err = sc.run(ctx)
	}
	if errors.Is(err, errEnd) || errors.Is(err, io.EOF) {
		err = nil
	}
	return sc.sum, err
}

func (sc *scan) run(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		ev, err := sc.next(ctx)
		if err != nil {
			return err
		}
		if err := sc.event(ctx, ev); err != nil {
			return err
		}
	}
}

// next waits for the next event. When Span.Until passes, the log that is followed gets an end.
func (sc *scan) next(ctx context.Context) (binlog.Event, error) {
	for {
		ev, err := sc.log.reader.Poll()
		if ev != nil || err != nil {
			return ev, err
		}
		if sc.log.due != nil && sc.until == nil {
			if err := sc.awaitUntil(ctx); err != nil {
				return nil, err
			}
			continue
		}
		select {
		case <-sc.log.reader.Ready():
		case <-sc.until:
			sc.until = nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (sc *scan) awaitUntil(ctx context.Context) error {
	rest, end, err := sc.log.due(ctx)
	if err != nil {
		return err
	}
	if end != nil {
		sc.log.due, sc.log.end = nil, end
		return nil
	}
	sc.until = time.After(rest)
	return nil
}

func (sc *scan) event(ctx context.Context, ev binlog.Event) error {
	switch ev := ev.(type) {
	case *binlog.Mark:
		return sc.at(ev.End, true)
	case *binlog.DDL:
		if err := sc.at(ev.End, false); err != nil {
			return err
		}
		return sc.definition(ev)
	case *binlog.Transaction:
		if err := sc.at(ev.End, false); err != nil {
			return err
		}
		if err := sc.transaction(ctx, ev); err != nil || !ev.Last {
			return err
		}
		return sc.at(ev.End, true)
	}
	return fmt.Errorf("event %T of the binlog is not known", ev)
}

// at ends the scan at the end of a server's log: behind it, or with the last transaction before it.
func (sc *scan) at(end binlog.Coordinates, done bool) error {
	if sc.log.end != nil && end.Reaches(*sc.log.end) && (done || end != *sc.log.end) {
		return errEnd
	}
	return nil
}

func (sc *scan) definition(ev *binlog.DDL) error {
	sc.catalog.changed(ev.Objects)
	if ev.Rows {
		sc.ddl = ev
		return nil
	}
	if err := sc.open(ev.Stamp, ev.GTID, "", ev.CommitUS, ev.End.File, ev); err != nil {
		return err
	}
	return sc.finish(ev.GTID, "")
}

func (sc *scan) transaction(ctx context.Context, ev *binlog.Transaction) error {
	if ev.First {
		ddl := sc.ddl
		sc.ddl = nil
		if err := sc.open(ev.Stamp, ev.GTID, ev.Prepared, ev.CommitUS, ev.End.File, ddl); err != nil {
			return err
		}
	}
	if !sc.skip {
		for i := range ev.Rows {
			if err := sc.rows(ctx, &ev.Rows[i]); err != nil {
				return err
			}
		}
		sc.trx.Statements = append(sc.trx.Statements, ev.Statements...)
		sc.trx.Other = ev.Other
	}
	if !ev.Last {
		return nil
	}
	return sc.finish(ev.GTID, ev.Prepared)
}

// open begins a transaction, or decides that it is not part of the span.
func (sc *scan) open(stamp binlog.Stamp, id, prepared string, commitUS int64, file string, ddl *binlog.DDL) error {
	at := time.UnixMicro(stamp.LoggedUS)
	if !sc.span.Until.IsZero() && !at.Before(sc.span.Until) {
		return errEnd
	}
	sc.skip = at.Before(sc.span.Since) || sc.span.From != nil && id != "" && sc.span.From.ContainsGTID(id)
	if sc.skip {
		return nil
	}
	sc.trx = &Transaction{Stamp: stamp, Number: sc.sum.Transactions + 1, GTID: id, Prepared: prepared, At: at, Committed: time.UnixMicro(commitUS),
		File: file, DDL: ddl}
	clear(sc.uses)
	return sc.sink.Begin(sc.trx)
}

const unnamedNote = "the log has no column names (binlog_row_metadata=MINIMAL): columns have the names and keys of the tables as they are now; " +
	"of rows from before a DDL that kept the types, values may stand under the name of another column"

func (sc *scan) rows(ctx context.Context, rows *binlog.Rows) error {
	table, err := sc.catalog.table(ctx, rows.Table)
	if err != nil {
		return err
	}
	e := &RowEvent{Table: table, Kind: rows.Kind, Bytes: int64(len(rows.Body)) + eventFrame, rows: rows}
	if err := e.count(); err != nil {
		return fmt.Errorf("transaction %s: %w", sc.trx.GTID, err)
	}
	if e.Opaque != "" {
		sc.note(fmt.Sprintf("rows of %s are counted by event, not one by one: %s", table.Name, e.Opaque))
	}
	if table.Unnamed {
		sc.note(unnamedNote)
	}
	i, known := sc.uses[table]
	if !known {
		i = slices.IndexFunc(sc.trx.Tables, func(u TableUse) bool { return u.Table.Name == table.Name })
		if i < 0 {
			i = len(sc.trx.Tables)
			sc.trx.Tables = append(sc.trx.Tables, TableUse{Table: table})
		}
		sc.uses[table] = i
	}
	use := &sc.trx.Tables[i]
	use.Rows += e.Count
	use.Bytes += e.Bytes
	sc.trx.Rows += e.Count
	sc.trx.RowBytes += e.Bytes
	return sc.sink.Rows(sc.trx, e)
}

// finish ends the open transaction, and the scan when it was the last that was wanted.
func (sc *scan) finish(id, prepared string) error {
	if !sc.skip {
		if len(sc.trx.Statements) > 0 {
			sc.note("some changes were logged as statements: their rows are not known")
		}
		if err := sc.sink.End(sc.trx); err != nil {
			return err
		}
		sc.count(sc.trx)
	}
	sc.trx = nil
	if sc.span.Limit > 0 && sc.sum.Transactions >= int64(sc.span.Limit) {
		sc.sum.Limited = true
		return errEnd
	}
	return sc.passed(id, prepared)
}

func (sc *scan) count(t *Transaction) {
	s := &sc.sum
	if s.Transactions == 0 || t.At.Before(s.First) {
		s.First = t.At
	}
	if t.At.After(s.Last) {
		s.Last = t.At
	}
	s.Transactions++
	s.Rows += t.Rows
	s.Bytes += t.Bytes()
}

// passed ends the scan when all that is wanted has passed.
func (sc *scan) passed(ids ...string) error {
	if sc.span.To == nil {
		return nil
	}
	for _, id := range ids {
		if g, err := gtid.ParseGTID(id); err == nil && sc.log.wanted.Has(g) {
			sc.seen.AddGTID(g)
		}
	}
	if sc.seen.Contains(sc.log.wanted) {
		return errEnd
	}
	return nil
}

func (sc *scan) note(text string) {
	const most = 20
	if !sc.noted[text] && len(sc.noted) < most {
		sc.noted[text] = true
		sc.sum.Notes = append(sc.sum.Notes, text)
	}
}
