package replicate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"braid/internal/filter"
)

// Selection says which tables and rows are replicated, and under which names. Names of databases and tables are patterns: * stands for any
// run of characters, ? for one; everything else, _ included, stands for itself. A name in backquotes is taken as it is.
//
// The order is that of MySQL's replication filters. A database that Databases does not name is left out. Then the first list that
// names the table decides: Tables and IgnoreTables without wildcards, then Tables and IgnoreTables with wildcards. What none names is
// replicated, unless there are Tables. All of it is about the names on the source.
type Selection struct {
	Databases    []string // empty: all but the system schemas
	Tables       []string // db.table
	IgnoreTables []string // db.table
	Rename       []string // db.t=db2.t2; db.*=db2.* for all tables of a database
	Where        []string // db.t:expression
}

// Rules compiles a selection.
func (s *Selection) Rules() (filter.Rules, error) {
	c := compiler{}
	for _, text := range s.Databases {
		p, rest, err := parsePart(text)
		if err != nil || rest != "" {
			return filter.Rules{}, fmt.Errorf("--databases %q: not the name of a database, nor a pattern of one", text)
		}
		c.databases = append(c.databases, p)
	}
	var err error
	if c.tables, err = parseNames("--tables", s.Tables); err != nil {
		return filter.Rules{}, err
	}
	if c.ignore, err = parseNames("--ignore-tables", s.IgnoreTables); err != nil {
		return filter.Rules{}, err
	}
	for _, text := range s.Rename {
		if err := c.rename(text); err != nil {
			return filter.Rules{}, fmt.Errorf("--rename %q: %w", text, err)
		}
	}
	for _, text := range s.Where {
		if err := c.condition(text); err != nil {
			return filter.Rules{}, fmt.Errorf("--where %q: %w", text, err)
		}
	}
	return c.rules()
}

// pattern is a part of a name.
type pattern struct {
	text string // a name, or a slash and a regular expression
	wild bool
}

func (p pattern) matches(name string) bool {
	if !p.wild {
		return p.text == name
	}
	return regexp.MustCompile("^(?:" + p.text[1:] + ")$").MatchString(name)
}

// name is a pattern of a table's name.
type name struct{ db, table pattern }

func (n name) wild() bool { return n.db.wild || n.table.wild }

func (n name) String() string { return n.db.text + "." + n.table.text }

// parsePart reads one part of a name, and what is behind it.
func parsePart(text string) (p pattern, rest string, err error) {
	if strings.HasPrefix(text, "`") {
		for i := 1; i < len(text); i++ {
			if text[i] != '`' {
				continue
			}
			if i+1 < len(text) && text[i+1] == '`' {
				i++
				continue
			}
			plain := strings.ReplaceAll(text[1:i], "``", "`")
			return pattern{text: plain}, text[i+1:], notEmpty(plain)
		}
		return p, "", fmt.Errorf("the backquote is not closed")
	}
	end := strings.IndexAny(text, ".=:")
	if end < 0 {
		end = len(text)
	}
	plain, rest := text[:end], text[end:]
	if !strings.ContainsAny(plain, "*?") {
		if strings.HasPrefix(plain, "/") { // would be taken for an expression
			return pattern{text: "/" + regexp.QuoteMeta(plain), wild: true}, rest, nil
		}
		return pattern{text: plain}, rest, notEmpty(plain)
	}
	expr := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(plain))
	return pattern{text: "/" + "(?s)" + expr, wild: true}, rest, nil
}

func notEmpty(name string) error {
	if name == "" {
		return fmt.Errorf("a name is empty")
	}
	return nil
}

// parseName reads db.table.
func parseName(text string) (n name, rest string, err error) {
	if n.db, rest, err = parsePart(text); err != nil {
		return n, "", err
	}
	rest, found := strings.CutPrefix(rest, ".")
	if !found {
		return n, "", fmt.Errorf("it names no table: the form is database.table")
	}
	n.table, rest, err = parsePart(rest)
	return n, rest, err
}

func parseNames(flag string, texts []string) (names []name, err error) {
	for _, text := range texts {
		n, rest, err := parseName(text)
		if err == nil && rest != "" {
			err = fmt.Errorf("%q behind the name", rest)
		}
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", flag, text, err)
		}
		names = append(names, n)
	}
	return names, nil
}

// compiler makes rules.
type compiler struct {
	databases      []pattern
	tables, ignore []name
	tableNames     []change // of single tables: names and conditions
	dbNames        []change // of whole databases
}

// change is what happens to a table, or to all of a database.
type change struct {
	db, table     string
	toDB, toTable string
	where         string
}

func (c *compiler) rename(text string) error {
	from, rest, err := parseName(text)
	if err != nil {
		return err
	}
	rest, found := strings.CutPrefix(rest, "=")
	if !found {
		return fmt.Errorf("the form is db.t=db2.t2, or db.*=db2.*")
	}
	to, rest, err := parseName(rest)
	if err == nil && rest != "" {
		err = fmt.Errorf("%q behind the name", rest)
	}
	if err != nil {
		return err
	}
	const all = "/(?s).*"
	switch {
	case from.db.wild || to.db.wild:
		return fmt.Errorf("the databases must be named")
	case filter.System(to.db.text) || filter.System(from.db.text):
		return fmt.Errorf("system schemas are not replicated")
	case from.table.text == all && to.table.text == all:
		if c.find(c.dbNames, from.db.text, "") != nil {
			return fmt.Errorf("database %s has two new names", from.db.text)
		}
		c.dbNames = append(c.dbNames, change{db: from.db.text, toDB: to.db.text})
	case from.wild() || to.wild():
		return fmt.Errorf("a table's name may have no wildcards here; db.*=db2.* renames the database of all tables")
	default:
		t := c.one(from)
		if t.toTable != "" {
			return fmt.Errorf("table %s has two new names", from)
		}
		t.toDB, t.toTable = to.db.text, to.table.text
	}
	return nil
}

func (c *compiler) condition(text string) error {
	n, rest, err := parseName(text)
	if err != nil {
		return err
	}
	expr, found := strings.CutPrefix(rest, ":")
	if !found || strings.TrimSpace(expr) == "" {
		return fmt.Errorf("the form is db.table:expression")
	}
	if n.wild() {
		return fmt.Errorf("the table's name may have no wildcards here")
	}
	t := c.one(n)
	if t.where != "" {
		return fmt.Errorf("table %s has two conditions: join them with AND", n)
	}
	t.where = strings.TrimSpace(expr)
	return filter.CheckWhere(t.where)
}

func (c *compiler) find(list []change, db, table string) *change {
	for i := range list {
		if list[i].db == db && list[i].table == table {
			return &list[i]
		}
	}
	return nil
}

// one is the change of a single table.
func (c *compiler) one(n name) *change {
	if t := c.find(c.tableNames, n.db.text, n.table.text); t != nil {
		return t
	}
	c.tableNames = append(c.tableNames, change{db: n.db.text, table: n.table.text})
	return &c.tableNames[len(c.tableNames)-1]
}

// base are the rules without new names and conditions, in their order.
func (c *compiler) base() []filter.Rule {
	var rules []filter.Rule
	add := func(names []name, wild, ignore bool) {
		for _, n := range names {
			if n.wild() == wild {
				rules = append(rules, filter.Rule{DB: n.db.text, Table: n.table.text, Ignore: ignore})
			}
		}
	}
	add(c.tables, false, false)
	add(c.ignore, false, true)
	add(c.tables, true, false)
	add(c.ignore, true, true)
	if len(c.tables) == 0 {
		rules = append(rules, filter.Rule{DB: "/.*", Table: "/.*"})
	}
	return rules
}

func (c *compiler) rules() (filter.Rules, error) {
	base := c.base()
	all := filter.Rules{Rules: base}
	for _, db := range c.databases {
		all.Databases = append(all.Databases, db.text)
	}
	if err := c.check(all); err != nil {
		return filter.Rules{}, err
	}
	for i := range c.tableNames { // a table takes its database's new name, unless it has one of its own
		t := &c.tableNames[i]
		if db := c.find(c.dbNames, t.db, ""); db != nil && t.toDB == "" {
			t.toDB = db.toDB
		}
	}
	var rules []filter.Rule
	for _, t := range c.tableNames {
		rules = append(rules, filter.Rule{DB: t.db, Table: t.table, TargetDB: t.toDB, Target: t.toTable, Where: t.where})
	}
	for _, rule := range base {
		for _, db := range c.dbNames {
			if rule.DB == db.db || strings.HasPrefix(rule.DB, "/") {
				renamed := rule
				renamed.DB = db.db
				if !rule.Ignore {
					renamed.TargetDB = db.toDB
				}
				if rule.DB == db.db || c.patternMatches(rule.DB, db.db) {
					rules = append(rules, renamed)
				}
			}
		}
		if c.find(c.dbNames, rule.DB, "") == nil { // else its copy above stands for it
			rules = append(rules, rule)
		}
	}
	all.Rules = rules
	return all, all.Validate()
}

func (c *compiler) patternMatches(text, name string) bool {
	return pattern{text: text, wild: strings.HasPrefix(text, "/")}.matches(name)
}

// check refuses what would have no effect: it is a mistake.
func (c *compiler) check(all filter.Rules) error {
	for _, t := range c.tableNames {
		if all.Match(t.db, t.table) == nil {
			return fmt.Errorf("--rename or --where names table %s.%s, which is not selected", t.db, t.table)
		}
	}
	for _, n := range slices.Concat(c.tables, c.ignore) {
		if len(c.databases) > 0 && !n.db.wild && !slices.ContainsFunc(c.databases, func(p pattern) bool { return p.matches(n.db.text) }) {
			return fmt.Errorf("--tables or --ignore-tables names table %s, whose database --databases leaves out", n)
		}
	}
	return nil
}
