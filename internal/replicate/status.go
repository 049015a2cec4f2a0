package replicate

import (
	"cmp"
	"time"

	tabletpb "braid/api/tablet"
)

// Status is what is seen of a replication at one moment.
type Status struct {
	Time         time.Time `json:"time"`
	Name         string    `json:"name"`
	State        string    `json:"state"`
	Message      string    `json:"message,omitempty"` // what it waits for, or why it ended
	Position     string    `json:"position"`          // GTID set
	RowsCopied   int64     `json:"rows_copied"`
	RowsTotal    int64     `json:"rows_total"` // an estimate, until a table is copied
	Tables       []Table   `json:"tables,omitempty"`
	Transactions int64     `json:"transactions"`          // applied since the stream was made
	TPS          float64   `json:"tps"`                   // source transactions a second
	RowsPerS     float64   `json:"copied_rows_per_s"`     // of the copy
	LagMS        int64     `json:"lag_ms"`                // from the source's commit to ours; -1: unknown
	BehindGTIDs  int64     `json:"behind_gtids"`          // transactions of the source that are not applied; -1: unknown
	ETASeconds   int64     `json:"eta_seconds,omitempty"` // of the copy, or of catching up; 0: unknown or done
	Final        bool      `json:"final,omitempty"`       // the last one
}

// Table is how far the copy of a table is.
type Table struct {
	Name       string `json:"name"` // on the source
	RowsCopied int64  `json:"rows_copied"`
	RowsTotal  int64  `json:"rows_total"`
	Done       bool   `json:"done"`
}

// meter makes rates of counters.
type meter struct {
	samples []sample
}

type sample struct {
	at           time.Time
	rows         int64
	transactions int64
	behind       int64
}

// window is the time over which rates are taken: long enough to be read, short enough to be true.
const window = 10 * time.Second

// rates are per second since the oldest sample.
func (m *meter) rates(s sample) (rows, transactions, closing float64) {
	m.samples = append(m.samples, s)
	for len(m.samples) > 2 && s.at.Sub(m.samples[0].at) > window {
		m.samples = m.samples[1:]
	}
	first := m.samples[0]
	seconds := s.at.Sub(first.at).Seconds()
	if seconds <= 0 {
		return 0, 0, 0
	}
	return float64(s.rows-first.rows) / seconds, float64(s.transactions-first.transactions) / seconds, float64(first.behind-s.behind) / seconds
}

func (r *replication) status(s *tabletpb.StreamStatus) Status {
	now := time.Now()
	out := Status{Time: now, Name: r.cfg.Name, State: s.State, Message: s.Message, Position: s.Position, RowsCopied: s.RowsCopied, RowsTotal: s.RowsTotal,
		Transactions: s.Transactions, LagMS: s.LagMs, BehindGTIDs: -1}
	for _, t := range s.Tables {
		out.Tables = append(out.Tables, Table{t.Table, t.RowsCopied, t.RowsTotal, t.Done})
	}
	rows, tps, closing := r.meter.rates(sample{now, s.RowsCopied, s.Transactions, max(out.BehindGTIDs, 0)})
	out.RowsPerS, out.TPS = rows, tps
	out.ETASeconds = eta(out, rows, closing)
	return out
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
