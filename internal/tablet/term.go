package tablet

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/sqlconn"
)

// termed are the calls that change something. One that carries a term is refused once a later term has been heard of: a leader
// that was stopped for longer than its lease, and goes on, must not undo what its successor has done (T4).
var termed = map[string]bool{
	"CreateStreams": true, "UpdateStreams": true, "DeleteStreams": true, "ApplySchema": true, "DropTables": true,
	"WriteJournal": true, "RaiseSequence": true,
}

// term is the highest term that this tablet has heard of. It outlives the process, in _braid.leader.
type term struct {
	sync.RWMutex // read-locked while a call of the present term runs, so that a later term begins when those have ended
	heard        int64
	loaded       bool
}

// ofTerm is the interceptor that keeps T4.
func (t *Tablet) ofTerm(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	said := metadata.ValueFromIncomingContext(ctx, tabletpb.TermKey)
	if len(said) == 0 || !termed[path.Base(info.FullMethod)] {
		return handler(ctx, req)
	}
	n, err := strconv.ParseInt(said[0], 10, 64)
	if err != nil {
		return nil, errs.ToGRPC(errs.New(errs.BadInput, err, "term of a call"))
	}
	if err := t.hear(ctx, n); err != nil {
		return nil, errs.ToGRPC(err)
	}
	defer t.term.RUnlock()
	return handler(ctx, req)
}

// hear returns with the read lock held if no later term than n has been heard of.
func (t *Tablet) hear(ctx context.Context, n int64) error {
	for {
		t.term.RLock()
		if t.term.loaded && t.term.heard == n {
			return nil
		}
		heard, loaded := t.term.heard, t.term.loaded
		t.term.RUnlock()
		if loaded && heard > n {
			return errs.New(errs.Conflict, nil, "the call is of term %d, and a leader of term %d has been heard of", n, heard)
		}
		if err := t.raise(ctx, n); err != nil {
			return fmt.Errorf("term %d: %w", n, err)
		}
	}
}

// raise writes the term down if it is a later one, after all calls of earlier terms have ended, and reads which is the highest.
func (t *Tablet) raise(ctx context.Context, n int64) error {
	t.term.Lock()
	defer t.term.Unlock()
	return t.probes.Do(ctx, func(conn *sqlconn.Conn) error {
		_, err := conn.Exec(ctx, fmt.Sprintf("INSERT INTO _braid.leader (id, term) VALUES (0, %d) ON DUPLICATE KEY UPDATE term=GREATEST(term, %d)", n, n))
		if err != nil {
			return err
		}
		res, err := conn.Query(ctx, "SELECT term FROM _braid.leader WHERE id=0")
		if err != nil {
			return err
		}
		heard, err := strconv.ParseInt(string(res.Rows[0][0]), 10, 64)
		if err == nil {
			t.term.heard, t.term.loaded = heard, true
		}
		return err
	})
}
