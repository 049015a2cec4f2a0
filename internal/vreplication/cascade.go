package vreplication

import (
	"bytes"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/vstream"
	"braid/internal/writeset"
)

// unlogged refuses changes whose cascades are neither in the stream nor done by the target: MySQL before 9.6, and later ones with
// innodb_native_foreign_keys, do them in the engine, below the binlog, and while tables are copied the target does not look at foreign keys: not all
// rows are there, and rows that a chunk has read before are still to come. A table of which no row was read has nothing to lose.
func (r *run) unlogged(tx *vstream.Transaction) error {
	for i := range tx.Changes {
		c := &tx.Changes[i]
		if c.Op == vstream.Insert || c.Flags&(writeset.SQLForeignKeys|writeset.NoForeignKeyChecks) != 0 {
			continue
		}
		p := r.plans[c.TableID]
		if p == nil {
			continue
		}
		for k := range p.Source.Cascades {
			to := &p.Source.Cascades[k]
			if tc := r.copies[r.row.Source.Rules.Name(to.DB, to.Table)]; tc == nil || r.untouched(tc) {
				continue
			}
			if c.Op == vstream.Delete && to.OnDelete || c.Op == vstream.Update && to.OnUpdate && p.moves(c, to.Columns) {
				return permanent{errs.New(errs.StreamFailed, nil, "transaction %s: %s of %s %s: it changes rows of %s.%s by a foreign key, which the source's binlog does not tell, while tables are copied", tx.GTID, c.Op, p.Source.Name, p.FormatKey(p.Key(c.Before)), to.DB, to.Table).
					With("copy the tables again while no rows of "+p.Source.Name+" are deleted, nor their keys changed; once the stream is running, all of it is followed",
						"or replicate from MySQL 9.6 or later with innodb_native_foreign_keys=OFF, whose binlog has these changes")}
			}
		}
	}
	return nil
}

// untouched says that no row of a table was read.
func (r *run) untouched(tc *tableCopy) bool {
	if tc.done || tc.begun() || tc.order != "" {
		return false
	}
	for _, w := range r.windows.open {
		if w.kind == windowCopy && w.part.table == tc {
			return false
		}
	}
	return true
}

// moves says that an update changes one of the columns.
func (p *tablePlan) moves(c *vstream.Change, columns []string) bool {
	for _, name := range columns {
		for i := range p.Source.Columns {
			if strings.EqualFold(p.Source.Columns[i].Name, name) && !(bytes.Equal(c.Before[i], c.After[i]) && (c.Before[i] == nil) == (c.After[i] == nil)) {
				return true
			}
		}
	}
	return false
}
