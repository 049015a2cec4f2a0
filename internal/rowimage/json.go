package rowimage

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// Types of MySQL's binary JSON. A document is a type byte and a value. An object or an array begins with the count of its members
// and its size; then come entries (keys with place and length, values with type and place), then what the entries point to.
// Places are counted from the count. All these numbers have two bytes in a "small" one, else four. Literals and integers that
// fit stand in the entry itself.
const (
	jsonSmallObject = 0x00
	jsonLargeObject = 0x01
	jsonSmallArray  = 0x02
	jsonLargeArray  = 0x03
	jsonLiteral     = 0x04
	jsonInt16       = 0x05
	jsonUint16      = 0x06
	jsonInt32       = 0x07
	jsonUint32      = 0x08
	jsonInt64       = 0x09
	jsonUint64      = 0x0a
	jsonDouble      = 0x0b
	jsonString      = 0x0c
	jsonOpaque      = 0x0f
)

// scalarSizes of the types with a fixed size; zero for the others.
var scalarSizes = [16]int{
	jsonLiteral: 1, jsonInt16: 2, jsonUint16: 2, jsonInt32: 4, jsonUint32: 4, jsonInt64: 8, jsonUint64: 8, jsonDouble: 8,
}

// maxJSONDepth is beyond what MySQL lets a document have (100).
const maxJSONDepth = 128

var (
	errJSONDepth  = errors.New("nested too deeply")
	errJSONShared = errors.New("values overlap")
)

// AppendJSON appends the text that MySQL renders for a document in its binary form, as row events have it.
func AppendJSON(dst, doc []byte) ([]byte, error) {
	if len(doc) == 0 { // what INSERT IGNORE may leave; MySQL reads it as null
		return append(dst, "null"...), nil
	}
	// The values of a sound document do not overlap, so that what is visited is no longer than the document. Without the
	// bound, places that point at each other would make an endless text.
	j := jsonReader{budget: 2*len(doc) + 16}
	dst, err := j.value(dst, doc[0], doc[1:], 0)
	if err != nil {
		return nil, fmt.Errorf("binary JSON of %d bytes: %w", len(doc), err)
	}
	return dst, nil
}

type jsonReader struct {
	budget int // bytes that may still be visited
}

func (j *jsonReader) spend(n int) error {
	if j.budget -= n; j.budget < 0 {
		return errJSONShared
	}
	return nil
}

// value renders the value of a type that begins at data.
func (j *jsonReader) value(dst []byte, t byte, data []byte, depth int) ([]byte, error) {
	switch {
	case t <= jsonLargeArray:
		if depth >= maxJSONDepth {
			return nil, errJSONDepth
		}
		return j.container(dst, t, data, depth)
	case t == jsonString:
		text, err := j.sized(data)
		if err != nil {
			return nil, err
		}
		return appendJSONString(dst, text), nil
	case t == jsonOpaque:
		if len(data) == 0 {
			return nil, errShort
		}
		raw, err := j.sized(data[1:])
		if err != nil {
			return nil, err
		}
		return appendOpaque(dst, data[0], raw)
	case int(t) < len(scalarSizes) && scalarSizes[t] > 0:
		if len(data) < scalarSizes[t] {
			return nil, errShort
		}
		return appendScalar(dst, t, data[:scalarSizes[t]])
	}
	return nil, fmt.Errorf("unknown type 0x%02x", t)
}

// sized reads bytes behind their length: seven bits a byte, the lowest first, the high bit set in all but the last.
func (j *jsonReader) sized(data []byte) ([]byte, error) {
	length := 0
	for i := 0; i < 5 && i < len(data); i++ {
		length |= int(data[i]&0x7f) << (7 * i)
		if data[i]&0x80 != 0 {
			continue
		}
		if rest := data[i+1:]; length <= len(rest) {
			return rest[:length], j.spend(i + 1 + length)
		}
		break
	}
	return nil, errShort
}

func appendScalar(dst []byte, t byte, data []byte) ([]byte, error) {
	v := littleEndian(data)
	switch t {
	case jsonLiteral:
		if v > 2 {
			return nil, fmt.Errorf("unknown literal %d", v)
		}
		return append(dst, [...]string{"null", "true", "false"}[v]...), nil
	case jsonInt16:
		return strconv.AppendInt(dst, int64(int16(v)), 10), nil
	case jsonInt32:
		return strconv.AppendInt(dst, int64(int32(v)), 10), nil
	case jsonInt64:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case jsonDouble:
		return appendJSONDouble(dst, math.Float64frombits(v)), nil
	}
	return strconv.AppendUint(dst, v, 10), nil
}

// container is an object or an array.
type container struct {
	data   []byte // begins at the count, ends with the size
	width  int    // bytes of a number
	object bool
	count  int
}

func (j *jsonReader) open(t byte, data []byte) (c container, err error) {
	c = container{data: data, width: 2, object: t <= jsonLargeObject}
	if t == jsonLargeObject || t == jsonLargeArray {
		c.width = 4
	}
	if len(data) < 2*c.width {
		return c, errShort
	}
	c.count = c.number(0)
	size := c.number(c.width)
	if size > len(data) || c.values(c.count) > size {
		return c, errShort
	}
	c.data = data[:size]
	return c, j.spend(c.values(c.count))
}

// number reads a count, a size or a place.
func (c *container) number(at int) int { return int(littleEndian(c.data[at : at+c.width])) }

// values is where the i-th value entry begins; that of the count is the end of the entries.
func (c *container) values(i int) int {
	at := 2*c.width + i*(1+c.width)
	if c.object {
		at += c.count * (c.width + 2)
	}
	return at
}

func (c *container) key(i int) ([]byte, error) {
	entry := 2*c.width + i*(c.width+2)
	from, length := c.number(entry), int(littleEndian(c.data[entry+c.width:entry+c.width+2]))
	if from > len(c.data) || length > len(c.data)-from {
		return nil, errShort
	}
	return c.data[from : from+length], nil
}

func (j *jsonReader) container(dst []byte, t byte, data []byte, depth int) ([]byte, error) {
	c, err := j.open(t, data)
	if err != nil {
		return nil, err
	}
	brackets := "[]"
	if c.object {
		brackets = "{}"
	}
	dst = append(dst, brackets[0])
	for i := range c.count {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if c.object {
			key, err := c.key(i)
			if err == nil {
				err = j.spend(len(key))
			}
			if err != nil {
				return nil, err
			}
			dst = append(appendJSONString(dst, key), ": "...)
		}
		if dst, err = j.member(dst, &c, i, depth); err != nil {
			return nil, err
		}
	}
	return append(dst, brackets[1]), nil
}

func (j *jsonReader) member(dst []byte, c *container, i, depth int) ([]byte, error) {
	entry := c.values(i)
	t := c.data[entry]
	if inEntry(t, c.width) {
		return appendScalar(dst, t, c.data[entry+1:entry+1+scalarSizes[t]])
	}
	from := c.number(entry + 1)
	if from > len(c.data) {
		return nil, errShort
	}
	return j.value(dst, t, c.data[from:], depth+1)
}

// inEntry reports whether a value stands in its entry: literals and what fits.
func inEntry(t byte, width int) bool {
	switch t {
	case jsonLiteral, jsonInt16, jsonUint16:
		return true
	case jsonInt32, jsonUint32:
		return width == 4
	}
	return false
}

// appendJSONString escapes what MySQL escapes: quotes, backslashes and control characters. Everything else stays as it is.
func appendJSONString(dst, text []byte) []byte {
	dst = append(dst, '"')
	from := 0
	for i, c := range text {
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[from:i]...)
		from = i + 1
		if short := jsonEscapes[c]; short != 0 {
			dst = append(dst, '\\', short)
		} else {
			const digits = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	return append(append(dst, text[from:]...), '"')
}

var jsonEscapes = [256]byte{'"': '"', '\\': '\\', '\b': 'b', '\t': 't', '\n': 'n', '\f': 'f', '\r': 'r'}

// appendJSONDouble prints as MySQL's my_gcvt does: the shortest digits that read back as f, in plain form while the point is within
// 15 places, or stands between two of the digits, and ".0" behind what would read back as an integer.
func appendJSONDouble(dst []byte, f float64) []byte {
	var buf [32]byte
	e := strconv.AppendFloat(buf[:0], f, 'e', -1, 64) // d.ddde±dd
	mark := len(e) - 1
	for mark > 0 && e[mark] != 'e' {
		mark--
	}
	exponent, err := strconv.Atoi(string(e[mark+1:]))
	if err != nil { // NaN and infinities, which MySQL does not store
		return append(dst, "null"...)
	}
	digits := mark
	for _, c := range e[:mark] {
		if c == '-' || c == '.' {
			digits--
		}
	}
	if exponent < -15 || exponent > 14 && exponent > digits-2 {
		dst = append(append(dst, e[:mark]...), 'e')
		return strconv.AppendInt(dst, int64(exponent), 10)
	}
	from := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	for _, c := range dst[from:] {
		if c == '.' {
			return dst
		}
	}
	return append(dst, ".0"...)
}

// appendOpaque renders a value of an SQL type that JSON lacks.
func appendOpaque(dst []byte, t byte, raw []byte) ([]byte, error) {
	switch t {
	case typeDecimal:
		if len(raw) < 2 {
			return nil, errShort
		}
		precision, scale := int(raw[0]), int(raw[1])
		if err := checkMeta(typeDecimal, uint16(precision)<<8|uint16(scale)); err != nil {
			return nil, err
		}
		if len(raw)-2 != decimalSize(precision, scale) {
			return nil, errShort
		}
		return appendDecimal(dst, raw[2:], precision, scale)
	case typeDate, typeTime, typeDatetime, typeTimestamp:
		if len(raw) != 8 {
			return nil, errShort
		}
		return appendOpaqueTime(dst, t, int64(littleEndian(raw))), nil
	}
	dst = append(dst, `"base64:type`...)
	dst = append(strconv.AppendUint(dst, uint64(t), 10), ':')
	const line = 57 // bytes of 76 characters: MySQL's base64 has lines, and the line feed is escaped like any other
	for ; len(raw) > line; raw = raw[line:] {
		dst = append(base64.StdEncoding.AppendEncode(dst, raw[:line]), `\n`...)
	}
	return append(base64.StdEncoding.AppendEncode(dst, raw), '"'), nil
}

// appendOpaqueTime takes the packed form: a date and a time as in DATETIME2 or TIME2, then 24 bits of microseconds, negative for a negative TIME.
func appendOpaqueTime(dst []byte, t byte, v int64) []byte {
	dst = append(dst, '"')
	if v < 0 {
		dst, v = append(dst, '-'), -v
	}
	packed, micros := uint64(v)>>24, uint64(v)&(1<<24-1)
	switch t {
	case typeDate:
		yearMonth := packed >> 22 & (1<<17 - 1)
		return append(appendDate(dst, yearMonth/13, yearMonth%13, packed>>17&31), '"')
	case typeTime:
		dst = appendClock(dst, packed>>12&1023, packed>>6&63, packed&63)
	default:
		dst = appendDatetime(dst, packed)
	}
	return append(appendPadded(append(dst, '.'), micros, 6), '"')
}
