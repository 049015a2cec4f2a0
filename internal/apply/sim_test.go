package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/apply/rows"
	"braid/internal/gtid"
	"braid/internal/rowimage"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// The simulated target is a server of the dumbest kind: rows in a map, one lock for each key entry and for each gap (a few
// keys that InnoDB locks beside those that change), and a log of commits. It shares nothing with the package but what a session is asked to do.

const simLockWait = 2 * time.Second

type simTarget struct {
	rng   *rand.Rand
	mode  Mode
	world *simWorld

	rows     map[string]rowimage.Row // by id
	unique   map[string]string       // value of u → id
	locks    map[string]*simSession
	released chan struct{} // closed, and made again, when locks are released
	sessions map[uint32]*simSession
	nextID   uint32

	base    gtid.Set
	lanes   map[int]gtid.Set
	chunks  map[int]bool
	applied map[string]int // commits by GTID
	commits int

	most    int     // sessions; 0: no bound
	trouble float64 // probability of a failure, per call
	gaps    float64 // probability that a change locks the gap as well
	faults  simFaults
	broken  []string // what the checks have found
}

// simFaults are planted; the checks must find each.
type simFaults struct {
	loseLane   bool // a lane is not written now and then
	earlyLane  bool // a lane is written before its commit
	loseCommit bool // a commit is answered, and does not happen, now and then
	noLocks    bool // rows are written without waiting for those who hold them
}

func newSimTarget(w *simWorld, rng *rand.Rand, mode Mode) *simTarget {
	return &simTarget{
		rng: rng, mode: mode, world: w, rows: map[string]rowimage.Row{}, unique: map[string]string{}, locks: map[string]*simSession{},
		released: make(chan struct{}), sessions: map[uint32]*simSession{}, lanes: map[int]gtid.Set{}, chunks: map[int]bool{}, applied: map[string]int{},
	}
}

// position is what a restart reads.
func (t *simTarget) position() gtid.Set {
	p := t.base
	for _, set := range t.lanes {
		p = p.Union(set)
	}
	return p
}

func (t *simTarget) complain(format string, args ...any) {
	t.broken = append(t.broken, fmt.Sprintf(format, args...))
}

// exec is the control session.
func (t *simTarget) exec(_ context.Context, sql string) error {
	t.world.mu.Lock()
	defer t.world.mu.Unlock()
	t.control(sql)
	return nil
}

func (t *simTarget) control(sql string) {
	kind, rest, _ := strings.Cut(sql, " ")
	switch kind {
	case "base":
		t.base = gtid.MustParse(rest)
	case "lane":
		lane, set, _ := strings.Cut(rest, " ")
		n, _ := strconv.Atoi(lane)
		t.lanes[n] = gtid.MustParse(set)
	case "chunk":
		n, _ := strconv.Atoi(rest)
		if t.chunks[n] {
			t.complain("chunk %d is committed twice", n)
		}
		t.chunks[n] = true
	}
}

func (t *simTarget) kill() {
	for _, s := range t.sessions {
		s.dead = true
		s.undoAll()
	}
	clear(t.sessions)
}

// pause is what a statement takes.
func (t *simTarget) pause(most int) {
	t.world.mu.Lock()
	d := time.Duration(t.rng.IntN(most)) * time.Millisecond
	t.world.mu.Unlock()
	time.Sleep(d)
}

type simSession struct {
	t       *simTarget
	id      uint32
	lane    int
	dead    bool
	sent    bool
	waiting bool

	buffer []simOp
	undo   []func()
	held   map[string]bool
	gtids  []string // of the transaction on the server, in order
}

type simOp struct {
	gtid string
	c    vstream.Change
	mode Mode
	last bool
}

func (t *simTarget) open(_ context.Context, lane int) (session, error) {
	t.world.mu.Lock()
	defer t.world.mu.Unlock()
	if lane > 0 && t.most > 0 && len(t.sessions) >= t.most {
		return nil, fmt.Errorf("connect: %w", &mysql.MyError{Code: 1040, Message: "too many connections"})
	}
	t.nextID++
	s := &simSession{t: t, id: t.nextID, lane: lane, held: map[string]bool{}}
	t.sessions[s.id] = s
	return s, nil
}

// applier is one that writes to the target.
func (t *simTarget) applier(cfg Config, at gtid.Set) *Applier {
	cfg.SaveLane = func(l Lane) string { return fmt.Sprintf("lane %d %s", l.Lane, l.GTIDs) }
	cfg.SaveBase = func(b Base) string { return "base " + b.Position.String() }
	cfg.open, cfg.exec = t.open, t.exec
	return New(cfg, at)
}

func (s *simSession) Add(_ context.Context, view *rows.View, tx *vstream.Transaction) error {
	for i, c := range tx.Changes {
		s.buffer = append(s.buffer, simOp{gtid: tx.GTID, c: c, mode: view.Table(c.TableID).Mode, last: tx.Last && i == len(tx.Changes)-1})
	}
	if tx.Last && len(tx.Changes) == 0 {
		s.buffer = append(s.buffer, simOp{gtid: tx.GTID, last: true})
	}
	return nil
}

func (s *simSession) AddRows(_ context.Context, _ *rows.Table, copied []rowimage.Row) error {
	for _, row := range copied {
		s.buffer = append(s.buffer, simOp{c: vstream.Change{Op: vstream.Insert, After: row}, mode: Upsert})
	}
	return nil
}

func (s *simSession) Single(bool)                                  {}
func (s *simSession) CheckForeignKeys(context.Context, bool) error { return nil }
func (s *simSession) Conn() *sqlconn.Conn                          { return nil }
func (s *simSession) ID() uint32                                   { return s.id }
func (s *simSession) Sent() bool                                   { return s.sent }

func (s *simSession) LockWait(_ context.Context, id uint32) (bool, error) {
	s.t.world.mu.Lock()
	defer s.t.world.mu.Unlock()
	other := s.t.sessions[id]
	return other != nil && other.waiting, nil
}

func (s *simSession) Close() {
	s.t.world.mu.Lock()
	defer s.t.world.mu.Unlock()
	s.dead = true
	s.undoAll()
	delete(s.t.sessions, s.id)
}

var errSimDeadlock = &mysql.MyError{Code: 1213, Message: "deadlock"}

// happens says that something goes wrong here.
func (s *simSession) trouble() error {
	if s.dead {
		return sqlconn.ErrLost
	}
	switch p := s.t.rng.Float64(); {
	case p < s.t.trouble/4:
		s.dead = true
		s.undoAll()
		return sqlconn.ErrLost
	case p < s.t.trouble:
		s.undoAll()
		return errSimDeadlock
	}
	return nil
}

func (s *simSession) Flush(ctx context.Context) error {
	s.t.pause(3)
	s.t.world.mu.Lock()
	defer s.t.world.mu.Unlock()
	return s.flush(ctx)
}

func (s *simSession) flush(ctx context.Context) error {
	if err := s.trouble(); err != nil {
		return err
	}
	s.sent = true
	ops := s.buffer
	s.buffer = nil
	for i := range ops {
		if err := s.apply(ctx, &ops[i]); err != nil {
			return err
		}
		if ops[i].last {
			s.gtids = append(s.gtids, ops[i].gtid)
		}
	}
	return nil
}

// lock waits for a key. The caller has the world's lock; it is given up meanwhile.
func (s *simSession) lock(ctx context.Context, key string) error {
	if s.t.faults.noLocks {
		return nil
	}
	timer := time.NewTimer(simLockWait)
	defer timer.Stop()
	for s.t.locks[key] != nil && s.t.locks[key] != s {
		if s.cycle(s.t.locks[key], 0) {
			s.undoAll()
			return errSimDeadlock
		}
		s.waiting, s.held["?"+key] = true, true
		released := s.t.released
		s.t.world.mu.Unlock()
		var err error
		select {
		case <-released:
		case <-timer.C:
			err = &mysql.MyError{Code: 1205, Message: "lock wait timeout"}
		case <-ctx.Done():
			err = sqlconn.ErrLost
		}
		s.t.world.mu.Lock()
		s.waiting = false
		delete(s.held, "?"+key)
		if s.dead {
			return sqlconn.ErrLost
		}
		if err != nil {
			return err
		}
	}
	s.t.locks[key] = s
	s.held[key] = true
	return nil
}

// cycle says that waiting for holder would close a circle.
func (s *simSession) cycle(holder *simSession, depth int) bool {
	if holder == s {
		return true
	}
	if !holder.waiting || depth > 20 {
		return false
	}
	for key := range holder.held {
		if wanted, ok := strings.CutPrefix(key, "?"); ok {
			if next := s.t.locks[wanted]; next != nil && s.cycle(next, depth+1) {
				return true
			}
		}
	}
	return false
}

func (s *simSession) apply(ctx context.Context, op *simOp) error {
	c := &op.c
	for _, row := range []rowimage.Row{c.Before, c.After} {
		if row == nil {
			continue
		}
		keys := []string{"id " + string(row[0])}
		if row[1] != nil {
			keys = append(keys, "u "+string(row[1]))
		}
		if s.t.rng.Float64() < s.t.gaps {
			n, _ := strconv.Atoi(string(row[0]))
			keys = append(keys, fmt.Sprintf("gap %d", n/4))
		}
		for _, key := range keys {
			if err := s.lock(ctx, key); err != nil {
				return err
			}
		}
	}
	fail := func(err error) error { return &Failure{GTID: op.gtid, Verb: c.Op.String(), Table: "t", Err: err} }
	if c.Before != nil {
		have := s.t.rows[string(c.Before[0])]
		if have == nil && op.mode == Strict {
			return fail(ErrMissing)
		}
		if have != nil && (c.After == nil || string(c.After[0]) != string(c.Before[0])) {
			s.put(string(c.Before[0]), nil)
		}
	}
	if c.After == nil {
		return nil
	}
	id := string(c.After[0])
	if s.t.rows[id] != nil && op.mode == Strict && (c.Before == nil || string(c.Before[0]) != id) {
		return fail(&mysql.MyError{Code: 1062, Message: "duplicate id " + id})
	}
	if c.After[1] != nil {
		if owner, ok := s.t.unique[string(c.After[1])]; ok && owner != id {
			return fail(&mysql.MyError{Code: 1062, Message: "duplicate u " + string(c.After[1])})
		}
	}
	s.put(id, c.After)
	return nil
}

// put writes a row, and notes how to take it back.
func (s *simSession) put(id string, row rowimage.Row) {
	old := s.t.rows[id]
	s.t.set(id, row)
	s.undo = append(s.undo, func() { s.t.set(id, old) })
}

func (t *simTarget) set(id string, row rowimage.Row) {
	if old := t.rows[id]; old != nil && old[1] != nil && t.unique[string(old[1])] == id {
		delete(t.unique, string(old[1]))
	}
	delete(t.rows, id)
	if row != nil {
		t.rows[id] = row
		if row[1] != nil {
			t.unique[string(row[1])] = id
		}
	}
}

func (s *simSession) undoAll() {
	for _, fn := range slices.Backward(s.undo) {
		fn()
	}
	s.release()
}

func (s *simSession) release() {
	s.undo, s.gtids, s.buffer, s.sent = nil, nil, nil, false
	for key := range s.held {
		if s.t.locks[key] == s {
			delete(s.t.locks, key)
		}
	}
	clear(s.held)
	close(s.t.released)
	s.t.released = make(chan struct{})
}

func (s *simSession) Commit(ctx context.Context, control ...string) error {
	s.t.pause(4)
	s.t.world.mu.Lock()
	defer s.t.world.mu.Unlock()
	if err := s.flush(ctx); err != nil {
		return err
	}
	if s.t.faults.earlyLane {
		for _, sql := range control {
			s.t.control(sql)
		}
	}
	lost := s.t.rng.Float64() < s.t.trouble/8
	if lost && s.t.rng.IntN(2) == 0 || s.t.faults.loseCommit && s.t.rng.IntN(40) == 0 {
		s.undoAll()
		if lost {
			s.dead = true
			return sqlconn.ErrLost
		}
		return nil
	}
	for _, sql := range control {
		if s.t.faults.loseLane && strings.HasPrefix(sql, "lane") && s.t.rng.IntN(20) == 0 {
			continue
		}
		s.t.control(sql)
	}
	for _, g := range s.gtids {
		if s.t.applied[g]++; s.t.applied[g] > 1 {
			s.t.complain("A1: %s is committed %d times", g, s.t.applied[g])
		}
	}
	s.t.commits++
	gtids := s.gtids
	s.undo = nil
	s.release()
	s.t.world.committed(s.t, gtids)
	if lost {
		s.dead = true
		return sqlconn.ErrLost
	}
	return nil
}

func (s *simSession) Rollback(context.Context) error {
	s.t.world.mu.Lock()
	defer s.t.world.mu.Unlock()
	if s.dead {
		return sqlconn.ErrLost
	}
	s.undoAll()
	return nil
}

// committedRows is what a reader sees: rows without what open transactions have changed.
func (t *simTarget) committedRows() map[string]string {
	seen := map[string]rowimage.Row{}
	maps.Copy(seen, t.rows)
	saved := t.rows
	unique := maps.Clone(t.unique)
	t.rows = seen
	open := slices.SortedFunc(maps.Values(t.sessions), func(a, b *simSession) int { return int(a.id) - int(b.id) })
	for _, s := range open { // rows of two open transactions are disjoint: they are locked
		for _, fn := range slices.Backward(s.undo) {
			fn()
		}
	}
	seen = t.rows
	t.rows, t.unique = saved, unique
	return textOf(seen)
}

func textOf(all map[string]rowimage.Row) map[string]string {
	out := map[string]string{}
	for id, row := range all {
		out[id] = fmt.Sprintf("%q", [][]byte(row))
	}
	return out
}

var errSimStop = errors.New("the run ends here")
