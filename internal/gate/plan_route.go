package gate

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"braid/internal/schema"
	"braid/internal/sqlast"
	"braid/internal/vindex"
	"braid/internal/vschema"
)

// router finds the shards of a statement in one sharded keyspace. Columns that must be equal are one class; the sharding
// columns of tables that are in one class live on the same shard, and a value for any of them is a value for all.
type router struct {
	p        *planner
	keyspace string
	vs       *vschema.Keyspace
	blocks   []*sqlast.Block
	sources  []source
	parent   []int // union-find over sources: same class of sharding columns
}

// source is a table in some block.
type source struct {
	sqlast.Source
	block     int
	reference bool // a copy on each shard
	column    string
	fn        vindex.Vindex
}

func (p *planner) router(s *sqlast.Statement, keyspace string) (*router, error) {
	blocks, ok := s.Blocks()
	if !ok {
		return nil, unsupported("syntax that is not known for sharded keyspaces: %v", s.Err)
	}
	r := &router{p: p, keyspace: keyspace, vs: p.vschemas[keyspace], blocks: blocks}
	for i, b := range blocks {
		for _, src := range b.Sources {
			if isServerSchema(src.Keyspace) {
				continue
			}
			if err := r.add(i, src); err != nil {
				return nil, err
			}
		}
	}
	for i := range r.sources {
		r.parent = append(r.parent, i)
	}
	for i, b := range blocks {
		for _, eq := range b.Equal {
			r.tie(i, r.shardingSource(eq.A), r.shardingSource(eq.B))
		}
	}
	return r, nil
}

func (r *router) add(block int, src sqlast.Source) error {
	t := r.vs.Table(src.Name)
	if t == nil {
		return noSuchTable(r.keyspace, src.Name)
	}
	s := source{Source: src, block: block, reference: t.Type == vschema.TypeReference}
	if !s.reference {
		fn, columns, ok := r.vs.PrimaryVindex(src.Name)
		if !ok || len(columns) != 1 {
			return unsupported("table %s.%s has no vindex of one column", r.keyspace, src.Name)
		}
		s.fn, s.column = fn, columns[0]
	}
	r.sources = append(r.sources, s)
	return nil
}

// tie joins the classes of two sources for a condition of a block. The condition restricts that block's own rows only: one
// between two tables outside says nothing, it may stand under a NOT.
func (r *router) tie(block, a, b int) {
	if a < 0 || b < 0 || r.sources[a].block != block && r.sources[b].block != block {
		return
	}
	if r.sources[a].fn.Type() == r.sources[b].fn.Type() {
		r.parent[r.root(a)] = r.root(b)
	}
}

func (r *router) root(i int) int {
	for r.parent[i] != i {
		i = r.parent[i]
	}
	return i
}

// shardingSource is the source whose sharding column this is, -1 if it is none. A name without a table is looked for in its
// own block first, then in those around it; the server would refuse it if it were ambiguous.
func (r *router) shardingSource(c sqlast.Column) int {
	for block := c.Block; block >= 0; block = r.blocks[block].Parent {
		found := -1
		for i, s := range r.sources {
			if s.block != block || c.Table != "" && !strings.EqualFold(c.Table, s.Alias) {
				continue
			}
			if !s.reference && strings.EqualFold(c.Name, s.column) {
				found = i
			} else if c.Table != "" {
				return -1
			}
		}
		if found >= 0 {
			return found
		}
	}
	return -1
}

// value is one that a sharding column may have.
type value = sqlast.Value

// top is the outermost block with tables of a class, -1 if there is not just one. The rows of deeper blocks are tied to its rows.
func (r *router) top(class int) int {
	inClass := map[int]bool{}
	for i, s := range r.sources {
		if !s.reference && r.root(i) == class {
			inClass[s.block] = true
		}
	}
	top := -1
	for block := range inClass {
		outer := true
		for b := r.blocks[block].Parent; b >= 0; b = r.blocks[b].Parent {
			outer = outer && !inClass[b]
		}
		if outer && top >= 0 {
			return -1
		}
		if outer {
			top = block
		}
	}
	return top
}

// fixed returns the values that a class is restricted to; ok is false when it is not restricted. Conditions of the class's
// outermost block count: a condition of a subquery restricts the subquery's rows only.
func (r *router) fixed(class int) (values []value, owner int, ok bool) {
	top := r.top(class)
	if top < 0 {
		return nil, 0, false
	}
	for _, f := range r.blocks[top].Fixed {
		src := r.shardingSource(f.Column)
		if src < 0 || r.root(src) != class || r.sources[src].block != top {
			continue
		}
		if slices.ContainsFunc(f.Values, func(v value) bool { return !v.Constant() }) {
			continue
		}
		if !ok || len(f.Values) < len(values) {
			values, owner, ok = f.Values, src, true
		}
	}
	return values, owner, ok
}

// route is where a statement goes.
type route struct {
	shards []string           // that can have rows; empty: none can
	all    bool               // nothing restricts it
	values map[string][]value // the values on each shard, if the statement is restricted by a list
	// local says that every row of the answer comes from the rows of one shard, whichever that is: the shards' answers
	// together are the answer.
	local bool
	reads bool // only reference tables: any shard has the answer
}

// route decides. The statement can be split by shard only if all its sharded tables are in one class; otherwise it must be
// bound to one shard altogether.
func (r *router) route() (route, error) {
	all, err := r.p.shards(r.keyspace, r.p.scope.typ)
	if err != nil {
		return route{}, err
	}
	classes := map[int]bool{}
	for i, s := range r.sources {
		if !s.reference {
			classes[r.root(i)] = true
		}
	}
	if len(classes) == 0 {
		return route{shards: all, all: true, local: true, reads: true}, nil
	}
	out := route{shards: all, all: true, local: len(classes) == 1 && r.splittable()}
	pinned := 0
	for class := range classes {
		values, owner, ok := r.fixed(class)
		if !ok {
			continue
		}
		byShard, ok, err := r.place(owner, values)
		if err != nil {
			return route{}, err
		}
		if !ok {
			continue
		}
		shards := sortedKeys(byShard)
		if out.all {
			out.shards, out.values, out.all = shards, byShard, false
		} else if !slices.Equal(out.shards, shards) {
			return route{}, unsupported("tables of the statement live on different shards")
		}
		pinned++
	}
	if pinned == len(classes) && len(out.shards) <= 1 {
		out.local = true // bound to one shard altogether
	}
	if len(out.shards) == 0 {
		out.shards = all[:1] // no row can match: any shard says so, in the right form
	}
	return out, nil
}

// splittable says whether the statement means the same on each shard's rows alone: its nested blocks are computed for a row
// outside, from rows that are tied to it. A derived table, a UNION or a NATURAL JOIN may not be.
func (r *router) splittable() bool {
	for i, b := range r.blocks {
		if b.Natural && len(r.sources) > 1 {
			return false
		}
		if i > 0 && b.Derived && r.shardedIn(i) {
			return false
		}
		if i > 0 && !b.Derived && r.shardedIn(i) && !r.tiedOutside(i) {
			return false
		}
	}
	return true
}

func (r *router) shardedIn(block int) bool {
	return slices.ContainsFunc(r.sources, func(s source) bool { return s.block == block && !s.reference })
}

// tiedOutside says whether a subquery's sharding column equals one of a block around it.
func (r *router) tiedOutside(block int) bool {
	for _, b := range r.blocks {
		for _, eq := range b.Equal {
			x, y := r.shardingSource(eq.A), r.shardingSource(eq.B)
			if x < 0 || y < 0 {
				continue
			}
			if (r.sources[x].block == block) != (r.sources[y].block == block) {
				return true
			}
		}
	}
	return false
}

// place maps values to shards; ok is false when a value cannot be mapped to where all rows that equal it live.
func (r *router) place(owner int, values []value) (map[string][]value, bool, error) {
	s := r.sources[owner]
	out := map[string][]value{}
	for _, v := range values {
		if v.Kind == sqlast.Null {
			continue // nothing equals NULL
		}
		id, ok, err := r.p.keyspaceID(r.keyspace, s.Name, s.column, s.fn, v)
		if err != nil || !ok {
			return nil, false, err
		}
		shard, err := r.p.shardOf(r.keyspace, r.p.scope.typ, id)
		if err != nil {
			return nil, false, err
		}
		out[shard] = append(out[shard], v)
	}
	return out, true, nil
}

// keyspaceID maps a value to its keyspace ID as its row would be. ok is false when rows with another keyspace ID may equal
// the value too: a text that a collation takes for the same, a number that is compared with text.
func (p *planner) keyspaceID(keyspace, table, column string, fn vindex.Vindex, v value) ([]byte, bool, error) {
	cell, exact, err := p.cell(keyspace, table, column, fn, v)
	if err != nil || !exact {
		return nil, false, err
	}
	id, err := fn.Map([][]byte{cell})
	if err != nil {
		return nil, false, nil //nolint:nilerr // no row can have such a value; the shards will find none
	}
	return id, true, nil
}

// cell is cellOf for a column that is looked up only if its type matters: whole numbers under a vindex of numbers mean the
// same row in any column.
func (p *planner) cell(keyspace, table, column string, fn vindex.Vindex, v value) ([]byte, bool, error) {
	if numericVindex(fn) && (v.Kind == sqlast.Integer || v.Kind == sqlast.String && isDigits(v.Text)) {
		return v.Text, true, nil
	}
	col, err := p.column(keyspace, table, column)
	if err != nil {
		return nil, false, err
	}
	cell, exact := cellOf(col, fn, v)
	return cell, exact, nil
}

func (p *planner) column(keyspace, table, column string) (schema.Column, error) {
	t, err := p.columns(keyspace, table)
	if err != nil {
		return schema.Column{}, err
	}
	i := t.Column(column)
	if i < 0 {
		return schema.Column{}, fmt.Errorf("table %s.%s has no column %s, by which its VSchema shards it", keyspace, table, column)
	}
	return t.Columns[i], nil
}

// cellOf is the canonical cell that a value becomes in a column; exact says that exactly the rows with this cell equal it.
func cellOf(col schema.Column, fn vindex.Vindex, v value) (cell []byte, exact bool) {
	if integerTypes[col.DataType] {
		switch v.Kind {
		case sqlast.Integer, sqlast.String, sqlast.Bytes:
			return canonicalInteger(v.Text)
		}
		return nil, false
	}
	if v.Kind != sqlast.String && v.Kind != sqlast.Bytes {
		return nil, false
	}
	switch {
	case strings.HasPrefix(fn.Type(), "unicode_loose"):
		return v.Text, true
	case col.DataType == "binary":
		if int64(len(v.Text)) < col.Length {
			return append(bytes.Clone(v.Text), make([]byte, col.Length-int64(len(v.Text)))...), false
		}
		return v.Text, true
	case col.DataType == "varbinary" || col.DataType == "blob" || col.Collation == "binary" || col.Collation == "utf8mb4_0900_bin":
		return v.Text, true
	}
	return v.Text, false
}

var integerTypes = map[string]bool{"tinyint": true, "smallint": true, "mediumint": true, "int": true, "bigint": true, "year": true}

func numericVindex(fn vindex.Vindex) bool {
	switch fn.Type() {
	case "hash", "numeric", "reverse_bits":
		return true
	}
	return false
}

func isDigits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

// canonicalInteger prints an integer as the column does.
func canonicalInteger(text []byte) ([]byte, bool) {
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return strconv.AppendInt(nil, n, 10), true
	}
	if n, err := strconv.ParseUint(string(text), 10, 64); err == nil {
		return strconv.AppendUint(nil, n, 10), true
	}
	return nil, false
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
