package apply

import (
	"context"
	"errors"

	"braid/internal/rowimage"
	"braid/internal/sqlconn"
)

// Chunk is copied rows of a table, with the statements that record the copy's progress. They are one commit (W2).
type Chunk struct {
	TableID uint32 // 0: of no table; then there are no rows
	Rows    []rowimage.Row
	// Write writes the rows into the transaction that is open on conn, in a way of its own; it may be called again after a
	// rollback. nil: as the table's changes are written. A worker calls it.
	Write func(ctx context.Context, conn *sqlconn.Conn) error
	Save  []string
	// Done is called once, by the goroutine that uses the applier, inside of one of its calls (Poll, if nothing else), unless the applier
	// fails before: when the chunk is committed. It may call SetTable, and what only asks.
	Done func(error)
}

// Chunk takes a chunk at its place between transactions: it follows those before it that change its rows, and those behind it that do
// follow it. Chunks of a table run beside each other. What is not committed when Chunk returns is so when Done is called.
func (a *Applier) Chunk(ctx context.Context, c Chunk) error {
	a.settle()
	if a.Open() {
		return errors.New("copied rows arrived inside of a transaction")
	}
	view := a.tables.View()
	if view.Table(c.TableID) == nil && len(c.Rows) > 0 {
		return errors.New("copied rows of a table that the stream has not described")
	}
	bytes := 0
	for _, row := range c.Rows {
		bytes += rowBytes(row)
	}
	if err := a.room(ctx, bytes); err != nil {
		return err
	}
	d := a.tracker.AddChunk(c.TableID, c.Rows)
	e := &entry{seq: d.Seq, floor: d.Floor, preds: append([]uint64(nil), d.Preds...), view: view, chunk: &c, bytes: bytes}
	a.mu.Lock()
	defer a.mu.Unlock()
	e.after = a.mu.position
	a.put(e)
	return nil
}
