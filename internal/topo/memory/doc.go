// Package memory is a topology store inside the process, for tests and for programs that need none beyond themselves.
//
// # Model
//
// [New] makes a store; [Store.Client] makes another client of the same data, as a second process would be. Registrations, locks
// and terms belong to the client that took them. Time does not pass here: a lease ends when a test says so.
//
//   - [Store.SetDown] makes the store unreachable for all clients: operations fail with topo.ErrUnreachable, watches stall.
//   - [Store.Expire] ends the leases of one client, as a long cut of its network would: its locks and terms report their loss, its
//     registered keys vanish, and return when the store can be reached (at once, if it can).
//   - [Store.Kill] is the death of the client's process: its leases end, nothing of it returns.
//
// # Concurrency
//
// One mutex guards the data of all clients. A watch owns a goroutine; it ends with its context or with Close. A watch that
// is not read costs one copy of the changes that wait for it.
package memory
