// Package mysqlproto speaks the MySQL client/server protocol on both sides, packet by packet, so that a response can pass
// through this program without its rows being decoded.
//
// # Model
//
//	application ──▶ Server ─ ServerConn ─▶ Session (gate, query server)
//	                                          │ Client: one session on a tablet or a mysqld
//	                                          ▼
//	                                       Response: OK, ERR, or columns followed by rows
//
// A [Conn] frames packets over a socket with buffers in both directions; sequence numbers are its own business. A [Server]
// accepts, authenticates and hands every command to a [Session]. A [Client] sends commands; [Client.Response] reads the first
// packet of an answer, and then the caller either relays the rest to a ServerConn ([Client.Relay]) or reads the rows itself
// ([Client.Columns], [Client.Row]).
//
// Both sides of a relay may have agreed on different formats with their peers (end-of-rows packets, session tracking, text or
// binary rows). Rows pass as they are unless the reader wants binary ones; the few packets around them are written anew.
//
// # Authentication
//
// Passwords are known here in clear, so the fast path of caching_sha2_password always suffices and its full path (a password
// sent over TLS or RSA) is never needed: the client's scramble is compared with the one that the password gives. A client that
// answers with mysql_native_password is checked by that. TLS is offered with the configured certificate, or with one made at start.
//
// # Invariants
//
//   - A packet is valid until the next read of its Conn.
//   - Memory per connection is bounded by MaxPacket for commands, by one packet for rows that are relayed.
//
// # Concurrency
//
// A Conn is used by one goroutine at a time. Server runs one goroutine per connection and waits for all of them in Stop;
// [Client.Interrupt] and [ServerConn.Close] may be called from any goroutine and end the call that is under way.
//
// # Failure
//
// An error of the peer is a *mysql.MyError in the Response. Any other error means that the connection is of no further use;
// [ErrLost] marks those of a Client: what was sent last may or may not have been executed.
package mysqlproto
