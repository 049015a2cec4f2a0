package vindex

import (
	"bytes"
	"crypto/cipher"
	"crypto/des" // Vitess's hash vindex is DES with a known key: a mixing function, not a secret.
	"crypto/md5" // a sharding function of Vitess, not a signature.
	"encoding/binary"
	"fmt"
	hashes "hash"
	"math/bits"
	"strconv"
	"sync"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"vitess.io/vitess/go/mysql/collations/vindex/collate"
)

// nullKey is DES with a key of zeros. A DES block is stateless, so that all callers share it.
var nullKey = func() cipher.Block {
	block, err := des.NewCipher(make([]byte, 8))
	if err != nil {
		panic(err) // the key has the right length
	}
	return block
}()

// number reads the canonical text of an integer. Negative values keep their two's complement, as in Vitess's hash.
func number(cell []byte) (uint64, error) {
	s := string(cell)
	if len(s) > 0 && s[0] == '-' {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%q is not a 64-bit integer", s)
		}
		return uint64(n), nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a 64-bit integer", s)
	}
	return n, nil
}

// unsigned is number without negative values, which Vitess's numeric and reverse_bits refuse.
func unsigned(cell []byte) (uint64, error) {
	if len(cell) > 0 && cell[0] == '-' {
		return 0, fmt.Errorf("%q is negative", cell)
	}
	return number(cell)
}

func hash(cell []byte) ([]byte, error) {
	n, err := number(cell)
	if err != nil {
		return nil, err
	}
	id := bigEndian(n)
	nullKey.Encrypt(id, id)
	return id, nil
}

func numeric(cell []byte) ([]byte, error) {
	n, err := unsigned(cell)
	if err != nil {
		return nil, err
	}
	return bigEndian(n), nil
}

func reverseBits(cell []byte) ([]byte, error) {
	n, err := unsigned(cell)
	if err != nil {
		return nil, err
	}
	return bigEndian(bits.Reverse64(n)), nil
}

func bigEndian(n uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, 8), n)
}

func binaryID(cell []byte) ([]byte, error) { return bytes.Clone(cell), nil }

func binaryMD5(cell []byte) ([]byte, error) {
	sum := md5.Sum(cell) // see the import
	return sum[:], nil
}

// xxHash is little endian in Vitess; that cannot be changed any more.
func xxHash(cell []byte) ([]byte, error) {
	return binary.LittleEndian.AppendUint64(make([]byte, 0, 8), xxhash.Sum64(cell)), nil
}

func null([]byte) ([]byte, error) { return []byte{0}, nil }

// The collation weights come from Vitess's own package: they are those of an old version of x/text that must never change.
var (
	md5Hashers = sync.Pool{New: func() any { return collate.New(md5.New()) }} // see the import
	xxHashers  = sync.Pool{New: func() any { return collate.New(littleEndianXX{xxhash.New()}) }}
)

func looseMD5(cell []byte) ([]byte, error)    { return loose(&md5Hashers, cell) }
func looseXXHash(cell []byte) ([]byte, error) { return loose(&xxHashers, cell) }

func loose(pool *sync.Pool, cell []byte) ([]byte, error) {
	if !utf8.Valid(cell) {
		return nil, fmt.Errorf("%q is not valid UTF-8", cell)
	}
	hasher := pool.Get().(*collate.Hasher)
	defer pool.Put(hasher)
	return hasher.Hash(bytes.TrimRight(cell, " ")), nil
}

// littleEndianXX gives the sum in the order of Vitess (its type is called XXHashBigEndian, but its bytes are little endian).
type littleEndianXX struct{ *xxhash.Digest }

var _ hashes.Hash = littleEndianXX{}

// Sum implements hash.Hash.
func (d littleEndianXX) Sum(b []byte) []byte {
	return binary.LittleEndian.AppendUint64(b, d.Sum64())
}
