// Package errs is the catalogue of errors that cross a boundary: command line, RPC, MySQL protocol. Each has a code that
// never changes meaning, the MySQL errno and SQLSTATE that a client of the gate sees, a gRPC code, what usually causes it,
// what to do, and whether the same call may be made again.
//
// # Model
//
// A [Def] is an entry of the catalogue; it is itself an error, so that packages wrap it and callers match it:
//
//	return fmt.Errorf("read keyspaces/commerce: %w", errs.NotFound)
//	if errors.Is(err, errs.NotFound) { … }
//
// An [Error] is one occurrence: the entry, what happened in this case, and the error underneath.
//
//	return errs.New(errs.LagTooHigh, err, "stream %d of shard %s is %s behind", id, shard, lag)
//
// [Of] finds the entry of any error (Internal when it has none), [ToGRPC] and [FromGRPC] carry it over the wire, [Render]
// and [JSON] show it to people and programs, [ExitCode] is the exit code of the command.
//
// # Invariants
//
// A write whose answer was lost is [OutcomeUnknown], wherever in the chain: RetryOf says so, and nobody repeats it blindly.
package errs
