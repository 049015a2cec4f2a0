package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// writerPause is what a writer thinks between two transactions: the demo shows a system under load, not at its limit,
// on a machine that also runs a dozen mysqlds.
const writerPause = 5 * time.Millisecond

// Writers are the applications of the demo.
type Writers struct {
	db     *sql.DB
	ledger *Ledger

	acked, failed, moves atomic.Int64
	mu                   struct {
		sync.Mutex
		kinds    map[string]int64
		errors   []string
		gaps     []gap       // between consecutive acknowledged writes of one writer, those worth remembering
		lastAcks []time.Time // by writer
	}
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// gap is a span without an acknowledged write of one writer.
type gap struct{ from, to time.Time }

// rememberGap: shorter gaps are the rhythm of writing, not a pause.
const rememberGap = 2 * writerPause

// writer owns customers and orders that no other writer touches (D2).
type writer struct {
	ws        *Writers
	id        int
	rnd       *rand.Rand
	conn      *sql.Conn
	customers []int64
	orders    []int64
	state     map[int64]Order // order id → what was last acknowledged
	serial    int
	lastAck   time.Time
}

// op is one kind of transaction a writer makes. It returns the writes that it made.
type op struct {
	name   string
	weight int
	run    func(w *writer, ctx context.Context) ([]Write, error)
}

var ops = []op{
	{"insert customer", 10, (*writer).insertCustomer},
	{"insert order", 25, (*writer).insertOrder},
	{"update order", 35, (*writer).updateOrder},
	{"delete order", 8, (*writer).deleteOrder},
	{"transaction", 15, (*writer).transaction},
	{"move order", 7, (*writer).moveOrder},
}

// outcomeUnknown marks an error after which the writes may or may not be there.
type outcomeUnknown struct{ error }

func (e outcomeUnknown) Unwrap() error { return e.error }

// StartWriters lets n writers run until Stop. Loaded customers and orders are shared out among them.
func StartWriters(ctx context.Context, db *sql.DB, ledger *Ledger, n int, loaded Loaded, seed uint64) *Writers {
	ws := &Writers{db: db, ledger: ledger}
	ws.mu.kinds, ws.mu.lastAcks = map[string]int64{}, make([]time.Time, n)
	run, cancel := context.WithCancel(ctx)
	ws.cancel = cancel
	for i := range n {
		w := &writer{ws: ws, id: i, rnd: rand.New(rand.NewPCG(seed, uint64(i))), state: map[int64]Order{}, lastAck: time.Now()}
		ws.mu.lastAcks[i] = w.lastAck
		for id := int64(i + 1); id <= int64(loaded.Customers); id += int64(n) {
			w.customers = append(w.customers, id)
		}
		for id := int64(i + 1); id <= int64(loaded.Orders); id += int64(n) {
			w.orders = append(w.orders, id)
			w.state[id] = loaded.Order(id)
		}
		ws.done.Go(func() { w.loop(run) })
	}
	return ws
}

// Stop ends the writers after the transaction they are in.
func (ws *Writers) Stop() {
	ws.cancel()
	ws.done.Wait()
}

// Summary counts what was done so far.
func (ws *Writers) Summary() Writes {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	kinds := make(map[string]int64, len(ws.mu.kinds))
	for k, n := range ws.mu.kinds {
		kinds[k] = n
	}
	return Writes{Acknowledged: ws.acked.Load(), Failed: ws.failed.Load(), RowMoves: ws.moves.Load(), ByKind: kinds, Errors: append([]string(nil), ws.mu.errors...)}
}

// LongestGap returns the longest span without an acknowledged write of one writer that overlaps [from, to].
func (ws *Writers) LongestGap(from, to time.Time) time.Duration {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	var longest time.Duration
	for _, g := range ws.mu.gaps {
		if g.to.After(from) && g.from.Before(to) {
			longest = max(longest, g.to.Sub(g.from))
		}
	}
	now := time.Now()
	for _, last := range ws.mu.lastAcks { // a writer that still waits
		if last.Before(to) {
			longest = max(longest, now.Sub(last))
		}
	}
	return longest
}

func (w *writer) loop(ctx context.Context) {
	total := 0
	for _, o := range ops {
		total += o.weight
	}
	for ctx.Err() == nil {
		pick := w.rnd.IntN(total)
		for _, o := range ops {
			if pick -= o.weight; pick < 0 {
				w.do(ctx, o)
				break
			}
		}
		pause(ctx, writerPause)
	}
	if w.conn != nil {
		w.conn.Close()
	}
}

// do runs one transaction to its end: a stop waits for it, so that no outcome is unknown because of us.
func (w *writer) do(ctx context.Context, o op) {
	ctx = context.WithoutCancel(ctx)
	if w.conn == nil {
		conn, err := w.ws.db.Conn(ctx)
		if err != nil {
			w.fail(o, err)
			return
		}
		w.conn = conn
	}
	writes, err := o.run(w, ctx)
	if err != nil {
		var unknown outcomeUnknown
		if errors.As(err, &unknown) {
			w.ws.ledger.Unknown(writes...)
			w.forget(writes)
		}
		w.fail(o, err)
		w.conn.Close() // a broken connection goes back broken: database/sql drops it
		w.conn = nil
		return
	}
	if len(writes) == 0 {
		return // nothing to do in the state this writer is in
	}
	now := time.Now()
	w.ws.ledger.Acked(writes...)
	w.remember(writes)
	w.ws.acked.Add(1)
	if o.name == "move order" {
		w.ws.moves.Add(1)
	}
	w.ws.mu.Lock()
	w.ws.mu.kinds[o.name]++
	if now.Sub(w.lastAck) > rememberGap {
		w.ws.mu.gaps = append(w.ws.mu.gaps, gap{w.lastAck, now})
	}
	w.ws.mu.lastAcks[w.id] = now
	w.ws.mu.Unlock()
	w.lastAck = now
}

func (w *writer) fail(o op, err error) {
	w.ws.failed.Add(1)
	w.ws.mu.Lock()
	defer w.ws.mu.Unlock()
	if len(w.ws.mu.errors) < maxSamples {
		w.ws.mu.errors = append(w.ws.mu.errors, fmt.Sprintf("writer %d, %s: %v", w.id, o.name, err))
	}
}

// remember updates what the writer owns.
func (w *writer) remember(writes []Write) {
	for _, x := range writes {
		switch {
		case !x.IsOrder:
			w.customers = append(w.customers, x.CustomerID)
		case x.Delete:
			w.dropOrder(x.OrderID)
		default:
			if _, had := w.state[x.OrderID]; !had {
				w.orders = append(w.orders, x.OrderID)
			}
			w.state[x.OrderID] = x.Order
		}
	}
}

// forget stops using rows whose state is not known.
func (w *writer) forget(writes []Write) {
	for _, x := range writes {
		if x.IsOrder {
			w.dropOrder(x.OrderID)
		}
	}
}

func (w *writer) dropOrder(id int64) {
	delete(w.state, id)
	for i, o := range w.orders {
		if o == id {
			w.orders[i] = w.orders[len(w.orders)-1]
			w.orders = w.orders[:len(w.orders)-1]
			return
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
