package gate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/mysqlproto"
	"braid/internal/sqlast"
	"braid/internal/topo"
)

// part is one statement for one shard.
type part struct {
	dest dest
	sql  string
}

// plan is how a statement is run. It is made for one routing and is of no use with another.
type plan struct {
	epoch  uint64
	parts  []part
	write  bool
	tables []string // that the parts touch, as fences name them; none: any
	merge  *merge   // how rows of several parts become one answer; nil: at most one part returns rows
	move   *rowMove // the statement changes where rows live
	copies bool     // the parts write the same rows into each shard: the client counts them once
	// firstID is the first value that a sequence gave to this statement; 0 if none did.
	firstID uint64
}

// planner makes plans. It is pure but for the catalog's columns and the sequences.
type planner struct {
	catalog
	scope scope
	// sequence returns n consecutive values of a sequence.
	sequence func(seq sqlast.Table, n uint64) (first uint64, err error)
	// evaluate computes constant expressions on some server and returns them as literals.
	evaluate func(exprs []string) ([]string, error)
}

// plan decides where a statement goes.
func (p *planner) plan(s *sqlast.Statement) (*plan, error) {
	pl := &plan{epoch: p.routing.Epoch, write: s.Writes()}
	if p.scope.shard != "" {
		return pl, p.direct(pl, s)
	}
	tables, servers := p.split(s)
	if len(tables) == 0 {
		return pl, p.anywhere(pl, s, servers)
	}
	if s.Kind == sqlast.DDL {
		tables = p.qualify(tables, strings.EqualFold(firstWord(s.SQL), "create"))
	}
	keyspaces, err := p.resolveAll(pl, tables)
	if err != nil {
		return nil, err
	}
	if len(keyspaces) > 1 {
		return nil, unsupported("one statement uses tables of keyspaces %v, which different servers hold", keyspaces)
	}
	keyspace := keyspaces[0]
	if servers && p.sharded(keyspace) {
		return nil, unsupported("tables of a sharded keyspace cannot be joined with a server's own")
	}
	if s, err = p.requalified(s, keyspace); err != nil {
		return nil, err
	}
	if p.sharded(keyspace) {
		return pl, p.planSharded(pl, s, keyspace)
	}
	return pl, p.planUnsharded(pl, s, keyspace)
}

// direct sends a statement to the shard that the session chose, as it is.
func (p *planner) direct(pl *plan, s *sqlast.Statement) error {
	d := dest{p.scope.keyspace, p.scope.shard, p.scope.typ}
	for _, t := range s.Tables() {
		if t.Keyspace != "" && t.Keyspace != d.keyspace && !isServerSchema(t.Keyspace) {
			return unsupported("the session is directed at %s; table %s.%s is not there", p.scope, t.Keyspace, t.Name)
		}
		if t.Keyspace == "" || t.Keyspace == d.keyspace {
			pl.tables = append(pl.tables, t.Name)
		}
	}
	pl.parts = []part{{d, s.SQL}}
	return nil
}

// split tells tables of keyspaces from those that every server has.
func (p *planner) split(s *sqlast.Statement) (tables []sqlast.Table, servers bool) {
	for _, t := range s.Tables() {
		if isServerSchema(t.Keyspace) {
			servers = true
			continue
		}
		tables = append(tables, t)
	}
	return tables, servers
}

// anywhere plans a statement without tables of a keyspace: the session's keyspace answers, or any.
func (p *planner) anywhere(pl *plan, s *sqlast.Statement, servers bool) error {
	keyspace := p.scope.keyspace
	if db := s.ShowDatabase(); db != "" && !isServerSchema(db) {
		keyspace = db
	}
	if s.Kind == sqlast.Call || s.Kind == sqlast.DDL || s.Err != nil {
		if keyspace == "" {
			return mysqlproto.Error(mysql.ER_NO_DB_ERROR, "3D000", "No database selected")
		}
		if p.sharded(keyspace) {
			if s.Err != nil {
				return mysqlproto.Error(mysql.ER_PARSE_ERROR, "42000", fmt.Sprintf("You have an error in your SQL syntax, or it is not known for sharded keyspaces: %v", s.Err))
			}
			return unsupported("this statement cannot be placed in a sharded keyspace; send it to each shard with USE `%s/shard`", keyspace)
		}
	}
	if keyspace == "" {
		names := make([]string, 0, len(p.routing.Keyspaces))
		for ks := range p.routing.Keyspaces {
			names = append(names, ks)
		}
		if len(names) == 0 {
			return mysqlproto.Error(mysql.ER_NO_DB_ERROR, "3D000", "No database selected, and there is no keyspace yet")
		}
		slices.Sort(names)
		keyspace = names[0]
	}
	if servers && pl.write {
		return mysqlproto.Error(mysql.ER_TABLEACCESS_DENIED_ERROR, "42000", "A server's own tables are not written through a gate")
	}
	shards, err := p.shards(keyspace, p.scope.typ)
	if err != nil {
		return err
	}
	pl.parts = []part{{dest{keyspace, shards[0], p.scope.typ}, s.SQL}}
	return nil
}

// qualify gives tables of a DDL the session's keyspace: the VSchema need not know a table that is being created, and one of
// the same name elsewhere is not meant.
func (p *planner) qualify(tables []sqlast.Table, create bool) []sqlast.Table {
	out := slices.Clone(tables)
	for i := range out {
		if _, err := p.resolve(out[i], p.scope); (err != nil || create) && out[i].Keyspace == "" {
			out[i].Keyspace = p.scope.keyspace
		}
	}
	return out
}

// resolveAll finds the keyspaces of the tables, and notes the tables' names.
func (p *planner) resolveAll(pl *plan, tables []sqlast.Table) ([]string, error) {
	var keyspaces []string
	for _, t := range tables {
		r, err := p.resolve(t, p.scope)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(keyspaces, r.keyspace) {
			keyspaces = append(keyspaces, r.keyspace)
		}
		if !slices.Contains(pl.tables, r.table) {
			pl.tables = append(pl.tables, r.table)
		}
	}
	return keyspaces, nil
}

// requalified rewrites qualifiers of tables that are served by another keyspace than they are named under. Unqualified names
// need nothing: a tablet's database is its keyspace.
func (p *planner) requalified(s *sqlast.Statement, keyspace string) (*sqlast.Statement, error) {
	if !p.namesOther(s, keyspace) {
		return s, nil
	}
	sql, ok := s.Requalify(func(named, _ string) string {
		if _, known := p.routing.Keyspaces[named]; known {
			return keyspace
		}
		return named
	})
	if ok && sql == s.SQL {
		return s, nil
	}
	if ok {
		return sqlast.Parse(sql), nil
	}
	for _, t := range s.Tables() {
		if t.Keyspace != "" && t.Keyspace != keyspace && !isServerSchema(t.Keyspace) {
			return nil, unsupported("the statement names keyspaces in a syntax that is not known here: %v", s.Err)
		}
	}
	return s, nil
}

// namesOther says whether the text may qualify a table or a column with another keyspace.
func (p *planner) namesOther(s *sqlast.Statement, keyspace string) bool {
	for name := range p.routing.Keyspaces {
		if name != keyspace && (strings.Contains(s.SQL, name+".") || strings.Contains(s.SQL, name+"`") || strings.Contains(s.SQL, name+" ")) {
			return true
		}
	}
	return false
}

// planUnsharded relays to the one shard, filling sequence columns.
func (p *planner) planUnsharded(pl *plan, s *sqlast.Statement, keyspace string) error {
	d, err := p.one(keyspace, p.scope.typ)
	if err != nil {
		return err
	}
	sql := s.SQL
	if s.Kind == sqlast.Insert && p.vschemas[keyspace] != nil {
		if sql, err = p.fillUnsharded(pl, s, keyspace); err != nil {
			return err
		}
	}
	pl.parts = []part{{d, sql}}
	return nil
}

func (p *planner) fillUnsharded(pl *plan, s *sqlast.Statement, keyspace string) (string, error) {
	v, ok := s.Insert()
	if !ok || v.FromSelect || p.vschemas[keyspace].Sequence(v.Table.Name) == nil {
		return s.SQL, nil
	}
	changed, err := p.fillSequence(pl, v, keyspace)
	if err != nil || !changed {
		return s.SQL, err
	}
	return v.SQL(allRows(v)), nil
}

func allRows(v *sqlast.InsertView) []int {
	rows := make([]int, len(v.Rows))
	for i := range rows {
		rows[i] = i
	}
	return rows
}

// everywhere makes a part with the same text for each shard.
func (p *planner) everywhere(pl *plan, keyspace, sql string) error {
	shards, err := p.shards(keyspace, p.scope.typ)
	if err != nil {
		return err
	}
	for _, s := range shards {
		pl.parts = append(pl.parts, part{dest{keyspace, s, p.scope.typ}, sql})
	}
	return nil
}

// fenced is the first of the plan's shards that a fence holds, for statements that write.
func (pl *plan) fenced(r *topo.Routing) (dest, string) {
	if !pl.write {
		return dest{}, ""
	}
	for _, part := range pl.parts {
		if w := r.Fenced(part.dest.keyspace, part.dest.shard, pl.tables); w != "" && part.dest.typ == topo.Primary {
			return part.dest, w
		}
	}
	return dest{}, ""
}
