package binlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-mysql-org/go-mysql/replication"

	"braid/internal/base/errs"
	"braid/internal/gtid"
	"braid/internal/sqlconn"
)

// part is where the events of a prepared XA transaction come from once more.
type part interface {
	// next is the next event of the log, from the transaction's GTID event on or from before it.
	next() (rawEvent, error)
	// keep says that something refers to the bytes of the last event.
	keep()
	close()
}

// again is a prepared XA transaction that is read once more, because its rows were more than can be held until the XA COMMIT. They come
// in fragments, as parts of that.
type again struct {
	part  part
	dec   *decoder     // of the part
	of    *transaction // what was prepared
	end   *transaction // its XA COMMIT
	begun bool         // its GTID event has come
	cut   bool         // a fragment was yielded
}

// readAgain begins to read what was prepared, behind the parts that were passed on before a cut of the connection.
func (d *decoder) readAgain(of, end *transaction) error {
	from, err := d.reread(of)
	if err != nil {
		return fmt.Errorf("read the prepared part %s of %s again: %w", of.gtid, end.gtid, err)
	}
	dec := newDecoder(d.follow)
	dec.changes, dec.lenient, dec.rereads = d.changes, d.lenient, true
	if end.gtid != "" && d.done.gtid == end.gtid {
		dec.done = progress{gtid: of.gtid, events: d.done.events}
	}
	d.again = &again{part: from, dec: dec, of: of, end: end}
	return nil
}

// nextAgain decodes the next event of the prepared part.
func (d *decoder) nextAgain() error {
	a := d.again
	err := a.decode()
	if refusal, is := errors.AsType[*Refusal](err); is { // it is the XA COMMIT that cannot be followed
		refusal.GTID, refusal.id, refusal.At = a.end.gtid, a.end.id, a.end.begin
	}
	if a.dec.kept {
		a.part.keep()
		a.dec.kept = false
	}
	d.cost += a.dec.takeCost()
	for ev := a.dec.take(); ev != nil; ev = a.dec.take() {
		if tx, ok := ev.(*Transaction); ok {
			d.passAgain(tx)
		}
	}
	return err
}

func (a *again) decode() error {
	if a.dec.payload != nil {
		return a.dec.nextInner()
	}
	ev, err := a.part.next()
	if err != nil {
		return fmt.Errorf("read the prepared part %s of %s again: %w", a.of.gtid, a.end.gtid, err)
	}
	switch ev.header.EventType {
	case replication.GTID_EVENT, replication.GTID_TAGGED_LOG_EVENT, replication.ANONYMOUS_GTID_EVENT:
		if !a.begun {
			g, err := a.dec.parseGTID(ev)
			if err != nil {
				return a.dec.malformed("GTID", err)
			}
			if a.begun = g.id == a.of.id; !a.begun {
				return nil
			}
		}
	case replication.ROTATE_EVENT, replication.HEARTBEAT_EVENT, replication.HEARTBEAT_LOG_EVENT_V2:
		return nil
	}
	if !a.begun {
		return nil
	}
	return a.dec.dispatch(ev)
}

// passAgain yields a fragment of the prepared part as one of the XA COMMIT.
func (d *decoder) passAgain(tx *Transaction) {
	a := d.again
	tx.Stamp, tx.GTID, tx.id, tx.CommitUS = a.end.Stamp, a.end.gtid, a.end.id, a.end.commitUS
	tx.Length += a.of.Length
	tx.Prepared, tx.preparedID = a.of.gtid, a.of.id
	if tx.End = a.end.begin; tx.Last {
		tx.End = d.coords
		a.part.close()
		d.again = nil
	}
	d.yield(tx)
}

// closeAgain ends the reading of a prepared part, if one is read.
func (d *decoder) closeAgain() {
	if d.again != nil {
		d.again.part.close()
		d.again = nil
	}
}

// wirePart is a connection of which one transaction was asked for: everything that the server has, without that.
type wirePart struct {
	wire *wire
	feed *feed
}

// reread opens a connection that sends a prepared part again, if the server still has it.
func (f *feed) reread(ctx context.Context, of *transaction) (part, error) {
	conn, err := sqlconn.Dial(ctx, f.db)
	if err != nil {
		return nil, errs.New(errs.MySQLUnreachable, err, "binlog of %s", f.db.Addr)
	}
	executed, _, err := Executed(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("binlog of %s: %w", f.db.Addr, err)
	}
	var one gtid.Set
	one.AddGTID(of.id)
	all := executed.Subtract(one)
	w, err := prepareWire(ctx, f.db, conn, &all, seen{})
	if err != nil {
		return nil, err
	}
	p := &wirePart{wire: w, feed: f}
	if w.server != f.server {
		p.close()
		return nil, f.another(w)
	}
	if err := w.dump(all); err != nil {
		p.close()
		return nil, err
	}
	f.mu.Lock()
	f.mu.part = w
	closed := f.mu.closed || f.mu.interrupted
	f.mu.Unlock()
	if closed {
		p.close()
		return nil, errClosed
	}
	w.heard = &f.heard
	f.heard.Store(time.Now().UnixNano())
	return p, nil
}

func (p *wirePart) next() (rawEvent, error) { return p.wire.next() }
func (p *wirePart) keep()                   { p.wire.kept, p.wire.dull = true, 0 }

func (p *wirePart) close() {
	p.wire.sock.Close()
	p.feed.mu.Lock()
	defer p.feed.mu.Unlock()
	p.feed.mu.part = nil
}

// filePart is a log file that is opened once more. Offsets tell the transaction, since it may have no GTID.
type filePart struct {
	file *file
	from int64 // the end of its GTID event
}

func (f *file) reread(of *transaction) (part, error) {
	again := &file{paths: []string{of.path}, dec: newDecoder(f.dec.follow)}
	f.mu.Lock()
	f.mu.part = again
	closed := f.mu.closed
	f.mu.Unlock()
	if closed {
		return nil, errClosed
	}
	if err := again.next(); err != nil {
		return nil, err
	}
	return filePart{again, int64(of.begin.Pos)}, nil
}

func (p filePart) next() (rawEvent, error) {
	for {
		if p.file.at == p.file.size {
			return rawEvent{}, p.file.damaged("ends before what was prepared in it")
		}
		ev, err := p.file.read()
		if err != nil || p.file.at >= p.from {
			return ev, err
		}
	}
}

func (p filePart) keep()  {}
func (p filePart) close() { p.file.Close() }
