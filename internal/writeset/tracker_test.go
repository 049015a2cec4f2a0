package writeset

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/rowimage"
	"braid/internal/schema"
)

// row makes cells of texts; "NULL" is NULL.
func row(cells ...string) rowimage.Row {
	r := make(rowimage.Row, len(cells))
	for i, c := range cells {
		if c != "NULL" {
			r[i] = []byte(c)
		}
	}
	return r
}

func insertOf(table uint32, cells ...string) Change {
	return Change{Table: table, After: row(cells...)}
}
func deleteOf(table uint32, cells ...string) Change {
	return Change{Table: table, Before: row(cells...)}
}

func add(tr *Tracker, changes ...Change) Dependency {
	d := tr.Add(&Transaction{Changes: changes})
	d.Preds = slices.Clone(d.Preds)
	return d
}

// ordered reports whether the second of two transactions follows the first.
func ordered(tables []*schema.Table, first, second Change) bool {
	tr := New(Config{})
	for i, def := range tables {
		tr.SetTable(uint32(i+1), def, nil)
	}
	add(tr, first)
	d := add(tr, second)
	return len(d.Preds) > 0 || d.Floor > 0
}

// TestFourInserts: four transactions of one client, each one row. The source committed them one after the other, so its commit order gives
// four groups; no two have a key in common, so write sets give one.
func TestFourInserts(t *testing.T) {
	for mode, groups := range map[Mode][][]uint64{
		Writeset:     {{1, 2, 3, 4}},
		LogicalClock: {{1}, {2}, {3}, {4}},
		Database:     {{1}, {2}, {3}, {4}},
		Serial:       {{1}, {2}, {3}, {4}},
	} {
		t.Run(mode.String(), func(t *testing.T) {
			tr := New(Config{Mode: mode})
			tr.SetTable(1, table("t", []schema.Column{intColumn("id", false)}, unique("PRIMARY", col(0))), nil)
			var g Graph
			for i, id := range []string{"1", "2", "3", "4"} {
				d := tr.Add(&Transaction{
					Header:  Header{Clock: Clock{File: 1, LastCommitted: int64(i), Sequence: int64(i + 1)}},
					Changes: []Change{insertOf(1, id)},
				})
				g.Add(&d, 1)
			}
			require.Equal(t, groups, g.Groups())
			require.Equal(t, len(groups), g.Shape().Waves)
		})
	}
}

// TestAsMySQL: what MySQL's own write sets say of the tables of its test rpl_transaction_write_set_extraction.
func TestAsMySQL(t *testing.T) {
	char := func(name string, nullable bool) schema.Column {
		return schema.Column{Name: name, DataType: "binary", ColumnType: "binary(1)", Length: 1, Nullable: nullable}
	}
	reference := func(column int, table, parent string) schema.ForeignKey {
		return schema.ForeignKey{Name: table, Columns: []int{column}, RefDB: "d", RefTable: table, RefColumns: []string{parent}, OnDelete: "NO ACTION", OnUpdate: "NO ACTION"}
	}
	t1 := table("t1", []schema.Column{char("a", false)}, unique("PRIMARY", col(0)))
	t2 := table("t2", []schema.Column{char("c1", false), char("c2", true), char("c3", true)}, unique("PRIMARY", col(0)), unique("c2", col(1)), unique("c3", col(2)))
	t3 := table("t3", []schema.Column{char("c1", false), char("c2", false)}, unique("PRIMARY", col(0), col(1)), unique("c2", col(1)))
	t3.ForeignKeys = []schema.ForeignKey{reference(0, "t1", "a"), reference(1, "t2", "c1")}
	tables := []*schema.Table{t1, t2, t3}
	for name, c := range map[string]struct {
		first, second Change
		ordered       bool
	}{
		"the same primary key":                {insertOf(1, "1"), deleteOf(1, "1"), true},
		"another primary key":                 {insertOf(1, "1"), insertOf(1, "2"), false},
		"a unique key":                        {deleteOf(2, "1", "2", "3"), insertOf(2, "2", "2", "4"), true},
		"another unique key with that value":  {insertOf(2, "1", "2", "3"), insertOf(2, "2", "3", "2"), false},
		"NULL in a unique key":                {insertOf(2, "1", "NULL", "3"), insertOf(2, "2", "NULL", "4"), false},
		"one of two columns":                  {insertOf(3, "1", "5"), insertOf(3, "1", "6"), false},
		"the other unique column":             {insertOf(3, "1", "5"), insertOf(3, "2", "5"), true},
		"a child and its first parent":        {insertOf(1, "1"), insertOf(3, "1", "5"), true},
		"a child and its second parent":       {insertOf(2, "5", "NULL", "NULL"), insertOf(3, "1", "5"), true},
		"a child and another parent":          {insertOf(1, "2"), insertOf(3, "1", "5"), false},
		"a child that leaves, and its parent": {deleteOf(3, "1", "5"), deleteOf(1, "1"), true},
		"two children of one parent":          {insertOf(3, "1", "5"), insertOf(3, "1", "6"), false},
		"before image of an update":           {Change{Table: 1, Before: row("1"), After: row("2")}, insertOf(1, "1"), true},
		"after image of an update":            {Change{Table: 1, Before: row("1"), After: row("2")}, deleteOf(1, "2"), true},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.ordered, ordered(tables, c.first, c.second)) })
	}
}

// TestEqualInIndex: values that an index holds equal, in pairs.
func TestEqualInIndex(t *testing.T) {
	typed := func(dataType, columnType, charset, collation string) schema.Column {
		return schema.Column{DataType: dataType, ColumnType: columnType, Charset: charset, Collation: collation, Length: 20}
	}
	latin1, utf8 := "latin1", "utf8mb4"
	for name, c := range map[string]struct {
		column schema.Column
		prefix int
		a, b   string
		equal  bool
	}{
		"int":                       {typed("int", "int", "", ""), 0, "7", "7", true},
		"int differs":               {typed("int", "int", "", ""), 0, "7", "-7", false},
		"zerofill":                  {typed("int", "int(4) unsigned zerofill", "", ""), 0, "0007", "7", true},
		"minus zero":                {typed("double", "double", "", ""), 0, "-0", "0", true},
		"double differs":            {typed("double", "double", "", ""), 0, "-1", "1", false},
		"decimal scale":             {typed("decimal", "decimal(9,3)", "", ""), 0, "1.500", "1.5", true},
		"decimal zero":              {typed("decimal", "decimal(9,3)", "", ""), 0, "-0.000", "0", true},
		"decimal sign":              {typed("decimal", "decimal(9,3)", "", ""), 0, "-0.5", "0.5", false},
		"decimal tens":              {typed("decimal", "decimal(9,0)", "", ""), 0, "10", "1", false},
		"fraction":                  {typed("datetime", "datetime(3)", "", ""), 0, "2024-01-01 00:00:10.500", "2024-01-01 00:00:10.5", true},
		"seconds":                   {typed("datetime", "datetime", "", ""), 0, "2024-01-01 00:00:10", "2024-01-01 00:00:1", false},
		"binary padding":            {typed("binary", "binary(4)", "", ""), 0, "a\x00\x00\x00", "a", true},
		"varbinary":                 {typed("varbinary", "varbinary(4)", "", ""), 0, "a\x00", "a", false},
		"blob prefix":               {typed("blob", "blob", "", ""), 3, "abc1", "abc2", true},
		"blob prefix in bytes":      {typed("blob", "blob", "", ""), 3, "áa1", "áb2", false},
		"text prefix in characters": {typed("text", "text", utf8, "utf8mb4_bin"), 3, "áéí1", "áéí2", true},
		"prefix differs":            {typed("text", "text", utf8, "utf8mb4_bin"), 4, "áéí1", "áéí2", false},
		"case":                      {typed("varchar", "varchar(20)", utf8, "utf8mb4_0900_ai_ci"), 0, "Straße", "STRASSE", true},
		"accents":                   {typed("varchar", "varchar(20)", utf8, "utf8mb4_0900_as_ci"), 0, "e", "é", false},
		"accents do not matter":     {typed("varchar", "varchar(20)", utf8, "utf8mb4_0900_ai_ci"), 0, "e", "é", true},
		"no pad":                    {typed("varchar", "varchar(20)", utf8, "utf8mb4_0900_ai_ci"), 0, "a", "a ", false},
		"char is padded":            {typed("char", "char(20)", utf8, "utf8mb4_0900_ai_ci"), 0, "a", "a ", true},
		"pad space":                 {typed("varchar", "varchar(20)", utf8, "utf8mb4_general_ci"), 0, "a", "A  ", true},
		"padding is not any space":  {typed("varchar", "varchar(20)", utf8, "utf8mb4_general_ci"), 0, "a", "a\t", false},
		"ignorable after padding":   {typed("varchar", "varchar(20)", utf8, "utf8mb4_unicode_ci"), 0, "a", "a \x01", true},
		"latin1":                    {typed("varchar", "varchar(20)", latin1, "latin1_swedish_ci"), 0, "\xe9", "E", true},
		"latin1 binary":             {typed("varchar", "varchar(20)", latin1, "latin1_bin"), 0, "a", "A", false},
		"utf16 padding":             {typed("varchar", "varchar(20)", "utf16", "utf16_general_ci"), 0, "\x00a\x00 ", "\x00A", true},
		"unknown collation":         {typed("varchar", "varchar(20)", "klingon", "klingon_ci"), 0, "a", "b", true},
		"json":                      {typed("json", "json", "", ""), 0, "1", "2", true},
		"invalid text":              {typed("varchar", "varchar(20)", utf8, "utf8mb4_bin"), 0, "a", "\xff", true},
		"enum":                      {typed("enum", "enum('a','b')", "", ""), 0, "1", "2", false},
	} {
		t.Run(name, func(t *testing.T) {
			c.column.Name = "c"
			def := table("t", []schema.Column{c.column}, unique("PRIMARY", schema.IndexPart{Prefix: c.prefix}))
			tables := []*schema.Table{def}
			require.Equal(t, c.equal, ordered(tables, insertOf(1, c.a), insertOf(1, c.b)))
			require.Equal(t, c.equal, ordered(tables, insertOf(1, c.b), insertOf(1, c.a)))
			require.True(t, ordered(tables, insertOf(1, c.b), deleteOf(1, c.b)))
		})
	}
}

// TestSwap: transactions that pass unique values around follow each other through before and after images.
func TestSwap(t *testing.T) {
	tr := New(Config{})
	tr.SetTable(1, table("t", []schema.Column{intColumn("id", false), intColumn("u", true)}, unique("PRIMARY", col(0)), unique("u", col(1))), nil)
	add(tr, insertOf(1, "1", "1"))
	add(tr, insertOf(1, "2", "2"))
	d := add(tr, Change{Table: 1, Before: row("1", "1"), After: row("1", "9")}, Change{Table: 1, Before: row("2", "2"), After: row("2", "1")},
		Change{Table: 1, Before: row("1", "9"), After: row("1", "2")})
	require.Equal(t, Dependency{Seq: 3, Preds: []uint64{2, 1}}, d)
	require.Equal(t, []uint64{3}, add(tr, insertOf(1, "3", "9")).Preds, "a value that was there only inside of a transaction")
	require.Equal(t, []uint64{3}, add(tr, deleteOf(1, "2", "1")).Preds, "what it implies is not repeated")
}

// TestWideTransaction: one that changes very many rows of a table takes all of it, and leaves the history to others.
func TestWideTransaction(t *testing.T) {
	tr := New(Config{wideRows: 2})
	for id := range uint32(2) {
		tr.SetTable(id+1, table(fmt.Sprintf("t%d", id), []schema.Column{intColumn("id", false)}, unique("PRIMARY", col(0))), nil)
	}
	add(tr, insertOf(1, "100"))
	add(tr, insertOf(2, "100"))
	d := add(tr, insertOf(1, "1"), insertOf(1, "2"), insertOf(1, "3"), insertOf(1, "4"), insertOf(2, "1"))
	require.Equal(t, []uint64{1}, d.Preds, "who had other rows of the table")
	require.Equal(t, []uint64{3}, add(tr, insertOf(1, "200")).Preds, "another row of the table")
	require.Equal(t, []uint64{3}, add(tr, deleteOf(2, "1")).Preds, "its row of a table of which it changed few")
	require.Empty(t, add(tr, insertOf(2, "2")).Preds, "another row of that table")
	require.Len(t, tr.history.young.entries, 7, "rows 3 and 4 are not remembered")
}

// TestBetweenDefinitions: keys of both sides count, each by its own rules.
func TestBetweenDefinitions(t *testing.T) {
	id, name := intColumn("id", false), textColumn("name", "utf8mb4_bin", true)
	source := table("t", []schema.Column{id, name}, unique("PRIMARY", col(0)))
	second := func(target *schema.Table, a, b Change) Dependency {
		tr := New(Config{})
		tr.SetTable(1, source, target)
		add(tr, a)
		return add(tr, b)
	}
	ci := textColumn("name", "utf8mb4_general_ci", true)
	target := table("t", []schema.Column{ci, id}, unique("name", col(0))) // without the primary key, in another order
	require.Equal(t, []uint64{1}, second(target, insertOf(1, "1", "a"), insertOf(1, "2", "A")).Preds, "unique on the target only")
	require.Equal(t, []uint64{1}, second(target, insertOf(1, "1", "a"), deleteOf(1, "1", "b")).Preds, "primary on the source only")
	require.Empty(t, second(target, insertOf(1, "1", "a"), insertOf(1, "2", "b")).Preds)

	narrow := textColumn("name", "utf8mb4_bin", true)
	narrow.Length = 2
	target = table("t", []schema.Column{id, narrow}, unique("PRIMARY", col(0)), unique("name", col(1)))
	require.Equal(t, []uint64{1}, second(target, insertOf(1, "1", "abc"), insertOf(1, "2", "abd")).Preds, "the target cuts them")

	number := intColumn("n", false)
	number.AutoIncrement = true
	target = table("t", []schema.Column{number, id, name}, unique("PRIMARY", col(0)))
	require.Equal(t, []uint64{1}, second(target, insertOf(1, "1", "a"), insertOf(1, "2", "b")).Preds, "the target numbers them")

	required := id
	target = table("t", []schema.Column{required, {Name: "name", DataType: "varchar", ColumnType: "varchar(20)", Charset: "utf8mb4", Collation: "utf8mb4_bin", Length: 20}},
		unique("PRIMARY", col(0)), unique("name", col(1)))
	require.Equal(t, []uint64{1}, second(target, insertOf(1, "1", "NULL"), insertOf(1, "2", "")).Preds, "the target stores something else than NULL")
}

// TestCoarse: why a table is one token.
func TestCoarse(t *testing.T) {
	id, v := intColumn("id", false), intColumn("v", true)
	expression := schema.IndexPart{Column: -1, Expression: "cast(`tags` as unsigned array)"}
	for name, c := range map[string]struct {
		def  *schema.Table
		want string
	}{
		"key":        {table("t", []schema.Column{id}, unique("PRIMARY", col(0))), ""},
		"no key":     {table("t", []schema.Column{id}), "no key identifies a row"},
		"nullable":   {table("t", []schema.Column{v}, unique("v", col(0))), "no key identifies a row"},
		"expression": {table("t", []schema.Column{id, v}, unique("PRIMARY", col(0)), unique("mv", expression)), "the entries of unique key mv are not known from the rows"},
		"partly":     {table("t", []schema.Column{id, v}, unique("PRIMARY", col(0)), unique("mv", col(1), expression)), ""},
		"hand-made":  {&schema.Table{DB: "d", Name: "t", Columns: []schema.Column{id, v}, PrimaryKey: []int{0}, UniqueKeys: [][]int{{1}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tr := New(Config{})
			tr.SetTable(1, c.def, nil)
			require.Equal(t, c.want, tr.Coarse(1))
		})
	}
	require.NotEmpty(t, New(Config{}).Coarse(1))
}

// A column of a unique key that the target computes otherwise may be NULL on the source only: the target has an entry all the same.
func TestNullThatTheTargetDoesNotHave(t *testing.T) {
	col := func(name, expr string, null bool) schema.Column {
		return schema.Column{Name: name, DataType: "bigint", ColumnType: "bigint", Generated: expr != "", Expression: expr, Nullable: null}
	}
	def := func(expr string) *schema.Table {
		return &schema.Table{DB: "d", Name: "t", Engine: "InnoDB", PrimaryKey: []int{0}, UniqueKeys: [][]int{{1, 2}},
			Columns: []schema.Column{col("id", "", false), col("a", "", true), col("g", expr, true)},
			Indexes: []schema.Index{{Name: "PRIMARY", Unique: true, Parts: []schema.IndexPart{{Column: 0}}}, {Name: "u", Unique: true, Parts: []schema.IndexPart{{Column: 1}, {Column: 2}}}}}
	}
	tr := New(Config{})
	tr.SetTable(1, def("(null)"), def("(1)"))
	add(tr, deleteOf(1, "1", "5", "NULL"))
	second := add(tr, insertOf(1, "2", "5", "NULL")) // takes the place (5, 1)
	require.Contains(t, append(second.Preds, second.Floor), uint64(1))
}
