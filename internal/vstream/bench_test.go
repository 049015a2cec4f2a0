package vstream

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/rowimage"
	"braid/internal/schema"
)

// BenchmarkCatchUp reads the same log again and again: transactions of four rows, as a stream that was stopped comes to them.
func BenchmarkCatchUp(b *testing.B) {
	s := sharedServer(b)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a BIGINT, b VARCHAR(60), c DATETIME)")
	from := s.executed()
	const transactions, packet = 20_000, 500
	one := "INSERT INTO t (a, b, c) VALUES (1, 'some text of a row', NOW()), (2, 'more', NOW()), (3, 'and more', NULL), (4, NULL, NOW());"
	for range transactions / packet {
		require.NoError(b, s.conn.ExecMulti(b.Context(), []byte(strings.TrimSuffix(strings.Repeat(one, packet), ";"))))
	}
	until := s.executed()
	for name, source := range map[string]Source{"local": s.local(), "remote": remoteOf(b, s.local())} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				st, err := source.Open(b.Context(), Start{Position: from.String(), Rules: allTables()})
				require.NoError(b, err)
				for pos := from; !pos.Contains(until); {
					items, err := st.Recv()
					require.NoError(b, err)
					for _, item := range items {
						if tx, ok := item.(*Transaction); ok {
							n += len(tx.Changes)
							require.NoError(b, tx.Reach(&pos))
						}
					}
				}
				require.NoError(b, st.Close())
			}
			require.Equal(b, b.N*transactions*4, n, fmt.Sprint(b.N))
			b.ReportMetric(float64(b.N*transactions)/b.Elapsed().Seconds(), "transactions/s")
		})
	}
}

// BenchmarkChunks copies a table of rows of about 190 bytes, in chunks of 4 MiB, four at a time, to a target that does nothing with them.
func BenchmarkChunks(b *testing.B) {
	s := sharedServer(b)
	s.exec("SET cte_max_recursion_depth=1000000")
	s.exec("CREATE TABLE t (id BIGINT PRIMARY KEY, a BIGINT, b VARCHAR(100), c VARCHAR(100), d DATETIME, e DECIMAL(12,2))")
	const rows = 200_000
	s.exec(fmt.Sprintf("INSERT INTO t WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i + 1 FROM n WHERE i < %d) "+
		"SELECT i, i * 7919, REPEAT('b', 60), REPEAT('c', 80), '2024-01-02 03:04:05', i / 7 FROM n", rows))
	s.exec("ANALYZE TABLE t")
	for name, source := range map[string]Source{"local": s.local(), "remote": remoteOf(b, s.local())} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				st, err := source.Open(b.Context(), Start{FromNow: true, Rules: allTables()})
				require.NoError(b, err)
				n += drain(b, st)
				require.NoError(b, st.Close())
			}
			require.Equal(b, b.N*rows, n)
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// drain copies table t in four ranges.
func drain(b *testing.B, st Stream) (rows int) {
	const per, last = 50_000, 4
	after := func(i int) rowimage.Row { return rowimage.Row{fmt.Append(nil, i*per)} }
	for i := range last {
		require.NoError(b, st.OpenWindow(WindowRequest{ID: uint64(i), Table: "t", After: after(i), Until: after(i + 1), MaxBytes: 4 << 20}))
	}
	for done := 0; done < last; {
		items, err := st.Recv()
		require.NoError(b, err)
		for _, item := range items {
			chunk, ok := item.(*Chunk)
			if !ok {
				continue
			}
			if rows += len(chunk.Rows); chunk.Done {
				done++
				continue
			}
			require.NoError(b, st.OpenWindow(WindowRequest{ID: chunk.Window, Table: "t", After: chunk.Last, Until: after(int(chunk.Window) + 1), MaxBytes: 4 << 20}))
		}
	}
	return rows
}

// BenchmarkSlab makes rows of what a session has read: without the server.
func BenchmarkSlab(b *testing.B) {
	def := &schema.Table{Name: "t"}
	for _, typ := range []string{"bigint", "bigint", "varchar", "varchar", "datetime", "decimal"} {
		def.Columns = append(def.Columns, schema.Column{Name: "c", DataType: typ})
	}
	cells := [][]byte{[]byte("123456"), []byte("98765432"), make([]byte, 60), make([]byte, 80), []byte("2024-01-02 03:04:05"), []byte("28571.43")}
	b.ReportAllocs()
	var s *slab
	for i := 0; b.Loop(); i++ {
		if i%20_000 == 0 {
			s = newSlab(def)
		}
		s.add(cells)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
