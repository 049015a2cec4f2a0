package mysqld

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"braid/internal/process"
)

// Errors of a start that the user can mend. Match with errors.Is.
var (
	ErrPortTaken = errors.New("the port is taken by another program")
	ErrNoSpace   = errors.New("no space left on the disk")
	ErrDirInUse  = errors.New("another mysqld runs in this directory")
)

// portFree finds a taken port before the server spends a second to find it.
func portFree(port int) error {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return fmt.Errorf("%w: %w (choose another port, or stop that program)", ErrPortTaken, err)
	}
	return l.Close()
}

// causes are the texts in a server's log that stand for an error with a remedy.
var causes = []struct {
	text string
	err  error
	hint string
}{
	{"Address already in use", ErrPortTaken, "choose another port, or stop that program"},
	{"Do you already have another mysqld server running on port", ErrPortTaken, "choose another port, or stop that program"},
	{"No space left on device", ErrNoSpace, "make room and start again"},
	{"Unable to lock ./ibdata1", ErrDirInUse, "stop that one first"},
	{"io_setup() failed", errors.New("the kernel has no asynchronous I/O requests left"), "raise fs.aio-max-nr, or run fewer servers"},
}

// diagnose explains why the server did not come up, from its log. The last 30 lines are about this start.
func (s *Server) diagnose(cause error) error {
	if cause == nil {
		cause = errors.New("it ended by itself")
	}
	log := process.Tail(s.ErrorLog(), 30)
	for _, c := range causes {
		if strings.Contains(log, c.text) {
			return fmt.Errorf("%w (%s): %w; log: %s", c.err, c.hint, cause, s.ErrorLog())
		}
	}
	return fmt.Errorf("%w; the end of %s:\n%s", cause, s.ErrorLog(), process.Tail(s.ErrorLog(), 12))
}

// noSpace makes a full disk recognisable in an error of our own.
func noSpace(text string, err error) error {
	if strings.Contains(text, "no space left on device") {
		return fmt.Errorf("%w (make room and start again): %w", ErrNoSpace, err)
	}
	return err
}
