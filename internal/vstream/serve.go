package vstream

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/filter"
)

// Serve is the server's side of a Remote: it opens a stream of source as the first request says, sends its items, and passes window
// requests on. It returns when either side ends. A slow client stops it by gRPC's flow control, and so the reading of the binlog.
func Serve(rpc grpc.BidiStreamingServer[tabletpb.StreamRequest, tabletpb.StreamResponse], source Source) error {
	first, err := rpc.Recv()
	if err != nil {
		return err
	}
	start, err := startOf(first.GetStart())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(rpc.Context())
	defer cancel(nil)
	st, err := source.Open(ctx, start)
	if err != nil {
		return err
	}
	defer st.Close()
	// gRPC lets a Recv return only after the handler has; so this one goroutine ends right after Serve, not before.
	go func() { cancel(serveWindows(rpc, st)) }()
	return serveItems(rpc, st)
}

func startOf(m *tabletpb.Start) (Start, error) {
	if m == nil {
		return Start{}, errs.New(errs.BadInput, nil, "the first request of a stream is not a start")
	}
	rules, err := filter.Parse(m.Rules)
	if err != nil {
		return Start{}, errs.New(errs.BadInput, err, "start of a stream")
	}
	return Start{Position: m.Position, FromNow: m.FromNow, Rules: rules, Workflow: m.Workflow, Readers: int(m.Readers), Copies: m.Copies}, nil
}

// serveWindows returns nil never: a client that will ask for nothing more may still listen, so it waits for the stream's end.
func serveWindows(rpc grpc.BidiStreamingServer[tabletpb.StreamRequest, tabletpb.StreamResponse], st Stream) error {
	for {
		m, err := rpc.Recv()
		if errors.Is(err, io.EOF) {
			<-rpc.Context().Done()
			return context.Cause(rpc.Context())
		}
		if err != nil {
			return err
		}
		if err := serveRequest(m.GetWindow(), st); err != nil {
			return err
		}
	}
}

func serveRequest(m *tabletpb.Window, st Stream) error {
	window, split, err := decodeRequest(m)
	switch {
	case err != nil:
		return err
	case split != nil:
		return st.Split(*split)
	default:
		return st.OpenWindow(*window)
	}
}

func serveItems(rpc grpc.BidiStreamingServer[tabletpb.StreamRequest, tabletpb.StreamResponse], st Stream) error {
	alive := keepAlive(rpc)
	defer alive.end()
	for {
		items, err := st.Recv()
		if gone, ok := errors.AsType[*GoneError](err); ok { // a status would not carry its type
			if err := alive.send(appendGone(nil, gone)); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		raw, err := Encode(make([]byte, 0, encodedSize(items)), items)
		if err != nil {
			return err
		}
		if err := alive.send(raw); err != nil {
			return err
		}
	}
}

// alive sends empty messages while a stream has nothing to send for longer than heartbeats take: it looks through the log that is ahead of
// it, or is in the middle of a large transaction of which it carries little. The client takes silence for death.
type alive struct {
	rpc grpc.BidiStreamingServer[tabletpb.StreamRequest, tabletpb.StreamResponse]
	mu  struct {
		sync.Mutex // held while something is sent
		timer      *time.Timer
		ended      bool
	}
}

// aliveAfter is longer than an idle stream's heartbeats take, so that those who have heartbeats need nothing else.
const aliveAfter = 2 * timeouts.StreamHeartbeat

func keepAlive(rpc grpc.BidiStreamingServer[tabletpb.StreamRequest, tabletpb.StreamResponse]) *alive {
	a := &alive{rpc: rpc}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.timer = time.AfterFunc(aliveAfter, func() { a.send(nil) }) //nolint:errcheck // the next item finds out
	return a
}

const (
	// MaxMessageBytes is what a gRPC server of this service may let its messages have.
	MaxMessageBytes = 64 << 20
	// pieceBytes is how much of a batch one message has. A batch has at least one change or row, which may be as large as MySQL lets it, twice.
	pieceBytes = 4 << 20
)

// send sends a batch, in pieces that nothing comes between.
func (a *alive) send(batch []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.ended {
		return nil
	}
	defer a.mu.timer.Reset(aliveAfter)
	for {
		piece := batch[:min(len(batch), pieceBytes)]
		batch = batch[len(piece):]
		if err := a.rpc.Send(&tabletpb.StreamResponse{Items: piece, More: uint64(len(batch))}); err != nil || len(batch) == 0 {
			return err
		}
	}
}

func (a *alive) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.ended = true
	a.mu.timer.Stop()
}

// encodedSize is about how many bytes the rows among the items take, so that the encoding of large ones does not grow step by step.
func encodedSize(items []Item) int {
	size := 1 << 10
	for _, item := range items {
		switch it := item.(type) {
		case *Chunk:
			for _, row := range it.Rows {
				size += row.Size() + 2*len(row)
			}
		case *Transaction:
			for i := range it.Changes {
				c := &it.Changes[i]
				size += max(len(c.RawBefore), c.Before.Size()) + max(len(c.RawAfter), c.After.Size()) + 16
			}
		}
	}
	return size
}
