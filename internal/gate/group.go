package gate

import (
	"slices"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/mysqlproto"
)

// maxGroupBytes bounds the groups that are kept to be sorted.
const maxGroupBytes = 64 << 20

// groups merges rows that are groups of their shards.
func (m *merger) groups() error {
	var kept [][][]byte
	size := 0
	done := false
	emit := func(g [][]byte) error {
		if len(m.merge.sort) == 0 {
			more, err := m.write(g)
			done = !more
			return err
		}
		for _, cell := range g {
			size += len(cell) + 24
		}
		if size > maxGroupBytes {
			return mysqlproto.Error(mysql.ER_OUT_OF_SORTMEMORY, "HY001", "Out of sort memory: the groups of several shards are too many to be sorted here; order by the columns that they are grouped by")
		}
		kept = append(kept, g)
		return nil
	}
	group, err := m.next()
	for ; err == nil && group != nil && !done; group, err = m.next() {
		if err := emit(group); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	return m.sorted(kept)
}

// next collects the rows of one group; nil after the last.
func (m *merger) next() ([][]byte, error) {
	c, err := m.least()
	if err != nil || c == nil {
		return nil, err
	}
	group := cloneRow(c.cells)
	for {
		if err := m.advance(c); err != nil {
			return nil, err
		}
		if c, err = m.least(); err != nil {
			return nil, err
		}
		if c == nil {
			break
		}
		n, err := m.order(c.cells, group)
		if err != nil {
			return nil, err
		}
		if n != 0 && !m.merge.single {
			break
		}
		if err := m.add(group, c.cells); err != nil {
			return nil, err
		}
	}
	return group, m.finish(group)
}

// cloneRow keeps a row: cursors overwrite theirs.
func cloneRow(cells [][]byte) [][]byte {
	out := make([][]byte, len(cells))
	for i, cell := range cells {
		if cell != nil {
			out[i] = append(make([]byte, 0, len(cell)), cell...)
		}
	}
	return out
}

// add puts another shard's part of a group in.
func (m *merger) add(group, part [][]byte) error {
	for i, it := range m.merge.items {
		var err error
		switch it.kind {
		case sumOfGroup:
			group[i], err = addCells(m.cols[i], group[i], part[i])
		case avgOfGroup:
			at := m.visible + it.count
			if group[i], err = addCells(m.cols[i], group[i], part[i]); err == nil {
				group[at], err = addCells(m.cols[at], group[at], part[at])
			}
		case leastOfGroup:
			err = m.least1(i, it.key, group, part)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// least1 keeps the smaller of two values, or the greater if the key is descending, with the columns it is compared by. NULL is
// no value.
func (m *merger) least1(i int, key sortKey, group, part [][]byte) error {
	at := m.visible + key.value
	take := group[at] == nil && part[at] != nil
	if !take && part[at] != nil {
		n, err := m.compare.compare(key, part, group)
		if err != nil {
			return err
		}
		take = n < 0
	}
	if !take {
		return nil
	}
	for _, c := range []int{i, at, m.visible + key.weight, m.visible + key.collationAt} {
		if c == i || c >= m.visible {
			group[c] = slices.Clone(part[c])
		}
	}
	return nil
}

// finish computes what needs all parts.
func (m *merger) finish(group [][]byte) error {
	for i, it := range m.merge.items {
		if it.kind != avgOfGroup {
			continue
		}
		var err error
		if group[i], err = divideCell(m.cols[i], group[i], group[m.visible+it.count]); err != nil {
			return err
		}
	}
	return nil
}

// sorted writes groups that were kept, in the order that the query asks for.
func (m *merger) sorted(kept [][][]byte) error {
	var failure error
	slices.SortStableFunc(kept, func(a, b [][]byte) int {
		n, err := m.compareGroups(a, b)
		if err != nil && failure == nil {
			failure = err
		}
		return n
	})
	if failure != nil {
		return failure
	}
	for _, g := range kept {
		if more, err := m.write(g); err != nil || !more {
			return err
		}
	}
	return nil
}

func (m *merger) compareGroups(a, b [][]byte) (int, error) {
	for _, k := range m.merge.sort {
		var n int
		var err error
		if k.keyed {
			key := k.key
			key.desc = false
			n, err = m.compare.compare(key, a, b)
		} else {
			n, err = compareNullable(m.cols[k.item], a[k.item], b[k.item])
		}
		if k.desc {
			n = -n
		}
		if n != 0 || err != nil {
			return n, err
		}
	}
	return 0, nil
}

func compareNullable(c mysqlproto.Column, x, y []byte) (int, error) {
	if x == nil || y == nil {
		return boolInt(x != nil) - boolInt(y != nil), nil
	}
	return compareCells(c, x, y)
}
