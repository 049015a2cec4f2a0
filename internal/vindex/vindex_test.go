package vindex_test

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"braid/internal/vindex"
)

func id(t require.TestingT, typ, cell string) string {
	v, err := vindex.New(typ, nil)
	require.NoError(t, err)
	got, err := v.Map([][]byte{[]byte(cell)})
	require.NoError(t, err, "%s of %q", typ, cell)
	return hex.EncodeToString(got)
}

func TestKnownVectors(t *testing.T) {
	require.Equal(t, "166b40b44aba4bd6", id(t, "hash", "1"))
	require.Equal(t, "06e7ea22ce92708f", id(t, "hash", "2"))
	require.Equal(t, "355550b2150e2451", id(t, "hash", "-1"))
	require.Equal(t, "355550b2150e2451", id(t, "hash", "18446744073709551615"))
	require.Equal(t, "95f8a5e5dd31d900", id(t, "hash", "-9223372036854775808"))
	require.Equal(t, "0000000000000001", id(t, "numeric", "1"))
	require.Equal(t, "8000000000000000", id(t, "reverse_bits", "1"))
	require.Equal(t, "00", id(t, "null", "anything"))
	require.Equal(t, "d41d8cd98f00b204e9800998ecf8427e", id(t, "binary_md5", ""))
}

// testdata/vitess.json was made by Vitess 0.24's own vindexes: numbers at the edges, and texts of many scripts.
func TestVindexesAreThoseOfVitess(t *testing.T) {
	raw, err := os.ReadFile("testdata/vitess.json")
	require.NoError(t, err)
	var vectors []struct{ Type, Value, ID string }
	require.NoError(t, json.Unmarshal(raw, &vectors))
	require.Greater(t, len(vectors), 300)
	for _, v := range vectors {
		require.Equal(t, v.ID, id(t, v.Type, v.Value), "%s of %q", v.Type, v.Value)
	}
}

func TestWhatHasNoKeyspaceID(t *testing.T) {
	for _, c := range []struct{ typ, cell, why string }{
		{"hash", "abc", `vindex hash: "abc" is not a 64-bit integer`},
		{"hash", "", "not a 64-bit integer"},
		{"hash", "1.0", "not a 64-bit integer"},
		{"hash", "18446744073709551616", "not a 64-bit integer"},
		{"hash", "-9223372036854775809", "not a 64-bit integer"},
		{"hash", " 1", "not a 64-bit integer"},
		{"numeric", "-1", "negative"},
		{"reverse_bits", "-1", "negative"},
		{"unicode_loose_md5", "\xff", "not valid UTF-8"},
	} {
		v, err := vindex.New(c.typ, nil)
		require.NoError(t, err)
		_, err = v.Map([][]byte{[]byte(c.cell)})
		require.ErrorContains(t, err, c.why, "%s of %q", c.typ, c.cell)
	}
	for _, typ := range vindex.Types() {
		v, err := vindex.New(typ, map[string]string{})
		require.NoError(t, err)
		require.Equal(t, typ, v.Type())
		require.True(t, v.Unique())
		_, err = v.Map([][]byte{nil})
		if typ == "null" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, "NULL has no keyspace ID")
		}
		_, err = v.Map([][]byte{[]byte("1"), []byte("2")})
		require.ErrorContains(t, err, "2 columns given")
	}
}

func TestUnknownTypesAndParameters(t *testing.T) {
	_, err := vindex.New("lookup", nil)
	require.EqualError(t, err, `unknown vindex type "lookup"; known are binary, binary_md5, hash, null, numeric, reverse_bits, `+
		`unicode_loose_md5, unicode_loose_xxhash, xxhash`)
	_, err = vindex.New("hash", map[string]string{"b": "", "a": ""})
	require.EqualError(t, err, "vindex type hash takes no parameters: a, b")
}

// hash is a permutation of the numbers: different ids never share a keyspace ID, and signed and unsigned text of the same bits do.
func TestHashIsAPermutation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Uint64().Draw(t, "a"), rapid.Uint64().Draw(t, "b")
		x, y := id(t, "hash", strconv.FormatUint(a, 10)), id(t, "hash", strconv.FormatUint(b, 10))
		if (a == b) != (x == y) {
			t.Fatalf("%d is %s, %d is %s", a, x, b, y)
		}
		if a > math.MaxInt64 && id(t, "hash", strconv.FormatInt(int64(a), 10)) != x {
			t.Fatalf("%d and its signed form differ", a)
		}
	})
}

// The result is the caller's: changing it changes nothing else.
func TestBinaryDoesNotAlias(t *testing.T) {
	v, err := vindex.New("binary", nil)
	require.NoError(t, err)
	cell := []byte("abc")
	got, err := v.Map([][]byte{cell})
	require.NoError(t, err)
	got[0] = 'x'
	require.Equal(t, "abc", string(cell))
}

func BenchmarkHash(b *testing.B) {
	v, err := vindex.New("hash", nil)
	require.NoError(b, err)
	cells := [][]byte{[]byte("123456789")}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Map(cells); err != nil {
			b.Fatal(err)
		}
	}
}
