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
	Position string // GTID set; the stream goes on after it
	FromNow  bool   // instead of Position: what the source has executed now; the first Heartbeat tells
	Rules    filter.Rules
	Workflow string // for logs
}

// Stream is one ordered stream. One goroutine calls Recv; OpenWindow and Close may be called by others at any time.
type Stream interface {
	// Recv returns the next items, at least one. An error is final.
	Recv() ([]Item, error)
	// OpenWindow asks for a chunk, which arrives in the stream as a Chunk with the request's ID. Requests are worked on in
	// their order. It does not wait.
	OpenWindow(WindowRequest) error
	// Close ends the stream and waits for what it runs. It may be called more than once.
	Close() error
}

// WindowRequest asks for the copy of one chunk of a table (DESIGN 5.2).
type WindowRequest struct {
	ID    uint64
	Table string       // name on the source, as Rules.Name has it
	After rowimage.Row // key of the row before the chunk; nil: from the beginning
	// Keys asks for exactly these keys instead of a range.
	Keys []rowimage.Row

	MaxRows        int   // 0: 10,000
	MaxBytes       int64 // 0: 1 MiB. A bound on row bytes; one row is always read
	IncludeTouched bool  // list the touched keys in the Chunk
}

// check refuses an empty list of keys, which the wire could not tell from none.
func (r *WindowRequest) check() error {
	if r.Keys != nil && len(r.Keys) == 0 {
		return fmt.Errorf("window %d of %s asks for no keys", r.ID, r.Table)
	}
	return nil
}
