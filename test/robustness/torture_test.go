package robustness

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
	"braid/test/storm"
)

// dump makes a Go program print its goroutines and end.
const dump = syscall.SIGQUIT

const (
	shortRound = 20 * time.Second
	pace       = 12 * time.Millisecond // of the storm: what a small machine can apply while everything dies
	// catchUp bounds how long the replication may take, when the storm is over, to reach the end.
	catchUp = 2 * time.Minute
)

var databases = []string{"storm_a", "storm_b", storm.WitnessDB()}

// TestReplicateSurvives is the short version of the torture.
func TestReplicateSurvives(t *testing.T) {
	if testing.Short() {
		t.Skip("needs mysqlds")
	}
	seed := seedOf(t, usualSeed)
	for i, c := range few(seed) {
		t.Run(c.String(), func(t *testing.T) { torture(t, c, seed+uint64(i), shortRound) })
	}
}

// TestTorture runs every combination for its share of the minutes: `make torture`.
func TestTorture(t *testing.T) {
	minutes, err := strconv.Atoi(os.Getenv("TORTURE_MINUTES"))
	if err != nil {
		t.Skip("runs with TORTURE_MINUTES: make torture")
	}
	seed, rounds := seedOf(t, uint64(time.Now().UnixNano())%1_000_000), combinations
	if only := os.Getenv("TORTURE_ONLY"); only != "" {
		c, err := find(only)
		require.NoError(t, err)
		rounds = []combination{c}
	}
	share := max(time.Duration(minutes)*time.Minute/time.Duration(len(rounds)), shortRound)
	for i, c := range rounds {
		t.Run(c.String(), func(t *testing.T) { torture(t, c, seed+uint64(i), share) })
	}
}

// parts are those of the storm. TORTURE_WITHOUT leaves some out, to find a cause.
func parts() storm.Parts {
	without, err := strconv.ParseUint(os.Getenv("TORTURE_WITHOUT"), 0, 64)
	if err != nil {
		return storm.All
	}
	return storm.All &^ storm.Parts(without)
}

// usualSeed makes the short version do the same each time, but for the moments of the kills. Other seeds are the long one's.
const usualSeed = 7

// seedOf prints how a run is repeated.
func seedOf(t *testing.T, usual uint64) uint64 {
	seed, err := strconv.ParseUint(os.Getenv("TORTURE_SEED"), 10, 64)
	if err != nil {
		seed = usual
	}
	t.Logf("repeat with: TORTURE_SEED=%d go test ./test/robustness -run '^%s$' -timeout 0 -v", seed, t.Name())
	return seed
}

// round is one combination under torture.
type round struct {
	t              *testing.T
	c              combination
	r              *rand.Rand // of the killer
	source, target *mysqld.Server
	storm          *storm.Storm
	witness        *storm.Witness
	follower       *follower
	checks         atomic.Int64
	kills          map[string]int
	pests          *pests
	gaveUp         int         // runs that ended because a server was away, or a pest was there
	away           atomic.Bool // a server was killed since the run began, or a pest was there
	xa             bool
}

func torture(t *testing.T, c combination, seed uint64, length time.Duration) {
	o := &round{t: t, c: c, r: rand.New(rand.NewPCG(seed, 0x6b696c6c)), kills: map[string]int{}}
	t.Logf("seed %d: TORTURE_ONLY=%s TORTURE_SEED=%d TORTURE_MINUTES=1 make torture", seed, c, seed)
	o.source = mysqldtest.New(t, mysqldtest.Options{})
	o.target = mysqldtest.New(t, mysqldtest.Options{})
	t.Cleanup(o.keep)
	if c.writer == "sql" {
		for _, host := range []string{"127.0.0.1", "localhost"} {
			mysqldtest.Exec(t, o.target, "SET sql_log_bin=0", fmt.Sprintf("REVOKE BINLOG_ADMIN, REPLICATION_APPLIER ON *.* FROM %s@'%s'", mysqld.AdminUser, host))
		}
	}
	for _, host := range []string{"127.0.0.1", "localhost"} { // for --without-key lock, and to begin when no XA transaction is prepared
		mysqldtest.Exec(t, o.source, "SET sql_log_bin=0", fmt.Sprintf("GRANT LOCK TABLES ON *.* TO %s@'%s'", mysqld.ReplUser, host))
	}
	// MySQL 9.7 that is killed in an XA COMMIT may forget the prepared transaction without a word in its log, and then nobody can be equal
	// to it: a source with XA transactions is restarted cleanly.
	o.xa = seed%2 == 0
	some := parts()
	if !o.xa {
		some &^= storm.XA
	}
	o.storm = storm.New(storm.Config{Seed: seed, Parts: some, HugeRows: 8000}, o.source.Root())
	o.witness = storm.NewWitness(o.source.Root())
	o.pests = &pests{r: rand.New(rand.NewPCG(seed, 0x70657374)), source: o.source, target: o.target, disturb: func() { o.away.Store(true) }, count: map[string]int{}}
	o.follower = newFollower(t, o.source, o.target, c, databases, []string{"snapshot", "lock"}[o.r.IntN(2)])
	defer o.follower.kill()
	require.NoError(t, o.storm.Setup(t.Context()))
	require.NoError(t, o.witness.Setup(t.Context()))
	require.NoError(t, o.storm.Run(t.Context(), 600, 0)) // rows to copy
	o.run(length)
	o.settle()
}

// keep copies the source's binlog of a round that failed to TORTURE_LOGS, for `braid binlog tail FILE…`.
func (o *round) keep() {
	dir := os.Getenv("TORTURE_LOGS")
	if dir == "" || !o.t.Failed() {
		return
	}
	files, err := filepath.Glob(filepath.Join(o.source.Dir(), "data", "binlog.0*"))
	for _, file := range files {
		var log []byte
		if log, err = os.ReadFile(file); err == nil {
			err = os.WriteFile(filepath.Join(dir, o.c.String()+"-"+filepath.Base(file)), log, 0o600)
		}
		if err != nil {
			break
		}
	}
	if err != nil {
		o.t.Errorf("keep the binlog: %v", err)
	}
}

// run lets everything loose for some time: one half of it while the tables are copied, the other when they are. How long a copy takes that
// everybody disturbs is not known, so it ends in peace.
func (o *round) run(length time.Duration) {
	ctx, stop := context.WithCancel(o.t.Context())
	defer stop()
	all, ctx := errgroup.WithContext(ctx)
	for i := range o.witness.Sessions() {
		all.Go(func() error { return o.witness.Write(ctx, i) })
	}
	require.NoError(o.t, o.follower.start())
	if os.Getenv("TORTURE_AFTER_COPY") == "" { // to find a cause
		o.loose(ctx, length/2, o.awaitBegin)
	}
	o.awaitCopy(mysqldtest.Dial(o.t, o.target.Root()))
	if o.c.order == "preserve" {
		all.Go(func() error { return o.reader(ctx) })
	}
	o.loose(ctx, length/2, func() {})
	stop()
	if err := all.Wait(); err != nil {
		o.t.Fatalf("%v\nthe replication's last words:\n%s", err, o.follower.tail(40))
	}
}

// loose is the storm, and the killer and the pests, who first wait for something.
func (o *round) loose(ctx context.Context, length time.Duration, before func()) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return o.storm.Run(ctx, 0, pace) })
	before()
	all.Go(func() error { return o.killer(ctx) })
	if os.Getenv("TORTURE_PEACE") == "" { // to find a cause
		all.Go(func() error { return o.pests.run(ctx) })
	}
	time.AfterFunc(length, stop)
	if err := all.Wait(); err != nil {
		o.t.Fatalf("%v\nthe replication's last words:\n%s", err, o.follower.tail(40))
	}
}

// settle waits for the end of everything, and compares.
func (o *round) settle() {
	t := o.t
	require.NoError(t, o.storm.End(t.Context()))
	source, target := mysqldtest.Dial(t, o.source.Root()), mysqldtest.Dial(t, o.target.Root())
	require.Eventually(t, func() bool { return idle(t, source) }, time.Minute, 10*time.Millisecond, "statements whose clients have gone are over")
	res, err := source.Query(t.Context(), "SELECT @@GLOBAL.gtid_executed")
	require.NoError(t, err)
	began := time.Now()
	o.awaitCopy(target)
	if err := o.follower.finish(t.Context(), strings.ReplaceAll(string(res.Rows[0][0]), "\n", ""), catchUp); err != nil {
		t.Fatal(err)
	}
	counts := o.storm.Counts()
	t.Log(&counts)
	out, rows, err := differences(t.Context(), source, target, databases)
	require.NoError(t, err)
	if len(out) > 0 {
		t.Fatalf("the sides differ:\n%s\nthe replication's last words:\n%s", strings.Join(out, "\n"), o.follower.tail(40))
	}
	t.Logf("equal: %d rows; killed %v; pests %v, %d cut off; %d runs, %d of which gave up; %d snapshots read; caught up in %v", rows, o.kills, o.pests.count, o.pests.away, o.follower.runs, o.gaveUp, o.checks.Load(), time.Since(began).Round(time.Millisecond))
	require.Positive(t, rows)
	if o.c.order == "preserve" {
		require.Positive(t, o.checks.Load(), "snapshots of the target were read")
	}
}

// idle says that no other session executes a statement. A client that was told to end leaves one behind, which commits later, be it slowly.
func idle(t *testing.T, conn *sqlconn.Conn) bool {
	res, err := conn.Query(t.Context(), "SHOW PROCESSLIST")
	require.NoError(t, err)
	return !slices.ContainsFunc(res.Rows, func(r [][]byte) bool {
		return string(r[4]) == "Query" && string(r[0]) != fmt.Sprint(conn.ID())
	})
}

// awaitBegin waits until the stream has a position.
func (o *round) awaitBegin() {
	target := mysqldtest.Dial(o.t, o.target.Root())
	require.Eventually(o.t, func() bool {
		res, err := target.Query(o.t.Context(), "SELECT pos FROM _braid.vreplication WHERE pos <> ''")
		return err == nil && len(res.Rows) == 1
	}, catchUp, 50*time.Millisecond, "the replication begins:\n%s", o.follower.tail(20))
}

// awaitCopy waits until all tables are copied: a replication that stops at a position stops there in the middle of a copy, too.
func (o *round) awaitCopy(target *sqlconn.Conn) {
	ctx, cancel := context.WithTimeout(o.t.Context(), catchUp)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !complete(ctx, target) {
		select {
		case <-tick.C:
		case <-o.follower.current().Done():
			if err := o.again(); err != nil {
				o.t.Fatalf("%v\nthe replication's last words:\n%s", err, o.follower.tail(40))
			}
		case <-ctx.Done():
			o.t.Fatalf("the copy was not complete within %v\nthe replication's last words:\n%s", catchUp, o.follower.tail(40))
		}
	}
}

// killer kills the three processes at random, and starts them again.
func (o *round) killer(ctx context.Context) error {
	timer := time.NewTimer(0)
	<-timer.C
	for {
		timer.Reset(500*time.Millisecond + time.Duration(o.r.ExpFloat64()*float64(2*time.Second)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil
		case <-o.follower.current().Done():
			if err := o.again(); err != nil {
				return err
			}
			continue
		}
		if err := o.kill(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
}

var errEnded = errors.New("nobody had killed it")

// mayEnd are reasons for a replication to end by itself while it prepares its work: a server was away, a session was killed, the target was not as it must be.
var mayEnd = []string{"connection to MySQL lost", "connect to MySQL at", "Query execution was interrupted", "read-only", "read_only", "max_allowed_packet is"}

// again starts a replication that has ended by itself, which it may only when it was disturbed while it prepared its work.
func (o *round) again() error {
	last := o.follower.tail(6)
	if !o.away.Load() || !slices.ContainsFunc(mayEnd, func(reason string) bool { return strings.Contains(last, reason) }) {
		return fmt.Errorf("the replication ended by itself: %w", errors.Join(o.follower.current().Err(), errEnded))
	}
	o.gaveUp++
	o.away.Store(o.pests.present.Load())
	return o.follower.start()
}

func (o *round) kill(ctx context.Context) error {
	switch n := o.r.IntN(10); {
	case n < 6:
		o.kills["replicate"]++
		o.follower.kill()
		o.away.Store(o.pests.present.Load())
		return o.follower.start()
	case n < 8:
		o.kills["target"]++
		o.away.Store(true)
		o.target.Kill()
		return o.target.Start(ctx)
	default:
		o.kills["source"]++
		o.away.Store(true)
		if !o.xa {
			o.source.Kill()
		} else if err := o.source.Stop(ctx); err != nil {
			return err
		}
		return o.source.Start(ctx)
	}
}

// reader reads the target all the time, once the copy is complete (A2).
func (o *round) reader(ctx context.Context) error {
	var conn *sqlconn.Conn
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	copied := false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if conn == nil || conn.Broken() {
			var err error
			if conn, err = sqlconn.Dial(ctx, o.target.Root()); err != nil {
				conn = nil
				continue // it is away
			}
		}
		if !copied {
			copied = complete(ctx, conn)
			continue
		}
		wrong, err := o.witness.Check(ctx, conn)
		if err != nil { // it went away in the middle
			conn.Close()
			continue
		}
		if len(wrong) > 0 {
			return fmt.Errorf("the target shows what the source never was: %s", strings.Join(wrong, "; "))
		}
		o.checks.Add(1)
	}
}

// complete reports whether the copy is done: from then on every state must be one of the source.
func complete(ctx context.Context, conn *sqlconn.Conn) bool {
	res, err := conn.Query(ctx, "SELECT COUNT(*), SUM(state = 'Running') FROM _braid.vreplication")
	return err == nil && string(res.Rows[0][0]) == "1" && string(res.Rows[0][1]) == "1"
}
