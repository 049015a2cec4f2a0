package sqlast

import (
	"strings"

	"vitess.io/vitess/go/vt/sqlparser"
)

// Column is a column as an expression names it.
type Column struct {
	Table string // alias or name of the table, "" if it does not say
	Name  string
	Block int // the block in which it is written
}

// Source is a table in a block's FROM.
type Source struct {
	Table
	Alias string // what columns call it
}

// Equal is a condition "column = column".
type Equal struct{ A, B Column }

// Fixed is a condition "column is one of these values". No values means that it can never hold.
type Fixed struct {
	Column Column
	Values []Value
}

// Block is one query block: a SELECT, UPDATE or DELETE with its own FROM. Blocks stand inside one another.
type Block struct {
	Parent  int // index of the block around it; -1 for the outermost
	Sources []Source
	Equal   []Equal
	Fixed   []Fixed
	// Derived says that the block is a table of the block around it (or a part of a UNION, or a common table expression):
	// nothing outside restricts its rows. Otherwise it is a subquery in an expression, computed for each row outside.
	Derived bool
	// Natural says that it has a NATURAL JOIN, whose conditions only the server knows.
	Natural bool
}

// Blocks lists the query blocks, the outermost first. ok is false when there is no tree.
func (s *Statement) Blocks() (blocks []*Block, ok bool) {
	if s.node == nil {
		return nil, false
	}
	b := &blockBuilder{ctes: s.ctes()}
	b.statement(s.node, -1, false)
	return b.blocks, true
}

type blockBuilder struct {
	blocks []*Block
	ctes   map[string]bool
}

func (b *blockBuilder) open(parent int, derived bool) (int, *Block) {
	block := &Block{Parent: parent, Derived: derived}
	b.blocks = append(b.blocks, block)
	return len(b.blocks) - 1, block
}

func (b *blockBuilder) statement(n sqlparser.SQLNode, parent int, derived bool) {
	switch n := n.(type) {
	case *sqlparser.Select:
		i, block := b.open(parent, derived)
		b.with(n.With, i)
		for _, e := range n.From {
			b.from(e, i, block, true)
		}
		b.where(n.Where, i, block)
		b.nested(i, n.SelectExprs, n.GroupBy, n.Having, n.OrderBy, n.Limit)
	case *sqlparser.Union:
		i := parent
		if parent < 0 {
			i, _ = b.open(parent, derived)
		}
		b.with(n.With, i)
		b.statement(n.Left, i, true)
		b.statement(n.Right, i, true)
		b.nested(i, n.OrderBy, n.Limit)
	case *sqlparser.Update:
		i, block := b.open(parent, derived)
		b.with(n.With, i)
		for _, e := range n.TableExprs {
			b.from(e, i, block, true)
		}
		b.where(n.Where, i, block)
		b.nested(i, n.Exprs, n.OrderBy, n.Limit)
	case *sqlparser.Delete:
		i, block := b.open(parent, derived)
		b.with(n.With, i)
		for _, e := range n.TableExprs {
			b.from(e, i, block, true)
		}
		b.where(n.Where, i, block)
		b.nested(i, n.OrderBy, n.Limit)
	case *sqlparser.Insert:
		i, block := b.open(parent, derived)
		b.from(n.Table, i, block, true)
		if rows, ok := n.Rows.(sqlparser.TableStatement); ok {
			b.statement(rows, i, true)
		} else {
			b.nested(i, n.Rows)
		}
		b.nested(i, n.OnDup)
	case *sqlparser.ExplainStmt:
		b.statement(n.Statement, parent, derived)
	default:
		i, block := b.open(parent, derived)
		b.sources(n, i, block)
	}
}

// sources takes all tables of a node that is not looked into any deeper.
func (b *blockBuilder) sources(n sqlparser.SQLNode, i int, block *Block) {
	_ = sqlparser.Walk(func(n sqlparser.SQLNode) (bool, error) { //nolint:errcheck // the visitor returns none
		if t, ok := tableOf(n); ok {
			block.Sources = append(block.Sources, Source{Table: t, Alias: t.Name})
		}
		return true, nil
	}, n)
	block.Natural = true
}

func (b *blockBuilder) with(w *sqlparser.With, parent int) {
	if w == nil {
		return
	}
	for _, cte := range w.CTEs {
		b.statement(cte.Subquery, parent, true)
	}
}

// nested finds subqueries in expressions.
func (b *blockBuilder) nested(parent int, nodes ...sqlparser.SQLNode) {
	for _, n := range nodes {
		_ = sqlparser.Walk(func(n sqlparser.SQLNode) (bool, error) { //nolint:errcheck // the visitor returns none
			if sub, ok := n.(*sqlparser.Subquery); ok {
				b.statement(sub.Select, parent, false)
				return false, nil
			}
			return true, nil
		}, n)
	}
}

// from takes a table expression. inner says that conditions on it hold for every row of the block.
func (b *blockBuilder) from(e sqlparser.TableExpr, i int, block *Block, inner bool) {
	switch e := e.(type) {
	case *sqlparser.AliasedTableExpr:
		b.aliased(e, i, block)
	case *sqlparser.ParenTableExpr:
		for _, x := range e.Exprs {
			b.from(x, i, block, inner)
		}
	case *sqlparser.JoinTableExpr:
		left, right := inner, inner
		switch e.Join {
		case sqlparser.LeftJoinType:
			right = false
		case sqlparser.RightJoinType:
			left = false
		case sqlparser.NaturalJoinType, sqlparser.NaturalLeftJoinType, sqlparser.NaturalRightJoinType:
			block.Natural = true
		}
		first := len(block.Sources)
		b.from(e.LeftExpr, i, block, left)
		middle := len(block.Sources)
		b.from(e.RightExpr, i, block, right)
		if e.Condition == nil {
			return
		}
		b.using(e.Condition.Using, block.Sources[first:middle], block.Sources[middle:], i, block)
		// A row without a partner gets NULLs, and equality cannot find a partner elsewhere: columns stay tied. A value is
		// a different matter, it holds for the rows of the optional side only.
		b.conditions(e.Condition.On, i, block, inner && left && right)
	default:
		b.sources(e, i, block)
	}
}

func (b *blockBuilder) aliased(e *sqlparser.AliasedTableExpr, i int, block *Block) {
	switch x := e.Expr.(type) {
	case sqlparser.TableName:
		if x.Qualifier.IsEmpty() && (b.ctes[strings.ToLower(x.Name.String())] || strings.EqualFold(x.Name.String(), "dual")) {
			return
		}
		alias := x.Name.String()
		if e.As.NotEmpty() {
			alias = e.As.String()
		}
		block.Sources = append(block.Sources, Source{Table: Table{x.Qualifier.String(), x.Name.String()}, Alias: alias})
	case *sqlparser.DerivedTable:
		b.statement(x.Select, i, true)
	default:
		b.sources(e, i, block)
	}
}

func (b *blockBuilder) using(names sqlparser.Columns, left, right []Source, i int, block *Block) {
	for _, name := range names {
		for _, l := range left {
			for _, r := range right {
				if len(left) == 1 && len(right) == 1 {
					block.Equal = append(block.Equal, Equal{Column{l.Alias, name.String(), i}, Column{r.Alias, name.String(), i}})
				} else {
					block.Natural = true
				}
			}
		}
	}
}

func (b *blockBuilder) where(w *sqlparser.Where, i int, block *Block) {
	if w != nil {
		b.conditions(w.Expr, i, block, true)
	}
}

// conditions takes the parts of a condition that are joined by AND. values says whether values count (see from).
func (b *blockBuilder) conditions(e sqlparser.Expr, i int, block *Block, values bool) {
	if e == nil {
		return
	}
	for _, part := range sqlparser.SplitAndExpression(nil, e) {
		if b.subqueryIn(part, i, block, values) {
			continue
		}
		b.nested(i, part)
		c, ok := part.(*sqlparser.ComparisonExpr)
		if !ok || c.Modifier != sqlparser.Missing {
			continue
		}
		left, lcol := column(c.Left, i)
		right, rcol := column(c.Right, i)
		switch {
		case c.Operator == sqlparser.EqualOp && lcol && rcol:
			block.Equal = append(block.Equal, Equal{left, right})
		case c.Operator == sqlparser.EqualOp && lcol && values:
			block.Fixed = append(block.Fixed, Fixed{left, []Value{valueOf(c.Right)}})
		case c.Operator == sqlparser.EqualOp && rcol && values:
			block.Fixed = append(block.Fixed, Fixed{right, []Value{valueOf(c.Left)}})
		case c.Operator == sqlparser.InOp && lcol && values:
			if tuple, ok := c.Right.(sqlparser.ValTuple); ok {
				block.Fixed = append(block.Fixed, Fixed{left, valuesOf(tuple)})
			}
		}
	}
}

// subqueryIn takes "column IN (SELECT column …)": it ties the two columns.
func (b *blockBuilder) subqueryIn(e sqlparser.Expr, i int, block *Block, values bool) bool {
	c, ok := e.(*sqlparser.ComparisonExpr)
	if !ok || c.Operator != sqlparser.InOp {
		return false
	}
	sub, ok := c.Right.(*sqlparser.Subquery)
	left, lcol := column(c.Left, i)
	if !ok || !lcol {
		return false
	}
	inner := len(b.blocks)
	b.statement(sub.Select, i, false)
	sel, ok := sub.Select.(*sqlparser.Select)
	if !ok || len(sel.SelectExprs.Exprs) != 1 || sel.Limit != nil || !values {
		return true
	}
	if item, ok := sel.SelectExprs.Exprs[0].(*sqlparser.AliasedExpr); ok {
		if right, ok := column(item.Expr, inner); ok {
			block.Equal = append(block.Equal, Equal{left, right})
		}
	}
	return true
}

func column(e sqlparser.Expr, block int) (Column, bool) {
	c, ok := e.(*sqlparser.ColName)
	if !ok {
		return Column{}, false
	}
	return Column{Table: c.Qualifier.Name.String(), Name: c.Name.String(), Block: block}, true
}
