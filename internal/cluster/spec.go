package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/keyrange"
	"braid/internal/mysqld"
	"braid/internal/topo"
)

// Spec is what a user wants. A field that is zero is left as it is, or takes the default in a new plan.
type Spec struct {
	Cell     string            // default zone1
	PortBase int               // default 15000; ports are taken from here up
	Shards   []string          // "keyspace/shard"; default commerce/0
	Types    []topo.TabletType // of each new shard; default one PRIMARY
	Etcd     []string          // endpoints of an etcd that runs already
	EtcdRoot string            // default braid/, or in an external etcd a root of its own below that
	// Disposable marks a new plan as made for a demonstration.
	Disposable bool
}

const (
	defaultPortBase = 15000
	tabletPorts     = 10 // offset of the first tablet's ports
	portsPerTablet  = 3
	uidsPerKeyspace = 100 // a keyspace's tablets are 100, 101, …; the next one's 200, …
)

// open reads the plan of a data directory, or makes it, and brings it in line with the spec: shards can be added, nothing else
// can change. changed says that it must be saved.
func open(dataDir string, spec Spec) (p *Plan, changed bool, err error) {
	p, err = Load(dataDir)
	if errors.Is(err, errs.NotFound) {
		p, err = create(dataDir, spec)
		return p, true, err
	}
	if err != nil {
		return nil, false, err
	}
	if err := p.same(spec); err != nil {
		return nil, false, err
	}
	added, err := p.add(spec)
	return p, added, err
}

// defaultRoot keeps clusters apart that share an etcd.
func defaultRoot(external []string) string {
	if len(external) == 0 {
		return "braid/"
	}
	return "braid/" + secret()[:8] + "/"
}

func create(dataDir string, spec Spec) (*Plan, error) {
	p := &Plan{
		Disposable: spec.Disposable,
		dataDir:    dataDir, Cell: orText(spec.Cell, "zone1"), PortBase: spec.PortBase,
		Etcd:      Etcd{External: spec.Etcd, Root: orText(spec.EtcdRoot, defaultRoot(spec.Etcd))},
		Passwords: Secrets{MySQL: mysqld.Passwords{Root: secret(), Admin: secret(), App: secret(), Repl: secret()}, Tablet: secret(), User: secret()},
	}
	if p.PortBase == 0 {
		p.PortBase = defaultPortBase
	}
	if p.PortBase < 1 || p.PortBase > 1<<16-200 {
		return nil, errs.New(errs.BadInput, nil, "port base %d leaves no room for ports", p.PortBase)
	}
	p.Ports = Ports{Gate: p.PortBase, Controller: p.PortBase + 1, ControllerHTTP: p.PortBase + 2, EtcdClient: p.PortBase + 3, EtcdPeer: p.PortBase + 4}
	if len(spec.Shards) == 0 {
		spec.Shards = []string{"commerce/0"}
	}
	if len(spec.Types) == 0 {
		spec.Types = []topo.TabletType{topo.Primary}
	}
	p.Types = spec.Types
	_, err := p.add(spec)
	return p, err
}

// same refuses what cannot be changed in an existing plan.
func (p *Plan) same(spec Spec) error {
	for _, f := range []struct {
		name       string
		have, want any
		set        bool
	}{
		{"cell", p.Cell, spec.Cell, spec.Cell != ""},
		{"port base", p.PortBase, spec.PortBase, spec.PortBase != 0},
		{"etcd", strings.Join(p.Etcd.External, ","), strings.Join(spec.Etcd, ","), len(spec.Etcd) > 0},
		{"etcd root", p.Etcd.Root, spec.EtcdRoot, spec.EtcdRoot != ""},
	} {
		if f.set && f.have != f.want {
			return errs.New(errs.BadInput, nil, "the cluster in %s was made with %s %v, not %v", p.dataDir, f.name, f.have, f.want).
				With("Leave that flag out, or make another cluster with another --data-dir.")
		}
	}
	return nil
}

// add plans the shards of the spec that are not planned yet, and says whether there were any.
func (p *Plan) add(spec Spec) (bool, error) {
	types := spec.Types
	if len(types) == 0 {
		types = p.Types
	}
	if err := checkTypes(types); err != nil {
		return false, err
	}
	added := false
	for _, text := range spec.Shards {
		keyspace, name, err := parseShard(text)
		if err != nil {
			return false, err
		}
		if _, ok := p.Shard(keyspace, name); ok {
			continue
		}
		if err := p.addShard(keyspace, name, types); err != nil {
			return false, err
		}
		added = true
	}
	return added, nil
}

func (p *Plan) addShard(keyspace, name string, types []topo.TabletType) error {
	uid, first := p.nextUID(keyspace)
	port := p.PortBase + tabletPorts + portsPerTablet*len(p.Tablets())
	shard := Shard{Keyspace: keyspace, Name: name}
	for _, t := range types {
		if uid%uidsPerKeyspace == 0 && uid != first || port+portsPerTablet > 1<<16 {
			return errs.New(errs.BadInput, nil, "%s/%s: too many tablets for one machine", keyspace, name)
		}
		shard.Tablets = append(shard.Tablets, Tablet{UID: uid, Type: t, DBPort: port, GRPCPort: port + 1, MySQLPort: port + 2})
		uid, port = uid+1, port+portsPerTablet
	}
	p.Shards = append(p.Shards, shard)
	return nil
}

// nextUID is the number of the next tablet of a keyspace, and first the one that the keyspace begins with.
func (p *Plan) nextUID(keyspace string) (next, first uint32) {
	var own, all uint32
	for _, t := range p.Tablets() {
		all = max(all, t.UID)
		if t.Keyspace == keyspace {
			own = max(own, t.UID)
		}
	}
	if own == 0 {
		first = (all/uidsPerKeyspace + 1) * uidsPerKeyspace
		return first, first
	}
	return own + 1, own / uidsPerKeyspace * uidsPerKeyspace
}

func parseShard(text string) (keyspace, name string, err error) {
	keyspace, name, ok := strings.Cut(text, "/")
	if !ok || keyspace == "" || name == "" {
		return "", "", errs.New(errs.BadInput, nil, "shard %q is not of the form keyspace/shard, such as commerce/0 or customer/-80", text)
	}
	if strings.ContainsFunc(keyspace, func(r rune) bool { return !isNameRune(r) }) || len(keyspace) > 64 || strings.HasPrefix(keyspace, "_") {
		return "", "", errs.New(errs.BadInput, nil, "keyspace %q: names are up to 64 letters, digits and underscores, and begin with none of the last", keyspace)
	}
	if _, err := keyrange.Parse(name); err != nil {
		return "", "", errs.New(errs.BadInput, err, "shard %q", text)
	}
	return keyspace, name, nil
}

func isNameRune(r rune) bool {
	return r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

func checkTypes(types []topo.TabletType) error {
	primaries := 0
	for _, t := range types {
		if !slices.Contains(topo.ServingTypes, t) {
			return errs.New(errs.BadInput, nil, "a new shard cannot have a tablet of type %q (PRIMARY, REPLICA and RDONLY are possible)", t)
		}
		if t == topo.Primary {
			primaries++
		}
	}
	if primaries != 1 {
		return errs.New(errs.BadInput, nil, "a shard needs one PRIMARY, not %d", primaries)
	}
	return nil
}

func orText(v, def string) string {
	if v != "" {
		return v
	}
	return def
}

// Shard finds a shard of the plan.
func (p *Plan) Shard(keyspace, name string) (Shard, bool) {
	for _, s := range p.Shards {
		if s.Keyspace == keyspace && s.Name == name {
			return s, true
		}
	}
	return Shard{}, false
}

// Tablets are the configurations of all tablets, in order of the plan.
func (p *Plan) Tablets() []TabletConfig {
	var all []TabletConfig
	for _, s := range p.Shards {
		for _, t := range s.Tablets {
			all = append(all, p.tabletConfig(s, t))
		}
	}
	return all
}

// TabletConfig is the configuration of one tablet.
func (p *Plan) TabletConfig(uid uint32) (TabletConfig, error) {
	for _, t := range p.Tablets() {
		if t.UID == uid {
			return t, nil
		}
	}
	return TabletConfig{}, errs.New(errs.NotFound, nil, "tablet %d is not in the plan of %s", uid, p.dataDir).
		With(fmt.Sprintf("%s lists the tablets.", planFile))
}
