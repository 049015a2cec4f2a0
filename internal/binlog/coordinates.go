package binlog

import (
	"fmt"
	"strconv"
	"strings"
)

// Coordinates is a point between two events of the log.
type Coordinates struct {
	File string
	Pos  uint64
}

func (c Coordinates) String() string { return fmt.Sprintf("%s:%d", c.File, c.Pos) }

// Reaches reports whether c is at or behind the point o of the same log.
func (c Coordinates) Reaches(o Coordinates) bool {
	if c.File == o.File {
		return c.Pos >= o.Pos
	}
	return c.file() > o.file()
}

// Near reports whether at most n bytes of the log lie between c and the end o. Across files the distance is not known.
func (c Coordinates) Near(o Coordinates, n uint64) bool {
	return c.Reaches(o) || c.File == o.File && o.Pos-c.Pos <= n
}

// base is the name of the files without their number.
func (c Coordinates) base() string { return c.File[:strings.LastIndexByte(c.File, '.')+1] }

// file is the number of the log file: names are compared by it, because binlog.1000000 follows binlog.999999.
func (c Coordinates) file() uint64 {
	n, err := strconv.ParseUint(c.File[strings.LastIndexByte(c.File, '.')+1:], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// advance returns the coordinates after an event of that size whose header says that it ends at low. Headers have the lower 32 bits of the
// offset; a file can be larger, by one huge transaction. Where header and size do not agree the offset stays: too
// early is safe (B3), and the next file mends it.
func (c Coordinates) advance(low, size uint32) Coordinates {
	pos := c.Pos&^0xffffffff | uint64(low)
	if pos < c.Pos {
		if c.Pos+uint64(size) != pos+1<<32 {
			return c
		}
		pos += 1 << 32
	}
	c.Pos = pos
	return c
}
