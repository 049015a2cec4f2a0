package apply

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"braid/internal/gtid"
	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// row makes cells of words; "-" is NULL.
func row(words string) rowimage.Row {
	var r rowimage.Row
	for _, w := range strings.Fields(words) {
		cell := []byte(w)
		if w == "-" {
			cell = nil
		}
		r = append(r, cell)
	}
	return r
}

type change struct {
	op            vstream.Op
	before, after string
}

func ins(after string) change         { return change{vstream.Insert, "", after} }
func upd(before, after string) change { return change{vstream.Update, before, after} }
func del(before string) change        { return change{vstream.Delete, before, ""} }

const server = "11111111-2222-3333-4444-555555555555"

// bed is a target table t(id, v, k, g) with an applier.
type bed struct {
	t      testing.TB
	srv    *mysqld.Server
	cfg    sqlconn.Config
	conn   *sqlconn.Conn // not the applier's
	ap     *Applier
	change Config // of the applier, where it is not the usual one
	table  *Table
	next   int64
}

func newBed(t testing.TB, mode Mode) *bed {
	srv, db := mysqldtest.Shared(t)
	b := &bed{t: t, srv: srv, cfg: srv.Admin().WithDB(db)}
	b.conn = mysqldtest.Dial(t, b.cfg)
	b.exec("CREATE TABLE t (id bigint PRIMARY KEY, v varchar(20) COLLATE utf8mb4_bin NULL, k int NOT NULL, g int GENERATED ALWAYS AS (k+1))",
		"CREATE TABLE pos (pos text NOT NULL)", "INSERT INTO pos VALUES ('')", "CREATE TABLE lanes (lane int PRIMARY KEY, gtids text NOT NULL, n int NOT NULL)")
	defs, err := schema.Load(t.Context(), b.conn, db, []string{"t"})
	require.NoError(t, err)
	b.table, err = NewTable(defs[0], defs[0], nil)
	require.NoError(t, err)
	b.table.Mode = mode
	b.open()
	return b
}

func (b *bed) open() {
	if b.ap != nil {
		b.ap.Close()
	}
	control := mysqldtest.Dial(b.t, b.cfg)
	require.NoError(b.t, Session(b.t.Context(), control))
	cfg := b.change
	cfg.Control = control
	cfg.Connect = func(ctx context.Context, lane int) (*sqlconn.Conn, error) {
		conn, err := sqlconn.Dial(ctx, b.cfg)
		if err != nil {
			return nil, err
		}
		return conn, Session(ctx, conn)
	}
	cfg.SaveLane = func(l Lane) string {
		return fmt.Sprintf("REPLACE INTO lanes SELECT %d, '%s', %d+IFNULL((SELECT n FROM lanes l WHERE lane=%d),0)", l.Lane, l.GTIDs, l.Transactions, l.Lane)
	}
	cfg.SaveBase = func(base Base) string { return fmt.Sprintf("UPDATE pos SET pos='%s'", base.Position) }
	b.ap = New(cfg, b.position())
	b.ap.SetTable(1, b.table)
	b.t.Cleanup(b.ap.Close)
}

// drain waits until all is committed.
func (b *bed) drain() error { return b.ap.Drain(b.t.Context()) }

func (b *bed) exec(statements ...string) {
	b.t.Helper()
	for _, sql := range statements {
		_, err := b.conn.Exec(b.t.Context(), sql)
		require.NoError(b.t, err, sql)
	}
}

func (b *bed) one(sql string) string {
	b.t.Helper()
	res, err := b.conn.Query(b.t.Context(), sql)
	require.NoError(b.t, err)
	return string(res.Rows[0][0])
}

func (b *bed) position() gtid.Set {
	res, err := b.conn.Query(b.t.Context(), "SELECT pos FROM pos UNION ALL SELECT gtids FROM lanes")
	require.NoError(b.t, err)
	var all gtid.Set
	for _, cells := range res.Rows {
		all = all.Union(gtid.MustParse(string(cells[0])))
	}
	return all
}

// applied is how many transactions the lanes count.
func (b *bed) applied() string { return b.one("SELECT IFNULL(SUM(n),0) FROM lanes") }

// tx is the next source transaction.
func (b *bed) tx(changes ...change) *vstream.Transaction {
	b.next++
	tx := &vstream.Transaction{GTID: server + ":" + strconv.FormatInt(b.next, 10), CommitUS: b.next, Last: true}
	for _, c := range changes {
		tx.Changes = append(tx.Changes, vstream.Change{TableID: 1, Op: c.op, Before: row(c.before), After: row(c.after)})
	}
	return tx
}

func (b *bed) add(txs ...*vstream.Transaction) {
	b.t.Helper()
	for _, tx := range txs {
		require.NoError(b.t, b.ap.Add(b.t.Context(), tx))
	}
}

// What has come while the worker was busy is one commit.
func TestGroupIsOneCommit(t *testing.T) {
	b := newBed(t, Strict)
	b.change.Workers = 1
	b.open()
	b.exec("BEGIN", "INSERT INTO t (id,v,k) VALUES (1000,'x',0)")
	b.add(b.tx(ins("1000 a 1 2")))
	require.Eventually(t, func() bool { l := b.ap.Status().Lanes; return len(l) == 1 && l[0].Group == 1 }, 10*time.Second, time.Millisecond)
	for i := range 50 {
		b.add(b.tx(ins(fmt.Sprintf("%d a 1 2", i))), b.tx(upd(fmt.Sprintf("%d a 1 2", i), fmt.Sprintf("%d b 2 3", i))))
	}
	require.EqualValues(t, 101, b.ap.Status().Queued)
	before := b.one("SELECT @@GLOBAL.gtid_executed")
	b.exec("ROLLBACK")
	require.NoError(t, b.drain())
	require.Equal(t, "50", b.one("SELECT COUNT(*) FROM t WHERE v='b' AND k=2"))
	require.Equal(t, server+":1-101", b.position().String())
	require.Equal(t, "101", b.applied())
	require.True(t, b.ap.Saved().Equal(b.ap.Position()))
	after := gtid.MustParse(b.one("SELECT @@GLOBAL.gtid_executed"))
	require.EqualValues(t, 2, after.Subtract(gtid.MustParse(before)).Count(), "commits on the target")
}

// The transaction that fails stands alone: those before it are applied, it and those behind it are not.
func TestFailureStandsAlone(t *testing.T) {
	b := newBed(t, Strict)
	b.exec("INSERT INTO t (id,v,k) VALUES (7,'theirs',0)")
	b.add(b.tx(ins("5 a 1 2"), ins("6 a 1 2")), b.tx(upd("5 a 1 2", "5 b 1 2")), b.tx(ins("8 a 1 2"), ins("7 a 1 2")), b.tx(ins("9 a 1 2")))
	err := b.ap.Drain(t.Context())
	require.ErrorContains(t, err, "transaction "+server+":3: insert of t (id=7): ")
	require.True(t, Permanent(err))
	require.Equal(t, "5,6,7", b.one("SELECT GROUP_CONCAT(id ORDER BY id) FROM t"))
	require.Equal(t, server+":1-2", b.position().String())
	require.Equal(t, "b", b.one("SELECT v FROM t WHERE id=5"))

	b.exec("DELETE FROM t WHERE id=7")
	b.open()
	b.next = 2
	b.add(b.tx(ins("8 a 1 2"), ins("7 a 1 2")), b.tx(del("55 a 1 2")))
	err = b.ap.Drain(t.Context())
	require.ErrorIs(t, err, ErrMissing)
	require.ErrorContains(t, err, "transaction "+server+":4: delete of t (id=55): the row is not on the target")
	require.Equal(t, server+":1-3", b.position().String())
}

// Of many updates in one statement, the one that finds no row is named; one that changes nothing here is none of them.
func TestBulkUpdates(t *testing.T) {
	b := newBed(t, Strict)
	for i := range 20 {
		b.add(b.tx(ins(fmt.Sprintf("%d a 1 2", i))))
	}
	require.NoError(t, b.ap.Drain(t.Context()))
	update := func() {
		for i := range 20 {
			b.add(b.tx(upd(fmt.Sprintf("%d a 1 2", i), fmt.Sprintf("%d b 2 3", i))))
		}
	}
	b.exec("UPDATE t SET v='b', k=2 WHERE id=7")
	update()
	require.NoError(t, b.ap.Drain(t.Context()))
	require.Equal(t, "20", b.one("SELECT COUNT(*) FROM t WHERE v='b' AND k=2"))
	b.exec("UPDATE t SET v='a', k=1", "DELETE FROM t WHERE id=13")
	update()
	err := b.ap.Drain(t.Context())
	require.ErrorIs(t, err, ErrMissing)
	require.ErrorContains(t, err, "transaction "+server+":54: update of t (id=13): ")
	require.Equal(t, "13", b.one("SELECT COUNT(*) FROM t WHERE v='b'"))
	require.Equal(t, "19", b.one("SELECT COUNT(*) FROM t"))
	require.Equal(t, server+":1-53", b.position().String())
}

// A transaction larger than a packet is one transaction on the target all the same.
func TestLargeTransaction(t *testing.T) {
	b := newBed(t, Strict)
	ctx := t.Context()
	b.add(b.tx(ins("1 small 1 2")))
	require.NoError(t, b.drain())
	const rows = 60000 // a few packets
	fragment := func(from, to int, last bool) *vstream.Transaction {
		tx := &vstream.Transaction{GTID: server + ":2", CommitUS: 2, Last: last}
		for i := from; i < to; i++ {
			tx.Changes = append(tx.Changes, vstream.Change{TableID: 1, Op: vstream.Insert, After: row(fmt.Sprintf("%d large-enough %d 1", 100+i, i))})
		}
		return tx
	}
	b.add(fragment(0, rows/2, false))
	require.NoError(t, b.ap.Drain(ctx), "does nothing in the middle")
	require.Equal(t, "1", b.one("SELECT COUNT(*) FROM t"))
	require.True(t, b.ap.Open())
	b.add(fragment(rows/2, rows, false), fragment(0, 0, true))
	require.NoError(t, b.ap.Drain(ctx))
	require.Equal(t, strconv.Itoa(rows+1), b.one("SELECT COUNT(*) FROM t"))
	require.Equal(t, server+":1-2", b.position().String())
	require.Equal(t, "2", b.applied())

	// The last row of another one is there already: nothing of it stays.
	tx := fragment(rows, 2*rows, true)
	tx.GTID = server + ":3"
	tx.Changes = append(tx.Changes, vstream.Change{TableID: 1, Op: vstream.Insert, After: row("1 again 1 2")})
	err := b.ap.Add(ctx, tx)
	if err == nil {
		err = b.ap.Drain(ctx)
	}
	require.ErrorContains(t, err, "transaction "+server+":3: insert of t (id=")
	require.Equal(t, strconv.Itoa(rows+1), b.one("SELECT COUNT(*) FROM t"))
	require.Equal(t, server+":1-2", b.position().String())
}

// A large transaction may be the first to change a table: it is described between two fragments.
func TestTableDescribedBetweenFragments(t *testing.T) {
	b := newBed(t, Strict)
	b.exec("CREATE TABLE second LIKE t")
	defs, err := schema.Load(t.Context(), b.conn, b.cfg.DB, []string{"second"})
	require.NoError(t, err)
	second, err := NewTable(defs[0], defs[0], nil)
	require.NoError(t, err)
	second.Mode = Strict
	first := b.tx(ins("1 a 1 2"))
	first.Last = false
	b.add(first)
	require.NoError(t, b.drain())
	b.ap.SetTable(2, second)
	last := *first
	last.Changes, last.Last = []vstream.Change{{TableID: 2, Op: vstream.Insert, After: row("2 b 1 2")}}, true
	b.add(&last)
	require.NoError(t, b.drain())
	require.Equal(t, "1", b.one("SELECT COUNT(*) FROM t"))
	require.Equal(t, "1", b.one("SELECT COUNT(*) FROM second"))
	require.Equal(t, server+":1", b.position().String())
}

// Deadlocks and lock waits repeat the packet until it is through.
func TestLocksAreWaitedFor(t *testing.T) {
	b := newBed(t, Strict)
	ctx := t.Context()
	b.exec("INSERT INTO t (id,v,k) VALUES (1,'a',0),(2,'a',0)")
	repeated := make(chan error, 100)
	b.change.Repeats = func(err error, _ int) { repeated <- err }
	b.open()
	b.exec("BEGIN", "UPDATE t SET k=k WHERE id=2")
	b.add(b.tx(upd("1 a 0 1", "1 b 0 1"), upd("2 a 0 1", "2 b 0 1")))
	var group errgroup.Group
	group.Go(func() error { return b.ap.Drain(ctx) })
	require.EqualValues(t, 1205, sqlconn.ErrCode(<-repeated))
	b.exec("ROLLBACK")
	require.NoError(t, group.Wait())
	require.Equal(t, "2", b.one("SELECT COUNT(*) FROM t WHERE v='b'"))

	b.exec("BEGIN", "UPDATE t SET k=k WHERE id=2")
	for id := 10; id < 500; id++ { // heavier, so that the applier is the deadlock's victim
		b.exec(fmt.Sprintf("INSERT INTO t (id,v,k) VALUES (%d,'x',0)", id))
	}
	b.add(b.tx(upd("1 b 0 1", "1 c 0 1"), upd("2 b 0 1", "2 c 0 1")))
	group.Go(func() error { return b.ap.Drain(ctx) })
	require.Eventually(t, func() bool {
		return b.one("SELECT COUNT(*) FROM information_schema.INNODB_TRX WHERE trx_state='LOCK WAIT'") == "1"
	}, 10*time.Second, 200*time.Millisecond) // InnoDB refreshes that table only when nobody has read it for a while
	b.exec("UPDATE t SET k=k WHERE id=1", "COMMIT")
	require.NoError(t, group.Wait())
	require.EqualValues(t, 1213, sqlconn.ErrCode(<-repeated))
	require.Equal(t, "2", b.one("SELECT COUNT(*) FROM t WHERE v='c'"))
	require.Equal(t, server+":1-2", b.position().String())
}

// While a table is copied, whatever is there already is written over, and what is missing is no error (W1).
func TestUpsertsConverge(t *testing.T) {
	b := newBed(t, Upsert)
	ctx := t.Context()
	done := make(chan error, 1)
	b.add(b.tx(upd("1 a 0 1", "1 b 0 1"), del("2 a 0 1"), ins("3 a 0 1"), upd("3 a 0 1", "4 a 0 1")))
	require.NoError(t, b.ap.Drain(ctx))
	require.NoError(t, b.ap.Chunk(ctx, Chunk{TableID: 1, Rows: []rowimage.Row{row("1 b 0 1"), row("5 a 0 1")}, Save: []string{"REPLACE INTO lanes VALUES (9,'',100)"}, Done: func(err error) { done <- err }}))
	require.NoError(t, b.drain())
	require.NoError(t, <-done)
	require.Equal(t, "1b,4a,5a", b.one("SELECT GROUP_CONCAT(id,v ORDER BY id) FROM t"))
	require.Equal(t, "101", b.applied())
}

// A foreign key alone does not stop a change that the source has made.
func TestForeignKeys(t *testing.T) {
	b := newBed(t, Strict)
	ctx := t.Context()
	b.exec("ALTER TABLE t ADD KEY k (k)", "CREATE TABLE parent (id int PRIMARY KEY)", "ALTER TABLE t ADD FOREIGN KEY (k) REFERENCES parent (id)")
	require.NoError(t, b.ap.CheckForeignKeys(ctx, true))
	b.add(b.tx(ins("1 a 77 1")), b.tx(ins("2 a 78 1")))
	require.NoError(t, b.ap.Drain(ctx))
	require.Equal(t, "2", b.one("SELECT COUNT(*) FROM t"))
	require.Equal(t, server+":1-2", b.position().String())
}

// Empty transactions cost nothing until the position is saved.
func TestPositionOnly(t *testing.T) {
	b := newBed(t, Strict)
	b.add(b.tx(), b.tx())
	require.False(t, b.ap.Pending())
	require.True(t, b.ap.Unsaved())
	b.ap.Skip(gtid.MustParse(server + ":3-9"))
	require.NoError(t, b.ap.Drain(t.Context()))
	require.Equal(t, server+":1-9", b.position().String())
	require.Equal(t, "0", b.applied(), "transactions with rows")
}

func BenchmarkApply(b *testing.B) {
	for _, kind := range []string{"insert", "update", "delete"} {
		b.Run(kind, func(b *testing.B) {
			bed := newBed(b, Strict)
			if kind != "insert" {
				rows := make([]rowimage.Row, b.N)
				for i := range rows {
					rows[i] = row(fmt.Sprintf("%d something 42 43", i))
				}
				bed.table.Mode = Upsert
				for len(rows) > 0 {
					n := min(len(rows), 10000)
					require.NoError(b, bed.ap.Chunk(b.Context(), Chunk{TableID: 1, Rows: rows[:n]}))
					rows = rows[n:]
				}
				bed.table.Mode = Strict
			}
			txs := make([]*vstream.Transaction, b.N)
			for i := range txs {
				before, after := fmt.Sprintf("%d something 42 43", i), fmt.Sprintf("%d other 43 44", i)
				switch kind {
				case "insert":
					txs[i] = bed.tx(ins(after))
				case "update":
					txs[i] = bed.tx(upd(before, after))
				case "delete":
					txs[i] = bed.tx(del(before))
				}
			}
			b.ResetTimer()
			bed.add(txs...)
			require.NoError(b, bed.ap.Drain(b.Context()))
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
		})
	}
}
