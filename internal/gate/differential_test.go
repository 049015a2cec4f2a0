package gate

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// plainDB connects to the database that holds everything.
func (c *testCluster) plainDB(t testing.TB, params string) *sql.Conn {
	cfg := c.plain.Root()
	db, err := sql.Open("mysql", fmt.Sprintf("%s:%s@unix(%s)/plain?%s", cfg.User, cfg.Password, c.plain.Socket(), params))
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	conn, err := db.Conn(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// fill writes the same random rows through the gate and into the plain database.
func fill(t testing.TB, seed uint64, targets ...queryer) {
	r := rand.New(rand.NewPCG(seed, 1))
	both := func(sql string) {
		for _, q := range targets {
			exec(t, q, sql)
		}
	}
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	var customers, orders, words, named []string
	for i := range 100 {
		customers = append(customers, fmt.Sprintf("(%d, %s, %s, %s, %s, %s)", i+1, pick("NULL", fmt.Sprintf("'c%d@x'", r.IntN(40)), fmt.Sprintf("'C%d@X'", r.IntN(40))),
			pick("NULL", fmt.Sprintf("'2024-0%d-1%d 10:0%d:00.%03d'", 1+r.IntN(9), r.IntN(9), r.IntN(9), r.IntN(1000))),
			pick("NULL", fmt.Sprintf("%d.%02d", r.IntN(2000)-1000, r.IntN(100))), pick("NULL", fmt.Sprintf("%d.5e%d", r.IntN(9), r.IntN(3))), pick("NULL", "'low'", "'mid'", "'high'")))
	}
	for i := range 200 {
		orders = append(orders, fmt.Sprintf("(%d, %d, '%s', %d, %s, %s, %s, %s, %s)", i+1, 1+r.IntN(80), pick("apple", "pear", "plum", "Öl", "zebra", ""), r.IntN(100),
			pick("NULL", "1.1", "-3e7", "0.333333"), pick("NULL", "'2024-05-05 01:02:03.123456'"), pick("NULL", "x'00ff27'", "'text'"), pick("NULL", `'{"a": [1, "x"]}'`), pick("NULL", "'größe'", "'b'", "'B '")))
	}
	for i := range 150 {
		text := func() string {
			return pick("NULL", "''", "'a'", "'A'", "'ä'", "'a '", "'a\\n'", "'a\\tb'", "'ab'", "'AB'", "'b'", "'ß'", "'ss'", "'z'", "'Z '", "'日本'", "'a-b'", fmt.Sprintf("'w%d'", r.IntN(30)))
		}
		latin := pick("NULL", "''", "'a'", "'A'", "'ä'", "'a '", "'a\\n'", "'b'", "'ß'", "'s'", "'z'")
		words = append(words, fmt.Sprintf("(%d, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)", i+1, text(), text(), latin, text(), text(),
			pick("NULL", fmt.Sprintf("'%s%d:%02d:00.%02d'", pick("", "-"), r.IntN(800), r.IntN(60), r.IntN(100))), pick("NULL", "'2024-02-03'", "'1999-12-31'"), pick("NULL", "2024", "1901"),
			pick("NULL", "-0.0000000001", "12345678901234567890.5", "-3", "3.25"), pick("NULL", "18446744073709551615", "9223372036854775808", "5", "0")))
	}
	for i := range 20 {
		named = append(named, fmt.Sprintf("('x%d', %d)", i, i))
	}
	both("INSERT INTO customer VALUES " + strings.Join(customers, ", "))
	both("INSERT INTO corder (order_id, customer_id, sku, price, f, ts, b, doc, txt) VALUES " + strings.Join(orders, ", "))
	both("INSERT INTO words VALUES " + strings.Join(words, ", "))
	both("INSERT INTO named VALUES " + strings.Join(named, ", ") + ", ('5', 5), ('05', 6)")
	both("INSERT INTO country VALUES ('DE', 'Germany'), ('FR', 'France')")
}

// G1 for reads: what two shards answer is what one server answers.
func testDifferential(t *testing.T, c *testCluster) {
	for _, params := range []string{"interpolateParams=true", "charset=latin1", "clientFoundRows=true&collation=utf8mb4_unicode_ci"} {
		gate, plain := c.conn(t, "customer", params), c.plainDB(t, params)
		if params == "interpolateParams=true" {
			fill(t, 7, gate, plain)
		}
		file, err := os.Open("testdata/differential.txt")
		require.NoError(t, err)
		defer file.Close()
		for scan := bufio.NewScanner(file); scan.Scan(); {
			line := scan.Text()
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			compareQuery(t, line, gate, plain)
		}
	}
}

func compareQuery(t *testing.T, line string, gate, plain queryer) {
	t.Helper()
	query, ordered := strings.CutPrefix(line, "o: ")
	query, refused := strings.CutPrefix(query, "r: ")
	got, gotErr := tryRows(gate, query)
	if refused {
		if code(gotErr) != 1235 {
			t.Errorf("%s\nshould be refused, but: %v %v", query, got, gotErr)
		}
		return
	}
	want, wantErr := tryRows(plain, query)
	if code(gotErr) != code(wantErr) {
		t.Errorf("%s\ngate: %v\nplain: %v", query, gotErr, wantErr)
		return
	}
	if !ordered {
		slices.Sort(got)
		slices.Sort(want)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s\n gate: %s\nplain: %s", query, shorten(got), shorten(want))
	}
	if wantErr == nil {
		if g, p := columnNames(gate, query), columnNames(plain, query); !slices.Equal(g, p) {
			t.Errorf("%s\n gate: columns %q\nplain: columns %q", query, g, p)
		}
	}
}

func shorten(rows []string) string {
	s := strings.Join(rows, " ; ")
	return s[:min(len(s), 1500)]
}

func columnNames(q queryer, query string) []string {
	res, err := q.QueryContext(context.Background(), query)
	if err != nil {
		return nil
	}
	defer res.Close()
	types, err := res.ColumnTypes()
	if err != nil {
		return nil
	}
	var names []string
	for _, c := range types {
		names = append(names, c.Name()+" "+c.DatabaseTypeName())
	}
	return names
}
