package sqlconn

import (
	"strings"

	"braid/internal/mysqlwire"
)

// QuoteIdent quotes a name.
func QuoteIdent(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// Quote quotes a string literal for a session whose sql_mode lacks NO_BACKSLASH_ESCAPES, as ours do.
func Quote(s string) string { return string(AppendQuoted(make([]byte, 0, len(s)+2), s)) }

// AppendQuoted appends Quote(s).
func AppendQuoted[T string | []byte](dst []byte, s T) []byte { return mysqlwire.AppendQuoted(dst, s) }
