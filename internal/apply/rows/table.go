package rows

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/internal/writeset"
)

// Mode says what a change finds on the target, and so which statement it becomes.
type Mode uint8

// The modes.
const (
	// Upsert: the table is being copied by the only stream that writes to it. Rows may be missing or there (W1).
	Upsert Mode = iota + 1
	// Strict: the table is copied. A change that does not find what it changes is a divergence, and stops the stream.
	Strict
	// Merge: several streams write to the table. A stream writes only to rows that are its source's, and to keys that are free; a
	// key that another source owns is contested, and the stream's owner keeps the row until it is free.
	Merge
)

// String names the mode.
func (m Mode) String() string {
	return [...]string{"unset", "upsert", "strict", "merge"}[m]
}

// rowAlias names the new row of an upsert. A table of that name would be ambiguous; ours are not called so.
const rowAlias = "_braid_new"

// Table is how rows of a source table are written to its target: the parts of statements that do not change from row to
// row. It is immutable once it is in use.
type Table struct {
	Source *schema.Table // order and types of the cells
	Target *schema.Table
	Mode   Mode

	name   string // quoted, with its database
	key    []int  // columns that identify a row; if there are none, all of its cells do, and any of several equal rows is as good as another
	owner  []int  // columns of the vindex; none unless several sources write here
	rows   bool   // several updates may be one statement: see bulkUpdate
	unique []int  // columns of unique keys other than the one that identifies a row
	opaque bool   // a unique key has parts that are not known from the rows
	write  []int  // columns that are written: generated ones are not
	moving []int  // of these, those that an UPDATE changes if it does not name them
	column []string

	insert, ignore, upsert []byte // heads of an INSERT; the tail of one that replaces what is there
	delete, update         []byte

	native   *native // nil: the SQL writer, for this reason:
	reason   string
	unknown  bool // that is the reason: no row has come yet
	apart    bool // Bind has found no foreign key from or to the target, and nothing else that its rows' order could matter to
	triggers []string

	sourceKeys bool // the target has no foreign key that the source does not have
	more       bool // the target has columns that the source does not know, and whose values are its own
}

// NewTable compiles a table. The target must have every column of the source, with the same type; what it has more must
// be nullable, generated or have a default. A table without a key can only be written in mode Strict. owner names the vindex columns when several sources write to the table.
func NewTable(source, target *schema.Table, owner []string) (*Table, error) {
	if source.Derived {
		source = complete(source, target)
	}
	t := &Table{Source: source, Target: target, Mode: Strict, key: source.KeyColumns()}
	if len(t.key) == 0 && len(owner) > 0 {
		return nil, errs.New(errs.NoPrimaryKey, nil, "table %s has no primary key, nor a unique key without NULLs: rows of several sources cannot be told apart", source.Name)
	}
	t.reason = "it was not asked whether the target takes row events"
	if err := t.match(); err != nil {
		if t.Source = earlier(source, target); !source.Later || t.match() != nil {
			return nil, err
		}
	}
	for _, name := range owner {
		i := source.Column(name)
		if i < 0 {
			return nil, errs.New(errs.BadVSchema, nil, "table %s has no vindex column %s", source.Name, name)
		}
		t.owner = append(t.owner, i)
	}
	t.compile()
	return t, nil
}

// complete fills in what a derived definition cannot know from the target's, which follows the source's: at this place of the stream both are
// the same, or the target was changed by others.
func complete(source, target *schema.Table) *schema.Table {
	whole := *source
	whole.Columns = slices.Clone(source.Columns)
	for i := range whole.Columns {
		c := &whole.Columns[i]
		j := target.Column(c.Name)
		if j < 0 {
			continue
		}
		if d := &target.Columns[j]; stored(c) == stored(d) {
			c.DataType, c.ColumnType, c.Generated, c.Expression, c.AutoIncrement = d.DataType, d.ColumnType, d.Generated, d.Expression, d.AutoIncrement
		}
	}
	whole.ForeignKeys = nil // the binlog does not tell these
	for _, fk := range target.ForeignKeys {
		if fk.Columns = sameColumns(fk.Columns, target, &whole); fk.Columns != nil {
			whole.ForeignKeys = append(whole.ForeignKeys, fk)
		}
	}
	if len(whole.PrimaryKey) == 0 { // other unique keys are not in the binlog: what the definition has of them is of another time
		key := sameColumns(target.PrimaryKey, target, &whole)
		if slices.ContainsFunc(whole.UniqueKeys, func(u []int) bool { return len(u) > 0 && slices.Equal(u, key) }) {
			whole.PrimaryKey = key // the binlog does not say which of the two a key is
		}
		whole.UniqueKeys = nil
		for _, key := range target.UniqueKeys {
			if columns := sameColumns(key, target, &whole); columns != nil {
				whole.UniqueKeys = append(whole.UniqueKeys, columns)
			}
		}
	}
	return &whole
}

// earlier takes how a type is shown from the target's definition, which follows the source's, where the source's may be that of a DDL that is still
// to come (ZEROFILL, BOOLEAN, the kind of a geometry): the binlog does not tell it, and values are the same.
func earlier(source, target *schema.Table) *schema.Table {
	was := *source
	was.Columns = slices.Clone(source.Columns)
	for i := range was.Columns {
		c := &was.Columns[i]
		if j := target.Column(c.Name); j >= 0 && stored(c) == stored(&target.Columns[j]) {
			c.DataType, c.ColumnType = target.Columns[j].DataType, target.Columns[j].ColumnType
		}
	}
	return &was
}

// stored is what two columns must have in common to be one that the binlog has told less of.
func stored(c *schema.Column) string {
	switch c.DataType {
	case "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geomcollection", "geometrycollection":
		return "geometry"
	case "decimal", "bit":
		return fmt.Sprint(c.DataType, c.Unsigned, c.Precision, c.Scale)
	case "char", "varchar", "binary", "varbinary":
		return fmt.Sprint(c.DataType, c.Length, c.Collation)
	case "enum", "set":
		return fmt.Sprintf("%s %q %s", c.DataType, c.EnumValues, c.Collation)
	}
	return fmt.Sprint(c.DataType, c.Unsigned, c.Fsp, c.Collation)
}

// sameColumns finds a key's columns by name; nil if one is not there.
func sameColumns(key []int, from, to *schema.Table) []int {
	columns := make([]int, 0, len(key))
	for _, k := range key {
		i := to.Column(from.Columns[k].Name)
		if i < 0 {
			return nil
		}
		columns = append(columns, i)
	}
	return columns
}

// match compares both definitions. Its error shows both sides.
func (t *Table) match() error {
	var diffs []string
	for i := range t.Source.Columns {
		s := &t.Source.Columns[i]
		j := t.Target.Column(s.Name)
		if j < 0 {
			if !s.Generated {
				diffs = append(diffs, fmt.Sprintf("%s: source %s, target has no such column", s.Name, describe(s)))
			}
			continue
		}
		if d := &t.Target.Columns[j]; describe(s) != describe(d) {
			diffs = append(diffs, fmt.Sprintf("%s: source %s, target %s", s.Name, describe(s), describe(d)))
		}
	}
	for j := range t.Target.Columns {
		d := &t.Target.Columns[j]
		if t.Source.Column(d.Name) < 0 && !d.Generated && !d.Nullable && d.Default == nil && !d.AutoIncrement {
			diffs = append(diffs, fmt.Sprintf("%s: source has no such column, target %s, without a default", d.Name, describe(d)))
		}
	}
	if s, d := columnNames(t.Source, t.key), columnNames(t.Target, t.Target.KeyColumns()); !strings.EqualFold(s, d) {
		diffs = append(diffs, fmt.Sprintf("key: source (%s), target (%s)", s, d))
	}
	if len(diffs) == 0 {
		return nil
	}
	return errs.New(errs.TableDiffers, nil, "table %s differs between source and target: %s", t.Target.Name, strings.Join(diffs, "; "))
}

// describe is what must be equal on both sides for cells to be exchanged unchanged, and for keys to be in the same order.
func describe(c *schema.Column) string {
	s := c.ColumnType
	if c.Collation != "" {
		s += " collate " + c.Collation
	}
	if c.Generated {
		s += " generated"
	}
	return s
}

func columnNames(t *schema.Table, columns []int) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = t.Columns[c].Name
	}
	return strings.Join(names, ", ")
}

func (t *Table) compile() {
	t.name = sqlconn.QuoteIdent(t.Target.DB) + "." + sqlconn.QuoteIdent(t.Target.Name)
	t.column = make([]string, len(t.Source.Columns))
	var names, sets []string
	for i := range t.Source.Columns {
		c := &t.Source.Columns[i]
		t.column[i] = sqlconn.QuoteIdent(c.Name)
		if c.Generated {
			continue
		}
		t.write = append(t.write, i)
		if j := t.Target.Column(c.Name); t.Target.Columns[j].OnUpdate {
			t.moving = append(t.moving, i)
		}
		names = append(names, t.column[i])
		sets = append(sets, t.column[i]+"="+rowAlias+"."+t.column[i])
	}
	t.insert = []byte("INSERT INTO " + t.name + " (" + strings.Join(names, ",") + ") VALUES ")
	t.upsert = []byte(" AS " + rowAlias + " ON DUPLICATE KEY UPDATE " + strings.Join(sets, ","))
	t.ignore = []byte("INSERT IGNORE" + string(t.insert[len("INSERT"):]))
	t.sourceKeys = hasForeignKeys(t.Source, t.Target)
	for i := range t.Target.Columns {
		if c := &t.Target.Columns[i]; !c.Generated && t.Source.Column(c.Name) < 0 {
			t.more = true
		}
	}
	t.rows = true
	for i := range t.Target.Indexes {
		if x := &t.Target.Indexes[i]; x.Unique && x.Name != "PRIMARY" {
			t.rows = false
			t.addUnique(x)
		}
	}
	t.delete = []byte("DELETE FROM " + t.name + " WHERE ")
	t.update = []byte("UPDATE " + t.name + " SET ")
}

// addUnique notes which changes touch a unique key.
func (t *Table) addUnique(x *schema.Index) {
	for _, p := range x.Parts {
		if p.Column < 0 {
			t.opaque = true
			continue
		}
		c := t.Source.Column(t.Target.Columns[p.Column].Name)
		if t.opaque = t.opaque || c < 0; c >= 0 && !slices.Contains(t.unique, c) {
			t.unique = append(t.unique, c)
		}
	}
}

// touchesUnique says that an update may take or free a place in a unique key beside the one that identifies the row.
func (t *Table) touchesUnique(before, after rowimage.Row) bool {
	for _, c := range t.unique {
		if !sameCell(before[c], after[c]) {
			return true
		}
	}
	return t.opaque
}

// crowded says that two rows with different keys, byte by byte, cannot always be there together: there is another unique key, or a
// collation that calls different bytes equal.
func (t *Table) crowded() bool {
	if t.opaque || len(t.unique) > 0 {
		return true
	}
	return slices.ContainsFunc(t.key, func(c int) bool { return t.Source.Columns[c].Charset != "" })
}

// checks says whether the target has to look at foreign keys for a change. Since MySQL 9.6 the source does what they say in its SQL layer: what
// a change cascades to is in the binlog, before it, and must not be done again.
func (t *Table) checks(flags writeset.RowFlags) bool {
	return flags&writeset.NoForeignKeyChecks == 0 && (flags&writeset.SQLForeignKeys == 0 || !t.sourceKeys)
}

// hasForeignKeys says that every foreign key of the target is one of the source's.
func hasForeignKeys(source, target *schema.Table) bool {
	for i := range target.ForeignKeys {
		fk := &target.ForeignKeys[i]
		if !slices.ContainsFunc(source.ForeignKeys, func(s schema.ForeignKey) bool {
			return strings.EqualFold(columnNames(source, s.Columns), columnNames(target, fk.Columns)) &&
				slices.EqualFunc(s.RefColumns, fk.RefColumns, strings.EqualFold) && s.OnDelete == fk.OnDelete && s.OnUpdate == fk.OnUpdate
		}) {
			return false
		}
	}
	return true
}

// Bind asks the target what decides how the table is written: its triggers, and the foreign keys that refer to it. layout is the body of
// the source's TABLE_MAP event, or nil. refusal is why the target takes no row events (Refusal); "" where it does.
func (t *Table) Bind(ctx context.Context, conn *sqlconn.Conn, layout []byte, refusal string) error {
	db, name := sqlconn.Quote(t.Target.DB), sqlconn.Quote(t.Target.Name)
	// One query for both: there may be thousands of tables.
	res, err := conn.Query(ctx, "SELECT '', COUNT(*) FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE UNIQUE_CONSTRAINT_SCHEMA="+db+" AND REFERENCED_TABLE_NAME="+name+
		" UNION ALL (SELECT TRIGGER_NAME, 0 FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA="+db+" AND EVENT_OBJECT_TABLE="+name+" ORDER BY 1)")
	if err != nil {
		return fmt.Errorf("triggers of %s, and foreign keys that refer to it: %w", t.name, err)
	}
	t.apart = len(t.Target.ForeignKeys) == 0 && string(res.Rows[0][1]) == "0"
	t.triggers = nil
	for _, row := range res.Rows[1:] {
		t.triggers = append(t.triggers, string(row[0]))
	}
	if refusal != "" {
		t.native, t.reason = nil, refusal
		return nil
	}
	if t.native, err = newNative(t, layout); err != nil {
		t.native, t.reason = nil, err.Error()
	}
	t.unknown = errors.Is(err, errNoLayout)
	return nil
}

// Undecided says that nothing stands against the native writer but that the stream has not told the layout of the rows. It does with the
// first row.
func (t *Table) Undecided() bool { return t.unknown && t.Mode != Merge }

// Writer names the writer, "native" or "sql", and the reason if it is not the native one. A session whose account has lost the privileges
// writes with SQL all the same; see Session.Native.
func (t *Table) Writer() (name, reason string) {
	switch {
	case t.Mode == Merge:
		return "sql", "several streams write to the table, and each row's owner has to be looked at"
	case t.native == nil:
		return "sql", t.reason
	}
	return "native", ""
}

// Triggers are the names of the target's triggers. The source's own are in its binlog as changes of rows; the target's must not do it
// again. The native writer does not fire them, the SQL writer does.
func (t *Table) Triggers() []string { return t.triggers }

// useNative says whether a session that may send row events writes the table with them.
func (t *Table) useNative() bool { return t.native != nil && t.Mode != Merge }

// folds says that of several changes of a row only the outcome has to be written, and of several tables one after the other. foreignKeys
// says that the target looks at foreign keys for the change.
func (t *Table) folds(foreignKeys bool) bool {
	return t.Mode != Merge && len(t.key) > 0 && !t.more && (t.apart || !foreignKeys) && (len(t.triggers) == 0 || t.useNative())
}

// Name is the target's name, quoted, with its database.
func (t *Table) Name() string { return t.name }

// KeyColumns are the columns that identify a row, as indexes into the source's columns.
func (t *Table) KeyColumns() []int { return t.key }

// Key returns the key cells of a row; they share its memory.
func (t *Table) Key(row rowimage.Row) rowimage.Row {
	key := make(rowimage.Row, len(t.key))
	for i, c := range t.key {
		key[i] = row[c]
	}
	return key
}

// FormatKey writes a key for people: (id=4711, region='eu').
func (t *Table) FormatKey(key rowimage.Row) string { return t.format(t.key, key) }

// formatKeyOf is FormatKey for a row; one without a key is shown whole.
func (t *Table) formatKeyOf(row rowimage.Row) string {
	if len(t.key) == 0 {
		return t.FormatRow(row)
	}
	return t.FormatKey(t.Key(row))
}

func (t *Table) format(columns []int, cells rowimage.Row) string {
	dst := []byte{'('}
	for i, c := range columns {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if len(dst) > shownRow {
			return string(append(dst, "…)"...))
		}
		dst = append(append(dst, t.Source.Columns[c].Name...), '=')
		cell, cut := cells[i], ""
		if len(cell) > shownCell && len(columns) > len(t.key) {
			cell, cut = cell[:shownCell], "…"
		}
		switch {
		case cell == nil:
			dst = append(dst, "NULL"...)
		case t.Source.Columns[c].Charset != "" || strings.Contains(t.Source.Columns[c].DataType, "binary"):
			dst = append(sqlconn.AppendQuoted(dst, cell), cut...)
		default:
			dst = append(append(dst, cell...), cut...)
		}
	}
	return string(append(dst, ')'))
}
