package mysqld

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"braid/internal/base/errs"
	"braid/internal/process"
)

// portFree finds a taken port before the server spends a second to find it.
func portFree(port int) error {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil && !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d: %w", port, err)
	}
	if err != nil {
		return errs.New(errs.PortTaken, err, "port %d is taken", port)
	}
	return l.Close()
}

// causes are the texts in a server's log that stand for an error with a remedy of its own.
var causes = []struct {
	text   string
	def    *errs.Def
	what   string
	remedy string // "" for the one of the catalogue
}{
	{"Address already in use", errs.PortTaken, "its port is taken", ""},
	{"Do you already have another mysqld server running on port", errs.PortTaken, "its port is taken", ""},
	{"No space left on device", errs.NoSpace, "the disk is full", ""},
	{"OS errno 28", errs.NoSpace, "the disk is full", ""},
	{"Unable to lock ./ibdata1", errs.DirInUse, "another mysqld works in its directory", ""},
	{"io_setup() failed", errs.MySQLNotStarted, "the kernel has no asynchronous I/O requests left", "Raise fs.aio-max-nr (sysctl), or run fewer servers."},
}

// diagnose explains why the server did not come up, from what it logged since this start.
func (s *Server) diagnose(cause error, logFrom int64) error {
	if cause == nil {
		cause = errors.New("it ended by itself")
	}
	if errors.Is(cause, context.Canceled) {
		return cause // nothing is wrong with the server
	}
	log := process.Tail(s.log, logFrom, 30)
	for _, c := range causes {
		if !strings.Contains(log, c.text) {
			continue
		}
		err := errs.New(c.def, cause, "mysqld on port %d: %s (log: %s)", s.cfg.Port, c.what, s.log)
		if c.remedy != "" {
			err = err.With(c.remedy)
		}
		return err
	}
	return errs.New(errs.MySQLNotStarted, cause, "mysqld on port %d did not start; the end of its log %s:\n%s\n", s.cfg.Port, s.log, process.Tail(s.log, logFrom, 12))
}

// noSpace makes a full disk recognisable in an error of our own.
func noSpace(dir string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return errs.New(errs.NoSpace, err, "the disk of %s is full", dir)
	}
	return err
}
