package cluster

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrLifeline says that the supervisor ended because the process that had started it did.
var ErrLifeline = errors.New("the process that this cluster belonged to has ended")

// keepLine makes the cluster independent of the process that holds the other end of the lifeline.
const keepLine = "keep"

// Lifeline opens an inherited descriptor as a lifeline for Options.
func Lifeline(fd int) (*os.File, error) {
	if err := syscall.SetNonblock(fd, true); err != nil { // so that Close ends a Read
		return nil, fmt.Errorf("lifeline: descriptor %d: %w", fd, err)
	}
	return os.NewFile(uintptr(fd), "lifeline"), nil
}

// Keep is what the other end writes to let the cluster live on.
func Keep(w *os.File) error {
	if _, err := w.WriteString(keepLine + "\n"); err != nil {
		return fmt.Errorf("lifeline: %w", err)
	}
	return nil
}

// holdLifeline watches the lifeline until it ends or is let go.
func (s *Supervisor) holdLifeline() {
	if s.opts.Lifeline == nil {
		return
	}
	s.wg.Go(func() {
		lines := bufio.NewScanner(s.opts.Lifeline)
		for lines.Scan() {
			if lines.Text() == keepLine {
				return
			}
		}
		if s.ctx.Err() == nil {
			s.fail(ErrLifeline)
		}
	})
}
