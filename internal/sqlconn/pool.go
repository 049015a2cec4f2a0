package sqlconn

import (
	"context"
	"slices"
	"sync"
)

// Pool lends sessions for administrative work. At most size exist at a time; a caller waits for a free one.
type Pool struct {
	cfg   Config
	slots chan struct{}
	mu    struct {
		sync.Mutex
		idle   []*Conn
		closed bool
	}
}

// NewPool makes a pool; it connects when first asked.
func NewPool(cfg Config, size int) *Pool {
	return &Pool{cfg: cfg, slots: make(chan struct{}, size)}
}

// Do runs fn with a session. A session that fn left in a transaction is closed, not lent again; neither is one that was denied something: its
// account may be granted that, and a session keeps the privileges that it began with.
func (p *Pool) Do(ctx context.Context, fn func(*Conn) error) error {
	conn, release, err := p.Acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	err = fn(conn)
	if slices.Contains(denied, ErrCode(err)) {
		conn.Close()
	}
	return err
}

// denied are MySQL's errors of privileges.
var denied = []uint16{1044, 1045, 1142, 1143, 1227, 1370}

// Acquire lends a session until release is called. A session that sat idle is pinged first, so that one that the server
// closed meanwhile is replaced here and not found out by the caller.
func (p *Pool) Acquire(ctx context.Context) (conn *Conn, release func(), err error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	for {
		conn := p.pop()
		if conn == nil {
			break
		}
		if conn.Ping(ctx) == nil {
			return conn, func() { p.give(conn) }, nil
		}
		conn.Close()
	}
	conn, err = Dial(ctx, p.cfg)
	if err != nil {
		<-p.slots
		return nil, nil, err
	}
	return conn, func() { p.give(conn) }, nil
}

func (p *Pool) pop() *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.mu.idle)
	if n == 0 {
		return nil
	}
	conn := p.mu.idle[n-1]
	p.mu.idle = p.mu.idle[:n-1]
	return conn
}

func (p *Pool) give(conn *Conn) {
	defer func() { <-p.slots }()
	keep := !conn.Broken() && !conn.InTransaction()
	p.mu.Lock()
	keep = keep && !p.mu.closed
	if keep {
		p.mu.idle = append(p.mu.idle, conn)
	}
	p.mu.Unlock()
	if !keep {
		conn.Close()
	}
}

// Close ends the idle sessions; those that are lent end when they are given back.
func (p *Pool) Close() {
	p.mu.Lock()
	idle := p.mu.idle
	p.mu.idle, p.mu.closed = nil, true
	p.mu.Unlock()
	for _, conn := range idle {
		conn.Close()
	}
}
