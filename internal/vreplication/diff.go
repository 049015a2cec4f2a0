package vreplication

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"braid/internal/rowimage"
	"braid/internal/sqlconn"
	"braid/internal/vdiff"
	"braid/internal/vstream"
)

// Bounds of a diff.
const (
	diffPause    = 200 * time.Millisecond
	diffKeys     = 1000             // keys that are compared again at once
	diffMoving   = 2 * time.Second  // how long a row may differ in a merge, beyond the other streams' lag: it may be moving
	diffPatience = 60 * time.Second // after which rows that never come to rest fail the diff
	diffSamples  = 20               // differing rows in the report, unless asked otherwise
)

func (p *tablePlan) diffTable(strays bool) *vdiff.Table {
	return vdiff.NewTable(p.Table, p.owned, p.home, strays)
}

// diffJob is a row of _braid.vdiff: the comparison of one table of one stream.
type diffJob struct {
	uuid, table string
	last        []byte // compared up to here, encoded; nil: nothing yet
	samples     int
	compared    int64
	counts      map[vdiff.Kind]int64
	report      []vdiff.RowDiff

	// of the chunk under way
	next    *vstream.Chunk // its rows compared, some keys may not be settled
	recheck map[string]rowimage.Row
	since   time.Time // when the recheck began
}

// outcome is what the comparing goroutine found.
type outcome struct {
	ch      *vstream.Chunk
	table   *vdiff.Table
	keys    map[string]rowimage.Row // of a recheck; nil for a range
	unknown map[string]bool         // touched, and the applier has not seen how: not to be judged
	res     vdiff.Result
	err     error
}

// differ runs the diffs of a stream. A chunk stands at its place in the stream: the applier has committed everything
// before it and nothing behind it, so a snapshot of the target taken there must hold the chunk's rows, except for keys
// that passed during the window. Those are asked for again, and the images of their changes are watched: a key that
// passes again is compared with the last image, so that even a row which never rests is settled.
type differ struct {
	r        *run
	group    *errgroup.Group
	ctx      context.Context
	conn     *sqlconn.Conn // for snapshots; nil until needed
	outcomes chan outcome
	job      *diffJob
	busy     bool
	pausedAt time.Time

	watched map[string]rowimage.Row // keys of a recheck → last image that passed; nil: deleted. Absent: none passed.
	watchOn map[string]rowimage.Row // what is watched for
	table   string                  // source table that is watched
}

func newDiffer(r *run, group *errgroup.Group, ctx context.Context) *differ {
	return &differ{r: r, group: group, ctx: ctx, outcomes: make(chan outcome, 1)}
}

func (d *differ) close() {
	if d.conn != nil {
		d.conn.Close()
	}
}

// ask opens the next window of a diff, if one is wanted and the stream is running.
func (d *differ) ask(ctx context.Context) error {
	if d.busy || d.r.row.State != Running {
		return nil
	}
	if d.job == nil {
		if !d.r.c.diffs.Swap(false) {
			return nil
		}
		if err := d.load(ctx); err != nil {
			d.r.c.diffs.Store(true)
			return err
		}
		if d.job == nil {
			return nil
		}
		d.r.c.diffs.Store(true) // there may be another after this one
	}
	if len(d.job.recheck) > 0 {
		return d.askKeys()
	}
	req := vstream.WindowRequest{Table: d.job.table, IncludeTouched: true}
	if d.job.last != nil {
		var err error
		if req.After, err = decodeKey(d.job.last); err != nil {
			return d.fail(ctx, err)
		}
	}
	d.busy = true
	return d.r.openWindow(&window{kind: windowDiff, end: func(ctx context.Context, ch *vstream.Chunk) error { return d.chunk(ctx, ch, nil) }}, req)
}

// askKeys asks for keys again. A pause between rounds lets rows that move arrive.
func (d *differ) askKeys() error {
	if time.Since(d.pausedAt) < diffPause {
		return nil
	}
	d.pausedAt = time.Now()
	keys := make(map[string]rowimage.Row, min(len(d.job.recheck), diffKeys))
	req := vstream.WindowRequest{Table: d.job.table, IncludeTouched: true}
	for s, key := range d.job.recheck {
		if len(keys) == diffKeys {
			break
		}
		keys[s] = key
		req.Keys = append(req.Keys, key)
	}
	d.busy = true
	d.watchOn, d.watched, d.table = keys, map[string]rowimage.Row{}, d.job.table
	return d.r.openWindow(&window{kind: windowDiff, end: func(ctx context.Context, ch *vstream.Chunk) error { return d.chunk(ctx, ch, keys) }}, req)
}

// watch notes the images of keys that are being compared again.
func (d *differ) watch(tx *vstream.Transaction) {
	if d.watchOn == nil {
		return
	}
	for i := range tx.Changes {
		c := &tx.Changes[i]
		p := d.r.plans[c.TableID]
		if p == nil || d.r.name(p.Source) != d.table {
			continue
		}
		for _, image := range []struct{ row, left rowimage.Row }{{c.Before, nil}, {c.After, c.After}} {
			if image.row == nil {
				continue
			}
			if key := vdiff.EncodeKey(p.Key(image.row)); d.watchOn[key] != nil {
				d.watched[key] = image.left
			}
		}
	}
}

// chunk takes the snapshot and lets a goroutine compare, so that the stream goes on meanwhile.
func (d *differ) chunk(ctx context.Context, ch *vstream.Chunk, keys map[string]rowimage.Row) error {
	p := d.r.plans[ch.TableID]
	if p == nil {
		return permanent{fmt.Errorf("chunk of table %d, which the stream has not described", ch.TableID)}
	}
	if ch.Rekeyed {
		return d.fail(ctx, fmt.Errorf("the key of %s has changed: begin again", d.job.table))
	}
	if d.conn == nil {
		conn, err := sqlconn.Dial(ctx, d.r.c.e.deps.Admin.WithDB(d.r.row.DBName))
		if err != nil {
			return fmt.Errorf("diff: connect to the target: %w", err)
		}
		d.conn = conn
	}
	if err := vdiff.Snapshot(ctx, d.conn); err != nil {
		return err
	}
	o := outcome{ch: ch, keys: keys, table: p.diffTable(d.first())}
	rows := ch.Rows
	skip := map[string]bool{}
	for _, key := range ch.Touched {
		s := vdiff.EncodeKey(key)
		if image, seen := d.watched[s]; keys != nil && seen {
			if image != nil {
				rows = append(rows, image)
			}
			continue
		}
		skip[s] = true
	}
	rows = distinct(o.table, rows, d.watched, keys, ch.Touched)
	o.unknown = skip
	d.watchOn, d.watched = nil, nil
	conn, last := d.conn, ch.Last
	if ch.Done {
		last = nil
	}
	var after rowimage.Row
	if d.job.last != nil {
		var err error
		if after, err = decodeKey(d.job.last); err != nil {
			return d.fail(ctx, err)
		}
	}
	d.group.Go(func() error {
		o.err = o.compare(d.ctx, conn, rows, after, last)
		d.outcomes <- o
		return nil
	})
	return nil
}

// distinct keeps one row a key: a touched row may be in the chunk too, then the watched image counts.
func distinct(t *vdiff.Table, rows []rowimage.Row, watched, keys map[string]rowimage.Row, touched []rowimage.Row) []rowimage.Row {
	if keys == nil || len(touched) == 0 {
		return rows
	}
	last := map[string]rowimage.Row{}
	for _, row := range rows {
		last[t.KeyString(row)] = row
	}
	for _, key := range touched {
		s := vdiff.EncodeKey(key)
		if image, seen := watched[s]; seen && image == nil {
			delete(last, s)
		}
	}
	rows = rows[:0:0]
	for _, row := range last {
		rows = append(rows, row)
	}
	return rows
}

// first says that this stream reports target rows that belong to no source: one of a merge's streams does.
func (d *differ) first() bool {
	for _, o := range d.r.others {
		if o.ID < d.r.row.ID {
			return false
		}
	}
	return true
}

func (o *outcome) compare(ctx context.Context, conn *sqlconn.Conn, rows []rowimage.Row, after, last rowimage.Row) error {
	var target []rowimage.Row
	var err error
	if o.keys == nil {
		target, err = o.table.Range(ctx, conn, after, last)
	} else {
		keys := make([]rowimage.Row, 0, len(o.keys))
		for _, key := range o.keys {
			keys = append(keys, key)
		}
		target, err = o.table.Keys(ctx, conn, keys)
	}
	if err != nil {
		return err
	}
	if err := vdiff.Release(ctx, conn); err != nil {
		return err
	}
	o.res, err = o.table.Compare(rows, target, o.unknown)
	return err
}

// compared judges what a comparison found.
func (d *differ) compared(ctx context.Context, o outcome) error {
	d.busy = false
	j := d.job
	if o.err != nil {
		if errors.Is(o.err, sqlconn.ErrLost) || ctx.Err() != nil {
			return o.err
		}
		return d.fail(ctx, o.err)
	}
	j.compared += o.res.Compared
	if o.keys == nil {
		j.next, j.recheck, j.since = o.ch, map[string]rowimage.Row{}, time.Now()
		for _, key := range o.ch.Touched {
			j.recheck[vdiff.EncodeKey(key)] = key
		}
	}
	differ := map[string]bool{}
	for i := range o.res.Differ {
		diff := &o.res.Differ[i]
		key := vdiff.EncodeKey(diff.Key)
		differ[key] = true
		if o.keys == nil || time.Since(j.since) < d.moving() {
			j.recheck[key] = diff.Key // looked at once more: a row that moves between sources settles
			j.compared--
			continue
		}
		j.found(o.table, diff)
		delete(j.recheck, key)
	}
	for key := range o.keys {
		if !differ[key] && !o.unknown[key] {
			delete(j.recheck, key)
		}
	}
	switch {
	case len(j.recheck) == 0:
		return d.advance(ctx)
	case time.Since(j.since) > diffPatience:
		return d.fail(ctx, fmt.Errorf("%d rows did not come to rest, one is %s", len(j.recheck), anyKey(o.table, j.recheck)))
	}
	return nil
}

// moving is how long a row that differs may be on its way from one source to another: until all of them are applied here.
func (d *differ) moving() time.Duration {
	if len(d.r.others) == 0 {
		return 0
	}
	longest := diffMoving
	for _, o := range d.r.others {
		c := d.r.c.e.stream(o.ID)
		if c == nil || c.lag() < 0 {
			return diffPatience / 2
		}
		longest = max(longest, diffMoving+2*c.lag())
	}
	return min(longest, diffPatience/2)
}

func anyKey(t *vdiff.Table, keys map[string]rowimage.Row) string {
	for _, key := range keys {
		return t.FormatKey(key)
	}
	return ""
}

func (j *diffJob) found(t *vdiff.Table, diff *vdiff.Difference) {
	j.counts[diff.Kind()]++
	if len(j.report) < j.samples {
		j.report = append(j.report, t.Report(diff))
	}
}

// advance records a settled chunk; the diff goes on behind it after a restart.
func (d *differ) advance(ctx context.Context) error {
	j := d.job
	state := "running"
	if j.next.Done {
		state = "completed"
	}
	if j.next.Last != nil {
		j.last = encodeKey(j.next.Last)
	}
	if err := d.persist(ctx, state, ""); err != nil {
		return err
	}
	if j.next.Done {
		d.r.log.Info("diff of a table is complete", "uuid", j.uuid, "table", j.table, "rows", j.compared, "differ", j.counts)
		d.job = nil
	}
	return nil
}

// fail ends a table's diff with an error; the stream goes on.
func (d *differ) fail(ctx context.Context, cause error) error {
	d.r.log.Warn("diff of a table failed", "uuid", d.job.uuid, "table", d.job.table, "error", cause)
	err := d.persist(ctx, "error", cause.Error())
	d.job, d.busy = nil, false
	if d.conn != nil {
		d.conn.Close() // its read view ends with it
		d.conn = nil
	}
	return err
}

func (d *differ) persist(ctx context.Context, state, text string) error {
	j := d.job
	report, err := json.Marshal(j.report)
	if err != nil {
		return err
	}
	total := int64(0)
	if tc := d.r.copies[j.table]; tc != nil {
		total = max(tc.total, tc.copied)
	}
	err = d.r.c.e.exec(ctx, fmt.Sprintf("UPDATE _braid.vdiff SET state=%s, lastpk=%s, rows_compared=%d, rows_total=%d, mismatched=%d, extra_source=%d, "+
		"extra_target=%d, report=%s, error=%s, updated_at=%d WHERE uuid=%s AND vrepl_id=%d AND table_name=%s",
		sqlconn.Quote(state), blob(j.last), j.compared, max(total, j.compared), j.counts[vdiff.Mismatched], j.counts[vdiff.MissingOnTarget],
		j.counts[vdiff.ExtraOnTarget], sqlconn.Quote(string(report)), quoteText(text), nowUS(), sqlconn.Quote(j.uuid), d.r.row.ID, sqlconn.Quote(j.table)))
	if err != nil {
		return fmt.Errorf("diff progress: %w", err)
	}
	return nil
}

// load takes up the oldest diff that is not complete.
func (d *differ) load(ctx context.Context) error {
	return d.r.c.e.pool.Do(ctx, func(conn *sqlconn.Conn) error {
		res, err := conn.Query(ctx, fmt.Sprintf("SELECT uuid, table_name, lastpk, rows_compared, mismatched, extra_source, extra_target, max_report_rows, report "+
			"FROM _braid.vdiff WHERE vrepl_id=%d AND state IN ('pending','running') ORDER BY created_at, uuid, table_name LIMIT 1", d.r.row.ID))
		if err != nil {
			return fmt.Errorf("read diffs: %w", err)
		}
		if len(res.Rows) == 0 {
			return nil
		}
		c := res.Rows[0]
		n := make([]int64, 5)
		for i := range n {
			if n[i], err = strconv.ParseInt(string(c[3+i]), 10, 64); err != nil {
				return fmt.Errorf("read diffs: %w", err)
			}
		}
		j := &diffJob{uuid: string(c[0]), table: string(c[1]), last: c[2], compared: n[0], samples: int(n[4]),
			counts: map[vdiff.Kind]int64{vdiff.Mismatched: n[1], vdiff.MissingOnTarget: n[2], vdiff.ExtraOnTarget: n[3]}}
		if len(c[8]) > 0 {
			if err := json.Unmarshal(c[8], &j.report); err != nil {
				return fmt.Errorf("read diffs: report: %w", err)
			}
		}
		d.job = j
		return nil
	})
}
