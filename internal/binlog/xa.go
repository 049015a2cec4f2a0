package binlog

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// xaPrepare ends the first part of an XA transaction. Its rows are not visible on the source before XA COMMIT, which may come in
// another file, days later: they are held, and the GTID of the part stays out of the position (B2). What is too much to hold is read again then.
func (d *decoder) xaPrepare(body []byte) error {
	onePhase, xid, ok := parseXAPrepare(body)
	if !ok || d.trx == nil {
		return d.malformed("XA_PREPARE", nil)
	}
	if onePhase || d.rereads {
		return d.commit("XA_PREPARE")
	}
	held := *d.trx
	t := &held
	d.trx = nil
	t.xid, t.path = xid, d.path
	d.held[xid] = t
	d.heldLen += t.bytes
	d.yield(&Mark{End: d.coords})
	return nil
}

// xaCommit applies the held part at the place of its commit. No other transaction in between can depend on it: the source held its locks.
func (d *decoder) xaCommit(xid string) error {
	t := d.release(xid)
	if t == nil && d.lenient {
		return d.commit("QUERY")
	}
	if t == nil {
		return d.refuse("QUERY", fmt.Sprintf("XA COMMIT %s of a transaction that was prepared before the stream's position", xid),
			"on the source: GRANT XA_RECOVER_ADMIN ON *.* TO the account of the stream; then copy the tables again: without the privilege a stream cannot know that one is prepared when it begins")
	}
	end := d.trx
	d.trx = nil
	if t.dropped || end.gtid != "" && d.done.gtid == end.gtid { // parts were passed on before a cut: only the log has it in the same parts
		return d.readAgain(t, end)
	}
	end.prepared, end.rows, end.bytes, end.texts, end.events = t, t.rows, t.bytes, t.texts, t.events
	end.Length += t.Length
	d.cost += t.bytes // it was not with its own event any more
	d.finish(end)
	return nil
}

func (d *decoder) xaRollback(xid string) {
	end := d.trx
	d.trx = nil
	if t := d.release(xid); t != nil {
		end.prepared = t
	}
	d.finish(end)
}

func (d *decoder) release(xid string) *transaction {
	t := d.held[xid]
	if t != nil {
		delete(d.held, xid)
		d.heldLen -= t.bytes
	}
	return t
}

// parseXAPrepare reads the event: one_phase u8, format id u32, lengths of gtrid and bqual u32, and both.
func parseXAPrepare(b []byte) (onePhase bool, xid string, ok bool) {
	if len(b) < 13 {
		return false, "", false
	}
	format := int32(binary.LittleEndian.Uint32(b[1:]))
	g, q := int(binary.LittleEndian.Uint32(b[5:])), int(binary.LittleEndian.Uint32(b[9:]))
	data := b[13:]
	if g < 0 || q < 0 || g > 64 || q > 64 || len(data) < g+q {
		return false, "", false
	}
	return b[0] != 0, formatXID(data[:g], data[g:g+q], format), true
}

func formatXID(gtrid, bqual []byte, format int32) string {
	return fmt.Sprintf("x'%x',x'%x',%d", gtrid, bqual, format)
}

// normalXID brings the text of an XA statement into the form of formatXID. The server writes X'…',X'…',n.
func normalXID(s string) string {
	s, _, _ = strings.Cut(strings.TrimRight(strings.ToLower(s), "; \t\r\n"), " one phase")
	return strings.ReplaceAll(strings.TrimSpace(s), " ", "")
}
