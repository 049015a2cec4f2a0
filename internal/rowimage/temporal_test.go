package rowimage

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Tables made before MySQL 5.6.4 keep the old temporal types until they are rebuilt; no server of today makes one.
func TestOldTemporalTypes(t *testing.T) {
	for _, c := range []struct {
		typ  byte
		raw  []byte
		want string
	}{
		{typeDatetime, binary.LittleEndian.AppendUint64(nil, 20240229123456), "2024-02-29 12:34:56"},
		{typeDatetime, make([]byte, 8), "0000-00-00 00:00:00"},
		{typeTimestamp, binary.LittleEndian.AppendUint32(nil, 1709210096), "2024-02-29 12:34:56"},
		{typeTimestamp, make([]byte, 4), "0000-00-00 00:00:00"},
		{typeTime, []byte{0x40, 0xe2, 0x01}, "12:34:56"},  // 123456
		{typeTime, []byte{0xc0, 0x1d, 0xfe}, "-12:34:56"}, // -123456
		{typeTime, []byte{0xa7, 0xf5, 0x7f}, "838:59:59"},
	} {
		col := column{typ: c.typ}
		require.Equal(t, c.want, string(col.appendTime(nil, c.raw)))
	}
}

func TestEpochAgreesWithTheTimePackage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seconds := rapid.Uint32Min(1).Draw(t, "seconds")
		want := time.Unix(int64(seconds), 0).UTC().Format(time.DateTime)
		if got := string(appendEpoch(nil, uint64(seconds))); got != want {
			t.Fatalf("%d is %s, not %s", seconds, got, want)
		}
	})
}
