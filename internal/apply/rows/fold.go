package rows

import (
	"bytes"
	"slices"

	"github.com/cespare/xxhash/v2"

	"braid/internal/rowimage"
	"braid/internal/vstream"
)

// fold makes of many changes their outcome: for each row that was changed at most one change is left, and the changes of a table stand
// together, in the order
//
//	deletes, updates, inserts
//
// It is for tables whose rows nothing ties to those of other tables (Table.folds), inside of one transaction of the target, whose
// states in between nobody sees.
//
// Why no unique key is hurt: let S be the rows before, F those behind. An update that changes a unique key beside the row's own counts as a
// delete and an insert here. So when the deletes are done, what is left is a part of F, as far as unique keys go; updates do not change
// that, and inserts only add what F has. A part of F has no two rows with the same unique value.
//
// What must be found stays exact: a row whose first change was an update or a delete is one that the target must have, one whose first
// change was an insert is one that it must not have. A row that comes and goes is written and deleted, so that one that was there is noticed.
type fold struct {
	slots   []slot
	buckets []int32 // first slot + 1 of each chain; a power of two
	works   []work
	byTable map[*Table]int32 // index into works
}

// slot is what becomes of one row, by its key.
type slot struct {
	hash          uint64
	work          int32
	next          int32 // in the bucket's chain, as in buckets
	had           bool  // it was there before
	lives         bool  // it is there behind
	before, after image
	gtid          string
}

// image is one of a change's images.
type image struct {
	row rowimage.Row
	raw []byte
}

// work is what there is to do in a table.
type work struct {
	table *Table
	slots []int32 // in the order of their first change
}

const minBuckets = 1 << 8

func (f *fold) reset() {
	if len(f.slots) == 0 {
		return
	}
	clear(f.slots)
	f.slots = f.slots[:0]
	clear(f.buckets)
	f.works = f.works[:0]
	clear(f.byTable)
}

func (f *fold) empty() bool { return len(f.slots) == 0 }

// add takes a change; false: its row has come and gone in a way that cannot be told as one change. What is here must be written first.
func (f *fold) add(t *Table, c *vstream.Change, gtid string) bool {
	if c.Op == vstream.Update && t.sameKey(c.Before, c.After) {
		return f.update(t, c, gtid)
	}
	if c.Op != vstream.Delete && f.taken(t, c.After) || c.Op != vstream.Insert && !f.remove(t, c, gtid) {
		return false
	}
	if c.Op != vstream.Delete {
		f.insert(t, c, gtid)
	}
	return true
}

func (f *fold) update(t *Table, c *vstream.Change, gtid string) bool {
	s, found := f.slot(t, c.Before)
	if found && !s.lives {
		return false
	}
	if !found {
		s.had, s.lives, s.before = true, true, image{c.Before, c.RawBefore}
	}
	s.after, s.gtid = image{c.After, c.RawAfter}, gtid
	return true
}

func (f *fold) remove(t *Table, c *vstream.Change, gtid string) bool {
	s, found := f.slot(t, c.Before)
	if found && (!s.lives || !s.had && t.crowded()) {
		return false
	}
	if !found {
		s.had, s.before = true, image{c.Before, c.RawBefore}
	}
	s.lives, s.gtid = false, gtid
	return true
}

func (f *fold) insert(t *Table, c *vstream.Change, gtid string) {
	s, _ := f.slot(t, c.After)
	s.lives, s.after, s.gtid = true, image{c.After, c.RawAfter}, gtid
}

// split says that an update is written as a delete and an insert.
func (s *slot) split(t *Table) bool {
	return s.had && s.lives && t.touchesUnique(s.before.row, s.after.row)
}

// splits says that some update of a table is written so.
func (f *fold) splits(w *work) bool {
	if !w.table.opaque && len(w.table.unique) == 0 {
		return false
	}
	return slices.ContainsFunc(w.slots, func(i int32) bool { return f.slots[i].split(w.table) })
}

// slot finds the slot of a row, or makes one.
func (f *fold) slot(t *Table, row rowimage.Row) (s *slot, found bool) {
	w := f.work(t)
	hash := hashKey(t, w, row)
	if s := f.find(t, w, hash, row); s != nil {
		return s, true
	}
	if len(f.buckets) <= 2*len(f.slots) {
		f.grow()
	}
	at := &f.buckets[hash&uint64(len(f.buckets)-1)]
	f.slots = append(f.slots, slot{hash: hash, work: w, next: *at})
	*at = int32(len(f.slots))
	f.works[w].slots = append(f.works[w].slots, *at-1)
	return &f.slots[len(f.slots)-1], false
}

// taken says that a row is there now.
func (f *fold) taken(t *Table, row rowimage.Row) bool {
	w := f.work(t)
	s := f.find(t, w, hashKey(t, w, row), row)
	return s != nil && s.lives
}

func (f *fold) find(t *Table, w int32, hash uint64, row rowimage.Row) *slot {
	if len(f.slots) == 0 {
		return nil
	}
	for i := f.buckets[hash&uint64(len(f.buckets)-1)]; i != 0; i = f.slots[i-1].next {
		if s := &f.slots[i-1]; s.hash == hash && s.work == w && s.is(t, row) {
			return s
		}
	}
	return nil
}

func hashKey(t *Table, w int32, row rowimage.Row) uint64 {
	const odd = 0x9e3779b97f4a7c15
	hash := uint64(w+1) * odd
	for _, c := range t.key {
		hash = (hash^xxhash.Sum64(row[c]))*odd + 1
	}
	return hash ^ hash>>32
}

// is says whether the slot is that of the row's key, byte by byte: images of a row follow each other byte by byte, and rows that only a
// collation calls equal are a delete and an insert.
func (s *slot) is(t *Table, row rowimage.Row) bool {
	own := s.before.row
	if s.after.row != nil {
		own = s.after.row
	}
	for _, c := range t.key {
		if !bytes.Equal(own[c], row[c]) {
			return false
		}
	}
	return true
}

func (f *fold) work(t *Table) int32 {
	if n := len(f.works); n > 0 && f.works[n-1].table == t {
		return int32(n - 1)
	}
	if w, ok := f.byTable[t]; ok {
		return w
	}
	if f.byTable == nil {
		f.byTable = map[*Table]int32{}
	}
	n := len(f.works)
	if n < cap(f.works) { // with the memory of an earlier one
		f.works = f.works[:n+1]
		f.works[n] = work{table: t, slots: f.works[n].slots[:0]}
	} else {
		f.works = append(f.works, work{table: t})
	}
	f.byTable[t] = int32(n)
	return int32(n)
}

func (f *fold) grow() {
	size := max(minBuckets, 2*len(f.buckets))
	if cap(f.buckets) >= size {
		f.buckets = f.buckets[:size]
		clear(f.buckets)
	} else {
		f.buckets = make([]int32, size)
	}
	for i := range f.slots {
		at := &f.buckets[f.slots[i].hash&uint64(size-1)]
		f.slots[i].next = *at
		*at = int32(i + 1)
	}
}

// render writes what there is to do, and empties the fold: tables of the native writer first, those of a mode together, so that they are one
// statement.
func (f *fold) render(b *Batch) error {
	b.checks = false // a table that foreign keys tie to others is here only if they are not looked at
	for _, native := range []bool{true, false} {
		for _, mode := range []Mode{Strict, Upsert} {
			for i := range f.works {
				w := &f.works[i]
				if w.table.Mode != mode || b.writesEvents(w.table) != native {
					continue
				}
				if !native && f.splits(w) {
					b.restoreChecks(false) // whoever has made a foreign key since Bind: rows that stay must not cascade
				}
				if err := f.renderTable(b, w); err != nil {
					return err
				}
			}
		}
	}
	f.reset()
	return nil
}

// The steps of a table, in the order that the type's comment proves.
const (
	deletes = iota
	updates
	passing // what comes,
	passed  // and goes
	inserts
	steps
)

// writer is what writes the outcome.
type writer interface {
	source(gtid string)
	remove(t *Table, im image) error
	change(t *Table, before, after image) error
	insert(t *Table, im image) error
}

func (f *fold) renderTable(b writer, w *work) error {
	for step := range steps {
		for _, i := range w.slots {
			s := &f.slots[i]
			b.source(s.gtid)
			if err := s.render(b, w.table, step); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *slot) render(b writer, t *Table, step int) error {
	upsert := t.Mode == Upsert // then nothing has to be found, and what is there is written over
	switch {
	case step == deletes && upsert && !s.lives && !s.had:
		return b.remove(t, s.after)
	case step == deletes && s.had && (!s.lives || s.split(t)):
		return b.remove(t, s.before)
	case step == inserts && s.lives && (upsert || !s.had || s.split(t)):
		return b.insert(t, s.after)
	case upsert:
	case step == updates && s.had && s.lives && !s.split(t):
		return b.change(t, s.before, s.after)
	case step == passing && !s.had && !s.lives:
		return b.insert(t, s.after)
	case step == passed && !s.had && !s.lives:
		return b.remove(t, s.after)
	}
	return nil
}
