package schema

import (
	"cmp"
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

// memberEscapes is how MySQL prints members of an ENUM or a SET, whatever the sql_mode.
var memberEscapes = strings.NewReplacer("'", "''", `\`, `\\`, "\x00", `\0`, "\n", `\n`, "\r", `\r`)

// MemberType is the type of an ENUM or a SET as information_schema has it.
func MemberType(dataType string, members []string) string {
	quoted := make([]string, len(members))
	for i, m := range members {
		quoted[i] = "'" + memberEscapes.Replace(m) + "'"
	}
	return dataType + "(" + strings.Join(quoted, ",") + ")"
}

// members reads the list in enum('a','b”c'), as MemberType writes it.
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

var unescaped = map[byte]string{'0': "\x00", 'n': "\n", 'r': "\r"}

func quoted(s string) (member, rest string, ok bool) {
	if s == "" || s[0] != '\'' {
		return "", "", false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteString(cmp.Or(unescaped[s[i]], s[i:i+1]))
			continue
		case s[i] == '\'':
			if i+1 == len(s) || s[i+1] != '\'' {
				return b.String(), s[i+1:], true
			}
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}
