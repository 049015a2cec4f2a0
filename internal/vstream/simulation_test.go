package vstream

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/base/timeouts"
	"braid/internal/binlog"
	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/rowimage"
	"braid/internal/schema"
)

// The simulation drives the window machines of several streams, the scans that they share, and readChunk, with a source that commits as MySQL
// does: a transaction is written to the log, then becomes visible, then its GTID is added to gtid_executed. All that can happen
// between two steps of a window happens at random: writes, commits, the progress of each stream and of each target, other reads, crashes
// of one stream and of all. After each item that a target applies, its rows are compared with the source's at the same place of the log.

// simRow is a row of the table t (k VARCHAR PRIMARY KEY, v), or with an empty k of the table n (v), which has no key. Keys are compared without
// case, as by a collation. Of each row one stream is the owner, by v.
type simRow struct {
	k string
	v int
}

func (r simRow) row() rowimage.Row { return rowimage.Row{[]byte(r.k), fmt.Append(nil, r.v)} }

func simRowOf(row rowimage.Row) (r simRow) {
	r.k = string(row[0])
	fmt.Sscan(string(row[1]), &r.v)
	return r
}

func class(k string) string { return strings.ToLower(k) }

// simState is the contents of t by key class, and how often each row is in n.
type simState struct {
	t map[string]simRow
	n map[simRow]int
}

func newState() simState           { return simState{map[string]simRow{}, map[simRow]int{}} }
func (s simState) clone() simState { return simState{maps.Clone(s.t), maps.Clone(s.n)} }

// simTx is a transaction of the log.
type simTx struct {
	changes  []simChange
	truncate bool
}

type simChange struct{ before, after *simRow }

func (c simChange) keyless() bool {
	return c.before != nil && c.before.k == "" || c.after != nil && c.after.k == ""
}

func (tx *simTx) keyless() bool { return slices.ContainsFunc(tx.changes, simChange.keyless) }

func (s simState) apply(changes []simChange) {
	for _, c := range changes {
		if c.before != nil {
			s.remove(*c.before)
		}
		if c.after != nil {
			s.add(*c.after)
		}
	}
}

func (s simState) remove(r simRow) {
	if r.k != "" {
		delete(s.t, class(r.k))
	} else if s.n[r]--; s.n[r] == 0 {
		delete(s.n, r)
	}
}

func (s simState) add(r simRow) {
	if r.k != "" {
		s.t[class(r.k)] = r
	} else {
		s.n[r]++
	}
}

// faults are deviations from the algorithm, which the simulation must find.
type faults struct {
	skipWait     bool // leave out step 2
	endFirst     bool // read the end of the log before the SELECT
	endExecuted  bool // take gtid_executed for the end of the log
	forgetOldKey bool // of a row whose key changes
	firstOnly    bool // of the streams that share a read, wait only for what one has received
	lateOpen     bool // begin to remember keys when the rows are there
	ignoreNoKey  bool // do not look for changes while the view of a table without a key is opened
	runOn        bool // let the stream go on while it is opened
}

// sim is the source with its streams.
type sim struct {
	r      *rand.Rand
	faults faults
	writes int // that are still to come
	crash  int
	listed bool // windows list their touched keys, and so share nothing
	delay  int  // of what is written, before it is visible
	now    time.Time
	err    error

	log                        []*simTx
	states                     []simState // after that many transactions
	written, visible, executed int
	locked                     bool // n, against writes

	scans   *scans
	epoch   int // grows when the source's process starts anew: reads from before it are void
	reads   []*simRead
	streams []*simStream
	bounds  []rowimage.Row // of the ranges in which t is copied

	// What a run has seen, so that the test can insist on all of it.
	seen simSeen
}

type simSeen struct{ spoiled, crashed, restarted, waited, byKey, shared, missed, atOnce, noKey, read, copied int }

// simRead is a read that goes on step by step.
type simRead struct {
	next func() (struct{}, bool)
	stop func()
}

func newSim(seed uint64, f faults) *sim {
	s := &sim{r: rand.New(rand.NewPCG(seed, 7)), faults: f, now: time.Unix(1e9, 0)}
	s.writes, s.crash = 20+s.r.IntN(60), s.r.IntN(3)
	s.listed, s.delay = s.r.IntN(4) == 0, 1+s.r.IntN(4)
	first := newState()
	for range s.r.IntN(16) {
		first.add(simRow{s.key(), s.value()})
	}
	for range s.r.IntN(5) {
		first.add(simRow{"", s.value()})
	}
	s.states = []simState{first}
	for k := 'd'; k < 'n'; k += rune(3 + s.r.IntN(8)) {
		s.bounds = append(s.bounds, rowimage.Row{[]byte(string(k))})
	}
	s.bounds = append(s.bounds, nil)
	s.startProcess()
	for range 1 + s.r.IntN(3) {
		st := &simStream{sim: s, rows: newState(), id: len(s.streams)}
		st.ranges = make([]simRange, len(s.bounds))
		for i := range st.ranges[1:] {
			st.ranges[i+1].after = s.bounds[i]
		}
		s.streams = append(s.streams, st)
	}
	for _, st := range s.streams {
		st.start()
	}
	return s
}

func (s *sim) startProcess() {
	s.epoch++
	s.scans = newScans(1+s.r.IntN(3), unpaced{})
	for _, r := range s.reads {
		r.stop()
	}
	s.reads, s.locked = nil, false
}

func (s *sim) key() string {
	k := string(rune('a' + s.r.IntN(14)))
	if s.r.IntN(2) == 0 {
		k = strings.ToUpper(k)
	}
	return k
}

func (s *sim) value() int { return s.r.IntN(1000) }

// transaction changes some rows of a state as statements would.
func (s *sim) transaction(state simState) *simTx {
	if s.r.IntN(60) == 0 {
		tx := &simTx{truncate: true}
		for _, r := range state.t {
			tx.changes = append(tx.changes, simChange{before: &r})
		}
		return tx
	}
	state, tx := state.clone(), &simTx{}
	for range 1 + s.r.IntN(3) {
		c := s.change(state)
		if c.before == nil && c.after == nil {
			continue
		}
		state.apply([]simChange{c})
		tx.changes = append(tx.changes, c)
	}
	return tx
}

func (s *sim) change(state simState) (c simChange) {
	if s.r.IntN(6) == 0 {
		if s.locked {
			return c
		}
		rows := slices.SortedFunc(maps.Keys(state.n), func(a, b simRow) int { return a.v - b.v })
		if len(rows) > 0 && s.r.IntN(3) > 0 {
			c.before = &rows[s.r.IntN(len(rows))]
		}
		if c.before == nil || s.r.IntN(2) == 0 {
			c.after = &simRow{"", s.r.IntN(5)}
		}
		return c
	}
	k := s.key()
	old, exists := state.t[class(k)]
	switch {
	case !exists:
		c.after = &simRow{k, s.value()}
	case s.r.IntN(4) == 0:
		c.before = &old
	case s.r.IntN(3) == 0: // move to another key, or to another spelling of the same
		to := s.key()
		if _, taken := state.t[class(to)]; taken {
			to = strings.ToUpper(old.k)
		}
		c = simChange{&old, &simRow{to, old.v}}
	default:
		c = simChange{&old, &simRow{old.k, s.value()}}
	}
	return c
}

// happen lets a random thing happen.
func (s *sim) happen() {
	s.now = s.now.Add(time.Duration(s.r.IntN(40)) * time.Millisecond)
	if s.r.IntN(100) == 0 { // a stall, long enough for somebody's patience to end
		s.now = s.now.Add(time.Duration(s.r.Int64N(int64(2 * timeouts.ScanOpen))))
	}
	st := s.streams[s.r.IntN(len(s.streams))]
	switch s.r.IntN(12) {
	case 0, 1:
		s.write()
	case 2, 3:
		if s.r.IntN(s.delay) == 0 {
			s.visible = min(s.visible+1, s.written)
		}
	case 4:
		s.executed = min(s.executed+1, s.visible)
	case 5, 6:
		st.receive()
	case 7:
		st.consume()
	case 8, 9, 10:
		if n := len(s.reads); n > 0 {
			i := s.r.IntN(n)
			if _, more := s.reads[i].next(); !more && i < len(s.reads) {
				s.reads = slices.Delete(s.reads, i, i+1)
			}
		} else {
			s.scans.advance(s.now)
		}
	case 11:
		if s.crash == 0 || s.r.IntN(30) > 0 {
			s.scans.advance(s.now)
			break
		}
		s.crash--
		s.seen.crashed++
		if s.r.IntN(3) > 0 {
			s.scans.leave(st.member, s.now)
			st.start()
			break
		}
		s.seen.restarted++
		s.startProcess()
		for _, st := range s.streams {
			st.start()
		}
	}
	s.effects()
}

func (s *sim) write() {
	if s.writes == 0 {
		return
	}
	s.writes--
	tx := s.transaction(s.states[s.written])
	state := s.states[s.written].clone()
	state.apply(tx.changes)
	s.log, s.states = append(s.log, tx), append(s.states, state)
	s.written++
}

// effects does what the scans want: what they tell waits in the streams' inboxes.
func (s *sim) effects() {
	for effects := s.scans.take(); len(effects) > 0; effects = s.scans.take() {
		for _, e := range effects {
			if e.read == nil {
				e.member.tell(e.note)
			} else {
				s.startRead(e.read)
			}
		}
	}
}

func (s *sim) startRead(t *turn) {
	if len(t.seats) > 1 {
		s.seen.shared++
	}
	cmd := t.cmd
	if s.faults.firstOnly {
		cmd.received = s.streamOf(t.seats[0].member).openedAt[t.seats[0].serial]
	}
	scans := s.scans
	next, stop := iter.Pull(func(yield func(struct{}) bool) {
		src := &simSource{sim: s, cmd: cmd}
		src.yield = func() { src.stopped = src.stopped || !yield(struct{}{}) }
		var r chunkRead
		var err error
		switch {
		case cmd.kind == holdOpen:
			r, err = src.openView()
		case s.faults.endFirst:
			r, err = src.endFirst()
		default:
			r, err = readChunk(context.Background(), src, cmd)
		}
		if !src.stopped {
			s.seen.read += len(r.rows)
			scans.finished(t, r, err, s.now)
		}
	})
	s.reads = append(s.reads, &simRead{next, stop})
	s.seen.atOnce = max(s.seen.atOnce, len(s.reads))
}

func (s *sim) streamOf(m *member) *simStream {
	for _, st := range s.streams {
		if st.member == m {
			return st
		}
	}
	return &simStream{}
}

func (s *sim) coordinates(n int) binlog.Coordinates {
	return binlog.Coordinates{File: "sim.000001", Pos: uint64(n)}
}

func (s *sim) set(n int) (set gtid.Set) {
	if n > 0 {
		set.AddInterval(gtid.Source{UUID: gtid.UUID{15: 1}}, gtid.Interval{First: 1, Last: int64(n)})
	}
	return set
}

// simSource is what one read needs of the source; between its steps others happen.
type simSource struct {
	sim   *sim
	cmd   *command
	yield func()

	stopped bool // with the process
}

func (r *simSource) waitExecuted(_ context.Context, set gtid.Set) error {
	for !r.stopped && !r.sim.faults.skipWait && !r.sim.set(r.sim.executed).Contains(set) {
		r.yield()
	}
	r.yield()
	return nil
}

func (r *simSource) readRows(_ context.Context, cmd *command) (chunkRead, error) {
	state := r.sim.states[r.sim.visible]
	read := chunkRead{table: cmd.table, done: true}
	limit := max(cmd.req.MaxRows>>cmd.attempt, 1)
	for _, k := range slices.Sorted(maps.Keys(state.t)) {
		if !inRequest(&cmd.req, k) {
			continue
		}
		if len(read.rows) == limit && cmd.req.Keys == nil {
			read.done = false
			break
		}
		read.rows = append(read.rows, state.t[k].row())
	}
	r.yield()
	return read, nil
}

// inRequest reports whether a key class is one that a request asks for.
func inRequest(req *WindowRequest, k string) bool {
	if req.Keys != nil {
		return slices.ContainsFunc(req.Keys, func(key rowimage.Row) bool { return class(string(key[0])) == k })
	}
	return (req.After == nil || k > class(string(req.After[0]))) && (req.Until == nil || k <= class(string(req.Until[0])))
}

func (r *simSource) logEnd(context.Context) (binlog.Coordinates, error) {
	n := r.sim.written
	if r.sim.faults.endExecuted {
		n = r.sim.executed
	}
	r.yield()
	return r.sim.coordinates(n), nil
}

func (r *simSource) endFirst() (chunkRead, error) {
	if err := r.waitExecuted(context.Background(), r.cmd.received); err != nil {
		return chunkRead{}, err
	}
	end, _ := r.logEnd(context.Background())
	read, err := r.readRows(context.Background(), r.cmd)
	read.end = end
	return read, err
}

// openView reads the table n. Its rows are in the result, as if the view had been taken to its end.
func (r *simSource) openView() (chunkRead, error) {
	s := r.sim
	if err := r.waitExecuted(context.Background(), r.cmd.received); err != nil {
		return chunkRead{}, err
	}
	if r.cmd.lock {
		s.locked = true
		for !r.stopped && slices.ContainsFunc(s.log[s.visible:], (*simTx).keyless) { // a lock waits for those who have written to the table
			r.yield()
		}
	}
	read := chunkRead{table: r.cmd.table, locked: r.cmd.lock}
	for row, n := range s.states[s.visible].n {
		for range n {
			read.rows = append(read.rows, row.row())
		}
	}
	r.yield()
	read.end, _ = r.logEnd(context.Background())
	if r.cmd.lock {
		s.locked = false
	}
	for range s.r.IntN(20) { // until the SELECT answers
		r.yield()
	}
	return read, nil
}

// simItem is what a stream sends.
type simItem struct {
	at      int // transactions before the item's end
	changes []simChange
	chunk   *closed
	rows    []rowimage.Row // of it, that the stream keeps
	last    rowimage.Row
}

// simStream is a stream and its target.
type simStream struct {
	*sim
	id     int
	m      *windows
	member *member
	inbox  []note
	tables map[string]*table

	received int
	queue    []simItem
	openedAt map[uint64]gtid.Set

	// The target: rows, position, progress commit together.
	rows     simState
	position int
	ranges   []simRange
	keyless  simRange
	asked    map[uint64]int // the range of a window that was asked for; -1: keys, -2: the table without a key
	windows  uint64
	checked  int
}

type simRange struct {
	after   rowimage.Row
	done    bool
	pending bool
}

func simTable(name string, key []int) *table {
	def := &schema.Table{Name: name, Columns: []schema.Column{{Name: "k"}, {Name: "v"}}, PrimaryKey: key}
	plan, err := filter.Rules{Rules: []filter.Rule{{Table: name}}}.Plan(def)
	if err != nil {
		panic(err)
	}
	return &table{name: name, def: def, key: key, plan: plan}
}

// start begins a stream at the target's position.
func (s *simStream) start() {
	s.m, s.inbox, s.queue = newWindows(), nil, nil
	s.m.near, s.m.most, s.m.tries = uint64(s.r.IntN(6)), 1+s.r.IntN(5), s.r.IntN(3)
	if s.r.IntN(3) == 0 {
		s.m.limit = 150 + s.r.IntN(300)
	}
	s.tables = map[string]*table{"t": simTable("t", []int{0}), "n": simTable("n", nil)}
	s.received, s.asked, s.openedAt = s.position, map[uint64]int{}, map[uint64]gtid.Set{}
	for i := range s.ranges {
		s.ranges[i].pending = false
	}
	s.keyless.pending = false
	s.member = &member{}
	s.member.tell = func(n note) { s.inbox = append(s.inbox, n) }
	s.scans.enter(s.member, s.now)
}

func (s *simStream) owns(r *simRow) bool { return r != nil && r.v%len(s.streams) == s.id }

// receive lets the stream pass a transaction, or hear what the readers tell.
func (s *simStream) receive() {
	if s.step(); s.received == s.written || s.m.holds() && !s.faults.runOn {
		return
	}
	tx := s.log[s.received]
	s.received++
	if tx.truncate {
		s.m.changed("t")
	}
	item := simItem{at: s.received}
	for _, c := range tx.changes {
		in, out := s.owns(c.before), s.owns(c.after)
		if !in && !out {
			continue
		}
		s.touch(c, tx.truncate)
		own := simChange{}
		if in {
			own.before = c.before
		}
		if out {
			own.after = c.after
		}
		item.changes = append(item.changes, own)
	}
	s.queue = append(s.queue, item)
	s.step()
}

func (s *simStream) touch(c simChange, truncated bool) {
	if c.keyless() {
		if !s.faults.ignoreNoKey {
			s.m.passed("n")
		}
		return
	}
	if truncated { // its rows are not in the log
		return
	}
	moved := c.before != nil && c.after != nil && c.before.k != c.after.k
	if c.before != nil && !(moved && s.faults.forgetOldKey) {
		s.m.touch("t", rowimage.AppendRow(nil, rowimage.Row{[]byte(c.before.k)}))
	}
	if c.after != nil {
		s.m.touch("t", rowimage.AppendRow(nil, rowimage.Row{[]byte(c.after.k)}))
	}
}

// step hears what was told and lets the machine do all that it can.
func (s *simStream) step() {
	for len(s.inbox) > 0 {
		n := s.inbox[0]
		s.inbox = s.inbox[1:]
		switch n.kind {
		case noteTurn:
			s.m.turn(n.serial)
		case noteMissed:
			s.seen.missed++
			s.m.missed(n.serial)
		case noteRead:
			if w := s.m.find(n.serial); s.faults.lateOpen && w != nil && w.keys != nil {
				clear(w.keys.keys)
			}
			s.m.chunkRead(n.serial, n.read)
		case noteEnd:
			if !s.coordinates(s.received).Near(n.end, s.m.near) {
				s.seen.waited++
			}
			s.m.ended(n.end)
		}
	}
	for {
		cmd, end := s.m.step(s.coordinates(s.received), s.set(s.received), s.r.IntN(2) == 0)
		switch {
		case end != nil:
			s.close(end)
		case cmd != nil:
			s.command(cmd)
		default:
			return
		}
	}
}

func (s *simStream) command(cmd *command) {
	switch cmd.kind {
	case askEnd:
		m, end, epoch := s.member, s.coordinates(s.written), s.epoch
		next, stop := iter.Pull(func(yield func(struct{}) bool) {
			more := true
			for n := s.r.IntN(3); n > 0 && more; n-- {
				more = yield(struct{}{})
			}
			if more && epoch == s.epoch {
				m.tell(note{kind: noteEnd, end: end})
			}
		})
		s.reads = append(s.reads, &simRead{next, stop})
	case askTurn:
		if cmd.attempt > 0 {
			s.seen.spoiled++
		}
		s.scans.join(s.member, cmd, s.now)
	default:
		cmd.table = s.tables[cmd.req.Table]
		s.openedAt[cmd.serial] = cmd.received
		s.scans.opened(s.member, cmd, s.now)
	}
	s.effects()
}

// close takes a window that has closed: its rows belong here.
func (s *simStream) close(c *closed) {
	item := simItem{at: s.received, chunk: c, last: c.read.lastKey()}
	for _, row := range c.rows {
		if r := simRowOf(row); s.owns(&r) {
			item.rows = append(item.rows, row)
		}
	}
	s.complete(c, item.rows)
	s.queue = append(s.queue, item)
}

// complete checks that a closing window lacks no row that it should have: every row of the source in its span, at this place of the stream, is in
// the chunk or was touched.
func (s *simStream) complete(c *closed, rows []rowimage.Row) {
	if !c.req.IncludeTouched || c.req.Whole != 0 {
		return
	}
	have := map[string]bool{}
	for _, k := range c.touched {
		key, _, _ := rowimage.DecodeRow([]byte(k), 1)
		have[class(string(key[0]))] = true
	}
	for _, row := range rows {
		have[class(string(row[0]))] = true
	}
	span := c.req
	if last := c.read.lastKey(); !c.read.done && last != nil {
		span.Until = last
	}
	for k, row := range s.states[s.received].t {
		if inRequest(&span, k) && s.owns(&row) && !have[k] {
			s.fail("the chunk after %q at %d lacks %v", c.req.After, s.received, row)
		}
	}
}

func (s *sim) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(format, args...)
	}
}

// consume lets the target apply one item, or ask for windows.
func (s *simStream) consume() {
	if s.r.IntN(3) == 0 {
		s.ask()
	}
	if len(s.queue) == 0 {
		return
	}
	item := s.queue[0]
	s.queue = s.queue[1:]
	if item.chunk == nil {
		s.rows.apply(item.changes)
		if !s.keyless.done {
			clear(s.rows.n) // changes before the table was copied are none of it
		}
		s.position = item.at
	} else {
		s.chunk(&item)
	}
	s.check()
}

func (s *simStream) chunk(item *simItem) {
	at, known := s.asked[item.chunk.req.ID]
	if !known {
		s.fail("window %d was not asked for", item.chunk.req.ID)
	}
	delete(s.asked, item.chunk.req.ID)
	s.seen.copied += len(item.rows)
	switch at {
	case -1:
		s.checkKeys(item)
		return
	case -2:
		clear(s.rows.n)
		s.keyless = simRange{done: true}
		s.seen.noKey++
	default:
		r := &s.ranges[at]
		if item.last != nil {
			r.after = item.last
		}
		r.done, r.pending = item.chunk.read.done, false
	}
	for _, row := range item.rows {
		s.rows.add(simRowOf(row))
	}
}

// ask opens windows: for some ranges that have none, for the table without a key, or for some keys.
func (s *simStream) ask() {
	request := func(at int, req WindowRequest) {
		s.windows++
		req.ID, req.MaxRows, req.IncludeTouched = s.windows, 1+s.r.IntN(5), s.listed
		s.asked[req.ID] = at
		s.m.request(req)
	}
	for i := range s.ranges {
		if r := &s.ranges[i]; !r.done && !r.pending && s.r.IntN(3) > 0 {
			r.pending = true
			request(i, WindowRequest{Table: "t", After: r.after, Until: s.bounds[i]})
		}
	}
	if !s.keyless.done && !s.keyless.pending && s.r.IntN(3) == 0 {
		s.keyless.pending = true
		request(-2, WindowRequest{Table: "n", Whole: WholeLocked})
	}
	if s.copied() && len(s.asked) == 0 {
		var keys []rowimage.Row
		for range 1 + s.r.IntN(4) {
			keys = append(keys, rowimage.Row{[]byte(s.key())})
		}
		request(-1, WindowRequest{Table: "t", Keys: keys})
	}
	s.step()
}

func (s *simStream) copied() bool {
	return s.keyless.done && !slices.ContainsFunc(s.ranges, func(r simRange) bool { return !r.done })
}

// check is W1, and equality of what is copied.
func (s *simStream) check() {
	source := s.states[s.position]
	for k, row := range s.rows.t {
		if source.t[k] != row || !s.owns(&row) {
			s.fail("W1: at %d target %d has %v, the source %v", s.position, s.id, row, source.t[k])
		}
	}
	for k, row := range source.t {
		if _, have := s.rows.t[k]; !have && s.owns(&row) && s.done(k) {
			s.fail("copied, but at %d target %d lacks %v", s.position, s.id, row)
		}
	}
	if !s.keyless.done {
		return
	}
	for _, rows := range []map[simRow]int{source.n, s.rows.n} {
		for row := range rows {
			if s.owns(&row) && source.n[row] != s.rows.n[row] {
				s.fail("at %d target %d has %v %d times, the source %d", s.position, s.id, row, s.rows.n[row], source.n[row])
			}
		}
	}
}

// done reports whether a key lies in what was copied.
func (s *simStream) done(k string) bool {
	for i, r := range s.ranges {
		if s.bounds[i] == nil || k <= class(string(s.bounds[i][0])) {
			return r.done || r.after != nil && k <= class(string(r.after[0]))
		}
	}
	return false
}

// checkKeys compares the rows that were asked for by key with the source at this place, as a diff does.
func (s *simStream) checkKeys(item *simItem) {
	s.seen.byKey++
	s.checked++
	for _, row := range item.rows {
		if have, want := simRowOf(row), s.states[item.at].t[class(string(row[0]))]; have != want {
			s.fail("keys at %d: %v, the source has %v", item.at, have, want)
		}
	}
}

// finish lets everything happen until all is copied and the targets have caught up; it returns the first violation.
func (s *sim) finish() error {
	defer s.startProcess() // ends the reads
	for steps := 0; s.err == nil; steps++ {
		s.happen()
		if s.writes == 0 && !slices.ContainsFunc(s.streams, func(st *simStream) bool { return !st.copied() || st.position < s.written || st.checked == 0 }) {
			break
		}
		if steps > 200_000 {
			for _, st := range s.streams {
				s.fail("no end: stream %d is at %d of %d, ranges %v, %d windows wait, %d are active", st.id, st.position, s.written, st.ranges, len(st.m.queue), len(st.m.active))
			}
		}
	}
	return s.err
}

func simRuns(t *testing.T) uint64 {
	if testing.Short() {
		return 2_000
	}
	return 20_000
}

func (a *simSeen) add(b simSeen) {
	a.spoiled, a.crashed, a.restarted, a.waited = a.spoiled+b.spoiled, a.crashed+b.crashed, a.restarted+b.restarted, a.waited+b.waited
	a.byKey, a.shared, a.missed, a.noKey = a.byKey+b.byKey, a.shared+b.shared, a.missed+b.missed, a.noKey+b.noKey
	a.atOnce, a.read, a.copied = max(a.atOnce, b.atOnce), a.read+b.read, a.copied+b.copied
}

// TestW1 runs the simulation with the algorithm as it is.
func TestW1(t *testing.T) {
	var all simSeen
	for seed := range simRuns(t) {
		s := newSim(seed, faults{})
		require.NoError(t, s.finish(), "seed %d", seed)
		all.add(s.seen)
	}
	t.Logf("%+v", all)
	for what, n := range map[string]int{
		"reads spoiled": all.spoiled, "crashes": all.crashed, "restarts": all.restarted, "waits of streams that were behind": all.waited, "windows by key": all.byKey,
		"shared reads": all.shared, "missed turns": all.missed, "tables without a key": all.noKey,
	} {
		require.NotZero(t, n, what)
	}
	require.Greater(t, all.atOnce, 2, "reads at once")
}

// TestW1FindsFaults leaves out what the algorithm rests on; a simulation that cannot see that proves nothing.
func TestW1FindsFaults(t *testing.T) {
	for name, f := range map[string]faults{
		"without waiting":                    {skipWait: true},
		"end of the log first":               {endFirst: true},
		"gtid_executed as the end":           {endExecuted: true},
		"old key of a moved row lost":        {forgetOldKey: true},
		"waiting for one of the streams":     {firstOnly: true},
		"keys remembered after the read":     {lateOpen: true},
		"changes under a view not seen":      {ignoreNoKey: true},
		"a stream that runs on under a view": {runOn: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range simRuns(t) {
				if err := newSim(seed, f).finish(); err != nil {
					t.Logf("found with seed %d: %v", seed, err)
					return
				}
			}
			t.Fatal("not found")
		})
	}
}
