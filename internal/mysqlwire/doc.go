// Package mysqlwire reads and writes the fields of MySQL's protocol: what the client side (sqlconn) and the server side (mysqlproto)
// have in common.
//
// # Model
//
// A [Fields] walks over a packet's payload, field by field. Integers are little-endian, or length-encoded; strings are length-encoded, or end
// with a zero byte. A text row is a length-encoded string per column, and 0xFB for NULL.
//
// # Invariants
//
// No payload makes a reader panic or read outside of it. What is read points into the payload and is valid as long as that is.
//
// # Failure
//
// A payload that ends too early sets Bad, and every field from there on is empty: a caller reads all fields and looks at Bad once.
package mysqlwire
