package topo

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"braid/internal/base/errs"
)

// resharding is a cluster in the middle of everything: commerce is unsharded; orders moved to customer for reads; customer
// is being split from - into -80 and 80-, with its rdonly traffic there already; audit is fenced.
func resharding() *Routing {
	return &Routing{
		Epoch: 9,
		Keyspaces: map[string]KeyspaceRouting{
			"commerce": {Primary: {"0"}},
			"customer": {Primary: {"-"}, Rdonly: {"-80", "80-"}},
		},
		Tables: map[string]TableRouting{
			"commerce.orders": {Replica: "customer", Rdonly: "customer"},
			"commerce.items":  {Primary: "customer"},
		},
		Fences: map[string]Fence{
			"split": {Keyspace: "customer", Shards: []string{"-"}, Epoch: 9},
			"move":  {Keyspace: "commerce", Shards: []string{"0"}, Tables: []string{"audit"}, Epoch: 8},
		},
	}
}

func TestServingShards(t *testing.T) {
	r := resharding()
	for _, c := range []struct {
		keyspace string
		t        TabletType
		want     []string
	}{
		{"commerce", Primary, []string{"0"}},
		{"commerce", Rdonly, []string{"0"}}, // a type that is missing serves where PRIMARY does
		{"customer", Primary, []string{"-"}},
		{"customer", Replica, []string{"-"}},
		{"customer", Rdonly, []string{"-80", "80-"}},
		{"nowhere", Primary, nil},
	} {
		require.Equal(t, c.want, r.ServingShards(c.keyspace, c.t), "%s %s", c.keyspace, c.t)
	}
	require.Equal(t, []TabletType{Replica, Primary}, r.Serves("customer", "-"))
	require.Equal(t, []TabletType{Rdonly}, r.Serves("customer", "80-"))
	require.Empty(t, r.Serves("customer", "40-80"))
}

func TestTableKeyspace(t *testing.T) {
	r := resharding()
	for _, c := range []struct {
		table string
		t     TabletType
		want  string
	}{
		{"orders", Primary, "commerce"},
		{"orders", Replica, "customer"},
		{"items", Primary, "customer"},
		{"items", Rdonly, "customer"}, // a type that is missing follows PRIMARY
		{"other", Primary, "commerce"},
	} {
		require.Equal(t, c.want, r.TableKeyspace("commerce", c.table, c.t), "%s %s", c.table, c.t)
	}
}

func TestCheckWrite(t *testing.T) {
	r := resharding()
	for _, c := range []struct {
		keyspace, shard string
		tables          []string
		want            *errs.Def
	}{
		{"commerce", "0", []string{"orders"}, nil},
		{"commerce", "0", []string{"orders", "other"}, nil},
		{"commerce", "0", []string{"items"}, errs.NotServing},           // moved away
		{"commerce", "0", []string{"orders", "items"}, errs.NotServing}, // one of them is enough
		{"commerce", "0", []string{"audit"}, errs.Fenced},               // fenced
		{"commerce", "0", []string{"orders", "audit"}, errs.Fenced},     // one of them is enough
		{"commerce", "0", nil, errs.Fenced},                             // may touch any, so also audit
		{"customer", "-", []string{"anything"}, errs.Fenced},            // the whole shard
		{"customer", "-80", []string{"customer"}, errs.NotServing},      // serves rdonly, not writes
		{"nowhere", "0", []string{"t"}, errs.NotServing},
	} {
		err := r.CheckWrite(c.keyspace, c.shard, c.tables)
		if c.want == nil {
			require.NoError(t, err, "%v", c)
		} else {
			require.ErrorIs(t, err, c.want, "%v", c)
		}
	}
	require.ErrorContains(t, r.CheckWrite("commerce", "0", []string{"audit"}), "workflow move is switching")
}

func TestRoutingString(t *testing.T) {
	require.Equal(t, `epoch 9
commerce PRIMARY: 0
customer PRIMARY: -
customer RDONLY: -80 80-
table commerce.items PRIMARY: customer
table commerce.orders RDONLY: customer
table commerce.orders REPLICA: customer
fence move: commerce/0 audit, since epoch 8
fence split: customer/- all tables, since epoch 9
`, resharding().String())
}

func TestServe(t *testing.T) {
	r := (&Routing{}).normal()
	require.True(t, r.Serve("ks", "80-"))
	require.True(t, r.Serve("ks", "-80"))
	require.Equal(t, []string{"-80", "80-"}, r.ServingShards("ks", Primary), "in order of the key ranges")
	require.False(t, r.Serve("ks", "-40"), "overlaps -80 (T4)")
	require.False(t, r.Serve("ks", "80-"), "overlaps itself")
	require.False(t, r.Serve("ks", "nonsense"), "what is not understood does not serve")

	r.Keyspaces["ks"][Rdonly] = []string{"-40"}
	r.Keyspaces["ks"][Primary] = []string{"80-"}
	require.False(t, r.Serve("ks", "-20"), "overlaps what serves rdonly only")
	require.True(t, r.Serve("ks", "40-80"))
	require.Equal(t, []string{"40-80", "80-"}, r.ServingShards("ks", Primary))
	require.Equal(t, []string{"-40", "40-80"}, r.ServingShards("ks", Rdonly), "all types that are told apart")
}

var (
	someKeyspace = rapid.SampledFrom([]string{"a", "b", "c"})
	someShard    = rapid.SampledFrom([]string{"0", "-", "-80", "80-", "40-80"})
	someTable    = rapid.SampledFrom([]string{"t", "u", "v"})
	someType     = rapid.SampledFrom(ServingTypes)
)

func drawRouting(t *rapid.T) *Routing {
	r := (&Routing{Epoch: rapid.Uint64Range(0, 1<<53).Draw(t, "epoch")}).normal()
	for range rapid.IntRange(0, 6).Draw(t, "servings") {
		ks := someKeyspace.Draw(t, "keyspace")
		if r.Keyspaces[ks] == nil {
			r.Keyspaces[ks] = KeyspaceRouting{}
		}
		r.Keyspaces[ks][someType.Draw(t, "type")] = rapid.SliceOfNDistinct(someShard, 1, 3, rapid.ID).Draw(t, "shards")
	}
	for range rapid.IntRange(0, 4).Draw(t, "moves") {
		name := someKeyspace.Draw(t, "from") + "." + someTable.Draw(t, "table")
		if r.Tables[name] == nil {
			r.Tables[name] = TableRouting{}
		}
		r.Tables[name][someType.Draw(t, "type")] = someKeyspace.Draw(t, "to")
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "fences") {
		f := Fence{Keyspace: someKeyspace.Draw(t, "keyspace"), Epoch: 1, Shards: rapid.SliceOfN(someShard, 1, 2).Draw(t, "shards")}
		if rapid.Bool().Draw(t, "some tables") {
			f.Tables = rapid.SliceOfN(someTable, 1, 2).Draw(t, "tables")
		}
		r.Fences[string(rune('x'+i))] = f
	}
	return r
}

// slowMayWrite says the rule again, table by table, without the shortcuts.
func slowMayWrite(r *Routing, keyspace, shard string, tables []string) bool {
	serves := false
	for _, s := range r.Keyspaces[keyspace][Primary] {
		serves = serves || s == shard
	}
	for _, f := range r.Fences {
		for _, s := range f.Shards {
			if f.Keyspace != keyspace || s != shard {
				continue
			}
			if len(tables) == 0 || len(f.Tables) == 0 {
				return false
			}
			for _, have := range tables {
				for _, fenced := range f.Tables {
					if have == fenced {
						return false
					}
				}
			}
		}
	}
	for _, name := range tables {
		if to, moved := r.Tables[keyspace+"."+name][Primary]; moved && to != keyspace {
			return false
		}
	}
	return serves
}

func TestCheckWriteAgreesWithTheRule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRouting(t)
		ks, shard := someKeyspace.Draw(t, "keyspace"), someShard.Draw(t, "shard")
		tables := rapid.SliceOfN(someTable, 0, 3).Draw(t, "tables")
		err := r.CheckWrite(ks, shard, tables)
		if want := slowMayWrite(r, ks, shard, tables); want != (err == nil) {
			t.Fatalf("may write %v, CheckWrite says %v\n%s", want, err, r)
		}
	})
}

// At most one primary takes a write of a key: whatever a routing says, of two shards that overlap only one may be written
// if Serve put them there.
func TestServeNeverOverlaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := (&Routing{}).normal()
		for range rapid.IntRange(1, 8).Draw(t, "shards") {
			r.Serve("ks", someShard.Draw(t, "shard"))
		}
		shards := r.ServingShards("ks", Primary)
		for i := range shards {
			for j := range i {
				if overlap(shards[i], shards[j]) {
					t.Fatalf("%s and %s both serve", shards[i], shards[j])
				}
			}
		}
	})
}

func TestCloneIsDeepAndJSONKeepsAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRouting(t)
		r.version = 5
		before := r.String()
		c := r.Clone()
		if !c.equal(r) || c.version != r.version {
			t.Fatalf("the clone differs:\n%s\n%s", r, c)
		}
		raw, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeRouting(raw, r.version)
		if err != nil || !back.equal(r) {
			t.Fatalf("JSON loses something: %v\n%s", err, raw)
		}
		spoil(c)
		if r.String() != before {
			t.Fatalf("a change of the clone changed the original:\n%s\n%s", before, r)
		}
	})
}

func spoil(c *Routing) {
	for _, ks := range sorted(c.Keyspaces) {
		for _, shards := range c.Keyspaces[ks] {
			shards[0] = "changed"
		}
		c.Keyspaces[ks][Backup] = nil
		c.Keyspaces[ks+"2"] = nil
	}
	for _, name := range sorted(c.Tables) {
		c.Tables[name][Backup] = "changed"
		c.Tables[name+"2"] = nil
	}
	for _, w := range sorted(c.Fences) {
		f := c.Fences[w]
		f.Shards[0] = "changed"
		if len(f.Tables) > 0 {
			f.Tables[0] = "changed"
		}
		c.Fences[w+"2"] = f
	}
}
