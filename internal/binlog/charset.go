package binlog

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/simplifiedchinese"
)

// dialect is how a session writes its statements.
type dialect struct {
	mode    uint64 // sql_mode
	charset uint16 // character_set_client, as the number of a collation; 0: not told
}

// Bits of sql_mode that decide where strings end.
const (
	modeANSIQuotes  = 1 << 2
	modeNoBackslash = 1 << 20
)

// escapes says whether a backslash takes the next character with it, inside of a pair of these quotes.
func (d dialect) escapes(quote byte) bool {
	return quote != '`' && d.mode&modeNoBackslash == 0 && (quote != '"' || d.mode&modeANSIQuotes == 0)
}

// dialectOf reads the status variables of a QUERY event. Those that are meant come before any that may be new.
func dialectOf(vars []byte) (d dialect) {
	r := statusReader{rest: vars}
	for len(r.rest) > 0 && r.err == nil {
		switch code := r.take(1)[0]; code {
		case statusSQLMode:
			d.mode = binary.LittleEndian.Uint64(r.take(8))
		case statusCharset:
			d.charset = binary.LittleEndian.Uint16(r.take(6))
		default:
			r.skip(code)
		}
	}
	return d
}

// charset is a character set of clients.
type charset struct {
	name       string
	collations []uint16 // their numbers, of which a session has one
	encoding   encoding.Encoding
}

// charsets are those whose texts can be converted without a doubt: what the encoding decodes, MySQL converts to the same.
var charsets = []charset{
	{"latin1", []uint16{5, 8, 15, 31, 47, 48, 49, 94}, charmap.Windows1252},
	{"latin2", []uint16{2, 9, 21, 27, 77}, charmap.ISO8859_2},
	{"latin5", []uint16{30, 78}, charmap.ISO8859_9},
	{"latin7", []uint16{20, 41, 42, 79}, charmap.ISO8859_13},
	{"koi8r", []uint16{7, 74}, charmap.KOI8R},
	{"cp850", []uint16{4, 80}, charmap.CodePage850},
	{"cp852", []uint16{40, 81}, charmap.CodePage852},
	{"cp1250", []uint16{26, 34, 44, 66, 99}, charmap.Windows1250},
	{"cp1251", []uint16{14, 23, 50, 51, 52}, charmap.Windows1251},
	{"cp1257", []uint16{29, 58, 59}, charmap.Windows1257},
	{"gbk", []uint16{28, 87}, simplifiedchinese.GBK},
}

const swe7 = 10 // and 82: letters in the places of quotes and brackets

// isUTF8 says that texts are taken as they are: utf8mb3, utf8mb4, and binary, which MySQL takes for UTF-8 where it wants names.
func (d dialect) isUTF8() bool {
	c := d.charset
	return c == 0 || c == 63 || c == 33 || c == 76 || c == 83 || c >= 192 && c <= 215 || c == 223 || c == 45 || c == 46 || c >= 224 && c <= 247 || c >= 255
}

// ascii says that a text means the same in any character set.
func (d dialect) ascii(s string) bool {
	if d.charset == swe7 || d.charset == 82 {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

func (d dialect) encoding() (encoding.Encoding, error) {
	at := slices.IndexFunc(charsets, func(c charset) bool { return slices.Contains(c.collations, d.charset) })
	if at < 0 {
		return nil, fmt.Errorf("the text is in a character set (collation %d) that cannot be converted", d.charset)
	}
	return charsets[at].encoding, nil
}

// decode converts a statement to UTF-8. What would not come back the same is an error.
func (d dialect) decode(raw string) (string, error) {
	if d.isUTF8() || d.ascii(raw) {
		return raw, nil
	}
	enc, err := d.encoding()
	if err != nil {
		return "", err
	}
	s, err := enc.NewDecoder().String(raw)
	if err == nil {
		var back string
		if back, err = d.encode(s); err == nil && (back != raw || enc == simplifiedchinese.GBK && strings.ContainsFunc(s, doubtfulGBK)) {
			err = fmt.Errorf("it has bytes that are no characters")
		}
	}
	if err != nil {
		return "", fmt.Errorf("the text cannot be converted from the session's character set (collation %d): %w", d.charset, err)
	}
	return s, nil
}

// doubtfulGBK are characters beside the usual ones. Of some of these MySQL has another opinion.
func doubtfulGBK(r rune) bool {
	return r >= utf8.RuneSelf && !(r >= 0x4e00 && r <= 0x9fa5 || r >= 0x3000 && r <= 0x3003 || r >= 0xff01 && r <= 0xff5e)
}

func (d dialect) encode(s string) (string, error) {
	if d.isUTF8() || d.ascii(s) {
		return s, nil
	}
	enc, err := d.encoding()
	if err != nil {
		return "", err
	}
	return enc.NewEncoder().String(s)
}

// Encode converts a statement, or what was made of it, back to the character set of the session that wrote it, as a session with these settings
// expects it.
func Encode(sql string, settings []byte) (string, error) { return dialectOf(settings).encode(sql) }
