package sqlast

import (
	"strings"

	"vitess.io/vitess/go/vt/sqlparser"
)

// Aggregate is an aggregate function that can be put together from its parts.
type Aggregate struct {
	Func     string // count, sum, min, max, avg
	Distinct bool
	Arg      string // as printed; "" for COUNT(*)
}

// Item is one item of a SELECT.
type Item struct {
	Name   string // of the result column; "" for a star
	Expr   string // as printed
	Star   bool
	Column *Column    // if it is a column and nothing else
	Agg    *Aggregate // if it is an aggregate function and nothing else
	// Mixed says that an aggregate is a part of it, or that it is one that cannot be put together from parts.
	Mixed bool
}

// Key is a part of GROUP BY or ORDER BY.
type Key struct {
	Expr string // as printed, aliases and positions resolved
	Item int    // index of the item that it is; -1 if none
	Desc bool
	Agg  *Aggregate // if it is an aggregate function that no item is
	// Mixed is as in Item, or it mixes names of items into an expression: what it means depends on names that only the server
	// knows.
	Mixed  bool
	Column *Column
	// Alias is the item's name by which GROUP BY means it, unless a table has a column of that name.
	Alias string
}

// Query is a SELECT of one block as a planner sees it.
type Query struct {
	Items    []Item
	GroupBy  []Key
	OrderBy  []Key
	Distinct bool
	Having   bool
	Rollup   bool
	Windows  bool // window functions
	Into     bool
	CalcRows bool // SQL_CALC_FOUND_ROWS
	Lock     bool
	HasFrom  bool
	HasLimit bool
	Limit    Value // if HasLimit
	Offset   *Value

	node *sqlparser.Select
}

// Query returns the view of a plain SELECT; ok is false for a UNION and the like.
func (s *Statement) Query() (q *Query, ok bool) {
	if _, plain := s.node.(*sqlparser.Select); !plain {
		return nil, false
	}
	sel := s.named().(*sqlparser.Select)
	q = &Query{
		node: sel, Distinct: sel.Distinct, Having: sel.Having != nil, Into: sel.Into != nil,
		CalcRows: sel.SQLCalcFoundRows, Lock: sel.Lock != sqlparser.NoLock, HasFrom: len(sel.From) > 0 && !dual(sel.From),
	}
	for _, e := range sel.SelectExprs.Exprs {
		q.Items = append(q.Items, item(e))
		q.Windows = q.Windows || hasWindow(e)
	}
	if sel.GroupBy != nil {
		q.Rollup = sel.GroupBy.WithRollup
		for _, e := range sel.GroupBy.Exprs {
			q.GroupBy = append(q.GroupBy, q.key(e, false))
		}
	}
	for _, o := range sel.OrderBy {
		k := q.key(o.Expr, true)
		k.Desc = o.Direction == sqlparser.DescOrder
		q.OrderBy = append(q.OrderBy, k)
		q.Windows = q.Windows || hasWindow(o)
	}
	if sel.Limit != nil {
		q.HasLimit, q.Limit = true, valueOf(sel.Limit.Rowcount)
		if sel.Limit.Offset != nil {
			offset := valueOf(sel.Limit.Offset)
			q.Offset = &offset
		}
	}
	return q, true
}

func dual(from []sqlparser.TableExpr) bool {
	t, ok := tableOf(from[0])
	return ok && len(from) == 1 && t.Keyspace == "" && strings.EqualFold(t.Name, "dual")
}

// Aggregates says whether the query returns groups instead of rows.
func (q *Query) Aggregates() bool {
	if len(q.GroupBy) > 0 {
		return true
	}
	for _, i := range q.Items {
		if i.Agg != nil || i.Mixed {
			return true
		}
	}
	return q.Having && containsAggregate(q.node.Having.Expr)
}

func item(e sqlparser.SelectExpr) Item {
	a, ok := e.(*sqlparser.AliasedExpr)
	if !ok {
		return Item{Star: true, Expr: sqlparser.String(e)}
	}
	it := Item{Expr: sqlparser.String(a.Expr), Name: a.As.String()}
	if c, ok := column(a.Expr, 0); ok {
		it.Column = &c
		if it.Name == "" {
			it.Name = c.Name
		}
	}
	it.Agg = aggregate(a.Expr)
	it.Mixed = it.Agg == nil && containsAggregate(a.Expr)
	return it
}

func aggregate(e sqlparser.Expr) *Aggregate {
	one := func(name string, arg sqlparser.Expr, distinct bool, over *sqlparser.OverClause) *Aggregate {
		if over != nil || containsAggregate(arg) {
			return nil
		}
		return &Aggregate{Func: name, Distinct: distinct, Arg: sqlparser.String(arg)}
	}
	switch e := e.(type) {
	case *sqlparser.CountStar:
		if e.OverClause == nil {
			return &Aggregate{Func: "count"}
		}
	case *sqlparser.Count:
		if len(e.Args) == 1 {
			return one("count", e.Args[0], e.Distinct, e.OverClause)
		}
	case *sqlparser.Sum:
		return one("sum", e.Arg, e.Distinct, e.OverClause)
	case *sqlparser.Avg:
		return one("avg", e.Arg, e.Distinct, e.OverClause)
	case *sqlparser.Min:
		return one("min", e.Arg, false, e.OverClause)
	case *sqlparser.Max:
		return one("max", e.Arg, false, e.OverClause)
	}
	return nil
}

// containsAggregate looks for aggregates that belong to this block.
func containsAggregate(e sqlparser.SQLNode) bool {
	found := false
	_ = sqlparser.Walk(func(n sqlparser.SQLNode) (bool, error) { //nolint:errcheck // the visitor returns none
		switch n.(type) {
		case *sqlparser.Subquery:
			return false, nil
		case sqlparser.AggrFunc:
			found = true
		}
		return !found, nil
	}, e)
	return found
}

func hasWindow(e sqlparser.SQLNode) bool {
	found := false
	_ = sqlparser.Walk(func(n sqlparser.SQLNode) (bool, error) { //nolint:errcheck // the visitor returns none
		if over, ok := n.(*sqlparser.OverClause); ok && over != nil {
			found = true
		}
		return !found, nil
	}, e)
	return found
}

// key resolves an expression of GROUP BY or ORDER BY: a position, an alias, or the same expression as an item. ORDER BY
// looks for aliases first, GROUP BY for columns of tables.
func (q *Query) key(e sqlparser.Expr, order bool) Key {
	if l, ok := e.(*sqlparser.Literal); ok && l.Type == sqlparser.IntVal {
		if n, ok := valueOf(l).Uint(); ok && n >= 1 && n <= uint64(len(q.Items)) {
			it := q.Items[n-1]
			return Key{Expr: it.Expr, Item: int(n - 1), Column: it.Column, Mixed: it.Mixed}
		}
	}
	k := Key{Expr: sqlparser.String(e), Item: -1, Agg: aggregate(e)}
	k.Mixed = k.Agg == nil && containsAggregate(e) || q.namesItem(e)
	c, isColumn := column(e, 0)
	if isColumn {
		k.Column = &c
	}
	for i, it := range q.Items {
		if it.Star {
			continue
		}
		alias := isColumn && c.Table == "" && strings.EqualFold(it.Name, c.Name)
		if !alias && it.Expr != k.Expr {
			continue
		}
		if alias && !order && (it.Column == nil || !strings.EqualFold(it.Column.Name, c.Name)) {
			k.Alias = c.Name
		}
		k.Item, k.Expr, k.Agg, k.Column = i, it.Expr, nil, it.Column
		k.Mixed = k.Mixed || it.Mixed
		break
	}
	return k
}

// namesItem says whether an expression, not being a name itself, has in it the name of an item that is something else than
// the column of that name.
func (q *Query) namesItem(e sqlparser.Expr) bool {
	if _, ok := e.(*sqlparser.ColName); ok {
		return false
	}
	found := false
	_ = sqlparser.Walk(func(n sqlparser.SQLNode) (bool, error) { //nolint:errcheck // the visitor returns none
		c, ok := n.(*sqlparser.ColName)
		if !ok || c.Qualifier.NonEmpty() {
			return true, nil
		}
		for _, it := range q.Items {
			if strings.EqualFold(it.Name, c.Name.String()) && (it.Column == nil || !strings.EqualFold(it.Column.Name, it.Name)) {
				found = true
			}
		}
		return !found, nil
	}, e)
	return found
}

// Edit is a copy of a query that is being changed into what one shard is asked.
type Edit struct{ node *sqlparser.Select }

// Edit begins a change.
func (q *Query) Edit() *Edit {
	return &Edit{node: sqlparser.CloneRefOfSelect(q.node)}
}

// SetItem replaces the expression of an item; its name stays.
func (e *Edit) SetItem(i int, expr string) error {
	x, err := parser.ParseExpr(expr)
	if err != nil {
		return err
	}
	if a, ok := e.node.SelectExprs.Exprs[i].(*sqlparser.AliasedExpr); ok {
		a.Expr = x
	}
	return nil
}

// AddItem adds an item at the end.
func (e *Edit) AddItem(expr string) error {
	x, err := parser.ParseExpr(expr)
	if err != nil {
		return err
	}
	e.node.SelectExprs.Exprs = append(e.node.SelectExprs.Exprs, &sqlparser.AliasedExpr{Expr: x})
	return nil
}

// Position is an item to order by, counted from 0.
type Position struct {
	Item int
	Desc bool
}

// OrderBy replaces the order.
func (e *Edit) OrderBy(positions []Position) {
	e.node.OrderBy = nil
	for _, p := range positions {
		dir := sqlparser.AscOrder
		if p.Desc {
			dir = sqlparser.DescOrder
		}
		e.node.OrderBy = append(e.node.OrderBy, &sqlparser.Order{Expr: uintLiteral(uint64(p.Item + 1)), Direction: dir})
	}
}

// Limit asks for that many rows from the first one on; 0 removes the limit.
func (e *Edit) Limit(rows uint64) {
	e.node.Limit = nil
	if rows > 0 {
		e.node.Limit = &sqlparser.Limit{Rowcount: uintLiteral(rows)}
	}
}

// SQL prints it.
func (e *Edit) SQL() string { return sqlparser.String(e.node) }
