package sqlast

import (
	"errors"
	"fmt"
	"strings"

	"vitess.io/vitess/go/vt/sqlparser"
)

// Condition is a boolean expression over the columns of one row, in the few forms that ParseCondition knows.
type Condition struct {
	Op   ConditionOp
	Sub  []*Condition // of OpAnd, OpOr, OpNot
	Args []Operand    // of all others; those of OpIn are the left side and the list
}

// ConditionOp is what a Condition does.
type ConditionOp string

// The operations. OpBetween has the bounds as its second and third argument.
const (
	OpAnd           ConditionOp = "AND"
	OpOr            ConditionOp = "OR"
	OpNot           ConditionOp = "NOT"
	OpEqual         ConditionOp = "="
	OpNotEqual      ConditionOp = "<>"
	OpLess          ConditionOp = "<"
	OpLessEqual     ConditionOp = "<="
	OpGreater       ConditionOp = ">"
	OpGreaterEqual  ConditionOp = ">="
	OpNullSafeEqual ConditionOp = "<=>"
	OpIn            ConditionOp = "IN"
	OpBetween       ConditionOp = "BETWEEN"
	OpIsNull        ConditionOp = "IS NULL"
)

// Operand is a scalar: a column, the rest of a division of a column, or a literal.
type Operand struct {
	Kind   OperandKind
	Column string // of Column and Modulo
	Text   string // of literals, without quotes; of Modulo the divisor
}

// OperandKind is what an Operand is.
type OperandKind uint8

// The kinds.
const (
	ColumnOperand OperandKind = iota + 1
	ModuloOperand             // MOD(column, integer), column % integer
	IntegerOperand
	DecimalOperand
	StringOperand
	HexOperand // x'00ff' and 0x00ff; Text is as it was written between the quotes
	NullOperand
)

// ParseCondition reads a condition. What is in it must be one of the forms above: anything else is an error that shows it.
func ParseCondition(text string) (*Condition, error) {
	e, err := parser.ParseExpr(text)
	if err != nil {
		return nil, errors.New(strings.TrimSpace(strings.TrimPrefix(err.Error(), "Code: INVALID_ARGUMENT\n")))
	}
	return condition(e)
}

func condition(e sqlparser.Expr) (*Condition, error) {
	switch e := e.(type) {
	case *sqlparser.AndExpr:
		return junction(OpAnd, e.Left, e.Right)
	case *sqlparser.OrExpr:
		return junction(OpOr, e.Left, e.Right)
	case *sqlparser.NotExpr:
		return junction(OpNot, e.Expr)
	case *sqlparser.ComparisonExpr:
		return comparison(e)
	case *sqlparser.BetweenExpr:
		c, err := scalars(OpBetween, e.Left, e.From, e.To)
		return negated(c, err, !e.IsBetween)
	case *sqlparser.IsExpr:
		c, err := scalars(OpIsNull, e.Left)
		switch e.Right {
		case sqlparser.IsNullOp:
			return c, err
		case sqlparser.IsNotNullOp:
			return negated(c, err, true)
		}
	}
	return nil, unknown(e)
}

func unknown(e sqlparser.SQLNode) error {
	return fmt.Errorf("%s is not understood: conditions are made of AND, OR, NOT, comparisons of columns with literals or columns, IN, BETWEEN, IS NULL, and column %% integer", sqlparser.String(e))
}

func junction(op ConditionOp, parts ...sqlparser.Expr) (*Condition, error) {
	c := &Condition{Op: op}
	for _, p := range parts {
		sub, err := condition(p)
		if err != nil {
			return nil, err
		}
		c.Sub = append(c.Sub, sub)
	}
	return c, nil
}

func negated(c *Condition, err error, not bool) (*Condition, error) {
	if err != nil || !not {
		return c, err
	}
	return &Condition{Op: OpNot, Sub: []*Condition{c}}, nil
}

var comparisons = map[sqlparser.ComparisonExprOperator]ConditionOp{
	sqlparser.EqualOp: OpEqual, sqlparser.NotEqualOp: OpNotEqual, sqlparser.LessThanOp: OpLess, sqlparser.LessEqualOp: OpLessEqual,
	sqlparser.GreaterThanOp: OpGreater, sqlparser.GreaterEqualOp: OpGreaterEqual, sqlparser.NullSafeEqualOp: OpNullSafeEqual,
}

func comparison(e *sqlparser.ComparisonExpr) (*Condition, error) {
	if op, ok := comparisons[e.Operator]; ok && e.Modifier == sqlparser.Missing {
		return scalars(op, e.Left, e.Right)
	}
	list, ok := e.Right.(sqlparser.ValTuple)
	if !ok || e.Operator != sqlparser.InOp && e.Operator != sqlparser.NotInOp {
		return nil, unknown(e)
	}
	c, err := scalars(OpIn, append([]sqlparser.Expr{e.Left}, list...)...)
	return negated(c, err, e.Operator == sqlparser.NotInOp)
}

func scalars(op ConditionOp, list ...sqlparser.Expr) (*Condition, error) {
	c := &Condition{Op: op}
	for _, e := range list {
		o, err := operand(e)
		if err != nil {
			return nil, err
		}
		c.Args = append(c.Args, o)
	}
	return c, nil
}

func operand(e sqlparser.Expr) (Operand, error) {
	switch e := e.(type) {
	case *sqlparser.ColName:
		if !e.Qualifier.IsEmpty() {
			return Operand{}, fmt.Errorf("%s: columns are named without their table", sqlparser.String(e))
		}
		return Operand{Kind: ColumnOperand, Column: e.Name.String()}, nil
	case *sqlparser.Literal:
		return literalOperand(e)
	case *sqlparser.NullVal:
		return Operand{Kind: NullOperand}, nil
	case sqlparser.BoolVal:
		if e {
			return Operand{Kind: IntegerOperand, Text: "1"}, nil
		}
		return Operand{Kind: IntegerOperand, Text: "0"}, nil
	case *sqlparser.UnaryExpr:
		return signed(e)
	case *sqlparser.BinaryExpr:
		if e.Operator == sqlparser.ModOp {
			return modulo(e, e.Left, e.Right)
		}
	case *sqlparser.FuncExpr:
		if e.Name.EqualString("mod") && len(e.Exprs) == 2 && e.Qualifier.IsEmpty() {
			return modulo(e, e.Exprs[0], e.Exprs[1])
		}
	}
	return Operand{}, unknown(e)
}

func literalOperand(e *sqlparser.Literal) (Operand, error) {
	switch e.Type {
	case sqlparser.StrVal:
		return Operand{Kind: StringOperand, Text: e.Val}, nil
	case sqlparser.IntVal:
		return Operand{Kind: IntegerOperand, Text: e.Val}, nil
	case sqlparser.DecimalVal:
		return Operand{Kind: DecimalOperand, Text: e.Val}, nil
	case sqlparser.HexVal:
		return Operand{Kind: HexOperand, Text: e.Val}, nil
	case sqlparser.HexNum:
		return Operand{Kind: HexOperand, Text: e.Val[2:]}, nil
	}
	return Operand{}, unknown(e)
}

func signed(e *sqlparser.UnaryExpr) (Operand, error) {
	o, err := operand(e.Expr)
	if err != nil {
		return o, err
	}
	if o.Kind != IntegerOperand && o.Kind != DecimalOperand || strings.HasPrefix(o.Text, "-") {
		return o, unknown(e)
	}
	switch e.Operator {
	case sqlparser.UMinusOp:
		o.Text = "-" + o.Text
		return o, nil
	case sqlparser.UPlusOp:
		return o, nil
	}
	return o, unknown(e)
}

func modulo(e sqlparser.Expr, left, right sqlparser.Expr) (Operand, error) {
	column, err := operand(left)
	if err != nil {
		return column, err
	}
	divisor, err := operand(right)
	if err != nil {
		return divisor, err
	}
	if column.Kind != ColumnOperand || divisor.Kind != IntegerOperand {
		return Operand{}, unknown(e)
	}
	return Operand{Kind: ModuloOperand, Column: column.Column, Text: divisor.Text}, nil
}
