package tablet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"braid/internal/sqlconn"
)

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
