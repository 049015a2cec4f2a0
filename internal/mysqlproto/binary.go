package mysqlproto

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/mysqlwire"
)

// appendBinaryRow writes text cells in the format of prepared statements' results.
func appendBinaryRow(dst []byte, cols []Column, cells [][]byte) ([]byte, error) {
	dst = append(dst, mysql.OK_HEADER)
	nulls := len(dst)
	dst = append(dst, make([]byte, (len(cols)+7+2)/8)...)
	for i, cell := range cells {
		if cell == nil {
			dst[nulls+(i+2)/8] |= 1 << ((i + 2) % 8)
			continue
		}
		var err error
		if dst, err = appendBinaryCell(dst, cols[i], cell); err != nil {
			return nil, fmt.Errorf("column %s: %w", cols[i].Name, err)
		}
	}
	return dst, nil
}

func appendBinaryCell(dst []byte, col Column, cell []byte) ([]byte, error) {
	switch col.Type {
	case mysql.MYSQL_TYPE_TINY:
		n, err := parseInteger(col, cell)
		return append(dst, byte(n)), err
	case mysql.MYSQL_TYPE_SHORT, mysql.MYSQL_TYPE_YEAR:
		n, err := parseInteger(col, cell)
		return binary.LittleEndian.AppendUint16(dst, uint16(n)), err
	case mysql.MYSQL_TYPE_INT24, mysql.MYSQL_TYPE_LONG:
		n, err := parseInteger(col, cell)
		return binary.LittleEndian.AppendUint32(dst, uint32(n)), err
	case mysql.MYSQL_TYPE_LONGLONG:
		n, err := parseInteger(col, cell)
		return binary.LittleEndian.AppendUint64(dst, n), err
	case mysql.MYSQL_TYPE_FLOAT:
		f, err := strconv.ParseFloat(string(cell), 32)
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(f))), err
	case mysql.MYSQL_TYPE_DOUBLE:
		f, err := strconv.ParseFloat(string(cell), 64)
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f)), err
	case mysql.MYSQL_TYPE_DATE, mysql.MYSQL_TYPE_NEWDATE, mysql.MYSQL_TYPE_DATETIME, mysql.MYSQL_TYPE_TIMESTAMP:
		return appendBinaryDate(dst, cell)
	case mysql.MYSQL_TYPE_TIME:
		return appendBinaryTime(dst, cell)
	}
	return mysqlwire.AppendBytes(dst, cell), nil
}

func parseInteger(col Column, cell []byte) (uint64, error) {
	if col.Unsigned() || col.Type == mysql.MYSQL_TYPE_YEAR {
		return strconv.ParseUint(string(cell), 10, 64)
	}
	n, err := strconv.ParseInt(string(cell), 10, 64)
	return uint64(n), err
}

// appendBinaryDate writes "2006-01-02" or "2006-01-02 15:04:05.999999".
func appendBinaryDate(dst, cell []byte) ([]byte, error) {
	date, clock, _ := strings.Cut(string(cell), " ")
	d, err := numbers(date, "-", 3)
	if err != nil {
		return nil, err
	}
	var t [3]uint64
	var micro uint32
	if clock != "" {
		if t, micro, err = parseClock(clock); err != nil {
			return nil, err
		}
	}
	body := binary.LittleEndian.AppendUint16(nil, uint16(d[0]))
	body = append(body, byte(d[1]), byte(d[2]))
	switch {
	case micro != 0:
		body = binary.LittleEndian.AppendUint32(append(body, byte(t[0]), byte(t[1]), byte(t[2])), micro)
	case t != [3]uint64{}:
		body = append(body, byte(t[0]), byte(t[1]), byte(t[2]))
	case d[0] == 0 && d[1] == 0 && d[2] == 0:
		body = nil
	}
	return append(append(dst, byte(len(body))), body...), nil
}

// appendBinaryTime writes "[-]838:59:59.999999".
func appendBinaryTime(dst, cell []byte) ([]byte, error) {
	text, negative := bytes.CutPrefix(cell, []byte("-"))
	t, micro, err := parseClock(string(text))
	if err != nil {
		return nil, err
	}
	if t == [3]uint64{} && micro == 0 {
		return append(dst, 0), nil
	}
	body := []byte{0}
	if negative {
		body[0] = 1
	}
	body = binary.LittleEndian.AppendUint32(body, uint32(t[0]/24))
	body = append(body, byte(t[0]%24), byte(t[1]), byte(t[2]))
	if micro != 0 {
		body = binary.LittleEndian.AppendUint32(body, micro)
	}
	return append(append(dst, byte(len(body))), body...), nil
}

func parseClock(s string) (t [3]uint64, micro uint32, err error) {
	whole, fraction, _ := strings.Cut(s, ".")
	n, err := numbers(whole, ":", 3)
	if err != nil {
		return t, 0, err
	}
	copy(t[:], n)
	if fraction != "" {
		f, err := strconv.ParseUint((fraction + "000000")[:6], 10, 32)
		if err != nil {
			return t, 0, err
		}
		micro = uint32(f)
	}
	return t, micro, nil
}

func numbers(s, sep string, want int) ([]uint64, error) {
	parts := strings.Split(s, sep)
	if len(parts) != want {
		return nil, fmt.Errorf("%q is no date or time", s)
	}
	out := make([]uint64, want)
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			return nil, err
		}
		out[i] = n
	}
	return out, nil
}
