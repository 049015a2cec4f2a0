package writeset

import (
	"fmt"
	"slices"
	"strings"

	"braid/internal/schema"
)

// plan is what is known of a table of the stream.
type plan struct {
	source, target *schema.Table
	token          *tableToken
	database       *tableToken // of mode Database
	keys           []key
	identifying    int // index into keys: the key whose token is the row's own
	// coarse says why the whole table is one token; empty when it is not.
	coarse string
	// decides: entries that are equal in a unique index of the target are equal in one of the source.
	decides bool
	// trusted: the source's clock proves independence for this table (doc.go).
	trusted bool

	counted uint64 // the transaction that rows counts
	rows    int    // that it has changed

	foreign // set by link
}

func newPlan(source, target *schema.Table) *plan {
	p := &plan{source: source, target: target, keys: uniqueKeys(source, target)}
	p.identifying = slices.IndexFunc(p.keys, func(k key) bool { return k.identifies() })
	p.coarse, p.decides = p.coarseness(), p.sourceDecides()
	return p
}

// coarseness says why rows of the table cannot be told apart.
func (p *plan) coarseness() string {
	for i := range p.target.Columns {
		if c := &p.target.Columns[i]; c.AutoIncrement && p.source.Column(c.Name) < 0 {
			return fmt.Sprintf("the target numbers the rows itself, in column %s", c.Name)
		}
	}
	for i := range p.keys {
		if k := &p.keys[i]; k.blank() {
			return fmt.Sprintf("the entries of unique key %s are not known from the rows", k.name)
		}
	}
	if p.identifying < 0 {
		return "no key identifies a row"
	}
	return ""
}

// partial reports whether a key has parts of constant form.
func (p *plan) partial() bool {
	return slices.ContainsFunc(p.keys, func(k key) bool { return k.opaque })
}

func (p *plan) sourceDecides() bool {
	if !strings.EqualFold(p.source.Engine, "InnoDB") {
		return false
	}
	for i := range p.target.Columns {
		if c := &p.target.Columns[i]; c.AutoIncrement && p.source.Column(c.Name) < 0 {
			return false
		}
	}
	have := map[string]bool{}
	for _, index := range uniqueIndexes(p.source) {
		have[indexText(p.source, &index)] = true
	}
	for _, index := range uniqueIndexes(p.target) {
		if !have[indexText(p.target, &index)] {
			return false
		}
	}
	return true
}

// indexText describes an index with all that decides which rows have equal entries.
func indexText(t *schema.Table, index *schema.Index) string {
	var b strings.Builder
	for _, p := range index.Parts {
		if p.Column < 0 {
			fmt.Fprintf(&b, "(%s) of %s;", p.Expression, columnsText(t))
			continue
		}
		fmt.Fprintf(&b, "%s:%d;", columnText(&t.Columns[p.Column]), p.Prefix)
		if t.Columns[p.Column].Generated {
			fmt.Fprintf(&b, "of %s;", columnsText(t))
		}
	}
	return b.String()
}

// columnsText describes all columns: an expression may use any of them.
func columnsText(t *schema.Table) string {
	texts := make([]string, len(t.Columns))
	for i := range t.Columns {
		texts[i] = columnText(&t.Columns[i])
	}
	slices.Sort(texts)
	return strings.Join(texts, ",")
}

func columnText(c *schema.Column) string {
	return fmt.Sprintf("%q %s %s %s null=%t %q", strings.ToLower(c.Name), c.ColumnType, c.Charset, c.Collation, c.Nullable, c.Expression)
}
