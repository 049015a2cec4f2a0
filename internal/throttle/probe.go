package throttle

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"braid/internal/sqlconn"
)

// Probe reads one figure. One goroutine uses it.
type Probe interface {
	Figure() Figure
	Read(ctx context.Context) (float64, error)
	Close()
}

var errNoValue = errors.New("the server does not tell")

// sqlProbe takes its value from the first row of a query.
type sqlProbe struct {
	session
	figure Figure
	sql    string
	value  func(res *sqlconn.Result) (float64, error)
}

func (p *sqlProbe) Figure() Figure { return p.figure }

func (p *sqlProbe) Read(ctx context.Context) (float64, error) {
	res, err := p.query(ctx, p.sql)
	if err != nil {
		return 0, err
	}
	return p.value(res)
}

// cell makes a function that takes a column of the first row.
func cell(column int) func(*sqlconn.Result) (float64, error) {
	return func(res *sqlconn.Result) (float64, error) {
		if len(res.Rows) == 0 || len(res.Rows[0]) <= column || res.Rows[0][column] == nil {
			return 0, errNoValue
		}
		v, err := strconv.ParseFloat(string(res.Rows[0][column]), 64)
		if err != nil {
			return 0, fmt.Errorf("%.64q is no number", res.Rows[0][column])
		}
		return v, nil
	}
}

// Call is a probe whose value somebody else knows.
func Call(figure Figure, read func(ctx context.Context) (float64, error)) Probe {
	return callProbe{figure, read}
}

type callProbe struct {
	figure Figure
	read   func(ctx context.Context) (float64, error)
}

func (p callProbe) Figure() Figure                            { return p.figure }
func (p callProbe) Read(ctx context.Context) (float64, error) { return p.read(ctx) }
func (p callProbe) Close()                                    {}

// HistoryFigure is what HistoryLength reads.
func HistoryFigure(where string, most int64) Figure {
	return Figure{"history list length", where, Count, float64(most)}
}

// LagFigure is what ReplicaLag reads.
func LagFigure(where string, most time.Duration) Figure {
	return Figure{"replication lag", where, Seconds, most.Seconds()}
}

// HistorySQL is what a server with the privilege PROCESS answers with the length of its history list.
const HistorySQL = "SELECT `COUNT` FROM information_schema.INNODB_METRICS WHERE NAME='trx_rseg_history_len'"

// HistoryLength is how many transactions' old row versions a server has yet to purge. The account needs PROCESS.
func HistoryLength(cfg sqlconn.Config, where string, most int64) Probe {
	return &sqlProbe{session{cfg: cfg}, HistoryFigure(where, most), HistorySQL, cell(0)}
}

// ThreadsRunning is how many statements a server runs at this moment.
func ThreadsRunning(cfg sqlconn.Config, where string, most int64) Probe {
	return &sqlProbe{session{cfg: cfg}, Figure{"number of running threads", where, Count, float64(most)},
		"SHOW GLOBAL STATUS LIKE 'Threads\\_running'", cell(1)}
}

// ReplicaLag is how far a replica is behind its source, over all its channels.
func ReplicaLag(cfg sqlconn.Config, where string, most time.Duration) Probe {
	return &sqlProbe{session{cfg: cfg}, LagFigure(where, most), "SHOW REPLICA STATUS", worstLag}
}

// worstLag refuses a NULL: replication has stopped or has lost its source.
func worstLag(res *sqlconn.Result) (float64, error) {
	column := -1
	for i, name := range res.Columns {
		if name == "Seconds_Behind_Source" {
			column = i
		}
	}
	if column < 0 || len(res.Rows) == 0 {
		return 0, errors.New("it is no replica")
	}
	worst := 0.0
	for _, row := range res.Rows {
		v, err := cell(column)(&sqlconn.Result{Rows: [][][]byte{row}})
		if errors.Is(err, errNoValue) {
			return 0, errors.New("replication does not run there")
		}
		if err != nil {
			return 0, err
		}
		worst = max(worst, v)
	}
	return worst, nil
}

// Query is the number that a statement of the user returns.
func Query(cfg sqlconn.Config, where, sql string, most float64) Probe {
	return &sqlProbe{session{cfg: cfg}, Figure{"throttle query", where, Count, most}, sql, cell(0)}
}

// CommitLatency is how long commits take on a server, averaged since the reading before. The server needs performance_schema; while nothing commits,
// it is 0.
func CommitLatency(cfg sqlconn.Config, where string, most time.Duration) Probe {
	return &latencyProbe{session: session{cfg: cfg}, figure: Figure{"commit latency", where, Seconds, most.Seconds()}}
}

type latencyProbe struct {
	session
	figure       Figure
	known        bool
	count, total float64
}

func (p *latencyProbe) Figure() Figure { return p.figure }

func (p *latencyProbe) Read(ctx context.Context) (float64, error) {
	res, err := p.query(ctx, "SELECT COUNT_STAR, SUM_TIMER_WAIT FROM performance_schema.events_statements_summary_global_by_event_name WHERE EVENT_NAME='statement/sql/commit'")
	if err != nil {
		return 0, err
	}
	count, err := cell(0)(res)
	if err != nil {
		return 0, err
	}
	total, err := cell(1)(res)
	if err != nil {
		return 0, err
	}
	return p.step(count, total), nil
}

// step takes the sums so far, the time in picoseconds. Sums that have become smaller belong to a server that was started again.
func (p *latencyProbe) step(count, total float64) float64 {
	n, sum := count-p.count, total-p.total
	known := p.known && n > 0 && sum >= 0
	p.count, p.total, p.known = count, total, true
	if !known {
		return 0
	}
	return sum / n / 1e12
}
