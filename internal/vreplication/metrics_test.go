package vreplication

import (
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// What a stream does shows in the metrics, and every one of them is listed in docs/metrics.md.
func TestMetrics(t *testing.T) {
	w := newWorld(t, nil, source1)
	src := w.sources["src/0"]
	for _, s := range []*side{src, w.target} {
		s.exec("CREATE TABLE item (id int PRIMARY KEY, v int NOT NULL)")
	}
	w.create(w.spec("src/0", rule("item")))
	w.await(Running)
	src.exec("INSERT INTO item VALUES (1,1)", "UPDATE item SET v=2")
	w.catchUp()
	found := gathered(t, w.engine)
	require.Positive(t, found["braid_apply_transactions_total"])
	require.Positive(t, found["braid_apply_worker_busy_seconds_total"])
	require.EqualValues(t, 1, found["braid_stream_running"])
	require.Zero(t, found["braid_apply_queue_transactions"])
	descs := make(chan *prometheus.Desc, 100)
	w.engine.Describe(descs)
	close(descs)
	doc, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	text := string(doc)
	for d := range descs {
		_, name, _ := strings.Cut(d.String(), `fqName: "`)
		name, _, _ = strings.Cut(name, `"`)
		require.Contains(t, text, "`"+name+"`")
	}
}

// gathered are the sums of an engine's metrics, by name, and with the label reason behind it where there is one.
func gathered(t *testing.T, e *Engine) map[string]float64 {
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(e))
	families, err := registry.Gather()
	require.NoError(t, err)
	found := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				if l.GetName() == "reason" {
					name += " " + l.GetValue()
				}
			}
			found[name] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return found
}
