package cluster

import (
	"os"
	"strconv"
)

// Kind is what a process of the cluster is.
type Kind string

// The kinds, in the order in which they start.
const (
	KindEtcd       Kind = "etcd"
	KindMySQL      Kind = "mysql"
	KindTablet     Kind = "tablet"
	KindController Kind = "controller"
	KindGate       Kind = "gate"
)

// Child is one process of the plan.
type Child struct {
	Name  string            `json:"name"` // "tablet-100": of its log and pid file
	Kind  Kind              `json:"kind"`
	UID   uint32            `json:"uid,omitempty"` // of the tablet that it is, or belongs to
	Argv  []string          `json:"argv"`          // after the executable; empty for mysqld, whose command line is its own business
	Addrs map[string]string `json:"addrs"`         // what it listens on: purpose → host:port
}

// stages are the plan's processes in groups that start one after the other. Within a group all start at once.
func (p *Plan) stages() [][]Child {
	storage, tablets := []Child{}, []Child{}
	if len(p.Etcd.External) == 0 {
		storage = append(storage, p.daemon(KindEtcd, "etcd", 0, []string{"etcd", "run"},
			map[string]string{"client": addr(p.Ports.EtcdClient), "peer": addr(p.Ports.EtcdPeer)}))
	}
	for _, s := range p.Shards {
		for _, t := range s.Tablets {
			storage = append(storage, Child{Name: mysqldName(t.UID), Kind: KindMySQL, UID: t.UID, Addrs: map[string]string{"mysql": addr(t.DBPort)}})
			tablets = append(tablets, p.daemon(KindTablet, tabletName(t.UID), t.UID,
				[]string{"tablet", "run", "--uid", strconv.FormatUint(uint64(t.UID), 10)},
				map[string]string{"grpc": addr(t.GRPCPort), "mysql": addr(t.MySQLPort)}))
		}
	}
	return [][]Child{
		storage, tablets,
		{p.daemon(KindController, "controller", 0, []string{"controller", "run"}, map[string]string{"grpc": p.ControllerAddr()})},
		{p.daemon(KindGate, "gate", 0, []string{"gate", "run"}, map[string]string{"mysql": p.GateAddr()})},
	}
}

func (p *Plan) daemon(kind Kind, name string, uid uint32, argv []string, addrs map[string]string) Child {
	return Child{Name: name, Kind: kind, UID: uid, Argv: append(argv, "--data-dir", p.dataDir), Addrs: addrs}
}

// Children are all processes of the plan in the order in which they start.
func (p *Plan) Children() []Child {
	var all []Child
	for _, stage := range p.stages() {
		all = append(all, stage...)
	}
	return all
}

// usePort is a port of the plan and what for.
type usePort struct {
	port int
	what string
}

// ports are all ports that the plan's processes will listen on, and the console's.
func (p *Plan) ports() []usePort {
	all := []usePort{{p.Ports.Gate, "gate"}, {p.Ports.Controller, "controller"}, {p.Ports.ControllerHTTP, "console"}}
	if len(p.Etcd.External) == 0 {
		all = append(all, usePort{p.Ports.EtcdClient, "etcd"}, usePort{p.Ports.EtcdPeer, "etcd (peer)"})
	}
	for _, s := range p.Shards {
		for _, t := range s.Tablets {
			all = append(all, usePort{t.DBPort, mysqldName(t.UID)}, usePort{t.GRPCPort, tabletName(t.UID)}, usePort{t.MySQLPort, tabletName(t.UID) + " (queries)"})
		}
	}
	return all
}

// newMySQLs counts the mysqlds that have no data directory yet.
func (p *Plan) newMySQLs() int {
	n := 0
	for _, s := range p.Shards {
		for _, t := range s.Tablets {
			if _, err := os.Stat(p.mysqldConfig(s, t).Dir); err != nil {
				n++
			}
		}
	}
	return n
}
