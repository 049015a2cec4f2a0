package binlog

import (
	"context"

	"github.com/go-mysql-org/go-mysql/replication"

	"braid/internal/rowimage"
	"braid/internal/sqlconn"
)

// Description returns a server's FORMAT_DESCRIPTION event, header and checksum included: what a session must be given in a BINLOG
// statement before it takes row events. The events after it need checksums, too.
func Description(ctx context.Context, db sqlconn.Config) ([]byte, error) {
	files, err := logFiles(ctx, db)
	if err != nil {
		return nil, err
	}
	w, err := dialWire(ctx, db, nil, seen{})
	if err != nil {
		return nil, err
	}
	defer w.sock.Close()
	defer context.AfterFunc(ctx, func() { w.sock.Close() })()
	if err := w.dumpFile(files[len(files)-1]); err != nil {
		return nil, err
	}
	for {
		ev, err := w.next()
		if err != nil {
			return nil, err
		}
		if ev.header.EventType != replication.FORMAT_DESCRIPTION_EVENT {
			continue
		}
		body := append([]byte{}, ev.body...)
		body[len(body)-1] = checksumCRC // its last byte says which checksums the events have
		h := rowimage.EventHeader{Type: byte(ev.header.EventType), Timestamp: ev.header.Timestamp, ServerID: ev.header.ServerID}
		return rowimage.EndEvent(append(rowimage.BeginEvent(nil, h), body...), 0, true), nil
	}
}
