package keyrange_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"braid/internal/keyrange"
)

func TestParseAndString(t *testing.T) {
	for in, want := range map[string]string{
		"-": "-", "0": "-", "": "-", "-80": "-80", "80-": "80-", "40-80": "40-80", "8000-": "8000-", "80-80a0": "80-80a0", "AB-": "ab-",
	} {
		r, err := keyrange.Parse(in)
		require.NoError(t, err, in)
		require.Equal(t, want, r.String(), in)
	}
	for in, why := range map[string]string{
		"80":     `key range "80": want start-end in hex`,
		"8-":     "odd length",
		"-zz":    "invalid byte",
		"80-40":  "start is not before end",
		"80-80":  "start is not before end",
		"1-2-3":  "odd length",
		"20-40-": "invalid byte",
	} {
		_, err := keyrange.Parse(in)
		require.ErrorContains(t, err, why, in)
	}
}

func TestCheckPartition(t *testing.T) {
	for _, good := range [][]string{{"-"}, {"0"}, {"80-", "-80"}, {"-40", "40-80", "80-c0", "c0-"}, {"-80", "80-80a0", "80a0-"}} {
		require.NoError(t, keyrange.CheckPartition(good), "%v", good)
	}
	for _, bad := range []struct {
		shards []string
		why    string
	}{
		{nil, "no shards"},
		{[]string{"-80"}, "no shard holds the key range 80-"},
		{[]string{"80-"}, "no shard holds the key range -80"},
		{[]string{"-40", "80-"}, "no shard holds the key range 40-80"},
		{[]string{"-80", "40-"}, "shards -80 and 40- both hold the key range 40-80"},
		{[]string{"-80", "80-", "0"}, "both hold the key range -80"},
		{[]string{"-80", "-80", "80-"}, "shards -80 and -80 both hold the key range -80"},
		{[]string{"-80", "8000-"}, "no shard holds the key range 80-8000"},
		{[]string{"-80", ""}, "without a name"},
		{[]string{"x"}, `key range "x"`},
	} {
		require.ErrorContains(t, keyrange.CheckPartition(bad.shards), bad.why, "%v", bad.shards)
	}
}

func TestSplit(t *testing.T) {
	for n := 1; n <= 256; n++ {
		shards, err := keyrange.Split(n)
		require.NoError(t, err)
		require.Len(t, shards, n)
		require.NoError(t, keyrange.CheckPartition(shards))
	}
	four, _ := keyrange.Split(4)
	require.Equal(t, []string{"-40", "40-80", "80-c0", "c0-"}, four)
	_, err := keyrange.Split(0)
	require.Error(t, err)
}

// The model: a range is the set of those IDs of a small universe that it holds. The universe has every string of up to three
// bytes over an alphabet of four, and bounds are drawn from the same strings, so that all coincidences occur.
var universe = func() (ids [][]byte) {
	alphabet := []byte{0x00, 0x01, 0x80, 0xff}
	ids = [][]byte{{}}
	for n, from := 0, 0; n < 3; n++ {
		to := len(ids)
		for _, prefix := range ids[from:to] {
			for _, b := range alphabet {
				ids = append(ids, append(bytes.Clone(prefix), b))
			}
		}
		from = to
	}
	return ids
}()

func modelHolds(r keyrange.Range, id []byte) bool {
	return string(id) >= string(r.Start) && (string(r.End) == "" || string(id) < string(r.End))
}

func drawRange(t *rapid.T, label string) keyrange.Range {
	a := universe[rapid.IntRange(0, len(universe)-1).Draw(t, label+" start")]
	b := universe[rapid.IntRange(0, len(universe)-1).Draw(t, label+" end")]
	if len(b) > 0 && bytes.Compare(a, b) >= 0 {
		a, b = b, a
	}
	if len(b) > 0 && bytes.Equal(a, b) {
		b = nil
	}
	r, err := keyrange.Parse(keyrange.Range{Start: a, End: b}.String())
	if err != nil {
		t.Fatalf("%x-%x: %v", a, b, err)
	}
	return r
}

func TestRangesAgreeWithTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawRange(t, "a"), drawRange(t, "b")
		both, overlaps := a.Intersect(b)
		if overlaps != a.Overlaps(b) || overlaps != b.Overlaps(a) {
			t.Fatalf("%s and %s: Intersect says %v, Overlaps %v", a, b, overlaps, a.Overlaps(b))
		}
		shared, inside := false, true
		for _, id := range universe {
			inA, inB := modelHolds(a, id), modelHolds(b, id)
			shared = shared || inA && inB
			inside = inside && (inA || !inB)
			if a.Contains(id) != inA {
				t.Fatalf("%s contains %x: %v", a, id, !inA)
			}
			if overlaps && both.Contains(id) != (inA && inB) {
				t.Fatalf("%s and %s meet in %s, wrong at %x", a, b, both, id)
			}
		}
		if shared != overlaps {
			t.Fatalf("%s and %s: overlap %v, model %v", a, b, overlaps, shared)
		}
		if a.ContainsRange(b) && !inside {
			t.Fatalf("%s does not hold all of %s", a, b)
		}
		if again, err := keyrange.Parse(a.String()); err != nil || !again.Equal(a) {
			t.Fatalf("%s parses as %s, %v", a, again, err)
		}
	})
}

func TestPartitionsAgreeWithTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var shards []string
		var ranges []keyrange.Range
		for range rapid.IntRange(1, 4).Draw(t, "shards") {
			r := drawRange(t, "shard")
			ranges, shards = append(ranges, r), append(shards, r.String())
		}
		exact := true
		for _, id := range universe {
			holders := 0
			for _, r := range ranges {
				if modelHolds(r, id) {
					holders++
				}
			}
			exact = exact && holders == 1
		}
		if err := keyrange.CheckPartition(shards); err == nil && !exact {
			t.Fatalf("%v is no partition", shards)
		} else if err != nil && exact && onlyUniverseBounds(ranges) {
			t.Fatalf("%v is a partition, but: %v", shards, err)
		}
	})
}

// onlyUniverseBounds: a gap or overlap always begins at a bound, and every bound is in the universe, so that the model sees it.
func onlyUniverseBounds(ranges []keyrange.Range) bool {
	for _, r := range ranges {
		if len(r.Start) > 3 || len(r.End) > 3 {
			return false
		}
	}
	return true
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"-80", "80-", "40-80", "-", "0", "", "80", "--", "8-9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := keyrange.Parse(s)
		if err != nil {
			return
		}
		again, err := keyrange.Parse(r.String())
		require.NoError(t, err)
		require.Equal(t, r, again)
	})
}
