package bench

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"braid/internal/sqlconn"
)

// baseDir is a stopped server with the tables of a base.
func (h *host) baseDir(b base) string {
	return h.prepared(b.key(), func() string {
		s := h.serve(source, "")
		s.exec(b.statements()...)
		return s.stop()
	})
}

// backlog is a stopped server with a base and a workload's transactions after it.
func (h *host) backlog(w workload) string {
	return h.prepared(w.key(), func() string {
		s := h.serve(source, h.baseDir(w.base))
		s.warm()
		h.b.Logf("recording %d transactions: %s", w.size(), w.name)
		s.record(w)
		return s.stop()
	})
}

// record runs the workload's transactions with its writers.
func (s *server) record(w workload) {
	group, ctx := errgroup.WithContext(s.h.b.Context())
	for writer := range w.writers {
		group.Go(func() error {
			conn, err := sqlconn.Dial(ctx, s.Root().WithDB(database))
			if err != nil {
				return err
			}
			defer conn.Close()
			r := rand.New(rand.NewPCG(uint64(writer), 4711))
			for i := writer; i < w.size(); i += w.writers {
				if err := commit(ctx, conn, w.statement(r, w.base)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(s.h.b, group.Wait())
}

// commit runs a transaction in one packet, again if it was a deadlock's victim.
func commit(ctx context.Context, conn *sqlconn.Conn, sql string) error {
	const deadlock = 1213
	for {
		err := conn.ExecMulti(ctx, []byte(sql))
		if sqlconn.ErrCode(err) != deadlock {
			if err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
			return nil
		}
	}
}
