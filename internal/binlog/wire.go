package binlog

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	mrand "math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/gtid"
	"braid/internal/sqlconn"
)

// wire is a dump connection. It reads the socket into slabs, and events are slices of them: nothing is copied or allocated per
// event. A slab of which an event is kept (kept is set) is not written again, and stays as long as the event.
type wire struct {
	addr   string
	server string // its UUID
	sock   net.Conn
	slab   []byte
	r, w   int // what is unread in slab
	seq    byte
	kept   bool          // something refers to bytes of the slab that were read
	dull   int           // bytes that were read since something was kept
	short  bool          // the last read has taken all there was
	sums   byte          // checksum algorithm of the events
	heard  *atomic.Int64 // when the socket last gave something, in nanoseconds since 1970
}

const (
	// Slabs grow while the log is busy, so that an idle connection costs little and a busy one few reads.
	minSlab = 4 << 10
	maxSlab = 256 << 10

	// A server sends 16 KiB at a time, and to be woken for each costs more than to read past them. Where nothing was of use for dullBytes, a reader
	// that is faster than the server sleeps, so that more is there.
	dullBytes = 1 << 20
	dullSleep = time.Millisecond

	packetHeader = 4
	packetOK     = 0x00
	packetEOF    = 0xfe
	packetErr    = 0xff
)

// seen is how far a server's log was read before.
type seen struct {
	server string // its UUID
	at     Coordinates
}

// dialWire connects, checks that the server is one whose log can be read, and, if position is not nil, that it can serve that (B4).
func dialWire(ctx context.Context, db sqlconn.Config, position *gtid.Set, read seen) (*wire, error) {
	db.Plain = true // a server that is not MySQL refuses the settings, and should be named as what it is
	conn, err := sqlconn.Dial(ctx, db)
	if err != nil {
		return nil, errs.New(errs.MySQLUnreachable, err, "binlog of %s", db.Addr)
	}
	return prepareWire(ctx, db, conn, position, read)
}

// prepareWire makes a dump connection of a session.
func prepareWire(ctx context.Context, db sqlconn.Config, conn *sqlconn.Conn, position *gtid.Set, read seen) (*wire, error) {
	w := &wire{addr: db.Addr, heard: new(atomic.Int64)}
	if err := w.prepare(ctx, conn, position, read); err != nil {
		conn.Close()
		return nil, err
	}
	w.sock = conn.Hijack()
	return w, nil
}

// checkRead refuses a source whose log is shorter than it was when it was read: it was restored, or has lost its last transactions in a crash, and gives
// their GTIDs to others. Where those are as many as were lost, GTID sets do not show it.
func (w *wire) checkRead(ctx context.Context, conn *sqlconn.Conn, read Coordinates) error {
	res, err := conn.Query(ctx, "SHOW BINARY LOGS")
	if err != nil {
		return fmt.Errorf("binlog of %s: list its files: %w", w.addr, err)
	}
	var last Coordinates
	for _, row := range res.Rows {
		size, err := strconv.ParseUint(string(row[1]), 10, 64)
		if err != nil {
			return fmt.Errorf("binlog of %s: size of %s: %w", w.addr, row[0], err)
		}
		if last = (Coordinates{File: string(row[0]), Pos: size}); last.File == read.File {
			if size >= read.Pos {
				return nil
			}
			return w.lost(read, fmt.Sprintf("has %d bytes", size))
		}
	}
	if last.base() == read.base() && read.Reaches(last) {
		return w.lost(read, "is not there, nor any behind it")
	}
	return nil // it was purged
}

func (w *wire) lost(read Coordinates, now string) error {
	return errs.New(errs.StreamFailed, nil, "binlog of %s: the source has lost a part of its log that was read: %s was read up to %d, and now %s", w.addr, read.File, read.Pos, now).
		With("Copy the tables again: transactions may have been read that the source does not have any more, and their GTIDs be those of others.",
			"To prevent it after a crash: SET PERSIST sync_binlog=1; SET PERSIST innodb_flush_log_at_trx_commit=1;")
}

func (w *wire) prepare(ctx context.Context, conn *sqlconn.Conn, position *gtid.Set, read seen) error {
	if p := checkVersion(conn.ServerVersion()); p.Status != OK {
		return Preconditions(w.addr, []Precondition{p})
	}
	if position != nil {
		executed, purged, err := Executed(ctx, conn)
		if err != nil {
			return fmt.Errorf("binlog of %s: %w", w.addr, err)
		}
		if err := compareResume(w.addr, *position, executed, purged); err != nil {
			return err
		}
	}
	res, err := conn.Query(ctx, "SELECT @@GLOBAL.server_uuid")
	if err != nil {
		return fmt.Errorf("binlog of %s: server_uuid: %w", w.addr, err)
	}
	w.server = string(res.Rows[0][0])
	if read.server == w.server && read.at.File != "" {
		if err := w.checkRead(ctx, conn, read.at); err != nil {
			return err
		}
	}
	var replica gtid.UUID // another each time: the server ends an older dump with the same one
	rand.Read(replica[:])
	if _, err := conn.Exec(ctx, fmt.Sprintf(dumpSettings, timeouts.StreamHeartbeat.Nanoseconds(), replica)); err != nil {
		return fmt.Errorf("binlog of %s: prepare the dump: %w", w.addr, err)
	}
	return nil
}

// dumpSettings: NONE does not take the checksums off; it says that the first event, sent before their kind is known, needs none. The
// long timeout is for streams that stop reading for a while.
const dumpSettings = "SET net_write_timeout=3600, @source_binlog_checksum='NONE', @master_binlog_checksum='NONE', " +
	"@source_heartbeat_period=%[1]d, @master_heartbeat_period=%[1]d, @replica_uuid='%[2]s', @slave_uuid='%[2]s'"

// serverID is one that no replica of the source has: people choose small numbers.
func serverID() uint32 { return 1<<31 | mrand.Uint32() }

// dump asks for everything that is not in the position.
func (w *wire) dump(position gtid.Set) error {
	set := position.Encode()
	cmd := binary.LittleEndian.AppendUint16([]byte{mysql.COM_BINLOG_DUMP_GTID}, heartbeatV2)
	cmd = binary.LittleEndian.AppendUint32(cmd, serverID())
	cmd = binary.LittleEndian.AppendUint32(cmd, 0)                       // no file name
	cmd = binary.LittleEndian.AppendUint64(cmd, uint64(len(magicPlain))) // its first event
	cmd = binary.LittleEndian.AppendUint32(cmd, uint32(len(set)))
	return w.send(append(cmd, set...))
}

// heartbeatV2 asks for heartbeats that have the offset in 64 bits. Servers before 8.0.26 do not know the flag and send the others.
const heartbeatV2 = replication.USE_HEARTBEAT_EVENT_V2

// dumpFile asks for a file from its begin on, whatever is in it.
func (w *wire) dumpFile(name string) error {
	cmd := []byte{mysql.COM_BINLOG_DUMP}
	cmd = binary.LittleEndian.AppendUint32(cmd, uint32(len(magicPlain)))
	cmd = append(cmd, 0, 0)
	cmd = binary.LittleEndian.AppendUint32(cmd, serverID())
	return w.send(append(cmd, name...))
}

// send writes a command. A set of GTIDs that does not fit one packet would have half a million intervals.
func (w *wire) send(cmd []byte) error {
	if len(cmd) >= mysql.MaxPayloadLen {
		return fmt.Errorf("binlog of %s: a position of %d bytes", w.addr, len(cmd))
	}
	packet := append([]byte{byte(len(cmd)), byte(len(cmd) >> 8), byte(len(cmd) >> 16), 0}, cmd...)
	w.seq = 1
	if err := w.sock.SetWriteDeadline(time.Now().Add(timeouts.Dial)); err != nil {
		return fmt.Errorf("binlog of %s: %w", w.addr, err)
	}
	if _, err := w.sock.Write(packet); err != nil {
		return fmt.Errorf("binlog of %s: ask for the log: %w", w.addr, err)
	}
	return nil
}

// next reads the next event and verifies its checksum.
func (w *wire) next() (rawEvent, error) {
	p, err := w.packet()
	if err != nil {
		return rawEvent{}, fmt.Errorf("binlog connection to %s: %w", w.addr, err)
	}
	switch {
	case len(p) > headerSize && p[0] == packetOK:
		return w.event(p[1:])
	case len(p) > 0 && p[0] == packetErr:
		return rawEvent{}, fmt.Errorf("binlog of %s: %w", w.addr, parseError(p))
	case len(p) > 0 && p[0] == packetEOF:
		return rawEvent{}, fmt.Errorf("binlog of %s: %w", w.addr, errEnded)
	}
	return rawEvent{}, w.damaged("a packet of %d bytes is no event", len(p))
}

var errEnded = errors.New("the server ended the log")

func (w *wire) event(p []byte) (rawEvent, error) {
	h := parseHeader(p)
	if int64(h.EventSize) != int64(len(p)) {
		return rawEvent{}, w.damaged("an event of type %d says that it has %d bytes and has %d", h.EventType, h.EventSize, len(p))
	}
	head, body := p[:headerSize], p[headerSize:]
	description := h.EventType == replication.FORMAT_DESCRIPTION_EVENT
	if description {
		if len(body) < checksumSize+1 {
			return rawEvent{}, w.damaged("a FORMAT_DESCRIPTION event of %d bytes", len(body))
		}
		w.sums = body[len(body)-checksumSize-1]
	}
	switch w.sums {
	case checksumNone:
		return rawEvent{header: h, body: body}, nil
	case checksumCRC:
	default:
		return rawEvent{}, w.damaged("checksums of type %d are not known", w.sums)
	}
	cut := len(body) - checksumSize
	if cut < 0 {
		return rawEvent{}, w.damaged("an event of type %d is too short for its checksum", h.EventType)
	}
	sum := crc32.ChecksumIEEE(p[:len(p)-checksumSize])
	if description {
		sum = eventSum(head, body[:cut], true)
	}
	if sum != binary.LittleEndian.Uint32(body[cut:]) {
		return rawEvent{}, w.damaged("an event of type %d of %d bytes, before offset %d, has a wrong checksum", h.EventType, h.EventSize, h.LogPos)
	}
	return rawEvent{header: h, body: body[:cut:cut]}, nil
}

func (w *wire) damaged(format string, args ...any) error {
	return errs.New(errs.BinlogDamaged, nil, "binlog of %s: %s", w.addr, fmt.Sprintf(format, args...)).With(
		"If it happens once, something between the server and here changes bytes: look at the network, its cards and its proxies.",
		"If it happens again and again, the server's log is damaged: `mysqlbinlog --verify-binlog-checksum` on the server names the place. Copy the tables again.")
}

// packet reads one packet. From 16 MiB on it comes in pieces, which are put together.
func (w *wire) packet() ([]byte, error) {
	p, whole, err := w.piece()
	if err != nil || whole {
		return p, err
	}
	all := append(make([]byte, 0, packetSize(p)), p...)
	for !whole && err == nil {
		if p, whole, err = w.piece(); err == nil {
			all = append(all, p...)
		}
	}
	return all, err
}

// packetSize is how long a packet will be, by the size of the event that it begins with.
func packetSize(p []byte) int {
	if len(p) <= headerSize || p[0] != packetOK {
		return len(p)
	}
	return int(min(parseHeader(p[1:]).EventSize, maxEvent)) + 1
}

// maxEvent is the size that MySQL gives an event at most. What says that it is larger does not get that much at once.
const maxEvent = 1<<30 + 1<<20

func (w *wire) piece() (p []byte, whole bool, err error) {
	if err := w.fill(packetHeader); err != nil {
		return nil, false, err
	}
	head := w.slab[w.r:]
	n := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	if head[3] != w.seq {
		return nil, false, w.damaged("packet %d comes where %d should", head[3], w.seq)
	}
	w.seq++
	w.r += packetHeader
	if err := w.fill(n); err != nil {
		return nil, false, err
	}
	p = w.slab[w.r : w.r+n : w.r+n]
	w.r += n
	return p, n < mysql.MaxPayloadLen, nil
}

// fill reads until n bytes are unread in one slab.
func (w *wire) fill(n int) error {
	if w.w-w.r >= n {
		return nil
	}
	if len(w.slab)-w.r < n {
		slab := w.slab
		if w.kept || len(slab) < max(n, maxSlab) || len(slab) > maxSlab && n <= maxSlab { // it was for a piece of a large event
			slab = make([]byte, max(n, min(max(minSlab, 4*len(slab)), maxSlab)))
		}
		w.w = copy(slab, w.slab[w.r:w.w])
		w.slab, w.r, w.kept = slab, 0, false
	}
	for w.w-w.r < n {
		if err := w.sock.SetReadDeadline(time.Now().Add(timeouts.StreamSilence)); err != nil {
			return err
		}
		if w.short && w.dull >= dullBytes {
			time.Sleep(dullSleep) //nolint:forbidigo // that more bytes are there is no event of its own
		}
		got, err := w.sock.Read(w.slab[w.w:])
		w.w += got
		w.dull, w.short = w.dull+got, w.w < len(w.slab)
		w.heard.Store(time.Now().UnixNano())
		if err != nil && w.w-w.r < n {
			return err
		}
	}
	return nil
}

// parseError reads an ERR packet.
func parseError(p []byte) error {
	if len(p) < 3 {
		return errors.New("malformed error")
	}
	e := &mysql.MyError{Code: binary.LittleEndian.Uint16(p[1:])}
	p = p[3:]
	if len(p) >= 6 && p[0] == '#' {
		e.State, p = string(p[1:6]), p[6:]
	}
	e.Message = string(p)
	return e
}
