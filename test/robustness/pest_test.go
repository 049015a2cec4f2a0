package robustness

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"braid/internal/mysqld"
	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/test/storm"
)

// pest is somebody who does to a server what a DBA, a backup or another program might, for a moment, and undoes it.
type pest struct {
	name   string
	source bool // on the source; else on the target
	do     func(ctx context.Context, p *pests, conn *sqlconn.Conn) error
}

var plague = []pest{
	{name: "kill connection", do: func(ctx context.Context, p *pests, conn *sqlconn.Conn) error { return p.shoot(ctx, conn, "KILL ", 4) }},
	{name: "kill query", do: func(ctx context.Context, p *pests, conn *sqlconn.Conn) error {
		return p.shoot(ctx, conn, "KILL QUERY ", 40)
	}},
	{name: "read-only", do: func(ctx context.Context, p *pests, conn *sqlconn.Conn) error {
		return p.global(ctx, conn, "super_read_only=ON", "super_read_only=OFF, GLOBAL read_only=OFF")
	}},
	{name: "small packets", do: func(ctx context.Context, p *pests, conn *sqlconn.Conn) error {
		return p.global(ctx, conn, fmt.Sprintf("max_allowed_packet=%d", smallPacket), "max_allowed_packet=DEFAULT")
	}},
	{name: "slow commits", do: slowCommits},
	{name: "slow commits of the source", source: true, do: slowCommits},
	{name: "row locks", do: lockRows},
	{name: "deadlocks", do: deadlock},
}

// smallPacket has room for every row of the storm, in base64 too.
const smallPacket = 256 << 10

// longest is how long a pest stays at most: rows are locked for longer than an applier waits for them.
const longest = 4 * time.Second

// pests are what befalls the servers beside kills, one pest after the other.
type pests struct {
	r              *rand.Rand
	source, target *mysqld.Server
	present        atomic.Bool // a run that prepares its work may end by itself,
	disturb        func()      // and one that has begun to
	count          map[string]int
	away           int // incidents that a server ended, which was away
}

// run lets pests loose until ctx ends.
func (p *pests) run(ctx context.Context) error {
	for p.rest(ctx, time.Duration(p.r.ExpFloat64()*float64(600*time.Millisecond))) {
		one := plague[p.r.IntN(len(plague))]
		p.present.Store(true)
		p.disturb()
		err := p.send(context.WithoutCancel(ctx), one) // what it does, it undoes
		p.present.Store(false)
		if storm.Away(err) || errors.Is(err, sqlconn.ErrLost) || errors.Is(err, errNobody) {
			p.away++
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
		p.count[one.name]++
	}
	return nil
}

// rest waits, and says whether there is time for more.
func (p *pests) rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// stay is how long a pest stays.
func (p *pests) stay(ctx context.Context, most time.Duration) {
	p.rest(ctx, time.Duration(p.r.Float64()*float64(most)))
}

var errNobody = errors.New("the server is away")

func (p *pests) send(ctx context.Context, one pest) error {
	server := p.target
	if one.source {
		server = p.source
	}
	conn, err := sqlconn.Dial(ctx, server.Root())
	if err != nil {
		return errNobody
	}
	defer conn.Close()
	if err := execAll(ctx, conn, "SET SESSION innodb_lock_wait_timeout=1, lock_wait_timeout=1"); err != nil {
		return err
	}
	return one.do(ctx, p, conn)
}

func execAll(ctx context.Context, conn *sqlconn.Conn, statements ...string) error {
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// errNoSession says that the session has ended meanwhile.
const errNoSession = 1094

// shoot kills a few sessions of the replication, or what they run.
func (p *pests) shoot(ctx context.Context, conn *sqlconn.Conn, kill string, shots int) error {
	for range 1 + p.r.IntN(shots) {
		res, err := conn.Query(ctx, "SHOW PROCESSLIST")
		if err != nil {
			return err
		}
		var some []string
		for _, row := range res.Rows { // id, user, host, db, command
			if string(row[1]) == mysqld.AdminUser && (string(row[4]) != "Sleep" || kill == "KILL ") {
				some = append(some, string(row[0]))
			}
		}
		if len(some) == 0 {
			p.rest(ctx, 2*time.Millisecond)
			continue
		}
		if err := execAll(ctx, conn, kill+some[p.r.IntN(len(some))]); err != nil && sqlconn.ErrCode(err) != errNoSession {
			return err
		}
		p.stay(ctx, 50*time.Millisecond)
	}
	return nil
}

// global sets a variable of the server for a moment. A server that is killed comes back without it.
func (p *pests) global(ctx context.Context, conn *sqlconn.Conn, set, undo string) error {
	if err := execAll(ctx, conn, "SET GLOBAL "+set); err != nil {
		return err
	}
	p.stay(ctx, longest/2)
	return execAll(ctx, conn, "SET GLOBAL "+undo)
}

func slowCommits(ctx context.Context, p *pests, conn *sqlconn.Conn) error {
	return p.global(ctx, conn, fmt.Sprintf("binlog_group_commit_sync_delay=%d", 1000+p.r.IntN(40_000)), "binlog_group_commit_sync_delay=0")
}

// tables are some that are replicated, in any order, and how one reads rows of them FOR UPDATE.
func (p *pests) tables(ctx context.Context, conn *sqlconn.Conn) (locks []string, err error) {
	for _, db := range databases {
		defs, err := schema.Load(ctx, conn, db, nil)
		if errors.Is(err, schema.ErrNoTable) {
			return nil, nil // DDL is under way
		}
		if err != nil {
			return nil, err
		}
		for _, def := range defs {
			where := []string{"", " LIMIT 3", " ORDER BY 1 DESC LIMIT 20"}[p.r.IntN(3)]
			locks = append(locks, fmt.Sprintf("SELECT COUNT(*) FROM (SELECT 1 FROM %s.%s%s FOR UPDATE) t", sqlconn.QuoteIdent(db), sqlconn.QuoteIdent(def.Name), where))
		}
	}
	p.r.Shuffle(len(locks), func(i, j int) { locks[i], locks[j] = locks[j], locks[i] })
	return locks, nil
}

// mayFail are errors of somebody who wants locks of tables that others change and drop: no such table, lock wait, deadlock, a definition that has changed.
var mayFail = map[uint16]bool{1146: true, 1205: true, 1213: true, 1412: true, 1054: true, 1049: true}

// lockRows holds rows of one table, or of a few.
func lockRows(ctx context.Context, p *pests, conn *sqlconn.Conn) error {
	locks, err := p.tables(ctx, conn)
	if err != nil {
		return err
	}
	if err := execAll(ctx, conn, "BEGIN"); err != nil {
		return err
	}
	for _, sql := range locks[:min(len(locks), 1+p.r.IntN(3))] {
		if err := execAll(ctx, conn, sql); err != nil && !mayFail[sqlconn.ErrCode(err)] {
			return err
		}
	}
	p.stay(ctx, longest)
	return execAll(ctx, conn, "ROLLBACK")
}

// deadlock takes rows of many tables, in any order, one after the other: sooner or later each waits for the other. The more rows one has locked the less is it
// the one whom the server rolls back.
func deadlock(ctx context.Context, p *pests, conn *sqlconn.Conn) error {
	for range 1 + p.r.IntN(6) {
		locks, err := p.tables(ctx, conn)
		if err != nil {
			return err
		}
		if err := execAll(ctx, conn, "BEGIN"); err != nil {
			return err
		}
		for _, sql := range locks[:min(len(locks), 6)] {
			err := execAll(ctx, conn, sql)
			if sqlconn.ErrCode(err) == 1213 {
				break // it is over
			}
			if err != nil && !mayFail[sqlconn.ErrCode(err)] {
				return err
			}
			p.stay(ctx, 20*time.Millisecond)
		}
		if err := execAll(ctx, conn, "ROLLBACK"); err != nil {
			return err
		}
	}
	return nil
}
