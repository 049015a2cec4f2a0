package mysqlproto

import (
	"bytes"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Tag is what a gate tells a tablet about a statement, in a comment before it:
//
//	/*b e=17 w=1 k=commerce s=- t=corder,product*/ UPDATE …
type Tag struct {
	Epoch    uint64 // the routing that it was routed by
	Write    bool   // it writes, or takes locks as if it were about to
	Keyspace string
	Shard    string
	Tables   []string // that it touches; none: it may touch any
}

const tagOpen, tagClose = "/*b ", "*/ "

// Append writes the tag before a statement.
func (t Tag) Append(dst []byte) []byte {
	write := byte('0')
	if t.Write {
		write = '1'
	}
	dst = append(dst, tagOpen+"e="...)
	dst = strconv.AppendUint(dst, t.Epoch, 10)
	dst = append(append(dst, " w="...), write)
	dst = append(append(dst, " k="...), url.QueryEscape(t.Keyspace)...)
	dst = append(append(dst, " s="...), url.QueryEscape(t.Shard)...)
	dst = append(dst, " t="...)
	for i, table := range t.Tables {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, url.QueryEscape(table)...)
	}
	return append(dst, tagClose...)
}

// CutTag splits a statement into its tag and the rest. ok is false when it has none.
func CutTag(sql []byte) (tag Tag, rest []byte, ok bool, err error) {
	body, found := bytes.CutPrefix(sql, []byte(tagOpen))
	if !found {
		return Tag{}, sql, false, nil
	}
	head, rest, found := bytes.Cut(body, []byte(tagClose))
	if !found {
		return Tag{}, sql, false, fmt.Errorf("statement tag without an end")
	}
	for _, field := range strings.Fields(string(head)) {
		if err := tag.set(field); err != nil {
			return Tag{}, sql, false, fmt.Errorf("statement tag %q: %w", head, err)
		}
	}
	return tag, rest, true, nil
}

func (t *Tag) set(field string) error {
	key, value, _ := strings.Cut(field, "=")
	var err error
	switch key {
	case "e":
		t.Epoch, err = strconv.ParseUint(value, 10, 64)
	case "w":
		t.Write = value != "0"
	case "k":
		t.Keyspace, err = url.QueryUnescape(value)
	case "s":
		t.Shard, err = url.QueryUnescape(value)
	case "t":
		for name := range strings.SplitSeq(value, ",") {
			if name == "" {
				continue
			}
			if name, err = url.QueryUnescape(name); err != nil {
				return err
			}
			t.Tables = append(t.Tables, name)
		}
	}
	return err
}
