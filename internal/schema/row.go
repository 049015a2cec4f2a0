package schema

import (
	"fmt"
	"strconv"
	"strings"
)

// row is a row of information_schema.
type row [][]byte

func (r row) text(i int) string { return string(r[i]) }

// int reads a number that may be NULL or beyond an int64 (the length of LONGTEXT is not, but some statistics are); those are 0.
func (r row) int(i int) int64 {
	n, err := strconv.ParseInt(string(r[i]), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// members reads the list in enum('a','b”c'): MySQL prints a quote as two, and nothing else is escaped.
func members(columnType string) ([]string, error) {
	_, list, found := strings.Cut(columnType, "(")
	if !found {
		return nil, fmt.Errorf("type %q has no members", columnType)
	}
	var out []string
	for {
		member, rest, ok := quoted(list)
		if !ok {
			return nil, fmt.Errorf("type %q: its members end in the middle", columnType)
		}
		out = append(out, member)
		if rest == "" || rest[0] != ',' {
			return out, nil
		}
		list = rest[1:]
	}
}

func quoted(s string) (member, rest string, ok bool) {
	if s == "" || s[0] != '\'' {
		return "", "", false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] == '\'' {
			if i+1 == len(s) || s[i+1] != '\'' {
				return b.String(), s[i+1:], true
			}
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}
