package topo

import (
	"context"
	"errors"
	"slices"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/keyrange"
)

// CheckShardName refuses what is not a key range in its usual form: "0", "-", "-80", "40-80", "80-".
func CheckShardName(shard string) error {
	r, err := keyrange.Parse(shard)
	if err != nil {
		return errs.New(errs.BadInput, err, "shard name %q", shard)
	}
	if shard != "0" && shard != r.String() {
		return errs.New(errs.BadInput, nil, "shard name %q: write it %q", shard, r.String())
	}
	return nil
}

// overlap reports whether two shards have keyspace IDs in common. Names that are no key ranges overlap everything: what
// is not understood must not begin to serve.
func overlap(a, b string) bool {
	ra, err := keyrange.Parse(a)
	if err != nil {
		return true
	}
	rb, err := keyrange.Parse(b)
	return err != nil || ra.Overlaps(rb)
}

// compareShards orders shards by their key ranges.
func compareShards(a, b string) int {
	ra, aerr := keyrange.Parse(a)
	rb, berr := keyrange.Parse(b)
	if aerr != nil || berr != nil {
		return strings.Compare(a, b)
	}
	return keyrange.Compare(ra, rb)
}

// CreateShard creates a shard. It serves at once if it overlaps no shard of the keyspace that serves; else it waits for a
// workflow to switch traffic to it (T4). A shard that exists is ErrExists.
func (t *Topology) CreateShard(ctx context.Context, keyspace, shard string) error {
	if err := CheckShardName(shard); err != nil {
		return err
	}
	for {
		err := t.createShard(ctx, keyspace, shard)
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

func (t *Topology) createShard(ctx context.Context, keyspace, shard string) error {
	_, version, err := t.Read(ctx, keyKeyspaces+keyspace)
	if errors.Is(err, ErrNotFound) {
		return unknownKeyspace(keyspace)
	}
	if err != nil {
		return err
	}
	r, err := t.Routing(ctx)
	if err != nil {
		return err
	}
	next := r.Clone()
	next.Serve(keyspace, shard)
	writes := []KeyWrite{
		{Key: keyKeyspaces + keyspace, Version: version, CheckOnly: true},
		{Key: shardKey(keyspace, shard), Value: mustJSON(Shard{Keyspace: keyspace, Name: shard})},
	}
	if next.equal(r) {
		writes = append(writes, KeyWrite{Key: keyRouting, Version: r.version, CheckOnly: true})
		_, err = t.WriteAll(ctx, writes)
	} else {
		_, err = t.WriteRoutingIf(ctx, next, writes...)
	}
	if errors.Is(err, ErrExists) {
		return errs.New(errs.Exists, nil, "shard %s/%s exists already", keyspace, shard)
	}
	return err
}

// Shard returns a shard; an unknown one is errs.ShardUnknown, which also matches ErrNotFound.
func (t *Topology) Shard(ctx context.Context, keyspace, shard string) (Shard, error) {
	s, _, err := readJSON[Shard](ctx, t, shardKey(keyspace, shard))
	if errors.Is(err, ErrNotFound) {
		return s, unknownShard(keyspace, shard)
	}
	return s, err
}

func unknownShard(keyspace, shard string) error {
	return errs.New(errs.ShardUnknown, ErrNotFound, "shard %s/%s", keyspace, shard)
}

// Shards lists the shards of a keyspace in order of their key ranges; of all keyspaces when keyspace is "".
func (t *Topology) Shards(ctx context.Context, keyspace string) ([]Shard, error) {
	prefix := keyShards
	if keyspace != "" {
		prefix += keyspace + "/"
	}
	all, err := listJSON[Shard](ctx, t, prefix)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 && keyspace != "" {
		if _, err := t.Keyspace(ctx, keyspace); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b Shard) int {
		if c := strings.Compare(a.Keyspace, b.Keyspace); c != 0 {
			return c
		}
		return compareShards(a.Name, b.Name)
	})
	return all, nil
}

// DeleteShard deletes a shard's record; one that serves any tablet type is refused (T4). The data is not touched.
func (t *Topology) DeleteShard(ctx context.Context, keyspace, shard string) error {
	for {
		err := t.deleteShard(ctx, keyspace, shard)
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

func (t *Topology) deleteShard(ctx context.Context, keyspace, shard string) error {
	_, version, err := t.Read(ctx, shardKey(keyspace, shard))
	if errors.Is(err, ErrNotFound) {
		return unknownShard(keyspace, shard)
	}
	if err != nil {
		return err
	}
	r, err := t.Routing(ctx)
	if err != nil {
		return err
	}
	if types := r.Serves(keyspace, shard); len(types) > 0 {
		return errs.New(errs.WorkflowState, nil, "shard %s/%s serves %v", keyspace, shard, types).
			With("Switch its traffic to other shards first: `braid reshard`, then `braid workflow switch`.")
	}
	_, err = t.WriteAll(ctx, []KeyWrite{
		{Key: shardKey(keyspace, shard), Version: version},
		{Key: keyRouting, Version: r.version, CheckOnly: true},
	})
	if errors.Is(err, ErrNotFound) {
		return unknownShard(keyspace, shard)
	}
	return err
}

// SetShardPrimary records which tablet takes a shard's writes. Setting what is set writes nothing.
func (t *Topology) SetShardPrimary(ctx context.Context, keyspace, shard, alias string) error {
	for {
		s, version, err := readJSON[Shard](ctx, t, shardKey(keyspace, shard))
		if errors.Is(err, ErrNotFound) {
			return unknownShard(keyspace, shard)
		}
		if err != nil || s.Primary == alias {
			return err
		}
		s.Primary = alias
		_, err = t.Write(ctx, shardKey(keyspace, shard), mustJSON(s), version)
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
}
