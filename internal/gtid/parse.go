package gtid

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Parse reads the text form of MySQL: uuid[:tag]:interval[:interval...][:tag:interval...], separated by commas, with white space
// (MySQL prints a newline after each comma). The empty string is the empty set.
func Parse(s string) (Set, error) {
	found := make(map[Source][]Interval)
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		if err := parsePart(part, found); err != nil {
			return Set{}, fmt.Errorf("GTID set %q: %w", shorten(s), err)
		}
	}
	return fromMap(found), nil
}

// MustParse is Parse for text that is known to be right, as in tests.
func MustParse(s string) Set {
	set, err := Parse(s)
	if err != nil {
		panic(err)
	}
	return set
}

func parsePart(part string, found map[Source][]Interval) error {
	fields := strings.Split(part, ":")
	uuid, err := ParseUUID(strings.TrimSpace(fields[0]))
	if err != nil {
		return err
	}
	source, pending := Source{UUID: uuid}, true // a source without an interval is an error
	for _, field := range fields[1:] {
		field = strings.TrimSpace(field)
		if field != "" && isTagStart(field[0]) {
			if pending && source.Tag != "" {
				return fmt.Errorf("no interval follows tag %q", source.Tag)
			}
			if source.Tag, err = parseTag(field); err != nil {
				return err
			}
			pending = true
			continue
		}
		interval, err := parseInterval(field)
		if err != nil {
			return err
		}
		found[source] = append(found[source], interval)
		pending = false
	}
	if pending {
		return fmt.Errorf("no interval follows %q", source)
	}
	return nil
}

func parseInterval(s string) (Interval, error) {
	from, to, isRange := strings.Cut(s, "-")
	first, err := parseNumber(strings.TrimSpace(from))
	if err != nil || !isRange {
		return Interval{first, first}, err
	}
	last, err := parseNumber(strings.TrimSpace(to))
	if err != nil {
		return Interval{}, err
	}
	if last < first {
		return Interval{}, errors.New("interval " + s + " ends before it begins")
	}
	return Interval{first, last}, nil
}

func fromMap(found map[Source][]Interval) Set {
	if len(found) == 0 {
		return Set{}
	}
	entries := make([]entry, 0, len(found))
	for source, intervals := range found {
		entries = append(entries, newEntry(source, normalize(intervals)))
	}
	slices.SortFunc(entries, func(a, b entry) int { return compareSources(a.source, b.source) })
	return Set{entries: entries}
}

// shorten keeps a position of thousands of intervals out of an error message.
func shorten(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}

// MarshalText implements encoding.TextMarshaler, and so JSON.
func (s Set) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Set) UnmarshalText(text []byte) error {
	set, err := Parse(string(text))
	if err == nil {
		*s = set
	}
	return err
}
