package binlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"braid/internal/base/timeouts"
	"braid/internal/gtid"
	"braid/internal/sqlconn"
)

// Config says what to read.
type Config struct {
	DB       sqlconn.Config // an account with REPLICATION SLAVE
	Position gtid.Set       // the reader goes on after it
	// Follow says whether row events of a table are wanted. It is called once per table map and must not block.
	Follow func(db, table string) bool
	// Lenient is for those who look at a log and do not follow it: what cannot be followed exactly (changes logged as statements,
	// transactions without GTID, differences of JSON documents, the end of an XA transaction whose begin was not read) is
	// passed on as far as it is known, instead of refused.
	Lenient bool
	// QueueBytes bounds what is read ahead; 0 is 8 MiB.
	QueueBytes int
}

const defaultQueueBytes = 8 << 20

// dump is a Reader with a connection of its own.
type dump struct {
	syncer *replication.BinlogSyncer
	queue  *queue
	dec    *decoder
	err    error // final
	done   sync.WaitGroup
	cancel context.CancelFunc
	once   sync.Once

	mu struct {
		sync.Mutex
		sock   net.Conn
		closed bool
	}
}

// Open checks that the source can serve the position (B4) and starts a dump connection. ctx bounds the opening only.
func Open(ctx context.Context, cfg Config) (Reader, error) {
	if err := checkResume(ctx, cfg.DB, cfg.Position); err != nil {
		return nil, err
	}
	set, err := mysql.ParseMysqlGTIDSet(cfg.Position.String())
	if err != nil {
		return nil, fmt.Errorf("binlog of %s: position %s: %w", cfg.DB.Addr, cfg.Position, err)
	}
	d := &dump{queue: newQueue(cmp.Or(cfg.QueueBytes, defaultQueueBytes)), dec: newDecoder(cfg.Follow)}
	d.dec.lenient = cfg.Lenient
	sc, err := d.syncerConfig(cfg.DB)
	if err != nil {
		return nil, err
	}
	d.syncer = replication.NewBinlogSyncer(sc)
	stop := context.AfterFunc(ctx, d.hangUp)
	streamer, err := d.syncer.StartSyncGTID(set)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("binlog of %s: start to read: %w", cfg.DB.Addr, cmp.Or(serverError(err), err))
	}
	d.watch(streamer)
	return d, nil
}

func (d *dump) syncerConfig(db sqlconn.Config) (replication.BinlogSyncerConfig, error) {
	sc := replication.BinlogSyncerConfig{
		ServerID:        1<<31 | rand.Uint32(), // replicas of the source must differ; people choose small numbers
		Flavor:          mysql.MySQLFlavor,
		User:            db.User,
		Password:        db.Password,
		Localhost:       "braid",
		TLSConfig:       db.TLS,
		RawModeEnabled:  true,
		VerifyChecksum:  true,
		HeartbeatPeriod: timeouts.StreamHeartbeat,
		ReadTimeout:     timeouts.StreamSilence,
		// Its retry goes on from a position of its own, which is wrong after a tagged GTID; ours decide where to go on.
		DisableRetrySync:        true,
		DiscardGTIDSet:          true,
		Dialer:                  d.dial,
		SynchronousEventHandler: d,
		EventCacheCount:         1,
		Logger:                  slog.New(slog.DiscardHandler),
	}
	sc.Host = db.Addr
	if host, port, err := net.SplitHostPort(db.Addr); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return sc, fmt.Errorf("binlog of %s: port: %w", db.Addr, err)
		}
		sc.Host, sc.Port = host, uint16(n)
	}
	return sc, nil
}

// dial remembers the connection, so that Close ends it at once, and makes none after that: go-mysql would connect again only
// to send a KILL, which a vanished connection does not need.
func (d *dump) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d.mu.Lock()
	closed := d.mu.closed
	d.mu.Unlock()
	if closed {
		return nil, net.ErrClosed
	}
	sock, err := (&net.Dialer{Timeout: timeouts.Dial}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.mu.sock, closed = sock, d.mu.closed
	d.mu.Unlock()
	if closed {
		sock.Close()
		return nil, net.ErrClosed
	}
	return sock, nil
}

// hangUp closes the socket under whatever is being done with it.
func (d *dump) hangUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.closed = true
	if d.mu.sock != nil {
		d.mu.sock.Close()
	}
}

// watch waits for the end of the connection and hands its reason to the queue.
func (d *dump) watch(streamer *replication.BinlogStreamer) {
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	d.done.Go(func() {
		_, err := streamer.GetEvent(ctx)
		if err == nil {
			err = errClosed // never: events go to HandleEvent
		}
		d.queue.fail(fmt.Errorf("binlog connection: %w", cmp.Or(serverError(err), err)))
	})
}

// HandleEvent is called by go-mysql for each event. It waits while the queue is full.
func (d *dump) HandleEvent(e *replication.BinlogEvent) error {
	ev := rawEvent{header: *e.Header}
	switch body := e.Event.(type) {
	case *replication.RotateEvent:
		ev.rotate = body
	case *replication.GenericEvent:
		ev.body = body.Data
	}
	return d.queue.push(ev)
}

// Poll implements Reader.
func (d *dump) Poll() (Event, error) {
	for d.err == nil {
		if ev := d.dec.take(); ev != nil {
			return ev, nil
		}
		if d.dec.payload != nil {
			d.err = d.dec.nextInner()
			continue
		}
		ev, ok, err := d.queue.pop()
		if err != nil {
			d.err = err
		} else if !ok {
			return nil, nil
		} else {
			d.err = d.dec.decode(ev)
		}
	}
	if ev := d.dec.take(); ev != nil {
		return ev, nil
	}
	return nil, d.err
}

// Ready implements Reader.
func (d *dump) Ready() <-chan struct{} { return d.queue.ready }

// Close implements Reader.
func (d *dump) Close() error {
	d.once.Do(func() {
		d.hangUp()
		d.queue.close()
		d.syncer.Close()
		if d.cancel != nil {
			d.cancel()
		}
		d.done.Wait()
	})
	return nil
}

// serverError is MySQL's own answer in the chain, or nil: go-mysql wraps it in a stack trace.
func serverError(err error) error {
	if e, ok := errors.AsType[*mysql.MyError](err); ok {
		return e
	}
	return nil
}
