package gtid

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// MaxNumber is the greatest transaction number of a source; MySQL refuses to commit beyond it.
const MaxNumber = math.MaxInt64 - 1

// UUID is a server's identity.
type UUID [16]byte

// String gives the form of MySQL: lower case with dashes.
func (u UUID) String() string { return string(u.append(nil)) }

func (u UUID) append(dst []byte) []byte {
	dst = hex.AppendEncode(dst, u[:4])
	for _, part := range [][2]int{{4, 6}, {6, 8}, {8, 10}, {10, 16}} {
		dst = append(dst, '-')
		dst = hex.AppendEncode(dst, u[part[0]:part[1]])
	}
	return dst
}

// ParseUUID reads the form with dashes, in upper or lower case.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, fmt.Errorf("%q is not a UUID", s)
	}
	var digits [32]byte
	n := 0
	for i := range len(s) {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			continue
		}
		digits[n] = s[i]
		n++
	}
	if _, err := hex.Decode(u[:], digits[:]); err != nil {
		return u, fmt.Errorf("%q is not a UUID", s)
	}
	return u, nil
}

// Source is what numbers transactions: a server, or a tag of it. The tag is in lower case, empty for none.
type Source struct {
	UUID UUID
	Tag  string
}

// String gives uuid or uuid:tag.
func (s Source) String() string {
	if s.Tag == "" {
		return s.UUID.String()
	}
	return s.UUID.String() + ":" + s.Tag
}

func compareSources(a, b Source) int {
	if c := bytes.Compare(a.UUID[:], b.UUID[:]); c != 0 {
		return c
	}
	return strings.Compare(a.Tag, b.Tag)
}

// GTID names one transaction.
type GTID struct {
	Source
	Number int64 // 1 to MaxNumber
}

// String gives uuid:number or uuid:tag:number.
func (g GTID) String() string {
	return g.Source.String() + ":" + strconv.FormatInt(g.Number, 10)
}

// ParseGTID reads one GTID; a set of several is an error.
func ParseGTID(s string) (GTID, error) {
	g, err := parseGTID(s)
	if err != nil {
		return GTID{}, fmt.Errorf("GTID %q: %w", s, err)
	}
	return g, nil
}

func parseGTID(s string) (GTID, error) {
	server, rest, found := strings.Cut(s, ":")
	if !found {
		return GTID{}, errors.New("want uuid[:tag]:number")
	}
	uuid, err := ParseUUID(server)
	if err != nil {
		return GTID{}, err
	}
	g := GTID{Source: Source{UUID: uuid}}
	if tag, number, tagged := strings.Cut(rest, ":"); tagged {
		if g.Tag, err = parseTag(tag); err != nil {
			return GTID{}, err
		}
		rest = number
	}
	g.Number, err = parseNumber(rest)
	return g, err
}

func parseNumber(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || n == 0 || n > MaxNumber {
		return 0, fmt.Errorf("%q is not a transaction number (1 to %d)", s, int64(MaxNumber))
	}
	return int64(n), nil
}

// parseTag lowers the case, as MySQL does.
func parseTag(s string) (string, error) {
	if len(s) == 0 || len(s) > 32 || !isTagStart(s[0]) {
		return "", fmt.Errorf("%q is neither a tag nor an interval", s)
	}
	for i := range len(s) {
		if !isTagStart(s[i]) && (s[i] < '0' || s[i] > '9') {
			return "", fmt.Errorf("%q is not a tag: letters, digits and _ only", s)
		}
	}
	return strings.ToLower(s), nil
}

func isTagStart(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
