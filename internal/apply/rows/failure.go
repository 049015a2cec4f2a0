package rows

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// ErrMissing says that a change did not find its row: the target is not what the source was at this place.
var ErrMissing = errors.New("the row is not on the target, though the source had it: the target was written by others")

// ErrPacket says that a row is larger than what the target's max_allowed_packet lets a statement be.
var ErrPacket = errors.New("the row does not fit into a packet: raise max_allowed_packet on the target (SET PERSIST max_allowed_packet=…, at most 1 GiB)")

// ErrRepeat says that a transaction which was sent in parts was rolled back by MySQL: the stream has to be read again
// from the saved position. Nothing was applied.
var ErrRepeat = errors.New("a large transaction was rolled back and is repeated")

// Failure says which change could not be applied. Nothing of its transaction was.
type Failure struct {
	GTID  string
	Verb  string
	Table string
	Key   string
	Rows  int // of the statement; Key is the first one
	Err   error
	// Source is the row as the change has it, before it if it is an update, Target what the target has in its place. Of one row alone, see Session.Single; else empty.
	Source, Target string

	row rowimage.Row // the statement's first
}

// Concerns says that the statement is one of the change.
func (f *Failure) Concerns(c *vstream.Change) bool {
	return sameRow(f.row, c.Before) || sameRow(f.row, c.After)
}

// sameRow says that two rows are the same memory.
func sameRow(a, b rowimage.Row) bool { return len(a) > 0 && len(b) > 0 && &a[0] == &b[0] }

// Error names transaction, table and key.
func (f *Failure) Error() string {
	s := ""
	if f.GTID != "" {
		s = "transaction " + f.GTID + ": "
	}
	s += fmt.Sprintf("%s of %s %s", f.Verb, f.Table, f.Key)
	if f.Rows > 1 {
		s += fmt.Sprintf(" and %d more", f.Rows-1)
	}
	s += ": " + f.Err.Error()
	if f.Source != "" {
		word := "has"
		if f.Verb != verbInsert.String() { // what it found there before
			word = "had"
		}
		s += "; the source " + word + " " + f.Source + ", the target " + f.Target
	}
	return s
}

// Unwrap is MySQL's error, or ErrMissing.
func (f *Failure) Unwrap() error { return f.Err }

// MySQL error numbers.
const (
	erKeyNotFound     = 1032
	erDuplicate       = 1062
	erLockWaitTimeout = 1205
	erLockDeadlock    = 1213
)

var foreignKeyErrors = []uint16{1216, 1217, 1451, 1452}

// ForeignKey says that only a foreign key refuses the change.
func ForeignKey(err error) bool { return slices.Contains(foreignKeyErrors, sqlconn.ErrCode(err)) }

// dataErrors do not go away by repeating: the data or the definition of the table has to be changed. Everything else
// (a server that goes down, no space, read-only for a while) is repeated.
var dataErrors = []uint16{
	1032, 1048, 1054, 1062, 1064, 1136, 1146, 1216, 1217, 1264, 1265, 1292, 1364, 1366, 1406, 1416, 1442, 1451, 1452, 1586, 1644,
	1690, 1118, 1526, 1748, 3105, 3140, 3141, 3143, 3144, 3146, 3147, 3819, 4025,
}

// Permanent says that repeating does not help.
func Permanent(err error) bool {
	return errors.Is(err, ErrMissing) || errors.Is(err, ErrPacket) || slices.Contains(dataErrors, sqlconn.ErrCode(err))
}

// Retryable says that MySQL undid the transaction, or that we do, for a reason that passes.
func Retryable(err error) bool {
	code := sqlconn.ErrCode(err)
	return code == erLockWaitTimeout || code == erLockDeadlock
}

// LockTimeout says that the server gave up waiting for a lock.
func LockTimeout(err error) bool { return sqlconn.ErrCode(err) == erLockWaitTimeout }

// explainRow adds both versions of a row to a failure that is about one row. It asks inside of the transaction that has failed.
func (s *Session) explainRow(ctx context.Context, st *statement, err error) error {
	f, ok := errors.AsType[*Failure](err)
	if !ok || st.rows != 1 || st.row == nil || !errors.Is(err, ErrMissing) && sqlconn.ErrCode(err) != erDuplicate {
		return err
	}
	f.Source, f.Target = st.table.FormatRow(st.row), "none"
	res, qerr := s.conn.Query(ctx, st.table.inPlaceOf(st.row, sqlconn.ErrCode(err) == erDuplicate))
	switch {
	case qerr != nil:
		f.Target = "could not be asked: " + qerr.Error()
	case len(res.Rows) > 0:
		f.Target = st.table.FormatRow(rowimage.Row(res.Rows[0]))
	}
	return f
}

// inPlaceOf selects the row that has the key of another, or, if that is asked for, one of its unique values.
func (t *Table) inPlaceOf(row rowimage.Row, unique bool) string {
	sql := []byte("SELECT ")
	for i := range t.Source.Columns {
		if i > 0 {
			sql = append(sql, ',')
		}
		if c := t.Source.Columns[i]; t.Target.Column(c.Name) < 0 {
			sql = append(sql, "NULL"...)
		} else {
			sql = append(sql, rowimage.SelectExpr(c)...)
		}
	}
	sql = append(append(append(sql, " FROM "...), t.name...), " WHERE "...)
	if len(t.key) == 0 {
		return string(append(sql, "FALSE"...))
	}
	sql = t.appendEqual(sql, t.key, row)
	for i := range t.Target.Indexes {
		if x := &t.Target.Indexes[i]; unique && x.Unique && x.Whole() {
			if columns := t.sourceColumns(x); columns != nil {
				sql = t.appendEqual(append(sql, " OR "...), columns, row)
			}
		}
	}
	return string(append(sql, " LIMIT 1"...))
}

// sourceColumns are the columns of an index as the source's; nil if it does not have one of them.
func (t *Table) sourceColumns(x *schema.Index) (columns []int) {
	for _, p := range x.Parts {
		c := t.Source.Column(t.Target.Columns[p.Column].Name)
		if c < 0 {
			return nil
		}
		columns = append(columns, c)
	}
	return columns
}

func (t *Table) appendEqual(sql []byte, columns []int, row rowimage.Row) []byte {
	for i, c := range columns {
		if i > 0 {
			sql = append(sql, " AND "...)
		}
		sql = append(append(sql, t.column[c]...), '=')
		sql = rowimage.AppendLiteralTo(sql, &t.Source.Columns[c], row[c])
	}
	return sql
}

// Bounds of a row in a message.
const (
	shownCell = 60
	shownRow  = 600
)

// FormatRow writes a row for people, cut where it is long.
func (t *Table) FormatRow(row rowimage.Row) string {
	all := make([]int, len(t.Source.Columns))
	for i := range all {
		all[i] = i
	}
	return t.format(all, row)
}
