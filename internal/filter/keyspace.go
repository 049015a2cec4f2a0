package filter

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Sharding names how the plan finds a row's keyspace ID: plans with the same answer find the same ID for the same row. It is empty
// when every row matches.
func (p *Plan) Sharding() string {
	if p.vindex == nil {
		return ""
	}
	var b strings.Builder
	b.WriteString(p.vindex.Type())
	for _, c := range p.columns {
		b.WriteByte(' ')
		b.WriteString(strconv.Itoa(c))
	}
	return b.String()
}

// AppendID appends the keyspace ID that the cells of Columns have.
func (p *Plan) AppendID(dst []byte, cells [][]byte) ([]byte, error) {
	dst, err := p.vindex.Append(dst, cells)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", p.Table, err)
	}
	return dst, nil
}

// HoldsNumber is Holds for an ID of eight bytes, as a big-endian number: without its eight bytes compared one by one. Bounds that are
// shorter count as filled with zeros, which orders them as their bytes do.
func (p *Plan) HoldsNumber(id uint64) bool {
	if len(p.keys.Start) > 8 || len(p.keys.End) > 8 {
		return p.keys.Contains(binary.BigEndian.AppendUint64(nil, id))
	}
	return id >= bound(p.keys.Start) && (len(p.keys.End) == 0 || id < bound(p.keys.End))
}

func bound(b []byte) (n uint64) {
	for i := range 8 {
		n <<= 8
		if i < len(b) {
			n |= uint64(b[i])
		}
	}
	return n
}

// Holds reports whether a keyspace ID is one that the plan keeps.
func (p *Plan) Holds(id []byte) bool { return p.keys.Contains(id) }
