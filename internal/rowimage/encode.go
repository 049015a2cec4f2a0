package rowimage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// The binlog's own form, written: events made of images that came from another server's binlog. Nothing is converted; cells are
// copied as they are, so that what has no text form (a DECIMAL inside a JSON document) stays what it was.
//
// A server applies them from a BINLOG statement: the FORMAT_DESCRIPTION event once per session, then, for each table of a
// statement, a TABLE_MAP and its row events, the last of which ends the statement. Columns are matched by their place alone.

// Flags of a row event.
const (
	StmtEnd            = 0x01 // the last event of a statement: table maps end here
	NoForeignKeyChecks = 0x02
	NoUniqueChecks     = 0x04 // secondary unique keys may be checked later
)

const (
	eventDescription = 15
	eventTableMap    = 19
	headerSize       = 19
	sumSize          = 4
)

// AppendDescription appends a FORMAT_DESCRIPTION event: what a session must be given in a BINLOG statement before it takes row events. It says
// that the events have no checksums; they come over a connection that has its own. version is the server's, as it greets.
func AppendDescription(dst []byte, version string) []byte {
	start := len(dst)
	dst = BeginEvent(dst, EventHeader{Type: eventDescription})
	dst = binary.LittleEndian.AppendUint16(dst, 4) // version of the format
	var name [50]byte
	copy(name[:len(name)-1], version)
	dst = append(dst, name[:]...)
	dst = append(dst, 0, 0, 0, 0, headerSize) // created: not the first of a server's run
	dst = append(dst, postHeaders[:]...)
	dst = append(dst, 0)                                   // no checksums,
	return EndEvent(append(dst, 0, 0, 0, 0), start, false) // but room for one, here alone
}

// postHeaders are the fixed parts of the events of types 1 to 42, as MySQL 8.4 and 9.7 have them.
var postHeaders = [42]byte{
	0, 13, 0, 8, 0, 0, 0, 0, 4, 0, 4, 0, 0, 0, 57 + 42, 0, 4, 26, 8, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 10, 10, 10, 42, 42, 0, 18, 52, 0, 10, 40, 0, 0,
}

// EventHeader is what an event's header says beside its size.
type EventHeader struct {
	Type      byte
	Timestamp uint32 // seconds since 1970
	ServerID  uint32
}

// BeginEvent appends the header. The event's body is appended next, and then EndEvent is called with where the header begins.
func BeginEvent(dst []byte, h EventHeader) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, h.Timestamp)
	dst = append(dst, h.Type)
	dst = binary.LittleEndian.AppendUint32(dst, h.ServerID)
	return append(dst, make([]byte, 10)...) // size, end in the log, flags
}

// EndEvent writes the size into the header at start, and, if the FORMAT_DESCRIPTION event has promised one, the checksum behind.
func EndEvent(dst []byte, start int, checksum bool) []byte {
	size := len(dst) - start
	if checksum {
		size += sumSize
	}
	binary.LittleEndian.PutUint32(dst[start+9:], uint32(size))
	if checksum {
		dst = binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
	}
	return dst
}

// Encoder makes the events of one table map for another table: with another name, and all its columns or some, in any order. It is
// immutable.
type Encoder struct {
	tableID uint64
	head    []byte // the body of the TABLE_MAP event
	columns []int  // of the images; nil: all, as they are
	count   int
	prefix  []int // bytes of the length in front of each cell
}

// Encoder compiles an encoder of a TABLE_MAP event's body: rows of it become rows of db.name under the id, with the columns that are listed;
// nil is all.
func (m *TableMap) Encoder(body []byte, id uint64, db, name string, columns []int) (*Encoder, error) {
	if len(db) > 255 || len(name) > 255 || id >= 1<<48 {
		return nil, fmt.Errorf("encode %s.%s: no table can be called %s.%s, with id %d", m.DB, m.Name, db, name, id)
	}
	e := &Encoder{tableID: id, columns: columns, count: len(m.Columns)}
	if columns != nil {
		e.count = len(columns)
		for _, c := range columns {
			if c < 0 || c >= len(m.Columns) {
				return nil, fmt.Errorf("encode %s.%s: column %d of %d", m.DB, m.Name, c, len(m.Columns))
			}
		}
		e.prefix = make([]int, len(columns))
		for i, c := range columns {
			_, e.prefix[i] = cellSize(m.Columns[c].Type, m.Columns[c].Meta)
		}
	}
	if e.count == 0 {
		return nil, fmt.Errorf("encode %s.%s: no columns", m.DB, m.Name)
	}
	if err := e.tableMap(body, db, name); err != nil {
		return nil, fmt.Errorf("encode %s.%s: %w", m.DB, m.Name, err)
	}
	return e, nil
}

// tableMap cuts the source's event into columns and joins those that are wanted. Of the optional metadata only the sizes of vectors are
// written: nothing else is read by who applies an event, and without them it takes no row of a table that has one.
func (e *Encoder) tableMap(body []byte, db, name string) error {
	r := reader{rest: body}
	r.bytes(6)
	flags := r.bytes(2)
	r.bytes(int(r.uint(1)) + 1)
	r.bytes(int(r.uint(1)) + 1)
	types := r.bytes64(r.length())
	meta := reader{rest: r.bytes64(r.length())}
	nullable := r.bytes((len(types) + 7) / 8)
	if r.err != nil {
		return r.err
	}
	metas := make([][]byte, len(types))
	for i, t := range types {
		size, _ := metaSize(t)
		metas[i] = meta.bytes(size)
	}
	if meta.err != nil {
		return meta.err
	}
	out := appendTableID(nil, e.tableID)
	out = append(out, flags...)
	out = append(append(append(out, byte(len(db))), db...), 0)
	out = append(append(append(out, byte(len(name))), name...), 0)
	out = appendLength(out, uint64(e.count))
	var joined []byte
	bitmap := make([]byte, (e.count+7)/8)
	for i := range e.count {
		c := e.column(i)
		out = append(out, types[c])
		joined = append(joined, metas[c]...)
		if bit(nullable, c) {
			bitmap[i>>3] |= 1 << (i & 7)
		}
	}
	out = appendLength(out, uint64(len(joined)))
	out = append(append(out, joined...), bitmap...)
	sizes, err := e.vectorSizes(types, r.rest)
	if err == nil && sizes != nil {
		out = append(appendLength(append(out, fieldVectorSizes), uint64(len(sizes))), sizes...)
	}
	e.head = out
	return err
}

// vectorSizes are the dimensions of the VECTOR columns that are wanted; nil if there is none.
func (e *Encoder) vectorSizes(types, optional []byte) (sizes []byte, err error) {
	var all reader
	for r := (reader{rest: optional}); len(r.rest) > 0; {
		field := r.uint(1)
		value := r.bytes64(r.length())
		if r.err != nil {
			return nil, r.err
		}
		if field == fieldVectorSizes {
			all.rest = value
		}
	}
	of := map[int]uint64{}
	for c, t := range types {
		if t == typeVector {
			of[c] = all.length()
		}
	}
	if all.err != nil {
		return nil, fmt.Errorf("sizes of VECTOR columns: %w", all.err)
	}
	for i := range e.count {
		if size, ok := of[e.column(i)]; ok {
			sizes = appendLength(sizes, size)
		}
	}
	return sizes, nil
}

func (e *Encoder) column(i int) int {
	if e.columns == nil {
		return i
	}
	return e.columns[i]
}

func appendTableID(dst []byte, id uint64) []byte {
	return append(dst, byte(id), byte(id>>8), byte(id>>16), byte(id>>24), byte(id>>32), byte(id>>40))
}

// AppendTableMap appends the TABLE_MAP event.
func (e *Encoder) AppendTableMap(dst []byte, h EventHeader, checksum bool) []byte {
	start := len(dst)
	h.Type = eventTableMap
	return EndEvent(append(BeginEvent(dst, h), e.head...), start, checksum)
}

// BeginRows appends the header of a row event, and what its body has in front of the rows. h.Type is one of EventWriteRows,
// EventUpdateRows and EventDeleteRows. AppendImage follows, once or, for an update, twice a row, and then EndEvent.
func (e *Encoder) BeginRows(dst []byte, h EventHeader, flags uint16) []byte {
	dst = appendTableID(BeginEvent(dst, h), e.tableID)
	dst = binary.LittleEndian.AppendUint16(dst, flags)
	dst = binary.LittleEndian.AppendUint16(dst, 2) // extra data: its own length
	dst = appendLength(dst, uint64(e.count))
	dst = e.allColumns(dst)
	if h.Type == EventUpdateRows {
		dst = e.allColumns(dst)
	}
	return dst
}

// BeginKeyRows is BeginRows for updates and deletes whose images before have the cells of some columns only: those of the table's key, by their
// places in the target's table, ascending. AppendKey takes the place of AppendImage for them. The images after of an update have the columns that are
// listed likewise, and AppendChanged is for them; nil is all.
func (e *Encoder) BeginKeyRows(dst []byte, h EventHeader, flags uint16, key, changed []int) []byte {
	dst = appendTableID(BeginEvent(dst, h), e.tableID)
	dst = binary.LittleEndian.AppendUint16(dst, flags)
	dst = binary.LittleEndian.AppendUint16(dst, 2)
	dst = appendLength(dst, uint64(e.count))
	dst = e.someColumns(dst, key)
	switch {
	case h.Type == EventUpdateRows && changed != nil:
		dst = e.someColumns(dst, changed)
	case h.Type == EventUpdateRows:
		dst = e.allColumns(dst)
	}
	return dst
}

// AppendChanged appends the cells of some columns of an image after.
func (e *Encoder) AppendChanged(dst []byte, im *Image, places []int) []byte {
	bitmap := len(dst)
	for left := len(places); left > 0; left -= 8 {
		dst = append(dst, 0)
	}
	for n, i := range places {
		c := e.column(i)
		at := im.cells[c]
		if at.from < 0 {
			dst[bitmap+n>>3] |= 1 << (n & 7)
			continue
		}
		dst = append(dst, im.body[int(at.from)-im.columns[c].prefix:at.to]...)
	}
	return dst
}

// Changes calls fn with the places at which two images of a row differ, byte by byte, ascending.
func (e *Encoder) Changes(before, after *Image, fn func(place int)) {
	for i := range e.count {
		c := e.column(i)
		if before.Null(c) != after.Null(c) || !bytes.Equal(before.Raw(c), after.Raw(c)) {
			fn(i)
		}
	}
}

// AppendKey appends the cells of a key, none of which is NULL.
func (e *Encoder) AppendKey(dst []byte, im *Image, key []int) ([]byte, error) {
	for left := len(key); left > 0; left -= 8 {
		dst = append(dst, 0)
	}
	for _, i := range key {
		c := e.column(i)
		at := im.cells[c]
		if at.from < 0 {
			return dst, fmt.Errorf("the key column %s is NULL", im.columns[c].name)
		}
		dst = append(dst, im.body[int(at.from)-im.columns[c].prefix:at.to]...)
	}
	return dst, nil
}

// EndStatement sets StmtEnd in the row event that begins at start.
func EndStatement(events []byte, start int) { events[start+headerSize+6] |= StmtEnd }

// Verbatim says that images are taken as they are, with all columns: AppendImage need not find their cells, Image.AppendRaw will do.
func (e *Encoder) Verbatim() bool { return e.columns == nil }

// someColumns appends a bitmap of the columns at some places.
func (e *Encoder) someColumns(dst []byte, places []int) []byte {
	bitmap := len(dst)
	dst = append(dst, make([]byte, (e.count+7)/8)...)
	for _, i := range places {
		dst[bitmap+i>>3] |= 1 << (i & 7)
	}
	return dst
}

// allColumns appends a bitmap of the columns that are in the images.
func (e *Encoder) allColumns(dst []byte) []byte {
	for left := e.count; left > 0; left -= 8 {
		dst = append(dst, byte(1<<min(left, 8)-1))
	}
	return dst
}

// AppendImage appends an image of a row, which a decoder of the same table map has found.
func (e *Encoder) AppendImage(dst []byte, im *Image) []byte {
	if e.columns == nil {
		return append(append(dst, im.nulls...), im.body[:im.size]...)
	}
	bitmap := len(dst)
	dst = append(dst, make([]byte, (e.count+7)/8)...)
	for i, c := range e.columns {
		at := im.cells[c]
		if at.from < 0 {
			dst[bitmap+i>>3] |= 1 << (i & 7)
			continue
		}
		dst = append(dst, im.body[int(at.from)-e.prefix[i]:at.to]...)
	}
	return dst
}
