package topo

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"braid/internal/base/errs"
)

// Routing says where queries go. There is one Routing per cluster, one key in the topology, replaced as a whole by
// compare-and-swap: a switch of many tables, shards and tablet types is one step for everybody.
//
// Epoch grows by one with each change. A query carries the epoch it was routed by; a tablet that knows a later one
// refuses it, and the gate reads the routing again and sends the query on.
type Routing struct {
	Epoch uint64 `json:"epoch"`
	// Keyspaces lists, per keyspace and tablet type, the shards that serve. A type that is missing serves where PRIMARY does.
	Keyspaces map[string]KeyspaceRouting `json:"keyspaces"`
	// Tables moves tables: key "keyspace.table", value the keyspace that serves it, per tablet type. A table or type that is
	// missing is served by the keyspace that it is named under.
	Tables map[string]TableRouting `json:"tables,omitempty"`
	// Fences by workflow: what must not be written now.
	Fences map[string]Fence `json:"fences,omitempty"`

	version int64 // of the key that it was read from; 0 when there is none yet
}

// KeyspaceRouting is the serving shards of one keyspace by tablet type.
type KeyspaceRouting map[TabletType][]string

// TableRouting is the keyspace that serves a table, by tablet type.
type TableRouting map[TabletType]string

// Fence stops writes while a cutover is under way.
type Fence struct {
	Keyspace string   `json:"keyspace"`
	Shards   []string `json:"shards"`           // these shards refuse writes
	Tables   []string `json:"tables,omitempty"` // to these tables only; none means all tables
	Epoch    uint64   `json:"epoch"`            // the epoch that set it
}

// Clone returns a deep copy, to be changed and written back.
func (r *Routing) Clone() *Routing {
	c := &Routing{Epoch: r.Epoch, version: r.version, Keyspaces: map[string]KeyspaceRouting{}, Tables: map[string]TableRouting{}, Fences: map[string]Fence{}}
	for ks, kr := range r.Keyspaces {
		n := KeyspaceRouting{}
		for t, shards := range kr {
			n[t] = slices.Clone(shards)
		}
		c.Keyspaces[ks] = n
	}
	for name, tr := range r.Tables {
		n := TableRouting{}
		for t, ks := range tr {
			n[t] = ks
		}
		c.Tables[name] = n
	}
	for w, f := range r.Fences {
		f.Shards, f.Tables = slices.Clone(f.Shards), slices.Clone(f.Tables)
		c.Fences[w] = f
	}
	return c
}

// ServingShards returns the shards of a keyspace that serve a tablet type, nil when there are none.
func (r *Routing) ServingShards(keyspace string, t TabletType) []string {
	kr := r.Keyspaces[keyspace]
	if shards, ok := kr[t]; ok {
		return shards
	}
	return kr[Primary]
}

// TableKeyspace returns the keyspace that serves keyspace.table for a tablet type.
func (r *Routing) TableKeyspace(keyspace, table string, t TabletType) string {
	if tr, ok := r.Tables[keyspace+"."+table]; ok {
		if ks, ok := tr[t]; ok {
			return ks
		}
		if ks, ok := tr[Primary]; ok {
			return ks
		}
	}
	return keyspace
}

// Fenced returns the workflow whose fence refuses a write to these tables of a shard, or "". No tables means that the
// write may touch any.
func (r *Routing) Fenced(keyspace, shard string, tables []string) string {
	first := ""
	for w, f := range r.Fences {
		if (first == "" || w < first) && f.holds(keyspace, shard, tables) {
			first = w
		}
	}
	return first
}

func (f Fence) holds(keyspace, shard string, tables []string) bool {
	if f.Keyspace != keyspace || !slices.Contains(f.Shards, shard) {
		return false
	}
	return len(f.Tables) == 0 || len(tables) == 0 || slices.ContainsFunc(tables, func(t string) bool { return slices.Contains(f.Tables, t) })
}

// CheckWrite reports why the primary of a shard must refuse a write to these tables, nil when it may pass. It is the
// whole truth of who may write where: gates route by the same data, tablets enforce it. The error is errs.Fenced or
// errs.NotServing.
func (r *Routing) CheckWrite(keyspace, shard string, tables []string) error {
	if w := r.Fenced(keyspace, shard, tables); w != "" {
		return errs.New(errs.Fenced, nil, "%s/%s takes no writes: workflow %s is switching its traffic", keyspace, shard, w)
	}
	if !slices.Contains(r.ServingShards(keyspace, Primary), shard) {
		return errs.New(errs.NotServing, nil, "%s/%s does not serve writes", keyspace, shard)
	}
	for _, t := range tables {
		if ks := r.TableKeyspace(keyspace, t, Primary); ks != keyspace {
			return errs.New(errs.NotServing, nil, "table %s is served by keyspace %s, not by %s", t, ks, keyspace)
		}
	}
	return nil
}

// Serve lets a shard serve all tablet types if it overlaps no shard of its keyspace that serves any (T4). It reports
// whether it did.
func (r *Routing) Serve(keyspace, shard string) bool {
	kr := r.Keyspaces[keyspace]
	for _, shards := range kr {
		if slices.ContainsFunc(shards, func(s string) bool { return overlap(s, shard) }) {
			return false
		}
	}
	if kr == nil {
		kr = KeyspaceRouting{}
	}
	if _, ok := kr[Primary]; !ok {
		kr[Primary] = nil
	}
	for t, shards := range kr {
		shards = append(slices.Clone(shards), shard)
		slices.SortFunc(shards, compareShards)
		kr[t] = shards
	}
	r.Keyspaces[keyspace] = kr
	return true
}

// Serves returns the tablet types that a shard serves, none when it serves nothing.
func (r *Routing) Serves(keyspace, shard string) []TabletType {
	var types []TabletType
	for _, t := range ServingTypes {
		if slices.Contains(r.ServingShards(keyspace, t), shard) {
			types = append(types, t)
		}
	}
	return types
}

// Version is the version of the key that the routing was read from, 0 when there was none. WriteRoutingIf asks for it.
func (r *Routing) Version() int64 { return r.version }

// String prints the routing for people, in a stable order:
//
//	epoch 7
//	commerce PRIMARY: -
//	customer PRIMARY: -80 80-
//	customer RDONLY: -
//	table commerce.orders PRIMARY: customer
//	fence resh: customer/-80,80- all tables, since epoch 7
func (r *Routing) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "epoch %d\n", r.Epoch)
	for _, ks := range sorted(r.Keyspaces) {
		for _, t := range sorted(r.Keyspaces[ks]) {
			fmt.Fprintf(&b, "%s %s: %s\n", ks, t, strings.Join(r.Keyspaces[ks][t], " "))
		}
	}
	for _, name := range sorted(r.Tables) {
		for _, t := range sorted(r.Tables[name]) {
			fmt.Fprintf(&b, "table %s %s: %s\n", name, t, r.Tables[name][t])
		}
	}
	for _, w := range sorted(r.Fences) {
		f := r.Fences[w]
		tables := "all tables"
		if len(f.Tables) > 0 {
			tables = strings.Join(f.Tables, ",")
		}
		fmt.Fprintf(&b, "fence %s: %s/%s %s, since epoch %d\n", w, f.Keyspace, strings.Join(f.Shards, ","), tables, f.Epoch)
	}
	return b.String()
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func (r *Routing) equal(o *Routing) bool { return bytes.Equal(mustJSON(r), mustJSON(o)) }

// normal makes missing maps empty, so that readers may write into them after Clone and equal compares content.
func (r *Routing) normal() *Routing {
	if r.Keyspaces == nil {
		r.Keyspaces = map[string]KeyspaceRouting{}
	}
	if r.Tables == nil {
		r.Tables = map[string]TableRouting{}
	}
	if r.Fences == nil {
		r.Fences = map[string]Fence{}
	}
	return r
}
