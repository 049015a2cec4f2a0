package vreplication

import (
	"encoding/binary"
	"errors"
	"strings"

	"braid/internal/rowimage"
)

// A key is stored as its number of cells and the cells, so that it can be read without the table's definition.

func encodeKey(key rowimage.Row) []byte {
	return rowimage.AppendRow(binary.AppendUvarint(nil, uint64(len(key))), key)
}

func decodeKey(raw []byte) (rowimage.Row, error) {
	key, rest, err := nextKey(raw)
	if err == nil && len(rest) > 0 {
		err = errBadKey
	}
	return key, err
}

var errBadKey = errors.New("not a stored key")

func nextKey(raw []byte) (key rowimage.Row, rest []byte, err error) {
	n, size := binary.Uvarint(raw)
	if size <= 0 || n > 16 { // MySQL's bound on the columns of a key
		return nil, nil, errBadKey
	}
	return rowimage.DecodeRow(raw[size:], int(n))
}

func encodeContested(keys map[string]bool) []byte {
	var raw []byte
	for key := range keys {
		raw = append(raw, key...)
	}
	return raw
}

func decodeContested(raw []byte) (map[string]bool, error) {
	keys := map[string]bool{}
	for len(raw) > 0 {
		key, rest, err := nextKey(raw)
		if err != nil {
			return nil, err
		}
		keys[string(encodeKey(key))] = true
		raw = rest
	}
	return keys, nil
}

func validUTF8(s string) string { return strings.ToValidUTF8(s, "?") }
