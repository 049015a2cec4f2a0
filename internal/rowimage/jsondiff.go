package rowimage

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
)

// With binlog_row_value_options=PARTIAL_JSON an after image may have, in place of a document, what was done to it: differences, one after
// the other, each to be applied to what the one before has left.
//
//	operation  1 byte
//	path       length-encoded string: $.member[4]."other member"
//	value      length-encoded string, binary JSON; not of a remove
const (
	diffReplace = iota
	diffInsert
	diffRemove
)

var (
	errDiffTarget = errors.New("the document has nothing there")
	errDiffTaken  = errors.New("the document has something there already")
)

// ApplyJSONDiffs appends the document that differences make of another, in binary form. The new document has the layout that MySQL gives
// to a document that it stores whole.
func ApplyJSONDiffs(dst, doc, diffs []byte) ([]byte, error) {
	if len(diffs) == 0 {
		return append(dst, doc...), nil
	}
	j := jsonReader{budget: 2*(len(doc)+len(diffs)) + 64}
	root, err := j.parseJSON(doc)
	if err != nil {
		return nil, fmt.Errorf("binary JSON of %d bytes: %w", len(doc), err)
	}
	r := reader{rest: diffs}
	for n := 1; len(r.rest) > 0; n++ {
		op := byte(r.uint(1))
		path := r.bytes64(r.length())
		var value []byte
		if op != diffRemove {
			value = r.bytes64(r.length())
		}
		if r.err == nil {
			r.err = j.apply(&root, op, path, value)
		}
		if r.err != nil {
			return nil, fmt.Errorf("difference %d of a JSON document, at %.100q: %w", n, path, r.err)
		}
	}
	// The size is that of the parts, which do not overlap in a sound document, and of entries that may have become wider.
	size := root.measure()
	if size > 2*(len(doc)+len(diffs))+64 {
		return nil, errJSONShared
	}
	if size >= math.MaxUint32 {
		return nil, fmt.Errorf("a JSON document of %d bytes", size)
	}
	return root.append(append(dst, root.typ)), nil
}

// apply applies one difference.
func (j *jsonReader) apply(root *jsonNode, op byte, path, raw []byte) error {
	legs, err := parseJSONPath(path)
	if err != nil {
		return err
	}
	var value jsonNode
	if op != diffRemove {
		if value, err = j.parseJSON(raw); err != nil {
			return err
		}
	}
	if len(legs) == 0 {
		if op != diffReplace {
			return fmt.Errorf("operation %d on the whole document", op)
		}
		*root = value
		return nil
	}
	last := len(legs) - 1
	parent := root
	for i := range legs[:last] {
		m, at, found, err := j.seek(parent, &legs[i])
		if err != nil {
			return err
		}
		if !found {
			return errDiffTarget
		}
		parent = &m.kids[at]
	}
	m, at, found, err := j.seek(parent, &legs[last])
	if err != nil {
		return err
	}
	switch op {
	case diffReplace:
		return m.replace(at, found, value)
	case diffInsert:
		return m.insert(at, found, legs[last].key, value)
	case diffRemove:
		return m.remove(at, found)
	}
	return fmt.Errorf("unknown operation %d", op)
}

// seek finds a member. A leg that is not made for the node is an error.
func (j *jsonReader) seek(n *jsonNode, leg *jsonLeg) (m *jsonMembers, at int, found bool, err error) {
	if m, err = j.members(n); err != nil {
		return nil, 0, false, err
	}
	if m == nil || m.object != leg.member {
		return nil, 0, false, errDiffTarget
	}
	if m.object {
		at, found = m.find(leg.key)
		return m, at, found, nil
	}
	if at = leg.index; leg.fromEnd {
		at = len(m.kids) - 1 - at
	}
	return m, min(max(at, 0), len(m.kids)), 0 <= at && at < len(m.kids), nil
}

func (m *jsonMembers) replace(at int, found bool, value jsonNode) error {
	if !found {
		return errDiffTarget
	}
	m.kids[at] = value
	return nil
}

// insert puts a value in front of what is at a place of an array, or under a new key.
func (m *jsonMembers) insert(at int, found bool, key []byte, value jsonNode) error {
	if m.object {
		if found {
			return errDiffTaken
		}
		if len(key) > math.MaxUint16 {
			return fmt.Errorf("a key of %d bytes", len(key))
		}
		m.keys = slices.Insert(m.keys, at, key)
	}
	m.kids = slices.Insert(m.kids, at, value)
	return nil
}

func (m *jsonMembers) remove(at int, found bool) error {
	if !found {
		return errDiffTarget
	}
	if m.object {
		m.keys = slices.Delete(m.keys, at, at+1)
	}
	m.kids = slices.Delete(m.kids, at, at+1)
	return nil
}

// jsonLeg is a step of a path: to a member of an object, or to a place of an array.
type jsonLeg struct {
	member  bool
	key     []byte
	index   int
	fromEnd bool // index counts from the last
}

var errJSONPath = errors.New("not a path that MySQL writes")

// parseJSONPath reads a path as MySQL logs it: one place, so without wildcards.
func parseJSONPath(path []byte) (legs []jsonLeg, err error) {
	if len(path) == 0 || path[0] != '$' {
		return nil, errJSONPath
	}
	for rest := path[1:]; len(rest) > 0; {
		if len(legs) == maxJSONDepth {
			return nil, errJSONDepth
		}
		var leg jsonLeg
		switch rest[0] {
		case '.':
			leg, rest, err = memberLeg(rest[1:])
		case '[':
			leg, rest, err = cellLeg(rest[1:])
		default:
			err = errJSONPath
		}
		if err != nil {
			return nil, err
		}
		legs = append(legs, leg)
	}
	return legs, nil
}

func memberLeg(path []byte) (jsonLeg, []byte, error) {
	if len(path) > 0 && path[0] == '"' {
		key, rest, err := unquoteJSON(path[1:])
		return jsonLeg{member: true, key: key}, rest, err
	}
	end := bytes.IndexAny(path, ".[")
	if end < 0 {
		end = len(path)
	}
	if end == 0 {
		return jsonLeg{}, nil, errJSONPath
	}
	return jsonLeg{member: true, key: path[:end:end]}, path[end:], nil
}

// cellLeg reads 4], last] or last-4].
func cellLeg(path []byte) (leg jsonLeg, rest []byte, err error) {
	end := bytes.IndexByte(path, ']')
	if end < 0 {
		return leg, nil, errJSONPath
	}
	text, rest := bytes.ReplaceAll(path[:end], []byte(" "), nil), path[end+1:]
	if text, leg.fromEnd = bytes.CutPrefix(text, []byte("last")); leg.fromEnd {
		if len(text) == 0 {
			return leg, rest, nil
		}
		if text[0] != '-' {
			return leg, nil, errJSONPath
		}
		text = text[1:]
	}
	if len(text) == 0 || len(text) > 10 {
		return leg, nil, errJSONPath
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return leg, nil, errJSONPath
		}
		leg.index = 10*leg.index + int(c-'0')
	}
	return leg, rest, nil
}

// unquoteJSON reads the rest of a quoted string. MySQL escapes as appendJSONString does.
func unquoteJSON(s []byte) (text, rest []byte, err error) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return text, s[i+1:], nil
		case '\\':
			if i++; i == len(s) {
				return nil, nil, errJSONPath
			}
			if s[i] == 'u' {
				c, ok := unhex4(s[i+1:])
				if !ok {
					return nil, nil, errJSONPath
				}
				text = append(text, c)
				i += 4
				continue
			}
			c, ok := jsonUnescapes[s[i]]
			if !ok {
				return nil, nil, errJSONPath
			}
			text = append(text, c)
		default:
			text = append(text, s[i])
		}
	}
	return nil, nil, errJSONPath
}

var jsonUnescapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 't': '\t', 'n': '\n', 'f': '\f', 'r': '\r'}

// unhex4 reads the four digits of a control character; nothing else is written so.
func unhex4(s []byte) (byte, bool) {
	if len(s) < 4 || s[0] != '0' || s[1] != '0' {
		return 0, false
	}
	var v byte
	for _, c := range s[2:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		v = v<<4 | c
	}
	return v, v < 0x80
}
