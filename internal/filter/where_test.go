package filter_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/filter"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// whereTable has a column of each type that conditions know, and of some that they do not.
const whereTable = `CREATE TABLE w (id int PRIMARY KEY, i int, u bigint unsigned, t tinyint(1), z int(5) unsigned zerofill, d decimal(20,6), f double, dt date, ts timestamp(3) NULL, at datetime(6),
	v varchar(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci, g varchar(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, l varchar(40) CHARACTER SET latin1, b varchar(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
	c char(10) CHARACTER SET utf8mb4, x varbinary(20), n binary(4), e enum('new','Paid','sent') CHARACTER SET utf8mb4, j json, s set('a','b'),
	ba varchar(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, i2 int, d2 decimal(20,3), at2 datetime(6))`

// whereWorld is the table with rows.
type whereWorld struct {
	t    *testing.T
	conn *sqlconn.Conn
	def  *schema.Table
	rows []rowimage.Row
}

func newWhereWorld(t *testing.T) *whereWorld {
	server, db := mysqldtest.Shared(t)
	w := &whereWorld{t: t, conn: mysqldtest.Dial(t, server.Root().WithDB(db))}
	w.exec("SET NAMES utf8mb4, time_zone='+00:00'")
	w.exec(whereTable)
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	texts := []string{"NULL", "''", "'a'", "'A'", "'ä'", "'a '", "'a\\t'", "'ab'", "'B'", "'ß'", "'ss'", "'new'", "'NEW '", "'z'", "'Z'", "'é'", "'e'", "' '", "'a!'"}
	ints := []string{"NULL", "0", "1", "-1", "7", "10", "99999", "-2147483648", "2147483647"}
	uints := []string{"NULL", "0", "1", "9", "10", "18446744073709551615", "9223372036854775808"}
	decs := []string{"NULL", "0", "-0.000001", "1.5", "1.50", "10", "-10.25", "99999999999999.999999"}
	times := []string{"NULL", "'2026-01-31'", "'2026-01-31 00:00:00.001'", "'2026-02-01 10:00:00'", "'1999-12-31 23:59:59.999999'"}
	for id := range 300 {
		x := texts[r.IntN(len(texts))]
		ascii := pick("NULL", "''", "'a'", "'A'", "'a '", "'b'", "'ab'", "'é'", "' '")
		w.exec(fmt.Sprintf("INSERT IGNORE INTO w VALUES (%d, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, NULL, NULL, %s, %s, %s, %s)", id,
			pick(ints...), pick(uints...), pick("NULL", "0", "1"), pick("NULL", "0", "7", "12345"), pick(decs...), pick("0", "1.5"), pick(times...), pick(times...), pick(times...),
			x, pick(texts...), ascii, pick(texts...), pick(texts...), pick("NULL", "''", "'a'", "x'00ff'", "'A'"), pick("NULL", "'a'", "x'61000000'"), pick("NULL", "1", "2", "3", "'new'"),
			pick(texts...), pick(ints...), pick(decs...), pick(times...)))
	}
	defs, err := schema.Load(t.Context(), w.conn, db, []string{"w"})
	require.NoError(t, err)
	w.def = defs[0]
	reader := mysqldtest.Dial(t, server.Root().WithDB(db))
	var list []string
	for _, c := range w.def.Columns {
		list = append(list, rowimage.SelectExpr(c))
	}
	res, err := reader.Query(t.Context(), "SELECT "+strings.Join(list, ", ")+" FROM w ORDER BY id")
	require.NoError(t, err)
	for _, cells := range res.Rows {
		row := rowimage.Row(cells).Clone()
		for i := range row {
			row[i] = rowimage.Canonical(w.def.Columns[i], row[i])
		}
		w.rows = append(w.rows, row)
	}
	return w
}

func (w *whereWorld) exec(sql string) {
	_, err := w.conn.Exec(w.t.Context(), sql)
	require.NoError(w.t, err, sql)
}

// agree compares what a condition keeps with what the server selects.
func (w *whereWorld) agree(where string) {
	w.t.Helper()
	res, err := w.conn.Query(w.t.Context(), "SELECT id FROM w WHERE "+where+" ORDER BY id")
	require.NoError(w.t, err, where)
	var want, have []string
	for _, row := range res.Rows {
		want = append(want, string(row[0]))
	}
	rules := filter.Rules{Rules: []filter.Rule{{Table: "w", Where: where}}}
	require.NoError(w.t, rules.Validate(), where)
	plan, err := rules.Plan(w.def)
	require.NoError(w.t, err, where)
	require.True(w.t, plan.Conditional())
	for _, row := range w.rows {
		match, err := plan.Match(row)
		require.NoError(w.t, err, where)
		cells := make([][]byte, len(plan.Columns()))
		for i, c := range plan.Columns() {
			cells[i] = row[c]
		}
		again, err := plan.MatchCells(cells)
		require.NoError(w.t, err)
		require.Equal(w.t, match, again)
		if match {
			have = append(have, string(row[0]))
		}
	}
	require.Equal(w.t, want, have, where)
}

func TestConditionsAreTheServers(t *testing.T) {
	w := newWhereWorld(t)
	for _, where := range []string{
		"i > 5", "i <= -1", "5 > i", "i = 7 OR i IS NULL", "NOT i = 7", "i <> 1 AND i IS NOT NULL", "i <=> NULL", "i <=> 7", "NOT (i <=> i2)", "i IN (1, 7, 10)", "i NOT IN (1, 7)",
		"i BETWEEN -1 AND 10", "i NOT BETWEEN 0 AND 1.5", "i = 1.0", "i < 1.5", "u = 18446744073709551615", "u > 9223372036854775807", "u = 00010", "u > -1", "u < -1",
		"t", "t = TRUE", "t = FALSE", "z = 7", "z > 6.99", "d = 1.5", "d = 1.500000000000000000001", "d < 0", "d >= -0.0", "d > 99999999999999.99", "d IN (10, 1.5)", "i = d", "i < d2", "d = d2", "u >= i",
		"i % 4 = 1", "MOD(i, 3) = -1", "i % 7 <> 0", "u % 10 = 5", "u % 18446744073709551615 = 0", "i % 0 = 1", "(i % 0) <=> NULL", "i % -3 = 1", "i % 2 = i2 % 2", "z % 5 IN (0, 2)",
		"dt = '2026-01-31'", "dt > '2026-01-31 00:00:00'", "dt < '2026-02-01 10:00:00'", "at >= '2026-01-31'", "at = '2026-01-31 00:00:00.001'", "at = '2026-01-31 00:00:00.00100'",
		"ts <= '2026-02-01 10:00:00'", "ts > '2026-01-31 00:00:00'", "at BETWEEN '2000-01-01' AND '2026-01-31 00:00:00'", "at = at2", "at < at2", "dt IN ('2026-01-31', '2026-02-01')",
		"v = 'a'", "v = 'A '", "v <> 'ss'", "v < 'b'", "v >= 'ä'", "v IN ('new', 'z')", "g = 'a'", "g = 'ss'", "g > 'a\\t'", "g BETWEEN 'a' AND 'b'", "l = 'a'", "l = 'É'", "l < 'b'", "b = 'a'", "b > 'a'", "b = 'a '", "b < 'a'",
		"b = ba", "b < ba", "c = 'a'", "c = 'a  '", "c <> ''", "c = ' '", "v = ''", "v = ' '", "g = ' '",
		"x = 'a'", "x = x'00ff'", "x = 0x00ff", "x < 'a'", "x = ''", "n = 'a'", "n = x'61000000'", "e = 'new'", "e = 'PAID'", "e <> 'sent'", "e IN ('new', 'sent ')", "e <=> 'x'", "e IS NULL", "j IS NULL", "s IS NOT NULL", "f IS NULL",
		"i = 7 AND (v = 'a' OR g = 'a') AND NOT b IS NULL", "NOT (i > 5 AND v = 'a')", "NOT (i > 5 OR v = 'a')", "i XOR t" + "",
	} {
		if strings.Contains(where, "XOR") || where == "t" {
			require.Error(t, filter.CheckWhere(where), where)
			continue
		}
		w.agree(where)
	}
}

// A condition that cannot be evaluated exactly is refused, with what is wrong.
func TestConditionsThatAreRefused(t *testing.T) {
	w := newWhereWorld(t)
	for where, why := range map[string]string{
		"i =":                         "syntax error",
		"i + 1 = 2":                   "is not understood",
		"f = 1.5":                     "column f (double): a comparison with the number 1.5 cannot be done exactly",
		"i = '7'":                     "a comparison with the string \"7\"",
		"v = 7":                       "a comparison with the number 7",
		"dt = '2026-02-30'":           "is not a date",
		"dt = '2026-1-1'":             "is not a date",
		"dt = 20260101":               "a comparison with the number",
		"i = NULL":                    "IS NULL is meant",
		"1 = 1":                       "without a column",
		"nope = 1":                    `no column "nope"`,
		"w.i = 1":                     "without their table",
		"l = '日'":                     "is not in the column's character set",
		"v LIKE 'a%'":                 "is not understood",
		"e < 'new'":                   "compared with = and IN only",
		"s = 'a'":                     "cannot be done exactly",
		"j = '1'":                     "cannot be done exactly",
		"v = g":                       "columns v (varchar(40)) and g (varchar(40))",
		"i = v":                       "cannot be done exactly",
		"v COLLATE utf8mb4_bin = 'a'": "is not understood",
		"i IN (SELECT 1)":             "is not understood",
		"f % 2 = 1":                   "which is no integer",
		"now() > at":                  "is not understood",
		"i = 1e3":                     "is not understood",
	} {
		_, err := filter.Rules{Rules: []filter.Rule{{Table: "w", Where: where}}}.Plan(w.def)
		require.ErrorContains(t, err, why, where)
	}
}

// Each collation that conditions may be about orders texts as the server does.
func TestCollationsAreTheServers(t *testing.T) {
	server, db := mysqldtest.Shared(t)
	conn := mysqldtest.Dial(t, server.Root().WithDB(db))
	run := func(sql string) *sqlconn.Result {
		res, err := conn.Query(t.Context(), sql)
		require.NoError(t, err, sql)
		return res
	}
	_, err := conn.Exec(t.Context(), "SET NAMES utf8mb4")
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(3, 4))
	alphabet := []rune("aAbBzZäÄßéÉøØæÆſıİ ÿŸ\t\n!-_'0129~")
	wide := append(slices.Clone(alphabet), []rune("ﬁǅĳŒœ日本ひヒｶガ한к ΆάςΣ\u0301\u0308\u200b😀🎉")...)
	for i, name := range filter.ExactCollations() {
		letters := alphabet
		switch {
		case strings.HasPrefix(name, "utf8mb4"):
			letters = wide
		case strings.HasPrefix(name, "utf8mb3"):
			letters = slices.DeleteFunc(slices.Clone(wide), func(r rune) bool { return r > 0xffff })
		case strings.HasPrefix(name, "ascii"):
			letters = slices.DeleteFunc(slices.Clone(alphabet), func(r rune) bool { return r > 0x7f })
		case strings.HasPrefix(name, "latin1"):
			letters = slices.DeleteFunc(slices.Clone(alphabet), func(r rune) bool { return r > 0xff })
		}
		var texts []string
		for range 60 {
			n := r.IntN(4)
			text := make([]rune, n)
			for k := range text {
				text[k] = letters[r.IntN(len(letters))]
			}
			texts = append(texts, string(text))
		}
		charset, _, _ := strings.Cut(name, "_")
		table := fmt.Sprintf("c%d", i)
		run(fmt.Sprintf("CREATE TABLE %s (id int PRIMARY KEY, v varchar(20) CHARACTER SET %s COLLATE %s)", table, charset, name))
		for k, text := range texts {
			run(fmt.Sprintf("INSERT INTO %s VALUES (%d, %s)", table, k, sqlconn.Quote(text)))
		}
		defs, err := schema.Load(t.Context(), conn, db, []string{table})
		require.NoError(t, err)
		raw := run("SELECT CAST(v AS BINARY) FROM " + table + " ORDER BY id")
		for _, op := range []string{"=", "<", ">"} {
			for _, text := range texts {
				where := "v " + op + " " + sqlconn.Quote(text)
				plan, err := filter.Rules{Rules: []filter.Rule{{Table: table, Where: where}}}.Plan(defs[0])
				require.NoError(t, err, "%s: %s", name, where)
				want := run("SELECT " + where + " FROM " + table + " ORDER BY id")
				for k := range texts {
					have, err := plan.Match(rowimage.Row{nil, raw.Rows[k][0]})
					require.NoError(t, err)
					require.Equal(t, string(want.Rows[k][0]) == "1", have, "%s: %q %s", name, texts[k], where)
				}
			}
		}
	}
}
