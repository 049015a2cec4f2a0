package rows

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/vstream"
)

// load is a recorded backlog.
type load struct {
	name string
	do   func(s *site, n int) []string
}

const benchTable = "CREATE TABLE %s (id INT PRIMARY KEY, k INT NOT NULL, c VARCHAR(120) NOT NULL, pad VARCHAR(60) NOT NULL, at DATETIME(3), KEY (k))"

var loads = []load{
	{"insert", func(s *site, n int) (sql []string) {
		for i := range n {
			sql = append(sql, fmt.Sprintf("INSERT INTO t%d VALUES (%d,%d,REPEAT('c',100),'some pad',NOW(3))", i%4, i, i))
		}
		return sql
	}},
	{"update", func(s *site, n int) (sql []string) {
		for i := range n {
			sql = append(sql, fmt.Sprintf("UPDATE t%d SET k=k+1 WHERE id=%d", i%4, 1000000+i/4))
		}
		return sql
	}},
	{"mix", func(s *site, n int) (sql []string) {
		for i := range n / 3 {
			sql = append(sql, "BEGIN", fmt.Sprintf("UPDATE t%d SET k=k+1 WHERE id=%d", i%4, 1000000+i%9000), fmt.Sprintf("UPDATE t%d SET c=REPEAT('d',100) WHERE id=%d", (i+1)%4, 1000000+(i*7)%9000),
				fmt.Sprintf("REPLACE INTO t%d VALUES (%d,%d,REPEAT('e',100),'pad',NULL)", (i+2)%4, 1000000+(i*13)%10000, i), "COMMIT")
		}
		return sql
	}},
}

const benchChanges = 6000

func recordLoad(b *testing.B, l load) (*site, []vstream.Item, int) {
	s := newSite(b)
	for i := range 4 {
		s.exec(fmt.Sprintf(benchTable, fmt.Sprintf("t%d", i)))
		s.exec(fmt.Sprintf("INSERT INTO t%d WITH RECURSIVE n AS (SELECT 1000000 AS i UNION ALL SELECT i+1 FROM n WHERE i < 1009999) SELECT /*+ SET_VAR(cte_max_recursion_depth=20000) */ i, i, REPEAT('c',100), 'pad', NOW(3) FROM n", i))
	}
	base := s.copyOf()
	items := s.record(func() {
		for _, sql := range l.do(s, benchChanges) {
			_, err := s.conn.Exec(b.Context(), sql)
			require.NoError(b, err)
		}
	})
	changes := 0
	for _, item := range items {
		if tx, ok := item.(*vstream.Transaction); ok {
			changes += len(tx.Changes)
		}
	}
	s.exec("USE " + base)
	return s, items, changes
}

// BenchmarkWriters drains a recorded backlog through one session, 200 transactions a commit: changes per second, and the CPU time of this process for each.
func BenchmarkWriters(b *testing.B) {
	overLoads(b, func(b *testing.B, s *site, items []vstream.Item, changes int) {
		copies := 0
		for _, w := range []way{{mode: Strict, group: 200, foreignKeys: true}, {sql: true, mode: Strict, group: 200, foreignKeys: true}} {
			b.Run(w.writer(), func(b *testing.B) {
				b.ReportAllocs()
				var took, used time.Duration
				for b.Loop() {
					b.StopTimer()
					copies++
					db := fmt.Sprintf("%s_b%d", s.db[:min(40, len(s.db))], copies)
					s.exec("CREATE DATABASE " + db)
					for i := range 4 {
						s.exec(fmt.Sprintf("CREATE TABLE %s.t%d LIKE t%[2]d", db, i), fmt.Sprintf("INSERT INTO %s.t%d SELECT * FROM t%[2]d", db, i))
					}
					to := s.open(b, db, w)
					b.StartTimer()
					began, cpu := time.Now(), processTime(b)
					require.NoError(b, to.apply(items, w.group))
					took, used = took+time.Since(began), used+processTime(b)-cpu
					b.StopTimer()
					s.exec("DROP DATABASE " + db)
					b.StartTimer()
				}
				n := float64(b.N * changes)
				b.ReportMetric(n/took.Seconds(), "changes/s")
				b.ReportMetric(float64(used.Nanoseconds())/n, "cpu-ns/change")
				b.ReportMetric(0, "ns/op")
			})
		}
	})
}

func overLoads(b *testing.B, run func(b *testing.B, s *site, items []vstream.Item, changes int)) {
	for _, l := range loads {
		b.Run(l.name, func(b *testing.B) {
			s, items, changes := recordLoad(b, l)
			run(b, s, items, changes)
		})
	}
}

func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRender is the part of it that is ours alone: changes become statements. Once the buffers have grown it allocates nothing.
func BenchmarkRender(b *testing.B) {
	overLoads(b, func(b *testing.B, s *site, items []vstream.Item, changes int) {
		for _, w := range []way{{mode: Strict}, {sql: true, mode: Strict}} {
			b.Run(w.writer(), func(b *testing.B) {
				to := s.open(b, s.db, w)
				for _, item := range items {
					if def, ok := item.(*vstream.Table); ok {
						to.bind(def)
					}
				}
				view := to.tables.View()
				bytes := 0
				round := func() {
					bytes = 0
					n := 0
					flush := func() {
						require.NoError(b, to.session.render(b.Context()))
						to.session.batch.finish()
						bytes += to.session.batch.Len()
						to.session.taken()
					}
					for _, item := range items {
						tx, ok := item.(*vstream.Transaction)
						if !ok {
							continue
						}
						if err := to.session.Add(b.Context(), view, tx); err != nil {
							b.Fatal(err)
						}
						if n++; n%200 == 0 {
							flush()
						}
					}
					flush()
				}
				round()
				b.ReportAllocs()
				for b.Loop() {
					round()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*changes), "ns/change")
				b.ReportMetric(float64(bytes)/float64(changes), "B-text/change")
				b.ReportMetric(0, "ns/op")
			})
		}
	})
}
