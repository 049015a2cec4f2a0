package replicate

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
)

// The target has its foreign keys before the copy begins. While it is copied, rows of the parent are written over what is there, which is a delete and an
// insert: the children that refer to them stay.
func TestCascadesDuringTheCopy(t *testing.T) {
	const rows = 3000
	for _, writer := range []string{"native", "sql"} {
		t.Run(writer, func(t *testing.T) {
			w := newWorld(t)
			p, c := w.db+".p", w.db+".c"
			for _, s := range []*side{w.source, w.target} {
				s.exec("CREATE DATABASE IF NOT EXISTS "+w.db, "CREATE TABLE "+p+" (id int PRIMARY KEY, u int NOT NULL UNIQUE, pad varchar(2000))",
					"CREATE TABLE "+c+" (id int PRIMARY KEY, pid int, pu int, n int, FOREIGN KEY (pid) REFERENCES p (id) ON DELETE CASCADE ON UPDATE CASCADE, "+
						"FOREIGN KEY (pu) REFERENCES p (u) ON DELETE CASCADE ON UPDATE CASCADE)")
			}
			w.source.exec("SET SESSION cte_max_recursion_depth=1000000",
				fmt.Sprintf("INSERT INTO %s WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) SELECT i, i, REPEAT('x',2000) FROM n", p, rows),
				fmt.Sprintf("INSERT INTO %s SELECT id, id, u, 0 FROM %s", c, p))
			if writer == "sql" {
				w.withoutRowEvents()
			}
			var wg sync.WaitGroup
			stop := make(chan struct{})
			conn := mysqldtest.Dial(t, w.source.Root())
			wg.Go(func() {
				for i := 1; ; i++ {
					for _, sql := range []string{
						fmt.Sprintf("UPDATE %s SET u=u+%d WHERE id%%7=%d", p, 10*rows, i%7),
						fmt.Sprintf("UPDATE %s SET u=u-%d WHERE id%%7=%d", p, 10*rows, i%7),
						fmt.Sprintf("UPDATE %s SET id=-id WHERE id%%11=%d", p, i%11),
						fmt.Sprintf("REPLACE INTO %s VALUES (%d, %d, 'new')", p, rows+1+i%50, rows+1+i%50),
						fmt.Sprintf("INSERT IGNORE INTO %s VALUES (%d, %[2]d, %[2]d, 1)", c, rows+i%90, rows+1+i%50),
						fmt.Sprintf("DELETE FROM %s WHERE id=%d", p, i%rows),
					} {
						if _, err := conn.Exec(context.Background(), sql); err != nil {
							t.Error(sql, err)
						}
					}
					select {
					case <-stop:
						return
					default:
					}
				}
			})
			r := w.start()
			r.running()
			close(stop)
			wg.Wait()
			r.catchUp()
			w.equal(p, c)
			require.NoError(t, r.stop())
		})
	}
}
