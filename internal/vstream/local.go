package vstream

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/binlog"
	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/keyrange"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// LocalConfig says which mysqld a Local reads.
type LocalConfig struct {
	DB     sqlconn.Config // an account with REPLICATION SLAVE, REPLICATION CLIENT and SELECT
	DBName string         // the database whose tables streams follow; those whose rules name databases need none
	// RingBytes is how much of the log stays for streams that come later, or fall behind; 0: 64 MiB. Half of it is read ahead of the fastest.
	RingBytes int
}

// Local is the Source of a mysqld that this process reaches directly. All its streams share one dump connection, that of its hub; those
// of one workflow share the sessions that read chunks.
type Local struct {
	cfg   LocalConfig
	log   *slog.Logger
	hub   *binlog.Hub
	stats Stats
	pace  *pacer
	sizes *chunkSizes
	now   func() time.Time
	ctx   context.Context // ends with Close
	end   context.CancelFunc

	mu struct {
		sync.Mutex
		readers map[string]*readers // by workflow and server
		server  string              // UUID of the one whose log the newest stream reads; empty before the first
	}
}

// NewLocal returns a Source. Nothing connects before Open, and some time after the last stream has ended nothing is connected any more.
func NewLocal(cfg LocalConfig, log *slog.Logger) *Local {
	l := &Local{cfg: cfg, log: log, hub: binlog.NewHub(binlog.HubConfig{DB: cfg.DB, RingBytes: cfg.RingBytes, Log: log}), sizes: newChunkSizes(), now: time.Now}
	l.ctx, l.end = context.WithCancel(context.Background())
	l.pace = newPacer(l.ctx, cfg.DB, log)
	l.mu.readers = map[string]*readers{}
	return l
}

// Stats counts what was read for chunks, by all streams since the Local was made.
func (l *Local) Stats() *Stats { return &l.stats }

// Close ends all streams and their connection. It may be called more than once.
func (l *Local) Close() {
	l.end()
	l.hub.Stop()
	l.pace.done.Wait()
}

// Open implements Source. It runs the preflight first (binlog.Check).
func (l *Local) Open(ctx context.Context, start Start) (Stream, error) {
	if err := start.Rules.Validate(); err != nil {
		return nil, errs.New(errs.BadInput, err, "stream of %s", l.cfg.DBName)
	}
	position, clock, err := l.prepare(ctx, start)
	if err != nil {
		return nil, err
	}
	catalog := newCatalog(l.cfg.DBName, start.Rules, l)
	reader, err := l.hub.Open(ctx, position, catalog.follows)
	if err != nil {
		return nil, err
	}
	l.log.Info("stream started", "workflow", start.Workflow, "database", l.cfg.DBName, "position", position.String())
	st := newStream(ctx, reader, catalog, position, clock)
	st.server = xxhash.Sum64String(l.cfg.DB.Addr)
	server := reader.(interface{ Server() string }).Server() //nolint:errcheck // the hub's readers have it
	l.mu.Lock()
	l.mu.server = server
	l.mu.Unlock()
	st.enter = func(st *stream) (leave func()) { return l.enter(st, start, server) }
	return st, nil
}

// enter gives a stream its readers: those of its workflow, or its own.
func (l *Local) enter(st *stream, start Start, server string) (leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := start.Workflow + "\x00" + server
	r := l.mu.readers[name]
	if r == nil {
		dial := func() readerSource { return &chunkReader{db: l.cfg.DB, server: server, sizes: l.sizes} }
		r = newReaders(l.ctx, cmp.Or(start.Readers, defaultReaders), dial, &l.stats, l.pace, l.log)
		if start.Workflow != "" {
			l.mu.readers[name] = r
		}
	}
	if st.readers = r; start.Workflow != "" {
		st.member.keys, st.member.follows = wanted(start.Rules), st.catalog.has
	}
	r.enter(st.member)
	return func() {
		l.mu.Lock()
		last := r.leave(st.member)
		if last && l.mu.readers[name] == r {
			delete(l.mu.readers, name)
		}
		l.mu.Unlock()
		if last {
			r.wait()
		}
	}
}

// wanted is the key range of a stream's rules; everything if they have several.
func wanted(rules filter.Rules) (keys keyrange.Range) {
	for i := range rules.Rules {
		r, err := keyrange.Parse(rules.Rules[i].KeyRange)
		if err != nil || i > 0 && !r.Equal(keys) {
			return keyrange.Full
		}
		keys = r
	}
	return keys
}

// prepare checks the source and returns where the stream begins, and how far the clocks are apart.
func (l *Local) prepare(ctx context.Context, start Start) (at gtid.Set, c sourceClock, err error) {
	db := l.cfg.DB
	db.Plain = true // so that a server that is not MySQL comes as far as the preflight, which says so
	conn, err := sqlconn.Dial(ctx, db)
	if err != nil {
		return at, c, errs.New(errs.MySQLUnreachable, err, "stream of %s", l.cfg.DBName)
	}
	defer conn.Close()
	missing, err := binlog.Check(ctx, conn)
	if err != nil {
		return at, c, err
	}
	if err := binlog.Preconditions(l.cfg.DB.Addr, missing); err != nil {
		return at, c, err
	}
	c.now, c.ask = l.now, l.askClock
	if c.ahead, err = compareClocks(ctx, conn, l.now); err != nil {
		return at, c, err
	}
	if c.ahead != 0 {
		l.log.Warn("the clocks are apart; times of the source are told by our own", "source", l.cfg.DB.Addr, "source_ahead", c.ahead.Round(time.Millisecond))
	}
	if at, err = gtid.Parse(start.Position); err != nil {
		return at, c, errs.New(errs.BadInput, err, "position of a stream")
	}
	executed, _, err := binlog.Executed(ctx, conn)
	if err != nil {
		return at, c, err
	}
	reached := executed.Contains(at)
	if !reached { // it may be a replica that is a moment behind
		if reached, err = awaitExecuted(ctx, conn, at, timeouts.ReplicaBehind); err != nil {
			return at, c, err
		}
	}
	if !start.FromNow {
		return at, c, nil // the hub refuses what the server does not have
	}
	if !reached {
		return at, c, fmt.Errorf("MySQL at %s is behind: it has not applied %s within %s", l.cfg.DB.Addr, at.Subtract(executed), timeouts.ReplicaBehind)
	}
	if start.Copies {
		if err := l.checkNamed(ctx, start.Rules); err != nil {
			return at, c, err
		}
	}
	at, err = binlog.Begin(ctx, conn)
	return at, c, err
}

// askClock is compareClocks on a connection of its own. have is what they were apart before.
func (l *Local) askClock(ctx context.Context, have time.Duration) (time.Duration, error) {
	conn, err := sqlconn.Dial(ctx, l.cfg.DB)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	ahead, err := compareClocks(ctx, conn, l.now)
	if err == nil && (ahead-have).Abs() >= clockSet {
		l.log.Warn("a clock was set", "source", l.cfg.DB.Addr, "source_ahead", ahead.Round(time.Millisecond), "before", have.Round(time.Millisecond))
	}
	return ahead, err
}

// dial connects for a few questions, when the GTIDs are executed.
func (l *Local) dial(ctx context.Context, after gtid.Set) (*sqlconn.Conn, error) {
	conn, err := sqlconn.Dial(ctx, l.cfg.DB)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	server := l.mu.server
	l.mu.Unlock()
	if err = sameServer(ctx, conn, l.cfg.DB.Addr, server); err == nil {
		err = waitExecuted(ctx, conn, after)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// load reads a definition. Definitions are read when a table first passes and after a DDL, so the connection is not kept.
func (l *Local) load(ctx context.Context, after gtid.Set, db, table string) (loaded, error) {
	conn, err := l.dial(ctx, after)
	if err != nil {
		return loaded{}, err
	}
	defer conn.Close()
	tables, err := loadWithEnd(ctx, conn, db, []string{table})
	if err != nil {
		return loaded{}, err
	}
	if len(tables) != 1 {
		return loaded{}, fmt.Errorf("definition of %s.%s: %d tables have this name", db, table, len(tables))
	}
	return tables[0], nil
}

// loadWithEnd reads definitions, and then the end of the log: a DDL is in the log before anyone sees what it has done.
func loadWithEnd(ctx context.Context, conn *sqlconn.Conn, db string, names []string) ([]loaded, error) {
	defs, err := schema.Load(ctx, conn, db, names)
	if err != nil {
		return nil, err
	}
	end, err := binlog.End(ctx, conn)
	if err != nil {
		return nil, err
	}
	all := make([]loaded, len(defs))
	for i, def := range defs {
		all[i] = loaded{def, end}
	}
	return all, nil
}

// loadFrom implements definitions.
func (l *Local) loadFrom(ctx context.Context, after gtid.Set, db, table string, wanted func(string) bool) ([]loaded, error) {
	conn, err := l.dial(ctx, after)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	res, err := conn.Query(ctx, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE='BASE TABLE' AND TABLE_SCHEMA="+sqlconn.Quote(db))
	if err != nil {
		return nil, fmt.Errorf("tables of %s: %w", db, err)
	}
	var names []string
	for _, row := range res.Rows {
		if name := string(row[0]); name >= table && wanted(name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	slices.Sort(names)
	return loadWithEnd(ctx, conn, db, names[:min(len(names), maxTogether)])
}

// loadCollations reads the numbers by which the binlog names collations.
func (l *Local) loadCollations(ctx context.Context) (map[uint64]collation, error) {
	conn, err := l.dial(ctx, gtid.Set{})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	res, err := conn.Query(ctx, "SELECT c.ID, c.COLLATION_NAME, c.CHARACTER_SET_NAME, s.MAXLEN FROM information_schema.COLLATIONS c "+
		"JOIN information_schema.CHARACTER_SETS s ON s.CHARACTER_SET_NAME = c.CHARACTER_SET_NAME")
	if err != nil {
		return nil, fmt.Errorf("read collations: %w", err)
	}
	all := make(map[uint64]collation, len(res.Rows))
	for _, row := range res.Rows {
		id, err := strconv.ParseUint(string(row[0]), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("collation %s: %w", row[1], err)
		}
		maxLen, err := strconv.ParseInt(string(row[3]), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("collation %s: %w", row[1], err)
		}
		all[id] = collation{name: string(row[1]), charset: string(row[2]), maxLen: maxLen}
	}
	return all, nil
}
