package gate

import (
	"bytes"
	"cmp"
	"fmt"
	"math"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/mysqlproto"
)

// merge says how the rows of several shards become one answer. The last columns of each row are hidden: they are there to
// compare by, and the client does not get them.
type merge struct {
	hidden int
	order  []sortKey // the order of the rows of each shard, and of the answer
	limit  uint64
	offset uint64

	group  bool        // neighbours that are equal by order are one group
	single bool        // there is one group even if there are no rows
	items  []groupItem // how each visible column of a group is put together
	sort   []groupSort // the order of the groups, if it is not that of the rows
}

const noLimit = math.MaxUint64

// sortKey is an expression by which rows are compared. The numbers are hidden columns; -1 is none.
type sortKey struct {
	desc        bool
	value       int
	weight      int    // bytes that compare as the collation does
	collation   string // if it is known beforehand
	collationAt int    // where its name is
}

// groupKind is how values of several shards become one.
type groupKind int

const (
	firstOfGroup groupKind = iota // equal in all rows of the group, or any will do
	sumOfGroup
	avgOfGroup
	leastOfGroup // the first by key
)

type groupItem struct {
	kind     groupKind
	nullable bool
	count    int     // hidden column with the number of values, for an average
	key      sortKey // for the least or, descending, the greatest
}

// groupSort orders complete groups by a visible item.
type groupSort struct {
	item  int
	desc  bool
	key   sortKey
	keyed bool // compare by key; otherwise the item is a sum or a count, a number
}

// row is a row of a shard, kept.
type row struct {
	cells [][]byte // visible, then hidden
}

// comparer compares rows by keys, once the types of the columns are known.
type comparer struct {
	cols    []mysqlproto.Column
	visible int
	pads    func(collation string) (padding, error)
}

// padding says how a collation treats the end of a text: with PAD SPACE the shorter one goes on with spaces.
type padding struct {
	space []byte // the weight of a space; nil: NO PAD
}

// compare returns a negative number if a comes first by key.
func (c *comparer) compare(k sortKey, a, b [][]byte) (int, error) {
	n, err := c.ascending(k, a, b)
	if k.desc {
		n = -n
	}
	return n, err
}

func (c *comparer) ascending(k sortKey, a, b [][]byte) (int, error) {
	at := c.visible + k.value
	x, y := a[at], b[at]
	if x == nil || y == nil {
		return cmp.Compare(boolInt(x != nil), boolInt(y != nil)), nil // NULL comes first
	}
	if isText(c.cols[at]) && c.cols[at].Flags&(mysql.ENUM_FLAG|mysql.SET_FLAG) == 0 && k.weight >= 0 {
		return c.weights(k, a, b)
	}
	return compareCells(c.cols[at], x, y)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (c *comparer) weights(k sortKey, a, b [][]byte) (int, error) {
	name := k.collation
	if name == "" && k.collationAt >= 0 {
		name = string(a[c.visible+k.collationAt])
	}
	pad, err := c.pads(name)
	if err != nil {
		return 0, err
	}
	return compareWeights(a[c.visible+k.weight], b[c.visible+k.weight], pad), nil
}

func compareWeights(x, y []byte, pad padding) int {
	n := min(len(x), len(y))
	if d := bytes.Compare(x[:n], y[:n]); d != 0 || len(x) == len(y) || len(pad.space) == 0 {
		if d != 0 {
			return d
		}
		return cmp.Compare(len(x), len(y))
	}
	if len(x) > n {
		return compareToSpaces(x[n:], pad.space)
	}
	return -compareToSpaces(y[n:], pad.space)
}

// compareToSpaces compares weights with as many spaces.
func compareToSpaces(w, space []byte) int {
	for len(w) > 0 {
		n := min(len(w), len(space))
		if d := bytes.Compare(w[:n], space[:n]); d != 0 {
			return d
		}
		w = w[n:]
	}
	return 0
}

// isText says whether a column's values are compared by a collation.
func isText(c mysqlproto.Column) bool {
	switch c.Type {
	case mysql.MYSQL_TYPE_VARCHAR, mysql.MYSQL_TYPE_VAR_STRING, mysql.MYSQL_TYPE_STRING, mysql.MYSQL_TYPE_TINY_BLOB,
		mysql.MYSQL_TYPE_BLOB, mysql.MYSQL_TYPE_MEDIUM_BLOB, mysql.MYSQL_TYPE_LONG_BLOB:
		return true
	}
	return false
}

// compareCells compares two values of a column that has no collation.
func compareCells(c mysqlproto.Column, x, y []byte) (int, error) {
	switch c.Type {
	case mysql.MYSQL_TYPE_TINY, mysql.MYSQL_TYPE_SHORT, mysql.MYSQL_TYPE_INT24, mysql.MYSQL_TYPE_LONG, mysql.MYSQL_TYPE_LONGLONG,
		mysql.MYSQL_TYPE_YEAR, mysql.MYSQL_TYPE_NEWDECIMAL, mysql.MYSQL_TYPE_DECIMAL:
		return compareDecimals(x, y)
	case mysql.MYSQL_TYPE_FLOAT, mysql.MYSQL_TYPE_DOUBLE:
		return compareFloats(x, y)
	case mysql.MYSQL_TYPE_DATE, mysql.MYSQL_TYPE_NEWDATE, mysql.MYSQL_TYPE_DATETIME, mysql.MYSQL_TYPE_TIMESTAMP, mysql.MYSQL_TYPE_BIT:
		return bytes.Compare(x, y), nil // digits from the greatest unit to the least
	case mysql.MYSQL_TYPE_TIME:
		return compareTimes(x, y)
	}
	if isText(c) {
		if c.Flags&(mysql.ENUM_FLAG|mysql.SET_FLAG) != 0 {
			return 0, unsupported("ordering or grouping by %s, an ENUM or SET, over several shards", c.Name)
		}
		return bytes.Compare(x, y), nil
	}
	return 0, fmt.Errorf("%w: column %s has type %d", unsupported("ordering or grouping by a value of this type over several shards"), c.Name, c.Type)
}
