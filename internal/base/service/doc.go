// Package service is the life of everything that runs goroutines: daemons, engines, caches.
//
// # Model
//
// A [Service] is started once and stopped once or more. A [Group] is what implementations are built on: it owns the
// goroutines of one service, gives them a context that ends with it, and waits for them.
//
//	type Cache struct{ group service.Group; … }
//
//	func (c *Cache) Start(ctx context.Context) error {
//		if err := c.group.Start(ctx); err != nil {
//			return err
//		}
//		c.group.Go("watch", c.watch)
//		return nil
//	}
//	func (c *Cache) Stop() { c.group.Stop() }
//
// # Concurrency
//
// The context given to Start is the life of the service: when it ends, the goroutines are asked to end, as by Stop. Stop
// waits until they have. The first goroutine that returns an error ends the others; Err tells it.
//
// # Failure
//
// A panic in a goroutine is a broken invariant and ends the process.
package service
