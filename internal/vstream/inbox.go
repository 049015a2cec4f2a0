package vstream

import (
	"fmt"
	"sync"
)

// inbox is what a stream was asked and told since Recv last looked.
type inbox struct {
	some chan struct{}
	mu   struct {
		sync.Mutex
		requests []WindowRequest
		splits   []SplitRequest
		notes    []note
	}
}

func (q *inbox) signal() {
	select {
	case q.some <- struct{}{}:
	default:
	}
}

func (q *inbox) request(r WindowRequest) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.mu.requests) >= maxQueued {
		return fmt.Errorf("window %d of %s: %d requests are waiting", r.ID, r.Table, maxQueued)
	}
	q.mu.requests = append(q.mu.requests, r)
	q.signal()
	return nil
}

func (q *inbox) split(r SplitRequest) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.mu.splits) >= maxQueued {
		return fmt.Errorf("split %d of %s: %d requests are waiting", r.ID, r.Table, maxQueued)
	}
	q.mu.splits = append(q.mu.splits, r)
	q.signal()
	return nil
}

// note does not wait: the readers hold their lock.
func (q *inbox) note(n note) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.notes = append(q.mu.notes, n)
	q.signal()
}

// take hands everything over to the stream.
func (q *inbox) take(s *stream) error {
	q.mu.Lock()
	requests, splits, notes := q.mu.requests, q.mu.splits, q.mu.notes
	q.mu.requests, q.mu.splits, q.mu.notes = nil, nil, nil
	q.mu.Unlock()
	for _, r := range requests {
		s.windows.request(r)
	}
	for i := range splits {
		if err := s.split(&splits[i]); err != nil {
			return err
		}
	}
	for i := range notes {
		if err := s.note(&notes[i]); err != nil {
			return err
		}
	}
	return nil
}
