package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/stretchr/testify/require"

	"braid/internal/binlog"
	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// BenchmarkBinlog measures reading a log of small rows from a server: from the socket to canonical cells, against go-mysql's own
// decoding; the decoder alone; tables that nobody follows; ten streams on one hub. Everything runs on one core.
func BenchmarkBinlog(b *testing.B) {
	w := newWorld(b)
	runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(runtime.NumCPU())
	report := &Report{Name: "binlog"}
	megabytes := megabytes(b)

	many := w.load("many", megabytes, 500)
	if part("many") {
		w.compare(report, "rows in statements of 500", many, 5)
		w.decoder(report, many)
		w.unfollowed(report, "rows in statements of 500", many, 0.1)
	}
	for _, vindex := range []string{"xxhash", "hash"} {
		if part(vindex) {
			w.streams(report, many, vindex)
		}
	}
	if part("single") {
		single := w.load("single", megabytes/4, 1)
		w.compare(report, "a row a transaction", single, 5)
		w.unfollowed(report, "a row a transaction", single, 0)
	}

	require.NoError(b, report.Print(os.Stdout))
	require.NoError(b, report.Write("out"))
	require.Empty(b, report.Failed(), "figures that are not reached; docs/decisions/010-change-source-speed.md has the reasons of those that are known")
}

// part reports whether a part is wanted: BENCH_ONLY names those that are (many, xxhash, hash, single), for work on one of them.
func part(name string) bool {
	only := os.Getenv("BENCH_ONLY")
	return only == "" || slices.Contains(strings.Split(only, ","), name)
}

func megabytes(b *testing.B) int {
	if s := os.Getenv("BENCH_MB"); s != "" {
		n, err := strconv.Atoi(s)
		require.NoError(b, err)
		return n
	}
	if os.Getenv("BENCH_FULL") != "" {
		return 1024
	}
	return 256
}

type world struct {
	b    *testing.B
	srv  *mysqld.Server
	conn *sqlconn.Conn
}

// span is a part of the log with rows of one table.
type span struct {
	table       string
	from, until gtid.Set
	rows        int
	bytes       int // of row events
	def         *schema.Table
}

func newWorld(b *testing.B) *world {
	srv := mysqldtest.New(b, mysqldtest.Options{Options: []string{"innodb_buffer_pool_size=512M", "innodb_redo_log_capacity=512M"}})
	conn, err := sqlconn.Dial(b.Context(), srv.Root())
	require.NoError(b, err)
	b.Cleanup(func() { conn.Close() })
	w := &world{b: b, srv: srv, conn: conn}
	w.exec("CREATE DATABASE bench", "USE bench", "SET cte_max_recursion_depth=1000000")
	return w
}

func (w *world) exec(sqls ...string) {
	for _, sql := range sqls {
		_, err := w.conn.Exec(w.b.Context(), sql)
		require.NoError(w.b, err, sql)
	}
}

func (w *world) executed() gtid.Set {
	set, _, err := binlog.Executed(w.b.Context(), w.conn)
	require.NoError(w.b, err)
	return set
}

const rowsOfTable = "(id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, customer BIGINT NOT NULL, amount DECIMAL(10,2), state TINYINT, note VARCHAR(40), made DATETIME)"

// load writes about that many megabytes of log, in statements of so many rows.
func (w *world) load(table string, megabytes, rows int) span {
	w.exec("CREATE TABLE " + table + " " + rowsOfTable)
	s := span{table: table, from: w.executed()}
	const rowBytes = 55
	target := megabytes << 20
	if rows == 1 {
		target = target * rowBytes / 330 // the rest of a transaction
	}
	for batch := 0; s.rows*rowBytes < target; batch++ {
		if rows > 1 {
			w.exec(fmt.Sprintf("INSERT INTO %s (customer, amount, state, note, made) WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i + 1 FROM n WHERE i < %d) "+
				"SELECT %d + i * 7919 %% 100003, i * 1.25, i %% 5, CONCAT('note of order ', i), '2026-01-02 03:04:05' FROM n", table, rows, batch*rows))
			s.rows += rows
			continue
		}
		one := fmt.Sprintf("INSERT INTO %s (customer, amount, state, note, made) VALUES (%d, 12.50, 1, 'note of an order', '2026-01-02 03:04:05')", table, batch)
		const packet = 500
		require.NoError(w.b, w.conn.ExecMulti(w.b.Context(), []byte(strings.Repeat(one+";", packet-1)+one)))
		s.rows += packet
	}
	s.until = w.executed()
	defs, err := schema.Load(w.b.Context(), w.conn, "bench", []string{table})
	require.NoError(w.b, err)
	s.def = defs[0]
	return s
}

// cost is what a run took.
type cost struct {
	wall, cpu time.Duration
	rows      int
	bytes     int
	allocs    uint64
}

func (c cost) rate() float64    { return float64(c.rows) / c.wall.Seconds() }
func (c cost) cpuRate() float64 { return float64(c.rows) / c.cpu.Seconds() }

// best runs something three times and returns the least time of each kind: what disturbs a run makes it slower, never faster.
func (w *world) best(fn func() (rows, bytes int)) cost {
	least := w.once(fn)
	for range 2 {
		c := w.once(fn)
		least.wall, least.cpu, least.allocs = min(least.wall, c.wall), min(least.cpu, c.cpu), min(least.allocs, c.allocs)
	}
	return least
}

func (w *world) once(fn func() (rows, bytes int)) cost {
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, start := cpuTime(w.b), time.Now()
	rows, bytes := fn()
	c := cost{wall: time.Since(start), cpu: cpuTime(w.b) - cpu, rows: rows, bytes: bytes}
	runtime.ReadMemStats(&after)
	c.allocs = after.Mallocs - before.Mallocs
	return c
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// read reads the span and decodes the rows, if the table is followed.
func (w *world) read(s span, follow bool) (rows, bytes int) {
	r, err := binlog.Open(w.b.Context(), binlog.Config{DB: w.srv.Repl(), Position: s.from, Follow: func(_, table string) bool { return follow && table == s.table }})
	require.NoError(w.b, err)
	defer r.Close()
	decoders := map[*binlog.TableMap]*rowimage.Decoder{}
	count := func(_, after *rowimage.Image) error {
		rows++
		_, err := after.Row()
		return err
	}
	for position := s.from; !position.Contains(s.until); {
		ev, err := binlog.Next(w.b.Context(), r)
		if err != nil { // not require: it walks the stack, for each event
			w.b.Fatal(err)
		}
		tx, ok := ev.(*binlog.Transaction)
		if !ok {
			continue
		}
		for i := range tx.Rows {
			ev := &tx.Rows[i]
			d := decoders[ev.Table]
			if d == nil {
				m, err := rowimage.ParseTableMap(ev.Table.Body)
				require.NoError(w.b, err)
				d, err = m.Decoder(s.def)
				require.NoError(w.b, err)
				decoders[ev.Table] = d
			}
			if err := d.Walk(rowimage.EventWriteRows, ev.Body, count); err != nil {
				w.b.Fatal(err)
			}
			bytes += len(ev.Body)
		}
		if tx.Last {
			tx.Reach(&position)
		}
	}
	return rows, bytes
}

// goMySQL reads the span with go-mysql as its examples do.
func (w *world) goMySQL(s span) (rows, bytes int) {
	repl := w.srv.Repl()
	host, port, err := net.SplitHostPort(repl.Addr)
	require.NoError(w.b, err)
	n, err := strconv.ParseUint(port, 10, 16)
	require.NoError(w.b, err)
	syncer := replication.NewBinlogSyncer(replication.BinlogSyncerConfig{
		ServerID: 4_000_000_001, Flavor: mysql.MySQLFlavor, Host: host, Port: uint16(n), User: repl.User, Password: repl.Password,
		Logger: slog.New(slog.DiscardHandler),
	})
	defer syncer.Close()
	set, err := mysql.ParseMysqlGTIDSet(s.from.String())
	require.NoError(w.b, err)
	streamer, err := syncer.StartSyncGTID(set)
	require.NoError(w.b, err)
	for rows < s.rows {
		ev, err := streamer.GetEvent(w.b.Context())
		if err != nil {
			w.b.Fatal(err)
		}
		if e, ok := ev.Event.(*replication.RowsEvent); ok {
			rows += len(e.Rows)
			bytes += int(ev.Header.EventSize)
		}
	}
	return rows, bytes
}

func (w *world) compare(report *Report, name string, s span, floor float64) {
	ours := w.best(func() (int, int) { return w.read(s, true) })
	peer := w.best(func() (int, int) { return w.goMySQL(s) })
	require.Equal(w.b, s.rows, ours.rows)
	require.Equal(w.b, s.rows, peer.rows)
	report.Add(Figure{Case: name, Metric: "rows/s read and decoded", Ours: ours.rate(), Peer: "go-mysql", Value: peer.rate(), Floor: floor})
	report.Add(Figure{Case: name, Metric: "rows/s of CPU time", Ours: ours.cpuRate(), Peer: "go-mysql", Value: peer.cpuRate(), Floor: floor})
	report.Add(Figure{Case: name, Metric: "MB/s of row events, socket to cells", Ours: float64(ours.bytes) / 1e6 / ours.wall.Seconds()})
}

// decoder measures the decoding alone, of events that are in memory.
func (w *world) decoder(report *Report, s span) {
	var bodies [][]byte
	r, err := binlog.Open(w.b.Context(), binlog.Config{DB: w.srv.Repl(), Position: s.from, Follow: func(_, table string) bool { return table == s.table }})
	require.NoError(w.b, err)
	defer r.Close()
	var decoder *rowimage.Decoder
	size := 0
	for size < 32<<20 {
		ev, err := binlog.Next(w.b.Context(), r)
		require.NoError(w.b, err)
		if tx, ok := ev.(*binlog.Transaction); ok {
			for i := range tx.Rows {
				if decoder == nil {
					m, err := rowimage.ParseTableMap(tx.Rows[i].Table.Body)
					require.NoError(w.b, err)
					decoder, err = m.Decoder(s.def)
					require.NoError(w.b, err)
				}
				bodies = append(bodies, tx.Rows[i].Body)
				size += len(tx.Rows[i].Body)
			}
		}
	}
	run := func(each func(*rowimage.Image) error) cost {
		return w.best(func() (rows, bytes int) {
			fn := func(_, after *rowimage.Image) error {
				rows++
				return each(after)
			}
			for range 4 {
				for _, body := range bodies {
					if err := decoder.Walk(rowimage.EventWriteRows, body, fn); err != nil {
						w.b.Fatal(err)
					}
					bytes += len(body)
				}
			}
			return rows, bytes
		})
	}
	cells := run(func(im *rowimage.Image) error { _, err := im.Row(); return err })
	offsets := run(func(*rowimage.Image) error { return nil })
	report.Add(Figure{Case: "decoder alone", Metric: "MB/s of row events to cells", Ours: float64(cells.bytes) / 1e6 / cells.cpu.Seconds(), Floor: 200})
	report.Add(Figure{Case: "decoder alone", Metric: "MB/s of row events to offsets", Ours: float64(offsets.bytes) / 1e6 / offsets.cpu.Seconds(), Floor: 200})
	perRow := float64(cells.allocs) / float64(cells.rows)
	report.Add(Figure{Case: "decoder alone", Metric: "allocations per row", Ours: float64(int(perRow*100)) / 100, Most: 0.001})
}

func (w *world) unfollowed(report *Report, name string, s span, most float64) {
	followed := w.best(func() (int, int) { return w.read(s, true) })
	not := w.best(func() (int, int) { return w.read(s, false) })
	report.Add(Figure{Case: name, Metric: "CPU s, table not followed", Ours: not.cpu.Seconds(), Peer: "followed", Value: followed.cpu.Seconds(), Most: most})
}

// streams runs one stream of everything, and ten of a tenth each, on one Local.
func (w *world) streams(report *Report, s span, vindex string) {
	one := w.best(func() (int, int) { return w.follow(s, vindex, "-") })
	require.Equal(w.b, s.rows, one.rows)
	var tenths []string
	for i := range 10 {
		from, to := "", ""
		if i > 0 {
			from = fmt.Sprintf("%02x", i*256/10)
		}
		if i < 9 {
			to = fmt.Sprintf("%02x", (i+1)*256/10)
		}
		tenths = append(tenths, from+"-"+to)
	}
	ten := w.best(func() (int, int) { return w.follow(s, vindex, tenths...) })
	require.Equal(w.b, s.rows, ten.rows, "the tenths are the whole")
	report.Add(Figure{Case: "ten streams of a tenth by " + vindex, Metric: "CPU s", Ours: ten.cpu.Seconds(), Peer: "one stream", Value: one.cpu.Seconds(), Most: 2})
	report.Add(Figure{Case: "ten streams of a tenth by " + vindex, Metric: "dump connections", Ours: float64(ten.bytes), Most: 1})
}

// follow reads the span with a stream per key range; bytes are the most dump connections that the source had.
func (w *world) follow(s span, vindex string, ranges ...string) (rows, connections int) {
	for w.dumps(w.b.Context()) > 0 { // those of the runs before: the server notices their end when it writes to them
		select {
		case <-time.After(50 * time.Millisecond):
		case <-w.b.Context().Done():
			return 0, 0
		}
	}
	local := vstream.NewLocal(vstream.LocalConfig{DB: w.srv.Repl(), DBName: "bench"}, slog.New(slog.DiscardHandler))
	defer local.Close()
	counts := make(chan int, len(ranges))
	var streams []vstream.Stream
	for _, r := range ranges {
		rule := filter.Rule{Table: s.table, KeyRange: r, Vindex: vindex, VindexColumns: []string{"customer"}}
		if r == "-" {
			rule = filter.Rule{Table: s.table}
		}
		st, err := local.Open(w.b.Context(), vstream.Start{Position: s.from.String(), Rules: filter.Rules{Rules: []filter.Rule{rule}}})
		require.NoError(w.b, err)
		defer st.Close()
		streams = append(streams, st)
	}
	for _, st := range streams {
		go func() { counts <- drain(st, s.from, s.until) }()
	}
	stop := make(chan struct{})
	most := make(chan int, 1)
	go func() { most <- w.watchDumps(stop) }()
	for range streams {
		n := <-counts
		if n < 0 {
			w.b.Error("a stream ended")
		}
		rows += n
	}
	close(stop)
	return rows, <-most
}

func drain(st vstream.Stream, from, until gtid.Set) (rows int) {
	for position := from; !position.Contains(until); {
		items, err := st.Recv()
		if err != nil {
			return -1
		}
		for _, item := range items {
			switch item := item.(type) {
			case *vstream.Transaction:
				rows += len(item.Changes)
				if item.Last && item.Reach(&position) != nil {
					return -1
				}
			case *vstream.Heartbeat:
				set, err := gtid.Parse(item.Position)
				if err != nil {
					return -1
				}
				position = position.Union(set)
			}
		}
	}
	return rows
}

func (w *world) watchDumps(stop <-chan struct{}) (most int) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		most = max(most, w.dumps(context.Background()))
		select {
		case <-stop:
			return most
		case <-tick.C:
		}
	}
}

func (w *world) dumps(ctx context.Context) int {
	res, err := w.conn.Query(ctx, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'")
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(string(res.Rows[0][0]))
	if err != nil {
		return -1
	}
	return n
}
