package inspect

import (
	"fmt"
	"regexp"
	"strings"
)

// Patterns choose tables: db.table, with * for any characters and ? for one. A pattern without a point is a table of any database.
type Patterns struct {
	tables, databases []*regexp.Regexp
}

// ParsePatterns reads patterns; none is nil, which means all tables.
func ParsePatterns(list []string) (*Patterns, error) {
	if len(list) == 0 {
		return nil, nil
	}
	p := &Patterns{}
	for _, text := range list {
		db, table, dotted := strings.Cut(text, ".")
		if !dotted {
			db, table = "*", text
		}
		if db == "" || table == "" {
			return nil, fmt.Errorf("%q is not of the form db.table", text)
		}
		p.tables = append(p.tables, wildcard(db+"\x00"+table))
		p.databases = append(p.databases, wildcard(db))
	}
	return p, nil
}

func wildcard(text string) *regexp.Regexp {
	expr := strings.NewReplacer(`\*`, `[^\x00]*`, `\?`, `[^\x00]`).Replace(regexp.QuoteMeta(text))
	return regexp.MustCompile(`^(?s:` + expr + `)$`)
}

// Match reports whether a table is wanted. It is right for a nil *Patterns.
func (p *Patterns) Match(db, table string) bool {
	return p == nil || matches(p.tables, db+"\x00"+table)
}

// MatchDB reports whether tables of a database may be wanted.
func (p *Patterns) MatchDB(db string) bool { return p == nil || matches(p.databases, db) }

func matches(list []*regexp.Regexp, s string) bool {
	for _, re := range list {
		if re.MatchString(s) {
			return true
		}
	}
	return false
}
