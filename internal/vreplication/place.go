package vreplication

import (
	"context"
	"fmt"
	"slices"

	"braid/internal/topo"
)

// placed is a Stream that knows the tablet it reads from.
type placed interface{ From() topo.Tablet }

// readTypes are the types of tablets that this run may read from. A copy reads where the row says: its SELECTs, and the log that they are put in
// order with, which must be the same server's (package vstream, "window"). When all is copied the stream reads from the primary: a cutover waits for it with writes held,
// and a replica may be behind. If the row does not name the primary, it never reads from there.
func (r *run) readTypes() ([]topo.TabletType, error) {
	types, err := r.row.tabletTypes()
	if err == nil && !r.row.Pos.Empty() && r.copied() && slices.Contains(types, topo.Primary) {
		types = []topo.TabletType{topo.Primary}
	}
	return types, err
}

// opened notes where the stream reads.
func (r *run) opened(types []topo.TabletType) {
	p, ok := r.stream.(placed)
	if !ok {
		return
	}
	tablet := p.From()
	r.aside = tablet.Type != topo.Primary && slices.Contains(types, topo.Primary)
	text := fmt.Sprintf("%s (%s)", tablet.Alias, tablet.Type)
	r.c.readsFrom.Store(&text)
	r.log.Info("stream reads", "tablet", tablet.Alias, "type", tablet.Type)
}

// comeBack goes on at the primary, once all is copied.
func (r *run) comeBack(ctx context.Context) error {
	if r.ap.Open() || r.windows.applying > 0 {
		return nil
	}
	if err := r.commit(ctx); err != nil {
		return err
	}
	r.log.Info("all tables are copied: the stream goes on at the primary", "position", r.ap.Position())
	return errAgain
}
