package bulk

import (
	"fmt"
	"io"
	"testing"

	"braid/internal/rowimage"
	"braid/internal/schema"
)

// benchRows are rows of about 190 bytes.
func benchRows(n int) (*Table, []rowimage.Row) {
	def := &schema.Table{DB: "d", Name: "t", Columns: []schema.Column{
		{Name: "id", DataType: "bigint"}, {Name: "k", DataType: "int"}, {Name: "c", DataType: "char"}, {Name: "pad", DataType: "char"}, {Name: "at", DataType: "datetime"},
	}}
	t, err := NewTable(def, def)
	if err != nil {
		panic(err)
	}
	rows := make([]rowimage.Row, n)
	for i := range rows {
		rows[i] = rowimage.Row{
			fmt.Appendf(nil, "%d", i), fmt.Appendf(nil, "%d", i*7919%n), fmt.Appendf(nil, "%0100d", i), fmt.Appendf(nil, "%059d", i), []byte("2024-01-02 03:04:05"),
		}
	}
	return t, rows
}

type count struct{ n int64 }

func (c *count) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// What a row costs us, both ways; the rest is the server's work.
func BenchmarkEncode(b *testing.B) {
	t, rows := benchRows(10_000)
	b.Run("load", func(b *testing.B) {
		b.ReportAllocs()
		e, out := encoder{}, &count{}
		e.out = out
		for i := range b.N {
			if err := e.row(t, rows[i%len(rows)]); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(out.n / int64(b.N))
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	})
	b.Run("replace", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for i := range b.N {
			if buf = t.appendValues(buf, rows[i%len(rows)]); len(buf) > statementSize {
				buf = buf[:0]
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	})
}

// A row costs no allocation with either method.
func TestNoAllocations(t *testing.T) {
	table, rows := benchRows(1000)
	e := encoder{out: io.Discard, buf: make([]byte, 0, 2*flushSize)}
	buf := make([]byte, 0, 2*statementSize)
	if n := testing.AllocsPerRun(5, func() {
		for _, row := range rows {
			if err := e.row(table, row); err != nil {
				t.Fatal(err)
			}
			buf = table.appendValues(buf[:0], row)
		}
	}); n > 0 {
		t.Errorf("%v allocations for 1,000 rows", n)
	}
}
