package process

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
)

// Run runs a child to its end and returns what it printed (Spec.Log is not used). When ctx ends, the child is killed, with
// its own children.
func Run(ctx context.Context, spec Spec) ([]byte, error) {
	var out buffer
	p, err := start(spec, func(cmd *exec.Cmd) error {
		cmd.Stdout, cmd.Stderr = &out, &out
		return nil
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		_ = syscall.Kill(-p.Pid(), syscall.SIGKILL) // its own children too: they are in its process group
		p.Kill()
		return out.Bytes(), fmt.Errorf("%s: %w", spec.Argv[0], context.Cause(ctx))
	}
	if p.Err() != nil {
		return out.Bytes(), fmt.Errorf("%s: %w: %s", spec.Argv[0], p.Err(), lastLines(out.String()))
	}
	return out.Bytes(), nil
}

// lastLines is the end of a command's output, on one line.
func lastLines(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}

// buffer collects a child's output.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string { return string(b.Bytes()) }

func (b *buffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.buf.Bytes())
}
