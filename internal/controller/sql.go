package controller

import "strings"

// splitSQL cuts a script at the semicolons outside of quotes and comments. Statements that are nothing but comments and
// blanks are left out; a conditional comment (/*! … */) is a statement.
func splitSQL(script string) []string {
	var statements []string
	begin, code := 0, false
	for i := 0; i < len(script); {
		n := skip(script[i:])
		switch {
		case n > 0 && isComment(script[i:]):
		case n > 0:
			code = true
		case script[i] == ';':
			if code {
				statements = append(statements, strings.TrimSpace(script[begin:i]))
			}
			begin, code = i+1, false
		case script[i] != ' ' && script[i] != '\t' && script[i] != '\n' && script[i] != '\r':
			code = true
		}
		i += max(n, 1)
	}
	if code {
		statements = append(statements, strings.TrimSpace(script[begin:]))
	}
	return statements
}

func isComment(s string) bool {
	return s[0] == '#' || s[0] == '-' || strings.HasPrefix(s, "/*") && !strings.HasPrefix(s, "/*!")
}

// skip returns the length of the quoted text or comment at the start of s, 0 if there is none.
func skip(s string) int {
	switch {
	case s[0] == '\'' || s[0] == '"' || s[0] == '`':
		for i := 1; i < len(s); i++ {
			if s[i] == '\\' && s[0] != '`' {
				i++
			} else if s[i] == s[0] {
				return i + 1
			}
		}
		return len(s)
	case s[0] == '#', len(s) > 2 && s[:2] == "--" && (s[2] == ' ' || s[2] == '\t' || s[2] == '\n'), s == "--":
		return until(s, "\n")
	case strings.HasPrefix(s, "/*"):
		return until(s, "*/")
	}
	return 0
}

func until(s, end string) int {
	if i := strings.Index(s, end); i >= 0 {
		return i + len(end)
	}
	return len(s)
}
