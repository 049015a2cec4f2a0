package vstream

import (
	"context"
	"fmt"

	"braid/internal/filter"
	"braid/internal/rowimage"
)

// Source opens streams of one mysqld.
type Source interface {
	// Open starts a stream. ctx governs its whole life: when it ends, Recv returns its error.
	Open(ctx context.Context, start Start) (Stream, error)
}

// Start says where a stream begins and what it carries.
type Start struct {
	Position string // GTID set; the stream goes on after it. A source that does not have it yet is waited for, for a moment
	FromNow  bool   // begin at what the source has executed now, which has Position; the first Heartbeat tells
	Rules    filter.Rules
	// Workflow names the streams that share the reading of chunks, where they read the same source; empty: with none. Also for logs.
	Workflow string
	Copies   bool // with FromNow: the tables that the rules name are to be copied, so they must be there
	Readers  int  // sessions that read chunks for the streams of the workflow, as its first one says; 0: 4
}

// Stream is one ordered stream. One goroutine calls Recv; OpenWindow, Split and Close may be called by others at any time.
type Stream interface {
	// Recv returns the next items, at least one. An error is final.
	Recv() ([]Item, error)
	// OpenWindow asks for a chunk, which arrives in the stream as a Chunk with the request's ID. Any number may be under way, in one table
	// and in many; their chunks come in any order. It does not wait. Ask for a few more than there are readers; the streams of one
	// workflow should ask in the same order, so that they share what is read.
	OpenWindow(WindowRequest) error
	// Split asks for keys that cut a table into ranges of about the same size. The answer is an item Split with the request's ID. It
	// does not wait.
	Split(SplitRequest) error
	// Close ends the stream and waits for what it runs. It may be called more than once.
	Close() error
}

// WindowRequest asks for the copy of one chunk of a table.
type WindowRequest struct {
	ID    uint64
	Table string       // name on the source, as Rules.Name has it
	After rowimage.Row // key of the row before the chunk; nil: from the beginning
	Until rowimage.Row // key that no row of the chunk is behind; nil: to the end
	// Order is schema.Table.KeyOrder of the definition whose keys After and Until are; empty: not known. If the table's is another
	// one, the Chunk says so and has no rows.
	Order string
	// Keys asks for exactly these keys instead of a range.
	Keys []rowimage.Row
	// Whole asks for all rows of a table that has no key.
	Whole Whole

	MaxRows        int   // 0: no bound
	MaxBytes       int64 // 0: 16 MiB. A bound on row bytes; one row is always read, and the last one may exceed it
	IncludeTouched bool  // list the touched keys in the Chunk
}

// Whole is how a table without a key is read: under one read view, which lasts until the target has taken all rows, in Chunks that
// follow each other with nothing in between. The first of them says so: it replaces all that the target has of the table, so changes
// that came before it need not be applied, and a copy that was cut off is asked for again from the beginning.
type Whole uint8

const (
	// WholeUnlocked opens the read view again and again until nothing was written to the table meanwhile, which takes milliseconds on a table
	// that is not written all the time. On one that is, the stream ends with an error.
	WholeUnlocked Whole = iota + 1
	// WholeLocked does so twice, then locks the table against writes while it opens the view: a few milliseconds, and the time that
	// transactions which have written to it need to end, up to timeouts.SnapshotLock.
	WholeLocked
)

// table is the name under which the table's keys are remembered.
func (r *WindowRequest) table() string { return r.Table }

// check refuses what cannot be meant, or what the wire could not tell from something else.
func (r *WindowRequest) check() error {
	if r.Keys != nil && len(r.Keys) == 0 {
		return fmt.Errorf("window %d of %s asks for no keys", r.ID, r.Table)
	}
	bounds := r.After != nil || r.Until != nil
	if r.Keys != nil && bounds || r.Whole != 0 && (bounds || r.Keys != nil) || r.Whole > WholeLocked {
		return fmt.Errorf("window %d of %s asks for a range, keys, or a whole table, not for more than one of them", r.ID, r.Table)
	}
	return nil
}

// SplitRequest asks for keys that cut a table into ranges.
type SplitRequest struct {
	ID    uint64
	Table string // name on the source, as Rules.Name has it
	Bytes int64  // about how large a range should be; 0: 256 MiB
	Most  int    // ranges at most; 0: 64
}
