package storm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"braid/internal/sqlconn"
)

const (
	// queued is how many units a session may be behind the generator: enough that DDL meets statements made before it.
	queued = 3
	// patience bounds one statement, and the wait for a server that is away.
	patience = 2 * time.Minute
	// attempts of a DDL that waits for locks in vain.
	attempts = 5
	redial   = 50 * time.Millisecond
)

// Counts say what a storm has done.
type Counts struct {
	Units    map[Kind]int   // that came to their end
	Done     int            // statements that succeeded
	Failed   map[uint16]int // statements that failed, by MySQL's error
	Lost     int            // units that a lost connection cut off
	Reunited int            // DDL whose outcome was looked up
}

func (c *Counts) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d statements done", c.Done)
	for _, kind := range slices.Sorted(maps.Keys(c.Units)) {
		fmt.Fprintf(&b, ", %d × %s", c.Units[kind], kind)
	}
	fmt.Fprintf(&b, "; %d units lost; failed:", c.Lost)
	for _, code := range slices.Sorted(maps.Keys(c.Failed)) {
		fmt.Fprintf(&b, " %d×%d", c.Failed[code], code)
	}
	return b.String()
}

// Storm runs the units of a generator in sessions.
type Storm struct {
	// Observe, if set before Run, hears of every statement and what became of it; several sessions call it at once.
	Observe func(session int, sql string, err error)

	gen    *Generator
	db     sqlconn.Config
	counts Counts
	mu     sync.Mutex // guards counts and parts
	parts  map[string]chan struct{}
}

// New returns a storm over a server, reached as an account that may do everything.
func New(cfg Config, db sqlconn.Config) *Storm {
	db.Plain = true // as applications come
	return &Storm{
		gen: NewGenerator(cfg), db: db, parts: map[string]chan struct{}{},
		counts: Counts{Units: map[Kind]int{}, Failed: map[uint16]int{}},
	}
}

// Counts returns what was done so far.
func (s *Storm) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	c.Units, c.Failed = maps.Clone(c.Units), maps.Clone(c.Failed)
	return c
}

// Setup makes the databases and the first tables.
func (s *Storm) Setup(ctx context.Context) error {
	conn, err := sqlconn.Dial(ctx, s.db)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, sql := range append([]string{"SET NAMES utf8mb4, sql_mode=''"}, s.gen.Setup()...) {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("storm: %s: %w", sql, err)
		}
	}
	return nil
}

// job is a unit on its way through a session.
type job struct {
	Unit
	taken chan bool // of a DDL: whether it has taken effect
}

// Run makes units until ctx ends or limit of them are made (0: no limit), at most one per pace, and waits until the sessions have done theirs.
// It may be called again, to go on.
func (s *Storm) Run(ctx context.Context, limit int, pace time.Duration) error {
	settings := s.gen.Settings()
	sessions, failed := errgroup.WithContext(context.WithoutCancel(ctx))
	queues := make([]chan job, len(settings))
	for i := range queues {
		queues[i] = make(chan job, queued)
		sess := &session{storm: s, number: i, settings: settings[i]}
		sessions.Go(func() error { return sess.run(failed, queues[i]) })
	}
	s.feed(ctx, failed, queues, limit, pace)
	for _, q := range queues {
		close(q)
	}
	return sessions.Wait()
}

// feed hands out units; failed ends when a session has given up.
func (s *Storm) feed(ctx, failed context.Context, queues []chan job, limit int, pace time.Duration) {
	tick := time.NewTicker(max(pace, time.Microsecond))
	defer tick.Stop()
	for n := 0; limit == 0 || n < limit; n++ {
		if pace > 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		j := job{Unit: s.gen.Next(), taken: make(chan bool, 1)}
		if j.Kind == Prepare {
			s.mu.Lock()
			s.parts[j.Xid] = make(chan struct{})
			s.mu.Unlock()
		}
		select {
		case queues[j.Session] <- j:
		case <-failed.Done():
			return
		}
		if j.Kind == Definition {
			select {
			case took := <-j.taken:
				s.gen.Done(took)
			case <-failed.Done():
				return
			}
		}
	}
}

// End commits or rolls back the XA transactions that are left.
func (s *Storm) End(ctx context.Context) error {
	conn, err := sqlconn.Dial(ctx, s.db)
	if err != nil {
		return err
	}
	defer conn.Close()
	res, err := conn.Query(ctx, "XA RECOVER CONVERT XID")
	if err != nil {
		return fmt.Errorf("storm: %w", err)
	}
	for i, row := range res.Rows {
		verb := []string{"XA COMMIT ", "XA ROLLBACK "}[i%2]
		if _, err := conn.Exec(ctx, verb+xid(row)); err != nil {
			return fmt.Errorf("storm: %s: %w", xid(row), err)
		}
	}
	return nil
}

// xid reads formatID, gtrid_length, bqual_length and 0x… of both.
func xid(row [][]byte) string {
	var format, g, q int
	if _, err := fmt.Sscan(string(row[0])+" "+string(row[1])+" "+string(row[2]), &format, &g, &q); err != nil {
		panic(fmt.Sprintf("XA RECOVER answers %q: %v", row, err))
	}
	hex := strings.TrimPrefix(string(row[3]), "0x")
	return fmt.Sprintf("X'%s',X'%s',%d", hex[:2*g], hex[2*g:2*g+2*q], format)
}

// session runs units one after the other, in one connection at a time.
type session struct {
	storm    *Storm
	number   int
	settings []string
	conn     *sqlconn.Conn
}

func (s *session) run(ctx context.Context, queue <-chan job) error {
	defer func() {
		if s.conn != nil {
			s.conn.Close()
		}
	}()
	for j := range queue {
		err := s.job(ctx, j)
		if j.Kind == Prepare {
			s.storm.mu.Lock()
			close(s.storm.parts[j.Xid])
			s.storm.mu.Unlock()
		}
		if err != nil {
			return fmt.Errorf("storm: unit %d in session %d: %w", j.Seq, j.Session, err)
		}
	}
	return nil
}

func (s *session) job(ctx context.Context, j job) error {
	if j.Kind == Finish { // its first part may still wait in another session
		s.storm.mu.Lock()
		prepared := s.storm.parts[j.Xid]
		s.storm.mu.Unlock()
		select {
		case <-prepared:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		s.storm.mu.Lock()
		delete(s.storm.parts, j.Xid)
		s.storm.mu.Unlock()
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	if j.Kind == Definition {
		return s.define(ctx, j)
	}
	err := s.statements(ctx, j)
	for j.Kind == Finish && lost(err) { // what is prepared holds its locks until somebody has ended it
		if err = s.connect(ctx); err == nil {
			err = s.statements(ctx, j)
		}
	}
	if lost(err) {
		s.storm.count(func(c *Counts) { c.Lost++ })
		return nil
	}
	if err == nil {
		s.storm.count(func(c *Counts) { c.Units[j.Kind]++ })
	}
	return err
}

// connect waits for the server, which may be away.
func (s *session) connect(ctx context.Context) error {
	if s.conn != nil && !s.conn.Broken() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(redial)
	defer tick.Stop()
	for {
		err := s.dial(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

func (s *session) dial(ctx context.Context) error {
	conn, err := sqlconn.Dial(ctx, s.storm.db)
	if err != nil {
		return err
	}
	for _, sql := range s.settings {
		if _, err := conn.Exec(ctx, sql); err != nil {
			conn.Close()
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	s.conn = conn
	return nil
}

// exec runs one statement. A failure that may happen is counted and returned as its code.
func (s *session) exec(ctx context.Context, sql string) (code uint16, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err = s.conn.Exec(ctx, sql)
	if observe := s.storm.Observe; observe != nil {
		observe(s.number, sql, err)
	}
	code = sqlconn.ErrCode(err)
	switch {
	case err == nil:
		s.storm.count(func(c *Counts) { c.Done++ })
	case ctx.Err() != nil:
		return 0, fmt.Errorf("no answer within %v: %s", patience, sql)
	case away[code]:
		s.conn.Close()
		return code, fmt.Errorf("%w: %w", sqlconn.ErrLost, err)
	case expected[code] != "":
		s.storm.count(func(c *Counts) { c.Failed[code]++ })
		return code, nil
	default:
		return code, fmt.Errorf("%s: %w", sql, err)
	}
	return 0, nil
}

func (s *session) statements(ctx context.Context, j job) error {
	for _, sql := range j.SQL {
		code, err := s.exec(ctx, sql)
		if err != nil {
			return err
		}
		if over[code] || code != 0 && (strings.HasPrefix(sql, "XA") || strings.HasPrefix(sql, "COMMIT")) {
			return s.giveUp(ctx, j)
		}
	}
	return nil
}

// giveUp ends a transaction that the server has rolled back, or wants to.
func (s *session) giveUp(ctx context.Context, j job) error {
	sqls := []string{"ROLLBACK"}
	if strings.HasPrefix(j.SQL[0], "XA START") {
		id := strings.TrimPrefix(j.SQL[0], "XA START ")
		sqls = []string{"XA END " + id, "XA ROLLBACK " + id}
	}
	for _, sql := range sqls {
		if _, err := s.exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// define runs a DDL until it succeeds, fails for good, or has waited for locks too often.
func (s *session) define(ctx context.Context, j job) error {
	var code uint16
	for range attempts {
		var err error
		if code, err = s.definition(ctx, j.SQL); lost(err) {
			return s.lookUp(ctx, j)
		} else if err != nil {
			return err
		}
		if code != errLockWait && code != errDeadlock {
			break
		}
	}
	if code == 0 {
		s.storm.count(func(c *Counts) { c.Units[Definition]++ })
	}
	j.taken <- code == 0
	return nil
}

func (s *session) definition(ctx context.Context, sqls []string) (code uint16, err error) {
	for i, sql := range sqls {
		if sql == "" {
			continue
		}
		c, err := s.exec(ctx, sql)
		if err != nil {
			return c, err
		}
		if i == 1 {
			code = c
		}
	}
	return code, nil
}

// lookUp finds out whether a DDL whose answer was lost has taken effect.
func (s *session) lookUp(ctx context.Context, j job) error {
	if err := s.connect(ctx); err != nil {
		return err
	}
	res, err := s.conn.Query(ctx, fmt.Sprintf("SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION",
		sqlconn.Quote(j.Probe.Table.DB), sqlconn.Quote(j.Probe.Table.Table)))
	if lost(err) {
		return s.lookUp(ctx, j)
	}
	if err != nil {
		return err
	}
	columns := make([]string, 0, len(res.Rows))
	for _, row := range res.Rows {
		columns = append(columns, string(row[0]))
	}
	s.storm.count(func(c *Counts) { c.Lost++; c.Reunited++ })
	j.taken <- slices.Equal(columns, j.Probe.Columns)
	return nil
}

func (s *Storm) count(f func(*Counts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.counts)
}

func lost(err error) bool { return errors.Is(err, sqlconn.ErrLost) }
