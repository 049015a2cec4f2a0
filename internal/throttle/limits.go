package throttle

import (
	"errors"
	"fmt"
	"time"

	"braid/internal/sqlconn"
)

// Limits are the bounds of a copy between two servers. What is zero is not looked at.
type Limits struct {
	SourceHistory int64         // transactions whose old row versions the source has yet to purge
	CommitLatency time.Duration // of the target
	Threads       int64         // that run on the target

	Replicas   []sqlconn.Config // of either side
	ReplicaLag time.Duration

	Query    string // run on the target; its first cell is the figure
	QueryMax float64
}

// Validate names everything that cannot be meant.
func (l *Limits) Validate() error {
	var bad []error
	if l.SourceHistory < 0 || l.CommitLatency < 0 || l.Threads < 0 || l.ReplicaLag < 0 {
		bad = append(bad, errors.New("bounds of the copy must not be negative"))
	}
	if (len(l.Replicas) > 0) != (l.ReplicaLag > 0) {
		bad = append(bad, errors.New("replicas to look at, and the lag that is too much, belong together"))
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
	if l.CommitLatency > 0 {
		probes = append(probes, CommitLatency(target, "target", l.CommitLatency))
	}
	if l.Threads > 0 {
		probes = append(probes, ThreadsRunning(target, "target", l.Threads))
	}
	for _, replica := range l.Replicas {
		probes = append(probes, ReplicaLag(replica, fmt.Sprintf("replica %s", replica.Addr), l.ReplicaLag))
	}
	if l.Query != "" {
		probes = append(probes, Query(target, "target", l.Query, l.QueryMax))
	}
	return probes
}
