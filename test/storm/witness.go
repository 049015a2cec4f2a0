package storm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"braid/internal/sqlconn"
)

const (
	witnessDB   = "storm_witness"
	pairs       = 8 // counters in each of the two tables
	witnesses   = 2 // sessions that write
	witnessPace = 20 * time.Millisecond
)

// Witness writes rows that tell whether a state of them ever existed on the source (A2):
//
//   - a counter in one table and its twin in another move together in one transaction: they are equal in every state;
//   - a session writes its next number into one log, commits, and then into another: the second never has a number that the first lacks,
//     although no row and no key ties the two transactions together;
//   - a log has no gaps, and what was seen once stays.
type Witness struct {
	db   sqlconn.Config
	seen *sighting
}

// sighting is what a reader saw in one snapshot.
type sighting struct {
	counters map[string]int64
	logs     [2]map[string]int64 // highest number of each session
}

// NewWitness writes to a server, reached as an account that may do everything.
func NewWitness(db sqlconn.Config) *Witness { return &Witness{db: db} }

// WitnessDB is the database of a witness.
func WitnessDB() string { return witnessDB }

// Setup makes the tables.
func (w *Witness) Setup(ctx context.Context) error {
	sqls := []string{"CREATE DATABASE " + witnessDB}
	for i := range 2 {
		sqls = append(sqls, fmt.Sprintf("CREATE TABLE %s.counter_%d (id INT PRIMARY KEY, n BIGINT NOT NULL)", witnessDB, i),
			fmt.Sprintf("CREATE TABLE %s.log_%d (session INT, n BIGINT, PRIMARY KEY (session, n))", witnessDB, i))
		for id := range pairs {
			sqls = append(sqls, fmt.Sprintf("INSERT INTO %s.counter_%d VALUES (%d, 0)", witnessDB, i, id))
		}
	}
	conn, err := sqlconn.Dial(ctx, w.db)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, sql := range sqls {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("witness: %s: %w", sql, err)
		}
	}
	return nil
}

// Write writes as one session until ctx ends, riding over a server that is away. session is a number below Sessions.
func (w *Witness) Write(ctx context.Context, session int) error {
	tick := time.NewTicker(witnessPace)
	defer tick.Stop()
	var conn *sqlconn.Conn
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	next := int64(0) // 0: to be read
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if conn == nil || conn.Broken() {
			var err error
			if conn, err = sqlconn.Dial(ctx, w.db); err != nil {
				conn, next = nil, 0
				continue // it is away, or ctx has ended
			}
			next = 0
		}
		err := w.step(ctx, conn, session, i, &next)
		if code := sqlconn.ErrCode(err); away[code] || code == errLockWait || code == errDeadlock || errors.Is(err, sqlconn.ErrLost) {
			conn.Close()
			continue
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("witness: %w", err)
		}
	}
}

// Sessions is how many sessions may write.
func (w *Witness) Sessions() int { return witnesses }

func (w *Witness) step(ctx context.Context, conn *sqlconn.Conn, session, i int, next *int64) error {
	if *next == 0 { // one of the two logs may lack the last number: whether its commit came through is not known
		for at := 1; at >= 0; at-- {
			n, err := number64(ctx, conn, fmt.Sprintf("SELECT COALESCE(MAX(n), 0) FROM %s.log_%d WHERE session = %d", witnessDB, at, session))
			if err != nil {
				return err
			}
			if at == 0 && n > *next-1 {
				if _, err := conn.Exec(ctx, fmt.Sprintf("INSERT INTO %s.log_1 VALUES (%d, %d)", witnessDB, session, n)); err != nil {
					return err
				}
			}
			*next = n + 1
		}
	}
	id := (i*7 + session) % pairs
	sqls := []string{"BEGIN", fmt.Sprintf("UPDATE %s.counter_%d SET n = n + 1 WHERE id = %d", witnessDB, i%2, id),
		fmt.Sprintf("UPDATE %s.counter_%d SET n = n + 1 WHERE id = %d", witnessDB, 1-i%2, id), "COMMIT",
		fmt.Sprintf("INSERT INTO %s.log_0 VALUES (%d, %d)", witnessDB, session, *next), fmt.Sprintf("INSERT INTO %s.log_1 VALUES (%d, %d)", witnessDB, session, *next)}
	for _, sql := range sqls {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	*next++
	return nil
}

func number64(ctx context.Context, conn *sqlconn.Conn, sql string) (int64, error) {
	res, err := conn.Query(ctx, sql)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(res.Rows[0][0]), 10, 64)
}

// Check reads one snapshot of another server and returns what no state of the source can have shown. The first call compares with nothing before.
func (w *Witness) Check(ctx context.Context, conn *sqlconn.Conn) ([]string, error) {
	now := &sighting{counters: map[string]int64{}}
	var wrong []string
	if _, err := conn.Exec(ctx, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"); err != nil {
		return nil, err
	}
	res, err := conn.Query(ctx, fmt.Sprintf("SELECT a.id, a.n, b.n FROM %[1]s.counter_0 a LEFT JOIN %[1]s.counter_1 b ON a.id = b.id", witnessDB))
	if err != nil {
		return nil, err
	}
	for _, row := range res.Rows {
		if string(row[1]) != string(row[2]) {
			wrong = append(wrong, fmt.Sprintf("counter %s is %s in one table, %s in the other", row[0], row[1], row[2]))
		}
		now.counters[string(row[0])], _ = strconv.ParseInt(string(row[1]), 10, 64)
	}
	for i := range now.logs {
		now.logs[i] = map[string]int64{}
		res, err := conn.Query(ctx, fmt.Sprintf("SELECT session, MAX(n), COUNT(*) FROM %s.log_%d GROUP BY session", witnessDB, i))
		if err != nil {
			return nil, err
		}
		for _, row := range res.Rows {
			if string(row[1]) != string(row[2]) {
				wrong = append(wrong, fmt.Sprintf("log %d of session %s ends with %s, and has %s rows", i, row[0], row[1], row[2]))
			}
			now.logs[i][string(row[0])], _ = strconv.ParseInt(string(row[1]), 10, 64)
		}
	}
	if _, err := conn.Exec(ctx, "COMMIT"); err != nil {
		return nil, err
	}
	wrong = append(wrong, now.compare(w.seen)...)
	w.seen = now
	slices.Sort(wrong)
	return wrong, nil
}

func (s *sighting) compare(before *sighting) (wrong []string) {
	for session, second := range s.logs[1] {
		if first := s.logs[0][session]; first != second && first != second+1 {
			wrong = append(wrong, fmt.Sprintf("session %s: the first log is at %d, the second at %d", session, first, second))
		}
	}
	for session, first := range s.logs[0] {
		if _, there := s.logs[1][session]; !there && first > 1 {
			wrong = append(wrong, fmt.Sprintf("session %s: the first log is at %d, the second has nothing", session, first))
		}
	}
	if before == nil {
		return wrong
	}
	for id, n := range before.counters {
		if s.counters[id] < n {
			wrong = append(wrong, fmt.Sprintf("counter %s was %d before, and is %d now", id, n, s.counters[id]))
		}
	}
	for i := range before.logs {
		for session, n := range before.logs[i] {
			if s.logs[i][session] < n {
				wrong = append(wrong, fmt.Sprintf("log %d of session %s was at %d before, and is at %d now", i, session, n, s.logs[i][session]))
			}
		}
	}
	return wrong
}

// Progress is how far the counters have come in what was seen last.
func (w *Witness) Progress() (sum int64) {
	if w.seen != nil {
		for _, n := range w.seen.counters {
			sum += n
		}
	}
	return sum
}
