package gate

import (
	"context"
	"fmt"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/mysqlproto"
	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// rowMove is an UPDATE that changes the sharding column, so that rows go to another shard.
//
// The values that the UPDATE would write are computed by MySQL itself, in place, and taken back:
//
//	on the shard `to`:    UPDATE …                      rows that are there stay there
//	on every other shard: SAVEPOINT; SELECT the primary keys FOR UPDATE; UPDATE …; SELECT the new rows; ROLLBACK TO
//	                      DELETE the rows by their keys
//	on the shard `to`:    INSERT the new rows
//
// ROLLBACK TO keeps the locks, so the rows are the same throughout, and the shard's binlog has a plain DELETE of the row as it
// was: what merges both shards' streams deletes by the old sharding column, which the moved row does not have any more.
// Evaluating the assignments here would be simpler to run, and would need MySQL's arithmetic and conversions a second time.
type rowMove struct {
	table  *schema.Table
	column string // the sharding column
	value  string // its new value, as a literal
	to     dest
}

// moveMark is the savepoint before the trial UPDATE.
const moveMark = "_braid_move"

// moveRows runs the plan. It is called inside a transaction.
func (s *session) moveRows(ctx context.Context, pl *plan) (mysqlproto.OK, error) {
	var sum mysqlproto.OK
	if err := s.referenced(ctx, pl); err != nil {
		return sum, err
	}
	to, _, err := s.ready(ctx, pl.move.to)
	if err != nil {
		return sum, err
	}
	var rows []rowimage.Row
	for _, pt := range pl.parts {
		if pt.dest == pl.move.to {
			ok, err := s.exec(ctx, pl, to, pt.sql)
			if err != nil {
				return sum, err
			}
			sum.Affected += ok.Affected
			continue
		}
		ok, moved, err := s.takeRows(ctx, pl, pt)
		if err != nil {
			return sum, err
		}
		sum.Affected += ok.Affected
		rows = append(rows, moved...)
	}
	if len(rows) == 0 {
		return sum, nil
	}
	return sum, s.putRows(ctx, pl, to, rows)
}

// maxMoved bounds the rows that one statement moves; they are kept here.
const maxMoved = 10000

// takeRows removes the rows that the statement moves away from a shard and returns them as they will be.
func (s *session) takeRows(ctx context.Context, pl *plan, pt part) (ok mysqlproto.OK, rows []rowimage.Row, err error) {
	b, _, err := s.ready(ctx, pt.dest)
	if err != nil {
		return ok, nil, err
	}
	if _, err := b.control(ctx, "SAVEPOINT "+moveMark); err != nil {
		return ok, nil, s.failed(b, err, true)
	}
	if ok, err = s.trial(ctx, pl, b, pt.sql); err != nil {
		return ok, nil, err
	}
	if ok.Affected > 0 {
		if rows, err = s.readMoved(ctx, pl, b); err != nil {
			return ok, nil, err
		}
	}
	for _, sql := range []string{"ROLLBACK TO " + moveMark, "RELEASE SAVEPOINT " + moveMark} {
		if _, err := b.control(ctx, sql); err != nil {
			return ok, nil, s.failed(b, err, true)
		}
	}
	if len(rows) == 0 {
		return ok, nil, nil
	}
	b.late = true
	return ok, rows, s.deleteRows(ctx, pl, b, rows)
}

// trial runs the UPDATE where its result does not stay. The rows that its foreign keys refer to are on the other shard.
func (s *session) trial(ctx context.Context, pl *plan, b *backend, sql string) (mysqlproto.OK, error) {
	if len(pl.move.table.ForeignKeys) == 0 {
		return s.exec(ctx, pl, b, sql)
	}
	if _, err := b.control(ctx, "SET foreign_key_checks = 0"); err != nil {
		return mysqlproto.OK{}, s.failed(b, err, true)
	}
	ok, err := s.exec(ctx, pl, b, sql)
	if s.backends[b.dest] == b {
		b.settings = "" // the session's are replayed below
		if _, rerr := b.control(ctx, "SET foreign_key_checks = DEFAULT"); rerr != nil && err == nil {
			return ok, s.failed(b, rerr, true)
		}
		if rerr := s.replay(ctx, b); rerr != nil && err == nil {
			return ok, rerr
		}
	}
	return ok, err
}

// readMoved reads the rows that have the new sharding value on a shard where no such row belongs: those that were just
// changed. They are read exactly, without any conversion.
func (s *session) readMoved(ctx context.Context, pl *plan, b *backend) ([]rowimage.Row, error) {
	var exprs []string
	for _, c := range pl.move.table.Columns {
		exprs = append(exprs, rowimage.SelectExpr(c))
	}
	sql := fmt.Sprintf("SELECT %s FROM %s WHERE %s = %s LIMIT %d", strings.Join(exprs, ", "), sqlconn.QuoteIdent(pl.move.table.Name),
		sqlconn.QuoteIdent(pl.move.column), pl.move.value, maxMoved+1)
	var rows []rowimage.Row
	err := s.exactly(ctx, b, func() error {
		_, cells, err := b.Query(ctx, string(tagged(nil, pl.epoch, true, b.dest, pl.tables, sql)))
		if err != nil {
			return s.failed(b, refusedOrErr(err), true)
		}
		for _, row := range cells {
			for i, c := range pl.move.table.Columns {
				if row[i] != nil {
					row[i] = rowimage.Canonical(c, row[i])
				}
			}
			rows = append(rows, row)
		}
		return nil
	})
	if len(rows) > maxMoved {
		return nil, unsupported("an UPDATE that moves more than %d rows of one shard; move them in parts", maxMoved)
	}
	return rows, err
}

// deleteRows deletes rows by their primary keys, which the statement does not change.
func (s *session) deleteRows(ctx context.Context, pl *plan, b *backend, rows []rowimage.Row) error {
	t := pl.move.table
	var names []string
	for _, k := range t.PrimaryKey {
		names = append(names, sqlconn.QuoteIdent(t.Columns[k].Name))
	}
	var sql []byte
	sql = fmt.Appendf(sql, "DELETE FROM %s WHERE (%s) IN (", sqlconn.QuoteIdent(t.Name), strings.Join(names, ", "))
	for i, row := range rows {
		if i > 0 {
			sql = append(sql, ", "...)
		}
		sql = append(sql, '(')
		for j, k := range t.PrimaryKey {
			if j > 0 {
				sql = append(sql, ", "...)
			}
			sql = rowimage.AppendLiteral(sql, t.Columns[k], row[k])
		}
		sql = append(sql, ')')
	}
	sql = append(sql, ')')
	return s.exactly(ctx, b, func() error {
		ok, err := s.exec(ctx, pl, b, string(sql))
		if err == nil && ok.Affected != uint64(len(rows)) {
			return fmt.Errorf("move rows of %s from %s: %d rows were read and %d deleted", t.Name, b.dest, len(rows), ok.Affected)
		}
		return err
	})
}

// putRows inserts the rows where they belong now.
func (s *session) putRows(ctx context.Context, pl *plan, b *backend, rows []rowimage.Row) error {
	t := pl.move.table
	var names []string
	for _, c := range t.Columns {
		if !c.Generated {
			names = append(names, sqlconn.QuoteIdent(c.Name))
		}
	}
	sql := fmt.Appendf(nil, "INSERT INTO %s (%s) VALUES ", sqlconn.QuoteIdent(t.Name), strings.Join(names, ", "))
	for i, row := range rows {
		if i > 0 {
			sql = append(sql, ", "...)
		}
		sql = append(sql, '(')
		first := true
		for j, c := range t.Columns {
			if c.Generated {
				continue
			}
			if !first {
				sql = append(sql, ", "...)
			}
			first = false
			sql = rowimage.AppendLiteral(sql, c, row[j])
		}
		sql = append(sql, ')')
	}
	return s.exactly(ctx, b, func() error {
		_, err := s.exec(ctx, pl, b, string(sql))
		return err
	})
}

// exact are the settings under which values are read and written without conversion, and the settings of a session again.
const exact = "SET NAMES binary, time_zone = '+00:00', sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'"

// exactly runs fn while the backend's settings are those for exact copies.
func (s *session) exactly(ctx context.Context, b *backend, fn func() error) error {
	if _, err := b.control(ctx, exact); err != nil {
		return s.failed(b, err, true)
	}
	b.settings = exact
	err := fn()
	if s.backends[b.dest] != b {
		return err
	}
	b.settings = ""
	if _, rerr := b.control(ctx, "SET NAMES utf8mb4, time_zone = DEFAULT, sql_mode = DEFAULT"); rerr != nil {
		return orFirst(err, s.failed(b, rerr, true))
	}
	return orFirst(err, s.replay(ctx, b))
}

func orFirst(err, then error) error {
	if err != nil {
		return err
	}
	return then
}

// exec runs one statement of a plan in the transaction.
func (s *session) exec(ctx context.Context, pl *plan, b *backend, sql string) (mysqlproto.OK, error) {
	stop := b.Under(ctx)
	defer stop()
	resp, err := b.first(pl, part{b.dest, sql})
	if err == nil && resp.Err == nil {
		resp, err = b.Drain(resp)
	}
	if err != nil {
		return mysqlproto.OK{}, s.failed(b, err, true)
	}
	if resp.Err != nil {
		return mysqlproto.OK{}, s.serverError(ctx, b, false, resp.Err)
	}
	b.locked, b.wrote, b.fresh = true, b.wrote || resp.OK.Affected > 0, false
	return resp.OK, nil
}

// referenced refuses to move rows that other tables refer to by a foreign key: their rows would stay behind, or be deleted
// along.
func (s *session) referenced(ctx context.Context, pl *plan) error {
	t := pl.move.table
	key := pl.move.to.keyspace + "." + t.Name
	if s.g.tables.unreferenced(key) {
		return nil
	}
	res, err := s.lookup(ctx, pl.move.to.keyspace, "SELECT TABLE_NAME FROM information_schema.KEY_COLUMN_USAGE WHERE REFERENCED_TABLE_SCHEMA = "+
		quote(t.DB)+" AND REFERENCED_TABLE_NAME = "+quote(t.Name)+" LIMIT 1")
	if err != nil {
		return err
	}
	if len(res.Rows) > 0 {
		return errs.New(errs.Unsupported, nil, "rows of %s cannot move between shards: table %s refers to them by a foreign key", t.Name, res.Rows[0][0])
	}
	s.g.tables.setUnreferenced(key)
	return nil
}
