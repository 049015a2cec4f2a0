//go:build unix

package mysqlproto

import (
	"errors"
	"syscall"
)

// Alive says whether an idle connection looks usable: the server has neither closed it nor said anything. It asks the
// operating system only, so a peer that vanished without a word is not noticed.
func (c *Client) Alive() bool {
	if c.Buffered() {
		return false
	}
	sock, ok := c.nc.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sock.SyscallConn()
	if err != nil {
		return false
	}
	alive := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		alive = errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EWOULDBLOCK)
		return true // never wait
	})
	return err == nil && alive
}
