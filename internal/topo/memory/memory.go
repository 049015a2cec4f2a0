package memory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"braid/internal/topo"
)

// Store is one client of a shared map. It implements topo.Store.
type Store struct {
	b      *backend
	ctx    context.Context // the client's life
	cancel context.CancelFunc
	wg     *sync.WaitGroup // its watches
}

type entry struct {
	value   []byte
	version int64
	owner   *lease // nil: lives for ever
}

// lease is a registration, a lock or a term.
type lease struct {
	client *Store
	key    string
	value  []byte
	token  int64
	done   chan struct{} // closed when it is lost or given back
	again  bool          // a registration: it comes back after a loss
	closed bool          // a registration: it was given back
}

type backend struct {
	mu struct {
		sync.Mutex
		revision int64
		data     map[string]entry
		down     bool
		watches  map[*watch]bool
		lost     []*lease      // registrations to write again when the store is up
		changed  chan struct{} // closed at the next change: for those who wait for a lock
	}
}

// New returns the first client of an empty store.
func New() *Store {
	b := &backend{}
	b.mu.data = map[string]entry{}
	b.mu.watches = map[*watch]bool{}
	b.mu.changed = make(chan struct{})
	return b.client()
}

func (b *backend) client() *Store {
	s := &Store{b: b, wg: &sync.WaitGroup{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Client returns another client of the same data.
func (s *Store) Client() *Store { return s.b.client() }

// enter locks the data for an operation, or says why there can be none. The caller unlocks.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.b.mu.Lock()
	if s.b.mu.down || s.ctx.Err() != nil {
		s.b.mu.Unlock()
		return fmt.Errorf("%w (memory)", topo.ErrUnreachable)
	}
	return nil
}

// Read implements topo.Store.
func (s *Store) Read(ctx context.Context, key string) ([]byte, int64, error) {
	if err := s.enter(ctx); err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", key, err)
	}
	defer s.b.mu.Unlock()
	e, ok := s.b.mu.data[key]
	if !ok {
		return nil, 0, fmt.Errorf("read %s: %w", key, topo.ErrNotFound)
	}
	return slices.Clone(e.value), e.version, nil
}

// List implements topo.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]topo.Change, error) {
	if err := s.enter(ctx); err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, err)
	}
	defer s.b.mu.Unlock()
	return s.b.list(prefix), nil
}

func (b *backend) list(prefix string) []topo.Change {
	var all []topo.Change
	for key, e := range b.mu.data {
		if strings.HasPrefix(key, prefix) && !hidden(key) {
			all = append(all, topo.Change{Key: key, Value: slices.Clone(e.value), Version: e.version})
		}
	}
	slices.SortFunc(all, func(a, b topo.Change) int { return strings.Compare(a.Key, b.Key) })
	return all
}

// Write implements topo.Store.
func (s *Store) Write(ctx context.Context, key string, value []byte, version int64) (int64, error) {
	return s.WriteAll(ctx, []topo.KeyWrite{{Key: key, Value: notNil(value), Version: version}})
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// WriteAll implements topo.Store.
func (s *Store) WriteAll(ctx context.Context, writes []topo.KeyWrite) (int64, error) {
	if err := topo.CheckWrites(writes); err != nil {
		return 0, err
	}
	if err := s.enter(ctx); err != nil {
		return 0, fmt.Errorf("write %s: %w", writes[0].Key, err)
	}
	defer s.b.mu.Unlock()
	for _, w := range writes {
		if err := w.Judge(s.b.mu.data[w.Key].version); err != nil {
			return 0, err
		}
	}
	s.b.commit(writes, nil)
	return s.b.mu.revision, nil
}

// Delete implements topo.Store.
func (s *Store) Delete(ctx context.Context, key string, version int64) error {
	if err := topo.CheckKey(key); err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	defer s.b.mu.Unlock()
	w := topo.KeyWrite{Key: key, Version: version}
	found := s.b.mu.data[key].version
	if found == 0 {
		return &topo.KeyError{Key: key, Err: topo.ErrNotFound}
	}
	if err := w.Judge(found); err != nil {
		return err
	}
	s.b.commit([]topo.KeyWrite{w}, nil)
	return nil
}

// commit writes all with one new revision, and tells the watches. The lock is held.
func (b *backend) commit(writes []topo.KeyWrite, owner *lease) {
	b.mu.revision++
	for _, w := range writes {
		_, had := b.mu.data[w.Key]
		switch {
		case w.CheckOnly, w.Value == nil && !had:
			continue
		case w.Value == nil:
			delete(b.mu.data, w.Key)
		default:
			b.mu.data[w.Key] = entry{value: slices.Clone(w.Value), version: b.mu.revision, owner: owner}
		}
		for watch := range b.mu.watches {
			watch.add(topo.Change{Key: w.Key, Value: slices.Clone(w.Value), Version: b.mu.revision})
		}
	}
	b.nudge()
}

// nudge wakes those who wait for a lock.
func (b *backend) nudge() {
	close(b.mu.changed)
	b.mu.changed = make(chan struct{})
}

// Close implements topo.Store.
func (s *Store) Close() error {
	s.b.mu.Lock()
	s.b.end(s, false)
	s.cancel()
	s.b.mu.Unlock()
	s.wg.Wait()
	return nil
}

// SetDown makes the store unreachable for all clients, or reachable again.
func (s *Store) SetDown(down bool) {
	b := s.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.down == down {
		return
	}
	b.mu.down = down
	if !down {
		b.restore()
	}
	for w := range b.mu.watches {
		w.setDown(down)
	}
	b.nudge()
}

// Expire ends the leases of this client. Its registrations come back as soon as the store can be reached.
func (s *Store) Expire() {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.end(s, true)
	if !s.b.mu.down {
		s.b.restore()
	}
}

// Kill is the death of this client's process: its leases end, every later call of it fails.
func (s *Store) Kill() { _ = s.Close() }

// end ends the leases of a client; again says that its registrations will come back.
func (b *backend) end(s *Store, again bool) {
	for _, key := range sortedKeys(b.mu.data) {
		l := b.mu.data[key].owner
		if l == nil || l.client != s {
			continue
		}
		b.commit([]topo.KeyWrite{{Key: key, Version: -1}}, nil)
		if l.again && again {
			b.mu.lost = append(b.mu.lost, l)
		} else {
			close(l.done)
		}
	}
	if !again {
		b.mu.lost = slices.DeleteFunc(b.mu.lost, func(l *lease) bool { return l.client == s })
	}
}

// restore writes again the registrations that were lost.
func (b *backend) restore() {
	for _, l := range b.mu.lost {
		b.commit([]topo.KeyWrite{{Key: l.key, Value: l.value, Version: -1}}, l)
	}
	b.mu.lost = nil
}

func sortedKeys(m map[string]entry) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

var _ topo.Store = (*Store)(nil)

// Locks and terms stand under keys that lists and watches do not show.
func hidden(key string) bool { return strings.HasPrefix(key, "\x00") }

func lockKey(name string) string  { return "\x00lock/" + name }
func electKey(name string) string { return "\x00elect/" + name }

// Register implements topo.Store. ttl has no meaning here: see Expire.
func (s *Store) Register(ctx context.Context, key string, value []byte, _ time.Duration) (topo.Registration, error) {
	if err := topo.CheckKey(key); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, fmt.Errorf("register %s: %w", key, err)
	}
	defer s.b.mu.Unlock()
	l := &lease{client: s, key: key, value: notNil(slices.Clone(value)), done: make(chan struct{}), again: true}
	s.b.commit([]topo.KeyWrite{{Key: key, Value: l.value, Version: -1}}, l)
	return l, nil
}
