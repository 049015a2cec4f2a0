package bench

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// BenchmarkCopy measures copying four tables from one server to an empty one: by `braid replicate`, and by what a user would take instead.
// BENCH_ONLY takes the parts whose names contain it: idle, busy, writers, split. With
// BENCH_RECORD the tables are filled, as the first run does otherwise, and nothing is measured.
func BenchmarkCopy(b *testing.B) {
	h := newHost(b)
	defer h.keepLog()
	c := &copying{host: h, report: &Report{Name: "copy"}, base: base{tables: 4, rows: 100_000, width: 170}}
	if full() {
		c.base.rows = 500_000
	}
	if os.Getenv("BENCH_RECORD") != "" {
		h.counted(c.base)
		return
	}
	for _, part := range []struct {
		name string
		run  func()
	}{{"idle", c.idle}, {"busy", c.busy}, {"writers", c.writers}, {"split", c.split}} {
		if only(part.name) {
			part.run()
		}
	}
	c.report.publish(b)
}

// copying is what the parts share.
type copying struct {
	*host
	report *Report
	base   base
	alone  float64 // rows/s of ours from an idle source
}

func (c *copying) rows() int { return c.base.tables * c.base.rows }

// copied is what one copy took.
type copied struct {
	wall, cpu time.Duration // cpu of the copying programs
	rss       int64         // of ours
}

func (c *copying) rate(o copied) float64 { return float64(c.rows()) / o.wall.Seconds() }

// show says what a run has brought as soon as it has.
func (c *copying) show(name, side string, o copied) copied {
	fmt.Printf("%-32s %-28s %9.0f rows/s in %6.2fs; CPU s: %.2f; RSS %.0f MB\n", name, side, c.rate(o), o.wall.Seconds(), o.cpu.Seconds(), float64(o.rss)/1e6)
	return o
}

// run copies with one side into an empty target and sees that both servers are equal, if nobody writes.
func (c *copying) run(name, side string, src *server, copy func(src, dst *server) copied, equal bool) copied {
	dst := c.serve(target, "")
	defer dst.remove()
	o := c.show(name, side, copy(src, dst))
	if equal {
		c.equal(src, dst, side)
	}
	return o
}

// byBraid copies with our process, which ends when it is caught up.
func (c *copying) byBraid(src, dst *server) copied {
	start := time.Now()
	p := c.replicate(src, dst, "--once")
	rss := WatchRSS(p.Pid())
	c.ended(p)
	return copied{wall: time.Since(start), cpu: p.CPU(), rss: rss.Peak()}
}

// idle compares all ways of copying from a source that nobody writes to.
func (c *copying) idle() {
	const name = "source idle"
	src := c.serve(source, c.baseDir(c.base))
	defer src.remove()
	src.warm()
	var ours copied
	better := func(o copied) {
		if ours.wall == 0 || o.wall < ours.wall {
			ours = o
		}
	}
	ourTurn := func() {
		if c.ours() {
			better(c.run(name, "braid", src, c.byBraid, true))
		}
	}
	ourTurn()
	dump := c.run(name, "mysqldump | mysql", src, c.byDump, true)
	ourTurn()
	my := c.run(name, "mydumper, myloader", src, c.byMydumper, true)
	chunks := c.chunks(src)
	load := c.run(name, "four loaders", src, chunks.load, true)
	chunks.forget()
	ourTurn()
	if !c.ours() {
		return
	}
	c.alone = c.rate(ours)
	const metric = "rows/s"
	c.report.Add(Figure{Case: name, Metric: metric, Ours: c.alone, Peer: "mysqldump --single-transaction | mysql", Value: c.rate(dump), Floor: 2.2})
	c.report.Add(Figure{Case: name, Metric: metric, Ours: c.alone, Peer: "mydumper, myloader --enable-binlog, 4 threads", Value: c.rate(my), Floor: 1})
	c.report.Add(Figure{Case: name, Metric: metric, Ours: c.alone, Peer: "four LOAD DATA from memory", Value: c.rate(load), Floor: 0.7})
	c.report.Add(Figure{Case: name, Metric: "CPU s of braid", Ours: ours.cpu.Seconds(), Peer: "mysqldump and mysql", Value: dump.cpu.Seconds()})
	c.report.Add(Figure{Case: name, Metric: "RSS MB, peak", Ours: float64(ours.rss) / 1e6, Most: 400})
}
