package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"braid/internal/sqlconn"
)

// A source that is not saturated: some sessions, each at an even pace, 500 transactions a second together.
const (
	lagWriters = 4
	lagRate    = 500
)

func lagTime() time.Duration {
	if full() {
		return 20 * time.Second
	}
	return 5 * time.Second
}

// lag measures the time from a commit on the source to its rows on the target. Each transaction is one of the mix, and raises a counter of
// its session; a poller on the target sees the counters move.
func (h *host) lag(report *Report) {
	peer := h.lagRun("native", func(src, dst *server) func() {
		dst.follow(src, 4)
		dst.exec("START REPLICA")
		return func() { dst.exec("STOP REPLICA") }
	})
	name := fmt.Sprintf("lag at %d transactions/s", lagRate)
	if !h.ours() {
		report.Add(Figure{Case: name, Metric: "ms, p50, native replica", Ours: peer.at(0.5)})
		return
	}
	ours := h.lagRun("braid", func(src, dst *server) func() {
		return h.replicate(src, dst).Kill
	})
	report.Add(Figure{Case: name, Metric: "ms from commit to visible, p50", Ours: ours.at(0.5), Most: 5})
	report.Add(Figure{Case: name, Metric: "ms from commit to visible, p99", Ours: ours.at(0.99), Most: 25})
	report.Add(Figure{Case: name, Metric: "ms, p50, native replica, 4 workers", Ours: peer.at(0.5)})
	report.Add(Figure{Case: name, Metric: "ms, p99, native replica, 4 workers", Ours: peer.at(0.99)})
}

// delays are in milliseconds, sorted.
type delays []float64

func (d delays) at(share float64) float64 { return d[int(share*float64(len(d)-1))] }

// lagRun lets the writers write while start's replication runs, and returns the delay of every transaction.
func (h *host) lagRun(side string, start func(src, dst *server) (stop func())) delays {
	dir := ""
	if side == "native" {
		dir = h.counted()
	}
	src := h.serve(source, h.counted())
	defer src.remove()
	dst := h.serve(target, dir)
	defer dst.remove()
	src.warm()
	stop := start(src, dst)
	h.sameSums(src, dst)
	d := h.delays(src, dst)
	h.sameSums(src, dst)
	stop()
	fmt.Printf("%-42s %-7s p50 %.1f ms, p99 %.1f ms, most %.1f ms of %d transactions\n", "lag", side, d.at(0.5), d.at(0.99), d.at(1), len(d))
	return d
}

// counted is a base with a table of counters.
func (h *host) counted() string {
	return h.prepared("counted-"+four.key(), func() string {
		s := h.serve(source, h.baseDir(four))
		s.exec("USE "+database, "CREATE TABLE beat (id BIGINT NOT NULL PRIMARY KEY, k INT NOT NULL, c VARCHAR(10) NOT NULL, n BIGINT NOT NULL, KEY k (k))")
		for w := range lagWriters {
			s.exec(fmt.Sprintf("INSERT INTO beat VALUES (%d, 0, 'x', 0)", w))
		}
		return s.stop()
	})
}

// sameSums waits until the target has everything that the source has.
func (h *host) sameSums(src, dst *server) {
	want := src.sums()
	require.Eventually(h.b, func() bool {
		var have int
		for table := range want {
			res, err := dst.conn.Query(h.b.Context(), "CHECKSUM TABLE "+database+"."+table)
			if err == nil && string(res.Rows[0][1]) == want[table] {
				have++
			}
		}
		return have == len(want)
	}, 2*time.Minute, 200*time.Millisecond, "both sides are equal")
}

// commits has the moments when transactions were committed: of each writer, one after the other.
type commits struct {
	sync.Mutex
	of [lagWriters][]time.Time
}

func (h *host) delays(src, dst *server) delays {
	var done commits
	writing, stop := context.WithTimeout(h.b.Context(), lagTime())
	defer stop()
	var writers, poller errgroup.Group
	for w := range lagWriters {
		writers.Go(func() error { return done.write(writing, src, w) })
	}
	written, all := context.WithCancel(h.b.Context())
	defer all()
	var d delays
	poller.Go(func() (err error) {
		d, err = done.watch(h.b.Context(), written, dst)
		return err
	})
	require.NoError(h.b, writers.Wait())
	all()
	require.NoError(h.b, poller.Wait())
	slices.Sort(d)
	return d
}

// write commits at an even pace until ctx ends.
func (c *commits) write(ctx context.Context, src *server, writer int) error {
	conn, err := sqlconn.Dial(context.WithoutCancel(ctx), src.Root().WithDB(database))
	if err != nil {
		return err
	}
	defer conn.Close()
	r := rand.New(rand.NewPCG(uint64(writer), uint64(os.Getpid())))
	tick := time.NewTicker(time.Second * lagWriters / lagRate)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		sql := fmt.Sprintf("BEGIN; UPDATE beat SET n = n + 1 WHERE id = %d; %s", writer, mix(r, four)[len("BEGIN; "):])
		if err := commit(context.WithoutCancel(ctx), conn, sql); err != nil {
			return err
		}
		c.Lock()
		c.of[writer] = append(c.of[writer], time.Now())
		c.Unlock()
	}
}

// watch reads the counters each millisecond, until all that was written is seen.
func (c *commits) watch(ctx, written context.Context, dst *server) (delays, error) {
	conn, err := sqlconn.Dial(ctx, dst.Root().WithDB(database))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var d delays
	var seen [lagWriters]int
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		res, err := conn.Query(ctx, "SELECT id, n FROM beat")
		if err != nil {
			return nil, err
		}
		now := time.Now()
		if c.see(res.Rows, now, &seen, &d) && written.Err() != nil {
			return d, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// see takes what the poller read at a moment; it says whether that was everything that is committed so far.
func (c *commits) see(rows [][][]byte, now time.Time, seen *[lagWriters]int, d *delays) bool {
	c.Lock()
	defer c.Unlock()
	all := true
	for _, row := range rows {
		var writer, n int
		if _, err := fmt.Sscan(string(row[0])+" "+string(row[1]), &writer, &n); err != nil {
			return false
		}
		for ; seen[writer] < min(n, len(c.of[writer])); seen[writer]++ { // a commit may be on the target before its writer has the answer
			*d = append(*d, max(0, float64(now.Sub(c.of[writer][seen[writer]]).Microseconds())/1000))
		}
		all = all && seen[writer] == len(c.of[writer])
	}
	return all
}
