package keyrange

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
)

// Range is the set of keyspace IDs in [Start, End). An empty bound is open. The zero value is everything.
type Range struct {
	Start, End []byte
}

// Full is the range of an unsharded keyspace.
var Full = Range{}

// Parse reads "-80", "80-", "40-80", "-", and "0" or "" for everything.
func Parse(s string) (Range, error) {
	if s == "" || s == "0" || s == "-" {
		return Range{}, nil
	}
	from, to, found := strings.Cut(s, "-")
	if !found {
		return Range{}, fmt.Errorf("key range %q: want start-end in hex, as in 40-80", s)
	}
	start, err := hex.DecodeString(from)
	if err != nil {
		return Range{}, fmt.Errorf("key range %q: start: %w", s, err)
	}
	end, err := hex.DecodeString(to)
	if err != nil {
		return Range{}, fmt.Errorf("key range %q: end: %w", s, err)
	}
	r := Range{Start: start, End: end}
	if len(end) > 0 && bytes.Compare(start, end) >= 0 {
		return Range{}, fmt.Errorf("key range %q: start is not before end", s)
	}
	return r.normal(), nil
}

// normal makes empty bounds nil, so that equal ranges are deeply equal.
func (r Range) normal() Range {
	if len(r.Start) == 0 {
		r.Start = nil
	}
	if len(r.End) == 0 {
		r.End = nil
	}
	return r
}

// String is the inverse of Parse; everything is "-".
func (r Range) String() string {
	return hex.EncodeToString(r.Start) + "-" + hex.EncodeToString(r.End)
}

// IsFull reports whether the range holds every keyspace ID.
func (r Range) IsFull() bool { return len(r.Start) == 0 && len(r.End) == 0 }

// Equal reports whether both hold the same IDs.
func (r Range) Equal(o Range) bool {
	return bytes.Equal(r.Start, o.Start) && bytes.Equal(r.End, o.End)
}

// Contains reports whether the keyspace ID is in the range.
func (r Range) Contains(id []byte) bool {
	return bytes.Compare(r.Start, id) <= 0 && (len(r.End) == 0 || bytes.Compare(id, r.End) < 0)
}

// ContainsRange reports whether every ID of o is in r.
func (r Range) ContainsRange(o Range) bool {
	return bytes.Compare(r.Start, o.Start) <= 0 && compareEnd(o.End, r.End) <= 0
}

// Overlaps reports whether some keyspace ID is in both.
func (r Range) Overlaps(o Range) bool {
	return startBeforeEnd(r.Start, o.End) && startBeforeEnd(o.Start, r.End)
}

// Intersect returns what both hold; ok is false when that is nothing.
func (r Range) Intersect(o Range) (both Range, ok bool) {
	if !r.Overlaps(o) {
		return Range{}, false
	}
	both = r
	if bytes.Compare(o.Start, r.Start) > 0 {
		both.Start = o.Start
	}
	if compareEnd(o.End, r.End) < 0 {
		both.End = o.End
	}
	return both.normal(), true
}

// Compare orders ranges by start, then by end: the order in which shards are listed.
func Compare(a, b Range) int {
	if c := bytes.Compare(a.Start, b.Start); c != 0 {
		return c
	}
	return compareEnd(a.End, b.End)
}

// compareEnd orders upper bounds, where the empty one is the greatest.
func compareEnd(a, b []byte) int {
	switch {
	case len(a) == 0 && len(b) == 0:
		return 0
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return bytes.Compare(a, b)
}

func startBeforeEnd(start, end []byte) bool {
	return len(end) == 0 || bytes.Compare(start, end) < 0
}
