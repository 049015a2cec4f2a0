package vstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
)

// remote is the Source of another tablet.
type remote struct {
	client  tabletpb.TabletClient
	silence time.Duration // after which the peer is taken to be gone
}

// NewRemote returns the Source that the tablet at the other end of conn serves.
func NewRemote(conn grpc.ClientConnInterface) Source {
	return &remote{client: tabletpb.NewTabletClient(conn), silence: timeouts.StreamSilence}
}

var errSilent = errors.New("the source sent nothing, not even that it lives")

// Open implements Source. An error of the other side comes with the first Recv, as gRPC has it.
func (r *remote) Open(ctx context.Context, start Start) (Stream, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	rpc, err := r.client.Stream(ctx, grpc.MaxCallRecvMsgSize(MaxMessageBytes), grpc.MaxCallSendMsgSize(MaxMessageBytes))
	if err == nil {
		err = rpc.Send(&tabletpb.StreamRequest{Request: &tabletpb.StreamRequest_Start{Start: &tabletpb.Start{
			Position: start.Position, FromNow: start.FromNow, Rules: start.Rules.JSON(), Workflow: start.Workflow, Readers: int32(start.Readers), Copies: start.Copies,
		}}})
	}
	if err != nil {
		cancel(err)
		return nil, fmt.Errorf("open stream: %w", errs.FromGRPC(err))
	}
	return &remoteStream{ctx: ctx, cancel: cancel, rpc: rpc, silence: r.silence}, nil
}

// remoteStream is the Stream of a remote. It has no goroutines of its own.
type remoteStream struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	rpc     grpc.BidiStreamingClient[tabletpb.StreamRequest, tabletpb.StreamResponse]
	silence time.Duration
	decoder Decoder
	err     error
	send    sync.Mutex // one Send at a time
}

// Recv implements Stream. The silence of a dead peer ends it.
func (s *remoteStream) Recv() ([]Item, error) {
	if s.err != nil {
		return nil, s.err
	}
	items, err := s.recv()
	if err != nil {
		s.err = err
		s.cancel(err)
	}
	return items, err
}

func (s *remoteStream) recv() ([]Item, error) {
	for {
		raw, err := s.batch()
		if err != nil {
			return nil, err
		}
		items, err := s.decoder.Decode(raw)
		if err != nil || len(items) > 0 {
			return items, err
		}
	}
}

// maxBatchBytes is more than any batch has: two images of the largest row, and what little stands beside them.
const maxBatchBytes = 8 << 30

// batch puts the messages of one together.
func (s *remoteStream) batch() (raw []byte, err error) {
	silence := time.AfterFunc(s.silence, func() { s.cancel(errSilent) })
	defer silence.Stop()
	for {
		m, err := s.rpc.Recv()
		if err != nil {
			if cause := context.Cause(s.ctx); cause != nil {
				return nil, cause
			}
			return nil, errs.FromGRPC(err)
		}
		silence.Reset(s.silence)
		switch {
		case m.More > maxBatchBytes:
			return nil, fmt.Errorf("%w: %d bytes are to follow", errMalformed, m.More)
		case raw == nil && m.More == 0:
			return m.Items, nil
		case raw == nil:
			raw = make([]byte, 0, len(m.Items)+int(m.More))
		}
		if raw = append(raw, m.Items...); m.More == 0 {
			return raw, nil
		}
	}
}

// OpenWindow implements Stream.
func (s *remoteStream) OpenWindow(r WindowRequest) error {
	if err := r.check(); err != nil {
		return err
	}
	if err := s.request(encodeWindow(&r)); err != nil {
		return fmt.Errorf("window %d of %s: %w", r.ID, r.Table, err)
	}
	return nil
}

// Split implements Stream.
func (s *remoteStream) Split(r SplitRequest) error {
	if err := s.request(encodeSplit(&r)); err != nil {
		return fmt.Errorf("split %d of %s: %w", r.ID, r.Table, err)
	}
	return nil
}

func (s *remoteStream) request(w *tabletpb.Window) error {
	s.send.Lock()
	defer s.send.Unlock()
	if err := context.Cause(s.ctx); err != nil {
		return err
	}
	if err := s.rpc.Send(&tabletpb.StreamRequest{Request: &tabletpb.StreamRequest_Window{Window: w}}); err != nil {
		return errs.FromGRPC(err) // Recv has the reason
	}
	return nil
}

// Close implements Stream. gRPC ends its side when the context does.
func (s *remoteStream) Close() error {
	s.cancel(ErrClosed)
	return nil
}
