package storm

import "braid/internal/sqlconn"

const (
	errLockWait = 1205
	errDeadlock = 1213
)

// expected are the errors that statements of a storm may meet, each with its reason. Any other ends the storm.
var expected = map[uint16]string{
	1048: "NULL for a column that allows none", 1050: "table exists: a DDL was repeated", 1052: "ambiguous column: a column was added to the other table of a join",
	1054: "unknown column: dropped meanwhile", 1060: "column exists", 1061: "index exists", 1062: "duplicate key", 1072: "key column dropped meanwhile", 1091: "nothing to drop",
	1136: "column count: changed meanwhile", 1146: "no such table: dropped or renamed meanwhile", 1051: "no such table to drop",
	1205: "lock wait", 1213: "deadlock", 1264: "out of range in strict mode", 1265: "truncated in strict mode", 1292: "wrong value in strict mode",
	1267: "collations of two columns: a row was renamed away under a variable", 1305: "savepoint is gone", 1364: "no default", 1366: "character that the column's set lacks", 1397: "XA transaction is not there", 1399: "XA: wrong state", 1402: "XA: rolled back", 1406: "too long",
	1412: "definition changed", 1451: "row has children", 1452: "row has no parent", 1586: "duplicate entry in a key", 1613: "XA: timeout", 1614: "XA: deadlock", 1690: "out of range",
	1761: "cascade would make a duplicate key", 1762: "cascade would make a duplicate key", 3140: "not JSON", 3150: "JSON: no such cell", 3105: "generated column", 1138: "NULL in NOT NULL", 1022: "duplicate key",
	1118: "row too big", 1069: "too many keys", 1411: "wrong value", 3819: "check", 3144: "JSON from binary", 3141: "not JSON", 1067: "default", 1170: "key needs a length", 1178: "a partitioned table with a geometry", 3854: "character that the column's set lacks",
}

// over are the errors after which the transaction is gone.
var over = map[uint16]bool{errDeadlock: true, 1402: true, 1613: true, 1614: true}

// Away reports whether an error comes of a server that is going down, or of a session that was killed.
func Away(err error) bool { return away[sqlconn.ErrCode(err)] }

// away are the errors of a server that goes down, or has killed the session.
var away = map[uint16]bool{1053: true, 1077: true, 1152: true, 1158: true, 1159: true, 1160: true, 1161: true, 1317: true, 1927: true, 3169: true}
