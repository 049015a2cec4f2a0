package bench

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkApply measures how fast a recorded backlog is drained into a target: by `braid replicate`, and by the target as a native replica.
// Both read the source's binlog; the clock runs from the start of the process, or of the replica, until the last transaction is in.
// BENCH_ONLY takes the workloads whose names contain it, BENCH_RUN the runs of either side whose descriptions do. With
// BENCH_RECORD the backlogs are recorded, as the first run does otherwise, and nothing is measured.
func BenchmarkApply(b *testing.B) {
	h := newHost(b)
	defer h.keepLog()
	report := &Report{Name: "apply"}
	copies := make(map[base]string)
	for _, w := range workloads {
		if os.Getenv("BENCH_RECORD") != "" {
			h.backlog(w)
			continue
		}
		if only(w.name) {
			if h.ours() && copies[w.base] == "" {
				copies[w.base] = h.copied(w.base)
			}
			h.compare(report, w, copies[w.base])
		}
	}
	if os.Getenv("BENCH_RECORD") != "" {
		h.counted(four)
		return
	}
	if only("lag") {
		h.lag(report)
	}
	report.publish(b)
}

// publish prints the table and fails the benchmark when a figure is not reached.
func (r *Report) publish(b *testing.B) {
	require.NoError(b, r.Print(os.Stdout))
	require.NoError(b, r.Write("out"))
	if failed := r.Failed(); len(failed) > 0 {
		b.Errorf("%d figures are not reached", len(failed))
	}
}

// ours says whether our side is measured; BENCH_PEER_ONLY leaves it out.
func (h *host) ours() bool { return os.Getenv("BENCH_PEER_ONLY") == "" }

// compare runs both sides by turns and takes the best of each.
func (h *host) compare(report *Report, w workload, copied string) {
	src := h.serve(source, h.backlog(w))
	defer src.remove()
	preload := ""
	if w.slow {
		preload = h.slowFsync()
	}
	var peers, ours []outcome
	for _, workers := range w.workers {
		if (full() || workers != 1) && wanted(nativeRun(workers)) {
			peers = append(peers, h.show(w, h.native(w, src, preload, workers)))
		}
		for _, k := range variants(workers) {
			if h.ours() && wanted(k.String()) {
				ours = append(ours, h.show(w, h.drain(src, copied, preload, k)))
			}
		}
	}
	if len(peers) == 0 || h.ours() && len(ours) == 0 {
		return // nothing to compare with: somebody looks at single runs
	}
	peer := fastest(peers)
	if !h.ours() {
		report.Add(Figure{Case: w.name, Metric: "transactions/s (" + peer.config + ")", Ours: peer.rate(w)})
		return
	}
	best := fastest(ours)
	report.Add(Figure{Case: w.name, Metric: "transactions/s (" + best.config + ")", Ours: best.rate(w), Peer: peer.config, Value: peer.rate(w), Floor: w.floor})
	report.Add(Figure{Case: w.name, Metric: "CPU µs per transaction, target + source + braid", Ours: best.cost(w), Peer: "native replica", Value: peer.cost(w)})
	report.Add(Figure{Case: w.name, Metric: "CPU s of braid", Ours: best.ours.Seconds(), Peer: "the target's mysqld", Value: best.target.Seconds(), Most: 0.5})
	report.Add(Figure{Case: w.name, Metric: "RSS MB, peak of all runs", Ours: peakOf(ours), Most: 400})
	if w.serial {
		serial := h.show(w, h.drain(src, copied, preload, knobs{mode: "serial"}))
		report.Add(Figure{Case: w.name, Metric: "transactions/s", Ours: best.rate(w), Peer: "our own serial", Value: serial.rate(w), Floor: 1})
	}
}

// variants are the ways of ours that run with so many workers.
func variants(workers int) []knobs {
	ways := []knobs{{workers: workers, order: "relaxed"}}
	if workers == 4 || workers == 20 { // once for each workload: a run takes seconds, and there are many
		ways = append(ways, knobs{workers: workers, order: "preserve"})
	}
	return ways
}

func (o outcome) rate(w workload) float64 { return float64(w.size()) / o.wall.Seconds() }

// cost is the processor time of a transaction in microseconds.
func (o outcome) cost(w workload) float64 {
	return float64((o.target + o.source + o.ours).Microseconds()) / float64(w.size())
}

func fastest(runs []outcome) outcome {
	best := runs[0]
	for _, o := range runs[1:] {
		if o.wall < best.wall {
			best = o
		}
	}
	return best
}

func peakOf(runs []outcome) float64 {
	var most int64
	for _, o := range runs {
		most = max(most, o.rss)
	}
	return float64(most) / 1e6
}

// wanted says whether BENCH_RUN, a part of a description, leaves this run in.
func wanted(run string) bool { return strings.Contains(run, os.Getenv("BENCH_RUN")) }

// show says what a run has brought as soon as it has.
func (h *host) show(w workload, o outcome) outcome {
	fmt.Printf("%-42s %-44s %9.0f tx/s in %6.2fs; CPU s: target %.2f source %.2f braid %.2f; RSS %.0f MB\n", w.name, o.config,
		o.rate(w), o.wall.Seconds(), o.target.Seconds(), o.source.Seconds(), o.ours.Seconds(), float64(o.rss)/1e6)
	return o
}
