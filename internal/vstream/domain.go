package vstream

import (
	"bytes"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"braid/internal/schema"
)

// domain numbers values of a column's type between two cells, roughly in their order: 0 is the first, size the last.
type domain struct {
	size *big.Int
	cell func(x *big.Int) []byte
}

// at is the value of a number, counted from the end if the index is descending.
func (d *domain) at(x *big.Int, descending bool) []byte {
	if descending {
		x = new(big.Int).Sub(d.size, x)
	}
	return d.cell(x)
}

// domainOf numbers the values between two cells, in whichever order they are given.
func domainOf(col *schema.Column, a, b []byte) *domain {
	switch col.DataType {
	case "tinyint", "smallint", "mediumint", "int", "bigint", "bit", "enum", "set":
		return integers(a, b, 0, func(n *big.Int) []byte { return n.Append(nil, 10) })
	case "year":
		return integers(a, b, 0, func(n *big.Int) []byte { return fmt.Appendf(nil, "%04d", n) })
	case "decimal":
		return integers(a, b, col.Scale, func(n *big.Int) []byte { return appendScaled(n, col.Scale) })
	case "float", "double":
		return floats(a, b)
	case "date":
		return times(a, b, time.DateOnly, 24*time.Hour)
	case "datetime", "timestamp":
		return times(a, b, time.DateTime, time.Second)
	case "time":
		return clocks(a, b)
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext":
		return texts(col, a, b)
	}
	return binaries(a, b)
}

// between numbers the integers from a to b.
func between(a, b *big.Int, cell func(*big.Int) []byte) *domain {
	if a.Cmp(b) > 0 {
		a, b = b, a
	}
	return &domain{size: new(big.Int).Sub(b, a), cell: func(x *big.Int) []byte { return cell(new(big.Int).Add(a, x)) }}
}

func integers(a, b []byte, scale int, cell func(*big.Int) []byte) *domain {
	return between(scaled(a, scale), scaled(b, scale), cell)
}

// scaled reads a decimal as an integer: its digits, with as many behind the point as the scale.
func scaled(cell []byte, scale int) *big.Int {
	whole, fraction, _ := strings.Cut(string(cell), ".")
	n, ok := new(big.Int).SetString(whole+(fraction + strings.Repeat("0", max(scale-len(fraction), 0)))[:scale], 10)
	if !ok {
		return new(big.Int)
	}
	return n
}

func appendScaled(n *big.Int, scale int) []byte {
	digits := fmt.Sprintf("%0*d", scale+1, new(big.Int).Abs(n))
	at := len(digits) - scale
	text := digits[:at]
	if scale > 0 {
		text += "." + digits[at:]
	}
	if n.Sign() < 0 {
		text = "-" + text
	}
	return []byte(text)
}

// floats are numbered by their bits, which order like they do once the negative ones are turned round.
func floats(a, b []byte) *domain {
	number := func(cell []byte) *big.Int {
		f, err := strconv.ParseFloat(string(cell), 64)
		if err != nil {
			f = 0
		}
		bits := math.Float64bits(f)
		if bits>>63 != 0 {
			bits = ^bits
		} else {
			bits |= 1 << 63
		}
		return new(big.Int).SetUint64(bits)
	}
	return between(number(a), number(b), func(n *big.Int) []byte {
		bits := n.Uint64()
		if bits>>63 != 0 {
			bits &^= 1 << 63
		} else {
			bits = ^bits
		}
		return strconv.AppendFloat(nil, math.Float64frombits(bits), 'g', -1, 64)
	})
}

// times are numbered by steps since 1970. Days that are none, as 2024-00-00, count as the earliest, or the latest.
func times(a, b []byte, layout string, step time.Duration) *domain {
	number := func(cell []byte) *big.Int {
		t, err := time.Parse(layout, string(cell[:min(len(cell), len(layout))]))
		if err != nil {
			t = time.Date(1000, 1, 1, 0, 0, 0, 0, time.UTC)
		}
		return big.NewInt(t.Unix() / int64(step/time.Second))
	}
	return between(number(a), number(b), func(n *big.Int) []byte {
		return time.Unix(n.Int64()*int64(step/time.Second), 0).UTC().AppendFormat(nil, layout)
	})
}

// clocks are numbered by seconds.
func clocks(a, b []byte) *domain {
	number := func(cell []byte) *big.Int {
		var h, m, s int64
		text, negative := strings.CutPrefix(string(cell), "-")
		if _, err := fmt.Sscanf(text, "%d:%d:%d", &h, &m, &s); err != nil {
			return new(big.Int)
		}
		if s += h*3600 + m*60; negative {
			s = -s
		}
		return big.NewInt(s)
	}
	return between(number(a), number(b), func(n *big.Int) []byte {
		s, sign := n.Int64(), ""
		if s < 0 {
			s, sign = -s, "-"
		}
		return fmt.Appendf(nil, "%s%02d:%02d:%02d", sign, s/3600, s/60%60, s%60)
	})
}

const digits = 8 // of a value behind what its bounds have in common

// binaries are numbered by the bytes behind what both have in common.
func binaries(a, b []byte) *domain {
	common := a[:commonPrefix(a, b)]
	number := func(cell []byte) *big.Int {
		var digit [digits]byte
		copy(digit[:], cell[len(common):])
		return new(big.Int).SetBytes(digit[:])
	}
	return between(number(a), number(b), func(n *big.Int) []byte {
		var digit [digits]byte
		return append(bytes.Clone(common), n.FillBytes(digit[:])...)
	})
}

func commonPrefix(a, b []byte) (n int) {
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// Letters that ascend in (nearly) every collation, and those of a binary one.
const (
	letters       = "0123456789abcdefghijklmnopqrstuvwxyz"
	binaryLetters = " !#$%&()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~"
)

// texts are numbered by letters behind what both have in common, all of ASCII. What lies between them or behind (other scripts) falls into
// one range, unless it is in the part that is common.
func texts(col *schema.Column, a, b []byte) *domain {
	alphabet := letters
	if strings.HasSuffix(col.Collation, "_bin") || col.Collation == "binary" {
		alphabet = binaryLetters
	}
	width := map[string]int{"utf32": 4, "utf16": 2, "ucs2": 2}[col.Charset]
	if col.Charset == "utf16le" {
		return binaries(a, a) // as if there were one value
	}
	width = max(width, 1)
	n := commonPrefix(a, b) / width * width
	for i := range n {
		if a[i] >= 0x80 && width == 1 {
			n = i // not in the middle of a character
			break
		}
	}
	common := bytes.Clone(a[:n])
	size := new(big.Int).Exp(big.NewInt(int64(len(alphabet))), big.NewInt(digits), nil)
	return &domain{size: size, cell: func(x *big.Int) []byte {
		x = new(big.Int).Set(x)
		if x.Cmp(size) >= 0 {
			x.Sub(size, big.NewInt(1))
		}
		var text [digits]byte
		base, rest := big.NewInt(int64(len(alphabet))), new(big.Int)
		for i := digits - 1; i >= 0; i-- {
			x.QuoRem(x, base, rest)
			text[i] = alphabet[rest.Int64()]
		}
		out := bytes.Clone(common)
		for _, letter := range text {
			out = append(append(out, make([]byte, width-1)...), letter)
		}
		return out
	}}
}
