package vstream

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
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
