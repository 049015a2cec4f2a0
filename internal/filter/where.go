package filter

import (
	"bytes"
	"fmt"
	"slices"

	"braid/internal/schema"
	"braid/internal/sqlast"
)

// CheckWhere refuses what is no condition that can be evaluated here, as far as that shows without the table.
func CheckWhere(text string) error {
	_, err := sqlast.ParseCondition(text)
	return err
}

// truth is SQL's: a row is kept if the condition is yes.
type truth int8

const (
	no truth = iota
	yes
	null
)

// condition is a compiled condition. cells are those of the columns that it was compiled for.
type condition func(cells [][]byte) truth

// where compiles conditions for a table.
type where struct {
	def     *schema.Table
	columns []int // that are looked at
}

// compileWhere resolves a condition for a table. What cannot be evaluated exactly as the server does is an error.
func compileWhere(text string, def *schema.Table) (condition, []int, error) {
	parsed, err := sqlast.ParseCondition(text)
	if err != nil {
		return nil, nil, err
	}
	w := where{def: def}
	c, err := w.compile(parsed)
	return c, w.columns, err
}

func (w *where) compile(c *sqlast.Condition) (condition, error) {
	switch c.Op {
	case sqlast.OpAnd, sqlast.OpOr, sqlast.OpNot:
		return w.junction(c)
	case sqlast.OpIsNull:
		if c.Args[0].Kind != sqlast.ColumnOperand {
			return nil, fmt.Errorf("IS NULL is asked of something that is no column")
		}
		at, _, err := w.column(c.Args[0].Column)
		return func(cells [][]byte) truth { return is(cells[at] == nil) }, err
	case sqlast.OpIn:
		return w.in(c.Args)
	case sqlast.OpBetween:
		low, err := w.compare(sqlast.OpGreaterEqual, c.Args[0], c.Args[1])
		if err != nil {
			return nil, err
		}
		high, err := w.compare(sqlast.OpLessEqual, c.Args[0], c.Args[2])
		return func(cells [][]byte) truth { return both(low(cells), high(cells)) }, err
	}
	return w.compare(c.Op, c.Args[0], c.Args[1])
}

func (w *where) junction(c *sqlast.Condition) (condition, error) {
	subs := make([]condition, len(c.Sub))
	for i, s := range c.Sub {
		var err error
		if subs[i], err = w.compile(s); err != nil {
			return nil, err
		}
	}
	switch c.Op {
	case sqlast.OpAnd:
		return func(cells [][]byte) truth { return both(subs[0](cells), subs[1](cells)) }, nil
	case sqlast.OpOr:
		return func(cells [][]byte) truth { return invert(both(invert(subs[0](cells)), invert(subs[1](cells)))) }, nil
	}
	return func(cells [][]byte) truth { return invert(subs[0](cells)) }, nil
}

// in is a = b OR a = c OR …
func (w *where) in(args []sqlast.Operand) (condition, error) {
	equals := make([]condition, 0, len(args)-1)
	for _, arg := range args[1:] {
		c, err := w.compare(sqlast.OpEqual, args[0], arg)
		if err != nil {
			return nil, err
		}
		equals = append(equals, c)
	}
	return func(cells [][]byte) truth {
		result := no
		for _, c := range equals {
			switch c(cells) {
			case yes:
				return yes
			case null:
				result = null
			}
		}
		return result
	}, nil
}

// compare orders its sides, then looks which order the operation wants.
func (w *where) compare(op sqlast.ConditionOp, left, right sqlast.Operand) (condition, error) {
	if left.Kind != sqlast.ColumnOperand && left.Kind != sqlast.ModuloOperand {
		if right.Kind != sqlast.ColumnOperand && right.Kind != sqlast.ModuloOperand {
			return nil, fmt.Errorf("a comparison without a column")
		}
		left, right = right, left
		op = mirrored(op)
	}
	if right.Kind == sqlast.NullOperand && op != sqlast.OpNullSafeEqual {
		return nil, fmt.Errorf("a comparison with NULL is never true: IS NULL is meant")
	}
	l, err := w.value(left)
	if err != nil {
		return nil, err
	}
	var order func(a, b []byte) int
	var r value
	if right.Kind == sqlast.ColumnOperand || right.Kind == sqlast.ModuloOperand {
		if r, err = w.value(right); err == nil {
			order, err = orderOfColumns(left.Column, right.Column, l, r)
		}
	} else {
		r, order, err = w.constant(left.Column, l, right)
	}
	if err == nil && l.column != nil && l.column.DataType == "enum" && op != sqlast.OpEqual && op != sqlast.OpNotEqual && op != sqlast.OpNullSafeEqual {
		err = fmt.Errorf("column %s is an ENUM, which is compared with = and IN only", left.Column)
	}
	if err != nil {
		return nil, err
	}
	return func(cells [][]byte) truth {
		a, b := l.get(cells), r.get(cells)
		if a == nil || b == nil {
			if op == sqlast.OpNullSafeEqual {
				return is(a == nil && b == nil)
			}
			return null
		}
		return is(holds(op, order(a, b)))
	}, nil
}

func mirrored(op sqlast.ConditionOp) sqlast.ConditionOp {
	switch op {
	case sqlast.OpLess:
		return sqlast.OpGreater
	case sqlast.OpLessEqual:
		return sqlast.OpGreaterEqual
	case sqlast.OpGreater:
		return sqlast.OpLess
	case sqlast.OpGreaterEqual:
		return sqlast.OpLessEqual
	}
	return op
}

func holds(op sqlast.ConditionOp, order int) bool {
	switch op {
	case sqlast.OpNotEqual:
		return order != 0
	case sqlast.OpLess:
		return order < 0
	case sqlast.OpLessEqual:
		return order <= 0
	case sqlast.OpGreater:
		return order > 0
	case sqlast.OpGreaterEqual:
		return order >= 0
	}
	return order == 0
}

func is(b bool) truth {
	if b {
		return yes
	}
	return no
}

func both(a, b truth) truth {
	switch {
	case a == no || b == no:
		return no
	case a == null || b == null:
		return null
	}
	return yes
}

func invert(a truth) truth {
	switch a {
	case yes:
		return no
	case no:
		return yes
	}
	return null
}

// value is a side of a comparison.
type value struct {
	get    func(cells [][]byte) []byte // nil is NULL
	column *schema.Column              // nil of a literal
	number bool
}

// column notes that a column is looked at, and returns its place among the cells.
func (w *where) column(name string) (int, *schema.Column, error) {
	c := w.def.Column(name)
	if c < 0 {
		return 0, nil, fmt.Errorf("no column %q", name)
	}
	at := slices.Index(w.columns, c)
	if at < 0 {
		at = len(w.columns)
		w.columns = append(w.columns, c)
	}
	return at, &w.def.Columns[c], nil
}

// value compiles a column, or the rest of its division.
func (w *where) value(o sqlast.Operand) (value, error) {
	at, column, err := w.column(o.Column)
	if err != nil {
		return value{}, err
	}
	v := value{column: column, number: isInteger(column) || column.DataType == "decimal", get: func(cells [][]byte) []byte { return cells[at] }}
	if o.Kind != sqlast.ModuloOperand {
		return v, nil
	}
	if !isInteger(column) {
		return v, fmt.Errorf("%% of column %s, which is no integer", o.Column)
	}
	rest, err := modulo(o.Text)
	if err != nil {
		return v, fmt.Errorf("column %s: %w", o.Column, err)
	}
	v.get = func(cells [][]byte) []byte { return rest(cells[at]) }
	return v, nil
}

func isInteger(c *schema.Column) bool {
	switch c.DataType {
	case "tinyint", "smallint", "mediumint", "int", "bigint":
		return true
	}
	return false
}

// orderOfColumns is how two columns compare.
func orderOfColumns(left, right string, l, r value) (func(a, b []byte) int, error) {
	switch {
	case l.number && r.number:
		return compareNumbers, nil
	case l.column.DataType == r.column.DataType && l.column.Fsp == r.column.Fsp && isTemporal(l.column):
		return bytes.Compare, nil
	case l.column.Collation != "" && l.column.Collation == r.column.Collation && isText(l.column) && isText(r.column):
		t, err := textOf(l.column)
		return t.compare, err
	}
	return nil, fmt.Errorf("columns %s (%s) and %s (%s): the comparison of these types cannot be done exactly here", left, l.column.ColumnType, right, r.column.ColumnType)
}

// constant compiles a literal as what the column is compared with.
func (w *where) constant(name string, l value, o sqlast.Operand) (value, func(a, b []byte) int, error) {
	refused := fmt.Errorf("column %s (%s): a comparison with %s cannot be done exactly here", name, l.column.ColumnType, describeOperand(o))
	var cell []byte
	var order func(a, b []byte) int
	var err error
	switch {
	case o.Kind == sqlast.NullOperand:
		return value{get: func([][]byte) []byte { return nil }}, bytes.Compare, nil
	case l.number && (o.Kind == sqlast.IntegerOperand || o.Kind == sqlast.DecimalOperand):
		cell, order = []byte(o.Text), compareNumbers
	case isTemporal(l.column) && o.Kind == sqlast.StringOperand:
		cell, order, err = temporal(l.column, o.Text)
	case l.column.DataType == "enum" && o.Kind == sqlast.StringOperand:
		cell, order, err = member(l.column, o.Text)
	case isText(l.column) && o.Kind == sqlast.StringOperand:
		cell, order, err = text(l.column, o.Text)
	case isBytes(l.column) && (o.Kind == sqlast.StringOperand || o.Kind == sqlast.HexOperand):
		cell, err = literalBytes(o)
		order = bytes.Compare
	default:
		err = refused
	}
	if err != nil {
		return value{}, nil, fmt.Errorf("column %s (%s): %w", name, l.column.ColumnType, err)
	}
	return value{get: func([][]byte) []byte { return cell }}, order, nil
}

func describeOperand(o sqlast.Operand) string {
	switch o.Kind {
	case sqlast.StringOperand:
		return fmt.Sprintf("the string %q", o.Text)
	case sqlast.HexOperand:
		return "x'" + o.Text + "'"
	}
	return "the number " + o.Text
}
