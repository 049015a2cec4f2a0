package vstream

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"braid/internal/sqlconn"
)

// A stream tells all times by the clock of its own process, so that lag and delay are differences of one clock. The source's clock is asked when the
// stream begins. That is no proof: a clock may be set later, and a transaction may have been committed first on another server, by whose clock it
// is stamped. So nothing counts as committed later than it was read here.

// clocksApart is the difference from which on clocks count as apart; what is less is the round trip of the question, and the drift that NTP leaves.
const clocksApart = 100 * time.Millisecond

// sourceClock turns times of the source into our own.
type sourceClock struct {
	now   func() time.Time
	ahead time.Duration // by which the source's clock is ahead of ours
	read  int64         // when something was read here, microseconds since 1970
}

// compareClocks asks the source what time it is.
func compareClocks(ctx context.Context, conn *sqlconn.Conn, now func() time.Time) (sourceClock, error) {
	c := sourceClock{now: now}
	before := now()
	res, err := conn.Query(ctx, "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))")
	if err != nil {
		return c, fmt.Errorf("the source's clock: %w", err)
	}
	took := now().Sub(before)
	us, err := strconv.ParseInt(string(res.Rows[0][0]), 10, 64)
	if err != nil {
		return c, fmt.Errorf("the source's clock: %w", err)
	}
	if apart := time.UnixMicro(us).Sub(before.Add(took / 2)); apart.Abs() >= max(clocksApart, took) {
		c.ahead = apart
	}
	return c, nil
}

// ours is when the source committed what was just read; 0 stays unknown.
func (c *sourceClock) ours(us int64) int64 {
	if us == 0 {
		return 0
	}
	us -= c.ahead.Microseconds()
	if us > c.read {
		c.read = c.now().UnixMicro()
	}
	return min(us, c.read)
}
