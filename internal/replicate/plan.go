package replicate

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"braid/internal/apply/rows"
	"braid/internal/base/errs"
	"braid/internal/filter"
	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/internal/vreplication"
	"braid/internal/vstream"
)

// plan is what is replicated, as both sides are now.
type plan struct {
	rules  filter.Rules
	tables []*table
	named  map[tableName]*table // by the source's names
}

// tableName is a table's, of either side.
type tableName struct{ db, table string }

// table is a source table and its place on the target.
type table struct {
	source *schema.Table
	define string // what makes it on the source; see definition
	db     string // on the target
	name   string
	target *schema.Table // nil: to be made
	made   bool          // by this process
}

func (t *table) String() string { return t.source.DB + "." + t.source.Name }

// keyless says that nothing tells its rows apart.
func (t *table) keyless() bool { return len(t.source.KeyColumns()) == 0 }

// quoted is the quoted name on the target.
func (t *table) quoted() string { return sqlconn.QuoteIdent(t.db) + "." + sqlconn.QuoteIdent(t.name) }

// databases are those of the target that are written, in order.
func (p *plan) databases() []string {
	var names []string
	for _, t := range p.tables {
		names = append(names, t.db)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// planAttempts is how often tables are listed again because one of them was gone when its definition was read.
const planAttempts = 20

// newPlan reads what the rules select on the source, while others may change it.
func newPlan(ctx context.Context, source *sqlconn.Conn, local *vstream.Local, rules filter.Rules) (p *plan, err error) {
	for range planAttempts {
		if p, err = readPlan(ctx, source, local, rules); !errors.Is(err, schema.ErrNoTable) {
			break
		}
	}
	return p, err
}

func readPlan(ctx context.Context, source *sqlconn.Conn, local *vstream.Local, rules filter.Rules) (*plan, error) {
	names, err := local.Tables(ctx, rules)
	if err != nil {
		return nil, err
	}
	byDB := map[string][]string{}
	var databases []string
	for _, n := range names {
		db, name := rules.Split(n)
		if byDB[db] == nil {
			databases = append(databases, db)
		}
		byDB[db] = append(byDB[db], name)
	}
	p := &plan{rules: rules, named: map[tableName]*table{}}
	places := map[string]*table{}
	for _, db := range databases {
		defs, err := schema.Load(ctx, source, db, byDB[db])
		if err != nil {
			return nil, fmt.Errorf("source: %w", err)
		}
		for _, def := range defs {
			t, err := p.place(def)
			if err != nil {
				return nil, err
			}
			if other := places[t.quoted()]; other != nil {
				return nil, errs.New(errs.BadInput, nil, "tables %s and %s would both become %s.%s", other, t, t.db, t.name)
			}
			places[t.quoted()] = t
			p.named[tableName{def.DB, def.Name}] = t
			p.tables = append(p.tables, t)
		}
	}
	return p, nil
}

// find is the same table in this plan, defined alike; nil if there is none.
func (p *plan) find(t *table) *table {
	if o := p.named[tableName{t.source.DB, t.source.Name}]; o != nil && o.define == t.define {
		return o
	}
	return nil
}

// same says that both have the same tables.
func (p *plan) same(o *plan) bool {
	return len(p.tables) == len(o.tables) && !slices.ContainsFunc(p.tables, func(t *table) bool { return o.find(t) == nil })
}

var nextValue = regexp.MustCompile(` AUTO_INCREMENT=[0-9]+`)

// definition is the statement that makes a table, without the next value of its counter, which rows change.
func definition(t *schema.Table) string { return nextValue.ReplaceAllString(t.CreateStatement, "") }

func (p *plan) place(def *schema.Table) (*table, error) {
	row, err := p.rules.Plan(def)
	if err != nil {
		return nil, errs.New(errs.BadInput, err, "rules")
	}
	if filter.System(row.TargetDB) {
		return nil, errs.New(errs.BadInput, nil, "table %s.%s would come into the system schema %s", def.DB, def.Name, row.TargetDB)
	}
	return &table{source: def, define: definition(def), db: row.TargetDB, name: row.Target}, nil
}

// checkSource refuses tables that cannot be copied, or followed, exactly.
func (p *plan) checkSource(keylessToo bool) error {
	var keyless, engines, alterKeys, alterEngines []string
	for _, t := range p.tables {
		name := sqlconn.QuoteIdent(t.source.DB) + "." + sqlconn.QuoteIdent(t.source.Name)
		if t.keyless() && !keylessToo {
			keyless = append(keyless, t.String())
			alterKeys = append(alterKeys, "on the source: ALTER TABLE "+name+" ADD COLUMN my_row_id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY INVISIBLE FIRST;")
		}
		if !strings.EqualFold(t.source.Engine, "InnoDB") {
			engines = append(engines, t.String()+" ("+t.source.Engine+")")
			alterEngines = append(alterEngines, "on the source: ALTER TABLE "+name+" ENGINE=InnoDB;")
		}
	}
	if len(keyless) > 0 {
		return errs.New(errs.NoPrimaryKey, nil, "%s: no primary key, nor a unique key without NULLs", strings.Join(keyless, ", ")).
			With(append(alterKeys, "or have them copied under one snapshot each: --without-key snapshot, or --without-key lock", "or leave them out with --ignore-tables")...)
	}
	if len(engines) > 0 {
		return errs.New(errs.SourcePrecondition, nil, "%s: rows of other engines than InnoDB are seen before they are in the binlog, so they cannot be copied while they change", strings.Join(engines, ", ")).
			With(append(alterEngines, "or leave them out with --ignore-tables")...)
	}
	return nil
}

// checkNames refuses foreign keys that would have one name in a database of the target.
func (p *plan) checkNames() error {
	type constraint struct{ db, name string }
	taken := map[constraint]*table{}
	for _, t := range p.tables {
		for i := range t.source.ForeignKeys {
			key := &t.source.ForeignKeys[i]
			if p.named[tableName{key.RefDB, key.RefTable}] == nil { // it is left out
				continue
			}
			at := constraint{t.db, strings.ToLower(key.Name)}
			if o := taken[at]; o != nil {
				return errs.New(errs.BadInput, nil, "foreign keys of %s and %s are both called %s, and a database has one of a name", o, t, key.Name).
					With("give them different databases with --rename", "or give one of the keys another name on the source (ALTER TABLE … DROP FOREIGN KEY …, ADD CONSTRAINT … FOREIGN KEY …)")
			}
			taken[at] = t
		}
	}
	return nil
}

// compare reads the target's tables, and refuses those that cannot hold the source's rows.
func (p *plan) compare(ctx context.Context, target *sqlconn.Conn) error {
	there, err := p.onTarget(ctx, target)
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	var bad []error
	for _, t := range p.tables {
		if t.target = there[tableName{t.db, t.name}]; t.target == nil {
			continue
		}
		if _, err := rows.NewTable(t.source, t.target, nil); err != nil {
			bad = append(bad, err)
		} else if err := t.checkUnique(); err != nil {
			bad = append(bad, err)
		}
	}
	if len(bad) > 0 {
		return errors.Join(bad...)
	}
	return p.checkTriggers(ctx, target)
}

// checkUnique refuses unique keys that only the target has: a row that is copied would take the place of another one.
func (t *table) checkUnique() error {
	alone := schema.UniqueAlone(t.source, t.target)
	if len(alone) == 0 {
		return nil
	}
	var steps []string
	for _, name := range alone {
		steps = append(steps, "on the target: ALTER TABLE "+t.quoted()+" DROP INDEX "+sqlconn.QuoteIdent(name)+";")
	}
	return errs.New(errs.TableDiffers, nil, "table %s.%s of the target has unique keys that the source does not have: %s; rows that differ on the source only elsewhere would replace each other", t.db, t.name, strings.Join(alone, ", ")).With(steps...)
}

// onTarget reads those of the target's tables that are there already, while others may drop them.
func (p *plan) onTarget(ctx context.Context, target *sqlconn.Conn) (there map[tableName]*schema.Table, err error) {
	for range planAttempts {
		if there, err = p.readTarget(ctx, target); !errors.Is(err, schema.ErrNoTable) {
			break
		}
	}
	return there, err
}

func (p *plan) readTarget(ctx context.Context, target *sqlconn.Conn) (map[tableName]*schema.Table, error) {
	res, err := target.Query(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE='BASE TABLE'")
	if err != nil {
		return nil, err
	}
	present := map[tableName]bool{}
	for _, row := range res.Rows {
		present[tableName{string(row[0]), string(row[1])}] = true
	}
	byDB := map[string][]string{}
	for _, t := range p.tables {
		if present[tableName{t.db, t.name}] {
			byDB[t.db] = append(byDB[t.db], t.name)
		}
	}
	there := map[tableName]*schema.Table{}
	for db, tables := range byDB {
		defs, err := schema.Load(ctx, target, db, tables)
		if err != nil {
			return nil, err
		}
		for _, def := range defs {
			there[tableName{db, def.Name}] = def
		}
	}
	return there, nil
}

func (p *plan) checkTriggers(ctx context.Context, target *sqlconn.Conn) error {
	ours := map[tableName]bool{}
	for _, t := range p.tables {
		ours[tableName{t.db, t.name}] = true
	}
	return checkTriggers(ctx, target, ours)
}

// checkTriggers refuses triggers on tables of the target: what they did on the source is in the source's row events already.
func checkTriggers(ctx context.Context, target *sqlconn.Conn, ours map[tableName]bool) error {
	res, err := target.Query(ctx, "SELECT EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, TRIGGER_SCHEMA, TRIGGER_NAME FROM information_schema.TRIGGERS ORDER BY 1, 2, 4")
	if err != nil {
		return fmt.Errorf("triggers of the target: %w", err)
	}
	var names, drops []string
	for _, row := range res.Rows {
		if ours[tableName{string(row[0]), string(row[1])}] {
			names = append(names, fmt.Sprintf("%s on %s.%s", row[3], row[0], row[1]))
			drops = append(drops, "on the target: DROP TRIGGER "+sqlconn.QuoteIdent(string(row[2]))+"."+sqlconn.QuoteIdent(string(row[3]))+";")
		}
	}
	if len(names) == 0 {
		return nil
	}
	return errs.New(errs.TargetPrecondition, nil, "triggers on the target: %s; they would do again what the source's triggers have done", strings.Join(names, ", ")).With(drops...)
}

// checkEmpty refuses tables that have rows.
func checkEmpty(ctx context.Context, target *sqlconn.Conn, tables []*table) error {
	var full, steps []string
	keyless := true
	for _, t := range tables {
		if t.target == nil {
			continue
		}
		res, err := target.Query(ctx, "SELECT 1 FROM "+t.quoted()+" LIMIT 1")
		if err != nil {
			return fmt.Errorf("target: %w", err)
		}
		if len(res.Rows) > 0 {
			full, steps = append(full, t.db+"."+t.name), append(steps, "on the target: TRUNCATE TABLE "+t.quoted()+";")
			keyless = keyless && t.keyless()
		}
	}
	if len(full) == 0 {
		return nil
	}
	if !keyless {
		steps = append(steps, "or, if these rows may stay: --allow-nonempty (rows with the source's keys are overwritten, all others are left as they are; not for tables without a key)")
	}
	return errs.New(errs.TargetNotEmpty, nil, "on the target, %s have rows", strings.Join(full, ", ")).With(steps...)
}

// checkWriters refuses tables that another stream writes to.
func checkWriters(ctx context.Context, target *sqlconn.Conn, tables []*table, workflow string) error {
	writers, err := vreplication.Writers(ctx, target)
	if err != nil {
		return err
	}
	for _, t := range tables {
		for _, w := range writers[vreplication.TargetTable{DB: t.db, Table: t.name}] {
			if w != workflow {
				return errs.New(errs.TargetNotEmpty, nil, "table %s.%s of the target is written by the stream %s", t.db, t.name, w).
					With("give this one another name with --rename, leave it out with --ignore-tables, or remove that stream",
						"if both sources have different rows by their keys: --allow-nonempty")
			}
		}
	}
	return nil
}
