package workflow

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
	"braid/internal/topo"
)

var rewrite = flag.Bool("rewrite", false, "write the output of the scenarios into testdata")

// TestScenarios runs testdata/*.txt: commands, a line of dashes, what comes of them. Commands:
//
//	move|reshard <source> <target> [tables] [stopped]   a new workflow, as create leaves it to the first step
//	ask <verb> [types] [keep-data]        Admit and Accept
//	run                                   the effects of the step succeed; its name and effects are shown
//	run all                               until nothing is under way
//	fail <effect> [permanent] <text>      the effects succeed but this one
//	lag <duration> | streams <state>      what the streams will say from now on
//	killed <n>                            how many transactions each fence will have to end
//	journal found|none|unknown            what the sources will say of their journals
//	crash                                 the state as it was last written is resumed in a new term
//	observe                               how the streams are
//	plan <verb> [types]                   what a dry run tells
//	show | routing | streams-of <side>
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			var out bytes.Buffer
			sc := &scenario{lag: "0s", streams: StreamRunning, journal: "none", routing: newRouting()}
			for _, block := range strings.Split(strings.TrimRight(string(raw), "\n"), "\n\n") {
				commands, _, isTest := strings.Cut(block, "\n----")
				out.WriteString(commands)
				if isTest {
					fmt.Fprintf(&out, "\n----\n%s", sc.run(t, commands))
				}
				out.WriteString("\n\n")
			}
			got := strings.TrimRight(out.String(), "\n") + "\n"
			if *rewrite {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
				return
			}
			require.Equal(t, string(raw), got, "go test ./internal/workflow -rewrite writes the files anew")
		})
	}
}

type scenario struct {
	state, stored State // stored is what a successor would read
	effects       []Effect
	routing       *topo.Routing
	term          int64
	lag, streams  string
	journal       string
	killed        int
	out           strings.Builder
	clock         time.Time
}

func newRouting() *topo.Routing {
	r := &topo.Routing{Epoch: 10, Keyspaces: map[string]topo.KeyspaceRouting{}}
	r.Keyspaces["commerce"] = topo.KeyspaceRouting{topo.Primary: {"0"}}
	r.Keyspaces["customer"] = topo.KeyspaceRouting{topo.Primary: {"-80", "80-"}}
	return r.Clone()
}

func (sc *scenario) say(format string, args ...any) { fmt.Fprintf(&sc.out, format+"\n", args...) }

func (sc *scenario) now() time.Time {
	sc.clock = sc.clock.Add(time.Millisecond)
	return sc.clock
}

func (sc *scenario) run(t *testing.T, commands string) string {
	sc.out.Reset()
	for _, line := range strings.Split(commands, "\n") {
		words := strings.Fields(line)
		if len(words) > 0 && !strings.HasPrefix(words[0], "#") {
			sc.command(t, words[0], words[1:])
		}
	}
	return strings.TrimRight(sc.out.String(), "\n")
}

func (sc *scenario) command(t *testing.T, name string, args []string) {
	switch name {
	case "move", "reshard":
		sc.begin(Type(name), args)
	case "ask":
		sc.ask(parseVerb(args))
	case "run":
		for first := true; sc.state.Verb != nil && (first || len(args) > 0); first = false {
			sc.step("", nil)
		}
	case "fail":
		err := error(errs.New(errs.PeerUnreachable, nil, "%s", strings.Join(args[1:], " ")))
		if args[1] == "permanent" {
			err = errs.New(errs.TableDiffers, nil, "%s", strings.Join(args[2:], " "))
		}
		sc.step(args[0], err)
	case "lag":
		sc.lag = args[0]
	case "streams":
		sc.streams = args[0]
	case "killed":
		n, err := strconv.Atoi(args[0])
		require.NoError(t, err)
		sc.killed = n
	case "journal":
		sc.journal = args[0]
	case "crash":
		sc.term++
		next, effects := Step(sc.stored, sc.now(), Resume{Term: sc.term})
		sc.adopt(next, effects)
	case "observe":
		sc.observe()
	case "plan":
		v, _, _, err := Admit(sc.state, parseVerb(args))
		require.NoError(t, err)
		est := Estimate{Call: 2 * time.Millisecond, Lag: 3 * time.Millisecond, Sequences: []Sequence{{Table: "orders", Column: "id", Keyspace: "commerce", Sequence: "orders_seq"}}}
		sc.say("%s", strings.Join(Plan(sc.state, v, est), "\n"))
	case "show":
		sc.show()
	case "routing":
		sc.say("%s", strings.TrimRight(sc.routing.String(), "\n"))
	case "streams-of":
		for _, st := range sc.state.Streams(Side(args[0])) {
			sc.say("%s: %s → %s keys %q %s", st.Name, st.Source, st.At, st.KeyRange, st.Rules)
		}
	default:
		t.Fatalf("no command %q", name)
	}
}

// begin reads "commerce/0 customer/-80,80- orders,customer".
func (sc *scenario) begin(typ Type, args []string) {
	sk, ss, _ := strings.Cut(args[0], "/")
	tk, ts, _ := strings.Cut(args[1], "/")
	spec := Spec{Type: typ, SourceKeyspace: sk, TargetKeyspace: tk, SourceShards: strings.Split(ss, ","), TargetShards: strings.Split(ts, ",")}
	for _, name := range strings.Split(args[2], ",") {
		table := Table{Name: name}
		if typ == Reshard || len(spec.TargetShards) > 1 {
			table.OnTarget = Sharding{"hash", []string{"id"}}
		}
		if typ == Reshard {
			table.OnSource = table.OnTarget
			sc.routing.Keyspaces[sk] = topo.KeyspaceRouting{topo.Primary: spec.SourceShards}
		}
		spec.Tables = append(spec.Tables, table)
	}
	sc.state = New("w", spec, len(args) > 3)
	next, effects := Step(sc.state, sc.now(), Accept{Verb{Kind: Create}})
	sc.adopt(next, effects)
}

func parseVerb(args []string) Verb {
	v := Verb{Kind: VerbKind(args[0])}
	for _, a := range args[1:] {
		if a == "keep-data" {
			v.KeepData = true
			continue
		}
		for _, typ := range strings.Split(a, ",") {
			v.Types = append(v.Types, topo.TabletType(strings.ToUpper(typ)))
		}
	}
	return v
}

func (sc *scenario) ask(v Verb) {
	v, changed, joined, err := Admit(sc.state, v)
	switch {
	case err != nil:
		sc.say("refused: %s (%s)", err, errs.Of(err).Name)
	case joined:
		sc.say("it is under way already")
	case !changed:
		sc.say("nothing to do")
	default:
		next, effects := Step(sc.state, sc.now(), Accept{v})
		sc.adopt(next, effects)
	}
}

// adopt is the write of a state, with the routing.
func (sc *scenario) adopt(next State, effects []Effect) {
	if !next.Volatile() && !bytes.Equal(next.JSON(), sc.state.JSON()) {
		r := sc.routing.Clone()
		next.Route(r)
		before, after := sc.routing.String(), r.String()
		if before != after {
			r.Epoch++
		}
		next = next.Routed(r.Epoch)
		for name, f := range r.Fences {
			f.Epoch = next.Cut.Epoch
			r.Fences[name] = f
		}
		sc.say("  written: %s%s", where(next), map[bool]string{true: fmt.Sprintf(", with routing epoch %d", r.Epoch)}[before != after])
		sc.routing, sc.stored = r, next
		if next.Verb != nil {
			effects = next.Effects() // the write gave them the epoch
		}
	}
	sc.state, sc.effects = next, effects
}

func where(s State) string {
	if s.Verb == nil {
		return string(s.Phase)
	}
	return string(s.Phase) + " at " + string(s.Verb.Stage)
}

func (sc *scenario) step(failing string, err error) {
	sc.say("%s:", sc.state.Verb.Stage.Work())
	var results []Result
	for _, e := range sc.effects {
		r := Result{Effect: e, Value: sc.value(e)}
		if name := strings.TrimPrefix(fmt.Sprintf("%T", e), "workflow."); name == failing {
			r.Value, r.Err = nil, err
		}
		if _, ok := e.(ReadJournal); ok && sc.journal == "unknown" {
			r.Value, r.Err = nil, errs.New(errs.PeerUnreachable, nil, "the source does not answer")
		}
		sc.say("  %s: %s%s", orTopology(e.where()), e, map[bool]string{true: " — FAILS"}[r.Err != nil])
		results = append(results, r)
	}
	next, effects := Step(sc.state, sc.now(), Ran{Results: results, Began: sc.now()})
	sc.adopt(next, effects)
	if next.Verb == nil && next.Message != "" {
		sc.say("  message: %s", next.Message)
	}
}

func orTopology(w string) string {
	if w == "" {
		return "topology"
	}
	return w
}

func (sc *scenario) value(e Effect) any {
	v := answer(sc.state, e, Estimate{})
	switch e := e.(type) {
	case ListStreams:
		seen := v.([]StreamSeen)
		for i := range seen {
			seen[i].State = sc.streams
			d, err := time.ParseDuration(sc.lag)
			seen[i].LagMS = d.Milliseconds()
			if err != nil {
				seen[i].LagMS = -1
			}
		}
	case AwaitFence:
		return Drained{Position: "position", Killed: sc.killed}
	case ReadJournal:
		if sc.journal == "found" {
			return &Journal{Workflow: e.Name, Epoch: e.Epoch}
		}
	}
	return v
}

func (sc *scenario) observe() {
	var o Observed
	for _, at := range sc.state.Shards(sc.state.Follower()) {
		seen := sc.value(ListStreams{at, sc.state.StreamName(sc.state.Follower())}).([]StreamSeen)
		o.Shards = append(o.Shards, Observation{At: at, Streams: seen})
	}
	if sc.streams == "unreachable" {
		o.Shards[0] = Observation{At: o.Shards[0].At, Err: errors.New("tablet is down")}
	}
	next, effects := Step(sc.state, sc.now(), o)
	sc.adopt(next, effects)
	for _, e := range effects {
		sc.say("  %s: %s", e.where(), e)
	}
	sc.say("  %s %s", sc.state.Phase, sc.state.Message)
}

func (sc *scenario) show() {
	s := &sc.state
	sc.say("%s; RDONLY %s, REPLICA %s, PRIMARY %s", where(*s), s.Served[topo.Rdonly], s.Served[topo.Replica], s.Served[topo.Primary])
	if s.Last != nil {
		sc.say("last switch: %s %s %s %s", s.Last.Verb, joinTypes(s.Last.Types), s.Last.Result, s.Last.Error)
		if s.Last.Killed > 0 {
			sc.say("rolled back: %d transactions; %s", s.Last.Killed, s.History[len(s.History)-4].Text)
		}
	}
	if s.Message != "" {
		sc.say("message: %s", s.Message)
	}
}
