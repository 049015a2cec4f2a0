package vstream

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"time"

	"braid/internal/base/timeouts"
	"braid/internal/binlog"
	"braid/internal/keyrange"
	"braid/internal/rowimage"
	"braid/internal/schema"
)

// scans decides who reads which chunk, and with whom, for the streams of one workflow that read the same source: the streams of a split
// want the same rows, each for a part of them, and each row is to be read once. It is a pure state machine: calls note what happened, and
// take returns what is to be done.
//
//	join: a window asks for a chunk ─▶ gathering: who else wants it ─▶ a session is free ─▶ opening: each stream opens its window
//	─▶ reading: P := all that any of them has received; one SELECT; the end of the log ─▶ each stream closes at its own pass
//
// Exactness is the window's, stream by stream: each opened before the SELECT, what each had received was visible to it, and each closes
// behind the end that was read after it. So nothing is exact because of sharing, and nothing depends on who shares.
//
// # Keeping step
//
// Streams share a chunk when they ask for the same: a table, a key to begin after, a bound. A turn waits for those of which it is known that
// they will ask: all streams at the beginning of a table or range, later those whose last chunks were this scan's. They keep step by
// themselves, because a chunk begins where the one before has ended for all of them. Who is late is waited for timeouts.ScanPatience, then read
// past; each time halves the patience with that stream, so that one that is stuck costs the others twice that at most. A stream that was
// left behind reads alone, in the others' chunks, and so comes to a key from which it can share again. Rejected: a queue of
// read chunks for streams that are late; every row in it would need the keys that pass until it is taken.
type scans struct {
	members  []*member
	turns    []*turn           // that have no session yet, in order
	running  []*turn           // that have one
	chains   map[string]*chain // of each table, or range of it
	free     int               // sessions
	arrived  time.Time         // of the newest member
	effects  []effect
	sessions int
}

// member is a stream of the workflow.
type member struct {
	keys    keyrange.Range // of which it wants rows
	tell    func(note)
	strikes int
	struck  time.Time
}

// turn is one SELECT.
type turn struct {
	name     string // of the chunk; empty: shared with nobody
	chain    *chain
	place    int // in the chain's bounds; -1: not there
	bounded  bool
	behind   *turn // reads the same for the others: its end bounds this one
	cmd      *command
	seats    []*seat
	expected []*member
	gathers  bool // the first of its chain: streams of the workflow may yet come
	deadline time.Time
	opening  bool
	reading  bool
	over     bool // all have left
	cancel   func()
}

// seat is a window's part in a turn.
type seat struct {
	member *member
	serial uint64
	table  *table
	opened bool
}

// chain is the scan of a table, or of a range of it.
type chain struct {
	bounds []rowimage.Row  // where chunks began that were read in step; the last is where the next begins
	at     map[*member]int // the index in bounds of what a stream asked for last
	done   bool
}

// effect is what the owner does: tell a stream, or read.
type effect struct {
	member *member
	note   note
	read   *turn
}

const (
	// keptBounds is how far a stream may be left behind and find back; near those nearest to the end are waited for.
	keptBounds = 64
	nearBounds = 4
	// maxStrikes in a row end the patience with a stream, for a while.
	maxStrikes = 3
)

func newScans(sessions int) *scans {
	return &scans{chains: map[string]*chain{}, free: sessions, sessions: sessions}
}

// take returns what is to be done since it was called last.
func (s *scans) take() []effect {
	effects := s.effects
	s.effects = nil
	return effects
}

func (s *scans) tell(t *seat, n note) {
	n.serial = t.serial
	s.effects = append(s.effects, effect{member: t.member, note: n})
}

func (s *scans) enter(m *member, now time.Time) {
	s.members = append(s.members, m)
	s.arrived = now
}

// leave ends a stream's part in everything.
func (s *scans) leave(m *member, now time.Time) {
	s.members = slices.DeleteFunc(s.members, func(o *member) bool { return o == m })
	for _, c := range s.chains {
		delete(c.at, m)
	}
	for _, t := range slices.Concat(s.turns, s.running) {
		t.seats = slices.DeleteFunc(t.seats, func(o *seat) bool { return o.member == m })
		t.expected = slices.DeleteFunc(t.expected, func(o *member) bool { return o == m })
		if len(t.seats) == 0 {
			t.over = true
			if t.cancel != nil {
				t.cancel()
			}
		}
	}
	s.turns = slices.DeleteFunc(s.turns, func(t *turn) bool { return t.over })
	if len(s.members) == 0 {
		clear(s.chains)
	}
	s.advance(now)
}

// join gives a window a seat: in a turn that others wait with, or in a new one.
func (s *scans) join(m *member, cmd *command, now time.Time) {
	t := s.turnOf(m, cmd, now)
	t.seats = append(t.seats, &seat{member: m, serial: cmd.serial})
	t.expected = slices.DeleteFunc(t.expected, func(o *member) bool { return o == m })
	if len(t.seats) > 1 {
		m.strikes = 0
	}
	s.advance(now)
}

func (s *scans) turnOf(m *member, cmd *command, now time.Time) *turn {
	t := &turn{cmd: cmd, place: -1}
	// A stream of a part of the rows is one of several, be it the first that comes.
	if (len(s.members) > 1 || !s.covered()) && cmd.req.Keys == nil && !cmd.req.IncludeTouched && cmd.req.Whole == 0 {
		s.place(t, m)
	}
	if t.place >= 0 && !cmd.alone {
		t.name = chunkName(&t.cmd.req)
		for _, o := range s.turns {
			if o.name == t.name && !o.holds(m) {
				o.cmd.req.MaxBytes = least(o.cmd.req.MaxBytes, cmd.req.MaxBytes)
				o.cmd.req.MaxRows = int(least(int64(o.cmd.req.MaxRows), int64(cmd.req.MaxRows)))
				return o
			}
		}
		s.expect(t, m, now)
	}
	s.turns = append(s.turns, t)
	return t
}

// least is the smaller of two bounds, of which 0 is the default.
func least(a, b int64) int64 {
	if a == 0 || b == 0 {
		return cmp.Or(a, b)
	}
	return min(a, b)
}

func (t *turn) holds(m *member) bool {
	return slices.ContainsFunc(t.seats, func(o *seat) bool { return o.member == m })
}

// chunkName tells chunks apart.
func chunkName(r *WindowRequest) string {
	name := append([]byte(r.Table), 0)
	name = appendMaybe(name, r.After)
	return string(appendMaybe(name, r.Until))
}

func appendMaybe(dst []byte, key rowimage.Row) []byte {
	if key == nil {
		return append(dst, 0)
	}
	return rowimage.AppendRow(append(dst, 1), key)
}

// place finds where in its chain a request begins, and bounds it by the next place that the others have begun at.
func (s *scans) place(t *turn, m *member) {
	name := string(appendMaybe(append([]byte(t.cmd.req.Table), 0), t.cmd.req.Until))
	c := s.chains[name]
	if c == nil {
		c = &chain{at: map[*member]int{}, bounds: []rowimage.Row{t.cmd.req.After}}
		s.chains[name] = c
	}
	t.chain = c
	i := c.find(t.cmd.req.After)
	switch was, known := c.at[m]; {
	case i >= 0:
		t.place, c.at[m] = i, i
	case known: // it read less than the others did
		i = was
	default:
		return
	}
	t.bound(i)
	for _, o := range s.running {
		if t.cmd.alone && !t.bounded && o.chain == c && o.place == i && !o.bounded {
			t.behind = o
		}
	}
}

// bound ends a turn where the chunk at i has ended for the others.
func (t *turn) bound(i int) {
	if i >= 0 && i+1 < len(t.chain.bounds) {
		cmd := *t.cmd
		cmd.req.Until, t.bounded, t.cmd = t.chain.bounds[i+1], true, &cmd
	}
}

func (c *chain) find(after rowimage.Row) int {
	for i := len(c.bounds) - 1; i >= 0; i-- {
		if (c.bounds[i] == nil) == (after == nil) && c.bounds[i].Equal(after) {
			return i
		}
	}
	return -1
}

// expect says for whom a turn waits, and how long.
func (s *scans) expect(t *turn, m *member, now time.Time) {
	if t.bounded {
		return // the others are past it
	}
	t.gathers = len(t.chain.bounds) == 1 && !t.chain.done
	t.deadline = now
	for _, o := range s.members {
		patience := o.patience(now)
		at, known := t.chain.at[o]
		comes := known && at < t.place && at+nearBounds >= t.place || !known && t.gathers
		if o == m || patience == 0 || !comes {
			continue
		}
		t.expected = append(t.expected, o)
		if by := now.Add(patience); by.After(t.deadline) {
			t.deadline = by
		}
	}
}

// patience is how long a stream is waited for.
func (m *member) patience(now time.Time) time.Duration {
	if now.Sub(m.struck) > timeouts.ScanForgives {
		m.strikes = 0
	}
	if m.strikes >= maxStrikes {
		return 0
	}
	return timeouts.ScanPatience >> m.strikes
}

// ready reports whether a turn waits for nobody any more.
func (s *scans) ready(t *turn, now time.Time) bool {
	if t.behind != nil {
		return false
	}
	if t.gathers && now.Before(s.arrived.Add(timeouts.ScanGather)) && !s.covered() {
		return false
	}
	return len(t.expected) == 0 || !now.Before(t.deadline)
}

// covered reports whether the members want everything, so that no other can be missing.
func (s *scans) covered() bool {
	ranges := make([]keyrange.Range, len(s.members))
	for i, m := range s.members {
		ranges[i] = m.keys
	}
	slices.SortFunc(ranges, keyrange.Compare)
	var end []byte
	for i, r := range ranges {
		if bytes.Compare(r.Start, end) > 0 || i == 0 && len(r.Start) > 0 {
			return false
		}
		if len(r.End) == 0 {
			return true
		}
		if bytes.Compare(r.End, end) > 0 {
			end = r.End
		}
	}
	return false
}

// advance moves turns on: call it when time has passed.
func (s *scans) advance(now time.Time) {
	for _, t := range s.running {
		if t.opening {
			s.openUp(t, now)
		}
	}
	s.running = slices.DeleteFunc(s.running, func(t *turn) bool { return !t.opening && !t.reading })
	for i := 0; i < len(s.turns) && s.free > 0; i++ {
		t := s.turns[i]
		if !s.ready(t, now) {
			continue
		}
		for _, m := range t.expected {
			m.strikes++
			m.struck = now
		}
		s.turns = slices.Delete(s.turns, i, i+1)
		i--
		s.free--
		s.running = append(s.running, t)
		t.expected, t.opening, t.deadline = nil, true, now.Add(timeouts.ScanOpen)
		for _, seat := range t.seats {
			s.tell(seat, note{kind: noteTurn})
		}
	}
}

// wake is when advance must be called, if nothing else happens; zero: never.
func (s *scans) wake(now time.Time) (at time.Time) {
	earlier := func(o time.Time) {
		if at.IsZero() || o.Before(at) {
			at = o
		}
	}
	for _, t := range s.running {
		if t.opening {
			earlier(t.deadline)
		}
	}
	for _, t := range s.turns {
		if s.free == 0 || t.behind != nil || s.ready(t, now) {
			continue
		}
		if by := s.arrived.Add(timeouts.ScanGather); t.gathers && by.After(now) && (len(t.expected) == 0 || by.After(t.deadline)) {
			earlier(by)
		} else {
			earlier(t.deadline)
		}
	}
	return at
}

// opened tells that a window is open: its stream had received that much.
func (s *scans) opened(m *member, cmd *command, now time.Time) {
	for _, t := range s.running {
		for _, seat := range t.seats {
			if seat.member == m && seat.serial == cmd.serial && t.opening {
				s.sit(t, seat, cmd)
				s.advance(now)
				return
			}
		}
	}
	s.tell(&seat{member: m, serial: cmd.serial}, note{kind: noteMissed})
}

// sit takes an opened window into the read. All of them must have the same definition of the table.
func (s *scans) sit(t *turn, at *seat, cmd *command) {
	first := true
	for _, o := range t.seats {
		if o.opened {
			first = false
			if !o.table.sameAs(cmd.table) {
				t.seats = slices.DeleteFunc(t.seats, func(o *seat) bool { return o == at })
				s.tell(at, note{kind: noteMissed})
				return
			}
		}
	}
	at.opened, at.table = true, cmd.table
	received := cmd.received
	if first {
		own := *t.cmd
		own.kind, own.table, own.life, own.attempt, own.lock, own.final, t.cmd = cmd.kind, cmd.table, cmd.life, cmd.attempt, cmd.lock, cmd.final, &own
	} else {
		received = received.Union(t.cmd.received)
	}
	t.cmd.received = received
}

// openUp starts the read when all windows are open, or have taken too long.
func (s *scans) openUp(t *turn, now time.Time) {
	late := !now.Before(t.deadline)
	t.seats = slices.DeleteFunc(t.seats, func(o *seat) bool {
		if late && !o.opened {
			s.tell(o, note{kind: noteMissed})
		}
		return late && !o.opened
	})
	if slices.ContainsFunc(t.seats, func(o *seat) bool { return !o.opened }) {
		return
	}
	t.opening = false
	if len(t.seats) == 0 {
		s.free++
		s.release(t)
		return
	}
	t.reading = true
	s.effects = append(s.effects, effect{read: t})
}

// finished takes the result of a turn's read.
func (s *scans) finished(t *turn, r chunkRead, err error, now time.Time) {
	t.reading = false
	s.running = slices.DeleteFunc(s.running, func(o *turn) bool { return o == t })
	s.free++
	if err == nil && t.bounded && r.done {
		r.done, r.last = false, t.cmd.req.Until
	}
	if t.chain != nil {
		good := err == nil && r.err == nil && !r.rekeyed
		if !good { // its bounds may be keys that the table had before a DDL
			maps.DeleteFunc(s.chains, func(_ string, c *chain) bool { return c == t.chain })
		}
		if !t.bounded && (!good || !t.chain.extend(t, &r)) {
			for _, seat := range t.seats { // where these end is nobody's beginning
				delete(t.chain.at, seat.member)
			}
		}
	}
	s.release(t)
	cost := int64(len(r.rows))
	for _, seat := range t.seats {
		own := r
		own.table, own.cost = seat.table, cost
		cost = 0 // the others get them for nothing
		s.tell(seat, note{kind: noteRead, read: own, err: err})
	}
	s.advance(now)
}

// release lets those go on that wait for a turn's end to bound them.
func (s *scans) release(t *turn) {
	for _, o := range s.turns {
		if o.behind == t {
			o.behind = nil
			o.bound(o.chain.find(o.cmd.req.After))
		}
	}
}

// extend notes where a chunk has ended that was read in step, and reports whether it was.
func (c *chain) extend(t *turn, r *chunkRead) bool {
	if t.place < 0 || t.name == "" || c.find(t.cmd.req.After) != len(c.bounds)-1 {
		return false
	}
	if c.done = r.done; c.done || len(r.rows) == 0 {
		return true
	}
	c.bounds = append(c.bounds, r.lastKey())
	if n := len(c.bounds) - keptBounds; n > 0 {
		c.bounds = slices.Delete(c.bounds, 0, n)
		for m := range c.at {
			if c.at[m] -= n; c.at[m] < 0 {
				delete(c.at, m)
			}
		}
	}
	return true
}

// lastKey is the key up to which everything was read; nil if there was nothing.
func (r *chunkRead) lastKey() rowimage.Row {
	if n := len(r.rows); r.last == nil && n > 0 {
		return r.rows[n-1].Key(r.table.key).Clone()
	}
	return r.last
}

// note is what a stream hears of its windows.
type note struct {
	kind   noteKind
	serial uint64
	read   chunkRead
	err    error
	end    binlog.Coordinates
	split  *Split
}

type noteKind uint8

const (
	noteTurn noteKind = iota + 1
	noteMissed
	noteRead
	noteEnd
	noteSplit
)

// sameAs reports whether one SELECT serves both: columns and key are alike.
func (t *table) sameAs(o *table) bool {
	return t == o || t.def.DB == o.def.DB && t.def.Name == o.def.Name && slices.Equal(t.key, o.key) &&
		slices.EqualFunc(t.def.Columns, o.def.Columns, func(a, b schema.Column) bool {
			return a.Name == b.Name && a.ColumnType == b.ColumnType && a.Collation == b.Collation
		})
}
