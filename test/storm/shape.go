package storm

import (
	"fmt"

	"braid/internal/sqlconn"
)

// shape makes a table of one kind. The kinds are the cases of key that an applier must tell apart.
type shape func(g *Generator, name Name) *table

var shapes = []shape{
	oneKey, oneKey, twoKeys, twoKeys, uniqueSwap, uniqueSwap, uniqueSwap, nullableUniques, noPrimary, prefixKey, autoIncrement, generatedColumns, functionalUnique,
	partitioned, wideRows, invisible,
}

// keyless are the tables without a key.
var keyless = []shape{noKey, noKey, hiddenKey, nullableKeyOnly}

func (g *Generator) keyColumn(name string) *column {
	return &column{columnType: pick(g.r, keyTypes), name: name, notNull: true}
}

func (g *Generator) integer(name string) *column {
	return &column{columnType: keyTypes[g.r.IntN(2)], name: name, notNull: true}
}

// fill adds columns of any type.
func (g *Generator) fill(t *table, n int) *table {
	for range n {
		t.columns = append(t.columns, g.valueColumn())
	}
	return t
}

// valueColumn has a name that no other column has, some of which must be quoted.
func (g *Generator) valueColumn() *column {
	g.columns++
	name := fmt.Sprintf("c%d", g.columns)
	if g.r.IntN(8) == 0 {
		name = fmt.Sprintf("c %d`ü", g.columns)
	}
	return &column{columnType: pick(g.r, valueTypes), name: name}
}

func primary(columns ...*column) string { return "PRIMARY KEY (" + idents(columns) + ")" }

func oneKey(g *Generator, name Name) *table {
	k := g.keyColumn("k")
	return g.fill(&table{Name: name, columns: []*column{k}, key: []*column{k}, clauses: []string{primary(k)}}, 2+g.r.IntN(4))
}

func twoKeys(g *Generator, name Name) *table {
	k, l := g.keyColumn("k"), g.keyColumn("l")
	t := g.fill(&table{Name: name, columns: []*column{k}, key: []*column{l, k}, clauses: []string{primary(l, k)}}, 2)
	t.columns = append(t.columns, l) // the key is neither in front nor in the table's order
	return t
}

// uniqueSwap has unique values that wander between rows.
func uniqueSwap(g *Generator, name Name) *table {
	k := g.integer("k")
	u, v := &column{columnType: pick(g.r, keyTypes[:3]), name: "u"}, g.keyColumn("v")
	v.notNull = g.r.IntN(2) == 0
	return g.fill(&table{
		Name: name, columns: []*column{k, u, v}, key: []*column{k}, uniques: []*column{u, v},
		clauses: []string{primary(k), "UNIQUE KEY u (`u`)", "UNIQUE KEY v (`v`)"},
	}, 2)
}

func nullableUniques(g *Generator, name Name) *table {
	k := g.keyColumn("k")
	u, v := g.keyColumn("u"), g.keyColumn("v")
	u.notNull, v.notNull = false, false
	t := &table{
		Name: name, columns: []*column{u, v, k}, key: []*column{k}, clauses: []string{primary(k), "UNIQUE KEY uv (`u`, `v`)", "KEY v (`v`)"},
	}
	t.uniques = []*column{u} // together with v; as good for statements that hurt
	return g.fill(t, 2)
}

// noPrimary is identified by a unique key without NULL.
func noPrimary(g *Generator, name Name) *table {
	k, u := g.keyColumn("k"), g.keyColumn("u")
	u.notNull = false
	return g.fill(&table{Name: name, columns: []*column{u, k}, key: []*column{k}, uniques: []*column{u}, clauses: []string{"UNIQUE KEY a (`u`)", "UNIQUE KEY b (`k`)"}}, 2)
}

func prefixKey(g *Generator, name Name) *table {
	k := &column{columnType: keyTypes[3+g.r.IntN(3)], name: "k", notNull: true}
	b := &column{columnType: &columnType{sql: "BLOB", value: bytesOf(6)}, name: "b"}
	return g.fill(&table{
		Name: name, columns: []*column{k, b}, key: []*column{k}, uniques: []*column{b}, clauses: []string{"PRIMARY KEY (`k`(3))", "UNIQUE KEY b (`b`(2))"},
	}, 2)
}

func autoIncrement(g *Generator, name Name) *table {
	k := &column{columnType: keyTypes[0], name: "id", notNull: true, attribute: "AUTO_INCREMENT"}
	u := &column{columnType: keyTypes[3], name: "u"}
	return g.fill(&table{
		Name: name, columns: []*column{k, u}, key: []*column{k}, uniques: []*column{u}, clauses: []string{primary(k), "UNIQUE KEY u (`u`)"},
	}, 3)
}

func generatedColumns(g *Generator, name Name) *table {
	k, n := g.integer("k"), &column{columnType: keyTypes[0], name: "n"}
	virtual := &column{columnType: &columnType{sql: "BIGINT GENERATED ALWAYS AS (`n` * 2) VIRTUAL"}, name: "g", generated: true}
	stored := &column{columnType: &columnType{sql: "VARCHAR(40) GENERATED ALWAYS AS (CONCAT('s', `n` % 10, '-', `k`)) STORED"}, name: "s", generated: true}
	return g.fill(&table{
		Name: name, columns: []*column{virtual, k, n, stored}, key: []*column{k}, uniques: []*column{n},
		clauses: []string{primary(k), "UNIQUE KEY g (`g`)", "UNIQUE KEY s (`s`)"},
	}, 2)
}

func functionalUnique(g *Generator, name Name) *table {
	k, n := g.integer("k"), &column{columnType: keyTypes[2], name: "n"}
	return g.fill(&table{
		Name: name, columns: []*column{k, n}, key: []*column{k}, uniques: []*column{n}, clauses: []string{primary(k), "UNIQUE KEY f ((ABS(`n`)))"},
	}, 2)
}

func partitioned(g *Generator, name Name) *table {
	t := uniqueSwap(g, name)
	t.clauses, t.uniques = t.clauses[:1], nil
	t.options = "PARTITION BY KEY (`k`) PARTITIONS 3"
	for _, c := range t.columns {
		if c.sql == "POINT" { // partitioned tables cannot have any
			c.columnType = jsonType
		}
	}
	return t
}

// wideRows has values of pages of their own.
func wideRows(g *Generator, name Name) *table {
	t := oneKey(g, name)
	for i := range 3 {
		c := g.valueColumn()
		c.columnType = []*columnType{{sql: "LONGTEXT", value: text(20000)}, {sql: "MEDIUMBLOB", value: blob(9000)}, jsonType}[i]
		t.columns = append(t.columns, c)
	}
	return t
}

func invisible(g *Generator, name Name) *table {
	t := oneKey(g, name)
	t.columns = append(t.columns, &column{columnType: keyTypes[0], name: "i", attribute: "DEFAULT 7 INVISIBLE"})
	return t
}

func noKey(g *Generator, name Name) *table {
	k := g.keyColumn("k")
	k.notNull = false
	t := &table{Name: name, columns: []*column{k, {columnType: keyTypes[0], name: "n"}}, key: []*column{k}, endless: true}
	if g.r.IntN(2) == 0 {
		t.clauses = []string{"KEY k (`k`)"}
	}
	return g.fill(t, 1+g.r.IntN(2))
}

func hiddenKey(g *Generator, name Name) *table {
	t := noKey(g, name)
	t.hidden = true
	return t
}

// nullableKeyOnly looks as if it had a key, but NULLs make rows that nothing tells apart.
func nullableKeyOnly(g *Generator, name Name) *table {
	u := g.keyColumn("u")
	u.notNull = false
	return g.fill(&table{
		Name: name, columns: []*column{u, {columnType: keyTypes[0], name: "n"}}, key: []*column{u}, endless: true, clauses: []string{"UNIQUE KEY u (`u`)"},
	}, 1)
}

// bulk is for huge transactions.
func bulk(g *Generator, name Name) *table {
	id := &column{columnType: keyTypes[2], name: "id", notNull: true}
	n := &column{columnType: keyTypes[0], name: "n"}
	v := &column{columnType: &columnType{sql: "VARCHAR(300)", value: text(300)}, name: "v"}
	return &table{Name: name, columns: []*column{id, n, v}, key: []*column{id}, clauses: []string{primary(id), "KEY n (`n`)"}, bulk: true}
}

// family is a parent with children of every action, and a grandchild.
func family(g *Generator, name func() Name) []*table {
	id := &column{columnType: keyTypes[0], name: "id", notNull: true}
	code := &column{columnType: keyTypes[3+g.r.IntN(4)], name: "code"}
	parent := g.fill(&table{Name: name(), columns: []*column{id, code}, key: []*column{id}, uniques: []*column{code},
		clauses: []string{primary(id), "UNIQUE KEY code (`code`)"}, related: true}, 1)
	out := []*table{parent}
	for _, action := range []string{"CASCADE", "SET NULL", "NO ACTION"} {
		for _, to := range []*column{id, code} {
			if to == code && action == "NO ACTION" {
				continue
			}
			out = append(out, child(g, name(), parent, to, action))
		}
	}
	return append(out, child(g, name(), out[1], out[1].key[0], "CASCADE"))
}

func child(g *Generator, name Name, parent *table, to *column, action string) *table {
	id := &column{columnType: keyTypes[0], name: "id", notNull: true}
	ref := &column{columnType: to.columnType, name: "ref"}
	t := &table{Name: name, columns: []*column{id, ref}, key: []*column{id}, uniques: []*column{ref}, related: true}
	t.clauses = []string{primary(id), "KEY ref (`ref`)", fmt.Sprintf("FOREIGN KEY (`ref`) REFERENCES %s (%s) ON DELETE %s ON UPDATE %s",
		parent.Name, sqlconn.QuoteIdent(to.name), action, action)}
	return g.fill(t, 1)
}
