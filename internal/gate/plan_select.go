package gate

import (
	"slices"
	"strings"

	"braid/internal/schema"
	"braid/internal/sqlast"
)

// planSelect plans a SELECT on a sharded keyspace: to one shard as it is, to several with a merge.
func (p *planner) planSelect(pl *plan, s *sqlast.Statement, keyspace string) error {
	r, err := p.router(s, keyspace)
	if err != nil {
		return err
	}
	rt, err := r.route()
	if err != nil {
		return err
	}
	if rt.reads {
		rt.shards = rt.shards[:1]
	}
	if len(rt.shards) == 1 && (rt.local || rt.reads) {
		pl.parts = []part{{dest{keyspace, rt.shards[0], p.scope.typ}, s.SQL}}
		return nil
	}
	if !rt.local {
		return unsupported("the query ties together rows of different shards; bind its tables by their sharding columns")
	}
	q, ok := s.Query()
	if !ok {
		return unsupported("UNION over several shards")
	}
	b := &selectBuilder{p: p, r: r, q: q, edit: q.Edit(), merge: &merge{}}
	if err := b.build(); err != nil {
		return err
	}
	pl.merge = b.merge
	sql := b.edit.SQL()
	for _, shard := range rt.shards {
		pl.parts = append(pl.parts, part{dest{keyspace, shard, p.scope.typ}, sql})
	}
	return nil
}

// selectBuilder makes what each shard is asked, and how the answers are merged.
type selectBuilder struct {
	p     *planner
	r     *router
	q     *sqlast.Query
	edit  *sqlast.Edit
	merge *merge
}

func (b *selectBuilder) build() error {
	q := b.q
	switch {
	case q.Windows:
		return unsupported("window functions over several shards")
	case q.Into:
		return unsupported("SELECT … INTO over several shards")
	case q.CalcRows:
		return unsupported("SQL_CALC_FOUND_ROWS over several shards")
	case q.Rollup:
		return unsupported("WITH ROLLUP over several shards")
	}
	if err := b.limit(); err != nil {
		return err
	}
	switch {
	case q.Aggregates() && b.groupsStay():
		// Each group lives on one shard: the shards' groups together are the answer, HAVING included.
		return b.ordered()
	case q.Aggregates():
		if q.Distinct {
			return unsupported("DISTINCT with aggregates over several shards")
		}
		return b.grouped(q.GroupBy)
	case q.Distinct && !b.rowsStay():
		keys, err := b.itemKeys()
		if err != nil {
			return err
		}
		return b.grouped(keys)
	}
	return b.ordered()
}

// limit reads LIMIT. Each shard may have to give all the rows up to its end.
func (b *selectBuilder) limit() error {
	if !b.q.HasLimit {
		b.merge.limit = noLimit
		return nil
	}
	rows, ok := b.q.Limit.Uint()
	if !ok {
		return unsupported("LIMIT that is no number, over several shards")
	}
	b.merge.limit = rows
	if b.q.Offset != nil {
		if b.merge.offset, ok = b.q.Offset.Uint(); !ok {
			return unsupported("OFFSET that is no number, over several shards")
		}
	}
	if rows+b.merge.offset < rows {
		b.merge.limit = noLimit // LIMIT n, 18446744073709551615 is how people say "all the rest"
	}
	return nil
}

func (b *selectBuilder) pushLimit() {
	switch {
	case b.merge.limit == noLimit:
		b.edit.Limit(0)
	case b.merge.limit > 0:
		b.edit.Limit(b.merge.limit + b.merge.offset)
	}
}

// sharding says whether a column is a sharding column of the outermost block.
func (b *selectBuilder) sharding(c *sqlast.Column) bool {
	if c == nil {
		return false
	}
	i := b.r.shardingSource(*c)
	return i >= 0 && b.r.sources[i].block == 0
}

// groupsStay says whether GROUP BY has a sharding column, so that no group has rows on two shards.
func (b *selectBuilder) groupsStay() bool {
	return slices.ContainsFunc(b.q.GroupBy, func(k sqlast.Key) bool { return b.sharding(k.Column) })
}

// rowsStay says whether the items have a sharding column, so that no two shards return equal rows.
func (b *selectBuilder) rowsStay() bool {
	return slices.ContainsFunc(b.q.Items, func(i sqlast.Item) bool { return i.Star || b.sharding(i.Column) })
}

// ordered merges rows by ORDER BY.
func (b *selectBuilder) ordered() error {
	for _, k := range b.q.OrderBy {
		if k.Mixed && k.Item < 0 {
			return unsupported("ORDER BY %s over several shards; select it too, and order by its name", k.Expr)
		}
		key, err := b.sortKey(k)
		if err != nil {
			return err
		}
		b.merge.order = append(b.merge.order, key)
	}
	if b.q.Distinct && b.merge.hidden > 0 {
		// Hidden columns depend on the visible ones if those include what is sorted by; otherwise MySQL refuses the query.
		for _, k := range b.q.OrderBy {
			if k.Item < 0 {
				return unsupported("ORDER BY of what is not selected, with DISTINCT, over several shards")
			}
		}
	}
	b.pushLimit()
	return nil
}

// sortKey adds the hidden columns by which an expression is compared, and says how.
func (b *selectBuilder) sortKey(k sqlast.Key) (sortKey, error) {
	col, known := b.columnOf(k)
	key := sortKey{desc: k.Desc}
	switch {
	case known && !stringTypes[col.DataType] && !oddTypes[col.DataType]:
		return b.hide(key, k.Expr, "", "")
	case known && (col.DataType == "enum" || col.DataType == "set"):
		return b.hide(key, "("+k.Expr+") + 0", "", "")
	case known && oddTypes[col.DataType]:
		return key, unsupported("ordering or grouping by a column of type %s over several shards", col.DataType)
	case known && col.Collation == "":
		return b.hide(key, k.Expr, "", "") // binary strings: bytes
	case known:
		key.collation = col.Collation
		return b.hide(key, k.Expr, "weight_string("+k.Expr+")", "")
	}
	return b.hide(key, k.Expr, "weight_string("+k.Expr+")", "collation("+k.Expr+")")
}

// hide adds hidden items: the value, its weight, the name of its collation.
func (b *selectBuilder) hide(key sortKey, value, weight, collation string) (sortKey, error) {
	add := func(expr string) (int, error) {
		b.merge.hidden++
		return b.merge.hidden - 1, b.edit.AddItem(expr)
	}
	// A function of what rows are grouped by is the same in all rows of a group, but ONLY_FULL_GROUP_BY does not see it.
	any := func(expr string) string {
		if expr == "" || !b.q.Aggregates() && !b.merge.group {
			return expr
		}
		return "any_value(" + expr + ")"
	}
	if weight != "" {
		weight = any("cast(" + weight + " as binary)") // the weight of a number is bytes that claim to be text
	}
	collation = any(collation)
	var err error
	key.weight, key.collationAt = -1, -1
	if key.value, err = add(value); err == nil && weight != "" {
		key.weight, err = add(weight)
	}
	if err == nil && collation != "" {
		key.collationAt, err = add(collation)
	}
	return key, err
}

var stringTypes = map[string]bool{"char": true, "varchar": true, "tinytext": true, "text": true, "mediumtext": true, "longtext": true,
	"binary": true, "varbinary": true, "tinyblob": true, "blob": true, "mediumblob": true, "longblob": true}

// oddTypes are compared in ways that neither their text nor a weight shows.
var oddTypes = map[string]bool{"enum": true, "set": true, "json": true, "geometry": true, "point": true, "linestring": true, "polygon": true,
	"multipoint": true, "multilinestring": true, "multipolygon": true, "geomcollection": true, "vector": true}

// columnOf finds the definition of a key that is a plain column.
func (b *selectBuilder) columnOf(k sqlast.Key) (schema.Column, bool) {
	if k.Column == nil {
		return schema.Column{}, false
	}
	for _, s := range b.r.sources {
		if s.block != 0 || k.Column.Table != "" && !strings.EqualFold(k.Column.Table, s.Alias) {
			continue
		}
		t, err := b.p.columns(b.r.keyspace, s.Name)
		if err != nil {
			continue
		}
		if i := t.Column(k.Column.Name); i >= 0 {
			return t.Columns[i], true
		}
	}
	return schema.Column{}, false
}

// itemKeys are all items as keys, for DISTINCT.
func (b *selectBuilder) itemKeys() ([]sqlast.Key, error) {
	var keys []sqlast.Key
	for i, it := range b.q.Items {
		keys = append(keys, sqlast.Key{Expr: it.Expr, Item: i, Column: it.Column})
	}
	return keys, nil
}

// grouped merges groups that have rows on several shards: each shard groups its own rows in the order of the keys, equal
// groups meet in the merge, and their aggregates are put together.
func (b *selectBuilder) grouped(keys []sqlast.Key) error {
	q := b.q
	if q.Having {
		return unsupported("HAVING over several shards, unless rows are grouped by the sharding column")
	}
	for _, k := range keys {
		if k.Mixed || k.Alias != "" && b.hasColumn(k.Alias) {
			return unsupported("GROUP BY %s over several shards; write the expression itself", k.Expr)
		}
	}
	order, sorted := groupOrder(keys, q.OrderBy)
	b.merge.group = true
	b.merge.single = len(keys) == 0
	var positions []sqlast.Position
	for _, k := range order {
		key, err := b.sortKey(k)
		if err != nil {
			return err
		}
		b.merge.order = append(b.merge.order, key)
		positions = append(positions, sqlast.Position{Item: len(q.Items) + key.value, Desc: k.Desc})
	}
	for i, it := range q.Items {
		a, err := b.aggregate(i, it)
		if err != nil {
			return err
		}
		b.merge.items = append(b.merge.items, a)
	}
	if !sorted {
		if err := b.sortGroups(); err != nil {
			return err
		}
	}
	b.edit.Limit(0)
	b.edit.OrderBy(positions)
	return nil
}

// hasColumn says whether a table of the query has a column of that name.
func (b *selectBuilder) hasColumn(name string) bool {
	_, ok := b.columnOf(sqlast.Key{Column: &sqlast.Column{Name: name}})
	return ok
}

// groupOrder is an order of the group keys in which equal groups are neighbours and which, if it can be, is the one that the
// query asks for.
func groupOrder(keys, order []sqlast.Key) (out []sqlast.Key, sorted bool) {
	left := slices.Clone(keys)
	sorted = true
	for _, o := range order {
		i := slices.IndexFunc(left, func(k sqlast.Key) bool { return k.Expr == o.Expr })
		switch {
		case i >= 0:
			left[i].Desc = o.Desc
			out = append(out, left[i])
			left = slices.Delete(left, i, i+1)
		case slices.ContainsFunc(out, func(k sqlast.Key) bool { return k.Expr == o.Expr }):
		default:
			sorted = false
		}
		if !sorted {
			return slices.Clone(keys), false
		}
	}
	return append(out, left...), true
}

// aggregate says how an item of a group is put together, and changes the item where its parts are others.
func (b *selectBuilder) aggregate(i int, it sqlast.Item) (groupItem, error) {
	switch {
	case it.Star:
		return groupItem{}, unsupported("* with groups over several shards")
	case it.Mixed:
		return groupItem{}, unsupported("%s over several shards: an expression of aggregates, or one that has no parts", it.Expr)
	case it.Agg == nil:
		return groupItem{kind: firstOfGroup}, nil
	}
	return b.combine(it.Agg, func(expr string) error { return b.edit.SetItem(i, expr) })
}

func (b *selectBuilder) combine(a *sqlast.Aggregate, set func(expr string) error) (groupItem, error) {
	if a.Distinct && (a.Func == "count" || a.Func == "sum" || a.Func == "avg") && !b.distinctStays(a.Arg) {
		return groupItem{}, unsupported("%s(DISTINCT %s) over several shards", a.Func, a.Arg)
	}
	switch a.Func {
	case "count":
		return groupItem{kind: sumOfGroup}, nil
	case "sum":
		return groupItem{kind: sumOfGroup, nullable: true}, nil
	case "avg":
		distinct := ""
		if a.Distinct {
			distinct = "distinct "
		}
		key, err := b.hide(sortKey{}, "count("+distinct+a.Arg+")", "", "")
		if err != nil {
			return groupItem{}, err
		}
		return groupItem{kind: avgOfGroup, count: key.value}, set("sum(" + distinct + a.Arg + ")")
	}
	expr := a.Func + "(" + a.Arg + ")"
	key, err := b.sortKey(sqlast.Key{Expr: expr})
	key.desc = a.Func == "max"
	return groupItem{kind: leastOfGroup, key: key}, err
}

// distinctStays says whether no value of an expression is on two shards.
func (b *selectBuilder) distinctStays(expr string) bool {
	c := sqlast.Column{Name: strings.Trim(expr, "`")}
	if table, name, ok := strings.Cut(expr, "."); ok {
		c = sqlast.Column{Table: strings.Trim(table, "`"), Name: strings.Trim(name, "`")}
	}
	return b.sharding(&c)
}

// sortGroups arranges for the groups to be sorted after they are complete, by items or by further aggregates.
func (b *selectBuilder) sortGroups() error {
	for _, o := range b.q.OrderBy {
		switch {
		case o.Item >= 0:
			key, err := b.sortKeyOfItem(o)
			if err != nil {
				return err
			}
			b.merge.sort = append(b.merge.sort, key)
		default:
			return unsupported("ORDER BY %s of groups over several shards; select it too, and order by its name", o.Expr)
		}
	}
	return nil
}

func (b *selectBuilder) sortKeyOfItem(o sqlast.Key) (groupSort, error) {
	it := b.q.Items[o.Item]
	if it.Agg != nil && (it.Agg.Func == "min" || it.Agg.Func == "max") {
		return groupSort{item: o.Item, desc: o.Desc, key: b.merge.items[o.Item].key, keyed: true}, nil
	}
	if it.Agg != nil {
		return groupSort{item: o.Item, desc: o.Desc}, nil
	}
	key, err := b.sortKey(o)
	return groupSort{item: o.Item, desc: o.Desc, key: key, keyed: true}, err
}
