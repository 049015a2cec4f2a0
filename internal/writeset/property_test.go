package writeset

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"braid/internal/rowimage"
	"braid/internal/schema"
)

// planted changes what the tracker is told of a scenario.
type planted struct {
	def    func(schema.Table) schema.Table
	change func(Change) (Change, bool)
	header func(Header) Header
	source bool // the source is said to have the target's keys
}

// dependencies runs the tracker.
func (s *scenario) dependencies(cfg Config, fault planted) []Dependency {
	tr := New(cfg)
	for _, name := range s.names() {
		source, target := *s.tables[name].source, *s.tables[name].target
		if fault.def != nil {
			source, target = fault.def(source), fault.def(target)
		}
		if fault.source {
			source = target
		}
		tr.SetTable(s.tables[name].id, &source, &target)
	}
	var out []Dependency
	for i := range s.txs {
		h := s.txs[i].Header
		if fault.header != nil {
			h = fault.header(h)
		}
		tr.Begin(h)
		for _, c := range s.txs[i].Changes {
			ok := true
			if fault.change != nil {
				c, ok = fault.change(c)
			}
			if ok {
				tr.Row(c.Table, c.Before, c.After, c.Flags)
			}
		}
		d := tr.End()
		d.Preds = slices.Clone(d.Preds)
		out = append(out, d)
	}
	return out
}

// closure tells who comes before whom, directly or through others.
func closure(deps []Dependency) [][]bool {
	before := make([][]bool, len(deps))
	for j, d := range deps {
		before[j] = make([]bool, len(deps))
		for i := range j {
			if uint64(i+1) <= d.Floor || slices.Contains(d.Preds, uint64(i+1)) {
				before[j][i] = true
				for k := range i {
					before[j][k] = before[j][k] || before[i][k]
				}
			}
		}
	}
	return before
}

func (s *scenario) run(st *state, txs ...int) error {
	for _, i := range txs {
		for c := range s.txs[i].Changes {
			if err := s.apply(st, &s.txs[i].Changes[c]); err != nil {
				return fmt.Errorf("transaction %d: %w", i+1, err)
			}
		}
	}
	return nil
}

// unsound looks for independent transactions whose order matters (A3).
func (s *scenario) unsound(deps []Dependency) error {
	before := closure(deps)
	all := make([]int, len(deps))
	for i := range all {
		all[i] = i
	}
	want := &state{rows: map[string][]modelRow{}}
	if err := s.run(want, all...); err != nil {
		return fmt.Errorf("in order: %w", err)
	}
	for j := range deps {
		if err := s.early(before, j, want.String()); err != nil {
			return fmt.Errorf("%d as early as it may run: %w", j+1, err)
		}
		for i := range j {
			if before[j][i] {
				continue
			}
			if err := s.swap(before, i, j); err != nil {
				return fmt.Errorf("%d and %d: %w", i+1, j+1, err)
			}
		}
	}
	return nil
}

// early runs everything with j directly behind what it must follow.
func (s *scenario) early(before [][]bool, j int, want string) error {
	var order, rest []int
	for i := range before {
		if i == j || before[j][i] {
			order = append(order, i)
		} else {
			rest = append(rest, i)
		}
	}
	st := &state{rows: map[string][]modelRow{}}
	if err := s.run(st, append(order, rest...)...); err != nil {
		return err
	}
	if got := st.String(); got != want {
		return fmt.Errorf("final rows are\n%s\ninstead of\n%s", got, want)
	}
	return nil
}

// swap runs i and j after all that either must follow: one after the other both ways, and statement by statement.
func (s *scenario) swap(before [][]bool, i, j int) error {
	var under []int
	for k := range before {
		if before[i][k] || before[j][k] {
			under = append(under, k)
		}
	}
	st := &state{rows: map[string][]modelRow{}}
	if err := s.run(st, under...); err != nil {
		return fmt.Errorf("before both: %w", err)
	}
	first, second, mixed := st.clone(), st.clone(), st.clone()
	if err := s.run(first, i, j); err != nil {
		return err
	}
	if err := s.run(second, j, i); err != nil {
		return fmt.Errorf("the other way round: %w", err)
	}
	a, b := s.txs[i].Changes, s.txs[j].Changes
	for rng := rand.New(rand.NewPCG(uint64(i), uint64(j))); len(a)+len(b) > 0; {
		next := &a
		if len(a) == 0 || len(b) > 0 && rng.IntN(2) == 0 {
			next = &b
		}
		if err := s.apply(mixed, &(*next)[0]); err != nil {
			return fmt.Errorf("statement by statement: %w", err)
		}
		*next = (*next)[1:]
	}
	if x, y, z := first.String(), second.String(), mixed.String(); x != y || x != z {
		return fmt.Errorf("rows differ:\n%s\nor\n%s\nor\n%s", x, y, z)
	}
	return nil
}

// needless looks for direct dependencies between transactions that have no entry of a unique key in common.
func (s *scenario) needless(deps []Dependency) error {
	touched := make([]map[string]bool, len(deps))
	for i := range s.txs {
		touched[i] = map[string]bool{}
		for _, c := range s.txs[i].Changes {
			name, mt := s.byID(c.Table)
			for _, k := range mt.keys {
				for _, row := range []rowimage.Row{c.Before, c.After} {
					if row == nil {
						continue
					}
					if entry, ok := k.entry(row); ok {
						touched[i][name+" "+k.name+" "+entry] = true
					}
				}
			}
		}
	}
	for j, d := range deps {
		if d.Floor > 0 {
			return fmt.Errorf("%d has the floor %d", j+1, d.Floor)
		}
		for _, p := range d.Preds {
			shared := false
			for entry := range touched[j] {
				shared = shared || touched[p-1][entry]
			}
			if !shared {
				return fmt.Errorf("%d follows %d without need", j+1, p)
			}
		}
	}
	return nil
}

// malformed checks WS1.
func malformed(deps []Dependency) error {
	before := closure(deps)
	for j, d := range deps {
		if d.Seq != uint64(j+1) || d.Floor >= d.Seq {
			return fmt.Errorf("%d: %+v", j+1, d)
		}
		for n, p := range d.Preds {
			if p >= d.Seq || p <= d.Floor || n > 0 && p >= d.Preds[n-1] {
				return fmt.Errorf("%d: %+v is not sorted, or not above its floor", j+1, d)
			}
			for _, q := range d.Preds[:n] {
				if before[q-1][p-1] {
					return fmt.Errorf("%d: %d is implied by %d", j+1, p, q)
				}
			}
		}
	}
	return nil
}

func (s *scenario) fatal(t *rapid.T, err error) {
	if err != nil {
		t.Fatalf("%v\n%s", err, s)
	}
}

// TestPlainKeys: with keys that the rows tell, dependencies are sound (A3) and none is needless.
func TestPlainKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScenario(t, plainTables())
		deps := s.dependencies(Config{}, planted{})
		s.fatal(t, malformed(deps))
		s.fatal(t, s.unsound(deps))
		s.fatal(t, s.needless(deps))
	})
}

// TestSound: whatever the tables, the mode and the size of the history, independent transactions commute (A3, WS1, WS2).
func TestSound(t *testing.T) {
	for _, mode := range []Mode{Writeset, LogicalClock, Database, Serial} {
		t.Run(mode.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				s := drawScenario(t, allTables(t))
				cfg := Config{Mode: mode, History: rapid.SampledFrom([]int{0, 2, 6}).Draw(t, "history"), wideRows: rapid.SampledFrom([]int{0, 1, 2}).Draw(t, "wide")}
				deps := s.dependencies(cfg, planted{})
				s.fatal(t, malformed(deps))
				s.fatal(t, s.unsound(deps))
			})
		})
	}
}

// TestPlantedFaults: the properties notice the mistakes that such code is prone to.
func TestPlantedFaults(t *testing.T) {
	sound := func(s *scenario, d []Dependency) error { return s.unsound(d) }
	exact := func(s *scenario, d []Dependency) error { return s.needless(d) }
	without := func(index int) func(schema.Table) schema.Table {
		return func(d schema.Table) schema.Table {
			if len(d.Indexes) > index {
				d.Indexes = slices.Delete(slices.Clone(d.Indexes), index, index+1)
			}
			return d
		}
	}
	for name, f := range map[string]struct {
		planted
		found func(*scenario, []Dependency) error
	}{
		"before image": {planted{change: func(c Change) (Change, bool) { c.Before = nil; return c, c.After != nil }}, sound},
		"after image":  {planted{change: func(c Change) (Change, bool) { c.After = nil; return c, c.Before != nil }}, sound},
		"null":         {planted{change: nullIsEmpty}, exact},
		"prefix":       {planted{def: noPrefix}, sound},
		"case":         {planted{def: collate("utf8mb4_bin")}, sound},
		"padding":      {planted{def: collate("utf8mb4_0900_ai_ci")}, sound},
		"secondary":    {planted{def: without(2)}, sound},
		"all keys":     {planted{def: without(1)}, sound},
	} {
		t.Run(name, func(t *testing.T) {
			gen := rapid.Custom(func(t *rapid.T) *scenario { return drawScenario(t, plainTables()) })
			for seed := range 20_000 {
				s := gen.Example(seed)
				if err := f.found(s, s.dependencies(Config{}, f.planted)); err != nil {
					t.Logf("found with seed %d: %v", seed, err)
					return
				}
			}
			t.Fatal("the planted fault was not found")
		})
	}
}

func nullIsEmpty(c Change) (Change, bool) {
	fill := func(r rowimage.Row) rowimage.Row {
		if r = slices.Clone(r); r != nil {
			for i := range r {
				if r[i] == nil {
					r[i] = []byte("9")
				}
			}
		}
		return r
	}
	c.Before, c.After = fill(c.Before), fill(c.After)
	return c, true
}

func noPrefix(d schema.Table) schema.Table {
	d.Indexes = slices.Clone(d.Indexes)
	for i := range d.Indexes {
		d.Indexes[i].Parts = slices.Clone(d.Indexes[i].Parts)
		for j := range d.Indexes[i].Parts {
			d.Indexes[i].Parts[j].Prefix = 0
		}
	}
	return d
}

func collate(name string) func(schema.Table) schema.Table {
	return func(d schema.Table) schema.Table {
		d.Columns = slices.Clone(d.Columns)
		for i := range d.Columns {
			if d.Columns[i].Collation != "" {
				d.Columns[i].Collation = name
			}
		}
		return d
	}
}

// TestPlantedElsewhere: the same for foreign keys, the flag that says what is in the events, and the clock.
func TestPlantedElsewhere(t *testing.T) {
	for name, f := range map[string]struct {
		planted
		mode Mode
	}{
		"no foreign keys":            {planted{def: func(d schema.Table) schema.Table { d.ForeignKeys = nil; return d }}, Writeset},
		"cascades are in the events": {planted{change: func(c Change) (Change, bool) { c.Flags |= SQLForeignKeys; return c, true }}, Writeset},
		"clock trusted in vain":      {planted{source: true}, Writeset},
		"clock trusted alone":        {planted{source: true}, LogicalClock},
		"clock without rotation":     {planted{header: oneFile}, LogicalClock},
		"clock of a table without key": {planted{header: func(h Header) Header {
			h.Clock.LastCommitted = 0
			return h
		}}, Writeset},
	} {
		t.Run(name, func(t *testing.T) {
			gen := rapid.Custom(func(t *rapid.T) *scenario { return drawScenario(t, allTables(t)) })
			for seed := range 50_000 {
				s := gen.Example(seed)
				if err := s.unsound(s.dependencies(Config{Mode: f.mode}, f.planted)); err != nil {
					t.Logf("found with seed %d: %v", seed, err)
					return
				}
			}
			t.Fatal("the planted fault was not found")
		})
	}
}

func oneFile(h Header) Header {
	h.Clock.Sequence += 100 * int64(h.Clock.File) // as if the numbers went on
	h.Clock.LastCommitted += 100 * int64(h.Clock.File-1)
	if h.Clock.File > 0 {
		h.Clock.File = 1
	}
	return h
}
