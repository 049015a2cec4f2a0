package rowimagetest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Case is a column type with values as SQL.
type Case struct {
	Type        string   // as in CREATE TABLE
	Values      []string // expressions
	Random      func(*rand.Rand) string
	NotWide     bool // too long for a row of many columns
	NoWriteBack bool // has no text form that stores it exactly
}

// Cases are all types with their edges. Their columns may be named c, beside an INT column n.
var Cases = []Case{
	integer("TINYINT", 8, true), integer("TINYINT UNSIGNED", 8, false), integer("SMALLINT", 16, true), integer("SMALLINT UNSIGNED", 16, false),
	integer("MEDIUMINT", 24, true), integer("MEDIUMINT UNSIGNED", 24, false), integer("INT", 32, true), integer("INT UNSIGNED", 32, false),
	integer("BIGINT", 64, true), integer("BIGINT UNSIGNED", 64, false), integer("INT(8) ZEROFILL", 32, false), integer("BIGINT ZEROFILL", 64, false),
	{Type: "BOOL NOT NULL", Values: list("0", "1")},
	{Type: "YEAR", Values: list("0", "1901", "2155", "2024", "'0000'", "'0'")},

	{Type: "FLOAT", Values: floats("3.4028235e38", "1.1754944e-38", "1e-45", "16777217"), Random: randomFloat32},
	{Type: "FLOAT UNSIGNED", Values: list("0", "0.1", "16777215")},
	{Type: "FLOAT(7,3)", Values: list("0", "0.1e0", "1234.567", "-9999.999", "0.0005")},
	{Type: "FLOAT ZEROFILL", Values: list("0", "1.5", "12345678")},
	{Type: "DOUBLE", Values: floats("1.7976931348623157e308", "2.2250738585072014e-308", "5e-324", "9007199254740993"), Random: randomFloat64},
	{Type: "DOUBLE(10,2)", Values: list("0", "0.1", "12345678.91", "-99999999.99", "0.005")},
	{Type: "DOUBLE ZEROFILL", Values: list("0", "1.5", "1e100")},

	decimal(1, 0), decimal(5, 5), decimal(9, 0), decimal(10, 0), decimal(10, 2), decimal(18, 9), decimal(20, 1), decimal(30, 30), decimal(65, 0),
	decimal(65, 30), decimal(38, 19),
	{Type: "DECIMAL(12,4) ZEROFILL", Values: list("0", "1.5", "0.0001", "12345678.9876")},
	{Type: "DECIMAL(6,2) UNSIGNED", Values: list("0", "1.5", "9999.99")},

	bits(1), bits(7), bits(8), bits(9), bits(33), bits(63), bits(64),

	{Type: "ENUM('a','it''s','c,d','ü')", Values: list("1", "2", "3", "4", "0", "'a'")},
	{Type: members("ENUM", 300), Values: list("1", "255", "256", "300", "0"), NotWide: true},
	{Type: "SET('a','b','c')", Values: list("0", "1", "5", "7")},
	{Type: members("SET", 9), Values: list("0", "256", "511")},
	{Type: members("SET", 64), Values: list("0", "1", "9223372036854775808", "18446744073709551615", "9007199254740993")},

	{Type: "DATE", Values: list("'0000-00-00'", "'2024-00-00'", "'2024-02-00'", "'1000-01-01'", "'9999-12-31'", "'2024-02-29'", "'2023-02-31'")},
	times("TIME", 0), times("TIME", 1), times("TIME", 2), times("TIME", 3), times("TIME", 4), times("TIME", 5), times("TIME", 6),
	dates("DATETIME", 0), dates("DATETIME", 1), dates("DATETIME", 2), dates("DATETIME", 3), dates("DATETIME", 4), dates("DATETIME", 5), dates("DATETIME", 6),
	stamps(0), stamps(1), stamps(2), stamps(3), stamps(4), stamps(5), stamps(6),

	char("CHAR(0)", "''"), char("CHAR(1)", "'a'", "'ü'"), char("CHAR(10)"), char("CHAR(63)"), char("CHAR(64)", "repeat('€', 64)"),
	char("CHAR(255)", "repeat('𝄞', 255)", "repeat('x', 255)"),
	char("CHAR(255) CHARACTER SET latin1", "repeat('é', 255)"), char("CHAR(20) COLLATE utf8mb4_bin"), char("CHAR(10) CHARACTER SET utf16", "'𝄞'"),
	char("CHAR(10) CHARACTER SET utf32"),
	char("CHAR(10) CHARACTER SET ucs2", "'é'"), char("CHAR(10) CHARACTER SET sjis", "'表'", "'ソ'"), char("CHAR(10) CHARACTER SET gbk", "'縗'"),
	char("VARCHAR(0)", "''"), char("VARCHAR(10)"), char("VARCHAR(63)"), char("VARCHAR(64)"), char("VARCHAR(300)", "repeat('x', 300)", "repeat('𝄞', 300)"),
	char("VARCHAR(255) CHARACTER SET latin1", "repeat('é', 255)"), char("VARCHAR(256) CHARACTER SET latin1", "repeat('é', 256)"),
	char("VARCHAR(20) CHARACTER SET utf16le", "'𝄞€x'"), char("VARCHAR(20) CHARACTER SET cp1251", "'Привет'"), char("VARCHAR(20) CHARACTER SET gb18030", "'你好𝄞'"),
	char("VARCHAR(20) CHARACTER SET big5", "'許功蓋'"),
	char("TINYTEXT"), char("TEXT", "repeat('x', 65535)"), char("MEDIUMTEXT", "repeat('y', 70000)"), char("LONGTEXT", "repeat('ü', 70000)"),
	char("TEXT CHARACTER SET latin1", "'naïve'"),

	binaries("BINARY(0)", 0), binaries("BINARY(1)", 1), binaries("BINARY(16)", 16), binaries("BINARY(255)", 255),
	binaries("VARBINARY(0)", 0), binaries("VARBINARY(16)", 16), binaries("VARBINARY(255)", 255), binaries("VARBINARY(1000)", 1000),
	binaries("TINYBLOB", 255), binaries("BLOB", 65535), binaries("MEDIUMBLOB", 70000), binaries("LONGBLOB", 70000),

	{Type: "GEOMETRY", Values: list("ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('POINT(1 2)', 4326)", "ST_GeomFromText('GEOMETRYCOLLECTION EMPTY')")},
	{Type: "POINT", Values: list("Point(1, -1.5)", "ST_GeomFromText('POINT(10 20)', 4326)")},
	{Type: "POINT NOT NULL SRID 4326", Values: list("ST_GeomFromText('POINT(10 20)', 4326)")},
	{Type: "LINESTRING", Values: list("ST_GeomFromText('LINESTRING(0 0, 1 1, 2 2)')")},
	{Type: "POLYGON", Values: list("ST_GeomFromText('POLYGON((0 0, 0 1, 1 1, 0 0))')")},
	{Type: "MULTIPOINT", Values: list("ST_GeomFromText('MULTIPOINT((0 0), (1 1))')")},
	{Type: "MULTILINESTRING", Values: list("ST_GeomFromText('MULTILINESTRING((0 0, 1 1))')")},
	{Type: "MULTIPOLYGON", Values: list("ST_GeomFromText('MULTIPOLYGON(((0 0, 0 1, 1 1, 0 0)))')")},
	{Type: "GEOMETRYCOLLECTION", Values: list("ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1), LINESTRING(0 0, 1 1))')")},
	{Type: "VECTOR(3)", Values: list("STRING_TO_VECTOR('[1, 2.5, -3e10]')", "STRING_TO_VECTOR('[0, 0, 0]')")},
	{Type: "VECTOR", Values: list("STRING_TO_VECTOR('[1]')")},

	{Type: "JSON", Values: jsonText, Random: randomJSON},
	{Type: "JSON ", Values: jsonOpaque, NoWriteBack: true, NotWide: true},
	{Type: "INT GENERATED ALWAYS AS (n * 2) VIRTUAL", Values: list("1", "2"), NotWide: true},
	{Type: "VARCHAR(20) GENERATED ALWAYS AS (concat('n', n)) STORED", Values: list("1", "2"), NotWide: true},
	{Type: "INT INVISIBLE", Values: list("1", "-1")},
	{Type: "VARCHAR(10) DEFAULT (uuid_short())", Values: list("'x'")},
}

var jsonText = []string{
	`'null'`, `'true'`, `'[false, null, true]'`, `'0'`, `'-1'`, `'32767'`, `'32768'`, `'-32769'`, `'65535'`, `'65536'`, `'2147483648'`, `'-2147483649'`,
	`'4294967296'`, `'9223372036854775807'`, `'9223372036854775808'`, `'18446744073709551615'`, `'18446744073709551616'`, `'-9223372036854775808'`,
	`'1.0'`, `'-0.0'`, `'0.1'`, `'1e15'`, `'1e14'`, `'123456789012345.6'`, `'1234567890123456.7'`, `'1e-15'`, `'1.5e-14'`, `'1e-16'`, `'1e100'`, `'1.7976931348623157e308'`, `'5e-324'`,
	`'""'`, `'"ü𝄞"'`, `'"\\u0000\\u0001\\b\\f\\n\\r\\t\\"\\\\/\\u007f\\u001f"'`, `'{}'`, `'[]'`, `'[[], {}, [[]]]'`, `'{"b": 1, "a": 2, "aa": {"": [1, 2.5, "x"]}}'`,
	`CAST(CONCAT('"', repeat('x', 127), '"') AS JSON)`, `CAST(CONCAT('"', repeat('x', 128), '"') AS JSON)`, `CAST(CONCAT('["', repeat('y', 70000), '", 70000, -70000, {"k": 1}]') AS JSON)`,
	`CAST(CONCAT('{"', repeat('k', 60000), '": {"', repeat('l', 20000), '": 2147483647}}') AS JSON)`, `CAST(CONCAT('[', repeat('1, ', 30000), '-5]') AS JSON)`,
	`CAST(CONCAT(repeat('[', 90), repeat(']', 90)) AS JSON)`, `JSON_ARRAY(CAST('2024-01-02' AS DATE), CAST('-838:59:59' AS TIME))`,
}

// Values of SQL types inside a document.
var jsonOpaque = []string{
	`JSON_ARRAY(CAST(1.50 AS DECIMAL(10,2)), CAST(-0.001 AS DECIMAL(30,20)), 12345678901234567890.123456789)`, `CAST(CAST(1 AS DECIMAL(5,0)) AS JSON)`,
	`JSON_ARRAY(CAST('2024-01-02' AS DATE), CAST('0000-00-00' AS DATE))`, `JSON_OBJECT('t', CAST('10:11:12.5' AS TIME(1)), 'n', CAST('-10:11:12.5' AS TIME(6)))`,
	`JSON_ARRAY(CAST('2024-01-02 03:04:05.678' AS DATETIME(3)), TIMESTAMP'2024-01-02 03:04:05')`, `JSON_ARRAY(x'00ff', b'101')`, `CAST(x'' AS JSON)`,
	`JSON_ARRAY(repeat(x'41', 10), repeat(x'41', 54), repeat(x'00', 57), repeat(x'00', 58), repeat(x'00', 200))`, `CAST(CAST(2024 AS YEAR) AS JSON)`, `CAST(ST_GeomFromText('POINT(1 2)') AS JSON)`,
}

func list(values ...string) []string { return values }

func integer(typ string, bits int, signed bool) Case {
	top := uint64(math.MaxUint64) >> (64 - bits)
	if !signed {
		return Case{Type: typ, Values: list("0", "1", strconv.FormatUint(top, 10)), Random: func(r *rand.Rand) string {
			return strconv.FormatUint(r.Uint64()&top>>r.IntN(bits), 10)
		}}
	}
	low := int64(-1) << (bits - 1)
	return Case{Type: typ, Values: list("0", "-1", strconv.FormatInt(low, 10), strconv.FormatUint(top>>1, 10)), Random: func(r *rand.Rand) string {
		return strconv.FormatInt(int64(r.Uint64())>>(64-bits+r.IntN(bits)), 10)
	}}
}

func floats(edges ...string) []string {
	values := list("0", "-0e0", "1", "-1.5", "0.1", "1e20", "1e21", "1e-7", "123456789.125")
	for _, e := range edges {
		values = append(values, e, "-"+e)
	}
	return values
}

func randomFloat64(r *rand.Rand) string {
	for {
		if f := math.Float64frombits(r.Uint64()); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return strconv.FormatFloat(f, 'e', -1, 64)
		}
	}
}

func randomFloat32(r *rand.Rand) string {
	for {
		if f := float64(math.Float32frombits(r.Uint32())); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return strconv.FormatFloat(f, 'e', -1, 64)
		}
	}
}

func decimal(precision, scale int) Case {
	nines := strings.Repeat("9", precision-scale) + "."
	nines = strings.TrimSuffix(nines+strings.Repeat("9", scale), ".")
	values := list("0", "-0.0", nines, "-"+nines)
	if scale > 0 {
		small := "0." + strings.Repeat("0", scale-1) + "1"
		values = append(values, small, "-"+small)
	}
	return Case{Type: fmt.Sprintf("DECIMAL(%d,%d)", precision, scale), Values: values, Random: func(r *rand.Rand) string {
		digits := make([]byte, 0, precision+2)
		if r.IntN(2) == 0 {
			digits = append(digits, '-')
		}
		zeros := r.IntN(precision + 1)
		for i := range precision {
			if i == precision-scale {
				digits = append(digits, '.')
			}
			if i < zeros {
				digits = append(digits, '0')
			} else {
				digits = append(digits, byte('0'+r.IntN(10)))
			}
		}
		return string(digits)
	}}
}

func bits(n int) Case {
	top := uint64(math.MaxUint64) >> (64 - n)
	return Case{Type: fmt.Sprintf("BIT(%d)", n), Values: list("0", "1", strconv.FormatUint(top, 10)), Random: func(r *rand.Rand) string {
		return strconv.FormatUint(r.Uint64()&top, 10)
	}}
}

func members(typ string, n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("'m%d'", i)
	}
	return typ + "(" + strings.Join(names, ",") + ")"
}

func quotedAll(values ...string) []string {
	for i, v := range values {
		values[i] = "'" + v + "'"
	}
	return values
}

func times(typ string, fsp int) Case {
	return Case{
		Type: fmt.Sprintf("%s(%d)", typ, fsp),
		Values: quotedAll("00:00:00", "838:59:59", "-838:59:59", "-00:00:01", "-00:00:00.1", "-00:00:01.5", "-00:00:00.000001", "00:00:00.999999", "-10:11:12.123456",
			"100:00:00.01", "-00:59:59.999999", "-838:59:58.999999"),
		Random: func(r *rand.Rand) string {
			return fmt.Sprintf("'%s%d:%02d:%02d.%06d'", []string{"", "-"}[r.IntN(2)], r.IntN(838), r.IntN(60), r.IntN(60), r.IntN(1_000_000))
		},
	}
}

func dates(typ string, fsp int) Case {
	return Case{
		Type: fmt.Sprintf("%s(%d)", typ, fsp),
		Values: quotedAll("0000-00-00 00:00:00", "2024-00-00 01:02:03.5", "1000-01-01 00:00:00", "9999-12-31 23:59:59", "2024-02-29 12:34:56.789012", "2023-02-31 00:00:00",
			"0001-01-01 00:00:00.000001"),
		Random: func(r *rand.Rand) string {
			return fmt.Sprintf("'%04d-%02d-%02d %02d:%02d:%02d.%06d'", r.IntN(9999), r.IntN(13), r.IntN(32), r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(900_000))
		},
	}
}

func stamps(fsp int) Case {
	return Case{
		Type:   fmt.Sprintf("TIMESTAMP(%d)", fsp),
		Values: quotedAll("0000-00-00 00:00:00", "1970-01-01 00:00:01", "2038-01-19 03:14:07", "2024-02-29 12:34:56.789012", "2000-12-31 23:59:59", "1970-01-01 00:00:01.9", "2024-10-27 02:30:00"),
		Random: func(r *rand.Rand) string {
			return fmt.Sprintf("FROM_UNIXTIME(%d.%06d)", 1+r.Int64N(math.MaxInt32-1), r.IntN(900_000))
		},
	}
}

func char(typ string, more ...string) Case {
	c := Case{Type: typ, NotWide: true}
	if !strings.Contains(typ, "(0)") {
		c.Values = quotedAll("", "a", "  b", "c  ", "x\\0y", "\\\\", "\\'\"")
		if strings.Contains(typ, "(1)") {
			c.Values = quotedAll("", "a", " ", "\\0", "\\\\", "\\'")
		}
	}
	for _, v := range more {
		c.Values = append(c.Values, v)
	}
	return c
}

func binaries(typ string, most int) Case {
	random := func(r *rand.Rand) string {
		n := 0
		if most > 0 {
			n = r.IntN(min(most, 300) + 1)
		}
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
			if r.IntN(3) == 0 {
				b[i] = 0
			}
		}
		return fmt.Sprintf("x'%x'", b)
	}
	values := list("x''", fmt.Sprintf("repeat(x'00', %d)", most), fmt.Sprintf("repeat(x'ff', %d)", most))
	if most > 0 {
		values = append(values, "x'00'", "x'20'", "x'27'")
	}
	return Case{Type: typ, Values: values, Random: random, NotWide: most > 300}
}

// randomJSON makes a document of some depth.
func randomJSON(r *rand.Rand) string {
	return "CAST(_utf8mb4'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(randomValue(r, 4)) + "' AS JSON)"
}

func randomValue(r *rand.Rand, depth int) string {
	kind := r.IntN(9)
	if depth == 0 {
		kind = r.IntN(7)
	}
	switch kind {
	case 0:
		return []string{"null", "true", "false"}[r.IntN(3)]
	case 1, 2:
		return strconv.FormatInt(int64(r.Uint64())>>r.IntN(64), 10)
	case 3:
		return randomFloat64(r)
	case 4:
		return strconv.FormatFloat((r.Float64()-0.5)*math.Pow10(r.IntN(40)-20), 'g', -1, 64)
	case 5, 6:
		return randomString(r)
	case 7:
		return randomMembers(r, depth, "[]", func() string { return "" })
	}
	return randomMembers(r, depth, "{}", func() string { return randomString(r) + ":" })
}

func randomMembers(r *rand.Rand, depth int, brackets string, key func() string) string {
	var b strings.Builder
	b.WriteByte(brackets[0])
	for i := range r.IntN(6) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(key() + randomValue(r, depth-1))
	}
	b.WriteByte(brackets[1])
	return b.String()
}

func randomString(r *rand.Rand) string {
	letters := []string{"a", "B", "ü", "𝄞", `\n`, `\u0003`, `\\`, `\"`, " ", "/", "'", "€"}
	var b strings.Builder
	b.WriteByte('"')
	for range r.IntN(10) {
		b.WriteString(letters[r.IntN(len(letters))])
	}
	b.WriteByte('"')
	return b.String()
}
