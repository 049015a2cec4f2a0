package topo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"braid/internal/base/errs"
)

// Routing reads the routing. A cluster that has none yet gets an empty one of epoch 0.
func (t *Topology) Routing(ctx context.Context) (*Routing, error) {
	raw, version, err := t.Read(ctx, keyRouting)
	if errors.Is(err, ErrNotFound) {
		return (&Routing{}).normal(), nil
	}
	if err != nil {
		return nil, err
	}
	return decodeRouting(raw, version)
}

func decodeRouting(raw []byte, version int64) (*Routing, error) {
	r := &Routing{}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("read %s: %w", keyRouting, err)
	}
	r.version = version
	return r.normal(), nil
}

// UpdateRouting lets change edit a copy of the present routing and writes it with the next epoch. If somebody else wrote
// meanwhile, change runs again on what they wrote. If it changes nothing, nothing is written and the epoch stays. A fence of
// epoch 0 gets the new epoch. It returns the routing as it stands now, not to be changed.
func (t *Topology) UpdateRouting(ctx context.Context, change func(*Routing) error) (*Routing, error) {
	for {
		r, err := t.Routing(ctx)
		if err != nil {
			return nil, err
		}
		next := r.Clone()
		if err := change(next); err != nil {
			return nil, err
		}
		next.Epoch, next.version = r.Epoch, r.version
		if next.normal().equal(r) {
			return r, nil
		}
		written, err := t.WriteRoutingIf(ctx, next)
		if !errors.Is(err, ErrConflict) {
			return written, err
		}
	}
}

// WriteRoutingIf writes r, a changed Clone of a routing that was read, together with other keys in one transaction and with
// one round trip: all or none. If the routing is no longer the one that was read, nothing is written and the error is
// ErrConflict. The new routing has the epoch after r's and is returned. A fence of epoch 0 gets that epoch.
func (t *Topology) WriteRoutingIf(ctx context.Context, r *Routing, extra ...KeyWrite) (*Routing, error) {
	next := r.Clone()
	next.Epoch++
	for w, f := range next.Fences {
		if f.Epoch == 0 {
			f.Epoch = next.Epoch
			next.Fences[w] = f
		}
	}
	writes := append(extra[:len(extra):len(extra)], KeyWrite{Key: keyRouting, Value: mustJSON(next), Version: r.version})
	version, err := t.WriteAll(ctx, writes)
	if err != nil {
		var ke *KeyError
		if errors.As(err, &ke) && ke.Key == keyRouting {
			return nil, errs.New(errs.Conflict, nil, "the routing is no longer that of epoch %d", r.Epoch)
		}
		return nil, fmt.Errorf("write routing epoch %d: %w", next.Epoch, err)
	}
	next.version = version
	return next, nil
}
