package writeset

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"pgregory.net/rapid"

	"braid/internal/rowimage"
	"braid/internal/schema"
)

func intColumn(name string, nullable bool) schema.Column {
	return schema.Column{Name: name, DataType: "int", ColumnType: "int", Nullable: nullable}
}

func textColumn(name, collation string, nullable bool) schema.Column {
	return schema.Column{Name: name, DataType: "varchar", ColumnType: "varchar(20)", Charset: "utf8mb4", Collation: collation, Length: 20, Nullable: nullable}
}

func unique(name string, parts ...schema.IndexPart) schema.Index {
	return schema.Index{Name: name, Unique: true, Parts: parts}
}

func col(i int) schema.IndexPart { return schema.IndexPart{Column: i} }

func table(name string, columns []schema.Column, indexes ...schema.Index) *schema.Table {
	return &schema.Table{DB: "d", Name: name, Engine: "InnoDB", Columns: columns, Indexes: indexes}
}

// column is the model's key over one column.
func column(c int, collation string, prefix int) func(rowimage.Row) (string, bool) {
	return func(r rowimage.Row) (string, bool) {
		if r[c] == nil {
			return "", false
		}
		if collation == "" {
			return string(r[c]), true
		}
		return spell(collation, string(r[c]), prefix), true
	}
}

func both(a, b func(rowimage.Row) (string, bool)) func(rowimage.Row) (string, bool) {
	return func(r rowimage.Row) (string, bool) {
		x, ok1 := a(r)
		y, ok2 := b(r)
		return x + "|" + y, ok1 && ok2
	}
}

func modulo(c, n int) func(rowimage.Row) (string, bool) {
	return func(r rowimage.Row) (string, bool) {
		v, err := strconv.Atoi(string(r[c]))
		return strconv.Itoa(v % n), err == nil
	}
}

// plainTables have keys that are known from the rows: here the tracker must be exact.
func plainTables() map[string]*modelTable {
	const ci, nopad, bin = "utf8mb4_general_ci", "utf8mb4_0900_ai_ci", "utf8mb4_bin"
	keys := table("keys", []schema.Column{intColumn("id", false), textColumn("u", ci, true), intColumn("a", true), textColumn("b", bin, true)},
		unique("PRIMARY", col(0)), unique("u", col(1)), unique("ab", col(2), schema.IndexPart{Column: 3, Prefix: 2}))
	named := table("named", []schema.Column{textColumn("name", nopad, false), intColumn("v", true)}, unique("PRIMARY", col(0)))
	strict := *named
	strict.Name, strict.Indexes = "strict", append(slices.Clone(named.Indexes), unique("v", col(1)))
	loose := strict
	loose.Indexes = named.Indexes
	return map[string]*modelTable{
		"keys": {id: 1, source: keys, target: keys, keys: []modelKey{
			{"PRIMARY", true, column(0, "", 0)}, {"u", true, column(1, ci, 0)}, {"ab", true, both(column(2, "", 0), column(3, bin, 2))},
		}},
		"named": {id: 2, source: named, target: named, keys: []modelKey{{"PRIMARY", true, column(0, nopad, 0)}}},
		"strict": {id: 3, source: &loose, target: &strict, keys: []modelKey{
			{"PRIMARY", true, column(0, nopad, 0)}, {"v", false, column(1, "", 0)},
		}},
	}
}

// allTables add what the tracker can only bound.
func allTables(t *rapid.T) map[string]*modelTable {
	m := plainTables()
	keyless := table("keyless", []schema.Column{intColumn("x", true), intColumn("y", true)})
	m["keyless"] = &modelTable{id: 4, source: keyless, target: keyless}
	functional := table("functional", []schema.Column{intColumn("id", false), intColumn("v", false)},
		unique("PRIMARY", col(0)), unique("f", schema.IndexPart{Column: -1, Expression: "`v` % 3"}))
	m["functional"] = &modelTable{id: 5, source: functional, target: functional,
		keys: []modelKey{{"PRIMARY", true, column(0, "", 0)}, {"f", true, modulo(1, 3)}}}
	partial := table("partial", []schema.Column{intColumn("id", false), intColumn("a", false), intColumn("v", false)},
		unique("PRIMARY", col(0)), unique("f", col(1), schema.IndexPart{Column: -1, Expression: "`v` % 2"}))
	m["partial"] = &modelTable{id: 6, source: partial, target: partial,
		keys: []modelKey{{"PRIMARY", true, column(0, "", 0)}, {"f", true, both(column(1, "", 0), modulo(2, 2))}}}
	loose := table("extra", functional.Columns, unique("PRIMARY", col(0)))
	extra := *functional
	extra.Name = "extra"
	m["extra"] = &modelTable{id: 11, source: loose, target: &extra,
		keys: []modelKey{{"PRIMARY", true, column(0, "", 0)}, {"f", false, modulo(1, 3)}}}
	maps.Copy(m, family(t))
	return m
}

// family is parent and other, child of both, grandchild, and a tree in one table; the actions are drawn.
func family(t *rapid.T) map[string]*modelTable {
	primary := []modelKey{{"PRIMARY", true, column(0, "", 0)}}
	m := map[string]*modelTable{}
	add := func(id uint32, name string, parents ...string) {
		mt := &modelTable{id: id, keys: primary}
		columns := []schema.Column{intColumn("id", false), intColumn("v", true)}
		def := table(name, nil, unique("PRIMARY", col(0)))
		for _, p := range parents {
			action := rapid.SampledFrom([]string{"RESTRICT", "CASCADE", "SET NULL"})
			fk := schema.ForeignKey{Name: name + p, Columns: []int{len(columns)}, RefDB: "d", RefTable: p, RefColumns: []string{"id"},
				OnDelete: action.Draw(t, name+p+" delete"), OnUpdate: action.Draw(t, name+p+" update")}
			mt.fks = append(mt.fks, modelFK{len(columns), p, fk.OnDelete, fk.OnUpdate})
			columns = append(columns, intColumn(p+"_id", true))
			def.ForeignKeys = append(def.ForeignKeys, fk)
		}
		def.Columns = columns
		mt.source, mt.target = def, def
		m[name] = mt
	}
	add(7, "parent")
	add(8, "other")
	add(9, "child", "parent", "other")
	add(10, "grand", "child")
	add(12, "tree", "tree")
	return m
}

// scenario is a history that the source has executed.
type scenario struct {
	model
	txs []Transaction
	// inEvents: the source writes what it cascades into the events.
	inEvents bool
}

func (s *scenario) String() string {
	var b strings.Builder
	for i, tx := range s.txs {
		fmt.Fprintf(&b, "\n%d: clock %d %d..%d", i+1, tx.Clock.File, tx.Clock.LastCommitted, tx.Clock.Sequence)
		for j := range tx.Changes {
			name, _ := s.byID(tx.Changes[j].Table)
			b.WriteString("; " + changeText(name, &tx.Changes[j]))
		}
	}
	return b.String()
}

func drawScenario(t *rapid.T, tables map[string]*modelTable) *scenario {
	s := &scenario{model: model{tables}, inEvents: rapid.Bool().Draw(t, "inEvents")}
	st := &state{rows: map[string][]modelRow{}}
	var held []map[string]bool
	for range rapid.IntRange(2, 9).Draw(t, "transactions") {
		tx, locks := s.drawTransaction(t, &st)
		if len(tx.Changes) > 0 {
			s.txs, held = append(s.txs, tx), append(held, locks)
		}
	}
	s.drawClocks(t, held)
	return s
}

func (s *scenario) drawTransaction(t *rapid.T, st **state) (Transaction, map[string]bool) {
	var tx Transaction
	locks := map[string]bool{}
	for range rapid.IntRange(1, 3).Draw(t, "changes") {
		next := (*st).clone()
		changes := s.drawChanges(t, next)
		ok := true
		for i := range changes {
			before := next.clone()
			if ok = ok && s.apply(next, &changes[i]) == nil; ok {
				s.locks(before, next, locks)
			}
		}
		if ok {
			*st = next
			tx.Changes = append(tx.Changes, changes...)
		}
	}
	return tx, locks
}

func (s *scenario) drawChanges(t *rapid.T, st *state) []Change {
	name := rapid.SampledFrom(s.names()).Draw(t, "table")
	mt, rows := s.tables[name], st.rows[name]
	op := rapid.IntRange(0, 3).Draw(t, "op")
	if len(rows) == 0 || op == 0 {
		return []Change{{Table: mt.id, After: drawRow(t, mt, nil)}}
	}
	before := rows[rapid.IntRange(0, len(rows)-1).Draw(t, "row")].cells
	if op == 1 {
		return s.withCascades(st, name, Change{Table: mt.id, Before: before})
	}
	after := drawRow(t, mt, before)
	if after.Equal(before) { // MySQL does not log those
		return nil
	}
	return s.withCascades(st, name, Change{Table: mt.id, Before: before, After: after})
}

// withCascades puts before a change, in a source that does so, what it does to children: it only knows about deletes of deletes, and gives up
// at anything else.
func (s *scenario) withCascades(st *state, name string, c Change) []Change {
	if !s.inEvents {
		return []Change{c}
	}
	c.Flags = SQLForeignKeys
	if c.After != nil && string(c.After[0]) == string(c.Before[0]) {
		return []Change{c}
	}
	out, ok := s.cascaded(st, name, c.Before[0], map[int]bool{})
	if !ok || c.After != nil && len(out) > 0 {
		return nil
	}
	return append(out, c)
}

// cascaded lists the deletes that the deletion of a row causes, children first.
func (s *scenario) cascaded(st *state, parent string, value []byte, seen map[int]bool) (out []Change, ok bool) {
	for _, name := range s.names() {
		for _, fk := range s.tables[name].fks {
			for _, r := range st.rows[name] {
				if fk.parent != parent || !fk.names(r.cells, value) || seen[r.id] {
					continue
				}
				seen[r.id] = true
				more, ok := s.cascaded(st, name, r.cells[0], seen)
				if !ok || fk.onDelete != "CASCADE" {
					return nil, false
				}
				out = append(append(out, more...), Change{Table: s.tables[name].id, Before: r.cells, Flags: SQLForeignKeys})
			}
		}
	}
	return out, true
}

// drawRow draws a row, or changes some cells of one.
func drawRow(t *rapid.T, mt *modelTable, before rowimage.Row) rowimage.Row {
	row := make(rowimage.Row, len(mt.source.Columns))
	for i := range row {
		c := &mt.source.Columns[i]
		switch {
		case before != nil && rapid.IntRange(0, 2).Draw(t, "keep") > 0:
			row[i] = before[i]
		case c.Nullable && rapid.IntRange(0, 3).Draw(t, "null") == 0:
		case c.DataType == "int":
			row[i] = []byte(strconv.Itoa(rapid.IntRange(0, 4).Draw(t, c.Name)))
		default:
			row[i] = []byte(rapid.SampledFrom(words).Draw(t, c.Name))
		}
	}
	return row
}

// drawClocks gives numbers as the source could have: a transaction that shares a lock with an earlier one has seen it committed.
func (s *scenario) drawClocks(t *rapid.T, held []map[string]bool) {
	file, sn, first := uint64(1), int64(0), 0
	sns := make([]int64, len(s.txs))
	for i := range s.txs {
		if rapid.IntRange(0, 7).Draw(t, "rotate") == 0 {
			file, sn, first = file+1, 0, i
		}
		sn += int64(rapid.IntRange(1, 2).Draw(t, "gap"))
		sns[i] = sn
		low := int64(0)
		for j := first; j < i; j++ {
			if slices.ContainsFunc(slices.Collect(maps.Keys(held[i])), func(l string) bool { return held[j][l] }) {
				low = sns[j]
			}
		}
		if rapid.IntRange(0, 7).Draw(t, "unknown") > 0 {
			s.txs[i].Clock = Clock{File: file, Sequence: sn, LastCommitted: rapid.Int64Range(low, sn-1).Draw(t, "last_committed")}
		}
	}
}
