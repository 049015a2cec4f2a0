package sqlconn

import "net"

// Hijack hands the connection over to a caller who speaks another part of the protocol on it, a binlog dump for one. The session
// is as Dial has set it up, and nothing is left unread. Conn is of no use afterwards; closing the socket ends the session.
func (c *Conn) Hijack() net.Conn {
	c.broken.Store(true)
	return c.sock
}
