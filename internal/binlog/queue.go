package binlog

import (
	"errors"
	"sync"

	"github.com/go-mysql-org/go-mysql/replication"
)

var errClosed = errors.New("binlog reader closed")

// rawEvent is an event as the server sent it.
type rawEvent struct {
	header replication.EventHeader
	body   []byte // without common header and checksum
}

// queue stands between the connection and the user of a Reader. It is bounded in bytes: put waits while it is full.
type queue struct {
	limit int
	ready chan struct{} // something may be there
	space chan struct{} // room may be there
	done  chan struct{}

	mu struct {
		sync.Mutex
		events []queued
		head   int
		bytes  int
		err    error // why nothing more will come
		closed bool
	}
}

type queued struct {
	event Event
	cost  int
}

func newQueue(limit int) *queue {
	return &queue{limit: limit, ready: make(chan struct{}, 1), space: make(chan struct{}, 1), done: make(chan struct{})}
}

// put adds an event that keeps about that many bytes.
func (q *queue) put(ev Event, cost int) error {
	for {
		q.mu.Lock()
		if q.mu.closed {
			q.mu.Unlock()
			return errClosed
		}
		if q.mu.bytes < q.limit {
			if n := len(q.mu.events); n == cap(q.mu.events) && q.mu.head > n/2 { // reuse the room of what was taken
				kept := copy(q.mu.events, q.mu.events[q.mu.head:])
				clear(q.mu.events[kept:])
				q.mu.events, q.mu.head = q.mu.events[:kept], 0
			}
			q.mu.events = append(q.mu.events, queued{ev, cost})
			q.mu.bytes += cost
			q.mu.Unlock()
			signal(q.ready)
			return nil
		}
		q.mu.Unlock()
		select {
		case <-q.space:
		case <-q.done:
		}
	}
}

// pop returns the next event, if one is there; else the error that ended the log, if it has ended.
func (q *queue) pop() (Event, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.closed {
		return nil, errClosed
	}
	if q.mu.head == len(q.mu.events) {
		return nil, q.mu.err
	}
	next := q.mu.events[q.mu.head]
	q.mu.events[q.mu.head] = queued{}
	q.mu.head++
	q.mu.bytes -= next.cost
	if q.mu.head == len(q.mu.events) {
		q.mu.events, q.mu.head = q.mu.events[:0], 0
	}
	signal(q.space)
	return next.event, nil
}

// some reports whether something is queued.
func (q *queue) some() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.head < len(q.mu.events)
}

// fail ends the log after what is queued.
func (q *queue) fail(err error) {
	q.mu.Lock()
	if q.mu.err == nil {
		q.mu.err = err
	}
	q.mu.Unlock()
	signal(q.ready)
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.mu.closed {
		q.mu.closed = true
		q.mu.events = nil
		close(q.done)
		signal(q.ready)
	}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
