package vindex

import (
	"crypto/des"
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func desSlow(t testing.TB) func(uint64) uint64 {
	block, err := des.NewCipher(make([]byte, 8))
	require.NoError(t, err)
	return func(n uint64) uint64 {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], n)
		block.Encrypt(b[:], b[:])
		return binary.BigEndian.Uint64(b[:])
	}
}

// TestDES: the tables give what the standard library's DES gives.
func TestDES(t *testing.T) {
	slow := desSlow(t)
	blocks := []uint64{0, 1, ^uint64(0), 1 << 63, 0x0123456789abcdef}
	for i := range 64 {
		blocks = append(blocks, 1<<i, bits.Reverse64(uint64(i)), uint64(i))
	}
	for range 20_001 { // an odd number in all
		blocks = append(blocks, rand.Uint64())
	}
	many := append([]uint64{}, blocks...)
	desNullMany(many)
	for i, n := range blocks {
		want := slow(n)
		require.Equal(t, want, desNull(n), "%x", n)
		require.Equal(t, want, many[i], "%x", n)
	}
}

// TestMapNumbers: many integers at once have the IDs that each has by its text.
func TestMapNumbers(t *testing.T) {
	for _, typ := range []string{"hash", "xxhash"} {
		v, err := New(typ, nil)
		require.NoError(t, err)
		numbers := []uint64{0, 1, 1 << 63, ^uint64(0), 1<<63 - 1}
		for range 1000 {
			numbers = append(numbers, rand.Uint64()>>rand.IntN(64))
		}
		for _, unsigned := range []bool{false, true} {
			mapped := append([]uint64{}, numbers...)
			v.(OfNumbers).MapNumbers(mapped, unsigned)
			for i, n := range numbers {
				text := strconv.AppendUint(nil, n, 10)
				if !unsigned {
					text = strconv.AppendInt(nil, int64(n), 10)
				}
				id, err := v.Map([][]byte{text})
				require.NoError(t, err)
				require.Equal(t, binary.BigEndian.Uint64(id), mapped[i], "%s of %s", typ, text)
			}
		}
	}
}

func BenchmarkDES(b *testing.B) {
	slow := desSlow(b)
	blocks := make([]uint64, 128)
	for i := range blocks {
		blocks[i] = rand.Uint64()
	}
	for name, fn := range map[string]func(){
		"library": func() {
			for i := range blocks {
				blocks[i] = slow(blocks[i])
			}
		},
		"one": func() {
			for i := range blocks {
				blocks[i] = desNull(blocks[i])
			}
		},
		"many": func() { desNullMany(blocks) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				fn()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(blocks)), "ns/block")
		})
	}
}
