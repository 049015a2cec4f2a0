package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// busy copies while the source takes 500 transactions/s on the same tables.
func (c *copying) busy() {
	if !c.ours() {
		return
	}
	const name = "source takes 500 transactions/s"
	if c.alone == 0 {
		c.idle()
	}
	src := c.serve(source, c.counted(c.base))
	defer src.remove()
	src.warm()
	dst := c.serve(target, "")
	defer dst.remove()
	load := c.write(src, c.base, lagWriters, lagRate)
	var watcher errgroup.Group
	copying, end := context.WithCancel(c.b.Context())
	defer end()
	var d delays
	watcher.Go(func() (err error) {
		d, err = load.watch(copying, dst, true)
		return err
	})
	o := c.show(name, "braid", c.byBraid(src, dst))
	end()
	require.NoError(c.b, watcher.Wait())
	load.end()
	c.ended(c.replicate(src, dst, "--once"))
	c.equal(src, dst, name)
	slices.Sort(d)
	require.NotEmpty(c.b, d)
	fmt.Printf("%-32s lag: p50 %.1f ms, p99 %.1f ms, most %.1f ms of %d transactions\n", name, d.at(0.5), d.at(0.99), d.at(1), len(d))
	c.report.Add(Figure{Case: name, Metric: "rows/s", Ours: c.rate(o), Peer: "ours, source idle", Value: c.alone, Floor: 0.6})
	c.report.Add(Figure{Case: name, Metric: "ms, the most that a transaction is late", Ours: d.at(1), Most: 2000})
	c.report.Add(Figure{Case: name, Metric: "RSS MB, peak", Ours: float64(o.rss) / 1e6, Most: 400})
}

// contended is a copy beside two sessions that write as fast as they can.
type contended struct {
	copied
	kept float64 // what they keep of their rate, 1 is all
}

// writers copies while two sessions write to the source at full speed.
func (c *copying) writers() {
	const name = "two writers at full speed"
	dump := c.contend(name, "mysqldump | mysql", c.byDump, false)
	if !c.ours() {
		return
	}
	ours := c.contend(name, "braid", c.byBraid, true)
	c.report.Add(Figure{Case: name, Metric: "share of their rate that they keep", Ours: ours.kept, Floor: 0.6})
	c.report.Add(Figure{Case: name, Metric: "the same, beside mysqldump | mysql", Ours: dump.kept})
	c.report.Add(Figure{Case: name, Metric: "rows/s", Ours: c.rate(ours.copied), Peer: "mysqldump --single-transaction | mysql", Value: c.rate(dump.copied), Floor: 1.5})
	c.report.Add(Figure{Case: name, Metric: "RSS MB, peak", Ours: float64(ours.rss) / 1e6, Most: 400})
}

func (c *copying) contend(name, side string, copy func(src, dst *server) copied, follows bool) contended {
	src := c.serve(source, c.counted(c.base))
	defer src.remove()
	src.warm()
	dst := c.serve(target, "")
	defer dst.remove()
	load := c.write(src, c.base, 2, 0)
	c.pause(time.Second) // until they are at speed
	alone := load.rateOver(func() { c.pause(4 * time.Second) })
	var o contended
	beside := load.rateOver(func() { o.copied = copy(src, dst) })
	load.end()
	o.kept = beside / alone
	c.show(name, side, o.copied)
	fmt.Printf("%-32s %-28s writers: %.0f transactions/s alone, %.0f beside\n", name, side, alone, beside)
	if follows {
		c.ended(c.replicate(src, dst, "--once"))
		c.equal(src, dst, name)
	}
	return o
}

func (c *copying) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.b.Context().Done():
	}
}

// rateOver is how many transactions a second are committed while fn runs.
func (l *load) rateOver(fn func()) float64 {
	before, start := l.count(), time.Now()
	fn()
	return float64(l.count()-before) / time.Since(start).Seconds()
}
