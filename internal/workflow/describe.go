package workflow

import (
	"fmt"
	"strings"

	"braid/internal/topo"
)

func join(names []string) string { return strings.Join(names, ", ") }

func joinTypes(types []topo.TabletType) string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = string(t)
	}
	return join(names)
}

func joinShards(shards []Shard) string {
	names := make([]string, len(shards))
	for i, s := range shards {
		names[i] = s.String()
	}
	return join(names)
}

// describe says what was asked.
func (v Verb) describe() string {
	text := string(v.Kind) + " is asked for"
	if len(v.Types) > 0 {
		text = joinTypes(v.Types) + " to the " + string(v.Towards()) + ": " + text
	}
	if v.KeepData {
		text += ", data is kept"
	}
	return text
}

// The texts of effects: a sentence without its place, which where gives.

func (e LockKeyspaces) String() string {
	return "lock keyspaces " + join(e.Keyspaces) + ", so that no other operation changes them"
}
func (e CopySchema) String() string {
	text := fmt.Sprintf("create tables %s as %s has them", join(e.Tables), e.From)
	if e.Sharded {
		text += ", without AUTO_INCREMENT (values come from sequences)"
	}
	return text
}
func (e CreateStreams) String() string {
	return "create streams" + fromShards(e.Streams) + ", as far as they are missing"
}
func (e PlaceStreams) String() string {
	return "place streams of " + streamNames(e.Streams) + fromShards(e.Streams) + ", standing still, where their source stands"
}
func (e StartStreams) String() string  { return "start the streams of " + e.Name }
func (e StopStreams) String() string   { return "stop the streams of " + e.Name }
func (e DeleteStreams) String() string { return "delete streams of " + e.Name + ", if there are any" }
func (e DropTables) String() string    { return "drop tables " + join(e.Tables) }
func (e ListStreams) String() string {
	return "check that the streams of " + e.Name + " run with little lag"
}
func (e CheckTablet) String() string { return "check that the primary is alive and serves" }
func (e CompareSchema) String() string {
	return "check that " + join(e.Tables) + " have the same definition on both sides"
}
func (e FindSequences) String() string {
	return "read the VSchema of " + e.Keyspace + " for sequences of " + join(e.Tables)
}
func (e AwaitFence) String() string {
	return "wait until the new routing is obeyed and no write is in progress that it refuses; read the position"
}
func (e WaitForPosition) String() string {
	return "wait until the streams of " + e.Name + " have applied every write"
}
func (e MaxColumn) String() string { return "read the greatest " + e.Table + "." + e.Column }
func (e RaiseSequence) String() string {
	return fmt.Sprintf("raise sequence %s.%s above the greatest value in use", e.Keyspace, e.Sequence)
}
func (e WriteJournal) String() string { return "write the journal: the point of no return" }
func (e ReadJournal) String() string  { return "ask for the journal" }

func (e LockKeyspaces) where() string   { return "" }
func (e CopySchema) where() string      { return joinShards(e.To) }
func (e CreateStreams) where() string   { return e.At.String() }
func (e PlaceStreams) where() string    { return e.At.String() }
func (e StartStreams) where() string    { return e.At.String() }
func (e StopStreams) where() string     { return e.At.String() }
func (e DeleteStreams) where() string   { return e.At.String() }
func (e DropTables) where() string      { return e.At.String() }
func (e ListStreams) where() string     { return e.At.String() }
func (e CheckTablet) where() string     { return e.At.String() }
func (e CompareSchema) where() string   { return "" }
func (e FindSequences) where() string   { return "" }
func (e AwaitFence) where() string      { return e.At.String() }
func (e WaitForPosition) where() string { return e.At.String() }
func (e MaxColumn) where() string       { return e.At.String() }
func (e RaiseSequence) where() string   { return "" }
func (e WriteJournal) where() string    { return e.At.String() }
func (e ReadJournal) where() string     { return e.At.String() }

func fromShards(streams []Stream) string {
	var from []Shard
	for _, st := range streams {
		from = append(from, st.Source)
	}
	if len(from) == 0 {
		return ""
	}
	return " from " + joinShards(from)
}

func streamNames(streams []Stream) string {
	if len(streams) == 0 {
		return "no stream"
	}
	return streams[0].Name
}
