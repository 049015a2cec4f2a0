package writeset

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/rowimage"
	"braid/internal/schema"
)

// workload is a table and the rows of an endless stream of single-row transactions.
type workload struct {
	def  *schema.Table
	rows []rowimage.Row
}

func workloads() map[string]workload {
	const n = 4096
	make := func(def *schema.Table, cells func(i int) rowimage.Row) workload {
		w := workload{def: def}
		for i := range n {
			w.rows = append(w.rows, cells(i))
		}
		return w
	}
	id, number := intColumn("id", false), intColumn("n", true)
	email := func(collation string) []schema.Column {
		return []schema.Column{id, textColumn("email", collation, false), number}
	}
	user := func(i int) rowimage.Row { return row(strconv.Itoa(i), fmt.Sprintf("user%d@example.com", i), "7") }
	child := table("child", []schema.Column{id, number}, unique("PRIMARY", col(0)))
	child.ForeignKeys = []schema.ForeignKey{{Columns: []int{1}, RefDB: "d", RefTable: "child", RefColumns: []string{"id"}}}
	return map[string]workload{
		"int":      make(table("t", []schema.Column{id, number}, unique("PRIMARY", col(0))), func(i int) rowimage.Row { return row(strconv.Itoa(i), "7") }),
		"0900":     make(table("t", email("utf8mb4_0900_ai_ci"), unique("PRIMARY", col(0)), unique("email", col(1))), user),
		"general":  make(table("t", email("utf8mb4_general_ci"), unique("PRIMARY", col(0)), unique("email", col(1))), user),
		"uca":      make(table("t", email("utf8mb4_unicode_ci"), unique("PRIMARY", col(0)), unique("email", col(1))), user),
		"foreign":  make(child, func(i int) rowimage.Row { return row(strconv.Itoa(i), strconv.Itoa(i/7)) }),
		"no key":   make(table("t", []schema.Column{number}), func(i int) rowimage.Row { return row(strconv.Itoa(i)) }),
		"compound": make(table("t", []schema.Column{id, number}, unique("PRIMARY", col(0), col(1))), func(i int) rowimage.Row { return row(strconv.Itoa(i/64), strconv.Itoa(i%64)) }),
	}
}

// step runs transaction i: inserts, updates and deletes in turn.
func (w *workload) step(tr *Tracker, i int) {
	r := w.rows[i%len(w.rows)]
	tr.Begin(Header{Clock: Clock{File: 1, LastCommitted: int64(i), Sequence: int64(i + 1)}})
	switch i % 3 {
	case 0:
		tr.Row(1, nil, r, 0)
	case 1:
		tr.Row(1, r, r, 0)
	case 2:
		tr.Row(1, r, nil, 0)
	}
	tr.End()
}

// BenchmarkRow measures a transaction of one row, dependencies included.
func BenchmarkRow(b *testing.B) {
	for name, w := range workloads() {
		b.Run(name, func(b *testing.B) {
			tr := New(Config{History: 10_000})
			tr.SetTable(1, w.def, nil)
			for i := range 30_000 {
				w.step(tr, i)
			}
			b.ReportAllocs()
			i := 30_000
			for b.Loop() {
				w.step(tr, i)
				i++
			}
		})
	}
}

// TestNoAllocation: WS3.
func TestNoAllocation(t *testing.T) {
	for name, w := range workloads() {
		t.Run(name, func(t *testing.T) {
			tr := New(Config{History: 2000})
			tr.SetTable(1, w.def, nil)
			i := 0
			for ; i < 20_000; i++ {
				w.step(tr, i)
			}
			require.Zero(t, testing.AllocsPerRun(50, func() { // its average is rounded down
				for range 300 {
					w.step(tr, i)
					i++
				}
			}))
		})
	}
}
