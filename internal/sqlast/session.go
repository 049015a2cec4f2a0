package sqlast

import (
	"strings"

	"vitess.io/vitess/go/vt/sqlparser"
)

// Scope says what a SET changes.
type Scope int

// The scopes.
const (
	SessionScope Scope = iota
	UserScope          // @name
	GlobalScope        // GLOBAL, PERSIST
	NextTxScope        // SET TRANSACTION …
)

// Assign is one part of a SET.
type Assign struct {
	Scope Scope
	Name  string // lower case; "names" and "charset" for SET NAMES and SET CHARACTER SET
	Expr  string // as printed
	Value Value
}

// Assigns returns the parts of a SET.
func (s *Statement) Assigns() ([]Assign, bool) {
	node, ok := s.node.(*sqlparser.Set)
	if !ok {
		return nil, false
	}
	var out []Assign
	for _, e := range node.Exprs {
		a := Assign{Name: e.Var.Name.Lowered(), Expr: sqlparser.String(e.Expr), Value: valueOf(e.Expr)}
		switch e.Var.Scope {
		case sqlparser.GlobalScope, sqlparser.PersistSysScope, sqlparser.PersistOnlySysScope:
			a.Scope = GlobalScope
		case sqlparser.VariableScope:
			a.Scope = UserScope
		case sqlparser.NextTxScope:
			a.Scope = NextTxScope
		}
		// A word without quotes (SET autocommit = ON, SET NAMES latin1) is a column to the parser.
		if c, ok := e.Expr.(*sqlparser.ColName); ok && c.Qualifier.IsEmpty() {
			a.Value = Value{Kind: String, Text: []byte(c.Name.String()), SQL: sqlparser.String(sqlparser.NewStrLiteral(c.Name.String()))}
			a.Expr = a.Value.SQL
		}
		if _, ok := e.Expr.(*sqlparser.Default); ok {
			a.Value.Kind, a.Expr = Default, "default"
		}
		out = append(out, a)
	}
	return out, true
}

// UseTarget is the argument of USE.
func (s *Statement) UseTarget() string {
	if n, ok := s.node.(*sqlparser.Use); ok {
		return n.DBName.String()
	}
	// USE takes shards and tablet types too, which are no identifiers.
	text := strings.TrimSpace(strings.TrimRight(strings.TrimSpace(s.SQL), ";"))
	if len(text) > 3 && strings.EqualFold(text[:3], "use") {
		text = strings.TrimSpace(text[3:])
	}
	return strings.Trim(text, "`'\" ")
}

// SavepointName is the name in SAVEPOINT, ROLLBACK TO and RELEASE SAVEPOINT.
func (s *Statement) SavepointName() string {
	switch n := s.node.(type) {
	case *sqlparser.Savepoint:
		return n.Name.String()
	case *sqlparser.SRollback:
		return n.Name.String()
	case *sqlparser.Release:
		return n.Name.String()
	}
	return ""
}

// KillTarget is what KILL names.
func (s *Statement) KillTarget() (id uint64, query, ok bool) {
	n, ok := s.node.(*sqlparser.Kill)
	if !ok {
		return 0, false, false
	}
	return n.ProcesslistID, n.Type == sqlparser.QueryType, true
}

// NextValue is SELECT NEXT [n] VALUES FROM sequence.
func (s *Statement) NextValue() (seq Table, n Value, ok bool) {
	sel, ok := s.node.(*sqlparser.Select)
	if !ok || s.Kind != NextVal || len(sel.From) != 1 {
		return Table{}, Value{}, false
	}
	next := sel.SelectExprs.Exprs[0].(*sqlparser.Nextval)
	seq, ok = tableOf(sel.From[0])
	return seq, valueOf(next.Expr), ok
}

// Inner is the statement that EXPLAIN explains, with its own text.
func (s *Statement) Inner() (*Statement, bool) {
	n, ok := s.node.(*sqlparser.ExplainStmt)
	if !ok {
		return nil, false
	}
	kind, _ := kindOf(n.Statement)
	return &Statement{SQL: sqlparser.String(n.Statement), Kind: kind, node: n.Statement}, true
}

// Words splits a statement into its first words, upper case, identifiers without quotes. Strings keep theirs out too.
func (s *Statement) Words(limit int) []string {
	t := parser.NewStringTokenizer(s.SQL)
	var out []string
	for len(out) < limit {
		tok, val := t.Scan()
		if tok == 0 || tok == sqlparser.LEX_ERROR || tok == ';' {
			break
		}
		if tok == sqlparser.COMMENT {
			continue
		}
		if val == "" && tok < 128 {
			val = string(rune(tok))
		}
		out = append(out, val)
	}
	return out
}

// ShowDatabase is the database that a SHOW names apart from a table; "" if it names none.
func (s *Statement) ShowDatabase() string {
	show, ok := s.node.(*sqlparser.Show)
	if !ok {
		return ""
	}
	switch n := show.Internal.(type) {
	case *sqlparser.ShowBasic:
		if n.Tbl.IsEmpty() {
			return n.DbName.String()
		}
	case *sqlparser.ShowCreate:
		if n.Command == sqlparser.CreateDb {
			return n.Op.Name.String()
		}
	}
	return ""
}

// BeginText is a BEGIN without its comments, as a server gets it.
func (s *Statement) BeginText() string {
	if n, ok := s.node.(*sqlparser.Begin); ok {
		return strings.ToUpper(sqlparser.String(n))
	}
	return "BEGIN"
}
