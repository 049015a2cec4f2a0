package tablet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	tabletpb "braid/api/tablet"
	"braid/internal/sqlconn"
	"braid/internal/throttle"
	"braid/internal/topo"
)

// copyProbes are what pauses the copy of a stream from a shard: its own mysqld is asked directly, the source's through its tablet, and how far
// replicas are behind is in the topology.
func (t *Tablet) copyProbes(keyspace, shard string, l throttle.Limits) []throttle.Probe {
	var probes []throttle.Probe
	if l.SourceHistory > 0 {
		probes = append(probes, throttle.Call(throttle.HistoryFigure("source "+keyspace+"/"+shard, l.SourceHistory),
			func(ctx context.Context) (float64, error) { return t.sourceHistory(ctx, keyspace, shard) }))
	}
	if l.ReplicaLag > 0 {
		for _, s := range [][2]string{{keyspace, shard}, {t.cfg.Keyspace, t.cfg.Shard}} {
			probes = append(probes, throttle.Call(throttle.LagFigure("replicas of "+s[0]+"/"+s[1], l.ReplicaLag),
				func(context.Context) (float64, error) { return worstLag(t.replicas(s[0], s[1])) }))
		}
	}
	return append(probes, l.OnTarget(t.account(t.cfg.AdminUser, t.cfg.AdminPassword))...)
}

// sourceHistory asks the tablet that the stream reads from.
func (t *Tablet) sourceHistory(ctx context.Context, keyspace, shard string) (float64, error) {
	source, ok := t.deps.Cache.PrimaryOf(keyspace, shard)
	if !ok {
		return 0, errors.New("it has no primary tablet")
	}
	conn, err := t.deps.Dial(source.GRPCAddr)
	if err != nil {
		return 0, err
	}
	st, err := tabletpb.NewTabletClient(conn).Status(ctx, &tabletpb.StatusRequest{})
	if err != nil {
		return 0, err
	}
	if st.HistoryListLength < 0 {
		return 0, errors.New("the server does not tell: its account needs the privilege PROCESS")
	}
	return float64(st.HistoryListLength), nil
}

// replicas are the living tablets of a shard that follow its primary.
func (t *Tablet) replicas(keyspace, shard string) []topo.Tablet {
	return slices.Concat(t.deps.Cache.TabletsOf(keyspace, shard, topo.Replica), t.deps.Cache.TabletsOf(keyspace, shard, topo.Rdonly))
}

// worstLag is in seconds. A lag that is unknown is an error; without replicas there is none.
func worstLag(replicas []topo.Tablet) (float64, error) {
	worst := 0.0
	for _, r := range replicas {
		if r.LagMS < 0 {
			return 0, fmt.Errorf("tablet %s does not know its lag: %s", r.Alias, r.Reason)
		}
		worst = max(worst, (time.Duration(r.LagMS) * time.Millisecond).Seconds())
	}
	return worst, nil
}

// historyLength is -1 when the server does not tell.
func historyLength(ctx context.Context, conn *sqlconn.Conn) int64 {
	res, err := conn.Query(ctx, throttle.HistorySQL)
	if err != nil || len(res.Rows) == 0 {
		return -1
	}
	n, err := strconv.ParseInt(string(res.Rows[0][0]), 10, 64)
	if err != nil {
		return -1
	}
	return n
}
