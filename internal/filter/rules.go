package filter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"braid/internal/keyrange"
	"braid/internal/schema"
	"braid/internal/vindex"
)

// Rules are tried in order; the first whose Table matches decides.
type Rules struct {
	Rules []Rule `json:"rules"`
}

// Rule follows one table, or those that a regular expression matches.
type Rule struct {
	// Table is the name of a source table, or a slash and a regular expression for the whole name: "/.*" is every table.
	Table string `json:"table"`
	// Target is the name on the target; empty is the same.
	Target string `json:"target,omitempty"`
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
		if _, err := r.Rules[i].compile(); err != nil {
			return fmt.Errorf("stream rule %d for table %q: %w", i+1, r.Rules[i].Table, err)
		}
	}
	return nil
}

// Match returns the first rule for the table, or nil.
func (r Rules) Match(table string) *Rule {
	for i := range r.Rules {
		if r.Rules[i].matches(table) {
			return &r.Rules[i]
		}
	}
	return nil
}

func (r *Rule) matches(table string) bool {
	expr, isRegexp := strings.CutPrefix(r.Table, "/")
	if !isRegexp {
		return r.Table == table
	}
	re, err := wholeName(expr)
	return err == nil && re.MatchString(table)
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

// sharding is what a rule says about rows; a nil vindex keeps all.
type sharding struct {
	vindex vindex.Vindex
	keys   keyrange.Range
}

func (r *Rule) compile() (s sharding, err error) {
	if r.Table == "" || r.Table == "/" {
		return s, fmt.Errorf("it names no table")
	}
	if expr, isRegexp := strings.CutPrefix(r.Table, "/"); isRegexp {
		if _, err := wholeName(expr); err != nil {
			return s, err
		}
		if r.Target != "" {
			return s, fmt.Errorf("many tables cannot all become %q", r.Target)
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
	rule := r.Match(t.Name)
	if rule == nil {
		return nil, nil
	}
	s, err := rule.compile()
	if err != nil {
		return nil, fmt.Errorf("stream rule for table %s: %w", t.Name, err)
	}
	plan := &Plan{Table: t.Name, Target: rule.Target, keys: s.keys, vindex: s.vindex, primaryKey: t.PrimaryKey}
	if plan.Target == "" {
		plan.Target = t.Name
	}
	if s.vindex == nil {
		return plan, nil
	}
	for _, name := range rule.VindexColumns {
		c := t.Column(name)
		if c < 0 {
			return nil, fmt.Errorf("table %s: no column %q, which vindex %s needs", t.Name, name, rule.Vindex)
		}
		plan.columns = append(plan.columns, c)
	}
	return plan, nil
}
