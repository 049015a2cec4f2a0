// Package retry is the one place that waits between attempts: exponential, with full jitter, under a cap, until a context
// ends. Full jitter spreads a thousand clients of a restarted server evenly; a fixed pause brings them back together.
// (Exponential Backoff And Jitter, AWS Architecture Blog, 2015.)
//
//	err := retry.Do(ctx, retry.Default, func(ctx context.Context) error { … })
//
// or, where a loop has its own shape,
//
//	var b retry.Backoff
//	for b.Wait(ctx) { … b.Reset() on progress … }
package retry
