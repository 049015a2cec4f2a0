package vstream

import (
	"braid/internal/binlog"
	"braid/internal/rowimage"
)

// filtered takes the rows of an event for which the table's rule has a condition. Each image is looked at on its own: an update may bring a
// row in, or take it away.
func (f *transform) filtered(k *compiled, ev *binlog.Rows) error {
	plan := k.table.plan
	cells := make(rowimage.Row, len(plan.Columns()))
	match := func(im *rowimage.Image) (bool, error) {
		if im == nil {
			return false, nil
		}
		if err := im.Cells(cells, plan.Columns()); err != nil {
			return false, err
		}
		return plan.MatchCells(cells)
	}
	c, err := k.decoder.Open(eventType(ev), ev.Body)
	if err != nil {
		return err
	}
	for c.Next() {
		in, err := match(c.Before)
		if err != nil {
			return err
		}
		out, err := match(c.After)
		if err != nil {
			return err
		}
		if err := f.row(k, c.Before, c.After, in, out); err != nil {
			return err
		}
	}
	return c.Err()
}
