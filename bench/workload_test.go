package bench

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// base says what the tables hold before a workload: t0, t1, …, each with an automatic id, an indexed number and a text.
type base struct {
	tables, rows int // rows of each table
	width        int // of the text, in bytes
}

func (b base) key() string { return fmt.Sprintf("base-%dx%d-%d", b.tables, b.rows, b.width) }

// statements make the tables and fill them.
func (b base) statements() []string {
	sqls := []string{"CREATE DATABASE " + database, "USE " + database, "SET cte_max_recursion_depth=10000000"}
	for t := range b.tables {
		sqls = append(sqls,
			fmt.Sprintf("CREATE TABLE t%d (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, k INT NOT NULL, c VARCHAR(%d) NOT NULL, KEY k (k))", t, b.width),
			fmt.Sprintf("INSERT INTO t%d (k, c) WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT i * 7919 %% %d, %s FROM n", t, b.rows, b.rows, text("i", b.width)))
	}
	return sqls
}

// text is an SQL expression of a text that long, made of a seed expression.
func text(seed string, width int) string {
	return fmt.Sprintf("LEFT(REPEAT(SHA2(%s, 256), %d), %d)", seed, width/64+1, width)
}

// workload is a backlog of transactions on a source.
type workload struct {
	name         string
	base         base
	transactions int // of the full size
	writers      int
	rows         int   // changed by one transaction; 0: 1
	workers      []int // of both sides
	floor        float64
	slow         bool // each flush of the target takes a millisecond longer
	serial       bool // ours must not be slower than ours with one transaction after the other
	statement    func(r *rand.Rand, b base) string
}

var (
	four  = base{tables: 4, rows: 100_000, width: 60}
	wide  = base{tables: 4, rows: 20_000, width: 2300}
	big   = base{tables: 1, rows: 200_000, width: 60}
	many  = base{tables: 25, rows: 4_000, width: 60}
	usual = []int{1, 4, 16}
)

// workloads are the lines of the table.
var workloads = []workload{
	{name: "mix: two updates and a replace", base: four, transactions: 60_000, writers: 16, workers: usual, floor: 3, rows: 3, statement: mix},
	{name: "single-row inserts, 4 tables", base: four, transactions: 60_000, writers: 16, workers: usual, floor: 5, statement: insert},
	{name: "single-row inserts, 25 tables, 100 writers", base: many, transactions: 60_000, writers: 100, workers: []int{1, 20, 100}, floor: 4, statement: insert},
	{name: "single-row updates, one indexed table", base: four, transactions: 60_000, writers: 16, workers: usual, floor: 5, serial: true, statement: update},
	{name: "100-row updates, 6,000 transactions", base: four, transactions: 6_000, writers: 16, rows: 100, workers: usual, floor: 1, statement: updateMany},
	{name: "updates of 200,000 rows, 5 transactions", base: big, transactions: 5, writers: 1, rows: 200_000, workers: usual, floor: 1, statement: updateAll},
	{name: "wide rows, 2.3 KB: an update and an insert", base: wide, transactions: 60_000, writers: 16, rows: 2, workers: usual, floor: 1.5, statement: updateInsert},
	{name: "mix, each fsync of the target 1 ms slower", base: four, transactions: 60_000, writers: 16, workers: []int{4, 16}, floor: 3.5, rows: 3, slow: true, statement: mix},
	{name: "mix, source with one writer", base: four, transactions: 20_000, writers: 1, workers: usual, floor: 3, rows: 3, statement: mix},
}

// size is how many transactions are recorded.
func (w workload) size() int {
	if full() {
		return w.transactions
	}
	return (w.transactions + 3) / 4
}

// key names the recorded backlog; workloads that differ in the target only share it.
func (w workload) key() string {
	name, _, _ := strings.Cut(w.name, ",")
	name, _, _ = strings.Cut(name, ":")
	name = strings.ReplaceAll(name, " ", "-")
	return fmt.Sprintf("%s-%s-%dw-%d", w.base.key(), name, w.writers, w.size())
}

func (b base) table(r *rand.Rand) string { return fmt.Sprintf("t%d", r.IntN(b.tables)) }
func (b base) row(r *rand.Rand) int      { return 1 + r.IntN(b.rows) }
func (b base) text(r *rand.Rand) string  { return text(fmt.Sprint(r.Uint32()), b.width) }

func mix(r *rand.Rand, b base) string {
	return fmt.Sprintf("BEGIN; UPDATE %s SET k = k + 1 WHERE id = %d; UPDATE %s SET c = %s WHERE id = %d; REPLACE INTO %s (id, k, c) VALUES (%d, %d, %s); COMMIT",
		b.table(r), b.row(r), b.table(r), b.text(r), b.row(r), b.table(r), b.row(r), r.IntN(b.rows), b.text(r))
}

func insert(r *rand.Rand, b base) string {
	return fmt.Sprintf("INSERT INTO %s (k, c) VALUES (%d, %s)", b.table(r), r.IntN(b.rows), b.text(r))
}

func update(r *rand.Rand, b base) string {
	return fmt.Sprintf("UPDATE t0 SET k = %d WHERE id = %d", r.IntN(b.rows), b.row(r))
}

func updateMany(r *rand.Rand, b base) string {
	from := 1 + r.IntN(b.rows-100)
	return fmt.Sprintf("UPDATE %s SET k = k + 1 WHERE id BETWEEN %d AND %d", b.table(r), from, from+99)
}

func updateAll(*rand.Rand, base) string { return "UPDATE t0 SET k = k + 1" }

func updateInsert(r *rand.Rand, b base) string {
	return fmt.Sprintf("BEGIN; UPDATE %s SET c = %s WHERE id = %d; INSERT INTO %s (k, c) VALUES (%d, %s); COMMIT",
		b.table(r), b.text(r), b.row(r), b.table(r), r.IntN(b.rows), b.text(r))
}
