package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"braid/internal/keyrange"
	"braid/internal/schema"
	"braid/internal/vindex"
)

// Rules are tried in order; the first that matches decides. Either all rules name a database, or none does: then they are about the one
// database of the stream.
type Rules struct {
	// Databases, if there are any, are the only ones whose tables are followed, whatever the rules say: names, or regular expressions
	// behind a slash.
	Databases []string `json:"databases,omitempty"`
	Rules     []Rule   `json:"rules"`
}

// Rule follows one table, or those that a regular expression matches.
type Rule struct {
	// DB is the name of a source database, or a slash and a regular expression for the whole name. Empty: the stream's database.
	DB string `json:"db,omitempty"`
	// Table is the name of a source table, or a slash and a regular expression for the whole name: "/.*" is every table.
	Table string `json:"table"`
	// Ignore leaves the tables out.
	Ignore bool `json:"ignore,omitempty"`
	// Target is the name on the target; empty is the same.
	Target string `json:"target,omitempty"`
	// TargetDB is the database on the target. Empty: of the same name as the source's, if the rule names that, else the stream's.
	TargetDB string `json:"target_db,omitempty"`
	// Where keeps the rows for which a condition is true; see package documentation for what it may say.
	Where string `json:"where,omitempty"`
	// KeyRange keeps the rows whose keyspace ID it holds; empty, "-" and "0" keep all.
	KeyRange string `json:"key_range,omitempty"`
	// Vindex is the type of the vindex, and VindexColumns its columns. Needed when there is a key range.
	Vindex        string   `json:"vindex,omitempty"`
	VindexColumns []string `json:"vindex_columns,omitempty"`
}

// Parse reads the JSON form. Unknown keys are errors.
func Parse(raw []byte) (Rules, error) {
	var r Rules
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return Rules{}, fmt.Errorf("stream rules: %w", err)
	}
	return r, r.Validate()
}

// JSON is the inverse of Parse.
func (r Rules) JSON() []byte {
	raw, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings only
	}
	return raw
}

// Validate checks what can be checked without a table.
func (r Rules) Validate() error {
	for i := range r.Rules {
		_, err := r.Rules[i].compile()
		if err == nil && (r.Rules[i].DB != "") != r.Qualified() {
			err = errors.New("some rules name a database, and some do not")
		}
		if err != nil {
			return fmt.Errorf("stream rule %d for table %q: %w", i+1, r.Rules[i].Table, err)
		}
	}
	for _, pattern := range r.Databases {
		if err := checkPattern(pattern, "database"); err != nil {
			return fmt.Errorf("databases of a stream: %w", err)
		}
	}
	return nil
}

// Match returns the first rule for a table, or nil; also nil when that rule ignores it.
func (r Rules) Match(db, table string) *Rule {
	if !r.holds(db) {
		return nil
	}
	for i := range r.Rules {
		rule := &r.Rules[i]
		if !rule.matches(db, table) {
			continue
		}
		if rule.Ignore {
			return nil
		}
		return rule
	}
	return nil
}

func (r Rules) holds(db string) bool {
	for _, pattern := range r.Databases {
		if named(pattern, db) {
			return true
		}
	}
	return len(r.Databases) == 0
}

func (r *Rule) matches(db, table string) bool {
	return (r.DB == "" || named(r.DB, db)) && named(r.Table, table)
}

// named compares a name with a pattern: a name, or a slash and a regular expression for the whole name.
func named(pattern, name string) bool {
	expr, isRegexp := strings.CutPrefix(pattern, "/")
	if !isRegexp {
		return pattern == name
	}
	re, err := wholeName(expr)
	return err == nil && re.MatchString(name)
}

// Qualified reports whether the rules name databases: then the stream may carry tables of many.
func (r Rules) Qualified() bool { return len(r.Rules) > 0 && r.Rules[0].DB != "" }

// Name is how a stream with these rules calls a table, in requests and in what it keeps: the table's name, or, where the rules are qualified,
// both names with a point between them.
func (r Rules) Name(db, table string) string {
	if !r.Qualified() {
		return table
	}
	return part(db) + "." + part(table)
}

// Database is where a database of the source is on the target, as far as it is replicated as a whole: if a rule follows all of its tables
// that a pattern matches.
func (r Rules) Database(db string) (target string, ok bool) {
	if System(db) || !r.holds(db) {
		return "", false
	}
	for i := range r.Rules {
		rule := &r.Rules[i]
		if !rule.Ignore && strings.HasPrefix(rule.Table, "/") && rule.DB != "" && named(rule.DB, db) {
			if rule.TargetDB != "" {
				return rule.TargetDB, true
			}
			return db, true
		}
	}
	return "", false
}

// part quotes a name that could be taken for two.
func part(name string) string {
	if !strings.ContainsAny(name, ".`") {
		return name
	}
	return "`" + strings.ReplaceAll(name, "`", "``") + "`"
}

// Split is the inverse of Name. Of an unqualified name the database is empty.
func (r Rules) Split(name string) (db, table string) {
	if !r.Qualified() {
		return "", name
	}
	db, rest := unquote(name)
	table, _ = unquote(strings.TrimPrefix(rest, "."))
	return db, table
}

// unquote cuts the first part off.
func unquote(name string) (part, rest string) {
	if !strings.HasPrefix(name, "`") {
		i := strings.IndexByte(name, '.')
		if i < 0 {
			return name, ""
		}
		return name[:i], name[i:]
	}
	for i := 1; i < len(name); i++ {
		if name[i] != '`' {
			continue
		}
		if i+1 < len(name) && name[i+1] == '`' {
			i++
			continue
		}
		return strings.ReplaceAll(name[1:i], "``", "`"), name[i+1:]
	}
	return name, ""
}

// compiled keeps the expressions: a stream matches a table's name at each of its table maps.
var compiled sync.Map // string to *regexp.Regexp

func wholeName(expr string) (*regexp.Regexp, error) {
	if re, ok := compiled.Load(expr); ok {
		return re.(*regexp.Regexp), nil
	}
	re, err := regexp.Compile("^(?:" + expr + ")$")
	if err == nil {
		compiled.Store(expr, re)
	}
	return re, err
}

func checkPattern(pattern, what string) error {
	if pattern == "" || pattern == "/" {
		return fmt.Errorf("it names no %s", what)
	}
	if expr, isRegexp := strings.CutPrefix(pattern, "/"); isRegexp {
		_, err := wholeName(expr)
		return err
	}
	return nil
}

// sharding is what a rule says about rows; a nil vindex keeps all.
type sharding struct {
	vindex vindex.Vindex
	keys   keyrange.Range
}

func (r *Rule) compile() (s sharding, err error) {
	if err := checkPattern(r.Table, "table"); err != nil {
		return s, err
	}
	if r.DB != "" {
		if err := checkPattern(r.DB, "database"); err != nil {
			return s, err
		}
	}
	if (strings.HasPrefix(r.Table, "/")) && r.Target != "" {
		return s, fmt.Errorf("many tables cannot all become %q", r.Target)
	}
	if strings.HasPrefix(r.DB, "/") && !strings.HasPrefix(r.Table, "/") && r.TargetDB != "" {
		return s, fmt.Errorf("tables %q of many databases cannot all come into %q", r.Table, r.TargetDB)
	}
	if r.Where != "" {
		if err := CheckWhere(r.Where); err != nil {
			return s, fmt.Errorf("condition %s: %w", r.Where, err)
		}
	}
	if s.keys, err = keyrange.Parse(r.KeyRange); err != nil || s.keys.IsFull() {
		return s, err
	}
	if r.Vindex == "" || len(r.VindexColumns) == 0 {
		return s, fmt.Errorf("key range %s without a vindex and its columns", s.keys)
	}
	s.vindex, err = vindex.New(r.Vindex, nil)
	return s, err
}

// Plan resolves the rules for one table definition. A nil plan means that the table is not followed.
func (r Rules) Plan(t *schema.Table) (*Plan, error) {
	rule := r.Match(t.DB, t.Name)
	if rule == nil {
		return nil, nil
	}
	s, err := rule.compile()
	if err != nil {
		return nil, fmt.Errorf("stream rule for table %s: %w", t.Name, err)
	}
	plan := &Plan{Table: t.Name, Target: rule.Target, TargetDB: rule.TargetDB, keys: s.keys, vindex: s.vindex, primaryKey: t.PrimaryKey}
	if plan.Target == "" {
		plan.Target = t.Name
	}
	if plan.TargetDB == "" && rule.DB != "" {
		plan.TargetDB = t.DB
	}
	if err := plan.sharded(rule, t); err != nil {
		return nil, err
	}
	if rule.Where == "" {
		return plan, nil
	}
	var columns []int
	if plan.where, columns, err = compileWhere(rule.Where, t); err != nil {
		return nil, fmt.Errorf("table %s: condition %s: %w", t.Name, rule.Where, err)
	}
	plan.columns = append(plan.columns, columns...)
	return plan, nil
}

// sharded resolves the vindex columns.
func (p *Plan) sharded(rule *Rule, t *schema.Table) error {
	if p.vindex == nil {
		return nil
	}
	for _, name := range rule.VindexColumns {
		c := t.Column(name)
		if c < 0 {
			return fmt.Errorf("table %s: no column %q, which vindex %s needs", t.Name, name, rule.Vindex)
		}
		p.columns = append(p.columns, c)
	}
	p.vindexed = len(p.columns)
	return nil
}
