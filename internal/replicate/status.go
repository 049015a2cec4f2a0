package replicate

import (
	"cmp"
	"context"
	"strings"
	"time"

	tabletpb "braid/api/tablet"
	"braid/internal/apply"
	"braid/internal/binlog"
	"braid/internal/gtid"
	"braid/internal/sqlconn"
	"braid/internal/vreplication"
)

// Status is what is seen of a replication at one moment.
type Status struct {
	Time         time.Time `json:"time"`
	Name         string    `json:"name"`
	State        string    `json:"state"`
	Message      string    `json:"message,omitempty"` // what it waits for, or why it ended
	Position     string    `json:"position"`          // GTID set
	RowsCopied   int64     `json:"rows_copied"`
	RowsTotal    int64     `json:"rows_total"`   // an estimate, until a table is copied
	BytesCopied  int64     `json:"bytes_copied"` // of cells
	Tables       []Table   `json:"tables,omitempty"`
	Writers      []Writer  `json:"writers,omitempty"` // of tables of which a row has come
	Transactions int64     `json:"transactions"`      // applied since the stream was made
	TPS          float64   `json:"tps"`               // source transactions a second
	Groups       float64   `json:"groups_per_s"`      // commits of the target that hold them
	Width        float64   `json:"transactions_per_group"`
	Workers      int       `json:"workers"`      // sessions that apply
	Busy         float64   `json:"workers_busy"` // of them, on average over the last seconds
	Queued       int       `json:"queued"`       // received and not committed
	Repeats      int64     `json:"repeats"`      // groups that were sent again after a deadlock or a lock wait, in this run
	Order        string    `json:"commit_order,omitempty"`
	Paused       string    `json:"copy_paused,omitempty"` // why the copy waits
	Bottleneck   string    `json:"copy_bottleneck,omitempty"`
	RowsPerS     float64   `json:"copied_rows_per_s"` // of the copy
	BytesPerS    float64   `json:"copied_bytes_per_s"`
	LagMS        int64     `json:"lag_ms"`                // from the source's commit to ours; -1: unknown
	BehindGTIDs  int64     `json:"behind_gtids"`          // transactions of the source that are not applied; -1: unknown
	ETASeconds   int64     `json:"eta_seconds,omitempty"` // of the copy, or of catching up; 0: unknown or done
	Final        bool      `json:"final,omitempty"`       // the last one
}

// unread is the status while the target cannot be asked: what was read last, and why nothing is known since.
func (s Status) unread(err error) Status {
	s.Time, s.Message, s.LagMS, s.BehindGTIDs = time.Now(), vreplication.Trouble(err), -1, -1
	s.TPS, s.Groups, s.Width, s.Busy, s.RowsPerS, s.BytesPerS, s.ETASeconds = 0, 0, 0, 0, 0, 0, 0
	return s
}

// Table is how far the copy of a table is.
type Table struct {
	Name        string `json:"name"` // on the source
	RowsCopied  int64  `json:"rows_copied"`
	RowsTotal   int64  `json:"rows_total"`
	BytesCopied int64  `json:"bytes_copied"`
	Done        bool   `json:"done"`
}

// Writer is how the changes of a table are written.
type Writer = vreplication.TableWriter

// meter makes rates of counters.
type meter struct {
	samples []sample
}

type sample struct {
	at           time.Time
	rows, bytes  int64
	transactions int64
	behind       int64
	groups       int64
	busy         int
}

// window is the time over which rates are taken: long enough to be read, short enough to be true.
const window = 10 * time.Second

// rates are per second since the oldest sample.
type rates struct {
	rows, bytes, transactions, groups float64
	closing                           float64 // by how much what is behind becomes less
	busy                              float64 // mean
}

func (m *meter) add(s sample) rates {
	if n := len(m.samples); n > 0 && s.groups < m.samples[n-1].groups {
		m.samples = nil // another applier, which counts from zero
	}
	m.samples = append(m.samples, s)
	for len(m.samples) > 2 && s.at.Sub(m.samples[0].at) > window {
		m.samples = m.samples[1:]
	}
	first := m.samples[0]
	seconds := s.at.Sub(first.at).Seconds()
	if seconds <= 0 {
		return rates{busy: float64(s.busy)}
	}
	busy := 0
	for _, s := range m.samples {
		busy += s.busy
	}
	return rates{
		rows: float64(s.rows-first.rows) / seconds, bytes: float64(s.bytes-first.bytes) / seconds, transactions: float64(s.transactions-first.transactions) / seconds,
		groups: float64(s.groups-first.groups) / seconds, closing: float64(first.behind-s.behind) / seconds,
		busy: float64(busy) / float64(len(m.samples)),
	}
}

func (r *replication) status(ctx context.Context, s *tabletpb.StreamStatus) Status {
	now := time.Now()
	out := Status{Time: now, Name: r.cfg.Name, State: s.State, Message: s.Message, Position: s.Position, RowsCopied: s.RowsCopied, RowsTotal: s.RowsTotal,
		Transactions: s.Transactions, LagMS: s.LagMs, BehindGTIDs: -1}
	for _, t := range s.Tables {
		out.Tables = append(out.Tables, Table{t.Table, t.RowsCopied, t.RowsTotal, t.BytesCopied, t.Done})
		out.BytesCopied += t.BytesCopied
	}
	out.Writers = r.engine.Writers(s.Id)
	out.BehindGTIDs = r.behind(ctx, s.Position)
	at := sample{at: now, rows: s.RowsCopied, bytes: out.BytesCopied, transactions: s.Transactions, behind: max(out.BehindGTIDs, 0)}
	if ap, ok := r.engine.Applier(s.Id); ok {
		out.Workers, out.Queued, out.Repeats, out.Order = ap.Workers, ap.Queued, ap.Repeats, ap.Order.String()
		at.groups, at.busy = ap.Groups, busy(ap)
	}
	rates := r.meter.add(at)
	out.RowsPerS, out.BytesPerS, out.TPS, out.Groups, out.Busy = rates.rows, rates.bytes, rates.transactions, rates.groups, rates.busy
	if rates.groups > 0 {
		out.Width = rates.transactions / rates.groups
	}
	if c := r.engine.CopyProgress(s.Id); c != nil {
		out.Paused, out.Bottleneck = c.Paused, c.Bottleneck
		if strings.HasPrefix(out.Message, "copies: ") { // it is all here in fields of its own
			out.Message = ""
		}
	}
	out.ETASeconds = eta(out, rates.rows, rates.closing)
	return out
}

func busy(ap apply.Status) (n int) {
	for i := range ap.Lanes {
		if ap.Lanes[i].Group > 0 {
			n++
		}
	}
	return n
}

// behind counts what the source has executed beyond a position; -1 when that is unknown.
func (r *replication) behind(ctx context.Context, position string) int64 {
	have, err := gtid.Parse(position)
	if err != nil || have.Empty() {
		return -1
	}
	executed, err := r.executed(ctx)
	if err != nil {
		return -1
	}
	return int64(executed.Subtract(have).Count())
}

// executed is what the source has executed. The session may have ended since it was last used.
func (r *replication) executed(ctx context.Context) (gtid.Set, error) {
	ctx, cancel := context.WithTimeout(ctx, lookPeriod)
	defer cancel()
	if r.source.Broken() {
		conn, err := sqlconn.Dial(ctx, r.cfg.Source)
		if err != nil {
			return gtid.Set{}, err
		}
		r.source.Close()
		r.source = conn
	}
	executed, _, err := binlog.Executed(ctx, r.source)
	return executed, err
}

// eta is the time that what is left takes at the present rate; 0 where that cannot be told.
func eta(s Status, rows, closing float64) int64 {
	left, rate := float64(s.RowsTotal-s.RowsCopied), rows
	if left <= 0 {
		left, rate = float64(max(s.BehindGTIDs, 0)), closing
	}
	if left <= 0 || rate <= 0 {
		return 0
	}
	return cmp.Or(int64(left/rate), 1)
}
