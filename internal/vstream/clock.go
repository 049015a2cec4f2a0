package vstream

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"braid/internal/sqlconn"
)

// A stream tells all times by the clock of its own process, so that lag and delay are differences of one clock. A transaction's time is that of its
// commit on the source (immediate_commit_timestamp), also where another server has committed it before: that one's clock is nobody's here. The source's
// clock is asked when the stream begins, and again when it seems to have been set: a transaction is stamped earlier than one before it, or later than
// it was read, or long before, though it came when all had been read. Nothing counts as committed later than it was read here.

const (
	// clocksApart is the difference from which on clocks count as apart; what is less is the round trip of the question, and the drift that NTP leaves.
	clocksApart = 100 * time.Millisecond
	// clockSet is from which on a clock counts as set. Commits are stamped in the order of the log, but for what a thread may wait in between.
	clockSet = time.Second
	// askAgain is how often the clock is asked at most: the source, or the way from it, may be slow.
	askAgain = 30 * time.Second
)

// sourceClock turns times of the source into our own.
type sourceClock struct {
	now   func() time.Time
	ask   func(ctx context.Context, have time.Duration) (time.Duration, error) // compares again
	ahead time.Duration                                                        // by which the source's clock is ahead of ours
	read  int64                                                                // when something was read here, microseconds since 1970
	last  int64                                                                // the latest commit, by the source's clock
	asked time.Time
	idle  bool // all had been read when the next transaction came
}

// compareClocks asks the source what time it is, and returns how far its clock is ahead.
func compareClocks(ctx context.Context, conn *sqlconn.Conn, now func() time.Time) (ahead time.Duration, err error) {
	before := now()
	res, err := conn.Query(ctx, "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))")
	if err != nil {
		return 0, fmt.Errorf("the source's clock: %w", err)
	}
	took := now().Sub(before)
	us, err := strconv.ParseInt(string(res.Rows[0][0]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the source's clock: %w", err)
	}
	if apart := time.UnixMicro(us).Sub(before.Add(took / 2)); apart.Abs() >= max(clocksApart, took) {
		ahead = apart
	}
	return ahead, nil
}

// ours is when the source committed what was just read; 0 stays unknown.
func (c *sourceClock) ours(ctx context.Context, us int64) int64 {
	if us == 0 {
		return 0
	}
	at := us - c.ahead.Microseconds()
	if c.wrong(us, at) && c.again(ctx) {
		c.last, at = us, us-c.ahead.Microseconds()
	}
	c.last = max(c.last, us)
	return min(at, c.heard(at))
}

// wrong says that a clock seems to have been set since they were compared.
func (c *sourceClock) wrong(us, at int64) bool {
	set := clockSet.Microseconds()
	return us < c.last-set || at > c.heard(at)+set || c.idle && c.now().UnixMicro()-at > set
}

// heard is when something was read here: now, unless the commit was before that anyhow.
func (c *sourceClock) heard(at int64) int64 {
	if at > c.read {
		c.read = c.now().UnixMicro()
	}
	return c.read
}

// again compares the clocks, if that was not done a moment ago. A source that cannot be asked now is asked when something else looks wrong.
func (c *sourceClock) again(ctx context.Context) bool {
	if now := c.now(); now.Sub(c.asked).Abs() >= askAgain {
		c.asked = now
		ahead, err := c.ask(ctx, c.ahead)
		if err == nil {
			c.ahead = ahead
			return true
		}
	}
	return false
}
