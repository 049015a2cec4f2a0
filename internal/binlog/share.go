package binlog

import (
	"sync"
	"sync/atomic"
)

// shared is what the readers of one hub have computed of a row event, so that each need not compute it again. It leaves with the event.
type shared struct {
	used *atomic.Int64 // bytes of all notes in the ring
	most int64

	mu struct {
		sync.Mutex
		notes []note
		size  int64
		gone  bool
	}
}

type note struct {
	key   string
	value any
}

// Share returns what compute returns, or what another reader's compute returned for the same event and key. The value is shared and
// read-only; size is about how many bytes it keeps. What does not find room, or fails, is computed each time.
func (r *Rows) Share(key string, compute func() (value any, size int, err error)) (any, error) {
	s := r.shared
	if s == nil {
		value, _, err := compute()
		return value, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.mu.notes {
		if s.mu.notes[i].key == key {
			return s.mu.notes[i].value, nil
		}
	}
	value, size, err := compute()
	if err == nil && !s.mu.gone && s.used.Load()+int64(size) <= s.most {
		s.used.Add(int64(size))
		s.mu.size += int64(size)
		s.mu.notes = append(s.mu.notes, note{key, value})
	}
	return value, err
}

// forget makes the room free that an event's notes took.
func (s *shared) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used.Add(-s.mu.size)
	s.mu.notes, s.mu.size, s.mu.gone = nil, 0, true
}

// share prepares the events of a transaction that goes into the ring.
func (r *ring) share(tx *Transaction) {
	if len(tx.Rows) == 0 {
		return
	}
	all := make([]shared, len(tx.Rows))
	for i := range all {
		all[i].used, all[i].most = &r.notes, int64(r.limit/4)
		tx.Rows[i].shared = &all[i]
	}
}

func (s *segment) forget() {
	for i := range s.entries {
		if tx, ok := s.entries[i].event.(*Transaction); ok {
			for j := range tx.Rows {
				tx.Rows[j].shared.forget()
			}
		}
	}
}
