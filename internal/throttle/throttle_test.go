package throttle

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
)

var (
	history = Figure{"history list length", "source", Count, 1000}
	lag     = Figure{"replication lag", "replica of the target", Seconds, 2}
)

func TestPolicy(t *testing.T) {
	at := func(h, l float64) []Reading { return []Reading{{Figure: history, Value: h}, {Figure: lag, Value: l}} }
	var p Policy
	for _, step := range []struct {
		readings []Reading
		want     string
	}{
		{nil, ""},
		{at(1000, 2), ""},
		{at(1001, 0), "history list length of the source is 1001, the bound is 1000"},
		{at(950, 0), "history list length of the source is 950, the bound is 1000"},
		{at(900, 2.5), "replication lag of the replica of the target is 2.5s, the bound is 2s"},
		{at(950, 1.9), "replication lag of the replica of the target is 1.9s, the bound is 2s"},
		{at(1e9, 1.7), "history list length of the source is 1000000000, the bound is 1000"},
		{at(0, 0), ""},
		{at(math.NaN(), 0), "history list length of the source is NaN, the bound is 1000"},
		{[]Reading{{Figure: history, Err: errors.New("gone")}, {Figure: lag, Value: 3}},
			"history list length of the source cannot be read: gone; replication lag of the replica of the target is 3s, the bound is 2s"},
		{at(999, 1.9), "replication lag of the replica of the target is 1.9s, the bound is 2s"},
	} {
		require.Equal(t, step.want, p.Step(step.readings))
	}
}

// fake is a probe whose value a test sets.
type fake struct {
	value  chan float64
	closed bool
}

func (f *fake) Figure() Figure { return history }
func (f *fake) Close()         { f.closed = true }
func (f *fake) Read(ctx context.Context) (float64, error) {
	select {
	case v := <-f.value:
		return v, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{value: make(chan float64, 1)}
		th := Start(t.Context(), []Probe{f})
		require.Equal(t, "no figures have been read yet", th.Reason())
		f.value <- 1
		synctest.Wait()
		require.Empty(t, th.Reason())
		f.value <- 2000
		time.Sleep(period)
		synctest.Wait()
		require.Contains(t, th.Reason(), "2000")
		time.Sleep(period + patience + time.Millisecond) // the probe hangs
		synctest.Wait()
		require.Contains(t, th.Reason(), "cannot be read: context deadline exceeded")
		th.now = func() time.Time { return time.Now().Add(time.Minute) }
		require.Contains(t, th.Reason(), "no figures have been read for 1m")
		th.Stop()
		th.Stop()
		require.True(t, f.closed)
	})
	none := Start(t.Context(), nil)
	require.Empty(t, none.Reason())
	none.Stop()
}

func TestCommitLatencyIsOfTheLastPeriod(t *testing.T) {
	var p latencyProbe
	require.Zero(t, p.step(100, 5e12), "what was before is not known")
	require.InDelta(t, 0.25, p.step(104, 6e12), 1e-9)
	require.Zero(t, p.step(104, 6e12), "nothing committed")
	require.Zero(t, p.step(2, 1e12), "the server was started again")
	require.InDelta(t, 1, p.step(3, 2e12), 1e-9)
}

func TestProbes(t *testing.T) {
	server := mysqldtest.New(t, mysqldtest.Options{Options: []string{"performance-schema=ON"}})
	cfg := server.Root()
	read := func(p Probe) (float64, error) {
		defer p.Close()
		return p.Read(t.Context())
	}
	v, err := read(HistoryLength(cfg, "source", 1))
	require.NoError(t, err)
	require.GreaterOrEqual(t, v, 0.0)
	v, err = read(ThreadsRunning(cfg, "target", 1))
	require.NoError(t, err)
	require.GreaterOrEqual(t, v, 1.0)
	v, err = read(Query(cfg, "source", "SELECT 4.5", 1))
	require.NoError(t, err)
	require.Equal(t, 4.5, v)
	for _, sql := range []string{"SELECT NULL", "SELECT 'x'", "SELECT 1 FROM DUAL WHERE FALSE", "DO 1", "SELECT nothing"} {
		_, err = read(Query(cfg, "source", sql, 1))
		require.Error(t, err, sql)
	}
	_, err = read(ReplicaLag(cfg, "source", time.Second))
	require.ErrorContains(t, err, "it is no replica")
	mysqldtest.Exec(t, server, "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=1")
	_, err = read(ReplicaLag(cfg, "source", time.Second))
	require.ErrorContains(t, err, "replication does not run there")

	latency := CommitLatency(cfg, "target", time.Second)
	defer latency.Close()
	_, err = latency.Read(t.Context())
	require.NoError(t, err)
	mysqldtest.Exec(t, server, "CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)", "BEGIN", "INSERT INTO d.t VALUES (1)", "COMMIT")
	require.Eventually(t, func() bool { // the server counts a statement after it has answered
		v, err = latency.Read(t.Context())
		require.NoError(t, err)
		return v > 0
	}, 10*time.Second, 10*time.Millisecond)
	require.Less(t, v, 10.0)
}

// An account without the privilege must not stop a copy that nobody has bounded.
func TestUsable(t *testing.T) {
	server, _ := mysqldtest.Shared(t)
	wrong := server.Root()
	wrong.Password = "wrong"
	usable, why := Usable(t.Context(), []Probe{ThreadsRunning(server.Root(), "target", 1), HistoryLength(wrong, "source", 1), ReplicaLag(server.Root(), "source", 1)})
	require.Len(t, usable, 1)
	require.Len(t, why, 2)
	require.ErrorContains(t, why[0], "history list length of the source: ")
	require.EqualValues(t, 1045, sqlconn.ErrCode(why[0]))
	usable[0].Close()
}

func TestLimits(t *testing.T) {
	var none Limits
	require.NoError(t, none.Validate())
	require.Empty(t, none.Probes(sqlconn.Config{}, sqlconn.Config{}))
	all := Limits{SourceHistory: 1, CommitLatency: 2 * time.Second, Threads: 3, Replicas: []sqlconn.Config{{Addr: "db3:3306"}}, ReplicaLag: 4 * time.Second, Query: "SELECT 1", QueryMax: 5}
	require.NoError(t, all.Validate())
	var figures []Figure
	for _, p := range all.Probes(sqlconn.Config{Addr: "a"}, sqlconn.Config{Addr: "b"}) {
		figures = append(figures, p.Figure())
	}
	require.Equal(t, []Figure{
		{"history list length", "source", Count, 1}, {"replication lag", "replica db3:3306", Seconds, 4}, {"commit latency", "target", Seconds, 2},
		{"number of running threads", "target", Count, 3}, {"throttle query", "target", Count, 5},
	}, figures)
	bad := Limits{SourceHistory: -1, ReplicaLag: time.Second, QueryMax: 1}
	err := bad.Validate()
	for _, text := range []string{"negative", "belong together", "no query"} {
		require.ErrorContains(t, err, text)
	}
}
