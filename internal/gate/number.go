package gate

import (
	"bytes"
	"cmp"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/mysqlproto"
)

// decimal is an exact number: unscaled / 10^scale.
type decimal struct {
	unscaled *big.Int
	scale    int
}

func parseDecimal(text []byte) (decimal, error) {
	whole, fraction, _ := strings.Cut(string(text), ".")
	n, ok := new(big.Int).SetString(whole+fraction, 10)
	if !ok {
		return decimal{}, fmt.Errorf("%q is no number", text)
	}
	return decimal{n, len(fraction)}, nil
}

func (d decimal) at(scale int) *big.Int {
	if scale <= d.scale {
		return d.unscaled
	}
	return new(big.Int).Mul(d.unscaled, pow10(scale-d.scale))
}

func pow10(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

func (d decimal) add(o decimal) decimal {
	scale := max(d.scale, o.scale)
	return decimal{new(big.Int).Add(d.at(scale), o.at(scale)), scale}
}

func (d decimal) String() string {
	digits := new(big.Int).Abs(d.unscaled).String()
	if d.scale > 0 {
		if len(digits) <= d.scale {
			digits = strings.Repeat("0", d.scale-len(digits)+1) + digits
		}
		digits = digits[:len(digits)-d.scale] + "." + digits[len(digits)-d.scale:]
	}
	if d.unscaled.Sign() < 0 {
		return "-" + digits
	}
	return digits
}

// divide returns d / n with more digits, rounded half away from zero, as MySQL's AVG does.
func (d decimal) divide(n decimal, moreDigits int) decimal {
	numerator := new(big.Int).Mul(d.unscaled, pow10(moreDigits))
	quotient, rest := new(big.Int).QuoRem(numerator, n.unscaled, new(big.Int))
	if rest.Abs(rest).Lsh(rest, 1).CmpAbs(n.unscaled) >= 0 {
		step := int64(1)
		if numerator.Sign()*n.unscaled.Sign() < 0 {
			step = -1
		}
		quotient.Add(quotient, big.NewInt(step))
	}
	return decimal{quotient, d.scale + moreDigits}
}

func compareDecimals(x, y []byte) (int, error) {
	if len(x) < 19 && len(y) < 19 && bytes.IndexByte(x, '.') < 0 && bytes.IndexByte(y, '.') < 0 {
		a, err := strconv.ParseInt(string(x), 10, 64)
		if err != nil {
			return 0, err
		}
		b, err := strconv.ParseInt(string(y), 10, 64)
		return cmp.Compare(a, b), err
	}
	a, err := parseDecimal(x)
	if err != nil {
		return 0, err
	}
	b, err := parseDecimal(y)
	if err != nil {
		return 0, err
	}
	scale := max(a.scale, b.scale)
	return a.at(scale).Cmp(b.at(scale)), nil
}

func compareFloats(x, y []byte) (int, error) {
	a, err := strconv.ParseFloat(string(x), 64)
	if err != nil {
		return 0, err
	}
	b, err := strconv.ParseFloat(string(y), 64)
	return cmp.Compare(a, b), err
}

// compareTimes compares "[-]838:59:59.999999".
func compareTimes(x, y []byte) (int, error) {
	number := func(t []byte) []byte {
		return bytes.ReplaceAll(t, []byte(":"), nil)
	}
	return compareDecimals(number(x), number(y))
}

// addCells adds two numbers of a column; nil is NULL, which adds nothing.
func addCells(c mysqlproto.Column, x, y []byte) ([]byte, error) {
	switch {
	case x == nil:
		return y, nil
	case y == nil:
		return x, nil
	case c.Type == mysql.MYSQL_TYPE_DOUBLE || c.Type == mysql.MYSQL_TYPE_FLOAT:
		a, err := strconv.ParseFloat(string(x), 64)
		if err != nil {
			return nil, err
		}
		b, err := strconv.ParseFloat(string(y), 64)
		return formatFloat(a + b), err
	}
	a, err := parseDecimal(x)
	if err != nil {
		return nil, err
	}
	b, err := parseDecimal(y)
	if err != nil {
		return nil, err
	}
	return []byte(a.add(b).String()), nil
}

// formatFloat prints a double as MySQL does: the shortest text that reads back, with an exponent from 1e15 on.
func formatFloat(f float64) []byte {
	if abs := max(f, -f); abs != 0 && (abs >= 1e15 || abs < 1e-15) {
		s := strconv.FormatFloat(f, 'e', -1, 64)
		mantissa, exponent, _ := strings.Cut(s, "e")
		exponent = strings.TrimPrefix(exponent, "+")
		sign := ""
		if strings.HasPrefix(exponent, "-") {
			sign, exponent = "-", exponent[1:]
		}
		return []byte(mantissa + "e" + sign + strings.TrimLeft(exponent, "0"))
	}
	return strconv.AppendFloat(nil, f, 'f', -1, 64)
}

// averageDigits is div_precision_increment: the digits that AVG adds to those of its argument.
const averageDigits = 4

// divideCell is AVG: a sum by the number of values.
func divideCell(c mysqlproto.Column, sum, count []byte) ([]byte, error) {
	n, err := parseDecimal(count)
	if err != nil || n.unscaled.Sign() == 0 || sum == nil {
		return nil, err
	}
	if c.Type == mysql.MYSQL_TYPE_DOUBLE || c.Type == mysql.MYSQL_TYPE_FLOAT {
		s, err := strconv.ParseFloat(string(sum), 64)
		if err != nil {
			return nil, err
		}
		d, err := strconv.ParseFloat(string(count), 64)
		return formatFloat(s / d), err
	}
	s, err := parseDecimal(sum)
	if err != nil {
		return nil, err
	}
	return []byte(s.divide(n, averageDigits).String()), nil
}
