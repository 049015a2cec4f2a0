package controller

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/topo"
	"braid/internal/workflow"
)

// directory finds the tablet that takes a shard's writes.
type directory struct {
	cache *topo.Cache
	dial  func(addr string) (grpc.ClientConnInterface, error) // keeps one connection per address
}

// primary returns a client of a shard's primary and its record.
func (d *directory) primary(shard workflow.Shard) (tabletpb.TabletClient, topo.Tablet, error) {
	t, ok := d.cache.PrimaryOf(shard.Keyspace, shard.Name)
	if !ok {
		return nil, t, errs.New(errs.NoPrimary, nil, "shard %s has no living primary", shard)
	}
	conn, err := d.dial(t.GRPCAddr)
	if err != nil {
		return nil, t, fmt.Errorf("tablet %s: %w", t.Alias, err)
	}
	return tabletpb.NewTabletClient(conn), t, nil
}

// call makes one call to a shard's primary. Its error says which tablet, and is of the catalogue if the tablet's was.
func call[T any](ctx context.Context, d *directory, shard workflow.Shard, fn func(context.Context, tabletpb.TabletClient) (T, error)) (T, error) {
	client, t, err := d.primary(shard)
	if err != nil {
		var none T
		return none, err
	}
	resp, err := fn(ctx, client)
	if err != nil {
		return resp, fmt.Errorf("tablet %s (%s): %w", t.Alias, shard, errs.FromGRPC(err))
	}
	return resp, nil
}
