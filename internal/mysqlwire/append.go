package mysqlwire

import "encoding/binary"

const null = 0xfb // a cell that is NULL

// AppendInt appends a length-encoded integer.
func AppendInt(dst []byte, v uint64) []byte {
	switch {
	case v < 251:
		return append(dst, byte(v))
	case v < 1<<16:
		return append(dst, 0xfc, byte(v), byte(v>>8))
	case v < 1<<24:
		return append(dst, 0xfd, byte(v), byte(v>>8), byte(v>>16))
	}
	return binary.LittleEndian.AppendUint64(append(dst, 0xfe), v)
}

// AppendBytes appends a length-encoded string.
func AppendBytes[T string | []byte](dst []byte, s T) []byte {
	return append(AppendInt(dst, uint64(len(s))), s...)
}

// AppendCell appends a value of a text row; nil is NULL.
func AppendCell(dst, cell []byte) []byte {
	if cell == nil {
		return append(dst, null)
	}
	return AppendBytes(dst, cell)
}

// AppendRow appends a text row; a nil cell is NULL.
func AppendRow(dst []byte, cells [][]byte) []byte {
	for _, cell := range cells {
		dst = AppendCell(dst, cell)
	}
	return dst
}

// AppendQuoted appends a string literal for a session whose sql_mode lacks NO_BACKSLASH_ESCAPES.
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
