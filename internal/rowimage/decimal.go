package rowimage

import (
	"fmt"
	"strconv"
)

// MySQL stores nine decimal digits in four bytes, big endian, and the digits beyond nines, at both ends, in as few bytes as they need.
var decimalBytes = [10]int{0, 1, 1, 2, 2, 3, 3, 4, 4, 4}

func decimalSize(precision, scale int) int {
	whole := precision - scale
	return whole/9*4 + decimalBytes[whole%9] + scale/9*4 + decimalBytes[scale%9]
}

// appendDecimal prints a DECIMAL(precision, scale). The first bit is set for zero and above; a negative number has all bits inverted.
func appendDecimal(dst, raw []byte, precision, scale int) ([]byte, error) {
	d := decimalReader{rest: raw}
	if raw[0]&0x80 == 0 {
		d.invert = 0xff
		dst = append(dst, '-')
	}
	d.sign = 0x80
	whole, start := precision-scale, len(dst)
	dst = d.group(dst, whole%9, len(dst) > start)
	for range whole / 9 {
		dst = d.group(dst, 9, len(dst) > start)
	}
	if len(dst) == start {
		dst = append(dst, '0')
	}
	if scale > 0 {
		dst = append(dst, '.')
	}
	for range scale / 9 {
		dst = d.group(dst, 9, true)
	}
	dst = d.group(dst, scale%9, true)
	return dst, d.err
}

type decimalReader struct {
	rest   []byte
	invert byte
	sign   byte // what to flip in the next byte: the sign bit, in the first
	err    error
}

// group reads one group of digits; full prints its leading zeros.
func (d *decimalReader) group(dst []byte, digits int, full bool) []byte {
	if digits == 0 {
		return dst
	}
	var v uint64
	size := decimalBytes[digits]
	for _, b := range d.rest[:size] {
		v = v<<8 | uint64(b^d.invert^d.sign)
		d.sign = 0
	}
	d.rest = d.rest[size:]
	if v >= powersOf10[digits] {
		d.err = fmt.Errorf("DECIMAL group of %d digits holds %d", digits, v)
		return dst
	}
	switch {
	case full:
		return appendPadded(dst, v, digits)
	case v > 0:
		return strconv.AppendUint(dst, v, 10)
	}
	return dst
}
