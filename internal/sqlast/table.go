package sqlast

import (
	"strings"

	"vitess.io/vitess/go/vt/sqlparser"
)

// Table is a table as the statement names it.
type Table struct {
	Keyspace string // the qualifier; "" if there is none
	Name     string
}

// Tables lists the tables that the statement names, each once, without names of common table expressions.
func (s *Statement) Tables() []Table {
	var out []Table
	seen := map[Table]bool{}
	ctes := s.ctes()
	s.walk(func(n sqlparser.SQLNode) {
		t, ok := tableOf(n)
		if !ok || t.Keyspace == "" && (ctes[strings.ToLower(t.Name)] || strings.EqualFold(t.Name, "dual")) || seen[t] {
			return
		}
		seen[t] = true
		out = append(out, t)
	})
	switch n := s.node.(type) {
	case sqlparser.DDLStatement:
		for _, name := range n.AffectedTables() {
			if t := (Table{name.Qualifier.String(), name.Name.String()}); !seen[t] && t.Name != "" {
				seen[t] = true
				out = append(out, t)
			}
		}
	case *sqlparser.Show:
		if t := showTable(n); t.Name != "" {
			out = append(out, t)
		}
	case *sqlparser.ExplainTab:
		out = append(out, Table{n.Table.Qualifier.String(), n.Table.Name.String()})
	}
	return out
}

func (s *Statement) ctes() map[string]bool {
	names := map[string]bool{}
	s.walk(func(n sqlparser.SQLNode) {
		if cte, ok := n.(*sqlparser.CommonTableExpr); ok {
			names[strings.ToLower(cte.ID.String())] = true
		}
	})
	return names
}

// tableOf is the table of a table expression. Qualifiers of columns are table names in the tree too, and are none of these.
func tableOf(n sqlparser.SQLNode) (Table, bool) {
	a, ok := n.(*sqlparser.AliasedTableExpr)
	if !ok {
		return Table{}, false
	}
	name, ok := a.Expr.(sqlparser.TableName)
	if !ok {
		return Table{}, false
	}
	return Table{name.Qualifier.String(), name.Name.String()}, true
}

func showTable(n *sqlparser.Show) Table {
	var name sqlparser.TableName
	switch show := n.Internal.(type) {
	case *sqlparser.ShowBasic:
		name = show.Tbl
		if name.Qualifier.IsEmpty() && show.DbName.NotEmpty() && name.NonEmpty() {
			name.Qualifier = show.DbName
		}
	case *sqlparser.ShowCreate:
		if show.Command == sqlparser.CreateDb {
			return Table{}
		}
		name = show.Op
	}
	return Table{name.Qualifier.String(), name.Name.String()}
}

// Requalify prints the statement with other qualifiers: rename is asked for every qualifier of tables and columns, and says
// what stands there instead. SQL is the original text when nothing changes. ok is false when there is no tree to print.
func (s *Statement) Requalify(rename func(keyspace, table string) string) (sql string, ok bool) {
	if s.node == nil || s.Err != nil {
		return "", false
	}
	changed := false
	one := func(t sqlparser.TableName) (sqlparser.TableName, bool) {
		if t.Qualifier.IsEmpty() {
			return t, false
		}
		to := rename(t.Qualifier.String(), t.Name.String())
		if to == t.Qualifier.String() {
			return t, false
		}
		changed = true
		t.Qualifier = sqlparser.NewIdentifierCS(to)
		return t, true
	}
	node := s.named()
	node = sqlparser.Rewrite(node, func(c *sqlparser.Cursor) bool {
		switch n := c.Node().(type) {
		case sqlparser.TableName:
			if t, ok := one(n); ok {
				c.Replace(t)
			}
		case *sqlparser.ColName:
			if t, ok := one(n.Qualifier); ok {
				n.Qualifier = t
			}
			return false
		case *sqlparser.StarExpr:
			if t, ok := one(n.TableName); ok {
				n.TableName = t
			}
			return false
		}
		return true
	}, nil).(sqlparser.Statement)
	if !changed {
		return s.SQL, true
	}
	return sqlparser.String(node), true
}

// Qualify returns the statement with a qualifier at every table that has none.
func (s *Statement) Qualify(keyspace string) *Statement {
	if s.node == nil || s.Err != nil {
		return s
	}
	ctes := s.ctes()
	node := sqlparser.Rewrite(s.named(), func(c *sqlparser.Cursor) bool {
		switch n := c.Node().(type) {
		case *sqlparser.AliasedTableExpr:
			if t, ok := tableOf(n); ok && t.Keyspace == "" && !ctes[strings.ToLower(t.Name)] && !strings.EqualFold(t.Name, "dual") {
				n.Expr = sqlparser.TableName{Name: sqlparser.NewIdentifierCS(t.Name), Qualifier: sqlparser.NewIdentifierCS(keyspace)}
				if n.As.IsEmpty() {
					n.As = sqlparser.NewIdentifierCS(t.Name)
				}
			}
		case *sqlparser.ShowBasic:
			if n.DbName.IsEmpty() {
				n.DbName = sqlparser.NewIdentifierCS(keyspace)
			}
		}
		return true
	}, nil).(sqlparser.Statement)
	return &Statement{SQL: sqlparser.String(node), Kind: s.Kind, node: node}
}

// UsesLastInsertID says whether LAST_INSERT_ID() without an argument occurs.
func (s *Statement) UsesLastInsertID() bool {
	if !strings.Contains(strings.ToLower(s.SQL), "last_insert_id") && !strings.Contains(s.SQL, "@@") {
		return false
	}
	found := false
	s.walk(func(n sqlparser.SQLNode) { found = found || isLastInsertID(n) })
	return found
}

func isLastInsertID(n sqlparser.SQLNode) bool {
	switch n := n.(type) {
	case *sqlparser.FuncExpr:
		return n.Name.EqualString("last_insert_id") && len(n.Exprs) == 0
	case *sqlparser.Variable:
		return n.Scope == sqlparser.SessionScope && (n.Name.EqualString("last_insert_id") || n.Name.EqualString("identity"))
	}
	return false
}

// SessionValues are what functions about the session return: the gate knows it, a server behind it does not.
type SessionValues struct {
	LastInsertID uint64
	ConnectionID uint32
	User         string // user@host
	Database     *string
}

// UsesSession says whether the statement asks for something that the gate must answer: see Substitute.
func (s *Statement) UsesSession() bool {
	lower := strings.ToLower(s.SQL)
	for _, f := range []string{"last_insert_id", "connection_id", "current_user", "user(", "session_user", "system_user", "database(", "schema(", "@@identity", "pseudo_thread_id"} {
		if strings.Contains(lower, f) {
			return true
		}
	}
	return false
}

// Substitute returns the statement with functions about the session replaced by their values.
func (s *Statement) Substitute(v SessionValues) *Statement {
	if s.node == nil || s.Err != nil || !s.UsesSession() {
		return s
	}
	changed := false
	replace := func(c *sqlparser.Cursor, e sqlparser.Expr) {
		changed = true
		c.Replace(e)
	}
	node := sqlparser.Rewrite(s.named(), func(c *sqlparser.Cursor) bool {
		switch n := c.Node().(type) {
		case *sqlparser.FuncExpr:
			if len(n.Exprs) > 0 || n.Qualifier.NotEmpty() {
				return true
			}
			switch n.Name.Lowered() {
			case "last_insert_id":
				replace(c, uintLiteral(v.LastInsertID))
			case "connection_id":
				replace(c, uintLiteral(uint64(v.ConnectionID)))
			case "user", "current_user", "session_user", "system_user":
				replace(c, sqlparser.NewStrLiteral(v.User))
			case "database", "schema":
				if v.Database == nil {
					replace(c, &sqlparser.NullVal{})
				} else {
					replace(c, sqlparser.NewStrLiteral(*v.Database))
				}
			}
		case *sqlparser.CurTimeFuncExpr:
			return true
		case *sqlparser.Variable:
			switch {
			case isLastInsertID(n):
				replace(c, uintLiteral(v.LastInsertID))
			case n.Scope == sqlparser.SessionScope && n.Name.EqualString("pseudo_thread_id"):
				replace(c, uintLiteral(uint64(v.ConnectionID)))
			}
		}
		return true
	}, nil).(sqlparser.Statement)
	if !changed {
		return s
	}
	out := *s
	out.node, out.SQL = node, sqlparser.String(node)
	return &out
}
