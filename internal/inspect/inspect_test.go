package inspect

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/schema"
	"braid/internal/writeset"
)

// TestWaves: numbers are exact within what is remembered, and at most too high beyond.
func TestWaves(t *testing.T) {
	var w waves
	add := func(floor uint64, preds ...uint64) int {
		return w.add(&writeset.Dependency{Seq: w.seq + 1, Floor: floor, Preds: preds}, fmt.Sprint("g", w.seq+1))
	}
	require.Equal(t, 1, add(0))
	require.Equal(t, 1, add(0))
	require.Equal(t, 2, add(0, 1))
	require.Equal(t, 3, add(0, 2, 3))
	require.Equal(t, 1, add(0))
	require.Equal(t, 4, add(5), "after everything up to 5, of which 4 is in wave 3")
	require.Equal(t, "g4", w.at(4).gtid)
	for range keptWaves {
		add(0)
	}
	require.Equal(t, 5, add(0, 1), "the first is forgotten: it counts as everything that is")
	require.Empty(t, w.at(1).gtid)
}

func TestOrder(t *testing.T) {
	trx := func(file string, lc, sn, us int64, id uint32) *Transaction {
		tr := &Transaction{File: file}
		tr.LastCommitted, tr.Sequence, tr.LoggedUS, tr.Session = lc, sn, us, id
		return tr
	}
	list := []*Transaction{
		trx("a", 0, 1, 1_000, 1),
		trx("a", 0, 2, 2_000, 2),         // beside 1
		trx("a", 0, 3, 3_000, 1),         // the session of 1
		trx("a", 2, 4, 4_000, 3),         // the clock
		trx("a", 0, 5, 1_000_000, 4),     // long after all
		trx("a", 0, 9, 1_000_100, 5),     // 6 to 8 are not in the span
		trx("a", 7, 10, 1_000_200, 6),    // after what is before 8: transaction 5
		trx("b", 0, 1, 1_000_300, 7),     // a file begins when all of the one before has committed
		trx("b", 0, 2, 1_000_400, 8),     //
		trx("b", 0, 0, 1_000_500, 9),     // no clock: after all
		trx("b", 2, 3, 1_000_500, 9_000), // 2 is not known any more
	}
	clock, commits := order{}, order{commits: true}
	var byClock, byCommit []uint64
	for _, tr := range list {
		d := clock.add(tr)
		byClock = append(byClock, d.Floor)
		d = commits.add(tr)
		byCommit = append(byCommit, d.Floor)
	}
	require.Equal(t, []uint64{0, 0, 0, 2, 0, 0, 5, 7, 7, 9, 10}, byClock)
	require.Equal(t, []uint64{0, 0, 1, 2, 4, 4, 5, 7, 7, 9, 10}, byCommit)
}

// TestSketch compares with exact counts: bounds hold, and nothing heavy is missed.
func TestSketch(t *testing.T) {
	const size, changes = 64, 50_000
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.3, 1, 100_000)
	s, exact := newSketch(size), map[string]int64{}
	for i := range int64(changes) {
		key := fmt.Sprint(zipf.Uint64())
		exact[key]++
		s.add([]byte(key), 10, i)
	}
	require.Len(t, s.byKey, size)
	for key, c := range s.byKey {
		require.LessOrEqual(t, exact[key], c.weight)
		require.GreaterOrEqual(t, exact[key], c.weight-c.error)
		require.Equal(t, key, c.key)
	}
	for key, n := range exact {
		if n > changes/size {
			require.Contains(t, s.byKey, key)
		}
	}
	top := s.top(5)
	require.Equal(t, "0", top[0].key)
	require.True(t, slices.IsSortedFunc(top, func(a, b *counter) int { return int(b.weight - b.error - a.weight + a.error) }))

	key := []byte("0")
	require.Zero(t, testing.AllocsPerRun(100, func() { s.add(key, 1, 1) }))
}

func TestPatterns(t *testing.T) {
	for list, want := range map[string]string{
		"shop.orders": "shop.orders", "shop.*": "shop.orders shop.items", "*.orders": "shop.orders old.orders", "orders": "shop.orders old.orders",
		"shop.o*,old.?tems": "shop.orders old.items", "s*": "", "shop.[o]rders": "",
	} {
		p, err := ParsePatterns(strings.Split(list, ","))
		require.NoError(t, err)
		var got []string
		for _, name := range []string{"shop.orders", "shop.items", "old.orders", "old.items"} {
			if db, table, _ := strings.Cut(name, "."); p.Match(db, table) {
				got = append(got, name)
				require.True(t, p.MatchDB(db))
			}
		}
		require.Equal(t, want, strings.Join(got, " "), list)
	}
	all, err := ParsePatterns(nil)
	require.NoError(t, err)
	require.True(t, all.Match("any", "thing"))
	for _, bad := range []string{"", ".", "a.", ".b"} {
		_, err := ParsePatterns([]string{bad})
		require.Error(t, err, bad)
	}
}

func TestCells(t *testing.T) {
	text, blob, number := &schema.Column{Name: "c", DataType: "varchar"}, &schema.Column{Name: "b", DataType: "blob"}, &schema.Column{Name: "n", DataType: "int"}
	for want, c := range map[string]Cell{
		`c='it\'s\n\\'`: newCell(text, []byte("it's\n\\")), "c=NULL": newCell(text, nil), "c=''": newCell(text, []byte{}), "c=0xff41": newCell(text, []byte("\xffA")),
		"b=0x4100": newCell(blob, []byte("A\x00")), "b=0x": newCell(blob, []byte{}), "n=-5": newCell(number, []byte("-5")),
		"c='" + strings.Repeat("é", 40) + "…(180 bytes)'": newCell(text, bytes.Repeat([]byte("é"), 90)),
	} {
		require.Equal(t, want, c.String())
	}
	require.Equal(t, "1.5 KiB", Size(1536))
	require.Equal(t, "3.0 MiB", Size(3<<20))
	require.Equal(t, "5 B", Size(5))
	require.Equal(t, "4.0 GiB", Size(4<<30))
}
