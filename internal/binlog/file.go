package binlog

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/go-mysql-org/go-mysql/replication"

	"braid/internal/base/errs"
)

var (
	magicPlain     = []byte{0xfe, 'b', 'i', 'n'}
	magicEncrypted = []byte{0xfd, 'b', 'i', 'n'}
)

const (
	headerSize   = replication.EventHeaderSize
	checksumSize = 4
	checksumNone = 0
	checksumCRC  = 1
	// flagInUse in the header of the FORMAT_DESCRIPTION event: the server has the file open, or crashed.
	flagInUse = 1
)

// file is a Reader of binlog or relay log files, one after the other. Its coordinates are those of the files, also in relay logs, whose
// events carry the offsets that they had on the source.
type file struct {
	paths []string
	dec   *decoder
	err   error // final

	mu struct {
		sync.Mutex
		open   *os.File
		part   *file // see again
		closed bool
	}
	from   *bufio.Reader
	path   string
	at     int64 // offset of the next event
	size   int64
	sums   byte // checksum algorithm of the events
	inUse  bool
	always chan struct{}
}

// OpenFile reads log files in the order that is given. DB, Position and QueueBytes of the configuration mean nothing here. The end of the
// last file is io.EOF.
func OpenFile(paths []string, cfg Config) (Reader, error) {
	if len(paths) == 0 {
		return nil, errs.New(errs.BadInput, nil, "no binlog file is named")
	}
	f := &file{paths: paths, dec: newDecoder(cfg.Follow), always: make(chan struct{})}
	f.dec.lenient, f.dec.reread, f.dec.most = cfg.Lenient, f.reread, cmp.Or(cfg.held, maxPrepared)
	close(f.always)
	if err := f.next(); err != nil {
		return nil, err
	}
	return f, nil
}

// Poll implements Reader. It never returns nil without an error.
func (f *file) Poll() (Event, error) {
	for f.err == nil {
		if ev := f.dec.take(); ev != nil {
			return ev, nil
		}
		if f.dec.payload != nil {
			f.err = f.dec.nextInner()
			continue
		}
		if f.dec.again != nil {
			f.err = f.dec.nextAgain()
			continue
		}
		f.err = f.step()
	}
	if ev := f.dec.take(); ev != nil {
		return ev, nil
	}
	return nil, f.err
}

// Ready implements Reader.
func (f *file) Ready() <-chan struct{} { return f.always }

// Close implements Reader.
func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.closed = true
	if f.mu.part != nil {
		f.mu.part.Close()
	}
	if f.mu.open == nil {
		return nil
	}
	err := f.mu.open.Close()
	f.mu.open = nil
	return err
}

// next opens the next file, or is io.EOF.
func (f *file) next() error {
	if len(f.paths) == 0 {
		return io.EOF
	}
	path := f.paths[0]
	f.paths = f.paths[1:]
	h, err := f.swap(path)
	if err != nil {
		return err
	}
	info, err := h.Stat()
	if err != nil {
		return errs.New(errs.BadInput, err, "binlog file %s", path)
	}
	if info.IsDir() {
		return errs.New(errs.BadInput, nil, "%s is a directory, not a binlog file", path)
	}
	f.dec.path = path
	f.path, f.size, f.sums, f.inUse = path, info.Size(), checksumNone, false
	f.from = bufio.NewReaderSize(h, 256<<10)
	var magic [4]byte
	if _, err := io.ReadFull(f.from, magic[:]); err != nil || !bytes.Equal(magic[:], magicPlain) {
		return f.notABinlog(magic[:])
	}
	f.at = int64(len(magic))
	f.dec.coords = Coordinates{File: filepath.Base(path), Pos: uint64(f.at)}
	f.dec.yield(&Mark{End: f.dec.coords})
	return nil
}

// swap opens a file and closes the one before.
func (f *file) swap(path string) (*os.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.closed {
		return nil, errClosed
	}
	if f.mu.open != nil {
		f.mu.open.Close()
		f.mu.open = nil
	}
	h, err := os.Open(path)
	if err != nil {
		return nil, errs.New(errs.BadInput, err, "binlog file")
	}
	f.mu.open = h
	return h, nil
}

func (f *file) notABinlog(magic []byte) error {
	f.Close()
	if bytes.Equal(magic, magicEncrypted) {
		return errs.New(errs.BadInput, nil, "%s is an encrypted binlog file", f.path).
			With("Its key is in the server's keyring: read it from the server, which decrypts it (--dsn), or copy it with mysqlbinlog --read-from-remote-server --raw.")
	}
	return errs.New(errs.BadInput, nil, "%s is not a binlog file: it begins with % x instead of % x", f.path, magic, magicPlain)
}

// step reads the next event.
func (f *file) step() error {
	if f.at == f.size {
		return f.end()
	}
	ev, err := f.read()
	if err != nil {
		return err
	}
	f.dec.coords.Pos = uint64(f.at)
	if ev.header.EventType == replication.ROTATE_EVENT {
		return nil // the order of the files is the caller's; in relay logs this names files of the source
	}
	return f.dec.dispatch(ev)
}

// end is the end of a file. A transaction never goes over it.
func (f *file) end() error {
	if t := f.dec.trx; t != nil {
		return f.damaged("ends inside of transaction %s", t.gtid)
	}
	return f.next()
}

func (f *file) read() (rawEvent, error) {
	var head [headerSize]byte
	if f.size-f.at < headerSize {
		return rawEvent{}, f.damaged("ends inside of an event's header")
	}
	if _, err := io.ReadFull(f.from, head[:]); err != nil {
		return rawEvent{}, f.failed(err)
	}
	h := parseHeader(head[:])
	if h.EventSize < headerSize {
		return rawEvent{}, f.damaged("has a %s event with %d bytes", h.EventType, h.EventSize)
	}
	if int64(h.EventSize) > f.size-f.at {
		return rawEvent{}, f.damaged("ends inside of a %s event: it has %d bytes, the file %d more", h.EventType, h.EventSize, f.size-f.at)
	}
	body := make([]byte, h.EventSize-headerSize)
	if _, err := io.ReadFull(f.from, body); err != nil {
		return rawEvent{}, f.failed(err)
	}
	body, err := f.verify(h, head[:], body)
	if err != nil {
		return rawEvent{}, err
	}
	f.at += int64(h.EventSize)
	return rawEvent{header: h, body: body}, nil
}

func parseHeader(b []byte) replication.EventHeader {
	return replication.EventHeader{
		Timestamp: binary.LittleEndian.Uint32(b), EventType: replication.EventType(b[4]), ServerID: binary.LittleEndian.Uint32(b[5:]),
		EventSize: binary.LittleEndian.Uint32(b[9:]), LogPos: binary.LittleEndian.Uint32(b[13:]), Flags: binary.LittleEndian.Uint16(b[17:]),
	}
}

// verify checks and cuts off the checksum. A FORMAT_DESCRIPTION event says which one the events have, and itself always has one.
func (f *file) verify(h replication.EventHeader, head, body []byte) ([]byte, error) {
	description := h.EventType == replication.FORMAT_DESCRIPTION_EVENT
	if description {
		if len(body) < checksumSize+1 {
			return nil, f.damaged("has a malformed FORMAT_DESCRIPTION event")
		}
		f.sums = body[len(body)-checksumSize-1]
		f.inUse = f.inUse || h.Flags&flagInUse != 0
	}
	switch f.sums {
	case checksumNone:
		return body, nil
	case checksumCRC:
	default:
		return nil, f.damaged("has checksums of type %d, which is not known", f.sums)
	}
	if len(body) < checksumSize {
		return nil, f.damaged("has a %s event that is too short for its checksum", h.EventType)
	}
	cut := len(body) - checksumSize
	have := binary.LittleEndian.Uint32(body[cut:])
	if want := eventSum(head, body[:cut], description); want != have {
		return nil, f.damaged("has a wrong checksum at a %s event of %d bytes", h.EventType, h.EventSize)
	}
	return body[:cut:cut], nil
}

// eventSum is the checksum of an event. The flag that the file is in use is left out, because the server changes it in place.
func eventSum(head, body []byte, description bool) uint32 {
	if description {
		head = bytes.Clone(head)
		head[17] &^= flagInUse
	}
	return crc32.Update(crc32.ChecksumIEEE(head), crc32.IEEETable, body)
}

// damaged names the place of the event that cannot be read.
func (f *file) damaged(format string, args ...any) error {
	e := errs.New(errs.BinlogDamaged, nil, "binlog file %s at offset %d: the file %s", f.path, f.at, fmt.Sprintf(format, args...))
	if f.inUse {
		return e.With("The file is marked as in use: a server still writes it, or crashed while it did. Read it from the server (--dsn), or copy it after FLUSH BINARY LOGS.")
	}
	return e
}

func (f *file) failed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return errClosed
	}
	return errs.New(errs.BinlogDamaged, err, "binlog file %s at offset %d: read", f.path, f.at)
}
