package vindex

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	hashes "hash"
	"math"
	"math/bits"
	"strconv"
	"sync"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"vitess.io/vitess/go/mysql/collations/vindex/collate"
)

// number reads the canonical text of an integer. Negative values keep their two's complement, as in Vitess's hash.
func number(cell []byte) (uint64, error) {
	digits, negative := bytes.CutPrefix(cell, []byte{'-'})
	n, ok := parseDigits(digits)
	if negative {
		ok = ok && n <= 1<<63
		n = -n
	}
	if !ok {
		return 0, fmt.Errorf("%q is not a 64-bit integer", cell)
	}
	return n, nil
}

// parseDigits is strconv.ParseUint without the string, which would be allocated for each row.
func parseDigits(digits []byte) (n uint64, ok bool) {
	for _, c := range digits {
		d := uint64(c - '0')
		high, low := bits.Mul64(n, 10)
		if d > 9 || high > 0 || low > math.MaxUint64-d {
			return 0, false
		}
		n = low + d
	}
	return n, len(digits) > 0
}

// unsigned is number without negative values, which Vitess's numeric and reverse_bits refuse.
func unsigned(cell []byte) (uint64, error) {
	if len(cell) > 0 && cell[0] == '-' {
		return 0, fmt.Errorf("%q is negative", cell)
	}
	return number(cell)
}

func hash(dst, cell []byte) ([]byte, error) {
	n, err := number(cell)
	if err != nil {
		return nil, err
	}
	return binary.BigEndian.AppendUint64(dst, desNull(n)), nil
}

func numeric(dst, cell []byte) ([]byte, error) {
	n, err := unsigned(cell)
	if err != nil {
		return nil, err
	}
	return binary.BigEndian.AppendUint64(dst, n), nil
}

func reverseBits(dst, cell []byte) ([]byte, error) {
	n, err := unsigned(cell)
	if err != nil {
		return nil, err
	}
	return binary.BigEndian.AppendUint64(dst, bits.Reverse64(n)), nil
}

func binaryID(dst, cell []byte) ([]byte, error) { return append(dst, cell...), nil }

func binaryMD5(dst, cell []byte) ([]byte, error) {
	sum := md5.Sum(cell)
	return append(dst, sum[:]...), nil
}

// xxHash is little endian in Vitess; that cannot be changed any more.
func xxHash(dst, cell []byte) ([]byte, error) {
	return binary.LittleEndian.AppendUint64(dst, xxhash.Sum64(cell)), nil
}

// xxHashMany is xxHash of the integers' text.
func xxHashMany(numbers []uint64, unsigned bool) {
	var buf [20]byte
	for i, n := range numbers {
		text := buf[:0]
		if unsigned {
			text = strconv.AppendUint(text, n, 10)
		} else {
			text = strconv.AppendInt(text, int64(n), 10)
		}
		numbers[i] = bits.ReverseBytes64(xxhash.Sum64(text))
	}
}

func null(dst, _ []byte) ([]byte, error) { return append(dst, 0), nil }

// The collation weights come from Vitess's own package: they are those of an old version of x/text that must never change.
var (
	md5Hashers = sync.Pool{New: func() any { return collate.New(md5.New()) }}
	xxHashers  = sync.Pool{New: func() any { return collate.New(littleEndianXX{xxhash.New()}) }}
)

func looseMD5(dst, cell []byte) ([]byte, error)    { return loose(&md5Hashers, dst, cell) }
func looseXXHash(dst, cell []byte) ([]byte, error) { return loose(&xxHashers, dst, cell) }

func loose(pool *sync.Pool, dst, cell []byte) ([]byte, error) {
	if !utf8.Valid(cell) {
		return nil, fmt.Errorf("%q is not valid UTF-8", cell)
	}
	hasher := pool.Get().(*collate.Hasher)
	defer pool.Put(hasher)
	return append(dst, hasher.Hash(bytes.TrimRight(cell, " "))...), nil
}

// littleEndianXX gives the sum in the order of Vitess (its type is called XXHashBigEndian, but its bytes are little endian).
type littleEndianXX struct{ *xxhash.Digest }

var _ hashes.Hash = littleEndianXX{}

// Sum implements hash.Hash.
func (d littleEndianXX) Sum(b []byte) []byte {
	return binary.LittleEndian.AppendUint64(b, d.Sum64())
}
