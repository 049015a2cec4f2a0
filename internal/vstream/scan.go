package vstream

import (
	"bytes"
	"cmp"
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
// Streams share a chunk when they ask for the same: a table, a key to begin after, a bound. They keep step by themselves, because a chunk
// begins where the one before has ended for all of them. A turn waits for every stream that has yet to come to its place:
//
//   - for one that is in the table or range and behind, as long as it is at work there: until nothing was asked by it and nothing given to it
//     for timeouts.ScanPatience. The workflow ends with its slowest stream, so waiting for one that is slow costs nothing;
//   - for one that has not come to the range yet, for that time, which halves with each wait in vain: it may have copied it earlier;
//   - for one that nobody has seen yet, because it starts, or starts again, for timeouts.ScanGather or timeouts.ScanReturn.
//
// Whoever is not waited for any more is read past. It then reads alone, in the others' chunks; as soon as it does, it is waited for again,
// and so they meet. No two streams wait for each other as long as they work at ranges in the same order.
// Rejected: a queue of read chunks for streams that are late; every row in it would need the keys that pass until it is taken.
type scans struct {
	members  []*member
	turns    []*turn             // that have no session yet, in order
	running  []*turn             // that have one
	chains   map[string][]*chain // of each table, or range of it
	cuts     map[string]bool     // keys behind which ranges begin, with the table
	free     int                 // sessions
	arrived  time.Time           // of the newest member
	left     time.Time           // when the last one left that had not come to the end
	effects  []effect
	sessions int
	pace     pacing
}

// pacing says when reads may begin.
type pacing interface {
	until() time.Time
	begin() // of a read
}

// member is a stream of the workflow.
type member struct {
	keys    keyrange.Range    // of which it wants rows
	follows func(string) bool // whether it has a table; nil: all
	tell    func(note)
	seen    time.Time // when it came, last asked, or was given something, in any chain
	strikes int       // waits in vain for it to come to a chain
	struck  time.Time
}

// turn is one SELECT.
type turn struct {
	name     string // of the chunk; empty: shared with nobody
	chain    *chain // nil: of none, or not at a place that the others know
	bounded  bool
	cmd      *command
	seats    []*seat
	asked    time.Time
	deadline time.Time // of opening
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
	bounds []rowimage.Row // where chunks began that were read in step; the last is where the next begins
	at     map[*member]*footing
	done   bool
}

// footing is where a stream is in a chain.
type footing struct {
	place int       // the index in bounds of what it asked for last; nowhere: nowhere
	seen  time.Time // when it last asked, or was given something
}

// nowhere is the place of a stream that began elsewhere, and is not waited for.
const nowhere = -1

// effect is what the owner does: tell a stream, or read.
type effect struct {
	member *member
	note   note
	read   *turn
}

const (
	// keptBounds is how far a stream may be left behind and find back.
	keptBounds = 1024
	// maxStrikes in a row end the patience with a stream, for a while.
	maxStrikes = 3
)

func newScans(sessions int, pace pacing) *scans {
	return &scans{chains: map[string][]*chain{}, cuts: map[string]bool{}, free: sessions, sessions: sessions, pace: pace}
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
	s.arrived, m.seen = now, now
}

// leave ends a stream's part in everything.
func (s *scans) leave(m *member, now time.Time) {
	s.members = slices.DeleteFunc(s.members, func(o *member) bool { return o == m })
	for _, chains := range s.chains {
		for _, c := range chains {
			if c.at[m] != nil && !c.done {
				s.left = now
			}
			delete(c.at, m)
		}
	}
	for _, t := range slices.Concat(s.turns, s.running) {
		t.seats = slices.DeleteFunc(t.seats, func(o *seat) bool { return o.member == m })
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
		clear(s.cuts)
	}
	s.advance(now)
}

// join gives a window a seat: in a turn that others wait with, or in a new one.
func (s *scans) join(m *member, cmd *command, now time.Time) {
	t := s.turnOf(m, cmd, now)
	t.seats = append(t.seats, &seat{member: m, serial: cmd.serial})
	if len(t.seats) > 1 {
		m.strikes = 0
	}
	s.advance(now)
}

func (s *scans) turnOf(m *member, cmd *command, now time.Time) *turn {
	t := &turn{cmd: cmd, asked: now}
	// A stream of a part of the rows is one of several, be it the first that comes.
	if (len(s.members) > 1 || !s.covered()) && cmd.req.Keys == nil && !cmd.req.IncludeTouched && cmd.req.Whole == 0 {
		m.seen = now
		s.place(t, m)
	}
	if t.chain != nil && !cmd.alone {
		t.name = chunkName(&t.cmd.req)
		for _, o := range s.turns {
			if o.name == t.name && !o.holds(m) {
				o.cmd.req.MaxBytes = least(o.cmd.req.MaxBytes, cmd.req.MaxBytes)
				o.cmd.req.MaxRows = int(least(int64(o.cmd.req.MaxRows), int64(cmd.req.MaxRows)))
				return o
			}
		}
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

// cut notes where the ranges of a table begin.
func (s *scans) cut(table string, keys []rowimage.Row) {
	for _, key := range keys {
		s.cuts[string(appendMaybe(append([]byte(table), 0), key))] = true
	}
}

// place finds where in its chain a request begins. The last range of a table ends where the table does, as what was read before it was split:
// then there are two.
func (s *scans) place(t *turn, m *member) {
	req := &t.cmd.req
	table := append([]byte(req.Table), 0)
	name := string(appendMaybe(table, req.Until))
	for _, c := range s.chains[name] {
		if c.find(req.After) != nowhere {
			t.chain = c
		}
	}
	if t.chain == nil && (s.chains[name] == nil || s.cuts[string(appendMaybe(table, req.After))]) {
		t.chain = &chain{at: map[*member]*footing{}, bounds: []rowimage.Row{req.After}}
		s.chains[name] = append(s.chains[name], t.chain)
	}
	if t.chain == nil {
		for _, c := range s.chains[name] {
			c.at[m] = &footing{place: nowhere}
		}
		return
	}
	t.chain.at[m] = &footing{place: t.chain.find(req.After), seen: t.asked}
	t.bound()
}

// bound ends a turn where the chunk at its place has ended for the others, if that is known. It returns the place.
func (t *turn) bound() (place int) {
	place = t.chain.find(t.cmd.req.After)
	if !t.bounded && place >= 0 && place+1 < len(t.chain.bounds) {
		cmd := *t.cmd
		cmd.req.Until, t.bounded, t.cmd = t.chain.bounds[place+1], true, &cmd
		if t.name != "" {
			t.name = chunkName(&cmd.req)
		}
	}
	return place
}

// find is the place of a key; nowhere if it is none.
func (c *chain) find(after rowimage.Row) int {
	for i := len(c.bounds) - 1; i >= 0; i-- {
		if (c.bounds[i] == nil) == (after == nil) && c.bounds[i].Equal(after) {
			return i
		}
	}
	return nowhere
}

// until is when a turn is read without those who have not come to it; zero: it waits for nobody. awaited are those for whom it waits.
func (s *scans) until(t *turn, now time.Time) (at time.Time, awaited []*member) {
	if t.name == "" {
		return at, nil
	}
	if !s.covered() {
		at = later(s.arrived.Add(timeouts.ScanGather), at)
		if !s.left.IsZero() {
			at = later(s.left.Add(timeouts.ScanReturn), at)
		}
	}
	place := t.chain.find(t.cmd.req.After)
	for _, m := range s.members {
		if by := s.awaits(t, place, m, now); now.Before(by) || by.After(t.asked) && !t.holds(m) {
			at, awaited = later(by, at), append(awaited, m)
		}
	}
	return at, awaited
}

// awaits is how long a turn at a place waits for a stream.
func (s *scans) awaits(t *turn, place int, m *member, now time.Time) (by time.Time) {
	f := t.chain.at[m]
	switch {
	case t.holds(m), m.follows != nil && !m.follows(t.cmd.req.Table):
	case f == nil && !m.seen.Before(t.asked.Add(-timeouts.ScanPatience)):
		return t.asked.Add(m.patience(now))
	case f != nil && f.place != nowhere && f.place < place:
		return f.seen.Add(timeouts.ScanPatience)
	}
	return time.Time{}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// patience is how long a turn waits for a stream that has not come to its chain.
func (m *member) patience(now time.Time) time.Duration {
	if now.Sub(m.struck) > timeouts.ScanForgives {
		m.strikes = 0
	}
	if m.strikes >= maxStrikes {
		return 0
	}
	return timeouts.ScanPatience >> m.strikes
}

// inVain notes that a turn is read without a stream for which it has waited.
func (m *member) inVain(t *turn, now time.Time) {
	if t.chain.at[m] == nil && m.struck.Before(t.asked) { // else turns that waited at the same time have
		m.strikes++
		m.struck = now
	}
}

// blocked says that a turn has to wait for another, whose end will bound it.
func (s *scans) blocked(t *turn) bool {
	if t.chain == nil {
		return false
	}
	if place := t.bound(); t.bounded || place == nowhere {
		return false
	}
	return slices.ContainsFunc(s.running, func(o *turn) bool {
		return o.chain == t.chain && !o.bounded && (o.cmd.req.After == nil) == (t.cmd.req.After == nil) && o.cmd.req.After.Equal(t.cmd.req.After)
	})
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
		if s.blocked(t) {
			continue
		}
		until, awaited := s.until(t, now)
		if now.Before(until) {
			continue
		}
		if now.Before(s.pace.until()) {
			break
		}
		s.pace.begin()
		for _, m := range awaited {
			m.inVain(t, now)
		}
		s.turns = slices.Delete(s.turns, i, i+1)
		i--
		s.free--
		s.running = append(s.running, t)
		t.opening, t.deadline = true, now.Add(timeouts.ScanOpen)
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
		if s.free == 0 || s.blocked(t) {
			continue
		}
		if until, _ := s.until(t, now); now.Before(until) {
			earlier(until)
		} else {
			earlier(s.pace.until())
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
		if err != nil || r.err != nil || r.rekeyed { // its bounds may be keys that the table had before a DDL
			s.drop(t.chain)
		} else if !t.bounded {
			t.chain.extend(t, &r)
		}
	}
	cost := int64(len(r.rows))
	for _, seat := range t.seats {
		own := r
		own.table, own.cost = seat.table, cost
		cost = 0 // the others get them for nothing
		seat.member.seen = now
		if t.chain != nil && t.chain.at[seat.member] != nil {
			t.chain.at[seat.member].seen = now
		}
		s.tell(seat, note{kind: noteRead, read: own, err: err})
	}
	s.advance(now)
}

// drop forgets a chain. Turns that wait in it are read as they are.
func (s *scans) drop(c *chain) {
	for name, chains := range s.chains {
		if chains = slices.DeleteFunc(chains, func(o *chain) bool { return o == c }); len(chains) == 0 {
			delete(s.chains, name)
		} else {
			s.chains[name] = chains
		}
	}
	for _, t := range s.turns {
		if t.chain == c {
			t.chain, t.name = nil, ""
		}
	}
}

// extend notes where the chunk at the last place has ended.
func (c *chain) extend(t *turn, r *chunkRead) {
	if c.find(t.cmd.req.After) != len(c.bounds)-1 {
		return
	}
	if c.done = r.done; c.done || len(r.rows) == 0 {
		return
	}
	c.bounds = append(c.bounds, r.lastKey())
	if n := len(c.bounds) - keptBounds; n > 0 {
		c.bounds = slices.Delete(c.bounds, 0, n)
		for _, f := range c.at {
			f.place = max(f.place-n, nowhere)
		}
	}
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
