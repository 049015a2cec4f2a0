package bench

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/sqlconn"
)

// outcome is what draining a backlog took.
type outcome struct {
	config string
	wall   time.Duration
	target time.Duration // CPU of the target's mysqld
	source time.Duration // CPU of the source's mysqld
	ours   time.Duration // CPU of our process
	rss    int64         // most bytes that our process had resident
}

// follow makes the target a native replica of the source with that many workers.
func (s *server) follow(src *server, workers int) {
	repl := src.Repl()
	s.exec(
		fmt.Sprintf("SET GLOBAL replica_parallel_workers=%d", workers),
		fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=%d, SOURCE_USER=%s, SOURCE_PASSWORD=%s, SOURCE_AUTO_POSITION=1, SOURCE_SSL=0, GET_SOURCE_PUBLIC_KEY=1",
			src.Port(), sqlconn.Quote(repl.User), sqlconn.Quote(repl.Password)),
	)
}

// native drains the backlog of a running source into a copy of the base, as a replica does.
func (h *host) native(w workload, src *server, preload string, workers int) outcome {
	dst := h.serve(target, h.baseDir(w.base), preloading(preload))
	defer dst.remove()
	dst.warm()
	dst.follow(src, workers)
	position := src.executed()
	out := outcome{config: nativeRun(workers)}
	targetCPU, sourceCPU, start := dst.cpu(), src.cpu(), time.Now()
	dst.exec("START REPLICA")
	reached := dst.cell(fmt.Sprintf("SELECT WAIT_FOR_EXECUTED_GTID_SET('%s', 600)", position))
	out.wall = time.Since(start)
	out.target, out.source = dst.cpu()-targetCPU, src.cpu()-sourceCPU
	require.Equal(h.b, "0", reached, "the replica is there")
	return out
}

func nativeRun(workers int) string { return fmt.Sprintf("native replica, %d workers", workers) }
