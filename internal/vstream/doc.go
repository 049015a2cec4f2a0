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
// statement that changed followed tables; a [Chunk] is what one window copied; a [Heartbeat] tells a position, also that
// of transactions of which the stream carries nothing.
//
// A window (DESIGN 5.2) copies one chunk: open, wait until all that was received is visible, SELECT, read the end of the log, and when
// the stream passes that end, put the rows into the stream, less those whose key has passed meanwhile. The algorithm is the pure
// machine in window.go; the order of its I/O is readChunk in chunk.go. The target asks for windows, so resuming and
// back-pressure are the target's.
//
// # Invariants
//
//   - W1: at every point of the stream, the target's rows are a subset of the source's rows at that point.
//   - W2: a chunk is one item, to be committed together with its progress. After a cut, windows that were open are asked for
//     again; those whose chunk was committed are not.
//   - W3: nothing is locked on the source, nothing written, and no read view outlives one SELECT.
//   - A stream's GTIDs and heartbeats add up to positions from which another stream goes on without gap or repetition.
//   - Memory is bounded in bytes: the source's ring, the queue of a reader that is not on it, one batch, the keys of one window, one chunk.
//
// # Filtering
//
// Each image of a change is matched by itself. Both in the range: the change as it is. Only the old one: a delete. Only the new
// one: an insert. Neither: nothing.
//
// # Concurrency
//
// Recv runs the stream: it polls the reader, decodes, filters, and lets the windows do what can be done between two transactions. So a target
// that does not call Recv stops its stream, and the server's sending with it. Windows have one goroutine for their I/O, which
// starts with the first request. The hub's reader has none, or one while it catches up. A Remote has none; Serve has one for the client's requests.
//
// # Failure
//
// A cut connection to the source is mended by the hub, unseen. Every error ends the stream; the target opens another at its position. A definition that does not fit the binlog's images, and
// everything that package binlog refuses, ends it again and again until an operator has done what the message says.
package vstream
