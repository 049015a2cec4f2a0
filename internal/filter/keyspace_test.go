package filter

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"braid/internal/keyrange"
)

// TestKeyspaceIDs: the parts of Match, and the comparison of IDs as numbers, agree with it.
func TestKeyspaceIDs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bound := rapid.SliceOfN(rapid.Byte(), 0, 9)
		keys := keyrange.Range{Start: bound.Draw(t, "start"), End: bound.Draw(t, "end")}
		id := rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "id")
		if rapid.Bool().Draw(t, "at a bound") {
			id = append(append([]byte{}, keys.Start...), make([]byte, 8)...)[:8]
		}
		p := &Plan{keys: keys}
		require.Equal(t, keys.Contains(id), p.Holds(id))
		n := binary.BigEndian.Uint64(id)
		first, last := p.Numbers()
		require.Equal(t, keys.Contains(id), first <= n && n <= last, "%x in %s", id, keys)
	})
}
