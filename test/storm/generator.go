package storm

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// Parts are what a storm may do besides plain changes in plain transactions.
type Parts uint

// The parts.
const (
	DDL Parts = 1 << iota
	XA
	Savepoints
	PartialJSON
	Compression
	RowsQuery
	ForeignKeys
	NoKeys // tables without a key
	Huge
	AcrossDatabases       // renames from one database to another
	Tags                  // GTIDs with a tag
	All             Parts = 1<<iota - 1
)

// Has reports whether all the parts are there.
func (p Parts) Has(some Parts) bool { return p&some == some }

// Config describes a storm.
type Config struct {
	Seed      uint64
	Databases []string // must not exist; default storm_a, storm_b
	Parts     Parts    // default All
	Tables    int      // about how many; default 14
	Sessions  int      // default 6
	Keys      int      // size of the domain of a key column; default 60
	HugeRows  int      // bound of the rows of one statement; default 20,000
}

func (c *Config) defaults() {
	if len(c.Databases) == 0 {
		c.Databases = []string{"storm_a", "storm_b"}
	}
	for _, d := range []struct {
		field *int
		value int
	}{{&c.Tables, 14}, {&c.Sessions, 6}, {&c.Keys, 60}, {&c.HugeRows, 20_000}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Parts == 0 {
		c.Parts = All
	}
}

// Kind is what a Unit is.
type Kind string

// The kinds.
const (
	Transaction Kind = "transaction" // begins and ends; or one statement by itself
	Prepare     Kind = "prepare"     // the first part of an XA transaction
	Finish      Kind = "finish"      // its commit or rollback
	Definition  Kind = "definition"  // a DDL
)

// Unit is what one session does in one go.
type Unit struct {
	Seq     int
	Session int
	Kind    Kind
	SQL     []string
	Xid     string // of Prepare and Finish, as XA statements have it
	Probe   Probe  // of Definition
}

// openXA is a prepared transaction that somebody must end.
type openXA struct {
	xid     string
	session int
	due     int // number of the unit that ends it
}

// Generator makes units. It is used by one goroutine.
type Generator struct {
	cfg     Config
	r       *rand.Rand
	tables  []*table
	columns int // names given away
	names   int
	seq     int
	open    []openXA
	pending *ddl
}

// NewGenerator returns the generator of a seed.
func NewGenerator(cfg Config) *Generator {
	cfg.defaults()
	return &Generator{cfg: cfg, r: rand.New(rand.NewPCG(cfg.Seed, 0x53746f726d))}
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// Setup makes the databases and the first tables.
func (g *Generator) Setup() []string {
	var sql []string
	for _, db := range g.cfg.Databases {
		sql = append(sql, "CREATE DATABASE `"+db+"` CHARACTER SET utf8mb4")
	}
	add := func(t *table) {
		d := g.create(t)
		for _, s := range []string{d.before, d.sql, d.after} {
			if s != "" {
				sql = append(sql, s)
			}
		}
		d.done()
	}
	if g.cfg.Parts.Has(ForeignKeys) {
		for _, t := range family(g, g.freshName) {
			add(t)
		}
	}
	if g.cfg.Parts.Has(Huge) {
		add(bulk(g, g.freshName()))
	}
	for range g.cfg.Tables {
		add(g.newTable())
	}
	return sql
}

func (g *Generator) newTable() *table {
	if g.cfg.Parts.Has(NoKeys) && g.r.IntN(6) == 0 {
		return pick(g.r, keyless)(g, g.freshName())
	}
	return pick(g.r, shapes)(g, g.freshName())
}

// Settings are the statements that make each session what it is.
func (g *Generator) Settings() [][]string {
	out := make([][]string, g.cfg.Sessions)
	for i := range out {
		sql := []string{
			"USE `" + pick(g.r, g.cfg.Databases) + "`", "SET NAMES utf8mb4", "SET SESSION innodb_lock_wait_timeout = 1, lock_wait_timeout = 4, cte_max_recursion_depth = 100000000",
			"SET SESSION sql_mode = " + pick(g.r, []string{"''", "'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'", "''", "'STRICT_TRANS_TABLES'"}),
			"SET SESSION transaction_isolation = " + pick(g.r, []string{"'READ-COMMITTED'", "'REPEATABLE-READ'", "'READ-COMMITTED'", "'SERIALIZABLE'"}),
			"SET SESSION time_zone = " + pick(g.r, []string{"'+00:00'", "'+05:30'", "'-11:00'"}),
		}
		for _, o := range []struct {
			part Parts
			sql  string
		}{
			{PartialJSON, "SET SESSION binlog_row_value_options = PARTIAL_JSON"},
			{Compression, "SET SESSION binlog_transaction_compression = ON"},
			{RowsQuery, "SET SESSION binlog_rows_query_log_events = ON"},
			{Tags, "/*!80300 SET SESSION gtid_next = 'AUTOMATIC:storm' */"},
		} {
			if on := g.r.IntN(2) == 0; on && g.cfg.Parts.Has(o.part) {
				sql = append(sql, o.sql)
			}
		}
		out[i] = sql
	}
	return out
}

// Next makes a unit. After one of kind Definition, Done must be called before the next.
func (g *Generator) Next() Unit {
	if g.pending != nil {
		panic("storm: Next before Done")
	}
	g.seq++
	u := Unit{Seq: g.seq, Session: g.r.IntN(g.cfg.Sessions)}
	if len(g.open) > 0 && g.open[0].due <= g.seq {
		return g.finish(u)
	}
	switch n := g.r.IntN(1000); {
	case n < 15 && g.cfg.Parts.Has(DDL):
		if len(g.open) > 0 {
			return g.finish(u) // the DDL would wait for it
		}
		return g.definition(u)
	case n < 60 && g.cfg.Parts.Has(XA):
		return g.prepare(u)
	case n < 63 && g.cfg.Parts.Has(Huge):
		u.Kind, u.SQL = Transaction, g.hugeTransaction()
		return u
	}
	u.Kind, u.SQL = Transaction, g.transaction()
	return u
}

// Done tells whether the pending DDL has taken effect.
func (g *Generator) Done(succeeded bool) {
	if succeeded {
		g.pending.done()
	}
	g.pending = nil
}

func (g *Generator) definition(u Unit) Unit {
	g.pending = g.ddl()
	u.Kind, u.Probe = Definition, g.pending.probe
	u.SQL = []string{g.pending.before, g.pending.sql, g.pending.after}
	return u
}

// body is the inside of a transaction.
func (g *Generator) body() []string {
	var sql []string
	savepoint := ""
	for range 1 + g.r.IntN(6) {
		if g.cfg.Parts.Has(Savepoints) {
			switch n := g.r.IntN(12); {
			case n == 0:
				savepoint = fmt.Sprintf("`s p%d`", g.r.IntN(3))
				sql = append(sql, "SAVEPOINT "+savepoint)
			case n == 1 && savepoint != "":
				sql = append(sql, "ROLLBACK TO SAVEPOINT "+savepoint)
			case n == 2 && savepoint != "":
				sql, savepoint = append(sql, "RELEASE SAVEPOINT "+savepoint), ""
			}
		}
		sql = append(sql, g.change(pick(g.r, g.tables))...)
	}
	return sql
}

func (g *Generator) transaction() []string {
	if g.r.IntN(3) == 0 {
		return g.change(pick(g.r, g.tables)) // by themselves
	}
	end := "COMMIT"
	if g.r.IntN(12) == 0 {
		end = "ROLLBACK"
	}
	return slices.Concat([]string{"BEGIN"}, g.body(), []string{end})
}

func (g *Generator) hugeTransaction() []string {
	var t *table
	for _, o := range g.tables {
		if o.bulk {
			t = o
		}
	}
	sql := []string{"BEGIN"}
	for range 1 + g.r.IntN(3) {
		sql = append(sql, g.huge(t)...)
		sql = append(sql, g.change(pick(g.r, g.tables))...)
	}
	return append(sql, "COMMIT")
}

func (g *Generator) prepare(u Unit) Unit {
	u.Xid = fmt.Sprintf("'storm %d'", g.seq)
	if g.r.IntN(2) == 0 {
		u.Xid = fmt.Sprintf("'storm %d','b''q',%d", g.seq, g.r.IntN(1<<31))
	}
	u.SQL = slices.Concat([]string{"XA START " + u.Xid}, g.body(), []string{"XA END " + u.Xid})
	if g.r.IntN(4) == 0 {
		u.Kind, u.SQL = Transaction, append(u.SQL, "XA COMMIT "+u.Xid+" ONE PHASE")
		return u
	}
	u.Kind, u.SQL = Prepare, append(u.SQL, "XA PREPARE "+u.Xid)
	g.open = append(g.open, openXA{xid: u.Xid, session: u.Session, due: g.seq + 1 + g.r.IntN(15)})
	slices.SortFunc(g.open, func(a, b openXA) int { return a.due - b.due })
	return u
}

// finish ends the prepared transaction that is due first.
func (g *Generator) finish(u Unit) Unit {
	x := g.open[0]
	g.open = g.open[1:]
	verb := "XA COMMIT "
	if g.r.IntN(4) == 0 {
		verb = "XA ROLLBACK "
	}
	u.Kind, u.Xid, u.SQL = Finish, x.xid, []string{verb + x.xid}
	return u
}
