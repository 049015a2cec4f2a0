package storm

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// columnType is an SQL type and the values that are tried in it, as SQL. n is the size of the domain of keys.
type columnType struct {
	sql   string
	value func(r *rand.Rand, n int) string
	// fill is the canonical cell that rows get when DDL adds the column NOT NULL without a default; "" for strings.
	fill string
	json bool
	ints bool // arithmetic is possible
}

func number(r *rand.Rand, n int) string { return strconv.Itoa(r.IntN(n)) }

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// words collide under one collation and differ under another.
var words = []string{"a", "A", "ä", "Ä", "á", "b", "B", "ss", "ß", "SS", "x ", "x", "x  ", "", "Straße", "STRASSE", "é", "e", "İ", "ı"}

// wide are words of characters that only some character sets have.
var wide = []string{"日本", "日本 ", "😀", "ｗｉｄｅ", "wide", "\\0", "\\t", "\\'", "a\\\\"}

func word(r *rand.Rand, n int) string {
	return fmt.Sprintf("'%s%d'", words[r.IntN(len(words))], r.IntN(max(n/4, 1)))
}

func anyWord(r *rand.Rand, n int) string {
	if r.IntN(3) == 0 {
		return "'" + wide[r.IntN(len(wide))] + "'"
	}
	return word(r, n)
}

func bytesOf(most int) func(*rand.Rand, int) string {
	return func(r *rand.Rand, n int) string {
		b := []byte(strconv.Itoa(r.IntN(n)))
		if r.IntN(3) == 0 {
			b = append(b, 0) // BINARY loses it in a row image, VARBINARY does not
		}
		return fmt.Sprintf("X'%x'", b[:min(len(b), most)])
	}
}

func moment(r *rand.Rand, n int) string {
	return fmt.Sprintf("'2024-%02d-15 %02d:%02d:%02d.%d'", 1+r.IntN(12), r.IntN(24), r.IntN(max(n%60, 2)), r.IntN(60), r.IntN(1000))
}

// keyTypes can be part of a key. Their domains are small.
var keyTypes = []*columnType{
	{sql: "INT", value: number, fill: "0", ints: true},
	{sql: "BIGINT UNSIGNED", value: number, fill: "0", ints: true},
	{sql: "BIGINT", value: func(r *rand.Rand, n int) string { return strconv.Itoa(r.IntN(n) - n/2) }, fill: "0", ints: true},
	{sql: "VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci", value: anyWord},
	{sql: "VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_as_cs", value: anyWord},
	{sql: "VARCHAR(16) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", value: anyWord},
	{sql: "VARCHAR(16) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", value: anyWord},
	{sql: "VARCHAR(16) CHARACTER SET latin1 COLLATE latin1_swedish_ci", value: word},
	{sql: "CHAR(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci", value: anyWord},
	{sql: "VARBINARY(6)", value: bytesOf(6)},
	{sql: "BINARY(4)", value: bytesOf(4)},
	{sql: "DECIMAL(10,3)", value: func(r *rand.Rand, n int) string { return fmt.Sprintf("%d.%d", r.IntN(n)-n/2, r.IntN(2)*5) }, fill: "0.000"},
	{sql: "DATETIME(3)", value: func(r *rand.Rand, n int) string {
		return fmt.Sprintf("'2024-01-01 00:%02d:00.%03d'", r.IntN(min(n, 60)), r.IntN(2))
	}, fill: "0000-00-00 00:00:00.000"},
	{sql: "DATE", value: func(r *rand.Rand, n int) string { return fmt.Sprintf("'2024-%02d-%02d'", 1+r.IntN(12), r.IntN(29)) }, fill: "0000-00-00"},
	{sql: "TIME(2)", value: func(r *rand.Rand, n int) string {
		return fmt.Sprintf("'%s%02d:00:%02d.5'", []string{"", "-"}[r.IntN(2)], r.IntN(4), r.IntN(min(n, 60)))
	}, fill: "00:00:00.00"},
	{sql: "DOUBLE", value: func(r *rand.Rand, n int) string { return fmt.Sprintf("%de-1", r.IntN(n)-n/2) }, fill: "0"},
	{sql: "BIT(20)", value: number, fill: "0"},
	{sql: "ENUM('z','y','x','ü','w')", value: func(r *rand.Rand, n int) string { return strconv.Itoa(1 + r.IntN(5)) }, fill: "1"},
	{sql: "SMALLINT", value: number, fill: "0", ints: true},
}

// valueTypes are for other columns. A fill of "" with another type than a string means that DDL does not add the column.
var valueTypes = []*columnType{
	{sql: "TINYINT", value: func(r *rand.Rand, _ int) string { return strconv.Itoa(r.IntN(256) - 128) }, fill: "0"},
	{sql: "TINYINT UNSIGNED", value: func(r *rand.Rand, _ int) string { return strconv.Itoa(r.IntN(256)) }, fill: "0"},
	{sql: "SMALLINT UNSIGNED", value: func(r *rand.Rand, _ int) string { return strconv.Itoa(r.IntN(1 << 16)) }, fill: "0"},
	{sql: "MEDIUMINT", value: func(r *rand.Rand, _ int) string { return strconv.Itoa(r.IntN(1<<24) - 1<<23) }, fill: "0"},
	{sql: "INT", value: func(r *rand.Rand, _ int) string { return strconv.Itoa(int(int32(r.Uint32()))) }, fill: "0"},
	{sql: "INT ZEROFILL", value: number, fill: "0"},
	{sql: "BIGINT UNSIGNED", value: func(r *rand.Rand, _ int) string { return strconv.FormatUint(r.Uint64(), 10) }, fill: "0"},
	{sql: "FLOAT", value: func(r *rand.Rand, _ int) string { return strconv.FormatFloat(r.NormFloat64(), 'e', -1, 32) }, fill: "0"},
	{sql: "DOUBLE", value: func(r *rand.Rand, _ int) string { return strconv.FormatFloat(r.NormFloat64()*1e9, 'e', -1, 64) }, fill: "0"},
	{sql: "DECIMAL(30,10)", value: func(r *rand.Rand, _ int) string { return fmt.Sprintf("%d.%010d", int32(r.Uint32()), r.IntN(1e10)) }, fill: "0.0000000000"},
	{sql: "YEAR", value: func(r *rand.Rand, _ int) string { return []string{"0", "1901", "2024", "2155"}[r.IntN(4)] }, fill: "0000"},
	{sql: "BIT(64)", value: func(r *rand.Rand, _ int) string { return strconv.FormatUint(r.Uint64(), 10) }, fill: "0"},
	{sql: "SET('a','b','c')", value: func(r *rand.Rand, _ int) string { return strconv.Itoa(r.IntN(8)) }},
	{sql: "DATETIME", value: moment, fill: "0000-00-00 00:00:00"},
	{sql: "TIMESTAMP(6)", value: moment},
	{sql: "TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP", value: moment},
	{sql: "CHAR(30)", value: text(30)},
	{sql: "VARCHAR(200)", value: text(200)},
	{sql: "VARCHAR(80) CHARACTER SET utf16", value: text(80)},
	{sql: "TINYTEXT", value: text(60)},
	{sql: "TEXT", value: text(400)},
	{sql: "MEDIUMTEXT CHARACTER SET latin1", value: text(4000)},
	{sql: "BINARY(16)", value: blob(16)},
	{sql: "VARBINARY(100)", value: blob(100)},
	{sql: "BLOB", value: blob(300)},
	{sql: "LONGBLOB", value: blob(5000)},
	{sql: "POINT", value: func(r *rand.Rand, _ int) string { return fmt.Sprintf("Point(%d, %d)", r.IntN(100), r.IntN(100)) }},
	{sql: "VECTOR(3)", value: func(r *rand.Rand, _ int) string {
		return fmt.Sprintf("STRING_TO_VECTOR('[%d, 2.5, -%d]')", r.IntN(100), r.IntN(100))
	}},
	jsonType, jsonType, jsonType,
}

var jsonType = &columnType{sql: "JSON", json: true, value: func(r *rand.Rand, n int) string { return quoted(document(r, n, 3)) }}

func text(most int) func(*rand.Rand, int) string {
	return func(r *rand.Rand, n int) string {
		if r.IntN(10) == 0 {
			return fmt.Sprintf("REPEAT('%c', %d)", 'a'+rune(r.IntN(26)), r.IntN(most)+1)
		}
		return anyWord(r, n)
	}
}

func blob(most int) func(*rand.Rand, int) string {
	return func(r *rand.Rand, _ int) string {
		b := make([]byte, r.IntN(min(most, 40)+1))
		for i := range b {
			b[i] = byte(r.UintN(256))
		}
		if r.IntN(10) == 0 && len(b) > 0 {
			return fmt.Sprintf("REPEAT(X'%x', %d)", b[:1], most)
		}
		return fmt.Sprintf("X'%x'", b)
	}
}

// document is a JSON object whose members the JSON statements know.
func document(r *rand.Rand, n, depth int) string {
	var b strings.Builder
	b.WriteString("{")
	for i, name := range []string{"a", "b", "long name", "arr", "obj"} {
		if r.IntN(4) == 0 {
			continue
		}
		if b.Len() > 1 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q: ", name)
		switch {
		case name == "arr":
			fmt.Fprintf(&b, "[%s, %s, %s]", scalar(r, n), scalar(r, n), scalar(r, n))
		case name == "obj" && depth > 0:
			b.WriteString(document(r, n, depth-1))
		case i == 2 && r.IntN(5) == 0:
			fmt.Fprintf(&b, "%q", strings.Repeat("long ", 20+r.IntN(300)))
		default:
			b.WriteString(scalar(r, n))
		}
	}
	b.WriteString("}")
	return b.String()
}

func scalar(r *rand.Rand, n int) string {
	return []string{
		strconv.Itoa(r.IntN(n)), strconv.Itoa(-r.IntN(1 << 30)), strconv.FormatUint(r.Uint64(), 10), "1.5", "-2.25e10", "true", "false", "null",
		`"x"`, `"ünï 日本"`, fmt.Sprintf(`"s%d"`, r.IntN(n)), "[]", "{}", "[1, [2, 3]]",
	}[r.IntN(14)]
}
