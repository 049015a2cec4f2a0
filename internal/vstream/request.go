package vstream

import (
	"encoding/binary"
	"math"

	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/rowimage"
)

// On the wire a request is a Window, whose field after says what of the table is wanted: a byte for the kind, then for a range both
// bounds, each the number of its cells and these, and the order of the key; for a split the bytes and the number of ranges. Empty: a range without bounds.
const (
	wireRange = iota
	wireWholeUnlocked
	wireWholeLocked
	wireSplitTable
)

func encodeWindow(r *WindowRequest) *tabletpb.Window {
	w := &tabletpb.Window{Id: r.ID, Table: r.Table, MaxRows: int32(min(r.MaxRows, math.MaxInt32)), MaxBytes: r.MaxBytes, IncludeTouched: r.IncludeTouched}
	switch {
	case r.Whole != 0:
		w.After = []byte{byte(r.Whole)}
	case r.After != nil || r.Until != nil || r.Order != "":
		w.After = appendString(appendKeyed(appendKeyed([]byte{wireRange}, r.After), r.Until), r.Order)
	}
	for _, key := range r.Keys {
		w.Keys = append(w.Keys, rowimage.AppendRow(nil, key))
	}
	return w
}

// fits reports whether the keys of a request are the table's. A DDL may have changed what they mean.
func (r *WindowRequest) fits(t *table) bool {
	for _, key := range append([]rowimage.Row{r.After, r.Until}, r.Keys...) {
		if key != nil && len(key) != len(t.key) {
			return false
		}
	}
	return r.Order == "" || r.Order == t.def.KeyOrder()
}

func encodeSplit(r *SplitRequest) *tabletpb.Window {
	what := binary.AppendVarint([]byte{wireSplitTable}, r.Bytes)
	return &tabletpb.Window{Id: r.ID, Table: r.Table, After: binary.AppendVarint(what, int64(r.Most))}
}

// appendKeyed appends a key with its number of cells; none is no key.
func appendKeyed(dst []byte, key rowimage.Row) []byte {
	return rowimage.AppendRow(binary.AppendUvarint(dst, uint64(len(key))), key)
}

// decodeRequest reads one or the other.
func decodeRequest(m *tabletpb.Window) (*WindowRequest, *SplitRequest, error) {
	if m == nil {
		return nil, nil, errs.New(errs.BadInput, nil, "a later request of a stream is not a window")
	}
	r := &WindowRequest{ID: m.Id, Table: m.Table, MaxRows: int(m.MaxRows), MaxBytes: m.MaxBytes, IncludeTouched: m.IncludeTouched}
	for _, raw := range m.Keys {
		key, err := decodeKey(raw)
		if err != nil {
			return nil, nil, err
		}
		r.Keys = append(r.Keys, key)
	}
	if len(m.After) == 0 {
		return r, nil, nil
	}
	d := &wireReader{rest: m.After}
	switch kind := d.byte(); kind {
	case wireRange:
		if n := d.count(); n > 0 {
			r.After = d.row(n)
		}
		if n := d.count(); n > 0 {
			r.Until = d.row(n)
		}
		r.Order = d.string()
	case wireWholeUnlocked, wireWholeLocked:
		r.Whole = Whole(kind)
	case wireSplitTable:
		split := &SplitRequest{ID: m.Id, Table: m.Table, Bytes: d.varint(), Most: int(d.varint())}
		return nil, split, badRequest(d)
	default:
		d.fail("request of kind %d", kind)
	}
	return r, nil, badRequest(d)
}

func badRequest(d *wireReader) error {
	if d.err == nil && len(d.rest) > 0 {
		d.fail("request goes on")
	}
	if d.err != nil {
		return errs.New(errs.BadInput, d.err, "request of a stream")
	}
	return nil
}

// decodeKey reads cells to the end of raw.
func decodeKey(raw []byte) (rowimage.Row, error) {
	var key rowimage.Row
	for len(raw) > 0 {
		cell, rest, err := rowimage.DecodeRow(raw, 1)
		if err != nil {
			return nil, errs.New(errs.BadInput, err, "key of a window")
		}
		key, raw = append(key, cell[0]), rest
	}
	return key, nil
}
