package etcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"braid/internal/topo"
)

func foundVersion(r *pb.RangeResponse) int64 {
	if len(r.GetKvs()) == 0 {
		return 0
	}
	return r.Kvs[0].ModRevision
}

// fail makes err one of topo's errors. ctx is the caller's, without the bound of the operation: its end is the caller's
// will, the bound's is an outage. A write whose answer did not come has an unknown outcome.
func (s *Store) fail(ctx context.Context, verb, what string, err error, write bool) error {
	switch {
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%s %s: %w: %w", verb, what, topo.ErrFull, err)
	case errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrTooManyOps), tooLargeToSend(err):
		return fmt.Errorf("%s %s: %w: %w", verb, what, topo.ErrBadInput, err)
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		err = fmt.Errorf("%s %s: %w", verb, what, ctx.Err())
	case unanswered(err) || s.ctx.Err() != nil:
		err = fmt.Errorf("%s %s: %w at %s: %w", verb, what, topo.ErrUnreachable, strings.Join(s.cli.Endpoints(), ","), s.reason(err))
	default:
		return fmt.Errorf("%s %s: %w", verb, what, err)
	}
	if write {
		return fmt.Errorf("%w: %w", err, topo.ErrOutcomeUnknown)
	}
	return err
}

// tooLargeToSend is the client's own refusal, which is no error of etcd's.
func tooLargeToSend(err error) bool {
	var ee rpctypes.EtcdError
	return !errors.As(err, &ee) && status.Code(err) == codes.ResourceExhausted
}

func unanswered(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return true
	}
	var ee rpctypes.EtcdError
	if errors.As(err, &ee) {
		return errors.Is(err, rpctypes.ErrTooManyRequests) || ee.Code() == codes.Unavailable || ee.Code() == codes.DeadlineExceeded
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Internal:
		return true
	}
	return false
}

// reason says why nothing answers. The client knows only that its time was up, so the endpoints are dialled once.
func (s *Store) reason(err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	for _, ep := range s.cli.Endpoints() {
		if u, perr := url.Parse(ep); perr == nil && u.Host != "" {
			ep = u.Host
		}
		conn, derr := net.DialTimeout("tcp", ep, 200*time.Millisecond)
		if derr != nil {
			return derr
		}
		conn.Close()
	}
	return fmt.Errorf("connected, but no answer: %w", err)
}
