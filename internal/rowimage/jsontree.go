package rowimage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"sort"
)

// jsonNode is a value of a document that is being changed. What nobody has looked into stays as the bytes that it was.
type jsonNode struct {
	typ  byte
	data []byte // of a scalar, and of a container that is not open
	open *jsonMembers
}

// jsonMembers are what an open container has. Keys are in MySQL's order: the short ones first, then by bytes. An array has none.
type jsonMembers struct {
	object bool
	keys   [][]byte
	kids   []jsonNode

	// width and size are the layout; see measure.
	width, size int
}

// parseJSON makes a node of a document, or of a value in a difference.
func (j *jsonReader) parseJSON(doc []byte) (jsonNode, error) {
	if len(doc) == 0 { // see AppendJSON
		return jsonNode{typ: jsonLiteral, data: []byte{0}}, nil
	}
	data, err := cutJSON(doc[0], doc[1:])
	return jsonNode{typ: doc[0], data: data}, err
}

// cutJSON returns the bytes of the value of a type that begins at data.
func cutJSON(t byte, data []byte) ([]byte, error) {
	n := 0
	switch {
	case t <= jsonLargeArray:
		width := jsonWidth(t)
		if len(data) < 2*width {
			return nil, errShort
		}
		n = int(littleEndian(data[width : 2*width]))
	case t == jsonString, t == jsonOpaque:
		from := 0
		if t == jsonOpaque {
			from = 1
		}
		if len(data) < from {
			return nil, errShort
		}
		length, err := jsonLength(data[from:])
		if err != nil {
			return nil, err
		}
		n = from + length
	case int(t) < len(scalarSizes) && scalarSizes[t] > 0:
		n = scalarSizes[t]
	default:
		return nil, fmt.Errorf("unknown type 0x%02x", t)
	}
	if n > len(data) {
		return nil, errShort
	}
	return data[:n:n], nil
}

func jsonWidth(t byte) int {
	if t == jsonLargeObject || t == jsonLargeArray {
		return 4
	}
	return 2
}

// jsonLength is the length of a string with the length in front of it.
func jsonLength(data []byte) (int, error) {
	length := 0
	for i := 0; i < 5 && i < len(data); i++ {
		length |= int(data[i]&0x7f) << (7 * i)
		if data[i]&0x80 == 0 {
			return i + 1 + length, nil
		}
	}
	return 0, errShort
}

// members opens a container; nil for a scalar.
func (j *jsonReader) members(n *jsonNode) (*jsonMembers, error) {
	if n.open != nil || n.typ > jsonLargeArray {
		return n.open, nil
	}
	c, err := j.open(n.typ, n.data)
	if err != nil {
		return nil, err
	}
	m := &jsonMembers{object: c.object, kids: make([]jsonNode, c.count)}
	if c.object {
		m.keys = make([][]byte, c.count)
	}
	for i := range m.kids {
		if c.object {
			if m.keys[i], err = c.key(i); err != nil {
				return nil, err
			}
		}
		if m.kids[i], err = c.member(i); err != nil {
			return nil, err
		}
	}
	n.open, n.data = m, nil
	return m, nil
}

// member is the i-th member as a node.
func (c *container) member(i int) (jsonNode, error) {
	entry := c.values(i)
	t := c.data[entry]
	if inEntry(t, c.width) {
		from := entry + 1
		return jsonNode{typ: t, data: c.data[from : from+scalarSizes[t]]}, nil
	}
	from := c.number(entry + 1)
	if from > len(c.data) {
		return jsonNode{}, errShort
	}
	data, err := cutJSON(t, c.data[from:])
	return jsonNode{typ: t, data: data}, err
}

// find returns where a key is, or where it would be.
func (m *jsonMembers) find(key []byte) (at int, found bool) {
	at = sort.Search(len(m.keys), func(i int) bool {
		if len(m.keys[i]) != len(key) {
			return len(m.keys[i]) > len(key)
		}
		return bytes.Compare(m.keys[i], key) >= 0
	})
	return at, at < len(m.keys) && bytes.Equal(m.keys[at], key)
}

// measure decides how an open container is written: with numbers of two bytes if its size fits into them, as MySQL does.
func (n *jsonNode) measure() int {
	m := n.open
	if m == nil {
		return len(n.data)
	}
	names := 0
	for _, key := range m.keys {
		names += len(key)
	}
	var inside [2]int // what lies outside of the entries, for either width
	for i := range m.kids {
		size := m.kids[i].measure()
		for w := range inside {
			if !inEntry(m.kids[i].typ, 2+2*w) {
				inside[w] += size
			}
		}
	}
	for w := range inside {
		m.width = 2 + 2*w
		m.size = m.entries() + names + inside[w]
		if m.size <= math.MaxUint16 {
			break
		}
	}
	n.typ = m.typ()
	return m.size
}

// entries is the size of the part in front of keys and values.
func (m *jsonMembers) entries() int {
	return 2*m.width + len(m.keys)*(m.width+2) + len(m.kids)*(1+m.width)
}

func (m *jsonMembers) typ() byte {
	types := [...]byte{jsonSmallArray, jsonLargeArray}
	if m.object {
		types = [...]byte{jsonSmallObject, jsonLargeObject}
	}
	return types[m.width/2-1]
}

// append writes the value of a node that was measured.
func (n *jsonNode) append(dst []byte) []byte {
	m := n.open
	if m == nil {
		return append(dst, n.data...)
	}
	start := len(dst)
	dst = m.number(m.number(dst, len(m.kids)), m.size)
	at := m.entries()
	for _, key := range m.keys {
		dst = binary.LittleEndian.AppendUint16(m.number(dst, at), uint16(len(key)))
		at += len(key)
	}
	values := len(dst)
	dst = append(dst, make([]byte, len(m.kids)*(1+m.width))...)
	for _, key := range m.keys {
		dst = append(dst, key...)
	}
	for i := range m.kids {
		kid := &m.kids[i]
		entry := values + i*(1+m.width)
		dst[entry] = kid.typ
		if inEntry(kid.typ, m.width) {
			copy(dst[entry+1:], kid.data)
			continue
		}
		m.number(dst[:entry+1], len(dst)-start) // into the room that was left
		dst = kid.append(dst)
	}
	return dst
}

func (m *jsonMembers) number(dst []byte, v int) []byte {
	if m.width == 2 {
		return binary.LittleEndian.AppendUint16(dst, uint16(v))
	}
	return binary.LittleEndian.AppendUint32(dst, uint32(v))
}
