package vreplication

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/binlog"
	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// move is what a DDL statement does to the name of a source table.
type move struct {
	from, to string // as the stream's rules call them; to is empty when the table is dropped
}

// moves are the tables that a statement drops or gives another name, in its order. Of a dropped database they are those of its tables that
// are, or were, copied.
func (r *run) moves(d *vstream.DDL) (found []move) {
	words := strings.Fields(strings.ToUpper(d.SQL))
	if len(words) < 2 {
		return nil
	}
	var names []string
	for _, n := range binlog.DDLNames(d.SQL, d.DB, d.Settings) {
		switch {
		case n.Reference:
		case n.Table != "":
			names = append(names, r.row.Source.Rules.Name(n.DB, n.Table))
		case words[0] == "DROP":
			return r.movesOf(n.DB)
		}
	}
	switch {
	case words[0] == "DROP" && strings.HasPrefix(words[1], "TABLE"):
		for _, name := range names {
			found = append(found, move{from: name})
		}
	case words[0] == "RENAME" || words[0] == "ALTER" && len(names) == 2:
		for i := 0; i+1 < len(names); i += 2 {
			found = append(found, move{names[i], names[i+1]})
		}
	}
	return found
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

// moveCopies are the statements by which the progress of copies follows the tables. Where DDL is ignored, the target's tables keep their
// names, so only what cannot be copied any more is forgotten.
func (r *run) moveCopies(d *vstream.DDL, policy DDLPolicy) (sql []string) {
	for _, m := range r.moves(d) {
		if policy == DDLIgnore {
			if !r.c.vanished[m.from] {
				continue
			}
			m.to = ""
		}
		for _, table := range []string{"copy_state", "copy_range"} {
			where := fmt.Sprintf(" WHERE vrepl_id=%d AND table_name=", r.row.ID)
			if m.to == "" {
				sql = append(sql, "DELETE FROM _braid."+table+where+sqlconn.Quote(m.from))
				continue
			}
			sql = append(sql, "UPDATE _braid."+table+" SET table_name="+sqlconn.Quote(m.to)+where+sqlconn.Quote(m.from))
		}
		sql = append(sql, r.forgetWriters(m.from, m.to))
	}
	return sql
}

// ddlDone writes down that a statement was run, in one transaction with what follows for the copies: neither is done twice.
func (r *run) ddlDone(ctx context.Context, d *vstream.DDL, job ddlJob) error {
	return r.c.e.exec(ctx, append(r.moveCopies(d, DDLExec), logStatement(r.row.ID, doneType, r.row.State, job.sql))...)
}

// concerned says that one of the tables is known to the copy.
func (r *run) concerned(moved []move, policy DDLPolicy) bool {
	for _, m := range moved {
		if r.copies[m.from] != nil && policy != DDLIgnore || r.c.vanished[m.from] {
			return true
		}
	}
	return false
}

// gone notes that a table is not to be asked for until DDL names it, and returns the error of the run. A table whose target has a key has one at this place of
// the stream, too: what the source has shown has got its name, or has lost its key, by DDL that is still to come.
func (r *run) gone(ctx context.Context, gone *vstream.GoneError) error {
	if !errors.Is(gone, errs.NoPrimaryKey) {
		r.c.vanished[gone.Table] = true
		return gone
	}
	db, table := r.row.Source.Rules.Split(gone.Table)
	rule := r.row.Source.Rules.Match(db, table)
	at := TargetTable{targetDB(rule, db, r.row.DBName), target(rule, table)}
	keyed, moved := false, false
	err := r.c.e.pool.Do(ctx, func(conn *sqlconn.Conn) error {
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
	case !keyed:
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
		if name := r.row.Source.Rules.Name(n.DB, n.Table); r.c.vanished[name] {
			delete(r.c.vanished, name)
			any = true
		}
	}
	return any
}
