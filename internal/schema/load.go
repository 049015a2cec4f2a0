package schema

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"braid/internal/sqlconn"
)

// Querier runs one statement and returns all rows as text; *sqlconn.Conn is one.
type Querier interface {
	Query(ctx context.Context, sql string) (*sqlconn.Result, error)
}

// ErrNoTable: a table that was asked for does not exist, or is a view.
var ErrNoTable = errors.New("no such base table")

// Load reads the definitions of the named base tables of a database, in the order of the names; of none named, of all, by name. A name that is no base
// table is ErrNoTable. At most seven queries read everything but the CREATE statements, which take one each.
func Load(ctx context.Context, conn Querier, db string, tables []string) ([]*Table, error) {
	l := loader{conn: conn, db: db, where: where(db, tables), byName: make(map[string]*Table)}
	if err := l.load(ctx); err != nil {
		return nil, fmt.Errorf("load schema of %s: %w", db, err)
	}
	out, err := l.pick(tables)
	if err != nil {
		return nil, fmt.Errorf("load schema of %s: %w", db, err)
	}
	for _, t := range out {
		if err := l.create(ctx, t); err != nil {
			return nil, fmt.Errorf("load schema of %s.%s: %w", db, t.Name, err)
		}
	}
	return out, nil
}

// Exists reports whether a base table is there.
func Exists(ctx context.Context, conn Querier, db, table string) (bool, error) {
	res, err := conn.Query(ctx, "SELECT 1 FROM information_schema.TABLES WHERE "+where(db, []string{table})+" AND TABLE_TYPE = 'BASE TABLE'")
	if err != nil {
		return false, fmt.Errorf("look up table %s.%s: %w", db, table, err)
	}
	return len(res.Rows) > 0, nil
}

func where(db string, tables []string) string {
	cond := "TABLE_SCHEMA = " + sqlconn.Quote(db)
	if len(tables) == 0 {
		return cond
	}
	quoted := make([]string, len(tables))
	for i, t := range tables {
		quoted[i] = sqlconn.Quote(t)
	}
	return cond + " AND TABLE_NAME IN (" + strings.Join(quoted, ", ") + ")"
}

type loader struct {
	conn   Querier
	db     string
	where  string
	byName map[string]*Table
}

func (l *loader) load(ctx context.Context) error {
	if err := l.tables(ctx); err != nil {
		return err
	}
	if len(l.byName) == 0 {
		return nil
	}
	if err := l.columns(ctx); err != nil {
		return err
	}
	if err := l.indexes(ctx); err != nil {
		return err
	}
	if err := l.foreignKeys(ctx); err != nil {
		return err
	}
	if err := l.cascades(ctx); err != nil {
		return err
	}
	for _, t := range l.byName {
		if len(t.Columns) == 0 { // dropped between the queries
			delete(l.byName, t.Name)
			continue
		}
		t.setKeys()
	}
	return nil
}

// query calls fn with each row, whose cells have the order of the column list.
func (l *loader) query(ctx context.Context, from, columns, order string, fn func(t *Table, r row) error) error {
	res, err := l.conn.Query(ctx, "SELECT TABLE_NAME, "+columns+" FROM information_schema."+from+" WHERE "+l.where+order)
	if err != nil {
		return fmt.Errorf("read %s: %w", from, err)
	}
	for _, cells := range res.Rows {
		name := string(cells[0])
		if from == "TABLES" {
			l.byName[name] = &Table{DB: l.db, Name: name}
		}
		t := l.byName[name]
		if t == nil { // a view, or a table made between the queries
			continue
		}
		if err := fn(t, row(cells[1:])); err != nil {
			return fmt.Errorf("read %s of table %s: %w", from, name, err)
		}
	}
	return nil
}

func (l *loader) tables(ctx context.Context) error {
	return l.query(ctx, "TABLES", "TABLE_TYPE, ENGINE, TABLE_COLLATION, TABLE_ROWS", "", func(t *Table, r row) error {
		if r.text(0) != "BASE TABLE" {
			delete(l.byName, t.Name)
			return nil
		}
		t.Engine, t.Collation, t.Rows = r.text(1), r.text(2), r.int(3)
		t.Charset, _, _ = strings.Cut(t.Collation, "_")
		return nil
	})
}

func (l *loader) columns(ctx context.Context) error {
	const list = "COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, CHARACTER_SET_NAME, COLLATION_NAME, CHARACTER_MAXIMUM_LENGTH, " +
		"NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION, COLUMN_DEFAULT, EXTRA, GENERATION_EXPRESSION"
	return l.query(ctx, "COLUMNS", list, " ORDER BY TABLE_NAME, ORDINAL_POSITION", func(t *Table, r row) error {
		c, err := column(r)
		t.Columns = append(t.Columns, c)
		return err
	})
}

func column(r row) (c Column, err error) {
	extra := strings.ToUpper(r.text(11))
	c = Column{
		Name: r.text(0), DataType: strings.ToLower(r.text(1)), ColumnType: r.text(2), Nullable: r.text(3) == "YES",
		Charset: r.text(4), Collation: r.text(5), Length: r.int(6), Precision: int(r.int(7)), Scale: int(r.int(8)), Fsp: int(r.int(9)),
		Expression: r.text(12), Invisible: strings.Contains(extra, "INVISIBLE"), AutoIncrement: strings.Contains(extra, "AUTO_INCREMENT"), OnUpdate: strings.Contains(extra, "ON UPDATE"),
		Generated: strings.Contains(extra, "VIRTUAL GENERATED") || strings.Contains(extra, "STORED GENERATED"),
	}
	c.Unsigned = hasWord(c.ColumnType, "unsigned")
	if r[10] != nil {
		text := r.text(10)
		c.Default = &text
	}
	if c.DataType == "enum" || c.DataType == "set" {
		c.EnumValues, err = members(c.ColumnType)
	}
	return c, err
}

func (l *loader) indexes(ctx context.Context) error {
	const list = "INDEX_NAME, NON_UNIQUE, COLUMN_NAME, SUB_PART, COLLATION, EXPRESSION, INDEX_TYPE, IS_VISIBLE"
	return l.query(ctx, "STATISTICS", list, " ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX", func(t *Table, r row) error {
		name := r.text(0)
		if n := len(t.Indexes); n == 0 || t.Indexes[n-1].Name != name {
			t.Indexes = append(t.Indexes, Index{Name: name, Unique: r.text(1) == "0", Kind: r.text(6), Hidden: r.text(7) == "NO"})
		}
		part := IndexPart{Column: -1, Prefix: int(r.int(3)), Descending: r.text(4) == "D", Expression: r.text(5)}
		if r[2] != nil {
			if part.Column = t.Column(r.text(2)); part.Column < 0 {
				return fmt.Errorf("index %s has the column %q, which the table lacks: it changes at this moment", name, r.text(2))
			}
		}
		index := &t.Indexes[len(t.Indexes)-1]
		index.Parts = append(index.Parts, part)
		return nil
	})
}

// setKeys derives the keys that are made of whole columns, and puts the primary key first among the indexes.
func (t *Table) setKeys() {
	slices.SortStableFunc(t.Indexes, func(a, b Index) int { return primaryRank(a) - primaryRank(b) })
	for i := range t.Indexes {
		index := &t.Indexes[i]
		if !index.Unique || index.Name != primaryName && !index.Whole() {
			continue
		}
		columns := make([]int, len(index.Parts))
		for j, p := range index.Parts {
			columns[j] = p.Column
		}
		if index.Name == primaryName {
			t.PrimaryKey = columns // of a prefix, too: whole columns identify a row all the more
			continue
		}
		t.UniqueKeys = append(t.UniqueKeys, columns)
	}
}

const primaryName = "PRIMARY"

func primaryRank(i Index) int {
	if i.Name == primaryName {
		return 0
	}
	return 1
}

func (l *loader) pick(names []string) ([]*Table, error) {
	if len(names) == 0 {
		for name := range l.byName {
			names = append(names, name)
		}
		slices.Sort(names)
	}
	out := make([]*Table, 0, len(names))
	for _, name := range names {
		t := l.byName[name]
		if t == nil {
			return nil, fmt.Errorf("table %s: %w", name, ErrNoTable)
		}
		out = append(out, t)
	}
	return out, nil
}

const errNoSuchTable = 1146

func (l *loader) create(ctx context.Context, t *Table) error {
	res, err := l.conn.Query(ctx, "SHOW CREATE TABLE "+sqlconn.QuoteIdent(l.db)+"."+sqlconn.QuoteIdent(t.Name))
	if sqlconn.ErrCode(err) == errNoSuchTable { // dropped since the queries before
		return fmt.Errorf("%w: %w", ErrNoTable, err)
	}
	if err != nil {
		return err
	}
	if len(res.Rows) != 1 || len(res.Rows[0]) < 2 {
		return fmt.Errorf("SHOW CREATE TABLE has %d rows", len(res.Rows))
	}
	t.CreateStatement = string(res.Rows[0][1])
	return nil
}
