package vstream

import (
	"braid/internal/filter"
	"braid/internal/rowimage"
)

// matching returns the rows of a closed window that a plan keeps.
func (c *closed) matching(plan *filter.Plan) ([]rowimage.Row, error) {
	if plan.All() {
		return c.rows, nil
	}
	out := make([]rowimage.Row, 0, len(c.rows)/2)
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
