package vstream

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"braid/internal/base/errs"
	"braid/internal/rowimage"
	"braid/internal/writeset"
)

// The wire form of a batch is its items one after the other: a byte for the kind, then its fields. Integers are varints; strings and bytes have
// their length in front; rows are rowimage.AppendRow, whose number of cells both sides know from the table's definition.
const (
	wireTable = iota + 1
	wireTransaction
	wireDDL
	wireChunk
	wireHeartbeat
	wireSplit
	wireGone // the end of the stream: a GoneError
)

const (
	flagLast     = 1 << iota // a transaction is complete
	flagPrepared             // and has the GTID of an XA PREPARE
	flagDepends
	flagClock
)

// flagRaw, in the byte of a change's operation: the images are the binlog's, each with its length in front. Canonical cells are not sent then: the
// receiver makes them.
const flagRaw = 0x80

const (
	flagDone     = 1 << iota // a chunk reached the end of its table
	flagHasLast              // and looked at a row
	flagFirst                // and replaces what the target has
	flagRekeyed              // the table's key is another than the request's
	flagHeldBack             // chunks are read more slowly for those who write
)

// Encode appends the wire form of a batch to dst.
func Encode(dst []byte, items []Item) ([]byte, error) {
	for _, item := range items {
		switch it := item.(type) {
		case *Table:
			def, err := json.Marshal(it.Def)
			if err != nil {
				return nil, fmt.Errorf("encode definition of %s: %w", it.Def.Name, err)
			}
			dst = binary.AppendUvarint(append(dst, wireTable), uint64(it.ID))
			dst = appendString(appendString(appendString(appendString(dst, it.Target), it.TargetDB), def), it.Map)
		case *Transaction:
			dst = appendTransaction(dst, it)
		case *DDL:
			var rows byte
			if it.Rows {
				rows = 1
			}
			dst = appendString(append(dst, wireDDL, rows), it.GTID)
			dst = binary.AppendVarint(binary.AppendVarint(dst, it.CommitUS), it.BegunUS)
			dst = appendString(appendString(appendString(appendString(dst, it.DB), it.Home), it.SQL), it.Settings)
		case *Chunk:
			dst = appendChunk(dst, it)
		case *Split:
			dst = appendSplit(append(dst, wireSplit), it)
		case *Heartbeat:
			dst = appendString(append(dst, wireHeartbeat), it.Position)
			dst = binary.AppendVarint(dst, it.SourceUS)
		default:
			return nil, fmt.Errorf("encode item of type %T", item)
		}
	}
	return dst, nil
}

func appendTransaction(dst []byte, t *Transaction) []byte {
	var flags byte
	if t.Last {
		flags |= flagLast
	}
	if t.Prepared != "" {
		flags |= flagPrepared
	}
	if len(t.Depends) > 0 {
		flags |= flagDepends
	}
	if t.Clock != (writeset.Clock{}) {
		flags |= flagClock
	}
	dst = appendString(append(dst, wireTransaction, flags), t.GTID)
	if t.Prepared != "" {
		dst = appendString(dst, t.Prepared)
	}
	dst = binary.AppendVarint(dst, t.CommitUS)
	if len(t.Depends) > 0 {
		dst = binary.AppendUvarint(dst, uint64(len(t.Depends)))
		for _, gtid := range t.Depends {
			dst = appendString(dst, gtid)
		}
	}
	if flags&flagClock != 0 {
		dst = binary.AppendUvarint(dst, t.Clock.File)
		dst = binary.AppendVarint(binary.AppendVarint(dst, t.Clock.LastCommitted), t.Clock.Sequence)
	}
	dst = binary.AppendUvarint(dst, uint64(len(t.Changes)))
	for i := range t.Changes {
		dst = appendChange(dst, &t.Changes[i])
	}
	return dst
}

func appendChange(dst []byte, c *Change) []byte {
	raw := (c.Op == Insert || c.RawBefore != nil) && (c.Op == Delete || c.RawAfter != nil)
	op := byte(c.Op)
	if raw {
		op |= flagRaw
	}
	dst = binary.AppendUvarint(append(dst, op, byte(c.Flags)), uint64(c.TableID))
	if c.Op != Insert {
		dst = appendImage(dst, raw, c.RawBefore, c.Before)
	}
	if c.Op != Delete {
		dst = appendImage(dst, raw, c.RawAfter, c.After)
	}
	return dst
}

func appendImage(dst []byte, raw bool, image []byte, row rowimage.Row) []byte {
	if raw {
		return appendString(dst, image)
	}
	return rowimage.AppendRow(dst, row)
}

func appendChunk(dst []byte, c *Chunk) []byte {
	var flags byte
	if c.Done {
		flags |= flagDone
	}
	if c.Last != nil {
		flags |= flagHasLast
	}
	if c.First {
		flags |= flagFirst
	}
	if c.Rekeyed {
		flags |= flagRekeyed
	}
	if c.HeldBack {
		flags |= flagHeldBack
	}
	dst = binary.AppendUvarint(append(dst, wireChunk, flags), c.Window)
	dst = binary.AppendUvarint(dst, uint64(c.TableID))
	dst = appendString(binary.AppendVarint(dst, c.Read), c.Position)
	if c.Last != nil {
		dst = rowimage.AppendRow(dst, c.Last)
	}
	return appendRows(appendRows(dst, c.Rows), c.Touched)
}

// appendSplit writes keys with their number of cells: the table need not have been described.
func appendSplit(dst []byte, s *Split) []byte {
	dst = binary.AppendUvarint(dst, s.ID)
	dst = binary.AppendVarint(binary.AppendVarint(dst, s.Rows), s.Size)
	dst = binary.AppendUvarint(dst, uint64(len(s.Keys)))
	for _, key := range s.Keys {
		dst = rowimage.AppendRow(binary.AppendUvarint(dst, uint64(len(key))), key)
	}
	return dst
}

// appendGone writes an error that the receiver must know by its type.
func appendGone(dst []byte, g *GoneError) []byte {
	var keyless byte
	if errors.Is(g, errs.NoPrimaryKey) {
		keyless = 1
	}
	return appendString(appendString(append(dst, wireGone, keyless), g.Table), errs.Of(g).Text)
}

func appendRows(dst []byte, rows []rowimage.Row) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(rows)))
	for _, r := range rows {
		dst = rowimage.AppendRow(dst, r)
	}
	return dst
}

func appendString[T string | []byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}
