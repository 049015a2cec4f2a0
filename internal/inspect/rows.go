package inspect

import (
	"encoding/binary"
	"errors"

	"braid/internal/binlog"
	"braid/internal/rowimage"
	"braid/internal/writeset"
)

// eventFrame is what an event has beside its body: header and checksum.
const eventFrame = 19 + 4

// Flags of a row event.
const (
	flagRelaxedUnique = 1 << 2
	flagSQLForeign    = 1 << 4
)

// RowEvent is one event with rows of one table.
type RowEvent struct {
	Table *Table
	Kind  binlog.RowsKind
	Bytes int64
	Count int64 // of rows; 1 if the event is opaque
	// Opaque says why the rows cannot be read; empty if they can.
	Opaque string

	rows *binlog.Rows
}

var eventTypes = map[binlog.RowsKind]byte{
	binlog.Insert: rowimage.EventWriteRows, binlog.Update: rowimage.EventUpdateRows, binlog.Delete: rowimage.EventDeleteRows,
}

func (e *RowEvent) eventType() byte {
	if e.rows.Partial {
		return rowimage.EventPartialUpdate
	}
	return eventTypes[e.Kind]
}

// count counts the rows, and finds out whether they can be read.
func (e *RowEvent) count() error {
	e.Opaque = e.Table.Opaque
	if e.Opaque == "" {
		err := e.Table.decoder.Walk(e.eventType(), e.rows.Body, func(_, _ *rowimage.Image) error {
			e.Count++
			return nil
		})
		if errors.Is(err, rowimage.ErrPartialImage) {
			e.Opaque = rowimage.ErrPartialImage.Error()
		} else if err != nil {
			return err
		}
	}
	if e.Opaque != "" {
		e.Count = 1
	}
	return nil
}

// Each calls fn with each row as canonical cells: before is nil for an insert, after for a delete. An opaque event has none. The rows are
// valid during the call only.
func (e *RowEvent) Each(fn func(before, after rowimage.Row) error) error {
	if e.Opaque != "" {
		return nil
	}
	return e.Table.decoder.Decode(e.eventType(), e.rows.Body, fn)
}

// Walk is Each without the decoding of cells that nobody asks for.
func (e *RowEvent) Walk(fn func(before, after *rowimage.Image) error) error {
	if e.Opaque != "" {
		return nil
	}
	return e.Table.decoder.Walk(e.eventType(), e.rows.Body, fn)
}

// Flags are those that dependencies need.
func (e *RowEvent) Flags() writeset.RowFlags {
	var flags writeset.RowFlags
	if len(e.rows.Body) < 8 {
		return 0
	}
	raw := binary.LittleEndian.Uint16(e.rows.Body[6:])
	if raw&flagRelaxedUnique != 0 {
		flags |= writeset.RelaxedUniqueChecks
	}
	if raw&flagSQLForeign != 0 {
		flags |= writeset.SQLForeignKeys
	}
	return flags
}
