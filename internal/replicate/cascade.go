package replicate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/internal/vreplication"
)

const erUnknownVariable = 1193

// checkCascades refuses foreign keys whose cascades would be lost: those that the source's binlog does not tell, where the target cannot do them, and those
// that only the target has, which would change rows that the source leaves alone.
func (r *replication) checkCascades(ctx context.Context) error {
	var lost, steps []string
	refuse := func(t *table, key *schema.ForeignKey, why, step string) {
		lost, steps = append(lost, fmt.Sprintf("%s of %s (%s)", key.Name, t, why)), append(steps, step)
	}
	native, err := nativeCascades(ctx, r.source)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	later, err := r.deferred(ctx)
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	for _, t := range r.plan.tables {
		for _, key := range r.plan.targetAlone(t) {
			refuse(t, key, "the target alone has it, and would change rows that the source leaves alone",
				"on the target: ALTER TABLE "+t.quoted()+" DROP FOREIGN KEY "+sqlconn.QuoteIdent(key.Name)+";")
		}
		for i := range t.source.ForeignKeys {
			key := &t.source.ForeignKeys[i]
			parent := r.plan.named[tableName{key.RefDB, key.RefTable}]
			switch {
			case !native || !key.Acts():
			case parent == nil:
				refuse(t, key, "its parent is not replicated", "replicate "+key.RefDB+"."+key.RefTable+", too, or leave out "+t.String())
			case r.filtered(parent):
				refuse(t, key, "not all rows of its parent are replicated", "replicate "+parent.String()+" without --where, or leave out "+t.String())
			case t.target != nil && !later[tableName{t.db, t.name}] && !t.targetHas(key, parent):
				refuse(t, key, "the target's table lacks it", "add it to "+t.quoted()+" on the target as the source has it, or drop the table there: it is made again")
			}
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return errs.New(errs.BadInput, nil, "foreign keys whose cascades cannot be followed: %s", strings.Join(lost, "; ")).With(steps...)
}

// nativeCascades says that the server's binlog does not have what foreign keys change.
func nativeCascades(ctx context.Context, conn *sqlconn.Conn) (bool, error) {
	res, err := conn.Query(ctx, "SELECT @@innodb_native_foreign_keys")
	if sqlconn.ErrCode(err) == erUnknownVariable { // before 9.6
		return true, nil
	}
	return err == nil && string(res.Rows[0][0]) == "1", err
}

// deferred are the tables of the target that were made without their foreign keys, which come when they are copied.
func (r *replication) deferred(ctx context.Context) (map[tableName]bool, error) {
	there, err := schema.Exists(ctx, r.admin, vreplication.Sidecar, "deferred")
	if err != nil || !there {
		return nil, err
	}
	res, err := r.admin.Query(ctx, "SELECT db_name, table_name FROM _braid.deferred")
	if err != nil {
		return nil, fmt.Errorf("what tables lack: %w", err)
	}
	later := map[tableName]bool{}
	for _, row := range res.Rows {
		later[tableName{string(row[0]), string(row[1])}] = true
	}
	return later, nil
}

// filtered says that not all rows of a table are replicated.
func (r *replication) filtered(t *table) bool {
	rule := r.rules.Match(t.source.DB, t.source.Name)
	return rule != nil && rule.Where != ""
}

// targetAlone are the foreign keys of a table of the target that change its rows when we write to its parent, and that the source does not have.
func (p *plan) targetAlone(t *table) (keys []*schema.ForeignKey) {
	if t.target == nil {
		return nil
	}
	for i := range t.target.ForeignKeys {
		key := &t.target.ForeignKeys[i]
		written := slices.ContainsFunc(p.tables, func(o *table) bool { return o.db == key.RefDB && o.name == key.RefTable })
		if key.Acts() && written && !slices.ContainsFunc(t.source.ForeignKeys, func(s schema.ForeignKey) bool {
			return t.alike(&s, key, p.named[tableName{s.RefDB, s.RefTable}])
		}) {
			keys = append(keys, key)
		}
	}
	return keys
}

func (t *table) targetHas(key *schema.ForeignKey, parent *table) bool {
	return slices.ContainsFunc(t.target.ForeignKeys, func(d schema.ForeignKey) bool { return t.alike(key, &d, parent) })
}

// alike says that a key of the source, whose parent is given, and one of the target do the same.
func (t *table) alike(source, target *schema.ForeignKey, parent *table) bool {
	return parent != nil && target.RefDB == parent.db && target.RefTable == parent.name &&
		source.OnDelete == target.OnDelete && source.OnUpdate == target.OnUpdate && slices.EqualFunc(source.RefColumns, target.RefColumns, strings.EqualFold) &&
		slices.EqualFunc(source.Columns, target.Columns, func(s, d int) bool {
			return strings.EqualFold(t.source.Columns[s].Name, t.target.Columns[d].Name)
		})
}
