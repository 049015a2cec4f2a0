package schema

import "strings"

// equalName compares column names: MySQL ignores case in them, on every platform.
func equalName(a, b string) bool { return strings.EqualFold(a, b) }

// hasWord finds an attribute in a column type, but not inside the members of an ENUM: those stand before the last parenthesis.
func hasWord(columnType, word string) bool {
	if i := strings.LastIndexByte(columnType, ')'); i >= 0 {
		columnType = columnType[i+1:]
	}
	for _, w := range strings.Fields(strings.ToLower(columnType)) {
		if w == word {
			return true
		}
	}
	return false
}
