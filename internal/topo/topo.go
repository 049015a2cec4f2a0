package topo

import (
	"fmt"
	"slices"
	"strings"

	"braid/internal/base/errs"
)

// TabletType is what a tablet serves as. Names are Vitess's.
type TabletType string

// The tablet types.
const (
	Primary TabletType = "PRIMARY"
	Replica TabletType = "REPLICA"
	Rdonly  TabletType = "RDONLY"
	Drained TabletType = "DRAINED"
	Backup  TabletType = "BACKUP"
	Restore TabletType = "RESTORE"
)

// ServingTypes are the types that take queries, in the order in which a workflow switches them by default.
var ServingTypes = []TabletType{Rdonly, Replica, Primary}

// ParseTabletType accepts a type's name in any case.
func ParseTabletType(s string) (TabletType, error) {
	t := TabletType(strings.ToUpper(s))
	if !slices.Contains([]TabletType{Primary, Replica, Rdonly, Drained, Backup, Restore}, t) {
		return "", fmt.Errorf("%w: tablet type %q (one of PRIMARY, REPLICA, RDONLY, DRAINED, BACKUP, RESTORE)", ErrBadInput, s)
	}
	return t, nil
}

// Errors of a topology: entries of the catalogue. Match with errors.Is.
var (
	ErrNotFound       error = errs.NotFound
	ErrExists         error = errs.Exists
	ErrConflict       error = errs.Conflict // a compare-and-swap lost
	ErrLockHeld       error = errs.LockHeld
	ErrLockLost       error = errs.LockLost
	ErrBadInput       error = errs.BadInput
	ErrUnreachable    error = errs.TopologyUnreachable
	ErrFull           error = errs.TopologyFull
	ErrOutcomeUnknown error = errs.OutcomeUnknown // beside ErrUnreachable: the write may have been done
)

// Keyspace is a logical database.
type Keyspace struct {
	Name string `json:"name"`
}

// Shard is one part of a keyspace. Name is its key range ("-80", "80-"); "0" and "-" mean everything.
type Shard struct {
	Keyspace string `json:"keyspace"`
	Name     string `json:"name"`
	Primary  string `json:"primary"` // alias of the tablet that takes writes; "" when there is none yet
}

// Tablet is one running tablet. Its record lives as long as its lease: a dead tablet disappears within seconds.
type Tablet struct {
	Alias     string     `json:"alias"` // cell-uid: "zone1-100"
	Cell      string     `json:"cell"`
	UID       uint32     `json:"uid"`
	Keyspace  string     `json:"keyspace"`
	Shard     string     `json:"shard"`
	Type      TabletType `json:"type"`
	GRPCAddr  string     `json:"grpc_addr"`
	MySQLAddr string     `json:"mysql_addr"` // the tablet's own MySQL listener, where gates connect
	DBAddr    string     `json:"db_addr"`    // the mysqld behind it (native replication inside the shard)
	Serving   bool       `json:"serving"`
	Reason    string     `json:"reason,omitempty"` // why it does not serve
	LagMS     int64      `json:"lag_ms"`           // native replication lag; -1 unknown
	Position  string     `json:"position,omitempty"`
	StartedUS int64      `json:"started_us"`
}

// Topology is the typed view of a Store that all daemons use.
type Topology struct{ Store }

// New wraps a store.
func New(s Store) *Topology { return &Topology{Store: s} }

// Keys of the topology. What a Cache follows stands below keyCluster.
const (
	keyCluster   = "cluster/"
	keyCells     = keyCluster + "cells/"
	keyKeyspaces = keyCluster + "keyspaces/"
	keyShards    = keyCluster + "shards/"
	keyVSchemas  = keyCluster + "vschemas/"
	keyTablets   = keyCluster + "tablets/"
	keyRouting   = keyCluster + "routing"
	keyWorkflows = "workflows/"
)

func shardKey(keyspace, shard string) string { return keyShards + keyspace + "/" + shard }
