package sqlast

import (
	"encoding/hex"
	"strconv"
	"strings"

	"vitess.io/vitess/go/vt/sqlparser"
)

// ValueKind says what a value is.
type ValueKind int

// The kinds of values.
const (
	Expression ValueKind = iota // to be computed by a server
	Null
	Integer
	Number // with a point or an exponent
	String
	Bytes   // X'…' or _binary'…'
	Default // the word DEFAULT
)

// Value is an expression where a value is wanted.
type Value struct {
	Kind ValueKind
	Text []byte // of an Integer, Number, String or Bytes
	SQL  string // as printed
}

func valuesOf(tuple sqlparser.ValTuple) []Value {
	out := make([]Value, len(tuple))
	for i, e := range tuple {
		out[i] = valueOf(e)
	}
	return out
}

func valueOf(e sqlparser.Expr) Value {
	switch e := e.(type) {
	case *sqlparser.NullVal:
		return Value{Kind: Null, SQL: "null"}
	case *sqlparser.Default:
		return Value{Kind: Default, SQL: "default"}
	case sqlparser.BoolVal:
		if e {
			return Value{Kind: Integer, Text: []byte("1"), SQL: "1"}
		}
		return Value{Kind: Integer, Text: []byte("0"), SQL: "0"}
	case *sqlparser.IntroducerExpr:
		v := valueOf(e.Expr)
		switch charset := strings.ToLower(e.CharacterSet); {
		case v.Kind != String && v.Kind != Bytes:
			return Value{SQL: sqlparser.String(e)}
		case charset == "_binary":
			v.Kind = Bytes
		case charset == "_utf8mb4" || charset == "_utf8mb3" || charset == "_utf8":
			v.Kind = String
		default:
			return Value{SQL: sqlparser.String(e)}
		}
		v.SQL = sqlparser.String(e)
		return v
	case *sqlparser.UnaryExpr:
		v := valueOf(e.Expr)
		if e.Operator == sqlparser.UMinusOp && (v.Kind == Integer || v.Kind == Number) && !strings.HasPrefix(string(v.Text), "-") {
			return Value{Kind: v.Kind, Text: append([]byte("-"), v.Text...), SQL: sqlparser.String(e)}
		}
	case *sqlparser.Literal:
		return literal(e)
	}
	return Value{SQL: sqlparser.String(e)}
}

func literal(l *sqlparser.Literal) Value {
	v := Value{Text: []byte(l.Val), SQL: sqlparser.String(l)}
	switch l.Type {
	case sqlparser.StrVal:
		v.Kind = String
	case sqlparser.IntVal:
		v.Kind = Integer
	case sqlparser.DecimalVal, sqlparser.FloatVal:
		v.Kind = Number
	case sqlparser.HexVal:
		raw, err := hex.DecodeString(l.Val)
		if err != nil {
			return Value{SQL: v.SQL}
		}
		v.Kind, v.Text = Bytes, raw
	default:
		v.Text = nil
	}
	return v
}

// Uint is a value that is a whole number from 0 on.
func (v Value) Uint() (uint64, bool) {
	if v.Kind != Integer {
		return 0, false
	}
	n, err := strconv.ParseUint(string(v.Text), 10, 64)
	return n, err == nil
}

// Constant says that the value is known without a server.
func (v Value) Constant() bool { return v.Kind != Expression && v.Kind != Default }
