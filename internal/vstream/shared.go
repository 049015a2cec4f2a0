package vstream

import (
	"encoding/binary"
	"sync"

	"braid/internal/filter"
	"braid/internal/rowimage"
)

// keyspaceIDs are those of the rows of a chunk that several streams share: found once for all that find them alike.
type keyspaceIDs struct {
	mu struct {
		sync.Mutex
		found map[string]*routes
	}
}

// of returns the IDs of rows under a plan that has a key range.
func (k *keyspaceIDs) of(plan *filter.Plan, rows []rowimage.Row) (*routes, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := k.mu.found[plan.Sharding()]; r != nil {
		return r, nil
	}
	r, cells, id := &routes{keys: make([]uint64, 0, len(rows))}, make([][]byte, len(plan.Columns())), []byte(nil)
	for _, row := range rows {
		for i, c := range plan.Columns() {
			cells[i] = row[c]
		}
		var err error
		if id, err = plan.AppendID(id[:0], cells); err != nil {
			return nil, err
		}
		r.append(id)
	}
	if k.mu.found == nil {
		k.mu.found = map[string]*routes{}
	}
	k.mu.found[plan.Sharding()] = r
	return r, nil
}

// append adds an ID.
func (r *routes) append(id []byte) {
	if r.ends == nil && len(id) == 8 {
		r.keys = append(r.keys, binary.BigEndian.Uint64(id))
		return
	}
	for _, key := range r.keys { // this one is of another length
		r.ids = binary.BigEndian.AppendUint64(r.ids, key)
		r.ends = append(r.ends, uint32(len(r.ids)))
	}
	r.keys = nil
	r.ids = append(r.ids, id...)
	r.ends = append(r.ends, uint32(len(r.ids)))
}

// matching returns the rows of a closed window that a plan keeps.
func (c *closed) matching(plan *filter.Plan) ([]rowimage.Row, error) {
	if plan.All() {
		return c.rows, nil
	}
	var out []rowimage.Row
	if c.read.ids == nil {
		for _, row := range c.rows {
			in, err := plan.Match(row)
			if err != nil {
				return nil, err
			}
			if in {
				out = append(out, row)
			}
		}
		return out, nil
	}
	ids, err := c.read.ids.of(plan, c.read.rows)
	if err != nil {
		return nil, err
	}
	for i, row := range c.rows {
		at := i
		if c.kept != nil {
			at = int(c.kept[i])
		}
		if ids.holds(plan, at) {
			out = append(out, row)
		}
	}
	return out, nil
}
