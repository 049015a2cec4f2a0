package binlog

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"braid/internal/gtid"
	"braid/internal/sqlconn"
)

// Config says what to read.
type Config struct {
	DB       sqlconn.Config // an account with REPLICATION SLAVE
	Position gtid.Set       // the reader goes on after it
	// Follow says whether row events of a table are wanted. It is called once per table map, by one goroutine that may be another than
	// the user's, and must not block.
	Follow func(db, table string) bool
	// Lenient is for those who look at a log and do not follow it: what cannot be followed exactly (changes logged as statements,
	// transactions without GTID or without their end, the end of an XA transaction whose begin was not read) is passed on as far as it is known,
	// instead of refused.
	Lenient bool
	// QueueBytes bounds what is read ahead; 0 is 8 MiB.
	QueueBytes int

	held int          // see feed
	log  *slog.Logger // nil: nobody is told of cuts
}

const defaultQueueBytes = 8 << 20

// dump is a Reader with a connection of its own, and a goroutine that reads it.
type dump struct {
	queue  *queue
	feed   *feed
	err    error // final
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// Open checks that the source can serve the position (B4) and starts a dump connection. A cut ends the reader. ctx bounds the
// opening only.
func Open(ctx context.Context, cfg Config) (Reader, error) {
	d := newDump(cfg)
	if err := d.feed.open(ctx); err != nil {
		d.cancel()
		return nil, err
	}
	ctx, d.cancel = context.WithCancel(context.Background())
	d.done.Go(func() { d.queue.fail(d.feed.explain(ctx, d.feed.read(ctx))) })
	return d, nil
}

func newDump(cfg Config) *dump {
	d := &dump{queue: newQueue(cmp.Or(cfg.QueueBytes, defaultQueueBytes))}
	d.feed = &feed{db: cfg.DB, follow: cfg.Follow, lenient: cfg.Lenient, sink: d.queue, position: cfg.Position, held: cfg.held, log: cmp.Or(cfg.log, slog.New(slog.DiscardHandler))}
	d.cancel = func() {}
	return d
}

// start reads behind the caller's back, and connects again after a cut.
func (d *dump) start() {
	var ctx context.Context
	ctx, d.cancel = context.WithCancel(context.Background())
	d.done.Go(func() { d.queue.fail(d.feed.run(ctx)) })
}

// Poll implements Reader.
func (d *dump) Poll() (Event, error) {
	if d.err != nil {
		return nil, d.err
	}
	var ev Event
	ev, d.err = d.queue.pop()
	return ev, d.err
}

// Ready implements Reader.
func (d *dump) Ready() <-chan struct{} { return d.queue.ready }

// Heard is when the source was last heard.
func (d *dump) Heard() time.Time { return time.Unix(0, d.feed.heard.Load()) }

// Close implements Reader.
func (d *dump) Close() error {
	d.cancel()
	d.feed.hangUp(true)
	d.queue.close()
	d.done.Wait()
	return nil
}
