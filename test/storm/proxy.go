package storm

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
)

// Proxy stands before a server and cuts connections: after a random number of bytes from the server, so that most cuts fall into the middle of an event.
type Proxy struct {
	target string
	lis    net.Listener
	done   sync.WaitGroup
	cuts   atomic.Int64
	mu     struct {
		sync.Mutex
		r      *rand.Rand
		mean   int64 // bytes between cuts; 0: none
		conns  map[net.Conn]struct{}
		closed bool
	}
}

// NewProxy listens on the loopback. mean is about how many bytes a connection lives for.
func NewProxy(target string, seed uint64, mean int64) (*Proxy, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, lis: lis}
	p.mu.r, p.mu.mean, p.mu.conns = rand.New(rand.NewPCG(seed, 0x637574)), mean, map[net.Conn]struct{}{}
	p.done.Go(p.accept)
	return p, nil
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.lis.Addr().String() }

// Cuts is how many connections were cut.
func (p *Proxy) Cuts() int { return int(p.cuts.Load()) }

// Calm ends the cutting, of connections that stand too.
func (p *Proxy) Calm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.mean = 0
}

// CutAll cuts every connection now.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.mu.conns {
		c.Close()
		p.cuts.Add(1)
	}
}

// Close ends the proxy and its connections.
func (p *Proxy) Close() {
	p.lis.Close()
	p.mu.Lock()
	p.mu.closed = true
	for c := range p.mu.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.done.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.lis.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		life, ok := p.enter(client)
		if !ok {
			client.Close()
			server.Close()
			return
		}
		p.done.Go(func() {
			io.Copy(server, client) //nolint:errcheck // the other side sees the end
			server.Close()
		})
		p.done.Go(func() {
			defer p.leave(client)
			defer server.Close()
			p.relay(client, server, life)
		})
	}
}

// relay copies what the server sends until its life is over.
func (p *Proxy) relay(client, server net.Conn, life int64) {
	if life == 0 {
		io.Copy(client, server) //nolint:errcheck // likewise
		return
	}
	if n, err := io.CopyN(client, server, life); err != nil || n < life {
		return
	}
	p.mu.Lock()
	calm := p.mu.mean == 0
	p.mu.Unlock()
	if calm {
		io.Copy(client, server) //nolint:errcheck // likewise
		return
	}
	p.cuts.Add(1)
}

// enter draws the bytes that a connection lives for.
func (p *Proxy) enter(c net.Conn) (life int64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.conns[c] = struct{}{}
	if p.mu.mean > 0 {
		life = 1 + int64(p.mu.r.ExpFloat64()*float64(p.mu.mean))
		if p.mu.r.IntN(4) == 0 {
			life *= 30 // or a huge transaction would never come through
		}
	}
	return life, !p.mu.closed
}

func (p *Proxy) leave(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.mu.conns, c)
	c.Close()
}
