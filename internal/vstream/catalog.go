package vstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/binlog"
	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/rowimage"
	"braid/internal/schema"
)

const (
	sidecar         = "_braid"
	dependencyTable = "dependency"
)

// table is a followed table at one definition. A DDL makes a new one with the same id.
type table struct {
	id   uint32
	name string // as the stream's rules call it
	def  *schema.Table
	plan *filter.Plan
	key  []int // columns that identify a row; empty if nothing does
	sent bool  // described on the stream

	// until is the end of the log when the definition was read: a DDL up to there may be in it. Zero: it is the one of this point of the stream.
	until binlog.Coordinates

	layout []byte // body of the TABLE_MAP event that was described; nil: none yet
}

// compiled is what a table map decodes with. For the table of dependencies only decoder is set, and gtidColumn.
type compiled struct {
	decoder    *rowimage.Decoder
	table      *table
	gtidColumn int    // of _braid.dependency; else -1
	layout     []byte // body of the TABLE_MAP event
}

// compiled is what a table map of this definition decodes with. Maps that differ in nothing but their id have one layout.
func (t *table) compiled(d *rowimage.Decoder, tm *binlog.TableMap) *compiled {
	k := &compiled{decoder: d, table: t, gtidColumn: -1, layout: tm.Body}
	const id = 6
	if len(t.layout) > id && bytes.Equal(t.layout[id:], tm.Body[id:]) {
		k.layout = t.layout
	}
	return k
}

// described says that the stream has told the definition, and the layout of the rows.
func (k *compiled) described() bool {
	t := k.table
	return t.sent && len(t.layout) > 0 && &t.layout[0] == &k.layout[0]
}

// item describes the table on the stream.
func (t *table) item() *Table {
	return &Table{ID: t.id, Target: t.plan.Target, TargetDB: t.plan.TargetDB, Def: t.def, Map: t.layout}
}

// catalog has the definitions that a stream decodes with. It belongs to the goroutine that calls Recv.
type catalog struct {
	db    string
	rules filter.Rules
	definitions
	// received is what has passed on the stream, the transaction that is being decoded included. A DDL passes before the server shows
	// the new definition; only when its GTID is executed may the definition be read.
	received func() gtid.Set
	passed   func() binlog.Coordinates // the end of what passed last
	ahead    ahead

	collations map[uint64]collation // read when needed

	tables map[string]*table // by name
	loads  int               // how many were read for themselves
	ids    map[string]uint32
	maps   map[*binlog.TableMap]*compiled
}

// definitions are what a catalog reads from the source.
type definitions interface {
	// load reads a table's definition once the GTIDs are executed.
	load(ctx context.Context, after gtid.Set, db, table string) (loaded, error)
	// loadFrom reads those of the next tables of a database, from one on in order of names, that are wanted; at most maxTogether.
	loadFrom(ctx context.Context, after gtid.Set, db, table string, wanted func(table string) bool) ([]loaded, error)
	// changes reads the log behind a position up to a point: the statements that make definitions other ones, and the position there.
	changes(ctx context.Context, after gtid.Set, until binlog.Coordinates) ([]*binlog.DDL, gtid.Set, error)
	loadCollations(ctx context.Context) (map[uint64]collation, error)
}

// loaded is a definition as the source has it, and the end of its log afterwards.
type loaded struct {
	def   *schema.Table
	until binlog.Coordinates
}

// maxMaps bounds the cache of compiled table maps. The server makes new ids with every DDL and when it reopens a table.
const maxMaps = 1024

func newCatalog(db string, rules filter.Rules, source definitions) *catalog {
	return &catalog{db: db, rules: rules, definitions: source, tables: map[string]*table{}, ids: map[string]uint32{}, maps: map[*binlog.TableMap]*compiled{}}
}

// follows says which row events are needed.
func (c *catalog) follows(db, table string) bool {
	return c.rule(db, table) != nil || db == sidecar && table == dependencyTable
}

// has says whether a table, as the rules have its name, is followed. Any goroutine may call it.
func (c *catalog) has(name string) bool {
	db, table := c.split(name)
	return c.rule(db, table) != nil
}

// rule is the one that follows a table.
func (c *catalog) rule(db, table string) *filter.Rule {
	if !c.within(db) {
		return nil
	}
	return c.rules.Match(db, table)
}

// within says whether the tables of a database can be followed: system schemas never are.
func (c *catalog) within(db string) bool {
	if c.rules.Qualified() {
		return !filter.System(db)
	}
	return db == c.db
}

// home is the one database whose tables are followed, if the rules do not name databases.
func (c *catalog) home() string {
	if c.rules.Qualified() {
		return ""
	}
	return c.db
}

// split finds the table of a name.
func (c *catalog) split(name string) (db, table string) {
	if c.rules.Qualified() {
		return c.rules.Split(name)
	}
	return c.db, name
}

// table returns the definition in force, reading it when it is not known.
func (c *catalog) table(ctx context.Context, db, name string) (*table, error) {
	if t := c.tables[c.rules.Name(db, name)]; t != nil {
		return t, nil
	}
	if c.loads++; c.loads > readAlone {
		if t, err := c.together(ctx, db, name); t != nil || err != nil {
			return t, err
		}
	}
	l, err := c.load(ctx, c.received(), db, name)
	if err != nil {
		return nil, err
	}
	return c.defineLoaded(l)
}

func (c *catalog) defineLoaded(l loaded) (*table, error) {
	l.def.Later = l.until != (binlog.Coordinates{}) && !c.passed().Reaches(l.until)
	t, err := c.define(l.def)
	if err == nil {
		t.until = l.until
	}
	return t, err
}

// A stream that has asked for more than readAlone is given maxTogether with the next one: each by itself takes a connection and half a dozen statements,
// for which the stream waits.
const (
	readAlone   = 8
	maxTogether = 250
)

// together reads a definition, and those of the tables that follow it in order of names, as a copy does. nil: it is not among them.
func (c *catalog) together(ctx context.Context, db, name string) (*table, error) {
	defs, err := c.loadFrom(ctx, c.received(), db, name, func(table string) bool {
		return c.rule(db, table) != nil && c.tables[c.rules.Name(db, table)] == nil
	})
	if errors.Is(err, schema.ErrNoTable) { // one was dropped just now
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, l := range defs { // what is wrong with another is told when that is asked for
		if _, err := c.defineLoaded(l); err != nil && l.def.Name == name {
			return nil, err
		}
	}
	return c.tables[c.rules.Name(db, name)], nil
}

// define makes a definition the one in force.
func (c *catalog) define(def *schema.Table) (*table, error) {
	name := c.rules.Name(def.DB, def.Name)
	plan, err := c.rules.Plan(def)
	if err != nil {
		return nil, err
	}
	if plan == nil {
		return nil, errs.New(errs.TableUnknown, nil, "the stream's rules do not follow table %s.%s", def.DB, def.Name)
	}
	id, known := c.ids[name]
	if !known {
		id = uint32(len(c.ids) + 1)
		c.ids[name] = id
	}
	t := &table{id: id, name: name, def: def, plan: plan, key: def.KeyColumns()}
	c.tables[name] = t
	return t, nil
}

// named is table for a name as the rules have it.
func (c *catalog) named(ctx context.Context, name string) (*table, error) {
	db, name := c.split(name)
	if c.rule(db, name) == nil {
		return nil, errs.New(errs.TableUnknown, nil, "the stream's rules do not follow table %s.%s", db, name)
	}
	t, err := c.table(ctx, db, name)
	if errors.Is(err, schema.ErrNoTable) {
		return nil, &GoneError{c.rules.Name(db, name), err}
	}
	return t, err
}

// keyed is named for those that can be copied in chunks: their rows have an identity.
func (c *catalog) keyed(ctx context.Context, name string) (*table, error) {
	t, err := c.named(ctx, name)
	if err == nil && len(t.key) == 0 {
		err = &GoneError{t.name, errs.New(errs.NoPrimaryKey, nil, "table %s.%s has no primary key and no unique key without NULL", t.def.DB, t.def.Name)}
	}
	return t, err
}

// GoneError says that a table of which a chunk is wanted is not on the source any more, or not one with a key. The DDL that took it away, or gave its
// name to another, is still to come on the stream, or has passed.
type GoneError struct {
	Table string // as the stream's rules call it
	Err   error
}

func (g *GoneError) Error() string { return g.Err.Error() }

// Unwrap is schema.ErrNoTable or errs.NoPrimaryKey.
func (g *GoneError) Unwrap() error { return g.Err }

// compiled returns the decoder of a table map.
func (c *catalog) compiled(ctx context.Context, tm *binlog.TableMap) (*compiled, error) {
	if k := c.maps[tm]; k != nil {
		return k, nil
	}
	k, err := c.compile(ctx, tm)
	if err != nil {
		return nil, fmt.Errorf("table %s.%s: %w", tm.DB, tm.Table, err)
	}
	if len(c.maps) >= maxMaps {
		clear(c.maps)
	}
	c.maps[tm] = k
	return k, nil
}

func (c *catalog) compile(ctx context.Context, tm *binlog.TableMap) (*compiled, error) {
	parsed, err := rowimage.ParseTableMap(tm.Body)
	if err != nil {
		return nil, err
	}
	if tm.DB == sidecar {
		l, err := c.load(ctx, c.received(), tm.DB, tm.Table)
		if err != nil {
			return nil, err
		}
		decoder, err := parsed.Decoder(l.def)
		return &compiled{decoder: decoder, gtidColumn: l.def.Column("gtid")}, err
	}
	t, err := c.table(ctx, tm.DB, tm.Table)
	if errors.Is(err, schema.ErrNoTable) && parsed.Named { // dropped or renamed since, at a place that the stream has not reached
		return c.compileHistoric(ctx, tm, parsed, &schema.Table{DB: tm.DB, Name: tm.Table})
	}
	if err != nil {
		return nil, err
	}
	decoder, err := parsed.Decoder(t.def)
	if err == nil && !parsed.Named {
		if err := c.prove(ctx, t); err != nil {
			return nil, err
		}
	}
	if err == nil {
		same, err := c.describes(ctx, parsed, t.def)
		if err != nil {
			return nil, err
		}
		if same {
			return t.compiled(decoder, tm), nil
		}
		return c.compileHistoric(ctx, tm, parsed, t.def)
	}
	if !parsed.Named {
		return nil, errs.New(errs.StreamFailed, err, "the binlog has rows of an earlier definition of the table").With(
			"The table was changed while the stream was not running. Copy the table again.",
			"To prevent it: SET PERSIST binlog_row_metadata='FULL'; the binlog then tells the definition itself.")
	}
	return c.compileHistoric(ctx, tm, parsed, t.def)
}

func (c *catalog) compileHistoric(ctx context.Context, tm *binlog.TableMap, m *rowimage.TableMap, now *schema.Table) (*compiled, error) {
	def, err := c.historic(ctx, m, now)
	if err != nil {
		return nil, err
	}
	t, err := c.define(def)
	if err != nil {
		return nil, err
	}
	decoder, err := m.Decoder(def)
	if err != nil {
		return nil, err
	}
	return t.compiled(decoder, tm), nil
}

// changed forgets the definitions of what a DDL touched, and returns the followed tables among them; a database that is followed as a whole is
// one without a table's name.
func (c *catalog) changed(objects []binlog.Object) []string {
	var followed []string
	for _, o := range objects {
		if o.Table != "" {
			followed = append(followed, c.spelt(o)...)
			continue
		}
		if _, whole := c.rules.Database(o.DB); whole && c.rules.Qualified() {
			followed = append(followed, c.rules.Name(o.DB, ""))
		}
		for name, t := range c.tables { // DROP DATABASE
			if strings.EqualFold(o.DB, t.def.DB) {
				followed = append(followed, name)
			}
		}
	}
	for _, name := range followed {
		delete(c.tables, name)
	}
	if len(followed) > 0 {
		clear(c.maps)
	}
	return followed
}

// spelt are the names of the followed tables that a statement may mean: with lower_case_table_names it may spell names in any case, a table
// map never does.
func (c *catalog) spelt(o binlog.Object) (names []string) {
	if !c.rules.Qualified() && strings.EqualFold(o.DB, c.db) {
		o.DB = c.db
	}
	for _, db := range slices.Compact([]string{o.DB, strings.ToLower(o.DB)}) {
		for _, table := range slices.Compact([]string{o.Table, strings.ToLower(o.Table)}) {
			if name := c.rules.Name(db, table); c.rule(db, table) != nil && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}
