package apply

import "github.com/prometheus/client_golang/prometheus"

// The metrics of an applier. Its labels are those of its stream: workflow and stream. Counters begin again with each run of the stream.
var (
	metricTransactions = metric("transactions_total", "Source transactions that are committed.")
	metricGroups       = metric("groups_total", "Commits on the target: groups of transactions, and chunks.")
	metricRepeats      = metric("repeats_total", "Groups that were sent again after a deadlock or a lock wait.")
	metricVictims      = metric("victims_total", "Groups that gave way to an earlier one which waited for one of their locks.")
	metricSplits       = metric("splits_total", "Groups that failed, and did not when their transactions were applied one by one: a dependency was missed.")
	metricUnchecked    = metric("unchecked_total", "Transactions that only foreign keys refused, written without the check.")
	metricBusy         = metric("worker_busy_seconds_total", "Time for which workers had a group, by lane.", "lane")
	metricWait         = metric("worker_wait_seconds_total", "Part of it for which they waited: for their turn, or for what their group follows; by lane.", "lane")
	metricQueued       = metric("queue_transactions", "Transactions and chunks that were received and are not committed.")
	metricQueueBytes   = metric("queue_bytes", "Memory that they hold, about.")
	metricWorkers      = metric("workers", "Sessions that there may be.")
	metricLanes        = metric("lanes", "Sessions that there are.")
	metricLWM          = metric("low_water_mark", "Local sequence up to which everything is committed.")
)

func metric(name, help string, more ...string) *prometheus.Desc {
	return prometheus.NewDesc("braid_apply_"+name, help, append([]string{"workflow", "stream"}, more...), nil)
}

// Describe sends the descriptions of all metrics (prometheus.Collector).
func Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		metricTransactions, metricGroups, metricRepeats, metricVictims, metricUnchecked, metricSplits, metricBusy, metricWait, metricQueued,
		metricQueueBytes, metricWorkers, metricLanes, metricLWM,
	} {
		ch <- d
	}
}

// Collect sends the metrics of a stream's applier.
func (s *Status) Collect(ch chan<- prometheus.Metric, workflow, stream string) {
	send := func(d *prometheus.Desc, t prometheus.ValueType, v float64, more ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, v, append([]string{workflow, stream}, more...)...)
	}
	send(metricTransactions, prometheus.CounterValue, float64(s.Transactions))
	send(metricGroups, prometheus.CounterValue, float64(s.Groups))
	send(metricRepeats, prometheus.CounterValue, float64(s.Repeats))
	send(metricVictims, prometheus.CounterValue, float64(s.Victims))
	send(metricUnchecked, prometheus.CounterValue, float64(s.Unchecked))
	send(metricSplits, prometheus.CounterValue, float64(s.Splits))
	send(metricQueued, prometheus.GaugeValue, float64(s.Queued))
	send(metricQueueBytes, prometheus.GaugeValue, float64(s.QueueBytes))
	send(metricWorkers, prometheus.GaugeValue, float64(s.Workers))
	send(metricLanes, prometheus.GaugeValue, float64(len(s.Lanes)))
	send(metricLWM, prometheus.GaugeValue, float64(s.LWM))
	for i := range s.Lanes {
		l := &s.Lanes[i]
		send(metricBusy, prometheus.CounterValue, l.Busy.Seconds(), l.name())
		send(metricWait, prometheus.CounterValue, l.Waited.Seconds(), l.name())
	}
}
