package writeset

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"braid/internal/rowimage"
	"braid/internal/schema"
)

// The model is a server of the dumbest kind: rows in slices, every constraint checked by comparing with every other row. It shares nothing
// with the package: which values are equal is written down by hand for the few letters that the tests use.

var spelling = map[string]*strings.Replacer{
	"utf8mb4_general_ci": strings.NewReplacer("A", "a", "B", "b", "á", "a", "ß", "s"),
	"utf8mb4_0900_ai_ci": strings.NewReplacer("A", "a", "B", "b", "á", "a", "ß", "ss"),
	"utf8mb4_bin":        strings.NewReplacer(),
}

var words = []string{"", "a", "A", "á", "a ", " ", "b", "ab", "aB", "abb", "aba", "s", "ß", "ss"}

func spell(collation, s string, prefix int) string {
	if r := []rune(s); prefix > 0 && len(r) > prefix {
		s = string(r[:prefix])
	}
	if !strings.Contains(collation, "0900") {
		s = strings.TrimRight(s, " ")
	}
	return spelling[collation].Replace(s)
}

// modelKey is a unique key: rows with equal entries cannot live together. No entry (a NULL): no conflict.
type modelKey struct {
	name     string
	onSource bool
	entry    func(rowimage.Row) (string, bool)
}

// modelFK is a foreign key of a column to the first column of a parent.
type modelFK struct {
	column             int
	parent             string
	onDelete, onUpdate string
}

type modelTable struct {
	id             uint32
	source, target *schema.Table
	keys           []modelKey
	fks            []modelFK
}

type modelRow struct {
	id    int // where it lies, which no image tells
	cells rowimage.Row
}

type state struct {
	rows   map[string][]modelRow
	nextID int
}

type model struct{ tables map[string]*modelTable }

var (
	errDuplicate = errors.New("duplicate entry")
	errNotFound  = errors.New("row not found")
	errNoParent  = errors.New("no such parent")
	errHasChild  = errors.New("has children")
)

func (s *state) clone() *state {
	c := &state{rows: map[string][]modelRow{}, nextID: s.nextID}
	for name, rows := range s.rows {
		c.rows[name] = slices.Clone(rows)
	}
	return c
}

// String is equal for states with equal rows.
func (s *state) String() string {
	var lines []string
	for name, rows := range s.rows {
		for _, r := range rows {
			lines = append(lines, name+rowText(r.cells))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func rowText(r rowimage.Row) string {
	var b strings.Builder
	for _, c := range r {
		if c == nil {
			b.WriteString(" NULL")
		} else {
			b.WriteString(" " + strconv.Quote(string(c)))
		}
	}
	return b.String()
}

func changeText(name string, c *Change) string {
	switch {
	case c.Before == nil:
		return "insert " + name + rowText(c.After)
	case c.After == nil:
		return "delete " + name + rowText(c.Before)
	}
	return "update " + name + rowText(c.Before) + " to" + rowText(c.After)
}

func (m *model) byID(id uint32) (string, *modelTable) {
	for name, t := range m.tables {
		if t.id == id {
			return name, t
		}
	}
	panic("no such table")
}

// apply executes a change as the target does: the row is found by its before image.
func (m *model) apply(s *state, c *Change) error {
	name, t := m.byID(c.Table)
	at := -1
	if c.Before != nil {
		if at = slices.IndexFunc(s.rows[name], func(r modelRow) bool { return r.cells.Equal(c.Before) }); at < 0 {
			return fmt.Errorf("%w: %s", errNotFound, changeText(name, c))
		}
	}
	if err := m.change(s, name, t, at, c.After); err != nil {
		return fmt.Errorf("%w: %s", err, changeText(name, c))
	}
	return nil
}

// change replaces the row at an index (-1: none) by another (nil: none).
func (m *model) change(s *state, name string, t *modelTable, at int, after rowimage.Row) error {
	if after != nil {
		if err := m.check(s, name, t, at, after); err != nil {
			return err
		}
	}
	if at < 0 {
		s.nextID++
		s.rows[name] = append(s.rows[name], modelRow{s.nextID, after})
		return nil
	}
	before := s.rows[name][at]
	if after != nil && string(after[0]) == string(before.cells[0]) {
		s.rows[name][at].cells = after
		return nil
	}
	s.rows[name] = slices.Delete(slices.Clone(s.rows[name]), at, at+1)
	if after != nil {
		s.rows[name] = append(s.rows[name], modelRow{before.id, after})
	}
	return m.leave(s, name, before.cells[0], after)
}

func (m *model) check(s *state, name string, t *modelTable, at int, row rowimage.Row) error {
	for _, k := range t.keys {
		entry, ok := k.entry(row)
		for i, other := range s.rows[name] {
			if o, has := k.entry(other.cells); ok && has && i != at && o == entry {
				return fmt.Errorf("%w in %s", errDuplicate, k.name)
			}
		}
	}
	for _, fk := range t.fks {
		value := row[fk.column]
		if value != nil && !slices.ContainsFunc(s.rows[fk.parent], func(p modelRow) bool { return string(p.cells[0]) == string(value) }) {
			return errNoParent
		}
	}
	return nil
}

// leave does what foreign keys demand when a parent's entry is gone, or has become another (after).
func (m *model) leave(s *state, parent string, value []byte, after rowimage.Row) error {
	for _, name := range m.names() {
		for _, fk := range m.tables[name].fks {
			for fk.parent == parent {
				at := slices.IndexFunc(s.rows[name], func(r modelRow) bool { return fk.names(r.cells, value) })
				if at < 0 {
					break
				}
				child, err := fk.act(s.rows[name][at].cells, after)
				if err != nil {
					return err
				}
				if err := m.change(s, name, m.tables[name], at, child); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (fk *modelFK) names(row rowimage.Row, value []byte) bool {
	return row[fk.column] != nil && string(row[fk.column]) == string(value)
}

// act returns what becomes of a child.
func (fk *modelFK) act(child, parent rowimage.Row) (rowimage.Row, error) {
	action := fk.onUpdate
	if parent == nil {
		action = fk.onDelete
	}
	changed := slices.Clone(child)
	switch {
	case action == "RESTRICT":
		return nil, errHasChild
	case action == "SET NULL":
		changed[fk.column] = nil
	case parent == nil:
		return nil, nil
	default:
		changed[fk.column] = parent[0]
	}
	return changed, nil
}

func (m *model) names() []string {
	var names []string
	for name := range m.tables {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// locks are what the source's session holds after a change, as far as two sessions exclude each other: rows and entries of unique keys.
func (m *model) locks(before, after *state, held map[string]bool) {
	for _, name := range m.names() {
		add := func(r modelRow) {
			held[fmt.Sprint(name, " row ", r.id)] = true
			for _, k := range m.tables[name].keys {
				if entry, ok := k.entry(r.cells); ok && k.onSource {
					held[fmt.Sprint(name, " ", k.name, " ", entry)] = true
				}
			}
		}
		diff := func(a, b []modelRow) {
			for _, r := range a {
				if !slices.ContainsFunc(b, func(o modelRow) bool { return o.id == r.id && o.cells.Equal(r.cells) }) {
					add(r)
				}
			}
		}
		diff(before.rows[name], after.rows[name])
		diff(after.rows[name], before.rows[name])
	}
}
