// Package vstream is the ordered stream of one source: its transactions, as far as the rules follow them, and the chunks of tables that
// are being copied, each at the place where it belongs.
//
// # Model
//
//	binlog.Reader ──▶ decode, filter ──▶ Transaction ─┐
//	                       │ keys                     ├─▶ stream of Items ──▶ Recv, or gRPC
//	window request ──▶ open, read, close ──▶ Chunk ───┘
//
// A Source opens Streams. [Local] is the source of a mysqld that this process reaches, with one dump connection for all its streams
// (binlog.Hub); [NewRemote] is the same over gRPC, served by
// [Serve]. One conformance suite holds both to the contract of [Stream].
//
// Items: a [Table] describes a table before its first row; a [Transaction] has the changes of a source transaction; a [DDL] is a
// statement that changed followed tables; a [Chunk] is what one window copied; a [Split] has keys that cut a table into ranges; a [Heartbeat]
// tells a position, also that of transactions of which the stream carries nothing.
//
// A window copies one chunk: open, wait until all that was received is visible, SELECT, read the end of the log, and when
// the stream passes that end, put the rows into the stream, less those whose key has passed meanwhile. Any number is open at once. The
// algorithm is the pure machine in window.go; the order of its I/O is readChunk in chunk.go. The target asks for windows, so resuming and
// back-pressure are the target's.
//
//	stream A: windows ──┐ ask for a turn                       ┌─▶ closes at its own place
//	                    ├─▶ scans: one SELECT for both ──▶ rows┤
//	stream B: windows ──┘ open, tell what they have received   └─▶ closes at its own place
//
// Streams of one workflow that ask for the same rows share the SELECT (scan.go, pure); the sessions are in readers.go. A table without a
// key is read whole, under one read view (view.go). docs/decisions/014 has the reasons.
//
// # Invariants
//
//   - W1: at every point of the stream, the target's rows are a subset of the source's rows at that point.
//   - W2: a chunk is one item, to be committed together with its progress. After a cut, windows that were open are asked for
//     again; those whose chunk was committed are not.
//   - W3: nothing is locked on the source, nothing written, and no read view outlives one SELECT; except for tables without a key, as
//     the request says.
//   - A stream's GTIDs and heartbeats add up to positions from which another stream goes on without gap or repetition.
//   - Memory is bounded in bytes: the source's ring, the queue of a reader that is not on it, one batch, and per stream the keys that all its
//     windows remember (64 MiB) and the rows that wait for their place (96 MiB, or one chunk if that is larger).
//
// # Filtering
//
// Each image of a change is matched by itself. Both in the range: the change as it is. Only the old one: a delete. Only the new
// one: an insert. Neither: nothing.
//
// # Concurrency
//
// Recv runs the stream: it polls the reader, decodes, filters, and lets the windows do what can be done between two transactions. So a target
// that does not call Recv stops its stream, and the server's sending with it; its windows miss their turns, and the streams that share
// them go on. A stream has no goroutine of its own. A workflow has one for each read under way (LocalConfig.Readers of chunks; looks at the
// log's end, splits) and for each open read view. They talk to a stream through its inbox, which never blocks. Locks: Local before readers before inbox; none is held over
// I/O. The hub's reader has no goroutine, or one while it catches up. A Remote has none; Serve has one for the client's requests, and a timer that tells the
// client that the stream lives while Recv takes long.
//
// # Failure
//
// A cut connection to the source is mended by the hub, unseen; a session that reads chunks is replaced, and the read repeated. Every error
// ends the stream; the target opens another at its position. A definition that does not fit the binlog's images, and everything that
// package binlog refuses, ends it again and again until an operator has done what the message says.
package vstream
