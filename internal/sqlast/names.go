package sqlast

import (
	"strconv"
	"strings"

	"vitess.io/vitess/go/vt/sqlparser"
)

func uintLiteral(n uint64) *sqlparser.Literal {
	return sqlparser.NewIntLiteral(strconv.FormatUint(n, 10))
}

// maxName is the longest name that MySQL derives from an expression.
const maxName = 255

// named returns a copy of the tree in which every result column has the name that MySQL would give it: the text of its
// expression. A printed tree has other spaces and other case.
func (s *Statement) named() sqlparser.Statement {
	node := s.clone()
	sel := outermost(node)
	if sel == nil {
		return node
	}
	texts := itemTexts(s.SQL)
	for i, e := range sel.SelectExprs.Exprs {
		item, ok := e.(*sqlparser.AliasedExpr)
		if !ok || item.As.NotEmpty() || len(texts) != len(sel.SelectExprs.Exprs) {
			continue
		}
		if _, ok := item.Expr.(*sqlparser.ColName); ok {
			continue
		}
		item.As = sqlparser.NewIdentifierCI(texts[i])
	}
	return node
}

// outermost is the SELECT that names the result's columns.
func outermost(node sqlparser.Statement) *sqlparser.Select {
	switch n := node.(type) {
	case *sqlparser.Select:
		return n
	case *sqlparser.Union:
		if left, ok := n.Left.(sqlparser.Statement); ok {
			return outermost(left)
		}
	}
	return nil
}

// afterSelect are words between SELECT and its items.
var afterSelect = map[string]bool{
	"DISTINCT": true, "DISTINCTROW": true, "ALL": true, "HIGH_PRIORITY": true, "STRAIGHT_JOIN": true, "SQL_SMALL_RESULT": true,
	"SQL_BIG_RESULT": true, "SQL_BUFFER_RESULT": true, "SQL_NO_CACHE": true, "SQL_CACHE": true, "SQL_CALC_FOUND_ROWS": true,
}

// afterItems are words that end the items when they stand outside of parentheses.
var afterItems = map[string]bool{
	"FROM": true, "INTO": true, "WHERE": true, "GROUP": true, "HAVING": true, "WINDOW": true, "ORDER": true, "LIMIT": true,
	"FOR": true, "LOCK": true, "UNION": true, "INTERSECT": true, "EXCEPT": true, ";": true,
}

// itemTexts cuts the items of the outermost SELECT out of the text; nil when it is not understood.
func itemTexts(sql string) []string {
	t := parser.NewStringTokenizer(sql)
	depth, start, inItems := 0, 0, false
	var items []string
	end := func(at int) {
		text := strings.TrimSpace(sql[start:at])
		if len(text) > maxName {
			text = text[:maxName]
		}
		items = append(items, text)
	}
	opened := 0 // parentheses around the whole SELECT
	for {
		before := t.Pos
		tok, val := t.Scan()
		if tok == sqlparser.LEX_ERROR {
			return nil
		}
		if tok == sqlparser.COMMENT {
			if inItems && len(items) == 0 && strings.TrimSpace(sql[start:before]) == "" {
				start = t.Pos
			}
			continue
		}
		word := strings.ToUpper(val)
		quoted := before < len(sql) && strings.HasPrefix(strings.TrimLeft(sql[before:], " \t\r\n"), "`") || tok == sqlparser.STRING
		switch {
		case tok == 0:
			if inItems {
				end(len(sql))
			}
			return items
		case !inItems && tok == '(' && len(items) == 0:
			opened++
		case !inItems && word == "SELECT":
			inItems, start = true, t.Pos
		case !inItems:
			if word == "WITH" {
				return nil
			}
		case tok == '(':
			depth++
		case tok == ')':
			if depth == 0 && opened > 0 {
				end(before)
				return items
			}
			depth--
		case depth > 0 || quoted:
		case len(items) == 0 && afterSelect[word] && strings.TrimSpace(sql[start:before]) == "":
			start = t.Pos
		case tok == ',':
			end(t.Pos - 1)
			start = t.Pos
		case afterItems[word] || tok == ';':
			end(before)
			return items
		}
	}
}
