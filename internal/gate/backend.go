package gate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/base/errs"
	"braid/internal/mysqlproto"
	"braid/internal/topo"
)

// backend is a connection to a tablet.
type backend struct {
	*mysqlproto.Client
	dest     dest
	tablet   topo.Tablet
	key      poolKey
	settings string // what was SET on it
	idle     time.Time

	inTxn  bool
	fresh  bool // … and has run no statement there yet
	locked bool // … and has run one there that writes or locks: a fence may wait for it
	wrote  bool // … and has changed something there
	pinned bool // the server's session has state that nothing brings back
	marks  int  // how many of the transaction's savepoints it has
	late   bool // it lost a row to another shard: it commits after that one
}

// poolKey says which sessions can use a connection.
type poolKey struct {
	addr      string
	foundRows bool
}

// pool keeps connections that nobody uses. They are as new.
type pool struct {
	user, password string
	mu             struct {
		sync.Mutex
		idle   map[poolKey][]*backend
		closed bool
	}
}

const (
	maxIdle    = 64              // connections kept per tablet
	maxIdleAge = 5 * time.Minute // well under MySQL's wait_timeout
)

func newPool(user, password string) *pool {
	p := &pool{user: user, password: password}
	p.mu.idle = map[poolKey][]*backend{}
	return p
}

// get returns a connection to a tablet, one that is kept or a new one.
func (p *pool) get(ctx context.Context, d dest, t topo.Tablet, foundRows bool) (*backend, error) {
	key := poolKey{t.MySQLAddr, foundRows}
	for {
		b := p.pop(key)
		if b == nil {
			break
		}
		if b.Alive() && time.Since(b.idle) < maxIdleAge {
			b.dest, b.tablet = d, t
			return b, nil
		}
		b.Abort()
	}
	c, err := mysqlproto.Dial(ctx, mysqlproto.Login{
		Addr: t.MySQLAddr, User: p.user, Password: p.password, DB: t.Keyspace, FoundRows: foundRows,
		Attributes: map[string]string{"program_name": "braid-gate"},
	})
	if err != nil {
		return nil, hold(errs.New(errs.NotServing, err, "tablet %s of %s/%s", t.Alias, t.Keyspace, t.Shard))
	}
	return &backend{Client: c, dest: d, tablet: t, key: key}, nil
}

func (p *pool) pop(key poolKey) *backend {
	p.mu.Lock()
	defer p.mu.Unlock()
	idle := p.mu.idle[key]
	if len(idle) == 0 {
		return nil
	}
	b := idle[len(idle)-1]
	p.mu.idle[key] = idle[:len(idle)-1]
	return b
}

// put takes a connection back when its session is done with it. One that cannot be made as new is closed.
func (p *pool) put(ctx context.Context, b *backend) {
	if b.inTxn || b.pinned || !b.reset(ctx) || !p.keep(b) {
		b.Abort()
	}
}

func (p *pool) keep(b *backend) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.idle = time.Now()
	if p.mu.closed || len(p.mu.idle[b.key]) >= maxIdle {
		return false
	}
	p.mu.idle[b.key] = append(p.mu.idle[b.key], b)
	return true
}

func (p *pool) close() {
	p.mu.Lock()
	idle := p.mu.idle
	p.mu.idle, p.mu.closed = map[poolKey][]*backend{}, true
	p.mu.Unlock()
	for _, list := range idle {
		for _, b := range list {
			b.Close()
		}
	}
}

// reset makes the server's session as new.
func (b *backend) reset(ctx context.Context) bool {
	defer b.Under(ctx)()
	if !b.Alive() || b.Send(mysql.COM_RESET_CONNECTION, nil) != nil {
		return false
	}
	resp, err := b.Response()
	if err != nil || resp.Err != nil {
		return false
	}
	b.settings, b.wrote, b.marks, b.late = "", false, 0, false
	return true
}

// control runs a statement that needs no tag.
func (b *backend) control(ctx context.Context, sql string) (mysqlproto.OK, error) {
	resp, err := b.Exec(ctx, sql)
	if err == nil && resp.Err != nil {
		err = refusedOr(resp.Err)
	}
	if err != nil {
		return resp.OK, fmt.Errorf("%s: %w", b.dest, err)
	}
	return resp.OK, nil
}

// tagged puts the tag of a plan before a statement.
func tagged(dst []byte, epoch uint64, write bool, d dest, tables []string, sql string) []byte {
	tag := mysqlproto.Tag{Epoch: epoch, Write: write, Keyspace: d.keyspace, Shard: d.shard, Tables: tables}
	return append(tag.Append(dst), sql...)
}

// holdError is a failure after which nothing was done: the same may be tried again when things have changed.
type holdError struct {
	cause error
	epoch uint64 // a routing that is known to exist, if the cause is an outdated one
}

func (e *holdError) Error() string { return e.cause.Error() }
func (e *holdError) Unwrap() error { return e.cause }

func hold(cause error) error { return &holdError{cause: cause} }

func isHold(err error) bool {
	_, ok := errors.AsType[*holdError](err)
	return ok
}

// refusedOr makes a holdError of a tablet's refusal, and leaves any other error of MySQL as it is.
func refusedOr(e *mysql.MyError) error {
	switch e.State {
	case errs.EpochOutdated.SQLState:
		h := &holdError{cause: errs.New(errs.EpochOutdated, nil, "%s", e.Message)}
		if _, after, ok := strings.Cut(e.Message, "epoch="); ok {
			fmt.Sscanf(after, "%d", &h.epoch) //nolint:errcheck // without a number any change will do
		}
		return h
	case errs.Fenced.SQLState:
		return hold(errs.New(errs.Fenced, nil, "%s", e.Message))
	case errs.NotServing.SQLState:
		return hold(errs.New(errs.NotServing, nil, "%s", e.Message))
	}
	return e
}
