package rowimage

import "fmt"

// TableMap is a parsed TABLE_MAP event: what the row events that follow it are made of.
type TableMap struct {
	ID      uint64 // of the event stream, not of the table: it changes whenever the server opens the table again
	Flags   uint16
	DB      string
	Name    string
	Columns []MapColumn
	// PrimaryKey are column indexes. Only with binlog_row_metadata=FULL.
	PrimaryKey []int
	// Signed reports that the event says which columns are unsigned, as MySQL 8.0 and later always do.
	Signed bool
	// Named reports that the event has the column names, which means binlog_row_metadata=FULL.
	Named bool
}

// MapColumn is a column of a TableMap.
type MapColumn struct {
	Type     byte   // the real type: ENUM and SET are unpacked from STRING
	Meta     uint16 // its meaning depends on the type
	Nullable bool
	Unsigned bool

	// What follows is there only with binlog_row_metadata=FULL.
	Name      string
	Collation uint64   // id; 0 is unknown. With MINIMAL metadata also known for character columns
	Values    []string // members of ENUM and SET
	Invisible bool
}

// HeaderTableID reads the table id with which the body of a TABLE_MAP or a row event begins.
func HeaderTableID(body []byte) (uint64, error) {
	r := reader{rest: body}
	id := r.uint(6)
	if r.err != nil {
		return 0, fmt.Errorf("table id: %w", r.err)
	}
	return id, nil
}

// ParseTableMap reads the body of a TABLE_MAP event: what follows its 19 bytes of header, without the checksum. The result does not alias
// the body.
func ParseTableMap(body []byte) (*TableMap, error) {
	r := reader{rest: body}
	m := &TableMap{ID: r.uint(6), Flags: uint16(r.uint(2))}
	m.DB = string(r.bytes(int(r.uint(1))))
	r.bytes(1) // the names also end with a zero
	m.Name = string(r.bytes(int(r.uint(1))))
	r.bytes(1)
	count := r.length()
	types := r.bytes64(count)
	meta := reader{rest: r.bytes64(r.length())}
	nullable := r.bytes((len(types) + 7) / 8)
	if r.err != nil {
		return nil, fmt.Errorf("table map %s.%s: %w", m.DB, m.Name, r.err)
	}
	if len(types) == 0 {
		return nil, fmt.Errorf("table map %s.%s: it has no columns", m.DB, m.Name)
	}
	m.Columns = make([]MapColumn, len(types))
	for i, t := range types {
		c := &m.Columns[i]
		c.Nullable = bit(nullable, i)
		if err := c.readMeta(t, &meta); err != nil {
			return nil, fmt.Errorf("table map %s.%s: column %d: %w", m.DB, m.Name, i+1, err)
		}
	}
	if err := m.optional(r.rest); err != nil {
		return nil, fmt.Errorf("table map %s.%s: %w", m.DB, m.Name, err)
	}
	return m, nil
}

// bit reads a bitmap whose first bit is the lowest of the first byte.
func bit(bitmap []byte, i int) bool { return bitmap[i>>3]>>(i&7)&1 != 0 }

func (c *MapColumn) readMeta(t byte, meta *reader) error {
	size, known := metaSize(t)
	if !known {
		return fmt.Errorf("%s cannot be read", typeName(t))
	}
	raw := meta.bytes(size)
	if meta.err != nil {
		return fmt.Errorf("metadata of %s: %w", typeName(t), meta.err)
	}
	c.Type = t
	switch t {
	case typeString, typeEnum, typeSet:
		c.Type, c.Meta = stringMeta(raw[0], raw[1])
	case typeDecimal: // precision, scale
		c.Meta = uint16(raw[0])<<8 | uint16(raw[1])
	case typeBit: // bits beyond whole bytes, whole bytes
		c.Meta = uint16(raw[1])*8 + uint16(raw[0])
	default:
		for i := size - 1; i >= 0; i-- {
			c.Meta = c.Meta<<8 | uint16(raw[i])
		}
	}
	return checkMeta(c.Type, c.Meta)
}

// stringMeta splits the metadata of a STRING: the real type, and a length in bytes of which bits 8 and 9 are kept, inverted, in bits
// 4 and 5 of the type byte. All real types have those bits set, so that a type byte without them tells a long CHAR.
func stringMeta(b0, b1 byte) (t byte, length uint16) {
	if b0&0x30 != 0x30 {
		return b0 | 0x30, uint16(b0&0x30^0x30)<<4 | uint16(b1)
	}
	return b0, uint16(b1)
}

func checkMeta(t byte, meta uint16) error {
	ok := true
	switch t {
	case typeFloat:
		ok = meta == 4
	case typeDouble:
		ok = meta == 8
	case typeTimestamp2, typeDatetime2, typeTime2:
		ok = meta <= 6
	case typeJSON, typeGeometry, typeVector, typeTinyBlob, typeBlob, typeMediumBlob, typeLongBlob:
		ok = 1 <= meta && meta <= 4
	case typeDecimal:
		precision, scale := int(meta>>8), int(meta&0xff)
		ok = precision >= 1 && precision <= 65 && scale <= precision
	case typeBit:
		ok = meta >= 1 && meta <= 64
	case typeEnum:
		ok = meta == 1 || meta == 2
	case typeSet:
		ok = meta >= 1 && meta <= 8
	}
	if !ok {
		return fmt.Errorf("metadata %d does not fit %s", meta, typeName(t))
	}
	return nil
}
