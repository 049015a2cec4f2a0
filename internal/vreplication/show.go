package vreplication

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"braid/internal/gtid"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// View is a stream as its target has it: what is stored, and which sessions work for it. No engine is needed to read it. Times are Unix
// microseconds.
type View struct {
	ID           int64           `json:"id"`
	Workflow     string          `json:"workflow"`
	Source       string          `json:"source"`
	DB           string          `json:"db,omitempty"` // where it writes; empty: its rules say so
	State        string          `json:"state"`
	Message      string          `json:"message,omitempty"`
	Session      int64           `json:"session,omitempty"` // connection that holds the stream's lock; 0: no process runs it
	Position     string          `json:"position"`          // everything that is applied
	LWM          string          `json:"lwm"`               // the part of it below which nothing is missing
	StopPosition string          `json:"stop_position,omitempty"`
	RowsCopied   int64           `json:"rows_copied"`
	RowsTotal    int64           `json:"rows_total"`
	BytesCopied  int64           `json:"bytes_copied"` // of cells
	Rate         *Rate           `json:"copy_rate,omitempty"`
	Tables       []TableView     `json:"tables"`
	Writers      []TableWriter   `json:"writers"` // of tables of which a row has come
	Transactions int64           `json:"transactions"`
	CommittedUS  int64           `json:"source_committed_us"` // when the source committed the last transaction that is applied
	UpdatedUS    int64           `json:"updated_us"`
	MaxTPS       int64           `json:"max_tps,omitempty"`
	Options      json.RawMessage `json:"options"` // source, rules, workers, order
	Lanes        []LaneView      `json:"lanes"`
	Log          []LogView       `json:"log"` // the last entries, latest first
}

// TableView is how far the copy of a table is.
type TableView struct {
	Table       string `json:"table"`
	RowsCopied  int64  `json:"rows_copied"`
	RowsTotal   int64  `json:"rows_total"`
	BytesCopied int64  `json:"bytes_copied"`
	Done        bool   `json:"done"`
}

// Rate is how fast a copy was while somebody looked.
type Rate struct {
	RowsPerSec  float64 `json:"rows_per_s"`
	BytesPerSec float64 `json:"bytes_per_s"`
	ETASeconds  int64   `json:"eta_seconds,omitempty"` // 0: not known
}

// LaneView is a worker: what it has committed above the stream's base, and what its session does now.
type LaneView struct {
	Lane         int    `json:"lane"`
	GTIDs        string `json:"gtids"`
	Transactions int64  `json:"transactions"` // since the base was moved
	CommittedUS  int64  `json:"source_committed_us"`
	Session      int64  `json:"session,omitempty"`
	Command      string `json:"command,omitempty"` // "Sleep" between two packets
	State        string `json:"state,omitempty"`
	Seconds      int64  `json:"seconds,omitempty"`
	Statement    string `json:"statement,omitempty"`

	Worker *WorkerView `json:"worker,omitempty"` // of a stream that a process runs, or has run last
}

// GroupText is the worker's group for people: its transactions, and for how long they are executed; "-" where it has none.
func (l *LaneView) GroupText() string { return l.Worker.does() }

// LogView is an entry of a stream's log.
type LogView struct {
	AtUS    int64  `json:"at_us"`
	Type    string `json:"type"`
	State   string `json:"state"`
	Message string `json:"message"`
}

// logged is how many entries of the log a View has.
const logged = 10

// Show describes the streams of a target: of a workflow, or all. A target without a sidecar database has none.
func Show(ctx context.Context, conn *sqlconn.Conn, workflow string) ([]View, error) {
	if found, err := schema.Exists(ctx, conn, Sidecar, "vreplication"); err != nil || !found {
		return nil, err
	}
	where := "TRUE"
	if workflow != "" {
		where = "v.workflow=" + sqlconn.Quote(workflow)
	}
	rows, err := loadRows(ctx, conn, where)
	if err != nil {
		return nil, err
	}
	views := make([]View, 0, len(rows))
	for _, r := range rows {
		v, err := show(ctx, conn, r)
		if err != nil {
			return nil, fmt.Errorf("stream %d: %w", r.ID, err)
		}
		views = append(views, v)
	}
	return views, nil
}

func show(ctx context.Context, conn *sqlconn.Conn, r *row) (View, error) {
	v := View{ID: r.ID, Workflow: r.Workflow, Source: r.Source.name(), DB: r.DBName, State: r.State.String(), Message: r.Message,
		Position: r.Pos.String(), StopPosition: r.StopPos.String(), Transactions: r.Transactions, CommittedUS: r.Timestamp,
		UpdatedUS: r.TimeUpdated, MaxTPS: r.MaxTPS, Options: json.RawMessage(r.rawSource), Lanes: []LaneView{}, Log: []LogView{}}
	_, copies, err := loadCopies(ctx, conn, r.ID)
	if err != nil {
		return v, err
	}
	v.copies(copies)
	v.RowsCopied = max(v.RowsCopied, r.RowsCopied)
	if v.Writers, err = loadWriters(ctx, conn, r.ID); err != nil {
		return v, err
	}
	if err := v.lanes(ctx, conn); err != nil {
		return v, err
	}
	if err := v.workers(ctx, conn); err != nil {
		return v, err
	}
	return v, v.log(ctx, conn)
}

// Rates looks for so long at the streams that copy, and are run by somebody, and adds how fast they are. What a process knows of its copy is not in the
// database; how far the copy is, is.
func Rates(ctx context.Context, conn *sqlconn.Conn, views []View, period time.Duration) error {
	copies := func(v View) bool { return v.State == Copying.String() && v.Session != 0 }
	if !slices.ContainsFunc(views, copies) {
		return nil
	}
	began := time.Now()
	if !sleep(ctx, period) {
		return context.Cause(ctx)
	}
	for i := range views {
		v := &views[i]
		if !copies(*v) {
			continue
		}
		_, tables, err := loadCopies(ctx, conn, v.ID)
		if err != nil {
			return fmt.Errorf("stream %d: %w", v.ID, err)
		}
		v.rate(tables, time.Since(began))
	}
	return nil
}

// rate brings the view up to date with what is copied now.
func (v *View) rate(tables []*tableCopy, d time.Duration) {
	rows, bytes := v.RowsCopied, v.BytesCopied
	v.copies(tables)
	v.Rate = &Rate{RowsPerSec: float64(v.RowsCopied-rows) / d.Seconds(), BytesPerSec: float64(v.BytesCopied-bytes) / d.Seconds()}
	if left := float64(v.RowsTotal - v.RowsCopied); v.Rate.RowsPerSec > 0 && left > 0 {
		v.Rate.ETASeconds = max(1, int64(left/v.Rate.RowsPerSec))
	}
}

// copies tells how far the tables are.
func (v *View) copies(tables []*tableCopy) {
	v.RowsCopied, v.RowsTotal, v.BytesCopied, v.Tables = 0, 0, 0, []TableView{}
	for _, c := range tables {
		t := TableView{c.name, c.copied, max(c.total, c.copied), c.bytes, c.done}
		v.BytesCopied += t.BytesCopied
		v.RowsCopied += t.RowsCopied
		v.RowsTotal += t.RowsTotal
		v.Tables = append(v.Tables, t)
	}
}

// lanes reads the rows of the lanes, and asks who holds their locks: those are the sessions that work.
func (v *View) lanes(ctx context.Context, conn *sqlconn.Conn) error {
	g := guard{id: v.ID}
	res, err := conn.Query(ctx, fmt.Sprintf("SELECT v.pos, IS_USED_LOCK(%s), l.lane, l.gtids, l.transactions, l.transaction_timestamp, IS_USED_LOCK(CONCAT('%s_lane_', COALESCE(l.lane, ''))) "+
		"FROM _braid.vreplication v LEFT JOIN _braid.lanes l ON l.vrepl_id=v.id WHERE v.id=%d ORDER BY l.lane", sqlconn.Quote(g.stream()), g.stream(), v.ID))
	if err != nil {
		return fmt.Errorf("read lanes: %w", err)
	}
	for _, c := range res.Rows {
		base, err := gtid.Parse(string(c[0]))
		if err != nil {
			return fmt.Errorf("position: %w", err)
		}
		v.LWM, v.Session = base.String(), whole(c[1])
		if c[2] == nil {
			continue
		}
		v.Lanes = append(v.Lanes, LaneView{Lane: int(whole(c[2])), GTIDs: string(c[3]), Transactions: whole(c[4]), CommittedUS: whole(c[5]), Session: whole(c[6])})
	}
	return v.sessions(ctx, conn)
}

// sessions tells what the workers' sessions do. An account without PROCESS sees its own sessions only. information_schema.PROCESSLIST would do,
// but fails with error 3854 while any session runs a statement with four-byte characters under NAMES binary.
func (v *View) sessions(ctx context.Context, conn *sqlconn.Conn) error {
	if len(v.Lanes) == 0 {
		return nil
	}
	res, err := conn.Query(ctx, "SHOW PROCESSLIST")
	if err != nil {
		return fmt.Errorf("sessions of the lanes: %w", err)
	}
	for _, c := range res.Rows { // Id, User, Host, db, Command, Time, State, Info
		for i := range v.Lanes {
			if l := &v.Lanes[i]; l.Session != 0 && l.Session == whole(c[0]) {
				l.Command, l.Seconds, l.State, l.Statement = string(c[4]), whole(c[5]), string(c[6]), validUTF8(string(c[7]))
			}
		}
	}
	return nil
}

func (v *View) log(ctx context.Context, conn *sqlconn.Conn) error {
	res, err := conn.Query(ctx, fmt.Sprintf("SELECT created_at, type, state, message FROM _braid.vreplication_log WHERE vrepl_id=%d AND type<>'%s' ORDER BY id DESC LIMIT %d", v.ID, intentType, logged))
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	for _, c := range res.Rows {
		v.Log = append(v.Log, LogView{whole(c[0]), string(c[1]), string(c[2]), string(c[3])})
	}
	return nil
}

// whole is a number of a result; NULL is 0.
func whole(cell []byte) int64 {
	n, err := strconv.ParseInt(string(cell), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
