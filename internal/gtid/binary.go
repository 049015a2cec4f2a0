package gtid

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The binary form is that of COM_BINLOG_DUMP_GTID and of the PREVIOUS_GTIDS event: a count of sources, then per source its UUID,
// its tag in the tagged format, the count of intervals, and the intervals as [first, last+1), all little endian. The tagged
// format stands in the first and the last byte of the count, which leaves the six between them for the number.
const taggedFormat = 1

// Encode returns the binary form. The tagged format, which servers before 8.3 do not know, is used only when there is a tag.
func (s Set) Encode() []byte {
	tagged := false
	for i := range s.entries {
		tagged = tagged || s.entries[i].source.Tag != ""
	}
	count := uint64(len(s.entries))
	if tagged {
		count = taggedFormat<<56 | count<<8 | taggedFormat
	}
	dst := binary.LittleEndian.AppendUint64(nil, count)
	for i := range s.entries {
		dst = s.entry(i).encode(dst, tagged)
	}
	return dst
}

func (e *entry) encode(dst []byte, tagged bool) []byte {
	dst = append(dst, e.source.UUID[:]...)
	if tagged {
		dst = append(append(dst, byte(len(e.source.Tag)<<1)), e.source.Tag...)
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.len()))
	for i := range e.len() {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(e.at(i).First))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(e.at(i).Last)+1)
	}
	return dst
}

// errShort is wrapped by Decode with the operation.
var errShort = errors.New("ends too early")

// Decode reads the binary form.
func Decode(src []byte) (Set, error) {
	d := decoder{rest: src}
	count := d.uint64()
	tagged := count>>56 == taggedFormat
	if tagged {
		count = count >> 8 & (1<<48 - 1)
	}
	found := make(map[Source][]Interval)
	for ; count > 0 && d.err == nil; count-- {
		source := d.source(tagged)
		for n := d.uint64(); n > 0 && d.err == nil; n-- {
			found[source] = append(found[source], d.interval())
		}
	}
	if d.err == nil && len(d.rest) > 0 {
		d.err = fmt.Errorf("%d bytes too many", len(d.rest))
	}
	if d.err != nil {
		return Set{}, fmt.Errorf("decode GTID set of %d bytes: %w", len(src), d.err)
	}
	return fromMap(found), nil
}

// decoder reads on after an error, giving zeros.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) take(n int) []byte {
	if d.err != nil || len(d.rest) < n {
		if d.err == nil {
			d.err = errShort
		}
		return nil
	}
	taken := d.rest[:n]
	d.rest = d.rest[n:]
	return taken
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) source(tagged bool) (s Source) {
	copy(s.UUID[:], d.take(16))
	if !tagged {
		return s
	}
	length := d.take(1)
	if length == nil || length[0] == 0 {
		return s
	}
	tag, err := parseTag(string(d.take(int(length[0] >> 1))))
	if err != nil && d.err == nil {
		d.err = err
	}
	s.Tag = tag
	return s
}

func (d *decoder) interval() Interval {
	first, end := d.uint64(), d.uint64()
	if d.err == nil && (first == 0 || end <= first || end-1 > MaxNumber) {
		d.err = fmt.Errorf("interval [%d, %d) is not one of transaction numbers", first, end)
	}
	return Interval{int64(first), int64(end - 1)}
}
