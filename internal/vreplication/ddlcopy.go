package vreplication

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"braid/internal/base/errs"
	"braid/internal/binlog"
	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// move is what a DDL statement does to the name of a source table.
type move struct {
	from, to string // as the stream's rules call them; to is empty when the table is dropped, or goes where the stream does not follow it
}

// moves are the tables that a statement drops or gives another name, in its order. Of a dropped database they are those of its tables that
// are, or were, copied.
func (r *run) moves(d *vstream.DDL) (found []move) {
	var names []string
	effect := binlog.EffectOf(d.SQL, d.Settings)
	for _, n := range binlog.DDLNames(d.SQL, d.DB, d.Settings) {
		switch {
		case n.Reference:
		case n.Table != "":
			names = append(names, r.called(d, n.Object))
		case effect == binlog.DropsTables:
			return r.movesOf(n.DB)
		}
	}
	switch effect {
	case binlog.DropsTables:
		for _, name := range names {
			if name != "" {
				found = append(found, move{from: name})
			}
		}
	case binlog.RenamesTables:
		for i := 0; i+1 < len(names); i += 2 {
			if names[i] != "" {
				found = append(found, move{names[i], names[i+1]})
			}
		}
	}
	return found
}

// called is a table of a statement as the stream's rules call it; empty if it is in a database that they do not mean.
func (r *run) called(d *vstream.DDL, o binlog.Object) string {
	if d.Home != "" && !spelt(o.DB, d.Home) {
		return ""
	}
	return r.row.Source.Rules.Name(o.DB, o.Table)
}

// movesOf are those of a dropped database.
func (r *run) movesOf(database string) (found []move) {
	for _, tc := range r.order {
		if db, _ := r.row.Source.Rules.Split(tc.name); db == database || db == "" {
			found = append(found, move{from: tc.name})
		}
	}
	return found
}

// moveCopies are the statements by which the progress of copies follows the tables.
func (r *run) moveCopies(d *vstream.DDL) (sql []string) {
	for _, m := range r.moves(d) {
		if m.to == "" {
			sql = append(sql, r.dropCopy(m.from)...)
			continue
		}
		for _, table := range []string{"copy_state", "copy_range"} {
			sql = append(sql, fmt.Sprintf("UPDATE _braid.%s SET table_name=%s WHERE vrepl_id=%d AND table_name=%s", table, sqlconn.Quote(m.to), r.row.ID, sqlconn.Quote(m.from)))
		}
		sql = append(sql, r.forgetWriters(m.from, m.to))
	}
	return sql
}

func (r *run) dropCopy(name string) (sql []string) {
	for _, table := range []string{"copy_state", "copy_range"} {
		sql = append(sql, fmt.Sprintf("DELETE FROM _braid.%s WHERE vrepl_id=%d AND table_name=%s", table, r.row.ID, sqlconn.Quote(name)))
	}
	return append(sql, r.forgetWriters(name, ""))
}

// endCopies are the statements for the copies under way where DDL is ignored, so that the target's tables keep their names: one whose table has gone
// ends, as there is nothing more to read; one whose name another table has got in the same statement begins again.
func (r *run) endCopies(d *vstream.DDL) (sql []string) {
	moved := r.moves(d)
	for _, m := range moved {
		tc := r.copies[m.from]
		switch {
		case tc == nil || tc.done:
		case slices.ContainsFunc(moved, func(o move) bool { return o.to == m.from }):
			sql = append(sql, forget(r.row.ID, tc.name, tc.whole)...)
		default:
			r.log.Warn("a table is gone from the source, its copy ends as it is", "table", m.from, "rows", tc.copied, "sql", d.SQL)
			sql = append(sql, r.dropCopy(m.from)...)
			sql = append(sql, logStatement(r.row.ID, "copy ends", r.row.State, fmt.Sprintf("%s is gone from the source; %d rows of it are copied", m.from, tc.copied)))
		}
	}
	return sql
}

// ddlDone writes down that a statement was run, in one transaction with what follows for the copies: neither is done twice.
func (r *run) ddlDone(ctx context.Context, d *vstream.DDL, job ddlJob) error {
	return r.c.e.exec(ctx, append(r.moveCopies(d), logStatement(r.row.ID, doneType, r.row.State, job.sql))...)
}

// concerned says that one of the tables is known to the copy.
func (r *run) concerned(moved []move, policy DDLPolicy) bool {
	for _, m := range moved {
		if tc := r.copies[m.from]; tc != nil && (policy != DDLIgnore || !tc.done) || r.c.vanished[m.from] {
			return true
		}
	}
	return false
}

// gone notes that a table is not to be asked for until DDL names it, and returns the error of the run. A table whose target has a key has one at this place of
// the stream, too: what the source has shown has got its name, or has lost its key, by DDL that is still to come. Where that is ignored, the copy cannot
// go on with it either.
func (r *run) gone(ctx context.Context, gone *vstream.GoneError) error {
	if !errors.Is(gone, errs.NoPrimaryKey) {
		r.c.vanished[gone.Table] = true
		return gone
	}
	policy, err := ParseDDLPolicy(r.row.Source.OnDDL)
	if err != nil {
		return permanent{err}
	}
	db, table := r.row.Source.Rules.Split(gone.Table)
	rule := r.row.Source.Rules.Match(db, table)
	at := TargetTable{targetDB(rule, db, r.row.DBName), target(rule, table)}
	keyed, moved := false, false
	err = r.c.e.pool.Do(ctx, func(conn *sqlconn.Conn) error {
		defs, err := schema.Load(ctx, conn, at.DB, []string{at.Table})
		keyed = err == nil && len(defs[0].KeyColumns()) > 0
		if errors.Is(err, schema.ErrNoTable) {
			if moved, err = r.underWay(ctx, conn, gone.Table); err == nil && !moved {
				err = missingTarget(at)
			}
		}
		return err
	})
	switch {
	case moved:
		return errAgain
	case err != nil:
		return fmt.Errorf("definition of target table %s: %w", at.Table, err)
	case !keyed, policy == DDLIgnore:
		return gone
	}
	r.c.vanished[gone.Table] = true
	return fmt.Errorf("the DDL is still to come by which table %s has no key", gone.Table)
}

// underWay says that DDL has the table: a statement is begun and not done, or one has taken the table's copy away.
func (r *run) underWay(ctx context.Context, conn *sqlconn.Conn, table string) (bool, error) {
	res, err := conn.Query(ctx, fmt.Sprintf("SELECT EXISTS (SELECT 1 FROM _braid.copy_state WHERE vrepl_id=%d AND table_name=%s), "+
		"COALESCE((SELECT type='%s' FROM _braid.vreplication_log WHERE vrepl_id=%[1]d AND type IN ('%[3]s', '%s') ORDER BY id DESC LIMIT 1), 0)",
		r.row.ID, sqlconn.Quote(table), intentType, doneType))
	if err != nil {
		return false, fmt.Errorf("DDL under way: %w", err)
	}
	return string(res.Rows[0][0]) == "0" || string(res.Rows[0][1]) == "1", nil
}

// named takes back that tables are not to be asked for, because DDL names them. It returns true if there are any.
func (r *run) named(d *vstream.DDL) (any bool) {
	for _, n := range binlog.DDLNames(d.SQL, d.DB, d.Settings) {
		if name := r.called(d, n.Object); r.c.vanished[name] {
			delete(r.c.vanished, name)
			any = true
		}
	}
	return any
}
