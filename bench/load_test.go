package bench

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"braid/internal/sqlconn"
)

// load is some sessions that write transactions of the mix to a source, until it is ended. Each transaction raises the counter of its
// session, and the moment when it was committed is kept.
type load struct {
	h       *host
	base    base
	tick    time.Duration // between two transactions of a session; 0: at full speed
	cancel  context.CancelFunc
	writers errgroup.Group
	mu      struct {
		sync.Mutex
		commits [][]time.Time // of each session, one after the other
	}
}

// write starts sessions that make so many transactions a second together, 0: as many as they can.
func (h *host) write(src *server, b base, sessions, rate int) *load {
	l := &load{h: h, base: b}
	if rate > 0 {
		l.tick = time.Second * time.Duration(sessions) / time.Duration(rate)
	}
	l.mu.commits = make([][]time.Time, sessions)
	ctx, cancel := context.WithCancel(h.b.Context())
	l.cancel = cancel
	for w := range sessions {
		l.writers.Go(func() error { return l.session(ctx, src, w) })
	}
	return l
}

// end stops the sessions after their transactions.
func (l *load) end() {
	l.cancel()
	require.NoError(l.h.b, l.writers.Wait())
}

// count is how many transactions are committed so far.
func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, list := range l.mu.commits {
		n += len(list)
	}
	return n
}

func (l *load) session(ctx context.Context, src *server, writer int) error {
	whole := context.WithoutCancel(ctx) // a transaction that was begun is finished
	conn, err := sqlconn.Dial(whole, src.Root().WithDB(database))
	if err != nil {
		return err
	}
	defer conn.Close()
	r := rand.New(rand.NewPCG(uint64(writer), uint64(os.Getpid())))
	pace := time.NewTicker(max(l.tick, 1))
	defer pace.Stop()
	for {
		if l.tick > 0 {
			select {
			case <-ctx.Done():
			case <-pace.C:
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		sql := fmt.Sprintf("BEGIN; UPDATE beat SET n = n + 1 WHERE id = %d; %s", writer, mix(r, l.base)[len("BEGIN; "):])
		if err := commit(whole, conn, sql); err != nil {
			return err
		}
		l.mu.Lock()
		l.mu.commits[writer] = append(l.mu.commits[writer], time.Now())
		l.mu.Unlock()
	}
}

// watch reads the counters on the target each millisecond, from the first time that they are there until ctx has ended and all that was
// committed is seen. With cut it ends with ctx, and what was committed and is not seen then counts as seen then.
func (l *load) watch(ctx context.Context, dst *server, cut bool) (delays, error) {
	conn, err := sqlconn.Dial(l.h.b.Context(), dst.Root())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var d delays
	var seen []int
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		over := ctx.Err() != nil
		res, err := conn.Query(l.h.b.Context(), "SELECT id, n FROM "+database+".beat")
		switch {
		case notThere(err):
		case err != nil:
			return nil, err
		default:
			all := l.see(counters(res.Rows), time.Now(), &seen, &d)
			if over && (all || cut) {
				l.see(slices.Repeat([]int{math.MaxInt}, len(seen)), time.Now(), &seen, &d)
				return d, nil
			}
		}
		select {
		case <-tick.C:
		case <-l.h.b.Context().Done():
			return nil, l.h.b.Context().Err()
		}
	}
}

// notThere says that the table is not copied yet.
func notThere(err error) bool {
	const noTable, noDatabase = 1146, 1049
	code := sqlconn.ErrCode(err)
	return code == noTable || code == noDatabase
}

// counters are the rows of the table, by session.
func counters(rows [][][]byte) []int {
	list := make([]int, len(rows))
	for _, row := range rows {
		writer, errID := strconv.Atoi(string(row[0]))
		n, errN := strconv.Atoi(string(row[1]))
		if errID == nil && errN == nil && writer < len(list) {
			list[writer] = n
		}
	}
	return list
}

// see takes the counters of a moment; it says whether that was everything that is committed so far. What was there the first time has no
// delay.
func (l *load) see(counters []int, now time.Time, seen *[]int, d *delays) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(counters) < len(l.mu.commits) {
		return false
	}
	if *seen == nil {
		*seen = slices.Clone(counters)
	}
	all := true
	for writer, list := range l.mu.commits {
		at := &(*seen)[writer]
		for ; *at < min(counters[writer], len(list)); *at++ { // a commit may be on the target before its session has the answer
			*d = append(*d, max(0, float64(now.Sub(list[*at]).Microseconds())/1000))
		}
		all = all && *at >= len(list)
	}
	return all
}
