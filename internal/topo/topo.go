package topo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
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
	t := TabletType(upper(s))
	if !slices.Contains([]TabletType{Primary, Replica, Rdonly, Drained, Backup, Restore}, t) {
		return "", fmt.Errorf("%w: tablet type %q (one of PRIMARY, REPLICA, RDONLY, DRAINED, BACKUP, RESTORE)", ErrBadInput, s)
	}
	return t, nil
}

// Errors of a topology. Match with errors.Is.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists already")
	ErrConflict = errors.New("changed by somebody else") // a compare-and-swap lost
	ErrLockHeld = errors.New("lock is held")
	ErrLockLost = errors.New("lock was lost")
	ErrBadInput = errors.New("bad input")
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

// Lock is a held lock. Token grows with every holder of the same name, so a store that remembers the highest one can refuse
// a holder that was thought dead. Done is closed when the lock is lost.
type Lock interface {
	Token() int64
	Done() <-chan struct{}
	Unlock(ctx context.Context) error
}

// Leader is one term of an election.
type Leader interface {
	Token() int64
	Done() <-chan struct{} // the term is over
	Resign(ctx context.Context) error
}

// Change is one value that a watch saw. Value is nil when the key is gone.
type Change struct {
	Key     string // as given to Put, without the store's root
	Value   []byte
	Version int64
}

// Store is a small strongly consistent map with versions, leases, locks, an election and watches. The etcd and the memory
// implementation pass one conformance suite (topotest). Keys are slash separated without a leading slash.
type Store interface {
	// Read returns value and version of a key, or ErrNotFound. Reads are linearizable.
	Read(ctx context.Context, key string) ([]byte, int64, error)
	// List returns all keys below a prefix, in order of keys, with the revision of the whole answer.
	List(ctx context.Context, prefix string) ([]Change, error)
	// Write replaces a key. version: -1 whatever is there, 0 only if it does not exist (ErrExists), else only if the key is
	// still at that version (ErrConflict, ErrNotFound). It returns the new version.
	Write(ctx context.Context, key string, value []byte, version int64) (int64, error)
	// WriteAll is Write for several keys, all or none.
	WriteAll(ctx context.Context, writes []KeyWrite) error
	// Delete removes a key; version as in Write. Removing what is not there is ErrNotFound.
	Delete(ctx context.Context, key string, version int64) error
	// Register keeps a key alive until the registration is closed or the process dies for longer than ttl. If the lease
	// was lost (a partition) it registers again by itself with the latest value.
	Register(ctx context.Context, key string, value []byte, ttl time.Duration) (Registration, error)
	// Watch sends the present state below prefix, then a Change{Key: ""} as an end mark of that state, then every later
	// change in order, until ctx ends. It survives cuts of the connection: after one it sends the whole state and the
	// mark again (deletions that happened meanwhile are sent first). The channel is closed when ctx ends.
	Watch(ctx context.Context, prefix string) (<-chan Change, error)
	// Lock waits for a named lock until ctx ends (then ErrLockHeld, with the holder's text in the message).
	Lock(ctx context.Context, name, holder string, ttl time.Duration) (Lock, error)
	// Elect waits until this process leads.
	Elect(ctx context.Context, name, id string, ttl time.Duration) (Leader, error)
	Close() error
}

// KeyWrite is one write of WriteAll. A nil Value deletes.
type KeyWrite struct {
	Key     string
	Value   []byte
	Version int64
}

// Registration is a leased key.
type Registration interface {
	Update(ctx context.Context, value []byte) error
	Close(ctx context.Context) error
}

// Topology is the typed view of a Store that all daemons use.
type Topology struct{ Store }

// New wraps a store.
func New(s Store) *Topology { return &Topology{Store: s} }

// Keys of the topology.
const (
	keyCells     = "cells/"
	keyKeyspaces = "keyspaces/"
	keyShards    = "shards/"
	keyVSchemas  = "vschemas/"
	keyTablets   = "tablets/"
	keyRouting   = "routing"
	keyWorkflows = "workflows/"
)

func upper(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 32
		}
	}
	return string(b)
}

func readJSON[T any](ctx context.Context, s Store, key string) (*T, int64, error) {
	raw, version, err := s.Read(ctx, key)
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", key, err)
	}
	v := new(T)
	if err := json.Unmarshal(raw, v); err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", key, err)
	}
	return v, version, nil
}
