package schema

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"braid/internal/sqlconn"
)

// Definition is an index or a foreign key as SHOW CREATE TABLE has it.
type Definition struct {
	Name string `json:"name"`
	SQL  string `json:"sql"` // what follows ADD in an ALTER TABLE
}

// Deferred is what a table that is about to be filled is made without: an index that is built over all rows at once costs a fraction of one that
// takes them row by row, and rows come in an order that knows no parents.
type Deferred struct {
	Indexes     []Definition `json:"indexes,omitempty"`
	ForeignKeys []Definition `json:"foreign_keys,omitempty"`
}

// Empty says that nothing was left out.
func (d *Deferred) Empty() bool { return len(d.Indexes) == 0 && len(d.ForeignKeys) == 0 }

var errStatement = errors.New("not a CREATE TABLE statement as SHOW CREATE TABLE prints it")

// Defer takes from a CREATE TABLE statement (SHOW CREATE TABLE's, which quotes all names) its foreign keys and its indexes that are not
// unique; those on expressions and multi-valued ones among them. What is unique stays, because it tells whether rows are right, and so does
// an index that AUTO_INCREMENT needs. FULLTEXT and SPATIAL ones stay too: MySQL 9.7.4 dies of a failed InnoDB assertion when the ALTER that
// adds them is killed while rows change, and nobody's server is to die for a faster copy.
func Defer(create string) (bare string, d Deferred, err error) {
	head, items, tail, err := splitCreate(create)
	if err != nil {
		return "", Deferred{}, err
	}
	needed := neededByCounter(items)
	kept := items[:0:0]
	for i, item := range items {
		text := strings.TrimSpace(item)
		switch kind := itemKind(text); {
		case kind == itemForeignKey:
			d.ForeignKeys = append(d.ForeignKeys, Definition{itemName(text), text})
		case kind == itemKey && i != needed:
			d.Indexes = append(d.Indexes, Definition{itemName(text), text})
		default:
			kept = append(kept, item)
		}
	}
	bare, err = joinCreate(head, kept, tail)
	return bare, d, err
}

// HasKey says that a table of such a statement has a primary key, or a unique one without NULL.
func HasKey(create string) (bool, error) {
	_, items, _, err := splitCreate(create)
	return err == nil && identifies(items), err
}

func identifies(items []string) bool {
	mandatory := map[string]bool{}
	for _, item := range items {
		if text := strings.TrimSpace(item); itemKind(text) == itemColumn {
			mandatory[itemName(text)] = strings.Contains(withoutQuoted(text), " NOT NULL")
		}
	}
	return slices.ContainsFunc(items, func(item string) bool {
		text := strings.TrimSpace(item)
		if itemKind(text) != itemUnique || strings.HasPrefix(text, "PRIMARY KEY ") {
			return itemKind(text) == itemUnique
		}
		at := strings.IndexByte(text, '`')
		parts := text[at+identLength(text[at:]):]
		for at := strings.IndexByte(parts, '`'); at >= 0; at = strings.IndexByte(parts, '`') {
			if !mandatory[itemName(parts)] {
				return false
			}
			parts = parts[at+identLength(parts[at:]):]
		}
		return true
	})
}

// withoutQuoted is a text without its names and strings.
func withoutQuoted(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		if n := QuotedLength(text); n > 0 {
			text = text[n:]
			continue
		}
		b.WriteByte(text[0])
		text = text[1:]
	}
	return b.String()
}

// IndexAlter is the statement that adds the deferred indexes that the table lacks, the table being as Load has found it, or "". They are built while
// rows are written.
func (d *Deferred) IndexAlter(have *Table) string {
	var missing []string
	for _, index := range d.Indexes {
		if slices.ContainsFunc(have.Indexes, func(i Index) bool { return equalName(i.Name, index.Name) }) {
			continue
		}
		missing = append(missing, index.SQL)
	}
	if len(missing) == 0 {
		return ""
	}
	return have.alterAdd(missing)
}

// ForeignKeyAlter is the statement that adds the deferred foreign keys that the table lacks, or "". Run it with foreign_key_checks=0: then nothing is
// read, and what the source has, right or not, stays.
func (d *Deferred) ForeignKeyAlter(have *Table) string {
	var missing []string
	for _, key := range d.ForeignKeys {
		if !slices.ContainsFunc(have.ForeignKeys, func(k ForeignKey) bool { return equalName(k.Name, key.Name) }) {
			missing = append(missing, key.SQL)
		}
	}
	if len(missing) == 0 {
		return ""
	}
	return have.alterAdd(missing)
}

func (t *Table) alterAdd(definitions []string) string {
	return "ALTER TABLE " + sqlconn.QuoteIdent(t.DB) + "." + sqlconn.QuoteIdent(t.Name) + " ADD " + strings.Join(definitions, ", ADD ")
}

// kindOfItem is what a line of SHOW CREATE TABLE defines.
type kindOfItem uint8

const (
	itemColumn kindOfItem = iota
	itemUnique            // the primary key, too
	itemKey
	itemFulltext
	itemSpatial
	itemForeignKey
	itemCheck
)

// index reports an index that is not unique.
func (k kindOfItem) index() bool { return k == itemKey || k == itemFulltext || k == itemSpatial }

func itemKind(item string) kindOfItem {
	for _, p := range []struct {
		prefix string
		kind   kindOfItem
	}{
		{"`", itemColumn}, {"PRIMARY KEY ", itemUnique}, {"UNIQUE KEY ", itemUnique}, {"KEY ", itemKey}, {"FULLTEXT KEY ", itemFulltext}, {"SPATIAL KEY ", itemSpatial},
	} {
		if strings.HasPrefix(item, p.prefix) {
			return p.kind
		}
	}
	if rest, ok := strings.CutPrefix(item, "CONSTRAINT `"); ok {
		if n := QuotedLength("`" + rest); n > 0 && strings.HasPrefix(strings.TrimLeft(("`" + rest)[n:], " "), "FOREIGN KEY ") {
			return itemForeignKey
		}
	}
	return itemCheck
}

// itemName is the first quoted name of an item.
func itemName(item string) string {
	at := strings.IndexByte(item, '`')
	if at < 0 {
		return ""
	}
	name := item[at:]
	return strings.ReplaceAll(name[1:identLength(name)-1], "``", "`")
}

// identLength is the length of the quoted name at the start of s, doubled quotes included.
func identLength(s string) int {
	n := 0
	for n < len(s) && s[n] == '`' {
		n += QuotedLength(s[n:])
	}
	return n
}

// neededByCounter is the index, among the items, that an AUTO_INCREMENT column needs because no unique one begins with it; -1 if there is none.
func neededByCounter(items []string) int {
	counter := ""
	for _, item := range items {
		if text := strings.TrimSpace(item); itemKind(text) == itemColumn && indexOutsideQuotes(text, " AUTO_INCREMENT") >= 0 {
			counter = text[:identLength(text)]
		}
	}
	if counter == "" {
		return -1
	}
	found := -1
	for i, item := range items {
		text := strings.TrimSpace(item)
		kind := itemKind(text)
		first := firstPart(text)
		if kind != itemUnique && kind != itemKey || first[:identLength(first)] != counter {
			continue
		}
		if kind == itemUnique {
			return -1
		}
		if found < 0 {
			found = i
		}
	}
	return found
}

// firstPart is what follows the parenthesis of an index.
func firstPart(item string) string {
	for i := 0; i < len(item); i++ {
		if n := QuotedLength(item[i:]); n > 0 {
			i += n - 1
			continue
		}
		if item[i] == '(' {
			return item[i+1:]
		}
	}
	return ""
}

// indexOutsideQuotes is strings.Index less what stands in quotes.
func indexOutsideQuotes(s, word string) int {
	for i := 0; i < len(s); i++ {
		if n := QuotedLength(s[i:]); n > 0 {
			i += n - 1
			continue
		}
		if strings.HasPrefix(s[i:], word) {
			return i
		}
	}
	return -1
}

// splitCreate cuts a statement at its outermost parentheses and the commas between: head ends with the parenthesis, tail begins with it, items
// keep their blanks.
func splitCreate(create string) (head string, items []string, tail string, err error) {
	depth, from := 0, 0
	for i := 0; i < len(create); i++ {
		if n := QuotedLength(create[i:]); n > 0 {
			i += n - 1
			continue
		}
		switch create[i] {
		case '(':
			if depth++; depth == 1 {
				head, from = create[:i+1], i+1
			}
		case ',':
			if depth == 1 {
				items, from = append(items, create[from:i]), i+1
			}
		case ')':
			if depth--; depth == 0 {
				if !strings.HasPrefix(head, "CREATE ") {
					return "", nil, "", fmt.Errorf("%w: %.60q", errStatement, create)
				}
				return head, append(items, create[from:i]), create[i:], nil
			}
		}
	}
	return "", nil, "", fmt.Errorf("%w: %.60q", errStatement, create)
}

// QuotedLength returns the length of the quoted text at the start of s, 0 when there is none. A doubled quote is two texts.
func QuotedLength(s string) int {
	q := s[0]
	if q != '\'' && q != '"' && q != '`' {
		return 0
	}
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && q != '`':
			i++
		case s[i] == q:
			return i + 1
		}
	}
	return len(s)
}

// WithoutForeignKeys is the CREATE statement less its foreign keys.
func WithoutForeignKeys(create string) (string, error) {
	head, items, tail, err := splitCreate(create)
	if err != nil {
		return "", err
	}
	return joinCreate(head, slices.DeleteFunc(items, func(item string) bool { return itemKind(strings.TrimSpace(item)) == itemForeignKey }), tail)
}

// joinCreate is the opposite of splitCreate. The line end before the closing parenthesis was the last item's, which may be gone.
func joinCreate(head string, items []string, tail string) (string, error) {
	last := len(items) - 1
	if last < 0 {
		return "", errStatement
	}
	items[last] = strings.TrimRight(items[last], " \n") + "\n"
	return head + strings.Join(items, ",") + tail, nil
}
