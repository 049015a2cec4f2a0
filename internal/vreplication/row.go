package vreplication

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	tabletpb "braid/api/tablet"
	"braid/internal/apply"
	"braid/internal/base/errs"
	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/sqlconn"
	"braid/internal/throttle"
	"braid/internal/topo"
	"braid/internal/writeset"
)

// source is the JSON of the column of that name.
type source struct {
	Keyspace string       `json:"keyspace"`
	Shard    string       `json:"shard"`
	KeyRange string       `json:"key_range,omitempty"` // of the target
	Rules    filter.Rules `json:"rules"`
	OnDDL    string       `json:"on_ddl,omitempty"` // a DDLPolicy

	Workers     int           `json:"workers,omitempty"`      // sessions that apply; 0: apply.DefaultWorkers
	Parallel    writeset.Mode `json:"parallel,omitempty"`     // where dependencies come from
	CommitOrder apply.Order   `json:"commit_order,omitempty"` // once all is copied; a copy is relaxed
	Delay       int64         `json:"delay_ms,omitempty"`     // how long transactions are held back, from their commit on the source

	Throttle   throttle.Limits `json:"throttle,omitzero"` // of the copy; in a cluster. Outside of one the process has them
	WithoutKey WithoutKey      `json:"without_key,omitempty"`

	CopyReaders int  `json:"copy_readers,omitempty"` // sessions of the source that read chunks; 0: the default
	NonEmpty    bool `json:"nonempty,omitempty"`     // tables may have rows of others
}

// MaxCopyReaders is far above where more help: each is a session of the source.
const MaxCopyReaders = 64

func (s *source) name() string { return s.Keyspace + "/" + s.Shard }

func (s *source) delay() time.Duration { return time.Duration(s.Delay) * time.Millisecond }

// row is a stream's row.
type row struct {
	ID           int64
	Workflow     string
	Source       source
	rawSource    string
	Pos          gtid.Set
	StopPos      gtid.Set
	hasStop      bool
	MaxTPS       int64
	MaxLag       int64 // seconds
	Cell         string
	TabletTypes  string
	TimeUpdated  int64
	Timestamp    int64
	State        State
	Message      string
	DBName       string
	RowsCopied   int64
	Transactions int64
	laned        bool // it has lanes; what they say is in Pos, Timestamp and Transactions
}

const rowColumns = "v.id, v.workflow, v.source, v.pos, IFNULL(v.stop_pos,''), v.max_tps, v.max_replication_lag, v.cell, v.tablet_types, v.time_updated, " +
	"v.transaction_timestamp, v.state, IFNULL(v.message,''), v.db_name, v.rows_copied, v.transactions"

// loadRows reads the streams that a condition selects, in order of id. A stream's position is its row's and its lanes' together; one
// statement reads both, so that none moves in between.
func loadRows(ctx context.Context, conn *sqlconn.Conn, where string) ([]*row, error) {
	res, err := conn.Query(ctx, "SELECT "+rowColumns+", l.gtids, l.transactions, l.transaction_timestamp FROM _braid.vreplication v "+
		"LEFT JOIN _braid.lanes l ON l.vrepl_id=v.id WHERE "+where+" ORDER BY v.id, l.lane")
	if err != nil {
		return nil, fmt.Errorf("read streams: %w", err)
	}
	rows := make([]*row, 0, len(res.Rows))
	for _, cells := range res.Rows {
		r, err := parseRow(cells)
		if err != nil {
			return nil, fmt.Errorf("read streams: stream %s: %w", cells[0], err)
		}
		if n := len(rows); n == 0 || rows[n-1].ID != r.ID {
			rows = append(rows, r)
		}
		if err := rows[len(rows)-1].addLane(cells[len(cells)-3:]); err != nil {
			return nil, fmt.Errorf("read streams: lanes of stream %s: %w", cells[0], err)
		}
	}
	return rows, nil
}

// addLane takes what a lane says; nothing when the stream has none.
func (r *row) addLane(c [][]byte) error {
	if c[0] == nil {
		return nil
	}
	set, err := gtid.Parse(string(c[0]))
	if err != nil {
		return err
	}
	transactions, err := strconv.ParseInt(string(c[1]), 10, 64)
	if err != nil {
		return err
	}
	timestamp, err := strconv.ParseInt(string(c[2]), 10, 64)
	if err != nil {
		return err
	}
	r.laned, r.Pos = true, r.Pos.Union(set)
	r.Transactions += transactions
	r.Timestamp = max(r.Timestamp, timestamp)
	return nil
}

func parseRow(c [][]byte) (*row, error) {
	r := &row{Workflow: string(c[1]), rawSource: string(c[2]), hasStop: len(c[4]) > 0, Cell: string(c[7]), TabletTypes: string(c[8]),
		Message: string(c[12]), DBName: string(c[13])}
	for _, n := range []struct {
		to   *int64
		cell []byte
	}{{&r.ID, c[0]}, {&r.MaxTPS, c[5]}, {&r.MaxLag, c[6]}, {&r.TimeUpdated, c[9]}, {&r.Timestamp, c[10]}, {&r.RowsCopied, c[14]}, {&r.Transactions, c[15]}} {
		var err error
		if *n.to, err = strconv.ParseInt(string(n.cell), 10, 64); err != nil {
			return nil, err
		}
	}
	if err := json.Unmarshal(c[2], &r.Source); err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	var err error
	if r.Pos, err = gtid.Parse(string(c[3])); err != nil {
		return nil, fmt.Errorf("pos: %w", err)
	}
	if r.StopPos, err = gtid.Parse(string(c[4])); err != nil {
		return nil, fmt.Errorf("stop_pos: %w", err)
	}
	r.State, err = ParseState(string(c[11]))
	return r, err
}

// definition is everything that a running stream was started with: when it changes, the stream is started again.
func (r *row) definition() string {
	return strings.Join([]string{r.Workflow, r.rawSource, r.StopPos.String(), strconv.FormatInt(r.MaxTPS, 10), r.Cell, r.TabletTypes}, "\x00")
}

// tabletTypes are where the copy reads, in order of preference.
func (r *row) tabletTypes() ([]topo.TabletType, error) {
	return parseTypes(r.TabletTypes)
}

func parseTypes(text string) ([]topo.TabletType, error) {
	if text == "" {
		return []topo.TabletType{topo.Primary}, nil
	}
	var types []topo.TabletType
	for name := range strings.SplitSeq(text, ",") {
		t, err := topo.ParseTabletType(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		types = append(types, t)
	}
	return types, nil
}

// specSource checks a spec and makes the JSON of its row.
func specSource(spec *tabletpb.StreamSpec) (source, string, error) {
	rules, err := filter.Parse(spec.Rules)
	if err != nil {
		return source{}, "", errs.New(errs.BadInput, err, "stream of workflow %s from %s/%s", spec.Workflow, spec.SourceKeyspace, spec.SourceShard)
	}
	if spec.Workflow == "" || spec.SourceKeyspace == "" || spec.SourceShard == "" {
		return source{}, "", errs.New(errs.BadInput, nil, "a stream needs a workflow, a source keyspace and a source shard")
	}
	if _, err := parseTypes(spec.TabletTypes); err != nil {
		return source{}, "", err
	}
	s := source{Keyspace: spec.SourceKeyspace, Shard: spec.SourceShard, KeyRange: spec.KeyRange, Rules: rules, CopyReaders: int(spec.CopyReaders)}
	if len(spec.Throttle) > 0 {
		if err := json.Unmarshal(spec.Throttle, &s.Throttle); err != nil {
			return source{}, "", errs.New(errs.BadInput, err, "bounds of the copy")
		}
		if err := s.Throttle.ValidateBounds(); err != nil {
			return source{}, "", errs.New(errs.BadInput, err, "bounds of the copy")
		}
	}
	raw, err := json.Marshal(s)
	return s, string(raw), err
}

// spec is the row as it was asked for.
func (r *row) spec() *tabletpb.StreamSpec {
	return &tabletpb.StreamSpec{
		Workflow: r.Workflow, SourceKeyspace: r.Source.Keyspace, SourceShard: r.Source.Shard, KeyRange: r.Source.KeyRange,
		Rules: r.Source.Rules.JSON(), Position: r.Pos.String(), StopPosition: r.StopPos.String(), State: r.State.String(),
		TabletTypes: r.TabletTypes, Cell: r.Cell, DbName: r.DBName, CopyReaders: int32(r.Source.CopyReaders),
	}
}
