package topo

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Lock is a held lock. Token grows with every holder of the same name, so a store that remembers the highest one can refuse
// a holder that was thought dead. Done is closed when the lock is lost or given back.
type Lock interface {
	Token() int64
	Done() <-chan struct{}
	Unlock(ctx context.Context) error // giving back twice, or after a loss, is no error
}

// Leader is one term of an election.
type Leader interface {
	Token() int64
	Done() <-chan struct{} // the term is over
	Resign(ctx context.Context) error
}

// Change is one value that a watch saw. Value is nil when the key is gone.
type Change struct {
	Key     string // as given to Write, without the store's root
	Value   []byte
	Version int64 // of the value, or of the deletion
}

// Store is a small strongly consistent map with versions, leases, locks, an election and watches. The etcd and the memory
// implementation pass one conformance suite (topotest). Keys are slash separated without a leading slash.
//
// Operations end within timeouts.Topology, also when nothing answers (ErrUnreachable; a write that may have been done also
// matches ErrOutcomeUnknown). Lock, Elect and Watch may last longer: they wait for something.
type Store interface {
	// Read returns value and version of a key, or ErrNotFound. Reads are linearizable.
	Read(ctx context.Context, key string) ([]byte, int64, error)
	// List returns all keys below a prefix with their versions, in order of keys, as of one moment.
	List(ctx context.Context, prefix string) ([]Change, error)
	// Write replaces a key. version: -1 whatever is there, 0 only if it does not exist (ErrExists), else only if the key is
	// still at that version (ErrConflict, ErrNotFound). It returns the new version. Versions of a key grow.
	Write(ctx context.Context, key string, value []byte, version int64) (int64, error)
	// WriteAll is Write for several keys, all or none. All of them get the version that it returns. What does not stand
	// as asked is told by a KeyError of the first such write.
	WriteAll(ctx context.Context, writes []KeyWrite) (int64, error)
	// Delete removes a key; version as in Write. Removing what is not there is ErrNotFound.
	Delete(ctx context.Context, key string, version int64) error
	// Register keeps a key alive until the registration is closed or the process dies for longer than ttl. If the lease
	// was lost (a partition) it registers again by itself with the latest value. A key that another registration holds is
	// taken over.
	Register(ctx context.Context, key string, value []byte, ttl time.Duration) (Registration, error)
	// Watch sends the present state below prefix, then a Change{Key: ""} as an end mark of that state, then every later
	// change in order, until ctx ends. It survives cuts of the connection: if it may have missed changes, it sends the whole
	// state and the mark again (deletions that happened meanwhile are sent first). The channel is closed when ctx ends.
	// The first state is read before Watch returns.
	Watch(ctx context.Context, prefix string) (<-chan Change, error)
	// Lock waits for a named lock until ctx ends (then ErrLockHeld, with the holder's text in the message).
	Lock(ctx context.Context, name, holder string, ttl time.Duration) (Lock, error)
	// Elect waits until this process leads, through outages of the topology; only the end of ctx ends it.
	Elect(ctx context.Context, name, id string, ttl time.Duration) (Leader, error)
	// Leader returns the id of who leads, and its token; ErrNotFound when nobody does.
	Leader(ctx context.Context, name string) (string, int64, error)
	// Close gives back what this client holds and ends its goroutines. Closing twice is fine.
	Close() error
}

// KeyWrite is one write of WriteAll. A nil Value deletes (with Version -1 also what is not there). CheckOnly writes
// nothing: it asks that the key is at Version, where 0 means that it does not exist.
type KeyWrite struct {
	Key       string
	Value     []byte
	Version   int64
	CheckOnly bool
}

// KeyError says which key of a write did not stand as the writer asked. Err is ErrNotFound, ErrExists or ErrConflict.
type KeyError struct {
	Key string
	Err error
}

func (e *KeyError) Error() string { return e.Key + ": " + e.Err.Error() }

// Unwrap is Err.
func (e *KeyError) Unwrap() error { return e.Err }

// Judge is what a store answers when a write asks for a version and finds another (0: no such key); nil when it may go on.
func (w KeyWrite) Judge(found int64) error {
	deletes := w.Value == nil && !w.CheckOnly
	switch {
	case w.Version == found, w.Version == -1:
		return nil
	case w.CheckOnly:
		return &KeyError{w.Key, ErrConflict}
	case w.Version == 0 && deletes:
		return &KeyError{w.Key, ErrConflict}
	case w.Version == 0:
		return &KeyError{w.Key, ErrExists}
	case found == 0:
		return &KeyError{w.Key, ErrNotFound}
	}
	return &KeyError{w.Key, ErrConflict}
}

// Registration is a leased key.
type Registration interface {
	// Update replaces the value. If that fails for want of a connection, the value is written when there is one again.
	Update(ctx context.Context, value []byte) error
	Close(ctx context.Context) error
}

// CheckKey refuses keys that a store does not take. Stores call it.
func CheckKey(key string) error {
	if key == "" || strings.HasPrefix(key, "/") || strings.HasSuffix(key, "/") || strings.Contains(key, "//") {
		return fmt.Errorf("%w: key %q", ErrBadInput, key)
	}
	return nil
}

// CheckWrites refuses what no store can do in one transaction. Stores call it.
func CheckWrites(writes []KeyWrite) error {
	seen := make(map[string]bool, len(writes))
	for _, w := range writes {
		if err := CheckKey(w.Key); err != nil {
			return err
		}
		if seen[w.Key] {
			return fmt.Errorf("%w: key %q is written twice in one transaction", ErrBadInput, w.Key)
		}
		seen[w.Key] = true
	}
	if len(writes) == 0 {
		return fmt.Errorf("%w: an empty transaction", ErrBadInput)
	}
	return nil
}

func readJSON[T any](ctx context.Context, s Store, key string) (T, int64, error) {
	var v T
	raw, version, err := s.Read(ctx, key)
	if err != nil {
		return v, 0, err
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return v, 0, fmt.Errorf("read %s: %w", key, err)
	}
	return v, version, nil
}

func listJSON[T any](ctx context.Context, s Store, prefix string) ([]T, error) {
	changes, err := s.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	all := make([]T, 0, len(changes))
	for _, c := range changes {
		var v T
		if err := json.Unmarshal(c.Value, &v); err != nil {
			return nil, fmt.Errorf("read %s: %w", c.Key, err)
		}
		all = append(all, v)
	}
	return all, nil
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("topo: %T does not marshal: %v", v, err)) // plain structs of ours
	}
	return b
}
