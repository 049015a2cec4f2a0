package log_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/base/log"
)

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	log.New(&b, log.Auto).With("tablet", "zone1-100").Info("stream started", "stream_id", 7, "after", 1500*time.Millisecond)
	var line map[string]any
	require.NoError(t, json.Unmarshal(b.Bytes(), &line), "what is no terminal gets JSON")
	at, err := time.Parse(time.RFC3339Nano, line["time"].(string))
	require.NoError(t, err)
	require.Equal(t, time.UTC, at.Location())
	delete(line, "time")
	require.Equal(t, map[string]any{"level": "INFO", "msg": "stream started", "tablet": "zone1-100", "stream_id": 7.0, "after": "1.5s"}, line)
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	log.New(&b, log.Text).Warn("lagging", "lag", 2*time.Second)
	require.Regexp(t, `^time=\d\d:\d\d:\d\d\.\d{3} level=WARN msg=lagging lag=2s\n$`, b.String())
}

func TestLevel(t *testing.T) {
	var b bytes.Buffer
	l := log.New(&b, log.Text)
	l.Debug("not yet")
	require.NoError(t, log.SetLevel("debug"))
	defer func() { require.NoError(t, log.SetLevel("info")) }()
	l.Debug("now")
	require.NotContains(t, b.String(), "not yet")
	require.Contains(t, b.String(), "now")
	require.Error(t, log.SetLevel("loud"))
	log.Discard().Error("nowhere")
}
