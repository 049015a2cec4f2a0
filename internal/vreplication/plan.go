package vreplication

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"braid/internal/apply"
	"braid/internal/base/errs"
	"braid/internal/binlog"
	"braid/internal/filter"
	"braid/internal/schema"
	"braid/internal/vstream"
)

// tablePlan is what a table ID of the stream means here.
type tablePlan struct {
	*apply.Table
	def   *vstream.Table
	copy  *tableCopy // nil when the table is not, and was not, copied
	stale bool       // a DDL has changed the table since: it is described again before its next row
	merge bool       // other streams of the workflow write to it too
	owned *filter.Plan
	home  *filter.Plan // rows of this shard
}

// table compiles a definition. Changes that came before belong to the definition before.
func (r *run) table(ctx context.Context, def *vstream.Table) error {
	if r.plans[def.ID] != nil {
		if err := r.commit(ctx); err != nil {
			return err
		}
	}
	target, err := r.targets.take(ctx, r, TargetTable{cmp.Or(def.TargetDB, r.row.DBName), def.Target})
	if err != nil {
		return err
	}
	return r.plan(ctx, def, target)
}

// plan says how a source table is written to a target.
func (r *run) plan(ctx context.Context, def *vstream.Table, target *schema.Table) (err error) {
	p := &tablePlan{def: def, copy: r.copies[r.name(def.Def)], merge: r.merges(def)}
	if err := r.ownership(p, def.Def); err != nil {
		return err
	}
	var owner []string
	if p.merge {
		if err := r.ap.SetWorkers(ctx, 1); err != nil { // what is contested is settled one transaction after the other
			return err
		}
		owner = r.row.Source.Rules.Match(def.Def.DB, def.Def.Name).VindexColumns
	}
	if p.Table, err = apply.NewTable(def.Def, target, owner); err != nil {
		return err
	}
	if err := p.Bind(ctx, r.conn, def.Map, r.refusal); err != nil {
		return err
	}
	r.plans[def.ID] = p
	r.setMode(def.ID, p)
	r.explainWriter(p)
	if p.copy != nil && p.copy.total == 0 {
		p.copy.total = def.Def.Rows
	}
	return nil
}

// rebind compiles all tables again, after the targets have changed: whom a foreign key refers to decides what may be written beside what.
func (r *run) rebind(ctx context.Context) error {
	if err := r.commit(ctx); err != nil {
		return err
	}
	r.targets = targets{}
	for _, id := range slices.Sorted(maps.Keys(r.plans)) {
		if r.plans[id].stale {
			continue
		}
		if err := r.table(ctx, r.plans[id].def); err != nil {
			return err
		}
	}
	return nil
}

// outdate notes which tables a DDL has changed, on either side.
func (r *run) outdate(d *vstream.DDL) {
	r.targets = targets{loaded: true}
	for _, n := range binlog.DDLNames(d.SQL, d.DB, d.Settings) {
		for _, p := range r.plans {
			db, table := p.def.Def.DB, p.def.Def.Name
			if !n.Reference && spelt(n.DB, db) && (n.Table == "" || spelt(n.Table, table)) {
				p.stale = true
			}
		}
	}
}

// spelt says that a statement may mean a table, or a database, by a name: with lower_case_table_names it may spell it in any case.
func spelt(text, name string) bool { return text == name || strings.ToLower(text) == name }

// targets are definitions of target tables that were read at once, because a stream may have thousands. Each is used once: whoever describes a table
// again does so because it has changed.
type targets struct {
	loaded bool
	tables map[TargetTable]*schema.Table
}

func (t *targets) take(ctx context.Context, r *run, at TargetTable) (*schema.Table, error) {
	if !t.loaded {
		if err := t.load(ctx, r); err != nil {
			return nil, err
		}
	}
	if def := t.tables[at]; def != nil {
		delete(t.tables, at)
		return def, nil
	}
	defs, err := schema.Load(ctx, r.conn, at.DB, []string{at.Table})
	if errors.Is(err, schema.ErrNoTable) {
		return nil, missingTarget(at)
	}
	if err != nil {
		return nil, fmt.Errorf("definition of target table %s: %w", at.Table, err)
	}
	return defs[0], nil
}

func missingTarget(at TargetTable) error {
	return permanent{errs.New(errs.TableDiffers, nil, "table %s is not on the target, in database %s", at.Table, at.DB).
		With("Create the table on the target, then start the stream again. If it was dropped there, its rows are missing: copy the tables again.")}
}

// load reads what the stream's copies write to, if that is much.
func (t *targets) load(ctx context.Context, r *run) error {
	t.loaded, t.tables = true, map[TargetTable]*schema.Table{}
	if len(r.order) < manyTables {
		return nil
	}
	for _, db := range slices.Sorted(maps.Keys(r.targetTables())) {
		defs, err := schema.Load(ctx, r.conn, db, nil)
		if err != nil {
			return fmt.Errorf("definitions of target tables: %w", err)
		}
		for _, def := range defs {
			t.tables[TargetTable{db, def.Name}] = def
		}
	}
	return nil
}

// manyTables is from when on all of a database are read at once.
const manyTables = 8

// targetTables are the names of the tables that the stream's copies write to, by database, with their source table.
func (r *run) targetTables() map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, tc := range r.order {
		db, table := r.row.Source.Rules.Split(tc.name)
		rule := r.row.Source.Rules.Match(db, table)
		if rule == nil {
			continue
		}
		db = targetDB(rule, db, r.row.DBName)
		if all[db] == nil {
			all[db] = map[string]string{}
		}
		all[db][target(rule, table)] = tc.name
	}
	return all
}

// setMode says how the table's changes are written from here on; those that were added before keep to what was said then.
func (r *run) setMode(id uint32, p *tablePlan) {
	table := *p.Table
	table.Mode = p.mode()
	p.Table = &table
	r.ap.SetTable(id, p.Table)
}

// mode follows from how far the copy is.
func (p *tablePlan) mode() apply.Mode {
	switch {
	case p.merge:
		return apply.Merge
	case p.copy != nil && !p.copy.strict:
		return apply.Upsert
	}
	return apply.Strict
}

// ownership compiles which rows of a table are the source's, and which are this shard's.
func (r *run) ownership(p *tablePlan, def *schema.Table) (err error) {
	rule := *r.row.Source.Rules.Match(def.DB, def.Name)
	if p.merge && (rule.Vindex == "" || len(rule.VindexColumns) == 0) {
		return permanent{errs.New(errs.BadInput, nil, "table %s is merged from %s and others, and the stream's rule names no vindex: whose a row is cannot be told", def.Name, r.row.Source.name())}
	}
	rule.DB, rule.Table, rule.TargetDB, rule.Target = "", def.Name, "", ""
	if p.home, err = (filter.Rules{Rules: []filter.Rule{rule}}).Plan(def); err != nil {
		return permanent{err}
	}
	rule.KeyRange = r.row.Source.Shard
	if rule.Vindex == "" {
		rule.KeyRange = ""
	}
	if p.owned, err = (filter.Rules{Rules: []filter.Rule{rule}}).Plan(def); err != nil {
		return permanent{err}
	}
	return nil
}

func (r *run) planOf(table *apply.Table) *tablePlan {
	for _, p := range r.plans {
		if p.Source == table.Source { // the mode may have changed since
			return p
		}
	}
	return nil
}

// name is how the stream calls a source table.
func (r *run) name(def *schema.Table) string { return r.row.Source.Rules.Name(def.DB, def.Name) }

func (r *run) planID(plan *tablePlan) uint32 {
	for id, p := range r.plans {
		if p == plan {
			return id
		}
	}
	return 0
}

// planNamed is the latest plan of a source table.
func (r *run) planNamed(table string) *tablePlan {
	var latest *tablePlan
	var latestID uint32
	for id, p := range r.plans {
		if r.name(p.Source) == table && (latest == nil || id > latestID) {
			latest, latestID = p, id
		}
	}
	return latest
}
