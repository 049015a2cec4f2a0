package sqlast

import (
	"strings"

	"vitess.io/vitess/go/vt/sqlparser"
)

// InsertView is an INSERT or REPLACE that is being changed. Its tree is a copy.
type InsertView struct {
	Table      Table
	Columns    []string // none: the statement does not say
	Rows       [][]Value
	FromSelect bool
	Replace    bool
	Ignore     bool
	Updates    []string // columns that ON DUPLICATE KEY UPDATE assigns

	node *sqlparser.Insert
}

// Insert returns the view of an INSERT.
func (s *Statement) Insert() (*InsertView, bool) {
	if _, ok := s.node.(*sqlparser.Insert); !ok {
		return nil, false
	}
	node := s.clone().(*sqlparser.Insert)
	t, ok := tableOf(node.Table)
	if !ok {
		return nil, false
	}
	v := &InsertView{Table: t, node: node, Replace: node.Action == sqlparser.ReplaceAct, Ignore: bool(node.Ignore)}
	for _, c := range node.Columns {
		v.Columns = append(v.Columns, c.String())
	}
	for _, u := range node.OnDup {
		v.Updates = append(v.Updates, u.Name.Name.String())
	}
	rows, ok := node.Rows.(sqlparser.Values)
	if !ok {
		v.FromSelect = true
		return v, true
	}
	for _, row := range rows {
		v.Rows = append(v.Rows, valuesOf(row))
	}
	return v, true
}

// Column is the index of a column, -1 if it is not among them.
func (v *InsertView) Column(name string) int {
	for i, c := range v.Columns {
		if strings.EqualFold(c, name) {
			return i
		}
	}
	return -1
}

// SetColumns says which columns a statement without a list means.
func (v *InsertView) SetColumns(names []string) {
	v.Columns, v.node.Columns = names, nil
	for _, n := range names {
		v.node.Columns = append(v.node.Columns, sqlparser.NewIdentifierCI(n))
	}
}

// AddColumn adds a column with DEFAULT in every row and returns its index.
func (v *InsertView) AddColumn(name string) int {
	v.Columns = append(v.Columns, name)
	v.node.Columns = append(v.node.Columns, sqlparser.NewIdentifierCI(name))
	rows := v.node.Rows.(sqlparser.Values)
	for i := range rows {
		rows[i] = append(rows[i], &sqlparser.Default{})
		v.Rows[i] = append(v.Rows[i], valueOf(&sqlparser.Default{}))
	}
	return len(v.Columns) - 1
}

// SetUint sets a cell to a number.
func (v *InsertView) SetUint(row, column int, n uint64) {
	l := uintLiteral(n)
	v.node.Rows.(sqlparser.Values)[row][column] = l
	v.Rows[row][column] = valueOf(l)
}

// SetExpr sets a cell to an expression given as text.
func (v *InsertView) SetExpr(row, column int, expr string) error {
	x, err := parser.ParseExpr(expr)
	if err != nil {
		return err
	}
	v.node.Rows.(sqlparser.Values)[row][column] = x
	v.Rows[row][column] = valueOf(x)
	return nil
}

// SQL prints the statement with these rows only.
func (v *InsertView) SQL(rows []int) string {
	all := v.node.Rows.(sqlparser.Values)
	part := make(sqlparser.Values, len(rows))
	for i, r := range rows {
		part[i] = all[r]
	}
	v.node.Rows = part
	defer func() { v.node.Rows = all }()
	return sqlparser.String(v.node)
}

// Assignment is a part of SET in an UPDATE.
type Assignment struct {
	Column Column
	Value  Value
}

// UpdateView is an UPDATE as a planner sees it.
type UpdateView struct {
	Assignments []Assignment
	HasLimit    bool
	Ordered     bool
	With        bool
	Where       string // as printed, without the word; "" if there is none
	Target      string // the table expression, as printed
	Single      bool   // it is one table, not a join
}

// Update returns the view of an UPDATE.
func (s *Statement) Update() (*UpdateView, bool) {
	node, ok := s.node.(*sqlparser.Update)
	if !ok {
		return nil, false
	}
	v := &UpdateView{HasLimit: node.Limit != nil, Ordered: len(node.OrderBy) > 0, With: node.With != nil, Where: whereText(node.Where)}
	v.Target, v.Single = target(node.TableExprs)
	for _, e := range node.Exprs {
		c, _ := column(e.Name, 0)
		v.Assignments = append(v.Assignments, Assignment{Column: c, Value: valueOf(e.Expr)})
	}
	return v, true
}

// DeleteView is a DELETE as a planner sees it.
type DeleteView struct {
	HasLimit bool
	Single   bool
}

// Delete returns the view of a DELETE.
func (s *Statement) Delete() (*DeleteView, bool) {
	node, ok := s.node.(*sqlparser.Delete)
	if !ok {
		return nil, false
	}
	_, single := target(node.TableExprs)
	return &DeleteView{HasLimit: node.Limit != nil, Single: single && len(node.Targets) <= 1}, true
}

func whereText(w *sqlparser.Where) string {
	if w == nil {
		return ""
	}
	return sqlparser.String(w.Expr)
}

func target(exprs []sqlparser.TableExpr) (string, bool) {
	if len(exprs) != 1 {
		return "", false
	}
	_, ok := tableOf(exprs[0])
	return sqlparser.String(exprs[0]), ok
}
