package rows

import (
	"errors"
	"fmt"
	"slices"

	"braid/internal/sqlconn"
)

// ErrMissing says that a change did not find its row: the target is not what the source was at this place.
var ErrMissing = errors.New("the row is not on the target, though the source had it: the target was written by others")

// ErrPacket says that a row is larger than what the target's max_allowed_packet lets a statement be.
var ErrPacket = errors.New("the row does not fit into a packet: raise max_allowed_packet on the target (SET PERSIST max_allowed_packet=…, at most 1 GiB)")

// ErrRepeat says that a transaction which was sent in parts was rolled back by MySQL: the stream has to be read again
// from the saved position. Nothing was applied.
var ErrRepeat = errors.New("a large transaction was rolled back and is repeated")

// Failure says which change could not be applied. Nothing of its transaction was.
type Failure struct {
	GTID  string
	Verb  string
	Table string
	Key   string
	Rows  int // of the statement; Key is the first one
	Err   error
}

// Error names transaction, table and key.
func (f *Failure) Error() string {
	s := ""
	if f.GTID != "" {
		s = "transaction " + f.GTID + ": "
	}
	s += fmt.Sprintf("%s of %s %s", f.Verb, f.Table, f.Key)
	if f.Rows > 1 {
		s += fmt.Sprintf(" and %d more", f.Rows-1)
	}
	return s + ": " + f.Err.Error()
}

// Unwrap is MySQL's error, or ErrMissing.
func (f *Failure) Unwrap() error { return f.Err }

// MySQL error numbers.
const (
	erLockWaitTimeout = 1205
	erLockDeadlock    = 1213
)

var foreignKeyErrors = []uint16{1216, 1217, 1451, 1452}

// ForeignKey says that only a foreign key refuses the change.
func ForeignKey(err error) bool { return slices.Contains(foreignKeyErrors, sqlconn.ErrCode(err)) }

// dataErrors do not go away by repeating: the data or the definition of the table has to be changed. Everything else
// (a server that goes down, no space, read-only for a while) is repeated.
var dataErrors = []uint16{
	1032, 1048, 1054, 1062, 1064, 1136, 1146, 1216, 1217, 1264, 1265, 1292, 1364, 1366, 1406, 1416, 1442, 1451, 1452, 1586, 1644,
	1690, 1118, 1526, 1748, 3105, 3140, 3141, 3143, 3144, 3146, 3147, 3819, 4025,
}

// Permanent says that repeating does not help.
func Permanent(err error) bool {
	return errors.Is(err, ErrMissing) || errors.Is(err, ErrPacket) || slices.Contains(dataErrors, sqlconn.ErrCode(err))
}

// Retryable says that MySQL undid the transaction, or that we do, for a reason that passes.
func Retryable(err error) bool {
	code := sqlconn.ErrCode(err)
	return code == erLockWaitTimeout || code == erLockDeadlock
}
