package rowimage

import (
	"errors"
	"fmt"
)

// Types of the optional metadata fields of a TABLE_MAP event. Unknown ones are skipped: new servers add fields.
const (
	fieldSignedness         = 1
	fieldDefaultCharset     = 2
	fieldColumnCharset      = 3
	fieldColumnName         = 4
	fieldSetValues          = 5
	fieldEnumValues         = 6
	fieldSimplePrimaryKey   = 8
	fieldPrefixedPrimaryKey = 9
	fieldEnumDefaultCharset = 10
	fieldEnumColumnCharset  = 11
	fieldVisibility         = 12
	fieldVectorSizes        = 13
)

var errTooMany = errors.New("names more columns than the table has")

// optional reads the fields after the null bitmap, each a type, a length, and bytes.
func (m *TableMap) optional(rest []byte) error {
	r := reader{rest: rest}
	for len(r.rest) > 0 && r.err == nil {
		field := r.uint(1)
		value := reader{rest: r.bytes64(r.length())}
		if r.err != nil {
			break
		}
		err := m.field(field, &value)
		if err == nil {
			err = value.err
		}
		if err != nil {
			return fmt.Errorf("optional metadata %d: %w", field, err)
		}
	}
	if r.err != nil {
		return fmt.Errorf("optional metadata: %w", r.err)
	}
	return nil
}

func (m *TableMap) field(field uint64, r *reader) error {
	switch field {
	case fieldSignedness:
		return m.signedness(r.rest)
	case fieldDefaultCharset:
		return m.defaultCharset(r, isCharacter)
	case fieldEnumDefaultCharset:
		return m.defaultCharset(r, isEnumOrSet)
	case fieldColumnCharset:
		return m.columnCharsets(r, isCharacter)
	case fieldEnumColumnCharset:
		return m.columnCharsets(r, isEnumOrSet)
	case fieldColumnName:
		return m.names(r)
	case fieldSetValues:
		return m.values(r, typeSet)
	case fieldEnumValues:
		return m.values(r, typeEnum)
	case fieldSimplePrimaryKey, fieldPrefixedPrimaryKey:
		return m.primaryKey(r, field == fieldPrefixedPrimaryKey)
	case fieldVisibility:
		return m.visibility(r.rest)
	}
	return nil
}

func isNumeric(c *MapColumn) bool {
	switch c.Type {
	case typeTiny, typeShort, typeInt24, typeLong, typeLongLong, typeYear, typeFloat, typeDouble, typeDecimal:
		return true
	}
	return false
}

// isCharacter: the server counts a VECTOR among them, but no GEOMETRY.
func isCharacter(c *MapColumn) bool {
	switch c.Type {
	case typeString, typeVarString, typeVarchar, typeTinyBlob, typeBlob, typeMediumBlob, typeLongBlob, typeVector:
		return true
	}
	return false
}

func isEnumOrSet(c *MapColumn) bool { return c.Type == typeEnum || c.Type == typeSet }

// each calls fn with the columns that are of a sort, numbered among themselves.
func (m *TableMap) each(sort func(*MapColumn) bool, fn func(n int, c *MapColumn)) {
	n := 0
	for i := range m.Columns {
		if sort(&m.Columns[i]) {
			fn(n, &m.Columns[i])
			n++
		}
	}
}

// highBit reads a bitmap whose first bit is the highest of the first byte; bits that are missing are zero.
func highBit(bitmap []byte, i int) bool { return i>>3 < len(bitmap) && bitmap[i>>3]<<(i&7)&0x80 != 0 }

func (m *TableMap) signedness(bitmap []byte) error {
	m.Signed = true
	m.each(isNumeric, func(n int, c *MapColumn) { c.Unsigned = highBit(bitmap, n) })
	return nil
}

func (m *TableMap) visibility(bitmap []byte) error {
	for i := range m.Columns {
		m.Columns[i].Invisible = !highBit(bitmap, i)
	}
	return nil
}

// defaultCharset: one collation for all columns of the sort, then exceptions as pairs of a number among them and a collation.
func (m *TableMap) defaultCharset(r *reader, sort func(*MapColumn) bool) error {
	collation := r.length()
	except := make(map[uint64]uint64)
	for len(r.rest) > 0 && r.err == nil {
		n := r.length()
		except[n] = r.length()
	}
	m.each(sort, func(n int, c *MapColumn) {
		c.Collation = collation
		if own, ok := except[uint64(n)]; ok {
			c.Collation = own
		}
	})
	return nil
}

func (m *TableMap) columnCharsets(r *reader, sort func(*MapColumn) bool) error {
	m.each(sort, func(_ int, c *MapColumn) { c.Collation = r.length() })
	return nil
}

func (m *TableMap) names(r *reader) error {
	m.Named = true
	for i := range m.Columns {
		m.Columns[i].Name = r.text()
	}
	if len(r.rest) > 0 {
		return errTooMany
	}
	return nil
}

func (m *TableMap) values(r *reader, t byte) error {
	m.each(func(c *MapColumn) bool { return c.Type == t }, func(_ int, c *MapColumn) {
		c.Values = nil
		for n := r.length(); n > 0 && r.err == nil; n-- {
			c.Values = append(c.Values, r.text())
		}
	})
	return nil
}

func (m *TableMap) primaryKey(r *reader, prefixed bool) error {
	m.PrimaryKey = nil
	for len(r.rest) > 0 && r.err == nil {
		c := r.length()
		if prefixed {
			r.length() // how many bytes of it are in the key
		}
		if c >= uint64(len(m.Columns)) {
			return errTooMany
		}
		m.PrimaryKey = append(m.PrimaryKey, int(c))
	}
	return nil
}
