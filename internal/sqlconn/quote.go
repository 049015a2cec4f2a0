package sqlconn

import "strings"

// QuoteIdent quotes a name.
func QuoteIdent(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// Quote quotes a string literal for a session whose sql_mode lacks NO_BACKSLASH_ESCAPES, as ours do.
func Quote(s string) string { return string(AppendQuoted(make([]byte, 0, len(s)+2), s)) }

// AppendQuoted appends Quote(s).
func AppendQuoted[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '\'')
	for i := range len(s) {
		switch b := s[i]; b {
		case 0:
			dst = append(dst, '\\', '0')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case 0x1a:
			dst = append(dst, '\\', 'Z')
		case '\'', '"', '\\':
			dst = append(dst, '\\', b)
		default:
			dst = append(dst, b)
		}
	}
	return append(dst, '\'')
}
