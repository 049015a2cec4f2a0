package rowimage

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"braid/internal/schema"
)

// column is a compiled column: how long its cells are, and what they mean.
type column struct {
	name     string
	typ      byte
	meta     uint16
	unsigned bool
	kind     kind
	fixed    int // bytes of a cell; unused when prefix is set
	prefix   int // bytes of the length in front of a cell; 0 for a fixed size
}

func compile(m *TableMap, i int, def *schema.Column) column {
	mc := &m.Columns[i]
	c := column{name: def.Name, typ: mc.Type, meta: mc.Meta, unsigned: mc.Unsigned, kind: kindOf(def)}
	if !m.Signed {
		c.unsigned = def.Unsigned
	}
	c.fixed, c.prefix = cellSize(mc.Type, mc.Meta)
	return c
}

// cellSize gives the size of a cell, or of the length before it. checkMeta has seen the metadata.
func cellSize(t byte, meta uint16) (fixed, prefix int) {
	switch t {
	case typeTiny, typeYear:
		return 1, 0
	case typeShort:
		return 2, 0
	case typeInt24, typeDate, typeTime:
		return 3, 0
	case typeLong, typeFloat, typeTimestamp:
		return 4, 0
	case typeLongLong, typeDouble, typeDatetime:
		return 8, 0
	case typeTime2:
		return 3 + (int(meta)+1)/2, 0
	case typeTimestamp2:
		return 4 + (int(meta)+1)/2, 0
	case typeDatetime2:
		return 5 + (int(meta)+1)/2, 0
	case typeDecimal:
		return decimalSize(int(meta>>8), int(meta&0xff)), 0
	case typeBit:
		return (int(meta) + 7) / 8, 0
	case typeEnum, typeSet:
		return int(meta), 0
	case typeVarchar, typeVarString, typeString:
		if meta > 255 {
			return 0, 2
		}
		return 0, 1
	}
	return 0, int(meta) // the blobs, JSON, GEOMETRY, VECTOR
}

func (c *column) wrap(err error) error { return fmt.Errorf("column %s: %w", c.name, err) }

func (c *column) short() error { return fmt.Errorf("column %s: %w", c.name, errShort) }

// length reads the length before a cell. Four bytes may say more than an int32; the caller's bounds check refuses that.
func (c *column) length(b []byte) int {
	switch c.prefix {
	case 1:
		return int(b[0])
	case 2:
		return int(binary.LittleEndian.Uint16(b))
	case 3:
		return int(b[0]) | int(b[1])<<8 | int(b[2])<<16
	}
	return int(binary.LittleEndian.Uint32(b))
}

// alias reports whether the raw bytes are the cell.
func (c *column) alias(raw []byte) bool {
	switch c.kind {
	case kindText, kindBlob:
		return true
	case kindBinary:
		return len(raw) >= int(c.meta)
	}
	return false
}

// append converts a raw cell of the right size.
func (c *column) append(dst, raw []byte) ([]byte, error) {
	switch c.typ {
	case typeTiny, typeShort, typeInt24, typeLong, typeLongLong:
		if c.unsigned {
			return strconv.AppendUint(dst, littleEndian(raw), 10), nil
		}
		shift := 64 - 8*len(raw)
		return strconv.AppendInt(dst, int64(littleEndian(raw)<<shift)>>shift, 10), nil
	case typeEnum, typeSet:
		return strconv.AppendUint(dst, littleEndian(raw), 10), nil
	case typeBit:
		return strconv.AppendUint(dst, bigEndian(raw), 10), nil
	case typeYear:
		if raw[0] == 0 {
			return append(dst, "0000"...), nil
		}
		return strconv.AppendInt(dst, 1900+int64(raw[0]), 10), nil
	case typeFloat:
		f := float64(math.Float32frombits(uint32(littleEndian(raw))))
		return strconv.AppendFloat(dst, f, 'g', -1, 64), nil
	case typeDouble:
		return strconv.AppendFloat(dst, math.Float64frombits(littleEndian(raw)), 'g', -1, 64), nil
	case typeDecimal:
		return appendDecimal(dst, raw, int(c.meta>>8), int(c.meta&0xff))
	case typeJSON:
		return AppendJSON(dst, raw)
	case typeString: // BINARY(n) lost its trailing zeros
		dst = append(dst, raw...)
		return append(dst, make([]byte, int(c.meta)-len(raw))...), nil
	}
	return c.appendTime(dst, raw), nil
}

func littleEndian(b []byte) (v uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	return v
}

func bigEndian(b []byte) (v uint64) {
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}
