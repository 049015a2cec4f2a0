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
	rotate *replication.RotateEvent
}

// queue stands between the connection and the decoder. It is bounded in bytes: push waits while it is full.
type queue struct {
	limit int
	ready chan struct{} // something may be there
	space chan struct{} // room may be there
	done  chan struct{}

	mu struct {
		sync.Mutex
		events []rawEvent
		head   int
		bytes  int
		err    error // why nothing more will come
		closed bool
	}
}

func newQueue(limit int) *queue {
	return &queue{limit: limit, ready: make(chan struct{}, 1), space: make(chan struct{}, 1), done: make(chan struct{})}
}

// cost of an event beside its body
const eventOverhead = 128

func (q *queue) push(ev rawEvent) error {
	for {
		q.mu.Lock()
		if q.mu.closed {
			q.mu.Unlock()
			return errClosed
		}
		if q.mu.bytes < q.limit {
			q.mu.events = append(q.mu.events, ev)
			q.mu.bytes += len(ev.body) + eventOverhead
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
func (q *queue) pop() (ev rawEvent, ok bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.closed {
		return rawEvent{}, false, errClosed
	}
	if q.mu.head == len(q.mu.events) {
		return rawEvent{}, false, q.mu.err
	}
	ev = q.mu.events[q.mu.head]
	q.mu.events[q.mu.head] = rawEvent{}
	q.mu.head++
	q.mu.bytes -= len(ev.body) + eventOverhead
	if q.mu.head == len(q.mu.events) {
		q.mu.events, q.mu.head = q.mu.events[:0], 0
	}
	signal(q.space)
	return ev, true, nil
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
