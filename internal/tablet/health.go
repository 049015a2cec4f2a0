package tablet

import (
	"context"
	"fmt"
	"strconv"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"braid/internal/base/timeouts"
	"braid/internal/sqlconn"
	"braid/internal/topo"
	"braid/internal/vreplication"
)

const (
	tabletLease  = timeouts.TabletLease
	healthPeriod = 500 * time.Millisecond // well under the lease, so that a tablet that is slow once is not taken for dead
	recordPeriod = 5 * time.Second        // how often lag and position are written when nothing else changed
)

// healthLoop looks at mysqld, prepares it when it has come (back), and keeps the record in the topology true.
func (t *Tablet) healthLoop(ctx context.Context, reg *topo.TabletRegistration) {
	var written topo.Tablet
	var writtenAt time.Time
	prepared := false
	tick := time.NewTicker(healthPeriod)
	defer tick.Stop()
	for {
		rec := t.status()
		rec.Serving, rec.Reason, rec.LagMS, rec.Position = false, "", -1, ""
		if err := t.probe(ctx, &rec, &prepared); err != nil {
			rec.Reason = err.Error()
		}
		t.publish(rec)
		if rec.Serving != written.Serving || rec.Reason != written.Reason || time.Since(writtenAt) > recordPeriod {
			wctx, cancel := context.WithTimeout(ctx, timeouts.Dial)
			if err := reg.Update(wctx, rec); err != nil && ctx.Err() == nil {
				t.log.Warn("tablet record not written", "error", err)
			} else {
				written, writtenAt = rec, time.Now()
			}
			cancel()
		}
		select {
		case <-ctx.Done():
			cctx, cancel := context.WithTimeout(context.Background(), timeouts.Dial)
			defer cancel()
			if err := reg.Close(cctx); err != nil {
				t.log.Warn("tablet record not removed, it ends with its lease", "error", err)
			}
			return
		case <-tick.C:
		}
	}
}

// probe fills the record from the server, or says why the tablet cannot serve.
func (t *Tablet) probe(ctx context.Context, rec *topo.Tablet, prepared *bool) error {
	pctx, cancel := context.WithTimeout(ctx, timeouts.RPC)
	defer cancel()
	conn, release, err := t.probes.Acquire(pctx)
	if err != nil {
		*prepared = false // it may come back as another server
		return fmt.Errorf("mysqld at %s: %w", t.cfg.DBAddr, err)
	}
	defer release()
	if !*prepared {
		if err := t.prepare(pctx, conn); err != nil {
			return err
		}
		*prepared = true
		t.log.Info("mysqld is ready", "type", t.cfg.Type)
	}
	res, err := conn.Query(pctx, "SELECT @@GLOBAL.gtid_executed")
	if err != nil {
		return fmt.Errorf("mysqld at %s: %w", t.cfg.DBAddr, err)
	}
	rec.Position = string(res.Rows[0][0])
	switch t.cfg.Type {
	case topo.Primary:
		rec.Serving, rec.LagMS = true, 0
	case topo.Replica, topo.Rdonly:
		rec.LagMS, err = replicaLag(pctx, conn)
		if err != nil {
			return err
		}
		rec.Serving = true
	default:
		rec.Reason = "tablets of type " + string(t.cfg.Type) + " serve no queries"
	}
	return nil
}

// prepare makes a server that has just come up into what the tablet's type needs. It can be repeated.
func (t *Tablet) prepare(ctx context.Context, conn *sqlconn.Conn) error {
	if t.cfg.Type != topo.Primary {
		return t.prepareReplica(ctx, conn)
	}
	for _, sql := range []string{"SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF",
		"CREATE DATABASE IF NOT EXISTS " + sqlconn.QuoteIdent(t.cfg.Keyspace)} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("prepare primary: %s: %w", sql, err)
		}
	}
	if err := vreplication.InitSidecar(ctx, conn); err != nil {
		return fmt.Errorf("prepare primary: %w", err)
	}
	if err := t.deps.Topo.SetShardPrimary(ctx, t.cfg.Keyspace, t.cfg.Shard, t.cfg.Alias()); err != nil {
		return fmt.Errorf("prepare primary: %w", err)
	}
	return nil
}

// prepareReplica points MySQL's own replication at the primary of the shard.
func (t *Tablet) prepareReplica(ctx context.Context, conn *sqlconn.Conn) error {
	primary, ok := t.deps.Cache.PrimaryOf(t.cfg.Keyspace, t.cfg.Shard)
	if !ok {
		return fmt.Errorf("shard %s/%s has no primary tablet yet", t.cfg.Keyspace, t.cfg.Shard)
	}
	if _, err := conn.Exec(ctx, "SET GLOBAL super_read_only = ON"); err != nil {
		return fmt.Errorf("prepare replica: %w", err)
	}
	host, port, err := splitAddr(primary.DBAddr)
	if err != nil {
		return fmt.Errorf("prepare replica: primary %s: %w", primary.Alias, err)
	}
	status, err := replicaStatus(ctx, conn)
	if err != nil {
		return err
	}
	if status["Source_Host"] != host || status["Source_Port"] != strconv.Itoa(port) {
		change := fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST=%s, SOURCE_PORT=%d, SOURCE_USER=%s, SOURCE_PASSWORD=%s, "+
			"SOURCE_AUTO_POSITION=1, SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=1000000, SOURCE_SSL=0, GET_SOURCE_PUBLIC_KEY=1",
			sqlconn.Quote(host), port, sqlconn.Quote(t.cfg.ReplUser), sqlconn.Quote(t.cfg.ReplPassword))
		for _, sql := range []string{"STOP REPLICA", change} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return fmt.Errorf("prepare replica of %s: %w", primary.Alias, err)
			}
		}
	}
	if _, err := conn.Exec(ctx, "START REPLICA"); err != nil {
		return fmt.Errorf("prepare replica of %s: %w", primary.Alias, err)
	}
	return nil
}

func (t *Tablet) publish(rec topo.Tablet) {
	t.mu.Lock()
	changed := t.mu.status.Serving != rec.Serving || t.mu.status.Reason != rec.Reason
	t.mu.status = rec
	t.mu.Unlock()
	if !changed {
		return
	}
	t.query.SetServing(rec.Serving, rec.Reason)
	state := healthpb.HealthCheckResponse_NOT_SERVING
	if rec.Serving {
		state = healthpb.HealthCheckResponse_SERVING
	}
	t.health.SetServingStatus("", state)
	t.log.Info("tablet state", "serving", rec.Serving, "reason", rec.Reason)
}

func (t *Tablet) status() topo.Tablet {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.status
}
