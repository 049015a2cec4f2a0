package writeset

import (
	"cmp"

	"braid/internal/rowimage"
	"braid/internal/schema"
)

// DefaultHistory is the default of Config.History: enough for a target that is 50,000 rows behind its own transactions in flight, in about
// 5 MB. An idle tracker has none of it.
const DefaultHistory = 100_000

// Config is fixed for the life of a Tracker.
type Config struct {
	Mode Mode
	// History bounds the tokens that are remembered (WS2); 0 is DefaultHistory.
	History int

	wideRows int // 0: the constant
}

// Tracker orders the transactions of one stream.
type Tracker struct {
	mode    Mode
	plans   map[uint32]*plan
	tables  map[string]*related
	byDB    map[string]*tableToken
	stale   bool // foreign keys must be linked again
	noFK    bool
	history history
	clocks  clockIndex
	reducer reducer
	waits   waits
	chunks  []chunk // in order of seq
	scratch []byte

	wideRows int // of a table, above which a transaction takes it as a whole

	seq     uint64 // of the open transaction, or the last one
	base    uint64 // everything later waits for everything up to here
	header  Header
	open    bool
	barrier bool
	clocked bool // a row of the open transaction was taken with its clock
}

// wideRows is far above what applications change in one transaction, and far below what the history holds.
const wideRows = 1 << 14

// New returns a tracker without tables, whose first transaction has sequence 1.
func New(cfg Config) *Tracker {
	if cfg.History <= 0 {
		cfg.History = DefaultHistory
	}
	return &Tracker{
		mode: cfg.Mode, plans: map[uint32]*plan{}, tables: map[string]*related{}, byDB: map[string]*tableToken{},
		history: newHistory(cfg.History), wideRows: cmp.Or(cfg.wideRows, wideRows),
	}
}

// SetTable says that changes with this id are rows of source, which go to target; nil means a table like source. Definitions may
// come at any time before they are used. One that changes the meaning of tokens, by its keys or foreign keys, makes a new base.
func (t *Tracker) SetTable(id uint32, source, target *schema.Table) {
	if target == nil {
		target = source
	}
	p := newPlan(source, target)
	r := t.relate(target)
	if old := t.plans[id]; old != nil {
		t.remove(old)
	}
	if len(r.plans) > 0 {
		t.rebase()
	}
	p.token = r.token
	p.trusted = p.decides && len(target.ForeignKeys) == 0 // link may know better
	r.plans = append(r.plans, p)
	t.plans[id] = p
	t.stale = t.stale || t.mode == Database
}

// SetRelated describes a table of the target that the stream does not change, but that foreign keys of the target connect with those that
// it does. Without it cascades into such a table, and checks of it, are not ordered.
func (t *Tracker) SetRelated(target *schema.Table) { t.relate(target) }

// CheckForeignKeys says whether the target's sessions check foreign keys from the next transaction on. They do at first.
func (t *Tracker) CheckForeignKeys(on bool) {
	if t.noFK == on {
		t.noFK = !on
		t.rebase()
	}
}

// Coarse says why the rows of a table are not told apart, or "".
func (t *Tracker) Coarse(id uint32) string {
	t.link()
	if p := t.plans[id]; p != nil {
		return p.coarse
	}
	return "the table is not known"
}

// relate registers a definition of a target table.
func (t *Tracker) relate(target *schema.Table) *related {
	name := identity(target)
	r := t.tables[name]
	known := r != nil
	if !known {
		r = &related{token: &tableToken{}}
		t.tables[name] = r
	}
	if known || t.connected(target) {
		t.rebase()
		t.stale = true
	}
	r.def = target
	return r
}

// connected reports whether foreign keys connect a new table with known ones.
func (t *Tracker) connected(target *schema.Table) bool {
	for i := range target.ForeignKeys {
		if t.tables[parentOf(&target.ForeignKeys[i])] != nil {
			return true
		}
	}
	name := identity(target)
	for _, r := range t.tables {
		for i := range r.defKeys() {
			if parentOf(&r.def.ForeignKeys[i]) == name {
				return true
			}
		}
	}
	return false
}

func (r *related) defKeys() []schema.ForeignKey {
	if r.def == nil {
		return nil
	}
	return r.def.ForeignKeys
}

func (t *Tracker) remove(p *plan) {
	r := t.tables[identity(p.target)]
	for i := range r.plans {
		if r.plans[i] == p {
			r.plans = append(r.plans[:i:i], r.plans[i+1:]...)
			break
		}
	}
	t.rebase()
}

// rebase makes the last transaction the base: nothing before it is told apart any more.
func (t *Tracker) rebase() {
	if t.base == t.seq && !t.open {
		return // nothing since
	}
	t.base = t.seq
	if t.open {
		t.waits.upTo(t.base)
	}
	t.forget()
}

func (t *Tracker) forget() {
	t.history.clear()
	t.clocks.reset(t.seq)
	for _, r := range t.tables {
		r.token.clear()
	}
	for _, token := range t.byDB {
		token.clear()
	}
}

// link brings the foreign keys up to date.
func (t *Tracker) link() {
	if !t.stale {
		return
	}
	t.stale = false
	l := newLinker(t.tables)
	l.link()
	if t.mode == Database {
		t.linkDatabases()
	}
}

// linkDatabases gives databases that foreign keys connect one token.
func (t *Tracker) linkDatabases() {
	group := map[string]string{}
	find := func(db string) string {
		for group[db] != "" && group[db] != db {
			db = group[db]
		}
		return db
	}
	for _, r := range t.tables {
		for i := range r.def.ForeignKeys {
			group[find(r.def.DB)] = find(r.def.ForeignKeys[i].RefDB)
		}
	}
	for _, p := range t.plans {
		root := find(p.target.DB)
		token := t.byDB[root]
		if token == nil {
			token = &tableToken{}
			t.byDB[root] = token
		}
		p.database = token
	}
}

// Add is Begin, a Row for each change, and End.
func (t *Tracker) Add(tx *Transaction) Dependency {
	t.Begin(tx.Header)
	for i := range tx.Changes {
		c := &tx.Changes[i]
		t.Row(c.Table, c.Before, c.After, c.Flags)
	}
	return t.End()
}

// Begin opens the next transaction and returns its sequence.
func (t *Tracker) Begin(h Header) uint64 {
	t.link()
	t.seq++
	t.header, t.open, t.barrier, t.clocked = h, true, h.Barrier, false
	t.waits.begin(t.seq)
	t.waits.upTo(t.base)
	if t.mode == LogicalClock {
		t.waits.upTo(t.clocks.floor(h.Clock, t.seq))
	}
	return t.seq
}

// Row adds a change to the open transaction. The rows are not kept.
func (t *Tracker) Row(table uint32, before, after rowimage.Row, flags RowFlags) {
	t.link()
	p := t.plans[table]
	if p == nil || !p.fits(before) || !p.fits(after) {
		t.barrier = true
		return
	}
	t.checkClock(flags)
	switch t.mode {
	case Writeset:
		t.take(p, before, after, flags)
	case LogicalClock:
		if p.trusted {
			t.clockedKeys(p, before, after)
		} else {
			t.take(p, before, after, flags)
		}
	case Database:
		p.database.take(t.seq, Clock{}, &t.waits)
	}
	if base := t.history.overflow(t.seq); base > 0 {
		t.base = max(t.base, base)
		t.waits.upTo(t.base)
	}
}

// checkClock forgets the clock of a transaction that did not check unique keys. Where earlier rows of it have relied on the clock, it is a barrier.
func (t *Tracker) checkClock(flags RowFlags) {
	if flags&RelaxedUniqueChecks == 0 {
		t.clocked = true
		return
	}
	t.barrier = t.barrier || t.clocked && t.header.Clock.known() || t.mode == LogicalClock
	t.header.Clock = Clock{}
}

func (p *plan) fits(row rowimage.Row) bool { return row == nil || len(row) == len(p.source.Columns) }

// Take returns what the open transaction must wait for by what was added so far, less what earlier calls returned: a transaction that arrives in
// fragments need not be complete to be begun.
func (t *Tracker) Take() Dependency {
	w := &t.waits
	switch {
	case t.barrier:
		w.upTo(t.seq - 1)
	case t.mode == Serial:
		w.after(t.seq - 1)
	}
	w.compact()
	d := Dependency{Seq: t.seq, Floor: w.floor, Preds: t.reducer.reduce(t.seq, w.floor, w.preds)}
	w.preds = w.preds[:0]
	return d
}

// End closes the open transaction.
func (t *Tracker) End() Dependency {
	d := t.Take()
	t.reducer.end(t.seq)
	if t.open = false; t.barrier {
		t.rebase()
	}
	return d
}

// Complete says that everything up to seq, the low-water mark, has been done: no dependency on it is reported any more.
func (t *Tracker) Complete(seq uint64) {
	t.waits.done = max(t.waits.done, min(seq, t.seq))
}

// Release gives the history's memory back. It costs nothing when everything is done, and a new base otherwise.
func (t *Tracker) Release() {
	t.rebase()
	limit := t.history.limit
	t.history = newHistory(2 * limit)
	t.waits.preds, t.scratch = nil, nil
}
