package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"braid/internal/base/errs"
	"braid/internal/mysqld"
	"braid/internal/topo"
	"braid/internal/topo/etcd/embedded"
)

// Plan is the cluster of one data directory.
type Plan struct {
	Cell      string            `json:"cell"`
	PortBase  int               `json:"port_base"`
	Etcd      Etcd              `json:"etcd"`
	Ports     Ports             `json:"ports"`
	Shards    []Shard           `json:"shards"`
	Passwords Secrets           `json:"passwords"`
	Types     []topo.TabletType `json:"tablet_types"` // of a new shard, if nothing else is said
	// Disposable says that the cluster was made for a demonstration: the next one may remove it, data and all.
	Disposable bool `json:"disposable,omitempty"`

	dataDir string
}

// Etcd is where the topology is kept.
type Etcd struct {
	External []string `json:"external,omitempty"` // endpoints of an etcd that is not ours; empty: we run one
	Root     string   `json:"root"`               // prefix of all keys
}

// Ports are the ports of the processes that there is one of. All are on 127.0.0.1.
type Ports struct {
	Gate           int `json:"gate"`
	Controller     int `json:"controller"`
	ControllerHTTP int `json:"controller_http"`
	EtcdClient     int `json:"etcd_client"`
	EtcdPeer       int `json:"etcd_peer"`
}

// Shard is a shard and its tablets.
type Shard struct {
	Keyspace string   `json:"keyspace"`
	Name     string   `json:"name"`
	Tablets  []Tablet `json:"tablets"`
}

// Tablet is a tablet and its mysqld.
type Tablet struct {
	UID       uint32          `json:"uid"`
	Type      topo.TabletType `json:"type"`
	DBPort    int             `json:"db_port"`    // mysqld
	GRPCPort  int             `json:"grpc_port"`  // tablet service
	MySQLPort int             `json:"mysql_port"` // the tablet's MySQL listener
}

// Secrets are passwords. They are random, made with the plan, and good on this machine only.
type Secrets struct {
	MySQL  mysqld.Passwords `json:"mysql"`
	Tablet string           `json:"tablet"` // gates log in to tablets with it
	User   string           `json:"user"`   // applications log in to the gate with it
}

// Names of accounts outside mysqld.
const (
	GateUser = "braid_gate" // a gate at a tablet
	AppUser  = "app"        // an application at the gate
)

const planFile = "cluster.json"

// Load reads the plan of a data directory; errs.NotFound if there is none.
func Load(dataDir string) (*Plan, error) {
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return nil, fmt.Errorf("cluster in %s: %w", dataDir, err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, planFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, errs.New(errs.NotFound, nil, "there is no cluster in %s", dir).
			With("Start one with `braid up --data-dir " + dataDir + "`, or name the directory of one with --data-dir.")
	}
	if err != nil {
		return nil, fmt.Errorf("cluster in %s: %w", dir, err)
	}
	p := &Plan{dataDir: dir}
	if err := json.Unmarshal(raw, p); err != nil {
		return nil, fmt.Errorf("cluster in %s: %s: %w", dir, planFile, err)
	}
	return p, nil
}

// save replaces the plan in one step: a crash leaves the old one or the new one.
func (p *Plan) save() error {
	raw, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	path := filepath.Join(p.dataDir, planFile)
	if err := os.WriteFile(path+".new", append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	return nil
}

// secret makes a password that needs no quoting anywhere.
func secret() string {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // it never fails
	return hex.EncodeToString(raw)
}

// DataDir is the directory of the cluster, absolute.
func (p *Plan) DataDir() string { return p.dataDir }

// GateAddr is where applications connect.
func (p *Plan) GateAddr() string { return addr(p.Ports.Gate) }

// ControllerAddr is the gRPC address of the controller.
func (p *Plan) ControllerAddr() string { return addr(p.Ports.Controller) }

// ControllerHTTPAddr is the address of the console.
func (p *Plan) ControllerHTTPAddr() string { return addr(p.Ports.ControllerHTTP) }

// EtcdEndpoints are the addresses of the topology's etcd.
func (p *Plan) EtcdEndpoints() []string {
	if len(p.Etcd.External) > 0 {
		return p.Etcd.External
	}
	return []string{addr(p.Ports.EtcdClient)}
}

// EtcdRoot is the prefix of all keys of this cluster.
func (p *Plan) EtcdRoot() string { return p.Etcd.Root }

// EtcdConfig is the configuration of our own etcd.
func (p *Plan) EtcdConfig() embedded.Config {
	return embedded.Config{Dir: filepath.Join(p.dataDir, "etcd"), ClientAddr: addr(p.Ports.EtcdClient), PeerAddr: addr(p.Ports.EtcdPeer)}
}

// LogPath is the log of a process.
func (p *Plan) LogPath(name string) string { return filepath.Join(p.dataDir, "logs", name+".log") }

// PidPath is the pid file of a process.
func (p *Plan) PidPath(name string) string { return filepath.Join(p.dataDir, "run", name+".pid") }

func (p *Plan) lockPath() string { return filepath.Join(p.dataDir, "lock") }

func addr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
