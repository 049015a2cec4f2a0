package vstream

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/filter"
	"braid/internal/rowimage"
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
	return Start{Position: m.Position, FromNow: m.FromNow, Rules: rules, Workflow: m.Workflow}, nil
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
		req, err := windowOf(m.GetWindow())
		if err != nil {
			return err
		}
		if err := st.OpenWindow(req); err != nil {
			return err
		}
	}
}

func windowOf(m *tabletpb.Window) (WindowRequest, error) {
	if m == nil {
		return WindowRequest{}, errs.New(errs.BadInput, nil, "a later request of a stream is not a window")
	}
	r := WindowRequest{ID: m.Id, Table: m.Table, MaxRows: int(m.MaxRows), MaxBytes: m.MaxBytes, IncludeTouched: m.IncludeTouched}
	var err error
	if len(m.After) > 0 {
		if r.After, err = decodeKey(m.After); err != nil {
			return r, err
		}
	}
	for _, raw := range m.Keys {
		key, err := decodeKey(raw)
		if err != nil {
			return r, err
		}
		r.Keys = append(r.Keys, key)
	}
	return r, nil
}

// decodeKey reads cells to the end of raw.
func decodeKey(raw []byte) (rowimage.Row, error) {
	var key rowimage.Row
	for len(raw) > 0 {
		cell, rest, err := rowimage.DecodeRow(raw, 1)
		if err != nil {
			return nil, errs.New(errs.BadInput, err, "key of a window")
		}
		key, raw = append(key, cell[0]), rest
	}
	return key, nil
}

func serveItems(rpc grpc.BidiStreamingServer[tabletpb.StreamRequest, tabletpb.StreamResponse], st Stream) error {
	for {
		items, err := st.Recv()
		if err != nil {
			return err
		}
		raw, err := Encode(nil, items)
		if err != nil {
			return err
		}
		if err := rpc.Send(&tabletpb.StreamResponse{Items: raw}); err != nil {
			return err
		}
	}
}
