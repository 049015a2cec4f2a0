package filter

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"vitess.io/vitess/go/mysql/collations"
	"vitess.io/vitess/go/mysql/collations/charset"
	"vitess.io/vitess/go/mysql/collations/colldata"

	"braid/internal/schema"
	"braid/internal/sqlast"
)

// compareNumbers orders integers and decimals as they are written: exact, at any length.
func compareNumbers(a, b []byte) int {
	negA, intA, fracA := number(a)
	negB, intB, fracB := number(b)
	if negA != negB {
		if negA {
			return -1
		}
		return 1
	}
	order := len(intA) - len(intB)
	if order == 0 {
		order = bytes.Compare(intA, intB)
	}
	if order == 0 {
		order = bytes.Compare(fracA, fracB)
	}
	if negA {
		return -order
	}
	return order
}

// number splits a number, without zeros that say nothing. Zero is not negative.
func number(s []byte) (negative bool, integer, fraction []byte) {
	if len(s) > 0 && s[0] == '-' {
		negative, s = true, s[1:]
	}
	integer, fraction, _ = bytes.Cut(s, []byte("."))
	integer, fraction = bytes.TrimLeft(integer, "0"), bytes.TrimRight(fraction, "0")
	return negative && len(integer)+len(fraction) > 0, integer, fraction
}

// modulo is the rest of a division; it has the sign of the number, as in SQL. By zero it is NULL.
func modulo(divisor string) (func([]byte) []byte, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(divisor, "-"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%% %s: the divisor is out of range", divisor)
	}
	return func(cell []byte) []byte {
		if cell == nil || n == 0 {
			return nil
		}
		negative := cell[0] == '-'
		var rest uint64
		for _, digit := range bytes.TrimPrefix(cell, []byte("-")) {
			hi, lo := bits.Mul64(rest, 10)
			lo, carry := bits.Add64(lo, uint64(digit-'0'), 0)
			_, rest = bits.Div64((hi+carry)%n, lo, n)
		}
		if negative && rest != 0 {
			return append([]byte("-"), strconv.FormatUint(rest, 10)...)
		}
		return strconv.AppendUint(nil, rest, 10)
	}, nil
}

func isTemporal(c *schema.Column) bool {
	return c.DataType == "date" || c.DataType == "datetime" || c.DataType == "timestamp"
}

// temporal makes a cell of a literal. TIMESTAMP columns are compared in UTC, which is the time zone of all sessions here. A text that is
// no complete and real date would be read by rules of its own, so it is refused.
func temporal(c *schema.Column, text string) ([]byte, func(a, b []byte) int, error) {
	layouts := []string{"2006-01-02", "2006-01-02 15:04:05", "2006-01-02 15:04:05.999999"}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, text); err == nil && (len(text) == 10 || len(text) >= 19) {
			if t.Year() < 1 {
				break
			}
			return []byte(text), compareTimes, nil
		}
	}
	return nil, nil, fmt.Errorf("%q is not a date of the form 2026-01-31, or a time of the form '2026-01-31 23:59:59'", text)
}

// compareTimes orders dates and times of any number of digits: a part that is missing is midnight, or zero.
func compareTimes(a, b []byte) int {
	const full = "0000-00-00 00:00:00.000000"
	for i := range len(full) {
		x, y := full[i], full[i]
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return int(x) - int(y)
		}
	}
	return 0
}

func isText(c *schema.Column) bool {
	switch c.DataType {
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext":
		return true
	}
	return false
}

func isBytes(c *schema.Column) bool {
	switch c.DataType {
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
		return true
	}
	return false
}

func literalBytes(o sqlast.Operand) ([]byte, error) {
	if o.Kind == sqlast.StringOperand {
		return []byte(o.Text), nil
	}
	text := o.Text
	if len(text)%2 == 1 {
		text = "0" + text
	}
	raw, err := hex.DecodeString(text)
	if raw == nil {
		raw = []byte{}
	}
	return raw, err
}

// collation compares text of a column.
type collation struct {
	data    colldata.Collation
	charset charset.Charset
	space   []byte // weight of a space, where trailing spaces do not count
}

// exact are the collations whose order here was compared with a server's, character by character.
var exact = map[string]bool{
	"utf8mb4_0900_ai_ci": true, "utf8mb4_0900_as_ci": true, "utf8mb4_0900_as_cs": true, "utf8mb4_0900_bin": true,
	"utf8mb4_general_ci": true, "utf8mb3_general_ci": true, "utf8mb4_bin": true, "utf8mb3_bin": true,
	"utf8mb4_unicode_ci": true, "utf8mb4_unicode_520_ci": true,
	"latin1_swedish_ci": true, "latin1_general_ci": true, "latin1_general_cs": true, "latin1_bin": true, "ascii_general_ci": true, "ascii_bin": true,
}

func textOf(c *schema.Column) (collation, error) {
	name := strings.Replace(strings.ToLower(c.Collation), "utf8_", "utf8mb3_", 1)
	if !exact[name] {
		return collation{}, fmt.Errorf("text of collation %s is not compared here, because that is not proven to be exact", c.Collation)
	}
	env := collations.NewEnvironment("8.0.30")
	data := colldata.Lookup(env.LookupByName(name))
	if data == nil {
		return collation{}, fmt.Errorf("collation %s is not known", c.Collation)
	}
	text := collation{data: data, charset: data.Charset()}
	if !strings.Contains(name, "_0900_") {
		text.space = data.WeightString(nil, []byte(" "), 0)
	}
	return text, nil
}

// compare orders two texts. Where trailing spaces do not count, the shorter text is filled up with the weight of spaces, not the longer
// one cut: 'a\t' stands before 'a' there.
func (c collation) compare(a, b []byte) int {
	if c.space == nil {
		return c.data.Collate(a, b, false)
	}
	var roomA, roomB [128]byte
	x, y := c.data.WeightString(roomA[:0], a, 0), c.data.WeightString(roomB[:0], b, 0)
	n := min(len(x), len(y))
	if order := bytes.Compare(x[:n], y[:n]); order != 0 {
		return order
	}
	return c.spaces(x[n:]) - c.spaces(y[n:])
}

// spaces orders weights against those of as many spaces.
func (c collation) spaces(weights []byte) int {
	for len(weights) > 0 {
		n := min(len(weights), len(c.space))
		if order := bytes.Compare(weights[:n], c.space[:n]); order != 0 {
			return order
		}
		weights = weights[n:]
	}
	return 0
}

// text makes a cell of a literal, which is UTF-8.
func text(column *schema.Column, s string) ([]byte, func(a, b []byte) int, error) {
	c, err := textOf(column)
	if err != nil {
		return nil, nil, err
	}
	cell, err := encode(c.charset, s)
	return cell, c.compare, err
}

func encode(to charset.Charset, s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return nil, fmt.Errorf("%q is not UTF-8", s)
	}
	cell := make([]byte, 0, len(s))
	var one [8]byte
	for _, r := range s {
		n := to.EncodeRune(one[:], r)
		if n <= 0 {
			return nil, fmt.Errorf("the character %q is not in the column's character set", r)
		}
		cell = append(cell, one[:n]...)
	}
	return cell, nil
}

// member is the comparison with an ENUM: a cell is the number of a member, and several can be equal to a text in a collation.
func member(column *schema.Column, s string) ([]byte, func(a, b []byte) int, error) {
	c, err := textOf(column)
	if err != nil {
		return nil, nil, err
	}
	want, err := encode(c.charset, s)
	if err != nil {
		return nil, nil, err
	}
	equal := map[string]bool{"0": c.compare(nil, want) == 0} // 0 is what a value that is no member became: an empty text
	for i, v := range column.EnumValues {
		have, err := encode(c.charset, v)
		if err != nil {
			return nil, nil, err
		}
		if c.compare(have, want) == 0 {
			equal[strconv.Itoa(i+1)] = true
		}
	}
	return []byte(s), func(cell, _ []byte) int {
		if equal[string(cell)] {
			return 0
		}
		return 1
	}, nil
}

// ExactCollations are the collations whose texts conditions may compare, in order.
func ExactCollations() []string { return slices.Sorted(maps.Keys(exact)) }
