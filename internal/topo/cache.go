package topo

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"braid/internal/base/errs"
	"braid/internal/base/service"
)

// Cache follows what queries need: routing, tablets, shards, VSchemas. It is a few milliseconds behind the topology, or
// longer while that cannot be reached; it then serves what it has, and catches up by itself. Its routing never goes back
// (T1). Reading it costs no round trip, and for the routing no lock.
//
// A record that does not parse (of another version of the program) is taken as absent.
type Cache struct {
	t       *Topology
	group   service.Group
	routing atomic.Pointer[Routing]
	reads   *flight

	mu struct {
		sync.RWMutex
		tablets   map[string]Tablet // by alias
		members   map[shardID]map[string]bool
		shards    map[shardID]Shard
		keyspaces map[string]bool
		vschemas  map[string][]byte
		vversion  int64
		changed   chan struct{} // closed at the next change
	}
}

type shardID struct{ keyspace, shard string }

// NewCache returns a cache of t. It is empty until Start.
func NewCache(t *Topology) *Cache {
	c := &Cache{t: t, reads: newFlight()}
	c.routing.Store((&Routing{}).normal())
	c.mu.tablets = map[string]Tablet{}
	c.mu.members = map[shardID]map[string]bool{}
	c.mu.shards = map[shardID]Shard{}
	c.mu.keyspaces = map[string]bool{}
	c.mu.vschemas = map[string][]byte{}
	c.mu.changed = make(chan struct{})
	return c
}

// Start reads the whole state, then follows it in the background until Stop or the end of ctx.
func (c *Cache) Start(ctx context.Context) error {
	if err := c.group.Start(ctx); err != nil {
		return fmt.Errorf("topology cache: %w", err)
	}
	ch, err := c.t.Watch(c.group.Context(), keyCluster)
	if err != nil {
		c.group.Stop()
		return fmt.Errorf("topology cache: %w", err)
	}
	for change := range ch {
		if change.Key == "" {
			c.group.Go("follow", func(context.Context) error { return c.follow(ch) })
			c.group.Go("refresh", func(ctx context.Context) error { return c.reads.run(ctx, c.readRouting) })
			return nil
		}
		c.apply(change)
	}
	c.group.Stop()
	return fmt.Errorf("topology cache: %w", ctx.Err())
}

// Stop ends it. What was read stays readable.
func (c *Cache) Stop() { c.group.Stop() }

func (c *Cache) follow(ch <-chan Change) error {
	for change := range ch { // ends with the group: a watch survives everything else
		c.apply(change)
	}
	return nil
}

func (c *Cache) apply(change Change) {
	switch name, kind := splitKey(change.Key); kind {
	case keyRouting:
		if change.Value == nil {
			return // the routing is never deleted
		}
		if r, err := decodeRouting(change.Value, change.Version); err == nil {
			c.adopt(r)
		}
	case keyTablets:
		c.change(func() { c.setTablet(name, change.Value) })
	case keyShards:
		c.change(func() { c.setShard(name, change.Value) })
	case keyKeyspaces:
		c.change(func() { setOrDelete(c.mu.keyspaces, name, change.Value != nil, true) })
	case keyVSchemas:
		c.change(func() {
			setOrDelete(c.mu.vschemas, name, change.Value != nil, change.Value)
			c.mu.vversion = max(c.mu.vversion, change.Version)
		})
	}
}

func splitKey(key string) (name, kind string) {
	if key == keyRouting {
		return "", keyRouting
	}
	for _, kind := range []string{keyTablets, keyShards, keyKeyspaces, keyVSchemas} {
		if name, ok := strings.CutPrefix(key, kind); ok {
			return name, kind
		}
	}
	return "", ""
}

// adopt takes a routing unless a later one is known.
func (c *Cache) adopt(r *Routing) {
	c.change(func() {
		if r.version > c.routing.Load().version {
			c.routing.Store(r)
		}
	})
}

func (c *Cache) change(fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn()
	close(c.mu.changed)
	c.mu.changed = make(chan struct{})
}

// setTablet is called with mu held; so is setShard.
func (c *Cache) setTablet(alias string, raw []byte) {
	if old, ok := c.mu.tablets[alias]; ok {
		delete(c.mu.members[shardID{old.Keyspace, old.Shard}], alias)
		delete(c.mu.tablets, alias)
	}
	var t Tablet
	if raw == nil || json.Unmarshal(raw, &t) != nil {
		return
	}
	id := shardID{t.Keyspace, t.Shard}
	if c.mu.members[id] == nil {
		c.mu.members[id] = map[string]bool{}
	}
	c.mu.members[id][alias] = true
	c.mu.tablets[alias] = t
}

func (c *Cache) setShard(name string, raw []byte) {
	keyspace, shard, _ := strings.Cut(name, "/")
	var s Shard
	ok := raw != nil && json.Unmarshal(raw, &s) == nil
	setOrDelete(c.mu.shards, shardID{keyspace, shard}, ok, s)
}

func setOrDelete[K comparable, V any](m map[K]V, key K, set bool, value V) {
	if set {
		m[key] = value
	} else {
		delete(m, key)
	}
}

// Changed returns a channel that is closed at the next change of anything.
func (c *Cache) Changed() <-chan struct{} {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.mu.changed
}

// Routing is the latest routing known; never nil, not to be changed.
func (c *Cache) Routing() *Routing { return c.routing.Load() }

// WaitRouting waits until a routing of at least that epoch is known. It asks the topology once, so that it does not
// depend on the watch being quick. When ctx ends first, the error matches errs.Timeout.
func (c *Cache) WaitRouting(ctx context.Context, epoch uint64) (*Routing, error) {
	if r := c.Routing(); r.Epoch >= epoch {
		return r, nil
	}
	asked := c.Refresh(ctx) // an error is told only if the watch does not bring it either
	for {
		changed := c.Changed()
		if r := c.Routing(); r.Epoch >= epoch {
			return r, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if asked != nil {
				return nil, fmt.Errorf("wait for routing epoch %d: %w", epoch, asked)
			}
			return nil, errs.New(errs.Timeout, ctx.Err(), "routing epoch %d, known is %d", epoch, c.Routing().Epoch)
		}
	}
}

// Refresh reads the routing from the topology: afterwards Routing is at least what was written before the call. Calls at the
// same time share a read. The rest of the cache follows by the watch.
func (c *Cache) Refresh(ctx context.Context) error {
	if err := c.reads.join(ctx, c.group.Context()); err != nil {
		return fmt.Errorf("refresh routing: %w", err)
	}
	return nil
}

func (c *Cache) readRouting(ctx context.Context) error {
	r, err := c.t.Routing(ctx)
	if err == nil {
		c.adopt(r)
	}
	return err
}

// Tablets lists all living tablets in order of their aliases.
func (c *Cache) Tablets() []Tablet {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return sortTablets(slices.Collect(maps.Values(c.mu.tablets)))
}

// Tablet returns a living tablet.
func (c *Cache) Tablet(alias string) (Tablet, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	t, ok := c.mu.tablets[alias]
	return t, ok
}

// TabletsOf lists the living tablets of a type in a shard, in order of their aliases. Whether one serves is in its record.
func (c *Cache) TabletsOf(keyspace, shard string, t TabletType) []Tablet {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var all []Tablet
	for alias := range c.mu.members[shardID{keyspace, shard}] {
		if tablet := c.mu.tablets[alias]; tablet.Type == t {
			all = append(all, tablet)
		}
	}
	return sortTablets(all)
}

func sortTablets(all []Tablet) []Tablet {
	slices.SortFunc(all, func(a, b Tablet) int { return strings.Compare(a.Alias, b.Alias) })
	return all
}

// PrimaryOf returns the tablet that takes a shard's writes, if it lives: the one that the shard's record names; while that
// names none, the first of type PRIMARY.
func (c *Cache) PrimaryOf(keyspace, shard string) (Tablet, bool) {
	c.mu.RLock()
	named := c.mu.shards[shardID{keyspace, shard}].Primary
	t, ok := c.mu.tablets[named]
	c.mu.RUnlock()
	if named != "" {
		return t, ok && t.Type == Primary
	}
	if all := c.TabletsOf(keyspace, shard, Primary); len(all) > 0 {
		return all[0], true
	}
	return Tablet{}, false
}

// Keyspaces lists the names of all keyspaces.
func (c *Cache) Keyspaces() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return sorted(c.mu.keyspaces)
}

// Shards lists the shards of a keyspace, serving or not, in order of their key ranges.
func (c *Cache) Shards(keyspace string) []Shard {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var all []Shard
	for id, s := range c.mu.shards {
		if id.keyspace == keyspace {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b Shard) int { return compareShards(a.Name, b.Name) })
	return all
}

// VSchemas returns the VSchema documents by keyspace. The map is the caller's, the documents are not to be changed.
func (c *Cache) VSchemas() map[string][]byte {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return maps.Clone(c.mu.vschemas)
}

// VSchemaVersion grows whenever a VSchema changes.
func (c *Cache) VSchemaVersion() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.mu.vversion
}
