package binlog

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"

	"github.com/go-mysql-org/go-mysql/replication"

	"braid/internal/gtid"
)

// gtidEvent is what a GTID, GTID_TAGGED or ANONYMOUS_GTID event says.
type gtidEvent struct {
	id                      gtid.GTID
	lastCommitted, sequence int64
	immediate, original     uint64 // commit timestamps, microseconds
	length                  uint64
}

var errGTIDEvent = errors.New("it ends too early")

const (
	logicalClock      = 2       // what a GTID event has behind the GTID
	originalTimestamp = 1 << 55 // bit of a commit timestamp: another one follows
)

// parseGTID reads the event. Those without a tag begin every transaction of most servers, so they are read here.
func (d *decoder) parseGTID(ev rawEvent) (g gtidEvent, err error) {
	if ev.header.EventType == replication.GTID_TAGGED_LOG_EVENT {
		return parseTagged(ev.body)
	}
	b := ev.body
	if len(b) < 25 {
		return g, errGTIDEvent
	}
	g.id.UUID = gtid.UUID(b[1:17])
	g.id.Number = int64(binary.LittleEndian.Uint64(b[17:]))
	if b = b[25:]; len(b) < 17 || b[0] != logicalClock {
		return g, nil
	}
	g.lastCommitted, g.sequence = int64(binary.LittleEndian.Uint64(b[1:])), int64(binary.LittleEndian.Uint64(b[9:]))
	if b = b[17:]; len(b) < 7 {
		return g, nil
	}
	g.immediate, b = timestamp(b), b[7:]
	g.original = g.immediate
	if g.immediate&originalTimestamp != 0 {
		if len(b) < 7 {
			return g, errGTIDEvent
		}
		g.immediate &^= originalTimestamp
		g.original, b = timestamp(b), b[7:]
	}
	if len(b) > 0 {
		g.length, _, err = lenenc(b)
	}
	return g, err
}

func timestamp(b []byte) uint64 {
	return uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint16(b[4:]))<<32 | uint64(b[6])<<48
}

func parseTagged(body []byte) (g gtidEvent, err error) {
	var e replication.GtidTaggedLogEvent
	if err := guard(func() error { return e.Decode(body) }); err != nil {
		return g, err
	}
	if len(e.SID) != 16 {
		return g, errGTIDEvent
	}
	return gtidEvent{
		id:            gtid.GTID{Source: gtid.Source{UUID: gtid.UUID(e.SID), Tag: e.Tag.String()}, Number: e.GNO},
		lastCommitted: e.LastCommitted, sequence: e.SequenceNumber, immediate: e.ImmediateCommitTimestamp,
		original: e.OriginalCommitTimestamp, length: e.TransactionLength,
	}, nil
}

// names makes the text of GTIDs, many in one piece of memory.
type names struct {
	source gtid.Source
	prefix []byte          // source as text, with a colon
	text   strings.Builder // never grows beyond the room that it was given, so that what was made stays where it is
	piece  int
}

const (
	maxGTIDText = 128 // UUID, tag, number and two colons
	maxNames    = 4 << 10
)

// of is a GTID as text; "" for a transaction that has none.
func (n *names) of(id gtid.GTID, t replication.EventType) string {
	if t == replication.ANONYMOUS_GTID_EVENT {
		return ""
	}
	if id.Source != n.source || n.prefix == nil {
		n.source = id.Source
		n.prefix = append([]byte(id.Source.String()), ':')
	}
	if n.text.Cap()-n.text.Len() < maxGTIDText {
		n.piece = min(max(2*n.piece, maxGTIDText), maxNames)
		n.text.Reset()
		n.text.Grow(n.piece)
	}
	from := n.text.Len()
	var digits [20]byte
	n.text.Write(n.prefix)
	n.text.Write(strconv.AppendInt(digits[:0], id.Number, 10))
	return n.text.String()[from:]
}
