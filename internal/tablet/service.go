package tablet

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/grpc"

	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/internal/topo"
	"braid/internal/vreplication"
	"braid/internal/vstream"
)

// service is the gRPC face of a tablet. It translates; the work is done by the parts.
type service struct {
	tabletpb.UnimplementedTabletServer
	t *Tablet
}

func (s *service) Status(ctx context.Context, _ *tabletpb.StatusRequest) (*tabletpb.StatusResponse, error) {
	st := s.t.status()
	resp := &tabletpb.StatusResponse{
		Alias: st.Alias, Keyspace: st.Keyspace, Shard: st.Shard, Type: string(st.Type), Serving: st.Serving, Reason: st.Reason,
		LagMs: st.LagMS, Position: st.Position, RoutingEpoch: s.t.deps.Cache.Routing().Epoch, HistoryListLength: -1,
	}
	err := s.t.probes.Do(ctx, func(conn *sqlconn.Conn) error {
		res, err := conn.Query(ctx, "SELECT @@GLOBAL.gtid_executed, @@version")
		if err != nil {
			return err
		}
		resp.Position, resp.MysqlVersion = string(res.Rows[0][0]), string(res.Rows[0][1])
		resp.HistoryListLength = historyLength(ctx, conn)
		return nil
	})
	if err != nil && resp.Serving {
		resp.Serving, resp.Reason = false, err.Error()
	}
	return resp, nil
}

func (s *service) Stream(stream grpc.BidiStreamingServer[tabletpb.StreamRequest, tabletpb.StreamResponse]) error {
	return errs.ToGRPC(vstream.Serve(stream, s.t.local))
}

func (s *service) AwaitFence(ctx context.Context, r *tabletpb.AwaitFenceRequest) (*tabletpb.AwaitFenceResponse, error) {
	killed, err := s.t.query.AwaitFence(ctx, r.Epoch, time.Duration(r.DrainTimeoutMs)*time.Millisecond)
	if err != nil {
		return nil, errs.ToGRPC(fmt.Errorf("fence of epoch %d: %w", r.Epoch, err))
	}
	position, err := s.position(ctx)
	if err != nil {
		return nil, errs.ToGRPC(err)
	}
	return &tabletpb.AwaitFenceResponse{Position: position, Killed: int32(killed)}, nil
}

// position reads what the server has executed. Nothing that was acknowledged before the call is missing from it: a
// session's answer comes after its GTID was added.
func (s *service) position(ctx context.Context) (string, error) {
	var position string
	err := s.t.probes.Do(ctx, func(conn *sqlconn.Conn) error {
		res, err := conn.Query(ctx, "SELECT @@GLOBAL.gtid_executed")
		if err != nil {
			return fmt.Errorf("read position: %w", err)
		}
		position = string(res.Rows[0][0])
		return nil
	})
	return position, err
}

func (s *service) WaitForPosition(ctx context.Context, r *tabletpb.WaitForPositionRequest) (*tabletpb.WaitForPositionResponse, error) {
	return onPrimary(s, func(e *vreplication.Engine) (*tabletpb.WaitForPositionResponse, error) {
		if r.TimeoutMs > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Duration(r.TimeoutMs)*time.Millisecond)
			defer cancel()
		}
		if _, err := e.WaitForPosition(ctx, r.Workflow, r.Positions); err != nil {
			return nil, err
		}
		position, err := s.position(ctx)
		return &tabletpb.WaitForPositionResponse{Position: position}, err
	})
}

func (s *service) CreateStreams(ctx context.Context, r *tabletpb.CreateStreamsRequest) (*tabletpb.ListStreamsResponse, error) {
	return onPrimary(s, func(e *vreplication.Engine) (*tabletpb.ListStreamsResponse, error) {
		streams, err := e.Create(ctx, r.Streams)
		return &tabletpb.ListStreamsResponse{Streams: streams}, err
	})
}

func (s *service) ListStreams(ctx context.Context, r *tabletpb.ListStreamsRequest) (*tabletpb.ListStreamsResponse, error) {
	return onPrimary(s, func(e *vreplication.Engine) (*tabletpb.ListStreamsResponse, error) {
		streams, err := e.List(ctx, r.Workflow)
		return &tabletpb.ListStreamsResponse{Streams: streams}, err
	})
}

func (s *service) UpdateStreams(ctx context.Context, r *tabletpb.UpdateStreamsRequest) (*tabletpb.ListStreamsResponse, error) {
	return onPrimary(s, func(e *vreplication.Engine) (*tabletpb.ListStreamsResponse, error) {
		streams, err := e.Update(ctx, r)
		return &tabletpb.ListStreamsResponse{Streams: streams}, err
	})
}

func (s *service) DeleteStreams(ctx context.Context, r *tabletpb.DeleteStreamsRequest) (*tabletpb.DeleteStreamsResponse, error) {
	return onPrimary(s, func(e *vreplication.Engine) (*tabletpb.DeleteStreamsResponse, error) {
		n, err := e.Delete(ctx, r.Workflow)
		return &tabletpb.DeleteStreamsResponse{Deleted: int32(n)}, err
	})
}

func (s *service) StartDiff(ctx context.Context, r *tabletpb.StartDiffRequest) (*tabletpb.DiffResponse, error) {
	return onPrimary(s, func(e *vreplication.Engine) (*tabletpb.DiffResponse, error) { return e.StartDiff(ctx, r) })
}

func (s *service) ShowDiff(ctx context.Context, r *tabletpb.ShowDiffRequest) (*tabletpb.DiffResponse, error) {
	return onPrimary(s, func(e *vreplication.Engine) (*tabletpb.DiffResponse, error) { return e.ShowDiff(ctx, r) })
}

func (s *service) WriteJournal(ctx context.Context, r *tabletpb.WriteJournalRequest) (*tabletpb.JournalResponse, error) {
	return onPrimary(s, func(e *vreplication.Engine) (*tabletpb.JournalResponse, error) { return e.WriteJournal(ctx, r) })
}

func (s *service) ReadJournal(ctx context.Context, r *tabletpb.ReadJournalRequest) (*tabletpb.JournalResponse, error) {
	return onPrimary(s, func(e *vreplication.Engine) (*tabletpb.JournalResponse, error) { return e.ReadJournal(ctx, r) })
}

func (s *service) MaxColumn(ctx context.Context, r *tabletpb.MaxColumnRequest) (*tabletpb.MaxColumnResponse, error) {
	return onPrimary(s, func(e *vreplication.Engine) (*tabletpb.MaxColumnResponse, error) { return e.MaxColumn(ctx, r) })
}

func (s *service) RaiseSequence(ctx context.Context, r *tabletpb.RaiseSequenceRequest) (*tabletpb.RaiseSequenceResponse, error) {
	return onPrimary(s, func(e *vreplication.Engine) (*tabletpb.RaiseSequenceResponse, error) { return e.RaiseSequence(ctx, r) })
}

func (s *service) Schema(ctx context.Context, r *tabletpb.SchemaRequest) (*tabletpb.SchemaResponse, error) {
	resp := &tabletpb.SchemaResponse{}
	err := s.withAdmin(ctx, func(conn *sqlconn.Conn) error {
		tables, err := schema.Load(ctx, conn, r.DbName, r.Tables)
		if err != nil {
			return err
		}
		for _, table := range tables {
			if err := countAtLeast(ctx, conn, table); err != nil {
				return err
			}
			def, err := json.Marshal(table)
			if err != nil {
				return fmt.Errorf("schema of %s.%s: %w", table.DB, table.Name, err)
			}
			resp.Tables = append(resp.Tables, &tabletpb.TableSchema{Name: table.Name, CreateStatement: table.CreateStatement, Definition: def, Rows: table.Rows})
		}
		return nil
	})
	return resp, errs.ToGRPC(err)
}

func (s *service) ApplySchema(ctx context.Context, r *tabletpb.ApplySchemaRequest) (*tabletpb.ApplySchemaResponse, error) {
	return onPrimary(s, func(*vreplication.Engine) (*tabletpb.ApplySchemaResponse, error) {
		resp := &tabletpb.ApplySchemaResponse{}
		err := s.withAdmin(ctx, func(conn *sqlconn.Conn) error {
			var err error
			resp.Created, err = applySchema(ctx, conn, r)
			return err
		})
		return resp, err
	})
}

func (s *service) DropTables(ctx context.Context, r *tabletpb.DropTablesRequest) (*tabletpb.DropTablesResponse, error) {
	return onPrimary(s, func(*vreplication.Engine) (*tabletpb.DropTablesResponse, error) {
		err := s.withAdmin(ctx, func(conn *sqlconn.Conn) error { return dropTables(ctx, conn, r.DbName, r.Tables) })
		return &tabletpb.DropTablesResponse{}, err
	})
}

func (s *service) withAdmin(ctx context.Context, fn func(*sqlconn.Conn) error) error {
	conn, release, err := s.t.admin.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("mysqld at %s: %w", s.t.cfg.DBAddr, err)
	}
	defer release()
	return fn(conn)
}

// onPrimary keeps T3: what writes to mysqld runs on a PRIMARY only.
func onPrimary[T any](s *service, fn func(*vreplication.Engine) (*T, error)) (*T, error) {
	if s.t.cfg.Type != topo.Primary {
		return nil, errs.ToGRPC(fmt.Errorf("tablet %s is a %s: only a PRIMARY does this", s.t.cfg.Alias(), s.t.cfg.Type))
	}
	resp, err := fn(s.t.engine)
	if err != nil {
		return nil, errs.ToGRPC(err)
	}
	return resp, nil
}
