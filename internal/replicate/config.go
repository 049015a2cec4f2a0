package replicate

import (
	"errors"
	"fmt"
	"time"

	"braid/internal/apply"
	"braid/internal/base/errs"
	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/sqlconn"
	"braid/internal/throttle"
	"braid/internal/vreplication"
	"braid/internal/writeset"
)

// Config is one replication.
type Config struct {
	Name           string // of the stream on the target; empty: DefaultName
	Source, Target sqlconn.Config
	Selection      Selection

	Workers     int // sessions that apply; 0: the applier's default
	Parallel    writeset.Mode
	CommitOrder apply.Order
	MaxTPS      int64         // 0: no bound
	MaxLag      time.Duration // from which the copy pauses, and the stream counts as lagging; 0: timeouts.MaxLag
	Delay       time.Duration // from the source's commit
	OnDDL       vreplication.DDLPolicy

	StopAt gtid.Set // stop exactly behind it; empty: never
	Once   bool     // stop when everything is applied that the source had when the copy was complete
	Skip   gtid.Set // transactions not to apply

	WithoutKey    vreplication.WithoutKey // tables that have none
	AllowNonEmpty bool                    // copy into tables that have rows
	Throttle      throttle.Limits         // of the copy
	CopyReaders   int                     // sessions of the source that read tables; 0: the default
}

// DefaultName is the name of a stream that was given none.
const DefaultName = "replicate"

// Validate names every bad field, and returns the rules of the selection.
func (c *Config) Validate() (filter.Rules, error) {
	var bad []error
	if c.Name == "" {
		c.Name = DefaultName
	}
	if len(c.Name) > 64 {
		bad = append(bad, fmt.Errorf("--name has %d bytes, 64 are the most", len(c.Name)))
	}
	if c.Source.Addr == "" {
		bad = append(bad, errors.New("--source is missing"))
	}
	if c.Target.Addr == "" {
		bad = append(bad, errors.New("--target is missing"))
	}
	if c.Workers < 0 || c.Workers > maxWorkers {
		bad = append(bad, fmt.Errorf("--workers %d: from 1 to %d, or 0 for the default", c.Workers, maxWorkers))
	}
	if c.CopyReaders < 0 || c.CopyReaders > vreplication.MaxCopyReaders {
		bad = append(bad, fmt.Errorf("--copy-readers %d: from 1 to %d, or 0 for the default", c.CopyReaders, vreplication.MaxCopyReaders))
	}
	if c.MaxTPS < 0 {
		bad = append(bad, fmt.Errorf("--max-tps %d is negative", c.MaxTPS))
	}
	if c.Delay < 0 {
		bad = append(bad, fmt.Errorf("--delay %s is negative", c.Delay))
	}
	if c.MaxLag < 0 || c.MaxLag%time.Second != 0 {
		bad = append(bad, fmt.Errorf("--max-replication-lag %s: whole seconds, or 0 for the default", c.MaxLag))
	}
	if c.Once && !c.StopAt.Empty() {
		bad = append(bad, errors.New("--once and --stop-at exclude each other"))
	}
	if err := c.Throttle.Validate(); err != nil {
		bad = append(bad, err)
	}
	rules, err := c.Selection.Rules()
	if err != nil {
		bad = append(bad, err)
	}
	if len(bad) > 0 {
		return rules, errs.New(errs.BadInput, errors.Join(bad...), "replication")
	}
	return rules, nil
}

// maxWorkers is far above where more help: each is a session of the target.
const maxWorkers = 1024
