package rowimage

import (
	"encoding/hex"
	"strconv"
	"strings"

	"braid/internal/schema"
)

// SelectExpr is the expression of a SELECT list whose text, after Canonical, is the column's cell. The session must have
// time_zone '+00:00', NAMES binary, and a sql_mode without PAD_CHAR_TO_FULL_LENGTH.
func SelectExpr(col schema.Column) string {
	name := "`" + strings.ReplaceAll(col.Name, "`", "``") + "`"
	switch kindOf(&col) {
	case kindBit, kindEnum:
		return "CAST(" + name + " AS UNSIGNED)" // c+0 would go through a double for ENUM and SET, and lose bits of a SET
	case kindFloat, kindDouble:
		return "CAST(" + name + " AS DOUBLE)" // a bare FLOAT prints six digits; DOUBLE(M,D) prints D decimals
	}
	return name
}

// Canonical makes a cell of the text that SelectExpr selects. The result may alias the text. nil, that is NULL, stays nil.
func Canonical(col schema.Column, text []byte) []byte {
	if text == nil {
		return nil
	}
	switch kindOf(&col) {
	case kindFloat, kindDouble:
		return canonicalFloat(text)
	case kindInt, kindDecimal:
		if len(text) > 1 && text[0] == '0' && col.Zerofill() {
			return trimZeros(text)
		}
	case kindBinary:
		return padBinary(text, int(col.Length))
	}
	return text
}

func canonicalFloat(text []byte) []byte {
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return text // not a number of this server; the comparison will show it
	}
	return strconv.AppendFloat(make([]byte, 0, 24), f, 'g', -1, 64)
}

// trimZeros removes the padding of ZEROFILL; 000.50 keeps the zero before its point, 000 the last one.
func trimZeros(text []byte) []byte {
	for len(text) > 1 && text[0] == '0' && text[1] != '.' {
		text = text[1:]
	}
	return text
}

func padBinary(text []byte, n int) []byte {
	if len(text) >= n {
		return text
	}
	padded := make([]byte, n)
	copy(padded, text)
	return padded
}

// hexLimit: a binary value up to this size is written in hex, which people can read (UUIDs, hashes); a larger one would double.
const hexLimit = 64

// AppendLiteral appends an SQL literal that stores exactly the cell into the column, in a session with the settings of apply/rows.Prepare
// (in particular no NO_BACKSLASH_ESCAPES). The literal also compares as the column does, by its collation, except for JSON,
// which only compares with a JSON value (CAST(literal AS JSON)), and for the 64th member of a SET.
//
// One thing has no text form: a DECIMAL or a temporal value inside a JSON document is stored as a DOUBLE or as a string.
func AppendLiteral(dst []byte, col schema.Column, cell []byte) []byte {
	return AppendLiteralTo(dst, &col, cell)
}

// AppendLiteralTo is AppendLiteral for hot paths: it does not copy the column.
func AppendLiteralTo(dst []byte, col *schema.Column, cell []byte) []byte {
	if cell == nil {
		return append(dst, "NULL"...)
	}
	switch kindOf(col) {
	case kindInt, kindDecimal, kindBit, kindEnum:
		return append(dst, cell...)
	case kindFloat, kindDouble:
		return appendFloatLiteral(dst, cell)
	case kindYear, kindTime: // YEAR as text: the number 0 and the text 0000 are year 0, other forms are not
		return append(append(append(dst, '\''), cell...), '\'')
	case kindJSON:
		return appendQuoted(append(dst, "_utf8mb4"...), cell)
	case kindBinary, kindBlob:
		if len(cell) > 0 && len(cell) <= hexLimit {
			return hex.AppendEncode(append(dst, "0x"...), cell)
		}
	}
	return appendQuoted(append(dst, "_binary"...), cell)
}

// appendFloatLiteral makes sure of an exponent: 0.1 would be a DECIMAL literal, 0.1e0 is a DOUBLE.
func appendFloatLiteral(dst, cell []byte) []byte {
	dst = append(dst, cell...)
	for _, c := range cell {
		if c == 'e' {
			return dst
		}
	}
	return append(dst, "e0"...)
}

func appendQuoted(dst, cell []byte) []byte {
	dst = append(dst, '\'')
	from := 0
	for i, c := range cell {
		escaped := escapes[c]
		if escaped == 0 {
			continue
		}
		dst = append(append(dst, cell[from:i]...), '\\', escaped)
		from = i + 1
	}
	return append(append(dst, cell[from:]...), '\'')
}

// escapes holds what follows the backslash. The same bytes as mysql_real_escape_string.
var escapes = [256]byte{0: '0', '\n': 'n', '\r': 'r', '\\': '\\', '\'': '\'', '"': '"', 0x1a: 'Z'}

// IsCanonical reports whether Canonical leaves every text of the column as it is.
func IsCanonical(col *schema.Column) bool {
	switch kindOf(col) {
	case kindFloat, kindDouble, kindBinary:
		return false
	case kindInt, kindDecimal:
		return !col.Zerofill()
	}
	return true
}
