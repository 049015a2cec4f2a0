package sqlconn

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"braid/internal/mysqlwire"
)

// Whatever a server sends, reading it ends in cells or in "malformed", never in a panic or a read past the packet.
func FuzzRow(f *testing.F) {
	f.Add([]byte{1, 'a', 0xfb, 0}, 3)
	f.Add([]byte{0xfe, 255, 255, 255, 255, 255, 255, 255, 255, 'x'}, 1)
	f.Fuzz(func(t *testing.T, p []byte, columns int) {
		cells := make([][]byte, max(0, columns%100))
		(&mysqlwire.Fields{P: p}).Row(cells)
		_ = parseErr(append([]byte{0xff}, p...))
		_ = new(Conn).parseOK(append([]byte{0}, p...), new(Result))
		trackedGTID(p)
	})
}

func TestRowIsReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) []byte {
			if rapid.Bool().Draw(t, "null") {
				return nil
			}
			n := rapid.SampledFrom([]int{0, 1, 250, 251, 252, 1<<16 - 1, 1 << 16}).Draw(t, "length")
			return bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, n)
		}), 1, 6).Draw(t, "row")
		var p []byte
		for _, cell := range want {
			p = appendCell(p, cell)
		}
		got := make([][]byte, len(want))
		if !(&mysqlwire.Fields{P: p}).Row(got) {
			t.Fatal("malformed")
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) || (got[i] == nil) != (want[i] == nil) {
				t.Fatalf("cell %d: %q, want %q", i, got[i], want[i])
			}
		}
	})
}

func appendCell(p, cell []byte) []byte {
	n := len(cell)
	switch {
	case cell == nil:
		return append(p, 0xfb)
	case n < 251:
		p = append(p, byte(n))
	case n < 1<<16:
		p = append(p, 0xfc, byte(n), byte(n>>8))
	default:
		p = append(p, 0xfd, byte(n), byte(n>>8), byte(n>>16))
	}
	return append(p, cell...)
}

func TestQuote(t *testing.T) {
	require.Equal(t, "`a``b`", QuoteIdent("a`b"))
	require.Equal(t, `'it\'s \"\\\" \0\n\r\Z'`, Quote("it's \"\\\" \x00\n\r\x1a"))
	require.Equal(t, Quote(strings.Repeat("é", 3)), "'ééé'")
}

func BenchmarkRow(b *testing.B) {
	p := appendCell(appendCell(appendCell(nil, []byte("4711")), nil), bytes.Repeat([]byte("x"), 300))
	cells := make([][]byte, 3)
	b.ReportAllocs()
	for b.Loop() {
		(&mysqlwire.Fields{P: p}).Row(cells)
	}
}
