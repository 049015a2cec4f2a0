package storm

import (
	"fmt"
	"slices"
	"strings"

	"braid/internal/sqlconn"
)

// Probe says what a table looks like if a DDL has taken effect, for one whose answer was lost.
type Probe struct {
	Table   Name
	Columns []string // none: there is no such table
}

// ddl is a statement that changes tables, and what the generator knows once it has succeeded.
type ddl struct {
	sql    string
	before string // a session setting
	after  string
	probe  Probe
	done   func()
}

var ddls = []struct {
	weight int
	make   func(g *Generator) *ddl
}{
	{3, createTable}, {1, dropTable}, {2, createSelect}, {2, truncate}, {3, rename}, {1, swapTables}, {6, addColumn}, {4, dropColumn}, {2, renameColumn},
	{3, modifyColumn}, {2, addIndex}, {1, addUnique}, {2, dropIndex}, {1, rebuild},
}

// ddl makes a random DDL.
func (g *Generator) ddl() *ddl {
	for {
		d := ddls[g.r.IntN(len(ddls))]
		if g.r.IntN(6) >= d.weight {
			continue
		}
		if made := d.make(g); made != nil {
			return made
		}
	}
}

func (g *Generator) freshName() Name {
	g.names++
	table := fmt.Sprintf("t%d", g.names)
	switch g.r.IntN(8) {
	case 0:
		table = fmt.Sprintf("T %d", g.names)
	case 1:
		table = fmt.Sprintf("tä-%d", g.names)
	}
	return Name{DB: pick(g.r, g.cfg.Databases), Table: table}
}

// ordinary picks a table that may be dropped, renamed and emptied; nil if there is none.
func (g *Generator) ordinary() *table {
	var some []*table
	for _, t := range g.tables {
		if !t.related && !t.bulk {
			some = append(some, t)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return pick(g.r, some)
}

func createTable(g *Generator) *ddl {
	if len(g.tables) > 2*g.cfg.Tables {
		return nil
	}
	return g.create(g.newTable())
}

func (g *Generator) create(t *table) *ddl {
	d := &ddl{
		sql:   annotate(t.create(), Change{Op: OpCreate, Table: t.Name, Columns: t.names()}),
		probe: Probe{Table: t.Name, Columns: t.names()},
		done:  func() { g.tables = append(g.tables, t) },
	}
	if t.hidden {
		d.before, d.after = "SET SESSION sql_generate_invisible_primary_key = ON", "SET SESSION sql_generate_invisible_primary_key = OFF"
	}
	return d
}

func (g *Generator) forget(t *table) {
	g.tables = slices.DeleteFunc(g.tables, func(o *table) bool { return o == t })
}

func dropTable(g *Generator) *ddl {
	t := g.ordinary()
	if t == nil || len(g.tables) < g.cfg.Tables {
		return nil
	}
	sql := []string{"DROP TABLE %s", "DROP TABLE IF EXISTS %s, `no such table`"}[g.r.IntN(2)]
	if strings.Contains(sql, ",") {
		sql = strings.ReplaceAll(sql, "`no", sqlconn.QuoteIdent(t.DB)+".`no")
	}
	return &ddl{sql: fmt.Sprintf(sql, t.Name), probe: Probe{Table: t.Name}, done: func() { g.forget(t) }}
}

// createSelect makes a table and its rows in one transaction. The server tells the log in words of its own.
func createSelect(g *Generator) *ddl {
	from := g.ordinary()
	if from == nil || len(g.tables) > 2*g.cfg.Tables {
		return nil
	}
	t := &table{Name: g.freshName(), endless: true}
	for _, c := range from.writable() {
		copied := &column{columnType: c.columnType, name: c.name, notNull: c.notNull}
		t.columns = append(t.columns, copied)
		if slices.Contains(from.key, c) {
			t.key = append(t.key, copied)
		}
	}
	keys := ""
	if len(from.clauses) > 0 && from.clauses[0] == primary(from.key...) {
		t.endless, keys = false, "("+primary(t.key...)+")"
		t.clauses = []string{primary(t.key...)}
		t.key[0].notNull = true
	}
	if t.endless && !g.cfg.Parts.Has(NoKeys) {
		return nil
	}
	limit := ""
	if g.r.IntN(2) == 0 {
		limit = fmt.Sprintf(" LIMIT %d", g.r.IntN(20))
	}
	return &ddl{
		sql:   fmt.Sprintf("CREATE TABLE %s %s SELECT %s FROM %s%s", t.Name, keys, idents(t.columns), from.Name, limit),
		probe: Probe{Table: t.Name, Columns: t.names()},
		done:  func() { g.tables = append(g.tables, t) },
	}
}

func truncate(g *Generator) *ddl {
	t := g.ordinary()
	if t == nil {
		return nil
	}
	return &ddl{sql: annotate("TRUNCATE TABLE "+t.Name.String(), Change{Op: OpTruncate, Table: t.Name}), probe: Probe{Table: t.Name, Columns: t.names()}, done: func() {}}
}

func rename(g *Generator) *ddl {
	t, to := g.ordinary(), g.freshName()
	if t == nil {
		return nil
	}
	if !g.cfg.Parts.Has(AcrossDatabases) {
		to.DB = t.DB
	}
	c := Change{Op: OpRename, Renames: [][2]Name{{t.Name, to}}}
	sql := []string{"RENAME TABLE %s TO %s", "ALTER TABLE %s RENAME TO %s", "ALTER TABLE %s RENAME %s"}[g.r.IntN(3)]
	return &ddl{sql: annotate(fmt.Sprintf(sql, t.Name, to), c), probe: Probe{Table: to, Columns: t.names()}, done: func() { t.Name = to }}
}

// swapTables exchanges the names of two tables, as tools for online schema changes do.
func swapTables(g *Generator) *ddl {
	a, b := g.ordinary(), g.ordinary()
	if a == nil || a == b || a.DB != b.DB && !g.cfg.Parts.Has(AcrossDatabases) {
		return nil
	}
	x, y, between := a.Name, b.Name, g.freshName()
	between.DB = x.DB
	c := Change{Op: OpRename, Renames: [][2]Name{{x, between}, {y, x}, {between, y}}}
	sql := fmt.Sprintf("RENAME TABLE %s TO %s, %s TO %s, %s TO %s", x, between, y, x, between, y)
	return &ddl{sql: annotate(sql, c), probe: Probe{Table: x, Columns: b.names()}, done: func() { a.Name, b.Name = y, x }}
}

// altered is an ALTER TABLE after which the table has other columns.
func (g *Generator) altered(t *table, sql string, columns []*column, c Change, done func()) *ddl {
	after := *t
	after.columns = columns
	c.Op, c.Table, c.Columns = OpColumns, t.Name, after.names()
	return &ddl{
		sql:   annotate("ALTER TABLE "+t.Name.String()+" "+sql, c),
		probe: Probe{Table: t.Name, Columns: after.names()},
		done: func() {
			t.columns = columns
			done()
		},
	}
}

func addColumn(g *Generator) *ddl {
	t, c := pick(g.r, g.tables), g.valueColumn()
	if t.bulk || len(t.columns) > 14 || strings.Contains(c.sql, "DEFAULT") {
		return nil
	}
	fill := g.cell(c)
	at, place := len(t.columns), ""
	switch g.r.IntN(4) {
	case 0:
		at, place = 0, " FIRST"
	case 1:
		at = 1 + g.r.IntN(len(t.columns))
		place = " AFTER " + t.columns[at-1].ident()
	}
	if t.hidden && at == 0 {
		return nil // it would stand before the hidden key
	}
	how := ""
	if g.r.IntN(4) == 0 {
		how = ", ALGORITHM=COPY"
	}
	sql := "ADD COLUMN " + c.definition() + place + how
	return g.altered(t, sql, slices.Insert(slices.Clone(t.columns), at, c), Change{Fill: map[string]*string{c.name: fill}}, func() {})
}

// cell chooses what rows that are there get in a new column; nil is NULL.
func (g *Generator) cell(c *column) *string {
	isText := strings.HasPrefix(c.sql, "VARCHAR(200") || strings.HasPrefix(c.sql, "CHAR")
	isNumber := c.fill == "0" && !strings.HasPrefix(c.sql, "FLOAT") && !strings.HasPrefix(c.sql, "BIT")
	switch {
	case g.r.IntN(2) == 0 && (isText || isNumber):
		value := map[bool]string{true: "dflt", false: "5"}[isText]
		c.attribute = "DEFAULT " + quoted(value)
		return &value
	case g.r.IntN(2) == 0 && (isText || c.fill != ""):
		c.notNull = true
		return &c.fill
	}
	return nil
}

func (g *Generator) plainColumn() (*table, *column) {
	t := pick(g.r, g.tables)
	some := t.plain()
	if len(some) == 0 {
		return nil, nil
	}
	return t, pick(g.r, some)
}

func without(columns []*column, c *column) []*column {
	return slices.DeleteFunc(slices.Clone(columns), func(o *column) bool { return o == c })
}

func dropColumn(g *Generator) *ddl {
	t, c := g.plainColumn()
	if t == nil || len(free(t)) < 2 {
		return nil
	}
	return g.altered(t, "DROP COLUMN "+c.ident(), without(t.columns, c), Change{}, func() {
		t.indexes = slices.DeleteFunc(t.indexes, func(i index) bool { return i.column == c })
	})
}

func renameColumn(g *Generator) *ddl {
	t, c := g.plainColumn()
	if t == nil {
		return nil
	}
	fresh := *c
	fresh.name = g.valueColumn().name
	return g.replaceColumn(t, c, &fresh, "RENAME COLUMN "+c.ident()+" TO "+fresh.ident())
}

func (g *Generator) replaceColumn(t *table, c, by *column, sql string) *ddl {
	columns := slices.Clone(t.columns)
	columns[slices.Index(columns, c)] = by
	return g.altered(t, sql, columns, Change{Renamed: map[string]string{by.name: c.name}}, func() {
		for i := range t.indexes {
			if t.indexes[i].column == c {
				t.indexes[i].column = by
			}
		}
	})
}

// wider types print the same values.
var wider = map[string]string{
	"TINYINT": "INT", "INT": "BIGINT", "BIGINT": "VARCHAR(200)", "SMALLINT UNSIGNED": "INT UNSIGNED", "INT UNSIGNED": "BIGINT UNSIGNED", "VARCHAR(200)": "VARCHAR(300)", "TINYTEXT": "TEXT", "TEXT": "LONGTEXT",
	"DECIMAL(30,10)": "DECIMAL(34,10)", "BLOB": "LONGBLOB", "VARBINARY(100)": "VARBINARY(400)", "TINYINT UNSIGNED": "SMALLINT UNSIGNED",
	"SET('a','b','c')": "SET('a','b','c','d','e','f','g','h','i')",
}

func modifyColumn(g *Generator) *ddl {
	t, c := g.plainColumn()
	if t == nil || wider[c.sql] == "" {
		return nil
	}
	typ := *c.columnType
	typ.sql = wider[c.sql]
	by := *c
	by.columnType = &typ
	if g.r.IntN(2) == 0 {
		by.name = g.valueColumn().name
	}
	return g.replaceColumn(t, c, &by, "CHANGE COLUMN "+c.ident()+" "+by.definition())
}

// part is a column in an index, or the beginning of its values; "" if it can be in none.
func part(c *column) string {
	for _, not := range []string{"JSON", "POINT", "VECTOR"} {
		if strings.HasPrefix(c.sql, not) {
			return ""
		}
	}
	if strings.Contains(c.sql, "TEXT") || strings.Contains(c.sql, "BLOB") {
		return c.ident() + "(10)"
	}
	return c.ident()
}

func (g *Generator) same(t *table, sql string, done func()) *ddl {
	return &ddl{
		sql:   annotate(sql, Change{Op: OpNothing, Table: t.Name}),
		probe: Probe{Table: t.Name, Columns: t.names()}, // whether the index is there is not worth knowing
		done:  done,
	}
}

func addIndex(g *Generator) *ddl {
	t, c := g.plainColumn()
	if t == nil || part(c) == "" || len(t.indexes) > 3 {
		return nil
	}
	g.names++
	i := index{name: fmt.Sprintf("i%d", g.names), column: c}
	return g.same(t, fmt.Sprintf("CREATE INDEX %s ON %s (%s)", i.name, t.Name, part(c)), func() { t.indexes = append(t.indexes, i) })
}

func addUnique(g *Generator) *ddl {
	t, c := g.plainColumn()
	if t == nil || part(c) == "" || len(t.uniques) > 1 || t.options != "" {
		return nil
	}
	g.names++
	sql := fmt.Sprintf("ALTER TABLE %s ADD UNIQUE INDEX q%d (%s)", t.Name, g.names, part(c))
	return g.same(t, sql, func() { t.uniques = append(t.uniques, c) })
}

func dropIndex(g *Generator) *ddl {
	t := pick(g.r, g.tables)
	if len(t.indexes) == 0 {
		return nil
	}
	i := pick(g.r, t.indexes)
	return g.same(t, fmt.Sprintf("DROP INDEX %s ON %s", i.name, t.Name), func() {
		t.indexes = slices.DeleteFunc(t.indexes, func(o index) bool { return o == i })
	})
}

func rebuild(g *Generator) *ddl {
	t := pick(g.r, g.tables)
	sql := []string{"ENGINE=InnoDB", "FORCE", "ENGINE=InnoDB, ALGORITHM=COPY", "COMMENT='rebuilt'"}[g.r.IntN(4)]
	return g.same(t, "ALTER TABLE "+t.Name.String()+" "+sql, func() {})
}
