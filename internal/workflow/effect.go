package workflow

// Effect is something to be done outside. The effects that one step returns are independent of each other. Each can be
// repeated (F5). String says what it does, for the plan of a dry run and for logs.
type Effect interface {
	String() string
	// where is the place for the plan; effects that read the same but for it are told in one line.
	where() string
}

// Result is how an effect ended. Value is of the type that the effect's comment names.
type Result struct {
	Effect Effect
	Value  any
	Err    error
}

type (
	// LockKeyspaces takes and holds the locks of the keyspaces until the verb has ended. No value.
	LockKeyspaces struct{ Keyspaces []string }

	// CopySchema creates the tables of From on all of To, less AUTO_INCREMENT where Sharded. No value.
	CopySchema struct {
		From    Shard
		To      []Shard
		Tables  []string
		Sharded bool
	}
	// CreateStreams makes streams; those that exist stay as they are. No value.
	CreateStreams struct {
		At      Shard
		Streams []Stream
	}
	// PlaceStreams makes streams or sets them, so that they exist, stand still, and would go on after their Position. No value.
	PlaceStreams struct {
		At      Shard
		Streams []Stream
	}
	// StartStreams and StopStreams set all streams of a name. No value.
	StartStreams struct {
		At   Shard
		Name string
	}
	StopStreams struct {
		At   Shard
		Name string
	}
	// DeleteStreams removes all streams of a name. No value.
	DeleteStreams struct {
		At   Shard
		Name string
	}
	// DropTables removes tables. No value.
	DropTables struct {
		At     Shard
		Tables []string
	}

	// ListStreams: value []StreamSeen.
	ListStreams struct {
		At   Shard
		Name string
	}
	// CheckTablet asks a shard's primary whether it is alive and serves. No value.
	CheckTablet struct{ At Shard }
	// CompareSchema asks whether both sides have the same tables still: a definition that was changed on one side only would
	// be lost with the switch. All: the workflow is of all tables of the keyspace. No value.
	CompareSchema struct {
		From, To []Shard
		Tables   []string
		All      bool
	}
	// FindSequences reads the VSchema of a keyspace: value []Sequence.
	FindSequences struct {
		Keyspace string
		Tables   []string
	}

	// AwaitFence returns when the tablet obeys the routing of Epoch and no write that it refuses is in progress: value
	// Drained.
	AwaitFence struct {
		At    Shard
		Epoch uint64
	}
	// WaitForPosition returns when the streams (by id) have applied the positions: value string, the position of At.
	WaitForPosition struct {
		At        Shard
		Name      string
		Positions map[int64]string
		TimeoutMS int64
	}
	// MaxColumn: value int64, 0 for an empty table.
	MaxColumn struct {
		At            Shard
		Table, Column string
	}
	// RaiseSequence makes the next value at least AtLeast. No value.
	RaiseSequence struct {
		Keyspace, Sequence string
		AtLeast            int64
	}
	// WriteJournal makes the point of no return durable. No value.
	WriteJournal struct {
		At      Shard
		Journal Journal
	}
	// ReadJournal: value *Journal, nil when there is none.
	ReadJournal struct {
		At    Shard
		Name  string
		Epoch uint64
	}
)

// Drained is a shard on which writes are held.
type Drained struct {
	Position string
	Killed   int // transactions that did not end by themselves and were rolled back
}

// Journal is the point of no return, as the side that was fenced remembers it.
type Journal struct {
	Workflow      string
	Epoch         uint64
	From          Side
	FromPositions map[string]string
	ToPositions   map[string]string
	WrittenUS     int64
}

// StreamSeen is a stream as its tablet reports it.
type StreamSeen struct {
	ID      int64
	Source  Shard
	State   string
	Message string
	LagMS   int64 // -1 unknown
}

// States of a stream, as tablets report them.
const (
	StreamRunning = "Running"
	StreamStopped = "Stopped"
	StreamCopying = "Copying"
	StreamInit    = "Init"
	StreamLagging = "Lagging"
	StreamError   = "Error"
)
