package binlog

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/klauspost/compress/zstd"
)

// payload is a compressed transaction (binlog_transaction_compression) that is being read. It is decompressed event by event, because
// a payload of 1 GiB may hold a hundred. What is held is the event as it came (its checksum is at its end), zstd's window (2 MiB at MySQL's
// default level, 128 MiB at the highest), and one event of those inside.
type payload struct{ from *bufio.Reader }

const (
	payloadEnd         = 0
	payloadCompression = 2
	compressionZSTD    = 0
	compressionNone    = 255
)

func (d *decoder) openPayload(body []byte) error {
	kind, data, err := payloadData(body)
	if err != nil {
		return d.malformed("TRANSACTION_PAYLOAD", err)
	}
	switch kind {
	case compressionNone:
		d.payload = &payload{from: bufio.NewReader(bytes.NewReader(data))}
	case compressionZSTD:
		zip, err := d.unzip(data)
		if err != nil {
			return d.malformed("TRANSACTION_PAYLOAD", err)
		}
		d.payload = &payload{from: bufio.NewReader(zip)}
	default:
		return d.refuse("TRANSACTION_PAYLOAD", fmt.Sprintf("compression %d is not known", kind), "upgrade braid")
	}
	return nil
}

// unzip returns the decoder's zstd reader, which keeps its buffers from one transaction to the next. With a concurrency of 1 it has no
// goroutines, so that it need not be closed.
func (d *decoder) unzip(data []byte) (io.Reader, error) {
	if d.zip == nil {
		zip, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		d.zip = zip
	}
	return d.zip, d.zip.Reset(bytes.NewReader(data))
}

// payloadData reads the fields in front of the compressed events: type, length, value, all length-encoded integers.
func payloadData(b []byte) (compression uint64, data []byte, err error) {
	compression = compressionZSTD
	for {
		var field, length uint64
		if field, b, err = lenenc(b); err != nil {
			return 0, nil, err
		}
		if field == payloadEnd {
			return compression, b, nil
		}
		if length, b, err = lenenc(b); err != nil {
			return 0, nil, err
		}
		if length > uint64(len(b)) {
			return 0, nil, io.ErrUnexpectedEOF
		}
		if field == payloadCompression {
			if compression, _, err = lenenc(b[:length]); err != nil {
				return 0, nil, err
			}
		}
		b = b[length:]
	}
}

// nextInner decodes the next event of the open payload.
func (d *decoder) nextInner() error {
	ev, err := d.payload.next()
	if errors.Is(err, io.EOF) {
		d.payload = nil
		if d.zip != nil {
			return d.zip.Reset(nil) // so that it does not keep the event
		}
		return nil
	}
	if err != nil {
		return d.malformed("TRANSACTION_PAYLOAD", err)
	}
	switch t := ev.header.EventType; t {
	case replication.TRANSACTION_PAYLOAD_EVENT, replication.FORMAT_DESCRIPTION_EVENT:
		return d.refuse("TRANSACTION_PAYLOAD", fmt.Sprintf("it has a %s inside, which only a log may have", t), remedyDamaged)
	}
	return d.dispatch(ev)
}

func (p *payload) next() (rawEvent, error) {
	var head [replication.EventHeaderSize]byte
	if _, err := io.ReadFull(p.from, head[:]); err != nil {
		return rawEvent{}, err // io.EOF at the end, io.ErrUnexpectedEOF within a header
	}
	h := replication.EventHeader{
		Timestamp: binary.LittleEndian.Uint32(head[0:]), EventType: replication.EventType(head[4]),
		ServerID: binary.LittleEndian.Uint32(head[5:]), EventSize: binary.LittleEndian.Uint32(head[9:]),
		Flags: binary.LittleEndian.Uint16(head[17:]),
	}
	if h.EventSize < uint32(len(head)) {
		return rawEvent{}, fmt.Errorf("event of %d bytes", h.EventSize)
	}
	body, err := readBody(p.from, int64(h.EventSize)-int64(len(head)))
	return rawEvent{header: h, body: body}, err
}

// readBody reads n bytes. A size that nothing has confirmed does not allocate much at once.
func readBody(from io.Reader, n int64) ([]byte, error) {
	const trusted = 1 << 20
	if n <= trusted {
		body := make([]byte, n)
		if got, err := io.ReadFull(from, body); err != nil {
			return nil, fmt.Errorf("event of %d bytes ends after %d: %w", n, got, io.ErrUnexpectedEOF)
		}
		return body, nil
	}
	var body bytes.Buffer
	if got, err := io.CopyN(&body, from, n); err != nil {
		return nil, fmt.Errorf("event of %d bytes ends after %d: %w", n, got, io.ErrUnexpectedEOF)
	}
	return body.Bytes(), nil
}

// lenenc reads a length-encoded integer.
func lenenc(b []byte) (uint64, []byte, error) {
	if len(b) == 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	size := 0
	switch b[0] {
	case 0xfc:
		size = 2
	case 0xfd:
		size = 3
	case 0xfe:
		size = 8
	default:
		return uint64(b[0]), b[1:], nil
	}
	if len(b) < 1+size {
		return 0, nil, io.ErrUnexpectedEOF
	}
	var n uint64
	for i := size; i > 0; i-- {
		n = n<<8 | uint64(b[i])
	}
	return n, b[1+size:], nil
}
