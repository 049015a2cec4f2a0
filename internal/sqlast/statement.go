package sqlast

import (
	"errors"
	"fmt"
	"strings"

	"vitess.io/vitess/go/vt/sqlparser"
)

// Kind says what a statement is.
type Kind int

// The kinds. Other is what exists and is none of these: it is relayed where that makes sense.
const (
	Other Kind = iota
	Empty
	Select // also UNION, VALUES and WITH
	NextVal
	Insert // also REPLACE
	Update
	Delete
	DDL
	Set
	Use
	Show
	Describe
	Explain
	Begin
	Commit
	Rollback
	Savepoint
	RollbackTo
	Release
	Call
	LockTables
	UnlockTables
	Kill
	Load
	Privilege // GRANT, REVOKE, CREATE USER …
	Database  // CREATE, DROP, ALTER DATABASE
	Flush
	Prepare // PREPARE, EXECUTE, DEALLOCATE in SQL
)

// Statement is one statement.
type Statement struct {
	SQL  string // as the client wrote it
	Kind Kind
	Err  error // why there is no tree; the Kind is then by the first word
	node sqlparser.Statement
}

// parser reads versioned comments as a server of this version does.
var parser = func() *sqlparser.Parser {
	p, err := sqlparser.New(sqlparser.Options{MySQLServerVersion: "8.4.0"})
	if err != nil {
		panic(err)
	}
	return p
}()

// Parse reads one statement. It always returns one; see Statement.Err.
func Parse(sql string) *Statement {
	s := &Statement{SQL: sql, Kind: kindByWords(sql)}
	node, err := parser.Parse(sql)
	switch {
	case errors.Is(err, sqlparser.ErrEmpty):
		s.Kind = Empty
	case err != nil:
		s.Err = errors.New(strings.TrimSpace(strings.TrimPrefix(err.Error(), "Code: INVALID_ARGUMENT\n")))
	default:
		s.node = node
		if k, ok := kindOf(node); ok {
			s.Kind = k
		}
		if ddl, ok := node.(sqlparser.DDLStatement); ok && !ddl.IsFullyParsed() {
			s.Err = errors.New("syntax that is not known here")
		}
	}
	return s
}

// Split cuts a text at the semicolons between statements.
func Split(sql string) ([]string, error) {
	trimmed := strings.TrimRight(sql, " \t\r\n;")
	if !strings.Contains(trimmed, ";") {
		return []string{trimmed}, nil
	}
	pieces, err := parser.SplitStatementToPieces(trimmed)
	if err != nil {
		return nil, fmt.Errorf("split statements: %w", err)
	}
	if len(pieces) == 0 {
		pieces = []string{""}
	}
	return pieces, nil
}

func kindOf(node sqlparser.Statement) (Kind, bool) {
	switch n := node.(type) {
	case *sqlparser.Select:
		if len(n.SelectExprs.Exprs) == 1 {
			if _, ok := n.SelectExprs.Exprs[0].(*sqlparser.Nextval); ok {
				return NextVal, true
			}
		}
		return Select, true
	case *sqlparser.Union, *sqlparser.ValuesStatement:
		return Select, true
	case *sqlparser.Insert:
		return Insert, true
	case *sqlparser.Update:
		return Update, true
	case *sqlparser.Delete:
		return Delete, true
	case *sqlparser.Set:
		return Set, true
	case *sqlparser.Use:
		return Use, true
	case *sqlparser.Show:
		return Show, true
	case *sqlparser.Begin:
		return Begin, true
	case *sqlparser.Commit:
		return Commit, true
	case *sqlparser.Rollback:
		return Rollback, true
	case *sqlparser.Savepoint:
		return Savepoint, true
	case *sqlparser.SRollback:
		return RollbackTo, true
	case *sqlparser.Release:
		return Release, true
	case *sqlparser.CallProc:
		return Call, true
	case *sqlparser.LockTables:
		return LockTables, true
	case *sqlparser.UnlockTables:
		return UnlockTables, true
	case *sqlparser.Kill:
		return Kill, true
	case *sqlparser.Load:
		return Load, true
	case *sqlparser.ExplainStmt:
		return Explain, true
	case *sqlparser.ExplainTab:
		return Describe, true
	case *sqlparser.CommentOnly:
		return Empty, true
	case sqlparser.DBDDLStatement:
		return Database, true
	case sqlparser.DDLStatement:
		return DDL, true
	}
	return Other, false
}

// words are the kinds by the first word.
var words = map[string]Kind{
	"SELECT": Select, "WITH": Select, "VALUES": Select, "TABLE": Select, "(": Select,
	"INSERT": Insert, "REPLACE": Insert, "UPDATE": Update, "DELETE": Delete,
	"CREATE": DDL, "ALTER": DDL, "DROP": DDL, "TRUNCATE": DDL, "RENAME": DDL,
	"SET": Set, "USE": Use, "SHOW": Show, "DESCRIBE": Describe, "DESC": Describe, "EXPLAIN": Explain,
	"BEGIN": Begin, "START": Begin, "COMMIT": Commit, "ROLLBACK": Rollback, "SAVEPOINT": Savepoint, "RELEASE": Release,
	"CALL": Call, "LOCK": LockTables, "UNLOCK": UnlockTables, "KILL": Kill, "LOAD": Load,
	"GRANT": Privilege, "REVOKE": Privilege, "FLUSH": Flush, "PREPARE": Prepare, "EXECUTE": Prepare, "DEALLOCATE": Prepare,
}

func kindByWords(sql string) Kind {
	first, second := firstWords(sql)
	kind := words[first]
	if kind == DDL {
		switch second {
		case "USER", "ROLE":
			return Privilege
		case "DATABASE", "SCHEMA":
			return Database
		case "PREPARE":
			return Prepare
		}
	}
	return kind
}

func firstWords(sql string) (first, second string) {
	t := parser.NewStringTokenizer(sql)
	t.AllowComments = false
	var got []string
	for len(got) < 2 {
		tok, val := t.Scan()
		if tok == 0 || tok == sqlparser.LEX_ERROR {
			break
		}
		if tok == sqlparser.COMMENT {
			continue
		}
		if val == "" && tok < 128 {
			val = string(rune(tok))
		}
		got = append(got, strings.ToUpper(val))
	}
	got = append(got, "", "")
	return got[0], got[1]
}

// clone copies the tree.
func (s *Statement) clone() sqlparser.Statement {
	return sqlparser.CloneSQLNode(s.node).(sqlparser.Statement)
}

// Writes says whether the statement changes data or takes locks as if it were about to. When in doubt it does.
func (s *Statement) Writes() bool {
	switch s.Kind {
	case Select:
		return s.locks()
	case Empty, Set, Use, Show, Describe, Begin, Commit, Rollback, Savepoint, RollbackTo, Release, UnlockTables, Kill:
		return false
	case Explain:
		e, ok := s.node.(*sqlparser.ExplainStmt)
		return ok && e.Type == sqlparser.AnalyzeType && !isRead(e.Statement)
	}
	return true
}

func isRead(n sqlparser.Statement) bool {
	k, _ := kindOf(n)
	return k == Select
}

func (s *Statement) locks() bool {
	if s.node == nil {
		upper := strings.ToUpper(s.SQL)
		return strings.Contains(upper, "FOR UPDATE") || strings.Contains(upper, "FOR SHARE") || strings.Contains(upper, "LOCK IN SHARE") || strings.Contains(upper, "INTO")
	}
	locks := false
	s.walk(func(n sqlparser.SQLNode) {
		if sel, ok := n.(sqlparser.SelectStatement); ok && sel.GetLock() != sqlparser.NoLock {
			locks = true
		}
	})
	return locks
}

func (s *Statement) walk(visit func(sqlparser.SQLNode)) {
	if s.node == nil {
		return
	}
	_ = sqlparser.Walk(func(n sqlparser.SQLNode) (bool, error) { //nolint:errcheck // the visitor returns none
		visit(n)
		return true, nil
	}, s.node)
}

// Pins says whether the statement leaves something behind in the server's session that no SET can bring back: user variables
// that a query assigns, temporary tables, table locks, named locks, prepared statements. It returns what, "" for nothing.
func (s *Statement) Pins() string {
	switch s.Kind {
	case LockTables:
		return "LOCK TABLES"
	case Prepare:
		return "PREPARE"
	case DDL:
		if ddl, ok := s.node.(sqlparser.DDLStatement); ok && ddl.IsTemporary() {
			return "a temporary table"
		}
	case Call:
		return "a procedure"
	}
	what := ""
	s.walk(func(n sqlparser.SQLNode) {
		switch n := n.(type) {
		case *sqlparser.AssignmentExpr:
			what = "a user variable"
		case *sqlparser.SelectInto:
			if n != nil {
				what = "SELECT … INTO"
			}
		case *sqlparser.LockingFunc:
			what = "a named lock"
		case *sqlparser.FuncExpr:
			if n.Name.EqualString("get_lock") {
				what = "a named lock"
			}
		}
	})
	return what
}

// GrammarMode finds, in a value of sql_mode, a mode that changes how SQL is read; "" if there is none.
func GrammarMode(mode string) string {
	for m := range strings.SplitSeq(strings.ToUpper(mode), ",") {
		switch m = strings.TrimSpace(m); m {
		case "ANSI", "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "PIPES_AS_CONCAT", "HIGH_NOT_PRECEDENCE":
			return m
		}
	}
	return ""
}
