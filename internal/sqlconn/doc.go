// Package sqlconn is the one place where connections to a MySQL server are made, so that every session of the program has
// the same settings and none can hang.
//
// # Model
//
// A Conn is one session. Dial makes the handshake with go-mysql's client and then reads and writes packets itself: the cells
// of a result are the bytes that the server sent, not values that were parsed and would have to be printed again. Query and
// Exec run one statement; ExecMulti and QueryMulti send several in one packet; QueryStream hands rows over one by one.
// LoadLocal runs LOAD DATA LOCAL with data from memory.
// A Pool keeps a few sessions for administrative work.
//
// Session settings (unless Config.Plain): NAMES binary, time zone +00:00, a permissive sql_mode, no execution time limit,
// long network timeouts. With them a value that is read and written again is the same bytes, whatever the server's defaults
// are: no conversion of character sets, no shift of timestamps, no refusal of a date that the source accepted.
//
// MariaDB, and MySQL before 8.0, are refused by name (errs.ServerUnsupported); a plain session can be made, to ask what a server is.
//
// # Invariants
//
//	C1 No call outlives its ctx: when it ends, the socket is closed and the call returns.
//	C2 After an error that is not MySQL's own answer the Conn is broken, and every later call says so. The outcome of the
//	   statement that was under way is unknown (ErrLost).
//
// # Concurrency
//
// A Conn is used by one goroutine at a time; Close may be called by any, at any time, and ends a call that is under way.
// The package starts no goroutine of its own.
//
// # Failure
//
// MySQL's errors are *mysql.MyError (see ErrCode); the session is good afterwards. Everything else wraps ErrLost. Closing the
// socket makes the server roll back the open transaction as soon as it notices, which may be after its current statement.
package sqlconn
