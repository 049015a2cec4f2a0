package vreplication

import (
	"encoding/binary"
	"errors"
	"strings"

	"braid/internal/rowimage"
)

// A key, or a row, is stored as its number of cells and the cells, so that it can be read without the table's definition.

func encodeKey(key rowimage.Row) []byte {
	return rowimage.AppendRow(binary.AppendUvarint(nil, uint64(len(key))), key)
}

func decodeKey(raw []byte) (rowimage.Row, error) {
	n, size := binary.Uvarint(raw)
	if size <= 0 || n > 4096 { // MySQL's bound on columns
		return nil, errBadKey
	}
	key, rest, err := rowimage.DecodeRow(raw[size:], int(n))
	if err == nil && len(rest) > 0 {
		err = errBadKey
	}
	return key, err
}

var errBadKey = errors.New("not a stored key")

func validUTF8(s string) string { return strings.ToValidUTF8(s, "?") }
