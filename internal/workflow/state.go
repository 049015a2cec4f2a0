package workflow

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"braid/internal/throttle"
	"braid/internal/topo"
)

// Type is what a workflow does.
type Type string

// The types.
const (
	Move    Type = "move"    // tables from one keyspace to another
	Reshard Type = "reshard" // shards of one keyspace into others that hold the same key range
)

// Side is one of the two sides of a workflow, as create named them.
type Side string

// The sides.
const (
	Source Side = "source"
	Target Side = "target"
)

// Other is the opposite side.
func (s Side) Other() Side {
	if s == Source {
		return Target
	}
	return Source
}

// Phase is what a workflow is, in one word, for people and programs.
type Phase string

// The phases.
const (
	Creating   Phase = "Creating"
	Copying    Phase = "Copying" // tables are being copied
	Running    Phase = "Running" // streams follow; reads may be switched, writes are not
	Switching  Phase = "Switching"
	Switched   Phase = "Switched" // writes go to the target; the reverse streams follow
	Stopped    Phase = "Stopped"  // an operator stopped the streams
	Failed     Phase = "Error"    // create or a stream needs somebody
	Completing Phase = "Completing"
	Completed  Phase = "Completed"
	Cancelling Phase = "Cancelling"
	Cancelled  Phase = "Cancelled"
)

// Ended reports whether the workflow is over: its name may be used again.
func (p Phase) Ended() bool { return p == Completed || p == Cancelled }

// Spec is what create asked for, with everything that it left open filled in.
type Spec struct {
	Type           Type     `json:"type"`
	SourceKeyspace string   `json:"source_keyspace"`
	TargetKeyspace string   `json:"target_keyspace"`
	SourceShards   []string `json:"source_shards"`
	TargetShards   []string `json:"target_shards"`
	AllTables      bool     `json:"all_tables,omitempty"` // create named none
	// Tables in the order in which they can be created: what a foreign key refers to comes first.
	Tables []Table `json:"tables"`
	// Throttle are the bounds of the copy.
	Throttle throttle.Limits `json:"throttle,omitzero"`
	// TabletTypes are where the copy reads, in order of preference. CopyReaders is how many sessions of each source read chunks; 0: the default.
	TabletTypes []topo.TabletType `json:"tablet_types,omitempty"`
	CopyReaders int               `json:"copy_readers,omitempty"`
	// Aliases are names "keyspace.table" of earlier moves that lead to the source.
	Aliases []string `json:"aliases,omitempty"`
}

// Table is one table of a workflow, and how its rows find their shard on either side; zero where rows need not be told apart.
type Table struct {
	Name     string   `json:"name"`
	OnTarget Sharding `json:"on_target,omitzero"`
	OnSource Sharding `json:"on_source,omitzero"`
}

// Sharding is a vindex type and its columns.
type Sharding struct {
	Vindex  string   `json:"vindex,omitempty"`
	Columns []string `json:"columns,omitempty"`
}

// Shard names a shard.
type Shard struct {
	Keyspace string `json:"keyspace"`
	Name     string `json:"shard"`
}

func (s Shard) String() string { return s.Keyspace + "/" + s.Name }

// State is everything that is known about a workflow. It is stored as JSON and never edited by hand.
type State struct {
	Name  string `json:"name"`
	Spec  Spec   `json:"spec"`
	Phase Phase  `json:"phase"`
	// Served says per tablet type which side serves.
	Served map[topo.TabletType]Side `json:"served"`
	// Stopped: the operator does not want the streams to run.
	Stopped bool `json:"stopped,omitempty"`
	// SchemaDone: the target tables are this workflow's. Created: its streams exist.
	SchemaDone bool `json:"schema_done,omitempty"`
	Created    bool `json:"created,omitempty"`
	// Trouble: a stream was seen in error. After a switch that does not show in the phase: it is the way back that is broken.
	Trouble bool `json:"trouble,omitempty"`

	Verb    *Verb   `json:"verb,omitempty"` // under way
	Cut     *Cut    `json:"cut,omitempty"`  // the cutover under way
	Last    *Switch `json:"last_switch,omitempty"`
	Message string  `json:"message,omitempty"` // the last error, or what it waits for
	History []Entry `json:"history,omitempty"`

	Epoch  uint64 `json:"epoch"`  // of the routing that was written, or stood, when this state was written
	Serial uint64 `json:"serial"` // grows with every accepted verb
	Term   int64  `json:"term"`   // token of the leader that works on it
}

// Entry is one line of the history.
type Entry struct {
	AtUS  int64  `json:"at_us"`
	Stage string `json:"step"`
	Text  string `json:"text"`
}

// maxHistory bounds the document; the first entries (create) and the last ones are the interesting ones, but the last win.
const maxHistory = 60

// Switch is how the last switch or reverse ended.
type Switch struct {
	Verb     VerbKind          `json:"verb"`
	Types    []topo.TabletType `json:"types"`
	Result   string            `json:"result"` // done, undone
	Error    string            `json:"error,omitempty"`
	FencedMS float64           `json:"fenced_ms,omitempty"`
	// Killed is how many transactions the fence had to end.
	Killed int    `json:"killed,omitempty"`
	Epoch  uint64 `json:"epoch,omitempty"`
}

// Results of a switch.
const (
	Done   = "done"
	Undone = "undone"
)

// Cut is a cutover of PRIMARY under way.
type Cut struct {
	From      Side        `json:"from"` // serves writes until the cutover is done
	Streams   []StreamRef `json:"streams,omitempty"`
	Sequences []Sequence  `json:"sequences,omitempty"`
	Epoch     uint64      `json:"epoch,omitempty"`     // of the fence: the name of this attempt
	FencedUS  int64       `json:"fenced_us,omitempty"` // when writes began to be held
	// FromPositions is where the fenced side stood when it had drained, ToPositions where the other stood when it had
	// applied all of that. By "keyspace/shard".
	FromPositions map[string]string `json:"from_positions,omitempty"`
	ToPositions   map[string]string `json:"to_positions,omitempty"`
	Killed        int               `json:"killed,omitempty"` // transactions that the fence had to end
	Error         string            `json:"error,omitempty"`  // why it is undone
}

// StreamRef is one stream where it writes.
type StreamRef struct {
	At     Shard `json:"at"`
	ID     int64 `json:"id"`
	Source Shard `json:"source"`
}

// Sequence gives the values of a table's column on the side that is to serve.
type Sequence struct {
	Table    string `json:"table"`
	Column   string `json:"column"`
	Keyspace string `json:"keyspace"` // of the sequence
	Sequence string `json:"sequence"`
	Max      int64  `json:"max,omitempty"` // greatest value in use
}

// Parse reads a stored state.
func Parse(raw []byte) (State, error) {
	var s State
	if err := json.Unmarshal(raw, &s); err != nil {
		return State{}, fmt.Errorf("workflow state: %w", err)
	}
	return s, nil
}

// JSON is what Parse reads.
func (s State) JSON() []byte {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err) // plain data
	}
	return raw
}

// clone copies what Step changes in place.
func (s State) clone() State {
	s.Served = maps.Clone(s.Served)
	s.History = slices.Clone(s.History)
	if s.Verb != nil {
		v := *s.Verb
		s.Verb = &v
	}
	if s.Cut != nil {
		c := *s.Cut
		c.Sequences = slices.Clone(c.Sequences)
		c.FromPositions, c.ToPositions = maps.Clone(c.FromPositions), maps.Clone(c.ToPositions)
		s.Cut = &c
	}
	return s
}

// New is a workflow that create has not begun yet.
func New(name string, spec Spec, stopped bool) State {
	s := State{Name: name, Spec: spec, Phase: Creating, Stopped: stopped, Served: map[topo.TabletType]Side{}}
	for _, t := range topo.ServingTypes {
		s.Served[t] = Source
	}
	return s
}

// log adds a line, unless it repeats the last one.
func (s *State) log(now time.Time, stage, format string, args ...any) {
	e := Entry{AtUS: now.UnixMicro(), Stage: stage, Text: fmt.Sprintf(format, args...)}
	if n := len(s.History); n > 0 && s.History[n-1].Stage == e.Stage && s.History[n-1].Text == e.Text {
		return
	}
	s.History = append(s.History, e)
	if n := len(s.History) - maxHistory; n > 0 {
		s.History = s.History[n:]
	}
}

// Keyspace is the keyspace of a side.
func (s *State) Keyspace(side Side) string {
	if side == Source {
		return s.Spec.SourceKeyspace
	}
	return s.Spec.TargetKeyspace
}

// Shards are the shards of a side.
func (s *State) Shards(side Side) []Shard {
	names := s.Spec.SourceShards
	if side == Target {
		names = s.Spec.TargetShards
	}
	shards := make([]Shard, len(names))
	for i, n := range names {
		shards[i] = Shard{s.Keyspace(side), n}
	}
	return shards
}

// TableNames are the tables in the order of creation.
func (s *State) TableNames() []string {
	names := make([]string, len(s.Spec.Tables))
	for i, t := range s.Spec.Tables {
		names[i] = t.Name
	}
	return names
}

// Writes is the side that serves writes; the streams of the other side are the active ones.
func (s *State) Writes() Side { return s.Served[topo.Primary] }

// Follower is the side on which the active streams write.
func (s *State) Follower() Side { return s.Writes().Other() }

// StreamName is the name under which the streams that write on a side are known to its tablets.
func (s *State) StreamName(on Side) string {
	if on == Target {
		return s.Name
	}
	return s.Name + ReverseSuffix
}

// ReverseSuffix ends the name of the streams that run back to the source. No workflow may have a name that ends so.
const ReverseSuffix = "_reverse"
