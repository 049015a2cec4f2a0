package vreplication

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"braid/internal/apply"
	"braid/internal/base/timeouts"
	"braid/internal/bulk"
	"braid/internal/gtid"
	"braid/internal/rowimage"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// initialize records where the stream begins and what has to be copied, at once.
func (r *run) initialize(ctx context.Context, position gtid.Set) error {
	tables, err := r.tables(ctx)
	if err != nil {
		return err
	}
	sql := []string{fmt.Sprintf("UPDATE _braid.vreplication SET pos='%s', state='Copying', message=NULL, time_updated=%d WHERE id=%d AND state NOT IN ('Stopped','Error')",
		position, nowUS(), r.row.ID), logStatement(r.row.ID, "copy begins", Copying, position.String())}
	keyless, err := r.keyless(ctx, tables, position)
	if err != nil {
		return err
	}
	for _, name := range tables {
		sql = append(sql, fmt.Sprintf("INSERT IGNORE INTO _braid.copy_state (vrepl_id, table_name, whole) VALUES (%d, %s, %d)",
			r.row.ID, sqlconn.Quote(name), truth(slices.Contains(keyless, name))))
	}
	if err := execAll(ctx, r.conn, sql...); err != nil {
		return fmt.Errorf("begin copy: %w", err)
	}
	if r.copies, r.order, err = loadCopies(ctx, r.conn, r.row.ID); err != nil {
		return err
	}
	r.row.Pos, r.row.State = position, Copying
	r.ap.Reset(position)
	r.c.begin(position)
	r.savedAt = time.Now()
	r.log.Info("copy begins", "position", position, "tables", len(tables))
	return nil
}

type windowKind uint8

const (
	windowCopy windowKind = iota
	windowDiff
)

// window is a chunk that was asked for.
type window struct {
	id    uint64
	kind  windowKind
	part  *copyRange // of a copy
	asked time.Time
	end   func(ctx context.Context, ch *vstream.Chunk) error
}

// windows are the chunks under way, and how large the next one may be.
type windows struct {
	open     map[uint64]*window
	next     uint64
	bytes    int64                 // size of a chunk
	ready    []*copyRange          // whose next chunk may be asked for, in order
	queued   bool                  // ready was filled
	splits   map[uint64]*tableCopy // that were asked for
	unmarked []*tableCopy          // copied, which copy_state has yet to say
	applying int                   // chunks that the applier has, and has not committed

	writer    *bulk.Writer
	tables    map[*apply.Table]*bulk.Table
	meter     meter
	paused    string
	published time.Time
}

// copySizes are bounds of a copy.
type copySizes struct {
	// A chunk is one commit, and what changes its rows waits for it, so its size is a pause of those changes: about half a second is aimed at. All
	// chunks under way are in memory, with what the applier holds of them.
	least, first, most int64
	// A table that one chunk does not exhaust is split into ranges of about this size, a few chunks. As many as may be under way are worked at, then
	// the next: larger ones would leave readers without work at the end.
	rangeBytes int64
	ranges     int
	// underWay is how many chunks may be between their request and their commit. It is twice the readers: while some are read others are
	// written, and whichever side is slower holds more of them.
	underWay int
	// gently is how many there may be while the source holds the copy back: one is read while another is written. Many at once take more from those who
	// write than one after the other do.
	gently int
}

var defaultSizes = copySizes{least: 256 << 10, first: 2 << 20, most: 4 << 20, rangeBytes: 16 << 20, ranges: 64, underWay: 8, gently: 2}

const (
	diffChunkRows = 20_000
	slowChunk     = time.Second
	fastChunk     = 300 * time.Millisecond
)

// copyLinger is how long changes wait for others while tables are copied, when nobody looks at the target: one commit of many leaves more to
// the copy, and to those who write.
const copyLinger = 50 * time.Millisecond

// farBehind is the lag above which no window is opened: what the source would have to remember has no bound, and the copy takes
// from the changes what they need.
const farBehind = timeouts.MaxLag

func (r *run) openWindow(w *window, req vstream.WindowRequest) error {
	if r.windows.bytes == 0 {
		r.windows.bytes = r.c.e.sizes.first
	}
	r.windows.next++
	w.id, req.ID = r.windows.next, r.windows.next
	if req.MaxBytes = r.windows.bytes; w.kind == windowDiff {
		req.MaxRows = cmp.Or(req.MaxRows, diffChunkRows)
	}
	w.asked = time.Now()
	r.windows.open[req.ID] = w
	if err := r.stream.OpenWindow(req); err != nil {
		return fmt.Errorf("open window of %s: %w", req.Table, err)
	}
	return nil
}

// diffing says that a window is open which is none of the copy's.
func (w *windows) diffing() bool {
	for _, o := range w.open {
		if o.kind == windowDiff {
			return true
		}
	}
	return false
}

// ask opens the next windows: of tables that are copied; when all are, and complete, what diffs want.
func (r *run) ask(ctx context.Context) error {
	if r.row.Pos.Empty() {
		return nil
	}
	if len(r.others) > 0 && !r.ap.Open() && r.c.stale.Swap(false) {
		if err := r.rebind(ctx); err != nil {
			return err
		}
	}
	if !r.windows.queued {
		r.windows.queued = true
		r.queue()
	}
	if err := r.mark(ctx); err != nil {
		return err
	}
	if !r.copied() {
		r.progress()
		if r.paused() {
			return nil
		}
		if err := r.askCopy(); err != nil {
			return err
		}
		if r.row.State != Copying {
			return r.setState(ctx, Copying)
		}
		return nil
	}
	if r.lingers {
		r.lingers = false
		r.ap.SetLinger(0)
	}
	if r.aside {
		return r.comeBack(ctx)
	}
	if running, err := r.finish(ctx); !running || err != nil {
		return err
	}
	if len(r.windows.open) > 0 || r.behind() {
		return nil
	}
	return r.differ.ask(ctx)
}

// mark writes down which tables that were split are copied: other streams look there.
func (r *run) mark(ctx context.Context) error {
	for len(r.windows.unmarked) > 0 {
		tc := r.windows.unmarked[0]
		if err := r.c.e.exec(ctx, tc.mark(r.row.ID)); err != nil {
			return fmt.Errorf("copy %s: %w", tc.name, err)
		}
		tc.marked = true
		r.windows.unmarked = r.windows.unmarked[1:]
	}
	return nil
}

// copied says that all tables are.
func (r *run) copied() bool {
	for _, tc := range r.order {
		if !tc.done {
			return false
		}
	}
	return true
}

// behind says that the changes need everything the target has. The user's bound counts when it is the narrower one.
func (r *run) behind() bool {
	bound := farBehind
	if own := time.Duration(r.row.MaxLag) * time.Second; own > 0 {
		bound = min(bound, own)
	}
	return r.c.lag() > bound+r.row.Source.delay()
}

// paused says that no chunk is to be asked for now. Those that are under way go on.
func (r *run) paused() bool {
	reason := r.throttling.Reason()
	if reason == "" && r.behind() {
		reason = fmt.Sprintf("changes of the source come first, the stream is %s behind", r.c.lag().Round(time.Millisecond))
	}
	if reason != r.windows.paused {
		kind := pausedBy(reason)
		switch before := pausedBy(r.windows.paused); {
		case kind == before: // another figure
		case kind != "":
			r.log.Info("copy pauses", "reason", reason)
		default:
			r.log.Info("copy goes on")
		}
		r.windows.paused = reason
		r.windows.published = time.Time{}
		r.progress()
	}
	return reason != ""
}

// askCopy asks for chunks until enough are under way.
func (r *run) askCopy() error {
	most := r.c.e.sizes.underWay
	if r.windows.meter.held {
		most = min(most, r.c.e.sizes.gently)
	}
	for len(r.windows.ready) > 0 && len(r.windows.open)+r.windows.applying < most {
		rg := r.windows.ready[0]
		r.windows.ready = r.windows.ready[1:]
		req, err := r.request(rg)
		if err != nil {
			return err
		}
		if err := r.openWindow(&window{kind: windowCopy, part: rg}, req); err != nil {
			return err
		}
	}
	return nil
}

// request is what a range's next chunk is asked for with.
func (r *run) request(rg *copyRange) (req vstream.WindowRequest, err error) {
	req.Table = rg.table.name
	if rg.table.whole {
		req.Whole, err = r.whole(rg.table)
		return req, err
	}
	req.Order = rg.table.order
	if req.After, err = rg.key(rg.last); err != nil {
		return req, err
	}
	req.Until, err = rg.key(rg.upto)
	return req, err
}

// queue makes everything that is to be copied ready.
func (r *run) queue() {
	for _, tc := range r.order {
		if tc.done && !tc.marked {
			r.windows.unmarked = append(r.windows.unmarked, tc)
		}
		for _, rg := range tc.ranges {
			if !rg.done && !r.c.vanished[tc.name] {
				r.windows.makeReady(rg)
			}
		}
	}
}

// makeReady says that the next chunk of a range may be asked for. The order of what is ready is one for all streams that copy the same: so they work at
// the same ranges and share what is read of them, and none waits for another that waits for it.
func (w *windows) makeReady(rg *copyRange) {
	at, _ := slices.BinarySearchFunc(w.ready, rg, (*copyRange).compare)
	w.ready = slices.Insert(w.ready, at, rg)
}

// key reads a stored key; nil stays nil.
func (rg *copyRange) key(raw []byte) (rowimage.Row, error) {
	if raw == nil {
		return nil, nil
	}
	key, err := decodeKey(raw)
	if err != nil {
		return nil, permanent{fmt.Errorf("copy %s: stored key: %w", rg.table.name, err)}
	}
	return key, nil
}

// chunk is what one window brought, at its place in the stream.
func (r *run) chunk(ctx context.Context, ch *vstream.Chunk) error {
	w := r.windows.open[ch.Window]
	if w == nil {
		return permanent{fmt.Errorf("the stream sent a chunk of window %d, which was not asked for", ch.Window)}
	}
	if w.kind == windowCopy && w.part.table.whole {
		return r.wholeChunk(ctx, w, ch)
	}
	delete(r.windows.open, ch.Window)
	if w.kind == windowCopy {
		return r.copyChunk(ctx, w, ch)
	}
	if err := r.commit(ctx); err != nil {
		return err
	}
	return w.end(ctx, ch)
}

// copyChunk gives the rows to the applier, which commits them together with the progress of their range (W2), beside other chunks and after the changes
// that came before them.
func (r *run) copyChunk(ctx context.Context, w *window, ch *vstream.Chunk) error {
	plan, rg := r.plans[ch.TableID], w.part
	if plan == nil && len(ch.Rows) > 0 {
		return permanent{fmt.Errorf("chunk of table %d, which the stream has not described", ch.TableID)}
	}
	if ch.Rekeyed {
		return r.copyAgain(ctx, rg.table)
	}
	if plan != nil && rg.no == 0 {
		rg.table.order, rg.table.def = plan.Source.KeyOrder(), plan.Source
	}
	last := rg.last
	if ch.Last != nil {
		last = encodeKey(ch.Last)
	}
	var end gtid.Set
	if ch.Done {
		var err error
		if end, err = gtid.Parse(ch.Position); err != nil {
			return permanent{fmt.Errorf("position of a chunk: %w", err)}
		}
	}
	n, bytes := int64(len(ch.Rows)), rowBytes(ch.Rows)
	c := apply.Chunk{TableID: ch.TableID, Rows: ch.Rows, Save: []string{rg.save(r.row.ID, last, n, bytes, ch.Done, ch.Position)}}
	if plan == nil {
		c.TableID = 0
	}
	if n > 0 && !plan.merge {
		write, err := r.bulkWrite(ctx, plan, ch.Rows)
		if err != nil {
			return err
		}
		c.Write = write
	}
	if plan != nil && plan.merge { // rows of others may stand where these belong: one after the other, as they come
		if err := r.commit(ctx); err != nil {
			return err
		}
	}
	arrived := time.Now()
	r.windows.applying++
	c.Done = func(err error) {
		r.windows.applying--
		if err != nil {
			return // the run ends with it
		}
		now := time.Now()
		r.windows.meter.add(now, n, bytes, arrived.Sub(w.asked), now.Sub(arrived), ch.HeldBack)
		r.resize(now.Sub(arrived))
		rg.last, rg.copied, rg.bytes, rg.done, rg.end = last, rg.copied+n, rg.bytes+bytes, ch.Done, end
		r.advanced(rg)
		r.c.poke() // ask again
	}
	if err := r.ap.Chunk(ctx, c); err != nil {
		return fmt.Errorf("copy %s: %w", rg.table.name, err)
	}
	return nil
}

// rowBytes is the size of the cells.
func rowBytes(rows []rowimage.Row) (n int64) {
	for _, row := range rows {
		n += int64(row.Size())
	}
	return n
}

// copyAgain begins the copy of a table again: its key has changed, so that the keys up to which it was copied do not tell what is missing. Its rows
// stay; they are the source's (W1), and chunks replace them.
func (r *run) copyAgain(ctx context.Context, tc *tableCopy) error {
	if err := r.commit(ctx); err != nil {
		return err
	}
	r.log.Info("the key of the table has changed while it was copied: its copy begins again", "table", tc.name, "rows", tc.copied)
	if err := r.c.e.exec(ctx, append(forget(r.row.ID, tc.name, tc.whole), logStatement(r.row.ID, "copy begins again", r.row.State, "the key of "+tc.name+" has changed"))...); err != nil {
		return fmt.Errorf("copy %s again: %w", tc.name, err)
	}
	return errAgain
}

// bulkWrite makes the function that writes a chunk's rows through a session of the applier.
func (r *run) bulkWrite(ctx context.Context, plan *tablePlan, rows []rowimage.Row) (func(context.Context, *sqlconn.Conn) error, error) {
	if r.windows.writer == nil {
		err := r.c.e.pool.Do(ctx, func(conn *sqlconn.Conn) (err error) {
			r.windows.writer, err = bulk.NewWriter(ctx, conn)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	table := r.windows.tables[plan.Table]
	if table == nil {
		var err error
		if table, err = bulk.NewTable(plan.Source, plan.Target); err != nil {
			return nil, permanent{err}
		}
		if r.windows.tables == nil {
			r.windows.tables = map[*apply.Table]*bulk.Table{}
		}
		r.windows.tables[plan.Table] = table
	}
	writer := r.windows.writer
	return func(ctx context.Context, conn *sqlconn.Conn) error {
		return writer.Write(ctx, conn, table, rows)
	}, nil
}

// advanced is called when a chunk of the range is committed.
func (r *run) advanced(rg *copyRange) {
	tc := rg.table
	tc.settle()
	switch {
	case tc.done:
		r.tableCopied(tc)
	case rg.done:
	case rg.no == 0 && !tc.looked: // it is larger than a chunk
		tc.looked = true
		r.askSplit(tc)
	default:
		r.windows.makeReady(rg)
	}
}

// askSplit asks how to cut what is left of a table. It waits for the answer, which takes as long as a chunk.
func (r *run) askSplit(tc *tableCopy) {
	if r.windows.splits == nil {
		r.windows.splits = map[uint64]*tableCopy{}
	}
	r.windows.next++
	r.windows.splits[r.windows.next] = tc
	if err := r.stream.Split(vstream.SplitRequest{ID: r.windows.next, Table: tc.name, Bytes: r.c.e.sizes.rangeBytes, Most: r.c.e.sizes.ranges}); err != nil {
		r.log.Debug("table is not split", "table", tc.name, "error", err)
		delete(r.windows.splits, r.windows.next)
		r.windows.makeReady(tc.ranges[0]) // one range will do; if the stream has ended, Recv says why
	}
}

// split takes the answer. Cuts that are known to lie in what is copied already are left out; of others the first ranges may be empty, and some rows read again.
func (r *run) split(ctx context.Context, s *vstream.Split) error {
	tc := r.windows.splits[s.ID]
	if tc == nil {
		return permanent{fmt.Errorf("the stream sent a split %d, which was not asked for", s.ID)}
	}
	delete(r.windows.splits, s.ID)
	tc.total = max(tc.total, s.Rows)
	last, err := tc.ranges[0].key(tc.ranges[0].last)
	if err != nil {
		return err
	}
	cuts := slices.DeleteFunc(slices.Clone(s.Keys), func(key rowimage.Row) bool { return tc.def != nil && tc.def.KeyReached(key, last) })
	if len(cuts) == 0 {
		r.windows.makeReady(tc.ranges[0])
		return nil
	}
	if err := r.c.e.exec(ctx, tc.split(r.row.ID, cuts)...); err != nil {
		return fmt.Errorf("copy %s: split: %w", tc.name, err)
	}
	r.log.Info("table is copied in ranges", "table", tc.name, "ranges", len(tc.ranges)-1)
	for _, rg := range tc.ranges[1:] {
		r.windows.makeReady(rg)
	}
	return nil
}

func (r *run) resize(took time.Duration) {
	switch {
	case took > slowChunk:
		r.windows.bytes = max(r.c.e.sizes.least, r.windows.bytes/2)
	case took < fastChunk:
		r.windows.bytes = min(r.c.e.sizes.most, r.windows.bytes*2)
	}
}

func (r *run) tableCopied(tc *tableCopy) {
	r.log.Info("table copied", "table", tc.name, "rows", tc.copied)
	if tc.marked = len(tc.ranges) == 1; !tc.marked {
		r.windows.unmarked = append(r.windows.unmarked, tc)
	}
}

// strict makes what does not fit an error from here on. Everything is copied, and everything that came before the last chunks is committed: until
// then a change that came before a chunk may be applied after it, be it by the next run. Its row may be missing: the window that was
// open when the change passed has left it out.
func (r *run) strict(ctx context.Context) error {
	if !slices.ContainsFunc(r.order, func(tc *tableCopy) bool { return !tc.strict }) {
		return nil
	}
	err := r.ap.Barrier(ctx, func(ctx context.Context, conn *sqlconn.Conn) error {
		_, err := conn.Exec(ctx, fmt.Sprintf("UPDATE _braid.copy_state SET done=2 WHERE vrepl_id=%d", r.row.ID))
		return err
	})
	if err != nil {
		return fmt.Errorf("end the copy: %w", err)
	}
	for _, tc := range r.order {
		tc.strict = true
	}
	for id, p := range r.plans {
		if p.copy != nil {
			r.setMode(id, p)
		}
	}
	r.windows.tables = nil
	return nil
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// blob is a literal of binary data.
func blob(b []byte) string {
	if b == nil {
		return "NULL"
	}
	if len(b) == 0 {
		return "''"
	}
	return "0x" + hex.EncodeToString(b)
}
