package writeset

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"braid/internal/rowimage"
	"braid/internal/schema"
)

// key turns a row into a token: that of its entry in a unique index, or in the index that foreign keys name.
type key struct {
	name  string
	seed  uint64 // tells keys and tables apart
	parts []part
	// opaque keys have a part of constant form: whether an update changes their entry cannot be seen.
	opaque bool
}

// part is one column of a key.
type part struct {
	column  int // in the row; -1: not there
	prefix  int
	notNull bool // a NULL in the row would be stored as something else
	form    form
}

// outcome says what became of a key.
type outcome uint8

const (
	made    outcome = iota
	none            // a NULL: no entry
	unclear         // a cell that has no normal form
)

// token hashes the row's entry. scratch is reused and returned.
func (k *key) token(scratch []byte, row rowimage.Row) (token uint64, buf []byte, o outcome) {
	buf = binary.LittleEndian.AppendUint64(scratch[:0], k.seed)
	for i := range k.parts {
		p := &k.parts[i]
		if p.column < 0 {
			continue
		}
		if p.form.constant() { // its NULLs, too: the target may have another value
			continue
		}
		cell := row[p.column]
		if cell == nil {
			if p.notNull {
				return 0, buf, unclear
			}
			return 0, buf, none
		}
		from, ok := len(buf), false
		if buf, ok = p.form.append(buf, cell, p.prefix); !ok {
			return 0, buf, unclear
		}
		buf = binary.LittleEndian.AppendUint32(buf, uint32(len(buf)-from))
	}
	return xxhash.Sum64(buf), buf, made
}

// same reports whether both images have the same entry for certain.
func (k *key) same(before, after rowimage.Row) bool {
	if k.opaque {
		return false
	}
	for i := range k.parts {
		c := k.parts[i].column
		if b, a := before[c], after[c]; (b == nil) != (a == nil) || string(b) != string(a) {
			return false
		}
	}
	return true
}

// blank reports whether nothing of the entry is known, so that all entries have one token.
func (k *key) blank() bool {
	for i := range k.parts {
		if !k.parts[i].form.constant() {
			return false
		}
	}
	return true
}

// identifies reports whether an entry belongs to one row, and every row has one.
func (k *key) identifies() bool {
	for i := range k.parts {
		if p := &k.parts[i]; p.column < 0 || !p.notNull {
			return false
		}
	}
	return !k.blank()
}

// signature has all that decides which rows share a token.
func (k *key) signature(table string, columns []string) string {
	var b strings.Builder
	b.WriteString(table)
	for i := range k.parts {
		p := &k.parts[i]
		b.WriteString("\x00" + columns[i] + "\x00" + strconv.Itoa(p.prefix) + "\x00" + p.form.String())
	}
	return b.String()
}

// uniqueKeys returns the unique keys of source and target, each once, as keys over rows of the source.
func uniqueKeys(source, target *schema.Table) []key {
	var keys []key
	seen := map[string]bool{}
	for _, def := range []*schema.Table{source, target} {
		for _, index := range uniqueIndexes(def) {
			k, signature := uniqueKey(source, target, def, &index)
			if !seen[signature] {
				seen[signature] = true
				keys = append(keys, k)
			}
		}
	}
	return keys
}

// uniqueIndexes lists them with the primary key first.
func uniqueIndexes(t *schema.Table) []schema.Index {
	var out []schema.Index
	for _, index := range t.Indexes {
		if index.Unique {
			out = append(out, index)
		}
	}
	if len(t.Indexes) > 0 {
		return out
	}
	if len(t.PrimaryKey) > 0 {
		out = append(out, wholeIndex("PRIMARY", t.PrimaryKey))
	}
	for i, columns := range t.UniqueKeys {
		out = append(out, wholeIndex("unique "+strconv.Itoa(i+1), columns))
	}
	return out
}

func wholeIndex(name string, columns []int) schema.Index {
	index := schema.Index{Name: name, Unique: true}
	for _, c := range columns {
		index.Parts = append(index.Parts, schema.IndexPart{Column: c})
	}
	return index
}

// uniqueKey compiles an index of def, which is the source or the target.
func uniqueKey(source, target, def *schema.Table, index *schema.Index) (key, string) {
	k := key{name: index.Name}
	names := make([]string, len(index.Parts))
	for i, ip := range index.Parts {
		p := part{column: -1, prefix: ip.Prefix}
		if ip.Column < 0 {
			names[i] = "(" + ip.Expression + ")"
		} else {
			dst := &def.Columns[ip.Column]
			names[i] = strings.ToLower(dst.Name)
			if p.column = source.Column(dst.Name); p.column >= 0 {
				p.form = newForm(&source.Columns[p.column], dst)
				p.notNull = !dst.Nullable
			}
		}
		k.opaque = k.opaque || p.form.constant()
		k.parts = append(k.parts, p)
	}
	signature := k.signature(identity(target), names)
	k.seed = xxhash.Sum64String("unique\x00" + signature)
	return k, signature
}

// identity is the name by which a target table is known. MySQL may or may not tell apart names that differ in case: we do not.
func identity(t *schema.Table) string { return strings.ToLower(t.DB + "\x00" + t.Name) }
