package replicate

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/apply"
	"braid/internal/sqlconn"
	"braid/internal/vreplication"
	"braid/internal/writeset"
)

// writer writes until it is stopped: one session, so that its transactions have one order. Each adds the next number to one of two
// databases, and notes it in the other.
func (w *world) writer() (stop func() int64) {
	w.source.exec("CREATE TABLE "+w.db+".log (n bigint PRIMARY KEY)", "CREATE TABLE "+w.db2+".total (id int PRIMARY KEY, n bigint)", "INSERT INTO "+w.db2+".total VALUES (1, 0), (2, 0)")
	var done atomic.Bool
	var last int64
	var wg sync.WaitGroup
	conn, err := sqlconn.Dial(w.t.Context(), w.source.Root())
	require.NoError(w.t, err)
	wg.Go(func() {
		defer conn.Close()
		for n := int64(1); !done.Load(); n++ {
			sql := fmt.Sprintf("BEGIN; INSERT INTO %s.log VALUES (%d); UPDATE %s.total SET n=%d WHERE id=%d; COMMIT", w.db, n, w.db2, n, 1+n%2)
			if err := conn.ExecMulti(context.Background(), []byte(sql)); err != nil {
				w.t.Error(err)
				return
			}
			last = n
		}
	})
	return func() int64 {
		done.Store(true)
		wg.Wait()
		return last
	}
}

// A signal ends on a complete prefix, in every mode and order, and nothing is lost or applied twice over many runs.
func TestSignalsUnderLoad(t *testing.T) {
	w := newWorld(t)
	stop := w.writer()
	modes := []writeset.Mode{writeset.Writeset, writeset.LogicalClock, writeset.Database, writeset.Serial}
	for i := range 8 {
		r := w.start(func(c *Config) {
			c.Parallel, c.Workers, c.CommitOrder = modes[i%4], 1+i, apply.Order(i/4)
		})
		r.until("at work", func(s Status) bool { return s.State == "Running" || s.State == "Lagging" })
		select {
		case <-time.After(time.Duration(100+i*50) * time.Millisecond): // in the middle of the work
		case <-r.done:
		}
		require.NoError(t, r.stop())
		require.True(t, r.status().Final)
		n := w.target.one("SELECT COUNT(*) FROM " + w.db + ".log")
		require.Equal(t, n, w.target.one("SELECT IFNULL(MAX(n), 0) FROM "+w.db+".log"), "run %d: a complete prefix", i)
		require.Equal(t, n, w.target.one("SELECT MAX(n) FROM "+w.db2+".total"), "run %d", i)
	}
	last := stop()
	require.NoError(t, w.run(once))
	require.Equal(t, fmt.Sprint(last), w.target.one("SELECT COUNT(*) FROM "+w.db+".log"))
	w.equal(w.db+".log", w.db2+".total")
}

// Two processes with names of their own write to one target.
func TestSeveralStreamsIntoOneTarget(t *testing.T) {
	w := newWorld(t)
	w.fill()
	one := w.start(func(c *Config) { c.Name, c.Selection.Databases = w.db+"_1", []string{w.db} })
	two := w.start(func(c *Config) {
		c.Name, c.Selection.Databases, c.Selection.Rename = w.db+"_2", []string{w.db2}, []string{w.db2 + ".item=" + w.db + ".second"}
	})
	one.running()
	two.running()
	w.source.exec("UPDATE "+w.db+".item SET qty=-1", "UPDATE "+w.db2+".item SET qty=-2")
	one.catchUp()
	two.catchUp()
	w.equal(w.db+".item", w.db2+".item="+w.db+".second", w.db2+".note")
	views, err := vreplication.Show(t.Context(), w.target.conn, w.db+"_2")
	require.NoError(t, err)
	require.Len(t, views, 1)
	require.Equal(t, "Running", views[0].State)
	require.NotZero(t, views[0].Session)
	require.NoError(t, one.stop())
	require.NoError(t, two.stop())
	views, err = vreplication.Show(t.Context(), w.target.conn, w.db+"_2")
	require.NoError(t, err)
	require.Len(t, views[0].Tables, 2)
	require.Zero(t, views[0].Session)
}

func TestMaxTPS(t *testing.T) {
	w := newWorld(t)
	w.source.exec("CREATE TABLE " + w.db + ".a (id int PRIMARY KEY)")
	require.NoError(t, w.run(once))
	for i := range 60 {
		w.source.exec(fmt.Sprintf("INSERT INTO %s.a VALUES (%d)", w.db, i))
	}
	began := time.Now()
	require.NoError(t, w.run(once, func(c *Config) { c.MaxTPS = 20 }))
	require.GreaterOrEqual(t, time.Since(began), 2*time.Second, "60 transactions at 20 a second")
	w.equal(w.db + ".a")
}

// Tables get other names, other columns, or go, while they are copied.
func TestDDLDuringTheCopy(t *testing.T) {
	w := newWorld(t)
	w.source.exec("SET SESSION cte_max_recursion_depth=100000")
	for _, name := range []string{"a", "b", "c", "d"} {
		w.source.exec("CREATE TABLE "+w.db+"."+name+" (id int PRIMARY KEY, pad varchar(500))",
			"INSERT INTO "+w.db+"."+name+" WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i+1 FROM n WHERE i<20000) SELECT i, REPEAT('x', 300) FROM n")
	}
	r := w.start()
	require.Eventually(t, func() bool { return strings.Contains(r.log.String(), "copy begins") }, time.Minute, time.Millisecond)
	w.source.exec("ALTER TABLE "+w.db+".d ADD COLUMN extra int NOT NULL DEFAULT 5", "UPDATE "+w.db+".d SET extra=6 WHERE id<100", "DROP TABLE "+w.db+".c",
		"CREATE TABLE "+w.db+".fresh (id int PRIMARY KEY)", "INSERT INTO "+w.db+".fresh VALUES (1)", "RENAME TABLE "+w.db+".b TO "+w.db+".b2", "INSERT INTO "+w.db+".b2 VALUES (1000000, 'new')",
		"TRUNCATE TABLE "+w.db+".a", "INSERT INTO "+w.db+".a VALUES (7, 'after')")
	r.catchUp()
	w.equal(w.db+".a", w.db+".b2", w.db+".d", w.db+".fresh")
	require.Equal(t, "", w.target.one("SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA='"+w.db+"' AND TABLE_NAME IN ('b', 'c')"))
}
