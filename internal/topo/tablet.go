package topo

import (
	"context"
	"fmt"
	"time"

	"braid/internal/base/errs"
)

// TabletAlias is the alias of a tablet: its cell and its number there.
func TabletAlias(cell string, uid uint32) string { return fmt.Sprintf("%s-%d", cell, uid) }

// TabletRegistration keeps a tablet's record alive.
type TabletRegistration struct {
	reg   Registration
	alias string
}

// RegisterTablet writes a tablet's record and keeps it alive until Close, or until the process was away for longer than ttl.
// After an outage the record comes back by itself, as last updated.
func (t *Topology) RegisterTablet(ctx context.Context, tablet Tablet, ttl time.Duration) (*TabletRegistration, error) {
	if err := tablet.check(); err != nil {
		return nil, err
	}
	reg, err := t.Register(ctx, keyTablets+tablet.Alias, mustJSON(tablet), ttl)
	if err != nil {
		return nil, err
	}
	return &TabletRegistration{reg: reg, alias: tablet.Alias}, nil
}

func (t Tablet) check() error {
	if err := CheckName("cell", t.Cell); err != nil {
		return err
	}
	if t.Alias != TabletAlias(t.Cell, t.UID) {
		return errs.New(errs.BadInput, nil, "tablet alias %q: cell and uid make it %q", t.Alias, TabletAlias(t.Cell, t.UID))
	}
	if err := CheckKeyspaceName(t.Keyspace); err != nil {
		return err
	}
	return CheckShardName(t.Shard)
}

// Update replaces the record. One round trip; if it fails for want of a connection, the record is written when there is
// one again.
func (r *TabletRegistration) Update(ctx context.Context, tablet Tablet) error {
	if tablet.Alias != r.alias {
		return errs.New(errs.BadInput, nil, "tablet %s cannot become %s", r.alias, tablet.Alias)
	}
	return r.reg.Update(ctx, mustJSON(tablet))
}

// Close removes the record.
func (r *TabletRegistration) Close(ctx context.Context) error { return r.reg.Close(ctx) }

// Tablet returns a living tablet's record, or ErrNotFound.
func (t *Topology) Tablet(ctx context.Context, alias string) (Tablet, error) {
	tablet, _, err := readJSON[Tablet](ctx, t, keyTablets+alias)
	return tablet, err
}

// Tablets lists all living tablets in order of their aliases.
func (t *Topology) Tablets(ctx context.Context) ([]Tablet, error) {
	return listJSON[Tablet](ctx, t, keyTablets)
}
