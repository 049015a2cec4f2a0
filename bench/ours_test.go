package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld"
	"braid/internal/process"
	"braid/internal/sqlconn"
)

// knobs are how our process is run. It chooses the writer of rows itself, table by table.
type knobs struct {
	workers int
	order   string // of commits; "" is the default
	mode    string // of dependencies; "" is the default
}

func (k knobs) String() string {
	return "braid" + strings.Join(append([]string{""}, k.arguments()...), " ")
}

func (k knobs) arguments() []string {
	var args []string
	add := func(name, value string) {
		if value != "" {
			args = append(args, name+"="+value)
		}
	}
	add("--commit-order", k.order)
	add("--parallel", k.mode)
	if k.workers > 0 {
		add("--workers", fmt.Sprint(k.workers))
	}
	return args
}

func preloading(object string) func(*mysqld.Config) {
	return func(c *mysqld.Config) { c.Preload = object }
}

func dsn(c sqlconn.Config) string { return fmt.Sprintf("%s:%s@tcp(%s)/", c.User, c.Password, c.Addr) }

// replicate starts our process between two servers.
func (h *host) replicate(src, dst *server, args ...string) *process.Process {
	argv := append([]string{h.braid, "replicate", "--source", dsn(src.Repl()), "--target", dsn(dst.Admin()), "--databases", database}, args...)
	p, err := process.Start(process.Spec{Argv: argv, Log: h.log()})
	require.NoError(h.b, err)
	h.b.Cleanup(p.Kill)
	return p
}

// log is where our process writes to.
func (h *host) log() string { return filepath.Join(h.dir, "braid.log") }

// ended waits for a process that ends by itself.
func (h *host) ended(p *process.Process) {
	select {
	case <-p.Done():
	case <-time.After(10 * time.Minute):
		p.Kill()
	}
	if p.Err() != nil {
		h.b.Fatalf("our process: %v\n%s", p.Err(), process.Tail(h.log(), 0, 30))
	}
}

// copied is a stopped target that our process has copied a base to; it goes on from there when it is run again.
func (h *host) copied(b base) string {
	src := h.serve(source, h.baseDir(b))
	defer src.remove()
	dst := h.serve(target, "")
	h.ended(h.replicate(src, dst, "--once"))
	h.equal(src, dst, "the copy")
	return dst.stop()
}

// drain drains the backlog of a running source into a copy of a target that has the base.
func (h *host) drain(src *server, copied, preload string, k knobs) outcome {
	dst := h.serve(target, copied, preloading(preload))
	defer dst.remove()
	dst.warm()
	out := outcome{config: k.String()}
	targetCPU, sourceCPU, start := dst.cpu(), src.cpu(), time.Now()
	p := h.replicate(src, dst, append(k.arguments(), "--once")...)
	rss := WatchRSS(p.Pid())
	h.ended(p)
	out.wall = time.Since(start)
	out.target, out.source, out.ours, out.rss = dst.cpu()-targetCPU, src.cpu()-sourceCPU, p.CPU(), rss.Peak()
	h.equal(src, dst, k.String())
	return out
}

// keepLog says what our process wrote, if something went wrong.
func (h *host) keepLog() {
	if h.b.Failed() {
		if text, err := os.ReadFile(h.log()); err == nil {
			h.b.Logf("our process:\n%s", text[max(0, len(text)-4000):])
		}
	}
}
