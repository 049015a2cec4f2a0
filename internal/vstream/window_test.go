package vstream

import (
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/binlog"
	"braid/internal/gtid"
)

// Windows of a table whose rows are larger than a chunk are opened as far as their rows fit into the budget, once one has shown how large they are.
func TestWindowsOfLargeRows(t *testing.T) {
	m := newWindows()
	end := binlog.Coordinates{}
	for id := range uint64(6) {
		m.request(WindowRequest{ID: id + 1, Table: "t", MaxBytes: 4 << 20})
	}
	joins := func(most int) (joined []uint64) {
		for len(joined) < most {
			switch cmd, closed := m.step(end, gtid.Set{}, true); {
			case closed != nil:
			case cmd == nil:
				return joined
			case cmd.kind == askEnd:
				m.ended(end)
			case cmd.kind == askTurn:
				joined = append(joined, cmd.serial)
			}
		}
		return joined
	}
	first := joins(1)
	m.turn(first[0])
	cmd, _ := m.step(end, gtid.Set{}, true)
	require.Equal(t, isOpen, cmd.kind)
	m.chunkRead(first[0], chunkRead{size: 40 << 20, end: end, done: true})
	require.Len(t, joins(9), 2, "of 40 MiB each, in 96")
}
