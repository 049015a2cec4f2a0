package binlog

import "strings"

// Effect is what a DDL statement does beside changing definitions.
type Effect uint8

// The effects.
const (
	ChangesDefinition Effect = iota
	DropsTables              // or a database
	RenamesTables
	RemovesRows  // TRUNCATE, and DROP or TRUNCATE PARTITION
	ReplacesRows // by others that the binlog does not tell: EXCHANGE PARTITION, DISCARD or IMPORT TABLESPACE
)

// EffectOf reads it. settings are those of the statement's session.
func EffectOf(sql string, settings []byte) Effect {
	l := &lexer{s: sql, dialect: dialectOf(settings)}
	switch l.word() {
	case "TRUNCATE":
		return RemovesRows
	case "RENAME":
		return RenamesTables
	case "DROP":
		switch l.word() {
		case "TABLE", "TABLES", "DATABASE", "SCHEMA":
			return DropsTables
		}
	case "ALTER":
		return alterEffect(l)
	}
	return ChangesDefinition
}

// alterEffect looks for two words that are neither names nor in parentheses.
func alterEffect(l *lexer) Effect {
	before, depth, effect := "", 0, ChangesDefinition
	for {
		tok, ok := l.token()
		if !ok {
			return effect
		}
		w := strings.ToUpper(tok)
		if l.quoted {
			w = ""
		}
		switch w {
		case "(":
			depth++
		case ")":
			depth--
		}
		switch {
		case depth > 0:
		case before == "RENAME" && w != "COLUMN" && w != "INDEX" && w != "KEY":
			effect = RenamesTables
		case w == "PARTITION" && (before == "DROP" || before == "TRUNCATE"):
			return RemovesRows
		case w == "PARTITION" && before == "EXCHANGE", (w == "PARTITION" || w == "TABLESPACE") && (before == "DISCARD" || before == "IMPORT"):
			return ReplacesRows
		}
		before = w
	}
}
