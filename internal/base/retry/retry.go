package retry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"braid/internal/base/timeouts"
)

// Policy is the pauses between attempts: at most Min before the second, twice that before the third, and so on up to Max.
// Attempts bounds how often; 0 is until the context ends.
type Policy struct {
	Min, Max time.Duration
	Attempts int
}

// Default is what connections between daemons use.
var Default = Policy{Min: timeouts.RetryMin, Max: timeouts.RetryMax}

// Pause returns a random pause before attempt n (0: the second attempt), in (0, min(Max, Min·2ⁿ)].
func (p Policy) Pause(n int) time.Duration {
	limit := p.Max
	if n < 40 && p.Min<<n < p.Max && p.Min<<n > 0 {
		limit = p.Min << n
	}
	if limit <= 0 {
		return 0
	}
	return 1 + rand.N(limit)
}

type permanent struct{ err error }

func (p permanent) Error() string { return p.err.Error() }
func (p permanent) Unwrap() error { return p.err }

// Permanent marks an error that another attempt cannot mend. Do returns it without the mark.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// Do calls fn until it returns nil or a Permanent error, the attempts are used up, or ctx has ended; then it returns fn's last
// error, with ctx's beside it if that was the reason.
func Do(ctx context.Context, p Policy, fn func(ctx context.Context) error) error {
	for n := 0; ; n++ {
		err := fn(ctx)
		if err == nil {
			return nil
		}
		var perm permanent
		if errors.As(err, &perm) {
			return perm.err
		}
		if p.Attempts > 0 && n+1 >= p.Attempts {
			return fmt.Errorf("%d attempts: %w", n+1, err)
		}
		if !sleep(ctx, p.Pause(n)) {
			return fmt.Errorf("%w (%w)", err, ctx.Err())
		}
	}
}

// Backoff is the pauses of a loop. The zero value uses Default. It is not for several goroutines.
type Backoff struct {
	Policy Policy
	n      int
}

// Wait pauses before every attempt but the first, and reports whether there is another: false when ctx has ended or the
// attempts are used up.
func (b *Backoff) Wait(ctx context.Context) bool {
	if b.Policy == (Policy{}) {
		b.Policy = Default
	}
	n := b.n
	b.n++
	if b.Policy.Attempts > 0 && n >= b.Policy.Attempts {
		return false
	}
	return ctx.Err() == nil && (n == 0 || sleep(ctx, b.Policy.Pause(n-1)))
}

// Reset makes the next pause the shortest again; call it when an attempt made progress.
func (b *Backoff) Reset() { b.n = min(b.n, 1) }

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}
