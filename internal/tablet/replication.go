package tablet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"

	"braid/internal/sqlconn"
)

// adminConn is the one administrative connection of the health loop and the schema calls; it is made again when it broke.
type adminConn struct {
	cfg sqlconn.Config
	mu  struct {
		sync.Mutex // held while the connection is in use: calls take turns
		conn       *sqlconn.Conn
	}
}

// acquire returns the connection for exclusive use until release. A connection that answered with a network error is
// replaced at the next call.
func (a *adminConn) acquire(ctx context.Context) (*sqlconn.Conn, func(), error) {
	a.mu.Lock()
	if a.mu.conn != nil {
		if err := a.mu.conn.Ping(ctx); err != nil {
			a.mu.conn.Close()
			a.mu.conn = nil
		}
	}
	if a.mu.conn == nil {
		conn, err := sqlconn.Dial(ctx, a.cfg)
		if err != nil {
			a.mu.Unlock()
			return nil, nil, err
		}
		a.mu.conn = conn
	}
	return a.mu.conn, a.mu.Unlock, nil
}

func (a *adminConn) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.conn != nil {
		a.mu.conn.Close()
		a.mu.conn = nil
	}
}

// replicaStatus is SHOW REPLICA STATUS by column name; empty when replication was never set up.
func replicaStatus(ctx context.Context, conn *sqlconn.Conn) (map[string]string, error) {
	res, err := conn.Query(ctx, "SHOW REPLICA STATUS")
	if err != nil {
		return nil, fmt.Errorf("replica status: %w", err)
	}
	status := map[string]string{}
	if len(res.Rows) > 0 {
		for i, name := range res.Columns {
			status[name] = string(res.Rows[0][i])
		}
	}
	return status, nil
}

// replicaLag returns the lag in milliseconds, or why replication does not run.
func replicaLag(ctx context.Context, conn *sqlconn.Conn) (int64, error) {
	s, err := replicaStatus(ctx, conn)
	if err != nil {
		return -1, err
	}
	switch {
	case len(s) == 0:
		return -1, errors.New("replication is not set up")
	case s["Replica_SQL_Running"] != "Yes":
		return -1, fmt.Errorf("replication has stopped: %s", s["Last_SQL_Error"])
	case s["Replica_IO_Running"] != "Yes" && s["Last_IO_Error"] != "":
		return -1, fmt.Errorf("replication does not reach its source: %s", s["Last_IO_Error"])
	}
	seconds, err := strconv.ParseInt(s["Seconds_Behind_Source"], 10, 64)
	if err != nil {
		return -1, nil // NULL: connecting; the lag is unknown, what the replica has is still a state of the source
	}
	return seconds * 1000, nil
}

func splitAddr(addr string) (string, int, error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.Atoi(p)
	return host, port, err
}
