package cluster

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
	"braid/internal/topo"
)

func openSaved(t *testing.T, dir string, spec Spec) *Plan {
	t.Helper()
	p, changed, err := open(dir, spec)
	require.NoError(t, err)
	if changed {
		require.NoError(t, p.save())
	}
	return p
}

func TestPlanIsKept(t *testing.T) {
	dir := t.TempDir()
	_, err := Load(dir)
	require.ErrorIs(t, err, errs.NotFound)

	made := openSaved(t, dir, Spec{PortBase: 20000, Shards: []string{"commerce/0", "customer/-80"}, Types: types(topo.Primary, topo.Replica)})
	require.Equal(t, "127.0.0.1:20000", made.GateAddr())
	uids := []uint32{}
	for _, tablet := range made.Tablets() {
		uids = append(uids, tablet.UID)
	}
	require.Equal(t, []uint32{100, 101, 200, 201}, uids)

	for _, spec := range []Spec{{}, {PortBase: 20000}, {Shards: []string{"commerce/0"}}} {
		require.Equal(t, made, openSaved(t, dir, spec), "what is there stays")
	}
	info, err := os.Stat(filepath.Join(dir, planFile))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "it holds passwords")

	added := openSaved(t, dir, Spec{Shards: []string{"customer/80-", "more/0"}, Types: types(topo.Primary)})
	require.Equal(t, made.Tablets(), added.Tablets()[:4], "addresses of what was there stay")
	customer, err := added.TabletConfig(202)
	require.NoError(t, err)
	require.Equal(t, "customer/80-", customer.Keyspace+"/"+customer.Shard)
	more, err := added.TabletConfig(300)
	require.NoError(t, err)
	require.Equal(t, "more", more.Keyspace)
	require.Equal(t, "zone1-300", more.Alias())
	_, err = added.TabletConfig(777)
	require.ErrorIs(t, err, errs.NotFound)
}

func TestPlanHasNoPortTwice(t *testing.T) {
	p := openSaved(t, t.TempDir(), Spec{
		Shards: []string{"a/-40", "a/40-80", "a/80-c0", "a/c0-", "b/0"}, Types: types(topo.Primary, topo.Replica, topo.Rdonly),
	})
	seen := map[int]string{}
	for _, u := range p.ports() {
		require.Empty(t, seen[u.port], "%d is of %s too", u.port, u.what)
		seen[u.port] = u.what
	}
	require.Len(t, seen, 5+3*15)
	names := map[string]bool{}
	for _, c := range p.Children() {
		require.False(t, names[c.Name])
		names[c.Name] = true
	}
	require.Len(t, names, 3+2*15)
}

func TestPlanRefuses(t *testing.T) {
	dir := t.TempDir()
	openSaved(t, dir, Spec{PortBase: 20000})
	for name, spec := range map[string]Spec{
		"another port base":    {PortBase: 21000},
		"another cell":         {Cell: "zone2"},
		"an etcd of its own":   {Etcd: []string{"127.0.0.1:1"}},
		"no shard":             {Shards: []string{"customer"}},
		"no keyspace":          {Shards: []string{"/0"}},
		"a reserved name":      {Shards: []string{"_braid/0"}},
		"a name to quote":      {Shards: []string{"a`b/0"}},
		"no key range":         {Shards: []string{"customer/zz"}},
		"two primaries":        {Shards: []string{"x/0"}, Types: types(topo.Primary, topo.Primary)},
		"no primary":           {Shards: []string{"x/0"}, Types: types(topo.Replica)},
		"a type not for start": {Shards: []string{"x/0"}, Types: types(topo.Primary, topo.Backup)},
	} {
		_, _, err := open(dir, spec)
		require.ErrorIs(t, err, errs.BadInput, name)
	}
	_, _, err := open(t.TempDir(), Spec{PortBase: 65500})
	require.ErrorIs(t, err, errs.BadInput)
}

// Two clusters in one external etcd must not meet.
func TestExternalEtcdHasARootOfItsOwn(t *testing.T) {
	spec := Spec{Etcd: []string{"10.0.0.1:2379"}}
	a, b := openSaved(t, t.TempDir(), spec), openSaved(t, t.TempDir(), spec)
	require.Regexp(t, "^braid/[0-9a-f]{8}/$", a.EtcdRoot())
	require.NotEqual(t, a.EtcdRoot(), b.EtcdRoot())
}

func TestExternalEtcd(t *testing.T) {
	p := openSaved(t, t.TempDir(), Spec{Etcd: []string{"10.0.0.1:2379", "10.0.0.2:2379"}, EtcdRoot: "/mine"})
	require.Equal(t, []string{"10.0.0.1:2379", "10.0.0.2:2379"}, p.EtcdEndpoints())
	require.Equal(t, "/mine", p.EtcdRoot())
	for _, c := range p.Children() {
		require.NotEqual(t, KindEtcd, c.Kind)
	}
}
