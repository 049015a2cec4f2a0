package gtid_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"braid/internal/gtid"
)

// model is the obvious set: one entry for each transaction.
type model map[gtid.GTID]bool

func (m model) union(o model) model {
	out := maps.Clone(m)
	maps.Copy(out, o)
	return out
}

func (m model) subtract(o model) model {
	out := maps.Clone(m)
	maps.DeleteFunc(out, func(g gtid.GTID, _ bool) bool { return o[g] })
	return out
}

func (m model) contains(o model) bool {
	for g := range o {
		if !m[g] {
			return false
		}
	}
	return true
}

// text lists every transaction on its own, in no order; Parse has to join them.
func (m model) text() string {
	var parts []string
	for g := range m {
		parts = append(parts, g.String())
	}
	return strings.Join(parts, ",")
}

var sources = func() (all []gtid.Source) {
	for _, text := range []string{a, b} {
		uuid, err := gtid.ParseUUID(text)
		if err != nil {
			panic(err)
		}
		for _, tag := range []string{"", "x", "y"} {
			all = append(all, gtid.Source{UUID: uuid, Tag: tag})
		}
	}
	return all
}()

func drawGTID(t *rapid.T) gtid.GTID {
	return gtid.GTID{Source: rapid.SampledFrom(sources).Draw(t, "source"), Number: rapid.Int64Range(1, 12).Draw(t, "number")}
}

func check(t *rapid.T, what string, s gtid.Set, m model) {
	if s.Count() != uint64(len(m)) {
		t.Fatalf("%s: %q has %d transactions, the model %d", what, s, s.Count(), len(m))
	}
	for g := range m {
		if !s.Has(g) || !s.ContainsGTID(g.String()) {
			t.Fatalf("%s: %q lacks %s", what, s, g)
		}
	}
	parsed, err := gtid.Parse(m.text())
	if err != nil {
		t.Fatal(err)
	}
	if parsed.String() != s.String() || !parsed.Equal(s) {
		t.Fatalf("%s: %q, but built from its transactions %q", what, s, parsed)
	}
	if s.Empty() != (len(m) == 0) {
		t.Fatalf("%s: %q empty is %v", what, s, s.Empty())
	}
}

// Sets grow, are copied, joined and cut at random; each must agree with its model all the time, also the copies that others were made of.
func TestSetsAgreeWithTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sets, models := make([]gtid.Set, 3), make([]model, 3)
		for i := range models {
			models[i] = make(model)
		}
		pick := func(label string) int { return rapid.IntRange(0, 2).Draw(t, label) }
		add := func(t *rapid.T) {
			i, g := pick("to"), drawGTID(t)
			sets[i].AddGTID(g)
			models[i] = models[i].union(model{g: true})
		}
		t.Repeat(map[string]func(*rapid.T){
			"add":       add,
			"add again": add,
			"add interval": func(t *rapid.T) {
				i, g := pick("to"), drawGTID(t)
				last := g.Number + rapid.Int64Range(0, 5).Draw(t, "more")
				sets[i].AddInterval(g.Source, gtid.Interval{First: g.Number, Last: last})
				for n := g.Number; n <= last; n++ {
					models[i] = models[i].union(model{{Source: g.Source, Number: n}: true})
				}
			},
			"copy": func(*rapid.T) {
				i, j := pick("from"), pick("to")
				sets[j], models[j] = sets[i], maps.Clone(models[i])
			},
			"union": func(*rapid.T) {
				i, j, k := pick("a"), pick("b"), pick("to")
				sets[k], models[k] = sets[i].Union(sets[j]), models[i].union(models[j])
			},
			"subtract": func(*rapid.T) {
				i, j, k := pick("a"), pick("b"), pick("to")
				sets[k], models[k] = sets[i].Subtract(sets[j]), models[i].subtract(models[j])
			},
			"intersect": func(*rapid.T) {
				i, j, k := pick("a"), pick("b"), pick("to")
				sets[k], models[k] = sets[i].Intersect(sets[j]), models[i].subtract(models[i].subtract(models[j]))
			},
			"": func(t *rapid.T) {
				for i := range sets {
					check(t, fmt.Sprintf("set %d", i), sets[i], models[i])
					for j := range sets {
						if sets[i].Contains(sets[j]) != models[i].contains(models[j]) {
							t.Fatalf("%q contains %q: the model disagrees", sets[i], sets[j])
						}
						if sets[i].Equal(sets[j]) != maps.Equal(models[i], models[j]) {
							t.Fatalf("%q equals %q: the model disagrees", sets[i], sets[j])
						}
					}
				}
			},
		})
	})
}

// Two goroutines may extend copies of one set.
func TestCopiesAreIndependentAcrossGoroutines(t *testing.T) {
	base := gtid.MustParse(a + ":1:3:5:7:9")
	results := make(chan string, 4)
	for g := range 4 {
		go func() {
			s := base
			for n := range int64(100) {
				s.AddGTID(gtid.GTID{Source: sources[0], Number: 11 + 2*n + int64(g)*1000})
			}
			results <- s.String()
		}()
	}
	var got []string
	for range 4 {
		got = append(got, <-results)
	}
	slices.SortFunc(got, func(x, y string) int { return len(x) - len(y) })
	for _, text := range got {
		s := gtid.MustParse(text)
		if s.Count() != 105 {
			t.Errorf("%d transactions, want 105: %s", s.Count(), text)
		}
	}
}
