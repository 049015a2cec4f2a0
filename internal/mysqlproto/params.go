package mysqlproto

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/mysqlwire"
)

// ParamType is the type of a parameter of a prepared statement, as the client sends it.
type ParamType struct {
	Type     byte
	Unsigned bool
}

// Marks finds the question marks that stand for parameters: those outside of quotes and comments. ok is false when a quote or
// a comment does not end.
func Marks(sql string) (at []int, ok bool) {
	for i := 0; i < len(sql); i++ {
		switch c := sql[i]; {
		case c == '?':
			at = append(at, i)
		case c == '\'' || c == '"' || c == '`':
			end := quoted(sql, i)
			if end < 0 {
				return nil, false
			}
			i = end
		case c == '#' || c == '-' && i+2 < len(sql) && sql[i+1] == '-' && (sql[i+2] == ' ' || sql[i+2] == '\t' || sql[i+2] == '\n'):
			for i < len(sql) && sql[i] != '\n' {
				i++
			}
		case c == '/' && i+1 < len(sql) && sql[i+1] == '*':
			if i+2 < len(sql) && sql[i+2] == '!' {
				i += 2 // what is in it is executed
				continue
			}
			end := comment(sql, i+2)
			if end < 0 {
				return nil, false
			}
			i = end
		}
	}
	return at, true
}

// quoted is the offset of the quote that ends what begins at i, or -1.
func quoted(sql string, i int) int {
	quote := sql[i]
	for j := i + 1; j < len(sql); j++ {
		switch {
		case sql[j] == '\\' && quote != '`':
			j++
		case sql[j] == quote && j+1 < len(sql) && sql[j+1] == quote:
			j++
		case sql[j] == quote:
			return j
		}
	}
	return -1
}

func comment(sql string, i int) int {
	for j := i; j+1 < len(sql); j++ {
		if sql[j] == '*' && sql[j+1] == '/' {
			return j + 1
		}
	}
	return -1
}

var errShort = errors.New("the packet is too short")

// Fill puts the values of a COM_STMT_EXECUTE into the text as literals. types are those of the execution before, which a
// client need not repeat; those of this one are returned. long holds values that were sent ahead.
func Fill(sql string, marks []int, types []ParamType, long map[int][]byte, payload []byte) (string, []ParamType, error) {
	r := mysqlwire.Fields{P: payload}
	r.Take(9) // statement, flags, iteration count
	if len(marks) == 0 {
		return sql, nil, nil
	}
	nulls := r.Take((len(marks) + 7) / 8)
	if r.Byte() == 1 {
		types = make([]ParamType, len(marks))
		for i := range types {
			types[i].Type = r.Byte()
			types[i].Unsigned = r.Byte()&0x80 != 0
		}
	}
	if r.Bad {
		return "", nil, errShort
	}
	if len(types) != len(marks) {
		return "", nil, fmt.Errorf("%d parameters, %d types", len(marks), len(types))
	}
	out := make([]byte, 0, len(sql)+16*len(marks))
	from := 0
	for i, at := range marks {
		out = append(out, sql[from:at]...)
		from = at + 1
		value, sent := long[i]
		var err error
		switch {
		case nulls[i/8]&(1<<(i%8)) != 0:
			out = append(out, "NULL"...)
		case sent:
			out = appendString(out, types[i].Type, value)
		default:
			out, err = appendParam(out, types[i], &r)
		}
		if err != nil {
			return "", nil, fmt.Errorf("parameter %d: %w", i+1, err)
		}
	}
	if r.Bad {
		return "", nil, errShort
	}
	return string(append(out, sql[from:]...)), types, nil
}

// appendParam writes one value as a literal. A space goes before a minus, so that it cannot join another to a comment.
func appendParam(dst []byte, t ParamType, r *mysqlwire.Fields) ([]byte, error) {
	integer := func(signed int64, unsigned uint64) []byte {
		if t.Unsigned {
			return strconv.AppendUint(dst, unsigned, 10)
		}
		if signed < 0 {
			dst = append(dst, ' ')
		}
		return strconv.AppendInt(dst, signed, 10)
	}
	switch t.Type {
	case mysql.MYSQL_TYPE_NULL:
		return append(dst, "NULL"...), nil
	case mysql.MYSQL_TYPE_TINY:
		v := r.Byte()
		return integer(int64(int8(v)), uint64(v)), nil
	case mysql.MYSQL_TYPE_SHORT, mysql.MYSQL_TYPE_YEAR:
		v := r.Uint16()
		return integer(int64(int16(v)), uint64(v)), nil
	case mysql.MYSQL_TYPE_INT24, mysql.MYSQL_TYPE_LONG:
		v := r.Uint32()
		return integer(int64(int32(v)), uint64(v)), nil
	case mysql.MYSQL_TYPE_LONGLONG:
		v := r.Uint64()
		return integer(int64(v), v), nil
	case mysql.MYSQL_TYPE_FLOAT:
		return appendFloat(dst, float64(math.Float32frombits(r.Uint32())), 32), nil
	case mysql.MYSQL_TYPE_DOUBLE:
		return appendFloat(dst, math.Float64frombits(r.Uint64()), 64), nil
	case mysql.MYSQL_TYPE_DATE, mysql.MYSQL_TYPE_NEWDATE, mysql.MYSQL_TYPE_DATETIME, mysql.MYSQL_TYPE_TIMESTAMP:
		return appendDate(dst, r.Take(int(r.Byte())), t.Type)
	case mysql.MYSQL_TYPE_TIME:
		return appendTime(dst, r.Take(int(r.Byte())))
	case mysql.MYSQL_TYPE_DECIMAL, mysql.MYSQL_TYPE_NEWDECIMAL:
		return appendDecimal(dst, r.Bytes()), nil
	}
	return appendString(dst, t.Type, r.Bytes()), nil
}

func appendFloat(dst []byte, f float64, bits int) []byte {
	if f < 0 {
		dst = append(dst, ' ')
	}
	return strconv.AppendFloat(dst, f, 'e', -1, bits)
}

// appendDecimal writes a number as it is, and anything else as a string.
func appendDecimal(dst, text []byte) []byte {
	for i, c := range text {
		if (c < '0' || c > '9') && c != '.' && !(i == 0 && c == '-') {
			return appendString(dst, mysql.MYSQL_TYPE_STRING, text)
		}
	}
	if len(text) == 0 {
		return append(dst, "''"...)
	}
	return append(append(dst, ' '), text...)
}

// appendString writes a string; one that the client sends as binary gets the introducer that keeps it so.
func appendString(dst []byte, typ byte, s []byte) []byte {
	switch typ {
	case mysql.MYSQL_TYPE_TINY_BLOB, mysql.MYSQL_TYPE_BLOB, mysql.MYSQL_TYPE_MEDIUM_BLOB, mysql.MYSQL_TYPE_LONG_BLOB, mysql.MYSQL_TYPE_BIT, mysql.MYSQL_TYPE_GEOMETRY:
		dst = append(dst, "_binary"...)
	}
	return mysqlwire.AppendQuoted(dst, s)
}

func appendDate(dst, p []byte, typ byte) ([]byte, error) {
	var year, month, day, hour, minute, second, micro int
	r := mysqlwire.Fields{P: p}
	switch len(p) {
	case 0:
	case 4, 7, 11:
		year, month, day = int(r.Uint16()), int(r.Byte()), int(r.Byte())
		if len(p) >= 7 {
			hour, minute, second = int(r.Byte()), int(r.Byte()), int(r.Byte())
		}
		if len(p) == 11 {
			micro = int(r.Uint32())
		}
	default:
		return nil, fmt.Errorf("a date of %d bytes", len(p))
	}
	dst = fmt.Appendf(dst, "'%04d-%02d-%02d", year, month, day)
	if typ != mysql.MYSQL_TYPE_DATE || len(p) > 4 {
		dst = fmt.Appendf(dst, " %02d:%02d:%02d", hour, minute, second)
	}
	if micro > 0 {
		dst = fmt.Appendf(dst, ".%06d", micro)
	}
	return append(dst, '\''), nil
}

func appendTime(dst, p []byte) ([]byte, error) {
	if len(p) == 0 {
		return append(dst, "'00:00:00'"...), nil
	}
	if len(p) != 8 && len(p) != 12 {
		return nil, fmt.Errorf("a time of %d bytes", len(p))
	}
	r := mysqlwire.Fields{P: p}
	sign := ""
	if r.Byte() == 1 {
		sign = "-"
	}
	hours := uint64(r.Uint32())*24 + uint64(r.Byte())
	dst = fmt.Appendf(dst, "'%s%02d:%02d:%02d", sign, hours, r.Byte(), r.Byte())
	if len(p) == 12 {
		dst = fmt.Appendf(dst, ".%06d", r.Uint32())
	}
	return append(dst, '\''), nil
}
