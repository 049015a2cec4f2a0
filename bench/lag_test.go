package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
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
		dir = h.counted(four)
	}
	src := h.serve(source, h.counted(four))
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

// counted is a base with a table of counters, one for each session that writes.
func (h *host) counted(b base) string {
	return h.prepared("counted-"+b.key(), func() string {
		s := h.serve(source, h.baseDir(b))
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

func (h *host) delays(src, dst *server) delays {
	load := h.write(src, four, lagWriters, lagRate)
	written, all := context.WithCancel(h.b.Context())
	defer all()
	var poller errgroup.Group
	var d delays
	poller.Go(func() (err error) {
		d, err = load.watch(written, dst, false)
		return err
	})
	select {
	case <-time.After(lagTime()):
	case <-h.b.Context().Done():
	}
	load.end()
	all()
	require.NoError(h.b, poller.Wait())
	slices.Sort(d)
	return d
}
