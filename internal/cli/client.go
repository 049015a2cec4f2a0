package cli

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	controlpb "braid/api/control"
	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/cluster"
)

// control calls fn with a client of the controller.
func (a *app) control(ctx context.Context, fn func(context.Context, controlpb.ControlClient) error) error {
	addr := a.controllerAddr
	if addr == "" {
		plan, err := cluster.Load(a.dataDir)
		if err != nil {
			return fmt.Errorf("find the controller: %w; start a cluster with `braid up`, or name one with --controller host:port", err)
		}
		addr = plan.ControllerAddr()
	}
	conn, err := dial(addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := fn(ctx, controlpb.NewControlClient(conn)); err != nil {
		return errs.FromGRPC(err)
	}
	return nil
}

// call is control for one bounded request.
func call[T any](ctx context.Context, a *app, fn func(context.Context, controlpb.ControlClient) (*T, error)) (*T, error) {
	var resp *T
	err := a.control(ctx, func(ctx context.Context, c controlpb.ControlClient) error {
		ctx, cancel := context.WithTimeout(ctx, timeouts.RPC)
		defer cancel()
		var err error
		resp, err = fn(ctx, c)
		return err
	})
	if err != nil && ctx.Err() != nil {
		return nil, errors.Join(errInterrupted, err)
	}
	return resp, err
}

// dial makes a connection to a daemon of ours. Daemons listen on loopback, without TLS.
func dial(addr string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20), grpc.MaxCallSendMsgSize(64<<20)))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return conn, nil
}
