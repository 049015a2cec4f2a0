package writeset

import (
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"braid/internal/schema"
)

// foreign is what foreign keys add to a table's plan.
type foreign struct {
	parents []parentRef // where this table is the child
	entries []entryRef  // where it is the parent: the column lists that children name
}

// parentRef is a foreign key of a child. Without a key its values cannot be compared with the parent's: the child takes the parent's
// whole table.
type parentRef struct {
	key
	parent *tableToken
	whole  bool
}

// entryRef is a list of columns of a parent that children name, and what follows when an entry goes (delete) or changes (update).
type entryRef struct {
	key
	goes, changes effect
}

// effect is what the engine does to child tables.
type effect struct {
	reads    []*tableToken // looked at: it refuses when there are children
	writes   []*tableToken // rows that it changes and that are not in the events
	inEvents []*tableToken // rows that it changes and that are in the events if the row event says so
}

// related is a table of the target and the plans that write to it; none for one outside of the stream.
type related struct {
	def   *schema.Table
	token *tableToken
	plans []*plan
}

// linker connects tables by the foreign keys of the target.
type linker struct {
	tables   map[string]*related
	children map[string][]reference // by the parent's identity
}

type reference struct {
	child *related
	fk    *schema.ForeignKey
}

func parentOf(fk *schema.ForeignKey) string { return strings.ToLower(fk.RefDB + "\x00" + fk.RefTable) }

func newLinker(tables map[string]*related) *linker {
	l := &linker{tables: tables, children: map[string][]reference{}}
	for _, r := range tables {
		for i := range r.def.ForeignKeys {
			fk := &r.def.ForeignKeys[i]
			l.children[parentOf(fk)] = append(l.children[parentOf(fk)], reference{r, fk})
		}
	}
	return l
}

// link sets the foreign part of all plans, and whom the clock may be trusted with.
func (l *linker) link() {
	for name, r := range l.tables {
		alone := len(r.plans) == 1 && len(r.def.ForeignKeys) == 0 && len(l.children[name]) == 0
		for _, p := range r.plans {
			p.trusted = alone && p.decides
			if p.coarse = p.coarseness(); len(r.plans) > 1 && p.coarse == "" && p.partial() {
				p.coarse = "several tables of the source are merged, and not all keys are known from the rows"
			}
			p.foreign = foreign{}
			l.linkChild(p)
			l.linkParent(p, name)
		}
	}
}

func (l *linker) linkChild(p *plan) {
	for i := range p.target.ForeignKeys {
		fk := &p.target.ForeignKeys[i]
		parent := l.tables[parentOf(fk)]
		if parent == nil { // nothing changes it
			continue
		}
		ref := parentRef{parent: parent.token}
		var ok bool
		if ref.key, ok = childKey(p, fk); !ok || !sameForms(parent, fk, &ref.key) {
			ref.whole = true
		}
		p.parents = append(p.parents, ref)
	}
}

// childKey hashes the child's columns like the parent's.
func childKey(p *plan, fk *schema.ForeignKey) (k key, ok bool) {
	for _, c := range fk.Columns {
		column, f := columnForm(p, p.target.Columns[c].Name)
		k.parts = append(k.parts, part{column: column, form: f})
		k.opaque = k.opaque || column < 0 || f.constant()
	}
	k.seed = entrySeed(parentOf(fk), fk.RefColumns)
	return k, !k.opaque
}

// columnForm finds a column of the target in the rows.
func columnForm(p *plan, name string) (int, form) {
	src, dst := p.source.Column(name), p.target.Column(name)
	if src < 0 || dst < 0 {
		return -1, form{}
	}
	return src, newForm(&p.source.Columns[src], &p.target.Columns[dst])
}

// sameForms reports whether all rows of the parent have forms that can be compared with the child's.
func sameForms(parent *related, fk *schema.ForeignKey, child *key) bool {
	for _, p := range parent.plans {
		for i, name := range fk.RefColumns {
			if _, f := columnForm(p, name); f.constant() || f.String() != child.parts[i].form.String() {
				return false
			}
		}
	}
	return true
}

func entrySeed(parent string, columns []string) uint64 {
	return xxhash.Sum64String("entry\x00" + parent + "\x00" + strings.ToLower(strings.Join(columns, "\x00")) + "\x00" + strconv.Itoa(len(columns)))
}

func (l *linker) linkParent(p *plan, name string) {
	for _, ref := range l.children[name] {
		seed := entrySeed(name, ref.fk.RefColumns)
		at := slices.IndexFunc(p.entries, func(e entryRef) bool { return e.seed == seed })
		if at < 0 {
			at = len(p.entries)
			p.entries = append(p.entries, entryRef{key: parentEntry(p, ref.fk, seed)})
		}
		e := &p.entries[at]
		l.add(&e.goes, ref, ref.fk.OnDelete)
		l.add(&e.changes, ref, ref.fk.OnUpdate)
	}
}

func parentEntry(p *plan, fk *schema.ForeignKey, seed uint64) key {
	k := key{seed: seed}
	for _, name := range fk.RefColumns {
		column, f := columnForm(p, name)
		k.parts = append(k.parts, part{column: column, form: f})
		k.opaque = k.opaque || column < 0 || f.constant()
	}
	return k
}

// add adds what a foreign key's action does.
func (l *linker) add(e *effect, ref reference, action string) {
	if action == "RESTRICT" || action == "NO ACTION" {
		e.reads = insert(e.reads, ref.child.token)
		return
	}
	writes := map[string]bool{}
	l.cascade(e, ref.child, writes)
	if !ref.inEvents() {
		for name := range writes {
			e.writes = insert(e.writes, l.tables[name].token)
		}
		return
	}
	for name := range writes {
		e.inEvents = insert(e.inEvents, l.tables[name].token)
	}
}

// cascade walks from a table whose rows the engine changes to those that follow. Whether they are deleted or updated, and which columns are
// changed, is not looked at: any action that changes rows counts.
func (l *linker) cascade(e *effect, t *related, writes map[string]bool) {
	name := identity(t.def)
	if writes[name] {
		return
	}
	writes[name] = true
	for _, ref := range l.children[name] {
		if refuses(ref.fk.OnDelete) && refuses(ref.fk.OnUpdate) {
			e.reads = insert(e.reads, ref.child.token)
		} else {
			l.cascade(e, ref.child, writes)
		}
	}
}

func refuses(action string) bool { return action == "RESTRICT" || action == "NO ACTION" }

// inEvents reports whether the source has the same foreign key, so that it does itself, and puts into the events, what the target would do.
func (r reference) inEvents() bool {
	for _, p := range r.child.plans {
		if !slices.ContainsFunc(p.source.ForeignKeys, func(fk schema.ForeignKey) bool {
			return fk.OnDelete == r.fk.OnDelete && fk.OnUpdate == r.fk.OnUpdate && strings.EqualFold(fk.RefTable, r.fk.RefTable) &&
				slices.EqualFunc(fk.RefColumns, r.fk.RefColumns, strings.EqualFold) &&
				slices.EqualFunc(fk.Columns, r.fk.Columns, func(a, b int) bool {
					return strings.EqualFold(p.source.Columns[a].Name, r.child.def.Columns[b].Name)
				})
		}) {
			return false
		}
	}
	return len(r.child.plans) > 0
}

func insert(list []*tableToken, t *tableToken) []*tableToken {
	if slices.Contains(list, t) {
		return list
	}
	return append(list, t)
}
