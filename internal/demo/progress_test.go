package demo

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A bar fills its line from the first to the last row, also of a job that turns out to be larger than it was said to be.
func TestBar(t *testing.T) {
	var out bytes.Buffer
	bar := NewProgress(&out, true).Bar("copy")
	bar.Set(0, 0)
	require.Contains(t, out.String(), "copy                       ["+strings.Repeat(" ", barWidth)+"] 0 / 1  ETA unknown")
	bar.Set(30, 20)
	bar.Done()
	drawings := strings.Split(out.String(), "\r")
	require.Equal(t, "        copy                       ["+strings.Repeat("=", barWidth)+"] 30 / 30  \x1b[K\n", drawings[len(drawings)-1])
}
