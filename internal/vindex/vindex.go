package vindex

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Vindex maps the values of the vindex columns to a keyspace ID.
type Vindex interface {
	// Type is the name under which New knows the function.
	Type() string
	// Unique reports whether equal values have one keyspace ID: all functions of this package are unique.
	Unique() bool
	// Cost orders vindexes for routing; the cheapest that a query can use wins. The values are those of Vitess.
	Cost() int
	// Map returns the keyspace ID of canonical cells, one for each vindex column. A nil cell is NULL. The result is the caller's.
	Map(cells [][]byte) ([]byte, error)
	// Append is Map for hot paths: it appends the keyspace ID to dst, and does not allocate if that has room (16 bytes will do for all
	// but binary).
	Append(dst []byte, cells [][]byte) ([]byte, error)
}

// OfNumbers is a Vindex of one integer whose keyspace IDs have eight bytes, and which maps many integers in less time than one by one.
type OfNumbers interface {
	Vindex
	// MapNumbers puts keyspace IDs, as big-endian numbers, in the place of integers. Those of a signed column are in two's complement.
	MapNumbers(numbers []uint64, unsigned bool)
}

type manyFunction struct {
	function
	many func(numbers []uint64, unsigned bool)
}

// MapNumbers implements OfNumbers.
func (f manyFunction) MapNumbers(numbers []uint64, unsigned bool) { f.many(numbers, unsigned) }

var manyFunctions = map[string]func([]uint64, bool){
	"hash":   func(numbers []uint64, _ bool) { desNullMany(numbers) },
	"xxhash": xxHashMany,
}

type function struct {
	name string
	cost int
	fn   func(dst, cell []byte) ([]byte, error)
}

func (f function) Type() string { return f.name }
func (f function) Unique() bool { return true }
func (f function) Cost() int    { return f.cost }

func (f function) Map(cells [][]byte) ([]byte, error) { return f.Append(make([]byte, 0, 16), cells) }

func (f function) Append(dst []byte, cells [][]byte) ([]byte, error) {
	if len(cells) != 1 {
		return nil, fmt.Errorf("vindex %s: %d columns given, it takes one", f.name, len(cells))
	}
	if cells[0] == nil && f.name != "null" {
		return nil, fmt.Errorf("vindex %s: NULL has no keyspace ID", f.name)
	}
	id, err := f.fn(dst, cells[0])
	if err != nil {
		return nil, fmt.Errorf("vindex %s: %w", f.name, err)
	}
	return id, nil
}

var functions = map[string]function{
	"hash":                 {"hash", 1, hash},
	"numeric":              {"numeric", 0, numeric},
	"reverse_bits":         {"reverse_bits", 1, reverseBits},
	"binary":               {"binary", 0, binaryID},
	"binary_md5":           {"binary_md5", 1, binaryMD5},
	"xxhash":               {"xxhash", 1, xxHash},
	"unicode_loose_md5":    {"unicode_loose_md5", 1, looseMD5},
	"unicode_loose_xxhash": {"unicode_loose_xxhash", 1, looseXXHash},
	"null":                 {"null", 100, null},
}

// Types lists the known vindex types in alphabetical order.
func Types() []string { return slices.Sorted(maps.Keys(functions)) }

// New makes a vindex of a type. None of the functions takes a parameter, so any is an error.
func New(typ string, params map[string]string) (Vindex, error) {
	f, ok := functions[typ]
	if !ok {
		return nil, fmt.Errorf("unknown vindex type %q; known are %s", typ, strings.Join(Types(), ", "))
	}
	if len(params) > 0 {
		return nil, fmt.Errorf("vindex type %s takes no parameters: %s", typ, strings.Join(slices.Sorted(maps.Keys(params)), ", "))
	}
	if many := manyFunctions[typ]; many != nil {
		return manyFunction{f, many}, nil
	}
	return f, nil
}
