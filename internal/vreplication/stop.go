package vreplication

import (
	"context"
	"fmt"

	"braid/internal/gtid"
)

// reached says that the stop position, if there is one, is contained.
func (r *run) reached(position gtid.Set) bool {
	return r.row.hasStop && !position.Empty() && position.Contains(r.row.StopPos)
}

// passed says that a transaction or a statement lies behind the stop position, though it does not show yet: what is missing are transactions without
// rows for us, which heartbeats tell later. They are of its own server and have lower numbers, so they came before it.
func (r *run) passed(id string) bool {
	g, err := gtid.ParseGTID(id)
	if err != nil || r.row.StopPos.Has(g) || r.ap.Open() {
		return false
	}
	for src, intervals := range r.row.StopPos.Subtract(r.ap.Position()).All {
		if src != g.Source || intervals[len(intervals)-1].Last >= g.Number {
			return false
		}
	}
	return true
}

// stop ends the stream exactly at its stop position. Nothing behind it was added. If the state is not written any more, the next run does it.
func (r *run) stop(ctx context.Context) error {
	if err := r.ap.Drain(ctx); err != nil {
		return err
	}
	return r.stopHere(ctx)
}

func (r *run) stopHere(ctx context.Context) error {
	_, err := r.conn.Exec(ctx, fmt.Sprintf("UPDATE _braid.vreplication SET state='Stopped', message='reached the stop position', time_updated=%d WHERE id=%d", nowUS(), r.row.ID))
	if err != nil {
		return err
	}
	r.stopped()
	return errNotWanted
}

func (r *run) stopped() {
	r.log.Info("stream has reached its stop position", "position", r.ap.Saved())
	r.row.State, r.row.Message = Stopped, "reached the stop position"
	r.c.end(notRunning(r.row))
}
