package binlog

import "strings"

// lexer splits a statement into words, quoted names and punctuation. It skips comments; the contents of /*! … */ count, as they do for the server.
type lexer struct {
	s string
	dialect
	i      int
	last   int  // where the last token began
	quoted bool // the last token was a quoted name or a string

	record bool // names are to be kept
	names  []Name
}

// token returns the next token: a bare word as it stands, a quoted one without its quotes, or one byte of punctuation.
func (l *lexer) token() (string, bool) {
	l.skipSpace()
	l.last, l.quoted = l.i, false
	if l.i >= len(l.s) {
		return "", false
	}
	switch c := l.s[l.i]; {
	case c == '`' || c == '"' || c == '\'':
		l.quoted = true
		return l.quote(c), true
	case isWord(c):
		start := l.i
		for l.i < len(l.s) && isWord(l.s[l.i]) {
			l.i++
		}
		return l.s[start:l.i], true
	}
	l.i++
	return l.s[l.i-1 : l.i], true
}

// back returns the last token to the input.
func (l *lexer) back() { l.i = l.last }

func (l *lexer) quote(q byte) string {
	var b strings.Builder
	for l.i++; l.i < len(l.s); l.i++ {
		c := l.s[l.i]
		if c == '\\' && l.escapes(q) && l.i+1 < len(l.s) {
			l.i++
			b.WriteByte(l.s[l.i])
			continue
		}
		if c == q {
			if l.i+1 < len(l.s) && l.s[l.i+1] == q {
				l.i++
			} else {
				l.i++
				return b.String()
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

func (l *lexer) skipSpace() {
	for l.i < len(l.s) {
		rest := l.s[l.i:]
		switch {
		case strings.IndexByte(" \t\r\n\f\v;", rest[0]) >= 0:
			l.i++
		case strings.HasPrefix(rest, "/*!"):
			l.i += 3
			for l.i < len(l.s) && l.s[l.i] >= '0' && l.s[l.i] <= '9' {
				l.i++
			}
		case strings.HasPrefix(rest, "*/"):
			l.i += 2
		case strings.HasPrefix(rest, "/*"):
			l.skipTo("*/", 2)
		case rest[0] == '#', strings.HasPrefix(rest, "-- "), strings.HasPrefix(rest, "--\t"), strings.HasPrefix(rest, "--\n"):
			l.skipTo("\n", 1)
		default:
			return
		}
	}
}

func (l *lexer) skipTo(end string, from int) {
	if n := strings.Index(l.s[l.i+from:], end); n >= 0 {
		l.i += from + n + len(end)
	} else {
		l.i = len(l.s)
	}
}

// word returns the next token in upper case; "" for a quoted name or at the end.
func (l *lexer) word() string {
	tok, ok := l.token()
	if !ok || l.quoted {
		return ""
	}
	return strings.ToUpper(tok)
}

// accept consumes the word if it is next.
func (l *lexer) accept(word string) bool {
	if l.word() == word {
		return true
	}
	l.back()
	return false
}

func (l *lexer) acceptByte(c byte) bool {
	tok, ok := l.token()
	if ok && !l.quoted && tok == string(c) {
		return true
	}
	l.back()
	return false
}

func (l *lexer) skipIfExists() {
	if l.accept("IF") {
		l.accept("NOT")
		l.accept("EXISTS")
	}
}

func (l *lexer) ident() string {
	tok, _ := l.token()
	return tok
}

// name reads table or db.table.
func (l *lexer) name(db string) Object {
	o := Object{DB: db, Table: l.ident()}
	from, to := l.last, l.i
	if l.acceptByte('.') {
		o.DB = o.Table
		o.Table = l.ident()
		to = l.i
	}
	l.keep(o, from, to)
	return o
}

func (l *lexer) keep(o Object, from, to int) {
	if l.record {
		l.names = append(l.names, Name{Object: o, from: from, to: to})
	}
}

func (l *lexer) rest() string {
	l.skipSpace()
	return l.s[l.i:]
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= 0x80
}
