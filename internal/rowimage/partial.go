package rowimage

import (
	"fmt"
	"math"
)

// partialJSON is the only option of a row that there is: behind it comes a bitmap of the JSON columns whose cells are differences.
const partialJSON = 1

// partial reads an after image that may have differences in place of JSON documents, and makes a whole image of it and the one before: in
// memory of its own, so that it lives as long as any other.
func (w *walk) partial(im, before *Image) {
	options := w.length()
	if w.err == nil && options&^partialJSON != 0 {
		w.err = fmt.Errorf("row options 0x%x are not known", options)
	}
	if w.err != nil || options&partialJSON == 0 {
		w.image(im)
		return
	}
	columns := w.decoder.columns
	documents := 0
	for i := range columns {
		if columns[i].typ == typeJSON {
			documents++
		}
	}
	differs := w.bytes((documents + 7) / 8)
	if w.image(im); w.err != nil {
		return
	}
	whole := make([]byte, 0, im.size+before.size)
	document := 0
	for i := range columns {
		c := &columns[i]
		differ := false
		if c.typ == typeJSON {
			differ = bit(differs, document)
			document++
		}
		if im.Null(i) {
			continue
		}
		whole = append(whole, make([]byte, c.prefix)...)
		from := len(whole)
		cell := im.Raw(i)
		if !differ {
			whole = append(whole, cell...)
		} else if before.Null(i) {
			w.err = fmt.Errorf("column %s: the event has differences of a JSON document, and none to apply them to", c.name)
			return
		} else if whole, w.err = ApplyJSONDiffs(whole, before.Raw(i), cell); w.err != nil {
			w.err = fmt.Errorf("column %s: %w", c.name, w.err)
			return
		}
		length := len(whole) - from
		if len(whole) > math.MaxInt32 || length >= 1<<(8*c.prefix) && c.prefix > 0 {
			w.err = fmt.Errorf("column %s: the row has more than %d bytes", c.name, len(whole))
			return
		}
		for at := from - c.prefix; at < from; at++ {
			whole[at] = byte(length)
			length >>= 8
		}
		im.cells[i] = span{int32(from), int32(len(whole))}
	}
	im.body, im.size = whole, len(whole)
}
