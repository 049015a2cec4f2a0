package storm

import (
	"fmt"
	"strings"
)

// dml makes the statements of one change of a table; nearly always one.
type dml func(g *Generator, t *table) []string

// weighted changes; a change that a table does not allow gives none, and another is tried.
var changes = []struct {
	weight int
	make   dml
}{
	{14, insert}, {6, replace}, {8, upsert}, {14, update}, {6, updateKey}, {5, shiftKeys}, {6, swapUnique}, {3, reverseUnique}, {6, updateUnique},
	{9, remove}, {4, removeMany}, {2, reuse}, {10, updateJSON}, {3, insertSelect}, {2, joinedUpdate}, {1, joinedDelete}, {8, duplicate}, {5, updateTwin}, {6, removeTwin},
}

var changeWeight = func() (sum int) {
	for _, c := range changes {
		sum += c.weight
	}
	return sum
}()

// change makes a random change of a table.
func (g *Generator) change(t *table) []string {
	for {
		n := g.r.IntN(changeWeight)
		for _, c := range changes {
			if n -= c.weight; n < 0 {
				if sql := c.make(g, t); sql != nil {
					return sql
				}
				break
			}
		}
	}
}

func (g *Generator) value(c *column) string {
	if !c.notNull && g.r.IntN(6) == 0 {
		return "NULL"
	}
	return c.value(g.r, g.cfg.Keys)
}

func (g *Generator) tuple(columns []*column) string {
	values := make([]string, len(columns))
	for i, c := range columns {
		values[i] = g.value(c)
	}
	return "(" + strings.Join(values, ", ") + ")"
}

// values lists columns and rows. An AUTO_INCREMENT column is left out sometimes.
func (g *Generator) values(t *table, most int) string {
	columns := t.writable()
	if columns[0].attribute == "AUTO_INCREMENT" && g.r.IntN(3) > 0 {
		columns = columns[1:]
	}
	rows := make([]string, 1+g.r.IntN(most))
	for i := range rows {
		rows[i] = g.tuple(columns)
	}
	return fmt.Sprintf("%s (%s) VALUES %s", t.Name, idents(columns), strings.Join(rows, ", "))
}

// where names a row, or a few.
func (g *Generator) where(t *table) string {
	var conditions []string
	for _, c := range t.key {
		if len(conditions) > 0 && g.r.IntN(3) == 0 {
			break // some of a key
		}
		op := "="
		if g.r.IntN(8) == 0 {
			op = []string{"<=>", "<", ">="}[g.r.IntN(3)]
		}
		conditions = append(conditions, c.ident()+" "+op+" "+c.value(g.r, g.cfg.Keys))
	}
	return strings.Join(conditions, " AND ")
}

// set assigns new values to some columns.
func (g *Generator) set(columns []*column) string {
	n := 1 + g.r.IntN(min(3, len(columns)))
	parts := make([]string, 0, n)
	for _, i := range g.r.Perm(len(columns))[:n] {
		parts = append(parts, columns[i].ident()+" = "+g.value(columns[i]))
	}
	return strings.Join(parts, ", ")
}

// free are the columns that no key has.
func free(t *table) []*column {
	var out []*column
	for _, c := range t.writable() {
		if !t.isKey(c) {
			out = append(out, c)
		}
	}
	return out
}

func (g *Generator) ignore() string {
	if g.r.IntN(3) == 0 {
		return "IGNORE "
	}
	return ""
}

func insert(g *Generator, t *table) []string {
	return []string{"INSERT " + g.ignore() + "INTO " + g.values(t, 5)}
}

func replace(g *Generator, t *table) []string {
	if t.endless {
		return nil
	}
	return []string{"REPLACE INTO " + g.values(t, 4)}
}

func upsert(g *Generator, t *table) []string {
	columns := append(free(t), t.uniques...) // a unique column too: then the update may fail, or hit another row
	if len(columns) == 0 {
		return nil
	}
	c := pick(g.r, columns)
	to := "VALUES(" + c.ident() + ")"
	if g.r.IntN(2) == 0 {
		to = g.value(c)
	}
	return []string{"INSERT " + g.ignore() + "INTO " + g.values(t, 3) + " ON DUPLICATE KEY UPDATE " + c.ident() + " = " + to}
}

func update(g *Generator, t *table) []string {
	columns := free(t)
	if len(columns) == 0 {
		return nil
	}
	sql := fmt.Sprintf("UPDATE %s SET %s WHERE %s", t.Name, g.set(columns), g.where(t))
	if t.endless || g.r.IntN(3) == 0 {
		sql += fmt.Sprintf(" LIMIT %d", 1+g.r.IntN(4))
	}
	return []string{sql}
}

func updateKey(g *Generator, t *table) []string {
	c := pick(g.r, t.key)
	return []string{fmt.Sprintf("UPDATE %s%s SET %s = %s WHERE %s LIMIT %d", g.ignore(), t.Name, c.ident(), g.value(c), g.where(t), 1+g.r.IntN(3))}
}

// shiftKeys gives many rows the key that another had before, in one statement.
func shiftKeys(g *Generator, t *table) []string {
	c := t.key[0]
	if !c.ints || t.endless || len(t.key) > 1 || t.bulk || c.attribute != "" {
		return nil
	}
	return []string{fmt.Sprintf("UPDATE %s SET %[2]s = %[2]s + 1 WHERE %[2]s >= %[3]d AND %[2]s < %[4]d ORDER BY %[2]s DESC",
		t.Name, c.ident(), g.r.IntN(g.cfg.Keys), g.cfg.Keys)}
}

// swapUnique exchanges the unique values of two rows, over a third value.
func swapUnique(g *Generator, t *table) []string {
	if len(t.uniques) == 0 {
		return nil
	}
	u := pick(g.r, t.uniques)
	between := "NULL"
	if u.notNull {
		between = u.value(g.r, g.cfg.Keys)
	}
	one, other := g.where(t), g.where(t)
	return []string{
		"SET @k1 = NULL, @k2 = NULL, @u1 = NULL, @u2 = NULL",
		fmt.Sprintf("SELECT %s, %s INTO @k1, @u1 FROM %s WHERE %s LIMIT 1", t.key[0].ident(), u.ident(), t.Name, one),
		fmt.Sprintf("SELECT %s, %s INTO @k2, @u2 FROM %s WHERE %s LIMIT 1", t.key[0].ident(), u.ident(), t.Name, other),
		fmt.Sprintf("UPDATE %s SET %s = %s WHERE %s = @k1 LIMIT 1", t.Name, u.ident(), between, t.key[0].ident()),
		fmt.Sprintf("UPDATE %s SET %s = @u1 WHERE %s = @k2 AND @k1 <> @k2 LIMIT 1", t.Name, u.ident(), t.key[0].ident()),
		fmt.Sprintf("UPDATE %s SET %s = @u2 WHERE %s = @k1 AND @k1 <> @k2 LIMIT 1", t.Name, u.ident(), t.key[0].ident()),
	}
}

// reverseUnique turns the order of all unique values round: every row gets what another had.
func reverseUnique(g *Generator, t *table) []string {
	for _, u := range t.uniques {
		if u.ints && !t.related {
			return []string{
				fmt.Sprintf("UPDATE %s SET %[2]s = %[2]s + 10000 WHERE %[2]s BETWEEN 0 AND %[3]d", t.Name, u.ident(), g.cfg.Keys),
				fmt.Sprintf("UPDATE %s SET %[2]s = %[3]d - (%[2]s - 10000) WHERE %[2]s >= 10000", t.Name, u.ident(), g.cfg.Keys),
			}
		}
	}
	return nil
}

func updateUnique(g *Generator, t *table) []string {
	if len(t.uniques) == 0 {
		return nil
	}
	u := pick(g.r, t.uniques)
	return []string{fmt.Sprintf("UPDATE %s%s SET %s = %s WHERE %s", g.ignore(), t.Name, u.ident(), g.value(u), g.where(t))}
}

func remove(g *Generator, t *table) []string {
	if t.endless {
		return removeMany(g, t)
	}
	return []string{fmt.Sprintf("DELETE FROM %s WHERE %s", t.Name, g.where(t))}
}

func removeMany(g *Generator, t *table) []string {
	return []string{fmt.Sprintf("DELETE FROM %s WHERE %[2]s IS NULL OR %[2]s >= %[3]s ORDER BY %[2]s LIMIT %[4]d", t.Name, t.key[0].ident(),
		t.key[0].value(g.r, g.cfg.Keys), 1+g.r.IntN(12))}
}

// duplicate makes rows that nothing tells from others of a table without a key.
func duplicate(g *Generator, t *table) []string {
	if !t.endless {
		return nil
	}
	columns := idents(t.writable())
	return []string{fmt.Sprintf("INSERT IGNORE INTO %s (%s) SELECT %s FROM %s WHERE %s LIMIT %d", t.Name, columns, columns, t.Name, g.twins(t), 1+g.r.IntN(3))}
}

// updateTwin changes one of several equal rows, or two, and leaves the others.
func updateTwin(g *Generator, t *table) []string {
	columns := free(t)
	if !t.endless || len(columns) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("UPDATE %s SET %s WHERE %s LIMIT %d", t.Name, g.set(columns), g.twins(t), 1+g.r.IntN(2))}
}

func removeTwin(g *Generator, t *table) []string {
	if !t.endless {
		return nil
	}
	return []string{fmt.Sprintf("DELETE FROM %s WHERE %s LIMIT %d", t.Name, g.twins(t), 1+g.r.IntN(2))}
}

// twins names all rows with one value, or with NULL.
func (g *Generator) twins(t *table) string { return t.key[0].ident() + " <=> " + g.value(t.key[0]) }

// reuse gives away the key and the unique values of rows that die in the same transaction.
func reuse(g *Generator, t *table) []string {
	if t.endless {
		return nil
	}
	return []string{fmt.Sprintf("DELETE FROM %s WHERE %s", t.Name, g.where(t)), "INSERT IGNORE INTO " + g.values(t, 4)}
}

// updateJSON changes documents in place, which the log may tell as differences.
func updateJSON(g *Generator, t *table) []string {
	var sets []string
	for _, c := range t.columns {
		if c.json && (len(sets) == 0 || g.r.IntN(2) == 0) {
			sets = append(sets, c.ident()+" = "+g.jsonChange(c.ident()))
		}
	}
	if len(sets) == 0 {
		return nil
	}
	if others := free(t); g.r.IntN(3) == 0 {
		if c := pick(g.r, others); !c.json {
			sets = append(sets, c.ident()+" = "+g.value(c))
		}
	}
	return []string{fmt.Sprintf("UPDATE %s SET %s WHERE %s LIMIT 20", t.Name, strings.Join(sets, ", "), g.where(t))}
}

var paths = []string{"$.a", "$.b", `$."long name"`, "$.arr[1]", "$.arr[0]", "$.arr[9]", "$.obj.a", "$.obj.obj.b", "$.obj.arr[2]", "$.fresh"}

func (g *Generator) jsonChange(doc string) string {
	path := func() string { return quoted(pick(g.r, paths)) }
	for range 1 + g.r.IntN(3) {
		value := fmt.Sprintf("CAST(%s AS JSON)", quoted(scalar(g.r, g.cfg.Keys)))
		if g.r.IntN(3) == 0 {
			value = []string{"1", "'short'", "NULL", "2.5e0", fmt.Sprintf("REPEAT('r', %d)", g.r.IntN(300))}[g.r.IntN(5)]
		}
		switch g.r.IntN(4) {
		case 0:
			doc = fmt.Sprintf("JSON_REPLACE(%s, %s, %s)", doc, path(), value)
		case 1:
			doc = fmt.Sprintf("JSON_REMOVE(%s, %s)", doc, path())
		default:
			doc = fmt.Sprintf("JSON_SET(%s, %s, %s, %s, %s)", doc, path(), value, path(), number(g.r, g.cfg.Keys))
		}
	}
	return doc
}

// insertSelect copies values from any other table into columns of the same type.
func insertSelect(g *Generator, t *table) []string {
	from := pick(g.r, g.tables)
	k := t.key[0]
	var columns, sources []string
	for _, c := range t.writable() {
		source := g.value(c)
		if c == k && from.key[0].ints && k.ints {
			source = from.key[0].ident()
		}
		columns, sources = append(columns, c.ident()), append(sources, source)
	}
	return []string{fmt.Sprintf("INSERT IGNORE INTO %s (%s) SELECT %s FROM %s LIMIT %d",
		t.Name, strings.Join(columns, ", "), strings.Join(sources, ", "), from.Name, 1+g.r.IntN(4))}
}

func joinedUpdate(g *Generator, t *table) []string {
	other := pick(g.r, g.tables)
	mine, theirs := free(t), free(other)
	if other == t || !t.key[0].ints || !other.key[0].ints || len(mine) == 0 || len(theirs) == 0 || t.endless || other.endless {
		return nil
	}
	c, d := pick(g.r, mine), pick(g.r, theirs)
	return []string{fmt.Sprintf("UPDATE %s a JOIN %s b ON a.%s = b.%s SET a.%s = %s, b.%s = %s WHERE a.%s < %d", t.Name, other.Name, t.key[0].ident(),
		other.key[0].ident(), c.ident(), g.value(c), d.ident(), g.value(d), t.key[0].ident(), g.r.IntN(g.cfg.Keys))}
}

func joinedDelete(g *Generator, t *table) []string {
	other := pick(g.r, g.tables)
	if other == t || !t.key[0].ints || !other.key[0].ints || t.endless || other.endless {
		return nil
	}
	return []string{fmt.Sprintf("DELETE a, b FROM %s a JOIN %s b ON a.%s = b.%s WHERE a.%s BETWEEN %d AND %d", t.Name, other.Name, t.key[0].ident(),
		other.key[0].ident(), t.key[0].ident(), g.r.IntN(g.cfg.Keys), g.r.IntN(g.cfg.Keys))}
}

// huge is a statement of up to Config.HugeRows rows.
func (g *Generator) huge(t *table) []string {
	n := g.cfg.HugeRows/2 + g.r.IntN(g.cfg.HugeRows/2+1)
	series := fmt.Sprintf("WITH RECURSIVE s (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 < %d)", n)
	switch g.r.IntN(4) {
	case 0:
		return []string{fmt.Sprintf("UPDATE %s SET v = CONCAT(%s, id), n = n + 1 LIMIT %d", t.Name, text(200)(g.r, g.cfg.Keys), n)}
	case 1:
		return []string{fmt.Sprintf("DELETE FROM %s ORDER BY id LIMIT %d", t.Name, n)}
	case 2:
		return []string{fmt.Sprintf("UPDATE %s SET id = -1 - id LIMIT %d", t.Name, n/2)}
	}
	return []string{
		fmt.Sprintf("REPLACE INTO %s (id, n, v) %s SELECT i + %d, i %% 10, REPEAT('h', 1 + i %% 200) FROM s", t.Name, series, g.r.IntN(g.cfg.HugeRows)),
	}
}
