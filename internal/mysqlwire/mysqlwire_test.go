package mysqlwire

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestRowsSurvive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cells := rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, 300)).Draw(t, "cells")
		for i := range cells {
			if len(cells[i]) == 7 {
				cells[i] = nil // NULL, which is not the empty string
			}
		}
		got := make([][]byte, len(cells))
		f := Fields{P: AppendRow(nil, cells)}
		require.True(t, f.Row(got))
		for i := range cells {
			require.Equal(t, cells[i] == nil, got[i] == nil)
			require.True(t, bytes.Equal(cells[i], got[i]))
		}
	})
}

func TestIntegersAtTheirBounds(t *testing.T) {
	for _, v := range []uint64{0, 250, 251, 1<<16 - 1, 1 << 16, 1<<24 - 1, 1 << 24, 1<<64 - 1} {
		f := Fields{P: AppendInt(nil, v)}
		require.Equal(t, v, f.Int())
		require.False(t, f.Bad)
		require.Empty(t, f.P)
	}
}

// Any payload is read without a panic, and one that ends too early says so.
func FuzzFields(f *testing.F) {
	f.Add([]byte{0xfe, 1, 2, 3})
	f.Add([]byte{3, 'a', 'b'})
	f.Fuzz(func(t *testing.T, p []byte) {
		r := Fields{P: p}
		for len(r.P) > 0 && !r.Bad {
			before := len(r.P)
			if b := r.Bytes(); r.Bad && b != nil {
				t.Fatal("a field that is not there was read")
			}
			if len(r.P) >= before {
				t.Fatal("nothing was consumed")
			}
		}
		cells := make([][]byte, 4)
		(&Fields{P: p}).Row(cells)
		(&Fields{P: p}).CString()
	})
}
