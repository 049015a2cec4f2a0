package vreplication

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"braid/internal/gtid"
	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// tableCopy is how far a table is copied. A table is one range until it turns out to be large.
type tableCopy struct {
	name   string        // on the source
	order  string        // schema.Table.KeyOrder of the definition that it is copied by; empty until its first chunk
	def    *schema.Table // the source's, of its last first chunk
	ranges []*copyRange
	copied int64
	bytes  int64 // of the cells of those rows
	total  int64 // estimate
	done   bool  // all windows have closed and are committed
	marked bool  // the row of copy_state says so
	strict bool  // and so is everything that came before the last of them
	looked bool  // whether it is to be split
	whole  bool  // it has no key: see copywhole.go
}

// copyRange is a part of a table in key order. At most one chunk of it is under way, from the request to its commit, so that its progress is one
// key; ranges run beside each other.
type copyRange struct {
	table  *tableCopy
	no     int    // 0: the whole table, whose progress is in copy_state; else in copy_range
	upto   []byte // last key of the range, encoded; nil: the end of the table
	last   []byte // key of the last row that was looked at, encoded; nil: none yet
	copied int64
	bytes  int64
	done   bool
	end    gtid.Set // what had passed on the stream before its last chunk; empty until that is committed
}

// splitUntil is how much of a table may be copied when it is split by a run that has not begun it: the cuts are made over all of the table, and what lies
// between the first of them and the rows that are copied is read again.
const splitUntil = 50_000

func (tc *tableCopy) begun() bool { return len(tc.ranges) > 1 || tc.ranges[0].last != nil }

// compare puts tables without a key first, as their changes are not applied before; then the first chunks of all tables, which are all of the small ones; then ranges, first those of the same number.
func (rg *copyRange) compare(o *copyRange) int {
	return cmp.Or(truth(o.table.whole)-truth(rg.table.whole), truth(rg.table.begun())-truth(o.table.begun()), rg.no-o.no, strings.Compare(rg.table.name, o.table.name))
}

// settle derives the table's progress from its ranges'.
func (tc *tableCopy) settle() {
	tc.copied, tc.bytes, tc.done = 0, 0, true
	for _, rg := range tc.ranges {
		tc.copied += rg.copied
		tc.bytes += rg.bytes
		tc.done = tc.done && rg.done
	}
}

// loadCopies reads the progress of a stream's tables, in order of names.
func loadCopies(ctx context.Context, conn *sqlconn.Conn, id int64) (map[string]*tableCopy, []*tableCopy, error) {
	res, err := conn.Query(ctx, fmt.Sprintf("SELECT table_name, lastpk, rows_copied, rows_total, done, key_order, COALESCE(end_pos,''), whole, bytes_copied "+
		"FROM _braid.copy_state WHERE vrepl_id=%d ORDER BY table_name", id))
	if err != nil {
		return nil, nil, fmt.Errorf("read copy state: %w", err)
	}
	byName, order := map[string]*tableCopy{}, []*tableCopy(nil)
	for _, c := range res.Rows {
		tc := &tableCopy{name: string(c[0]), marked: string(c[4]) != "0", strict: string(c[4]) == "2", order: string(c[5]), whole: string(c[7]) == "1"}
		rg := &copyRange{table: tc, last: c[1], done: tc.marked}
		if rg.copied, err = strconv.ParseInt(string(c[2]), 10, 64); err == nil {
			tc.total, err = strconv.ParseInt(string(c[3]), 10, 64)
		}
		if err == nil {
			rg.bytes, err = strconv.ParseInt(string(c[8]), 10, 64)
		}
		if err == nil {
			rg.end, err = gtid.Parse(string(c[6]))
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read copy state of %s: %w", tc.name, err)
		}
		tc.ranges = []*copyRange{rg}
		tc.looked = rg.copied > splitUntil
		byName[tc.name], order = tc, append(order, tc)
	}
	if err := loadRanges(ctx, conn, id, byName); err != nil {
		return nil, nil, err
	}
	for _, tc := range order {
		tc.settle()
	}
	return byName, order, nil
}

// loadRanges reads the ranges of the tables that were split. What was copied before the split stays with the first entry, which is done.
func loadRanges(ctx context.Context, conn *sqlconn.Conn, id int64, tables map[string]*tableCopy) error {
	res, err := conn.Query(ctx, fmt.Sprintf("SELECT table_name, no, upto, lastpk, rows_copied, done, COALESCE(end_pos,''), bytes_copied FROM _braid.copy_range WHERE vrepl_id=%d ORDER BY table_name, no", id))
	if err != nil {
		return fmt.Errorf("read copy ranges: %w", err)
	}
	for _, c := range res.Rows {
		tc := tables[string(c[0])]
		if tc == nil {
			continue
		}
		rg := &copyRange{table: tc, upto: c[2], last: c[3], done: string(c[5]) == "1"}
		if rg.no, err = strconv.Atoi(string(c[1])); err == nil {
			rg.copied, err = strconv.ParseInt(string(c[4]), 10, 64)
		}
		if err == nil {
			rg.bytes, err = strconv.ParseInt(string(c[7]), 10, 64)
		}
		if err == nil {
			rg.end, err = gtid.Parse(string(c[6]))
		}
		if err != nil {
			return fmt.Errorf("read copy range of %s: %w", tc.name, err)
		}
		tc.ranges[0].done, tc.looked = true, true
		tc.ranges = append(tc.ranges, rg)
	}
	return nil
}

// save is the statement that goes with a chunk of the range (W2). position is that of the stream before the chunk.
func (rg *copyRange) save(id int64, last []byte, rows, bytes int64, done bool, position string) string {
	tc, end := rg.table, ""
	if done {
		end = ", end_pos=" + sqlconn.Quote(position)
	}
	if rg.no > 0 {
		return fmt.Sprintf("UPDATE _braid.copy_range SET lastpk=%s, rows_copied=rows_copied+%d, bytes_copied=bytes_copied+%d, done=%d%s WHERE vrepl_id=%d AND table_name=%s AND no=%d",
			blob(last), rows, bytes, truth(done), end, id, sqlconn.Quote(tc.name), rg.no)
	}
	return fmt.Sprintf("UPDATE _braid.copy_state SET lastpk=%s, rows_copied=rows_copied+%d, bytes_copied=bytes_copied+%d, rows_total=%d, done=%d, key_order=%s%s WHERE vrepl_id=%d AND table_name=%s",
		blob(last), rows, bytes, max(tc.total, tc.copied+rows), truth(done), sqlconn.Quote(tc.order), end, id, sqlconn.Quote(tc.name))
}

// ended is what must be applied before a table that is not strict yet may be: everything that came before its last chunks.
func ended(tables []*tableCopy) (position gtid.Set) {
	for _, tc := range tables {
		if tc.strict {
			continue
		}
		for _, rg := range tc.ranges {
			position = position.Union(rg.end)
		}
	}
	return position
}

// forget are the statements by which the copy of a table begins again, or, of one that was made after the stream, begins.
func forget(id int64, table string, keyless bool) []string {
	return []string{
		fmt.Sprintf("INSERT INTO _braid.copy_state (vrepl_id, table_name, whole) VALUES (%d, %s, %d) ON DUPLICATE KEY UPDATE "+
			"lastpk=NULL, key_order='', rows_copied=0, bytes_copied=0, done=0, end_pos=NULL, whole=VALUES(whole)", id, sqlconn.Quote(table), truth(keyless)),
		fmt.Sprintf("DELETE FROM _braid.copy_range WHERE vrepl_id=%d AND table_name=%s", id, sqlconn.Quote(table)),
	}
}

// split cuts what is left of a table that is one range, at keys of rows in key order; nothing of it may be under way. It returns
// the statements that write it down, which must be one transaction.
func (tc *tableCopy) split(id int64, at []rowimage.Row) []string {
	last := tc.ranges[0].last
	var values []string
	for i := range len(at) + 1 {
		rg := &copyRange{table: tc, no: i + 1, last: last}
		if i < len(at) {
			rg.upto = encodeKey(at[i])
			last = rg.upto
		}
		tc.ranges = append(tc.ranges, rg)
		values = append(values, fmt.Sprintf("(%d,%s,%d,%s,%s)", id, sqlconn.Quote(tc.name), rg.no, blob(rg.upto), blob(rg.last)))
	}
	tc.ranges[0].done = true
	return []string{
		"INSERT INTO _braid.copy_range (vrepl_id, table_name, no, upto, lastpk) VALUES " + strings.Join(values, ","),
		fmt.Sprintf("UPDATE _braid.copy_state SET rows_total=%d WHERE vrepl_id=%d AND table_name=%s", max(tc.total, tc.copied), id, sqlconn.Quote(tc.name)),
	}
}

// mark says in copy_state that a table which was split is copied. A crash before it is mended by whoever loads the ranges.
func (tc *tableCopy) mark(id int64) string {
	return fmt.Sprintf("UPDATE _braid.copy_state SET done=GREATEST(done,1) WHERE vrepl_id=%d AND table_name=%s", id, sqlconn.Quote(tc.name))
}
