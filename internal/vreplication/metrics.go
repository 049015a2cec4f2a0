package vreplication

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"braid/internal/apply"
)

// The metrics of streams, labelled with workflow and stream (the id). Those of their appliers are in package apply.
var (
	metricLag       = prometheus.NewDesc("braid_stream_lag_seconds", "How far the target is behind the source; absent while that is unknown.", []string{"workflow", "stream"}, nil)
	metricContested = prometheus.NewDesc("braid_stream_contested_rows", "Rows of merged tables that wait for their place.", []string{"workflow", "stream"}, nil)
	metricRuns      = prometheus.NewDesc("braid_stream_running", "Whether the stream has a run under way.", []string{"workflow", "stream"}, nil)
)

// Describe makes the engine a prometheus.Collector of its streams.
func (e *Engine) Describe(ch chan<- *prometheus.Desc) {
	ch <- metricLag
	ch <- metricContested
	ch <- metricRuns
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
