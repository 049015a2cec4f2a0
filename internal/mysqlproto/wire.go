package mysqlproto

import "braid/internal/mysqlwire"

// AppendRow appends a text row; a nil cell is NULL.
func AppendRow(dst []byte, cells [][]byte) []byte { return mysqlwire.AppendRow(dst, cells) }

// ParseRow splits a text row into cells, which point into it; nil is NULL. It says whether the row has just as many.
func ParseRow(row []byte, cells [][]byte) bool { return (&mysqlwire.Fields{P: row}).Row(cells) }
