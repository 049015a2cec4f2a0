package filter

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"braid/internal/vindex"
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

// OfNumbers is the plan's vindex, if that maps the integers of one column.
func (p *Plan) OfNumbers() (of vindex.OfNumbers, column int, ok bool) {
	if of, ok = p.vindex.(vindex.OfNumbers); !ok || len(p.columns) != 1 {
		return nil, 0, false
	}
	return of, p.columns[0], true
}

// Numbers are the IDs of eight bytes that the plan keeps, as big-endian numbers: the first and the last. The plan keeps none if the last is
// below the first. Bounds that are shorter than eight bytes count as filled with zeros, which orders them as their bytes do; a longer one
// lies behind the eight bytes that it begins with.
func (p *Plan) Numbers() (first, last uint64) {
	first, last = bound(p.keys.Start), math.MaxUint64
	none := len(p.keys.Start) > 8 && first == math.MaxUint64
	if len(p.keys.Start) > 8 && !none {
		first++
	}
	if end := p.keys.End; len(end) > 8 {
		last = bound(end)
	} else if len(end) > 0 {
		last = bound(end)
		none = none || last == 0
		last--
	}
	if none {
		return 1, 0
	}
	return first, last
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
