package workflow

import (
	"strings"

	"braid/internal/schema"
)

// TargetDDL is a CREATE TABLE statement of the source as the target needs it. Where that is sharded AUTO_INCREMENT goes, the
// column's attribute and the table's counter: shards that count each for themselves would give the same id twice; a statement
// without an id then fails, or takes it from a sequence. Elsewhere the counter stays: it may be ahead of the rows, whose ids are
// not given again. Quoted text (names, comments, defaults) is not touched.
func TargetDDL(create string, sharded bool) string {
	if !sharded {
		return create
	}
	var b strings.Builder
	for i := 0; i < len(create); {
		if n := schema.QuotedLength(create[i:]); n > 0 {
			b.WriteString(create[i : i+n])
			i += n
			continue
		}
		if n := autoIncrement(create, i); n > 0 {
			i += n
			continue
		}
		b.WriteByte(create[i])
		i++
	}
	return b.String()
}

// autoIncrement returns how much of s at i to leave out: the words and the blank before them.
func autoIncrement(s string, i int) int {
	const word = " AUTO_INCREMENT"
	if len(s)-i < len(word) || !strings.EqualFold(s[i:i+len(word)], word) {
		return 0
	}
	end := i + len(word)
	if end < len(s) && s[end] == '=' {
		for end++; end < len(s) && '0' <= s[end] && s[end] <= '9'; end++ {
		}
		return end - i
	}
	if end == len(s) || strings.IndexByte(" ,\n)", s[end]) >= 0 {
		return end - i
	}
	return 0
}

// References are the tables of the same database that a CREATE TABLE statement's foreign keys refer to.
func References(create string) []string {
	const word = "REFERENCES `"
	var names []string
	for i := 0; i < len(create); {
		if strings.HasPrefix(create[i:], word) {
			rest := create[i+len(word):]
			if end := strings.IndexByte(rest, '`'); end > 0 {
				names = append(names, rest[:end])
				i += len(word) + end + 1
				continue
			}
		}
		if n := schema.QuotedLength(create[i:]); n > 0 {
			i += n
			continue
		}
		i++
	}
	return names
}

// CreationOrder sorts tables so that each comes after those that it refers to, otherwise in the given order. Tables that
// refer to each other in a circle stay in that order.
func CreationOrder(tables []string, references map[string][]string) []string {
	known := map[string]bool{}
	for _, t := range tables {
		known[t] = true
	}
	var order []string
	visited := map[string]bool{}
	var visit func(string)
	visit = func(t string) {
		if visited[t] || !known[t] {
			return
		}
		visited[t] = true
		for _, r := range references[t] {
			visit(r)
		}
		order = append(order, t)
	}
	for _, t := range tables {
		visit(t)
	}
	return order
}
