package vreplication

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"braid/internal/apply"
)

// The metrics of streams, labelled with workflow and stream (the id). Those of their appliers are in package apply.
var (
	metricLag       = prometheus.NewDesc("braid_stream_lag_seconds", "How far the target is behind the source; absent while that is unknown.", []string{"workflow", "stream"}, nil)
	metricContested = prometheus.NewDesc("braid_stream_contested_rows", "Rows of merged tables that wait for their place.", []string{"workflow", "stream"}, nil)
	metricRuns      = prometheus.NewDesc("braid_stream_running", "Whether the stream has a run under way.", []string{"workflow", "stream"}, nil)
	metricCopied    = prometheus.NewDesc("braid_copy_rows", "Rows of the tables that are being copied which are on the target; absent when nothing is copied.", []string{"workflow", "stream"}, nil)
	metricToCopy    = prometheus.NewDesc("braid_copy_rows_estimated", "Rows that these tables have, about.", []string{"workflow", "stream"}, nil)
	metricPaused    = prometheus.NewDesc("braid_copy_paused", "1 while the copy pauses; the label says why.", []string{"workflow", "stream", "reason"}, nil)
)

// Describe makes the engine a prometheus.Collector of its streams.
func (e *Engine) Describe(ch chan<- *prometheus.Desc) {
	ch <- metricLag
	ch <- metricContested
	ch <- metricRuns
	ch <- metricCopied
	ch <- metricToCopy
	ch <- metricPaused
	apply.Describe(ch)
}

// Collect sends what is known without asking the target.
func (e *Engine) Collect(ch chan<- prometheus.Metric) {
	for _, c := range e.all() {
		label := c.label.Load()
		if label == nil {
			continue // it was made just now
		}
		workflow, stream := *label, strconv.FormatInt(c.id, 10)
		send := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, workflow, stream)
		}
		if lag := c.lag(); lag >= 0 {
			send(metricLag, lag.Seconds())
		}
		if p := c.copying.Load(); p != nil {
			send(metricCopied, float64(p.Rows))
			send(metricToCopy, float64(p.Total))
			if p.Paused != "" {
				ch <- prometheus.MustNewConstMetric(metricPaused, prometheus.GaugeValue, 1, workflow, stream, pausedBy(p.Paused))
			}
		}
		send(metricContested, float64(max(0, c.contested.Load())))
		ap := c.applier.Load()
		if ap == nil {
			send(metricRuns, 0)
			continue
		}
		send(metricRuns, 1)
		s := ap.Status()
		s.Collect(ch, workflow, stream)
	}
}

// pausedBy is the first thing that a reason names, without its value: a label must not have one for each second.
func pausedBy(reason string) string {
	for _, behind := range []string{";", " is ", " cannot be read", ","} {
		reason, _, _ = strings.Cut(reason, behind)
	}
	return reason
}
