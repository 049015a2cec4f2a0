package throttle

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"braid/internal/sqlconn"
)

// Limits are the bounds of a copy between two servers. What is zero is not looked at.
type Limits struct {
	SourceHistory int64         `json:"source_history,omitempty"`    // transactions whose old row versions the source has yet to purge
	CommitLatency time.Duration `json:"commit_latency_ns,omitempty"` // of the target
	Threads       int64         `json:"threads_running,omitempty"`   // on the target

	Replicas   []sqlconn.Config `json:"-"` // of either side; in a cluster they are the shards' tablets
	ReplicaLag time.Duration    `json:"replica_lag_ns,omitempty"`

	Query    string  `json:"query,omitempty"` // run on the target; its first cell is the figure
	QueryMax float64 `json:"query_max,omitempty"`
}

// Validate names everything that cannot be meant of a copy between two servers.
func (l *Limits) Validate() error {
	err := l.ValidateBounds()
	if (len(l.Replicas) > 0) != (l.ReplicaLag > 0) {
		err = errors.Join(err, errors.New("replicas to look at, and the lag that is too much, belong together"))
	}
	return err
}

// ValidateBounds leaves out who the replicas are.
func (l *Limits) ValidateBounds() error {
	var bad []error
	if l.SourceHistory < 0 || l.CommitLatency < 0 || l.Threads < 0 || l.ReplicaLag < 0 {
		bad = append(bad, errors.New("bounds of the copy must not be negative"))
	}
	if l.Query == "" && l.QueryMax != 0 {
		bad = append(bad, errors.New("a bound for a query, and no query"))
	}
	return errors.Join(bad...)
}

// Probes read the figures that have bounds.
func (l *Limits) Probes(source, target sqlconn.Config) []Probe {
	var probes []Probe
	if l.SourceHistory > 0 {
		probes = append(probes, HistoryLength(source, "source", l.SourceHistory))
	}
	for _, replica := range l.Replicas {
		probes = append(probes, ReplicaLag(replica, fmt.Sprintf("replica %s", replica.Addr), l.ReplicaLag))
	}
	return append(probes, l.OnTarget(target)...)
}

// OnTarget are the probes of the target itself.
func (l *Limits) OnTarget(target sqlconn.Config) []Probe {
	var probes []Probe
	if l.CommitLatency > 0 {
		probes = append(probes, CommitLatency(target, "target", l.CommitLatency))
	}
	if l.Threads > 0 {
		probes = append(probes, ThreadsRunning(target, "target", l.Threads))
	}
	if l.Query != "" {
		probes = append(probes, Query(target, "target", l.Query, l.QueryMax))
	}
	return probes
}

// None reports whether nothing is bounded.
func (l *Limits) None() bool {
	return len(l.Probes(sqlconn.Config{}, sqlconn.Config{})) == 0 && l.ReplicaLag == 0
}

// JSON is what Unmarshal reads.
func (l *Limits) JSON() []byte {
	raw, err := json.Marshal(l)
	if err != nil {
		panic(err) // it has no value that JSON does not, once it is validated
	}
	return raw
}
