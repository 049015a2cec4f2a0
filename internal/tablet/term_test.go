package tablet

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
	"braid/internal/vreplication"
)

// termTablet is a tablet as far as terms need one.
func termTablet(t *testing.T, cfg sqlconn.Config) *Tablet {
	tablet := &Tablet{probes: sqlconn.NewPool(cfg, probeConns)}
	t.Cleanup(tablet.probes.Close)
	return tablet
}

// calling makes a call of a term, as gRPC would hand it to the interceptor.
func calling(ctx context.Context, tablet *Tablet, method, term string, handler func()) error {
	if term != "" {
		ctx = metadata.NewIncomingContext(ctx, metadata.Pairs(tabletpb.TermKey, term))
	}
	_, err := tablet.ofTerm(ctx, nil, &grpc.UnaryServerInfo{FullMethod: "/braid.tablet.Tablet/" + method}, func(context.Context, any) (any, error) {
		handler()
		return nil, nil
	})
	return errs.FromGRPC(err)
}

// TestCallsOfAnEndedTermAreRefused is T4, over a restart of the tablet too.
func TestCallsOfAnEndedTermAreRefused(t *testing.T) {
	server := mysqldtest.New(t, mysqldtest.Options{})
	require.NoError(t, vreplication.InitSidecar(t.Context(), mysqldtest.Dial(t, server.Root())))
	tablet := termTablet(t, server.Root())
	ran := 0
	count := func() { ran++ }

	require.NoError(t, calling(t.Context(), tablet, "UpdateStreams", "7", count))
	require.NoError(t, calling(t.Context(), tablet, "UpdateStreams", "7", count))
	require.NoError(t, calling(t.Context(), tablet, "WriteJournal", "9", count))
	require.ErrorIs(t, calling(t.Context(), tablet, "UpdateStreams", "7", count), errs.Conflict)
	require.NoError(t, calling(t.Context(), tablet, "ListStreams", "7", count), "reading does no harm")
	require.NoError(t, calling(t.Context(), tablet, "ApplySchema", "", count), "a person's call has no term")
	require.ErrorIs(t, calling(t.Context(), tablet, "UpdateStreams", "seven", count), errs.BadInput)

	again := termTablet(t, server.Root())
	require.ErrorIs(t, calling(t.Context(), again, "DropTables", "8", count), errs.Conflict)
	require.NoError(t, calling(t.Context(), again, "DropTables", "9", count))
	require.Equal(t, 6, ran)
}

// TestLaterTermWaitsForCallsUnderWay: what an earlier leader's call does is done before a later leader's first call begins.
func TestLaterTermWaitsForCallsUnderWay(t *testing.T) {
	server := mysqldtest.New(t, mysqldtest.Options{})
	require.NoError(t, vreplication.InitSidecar(t.Context(), mysqldtest.Dial(t, server.Root())))
	tablet := termTablet(t, server.Root())

	begun, end := make(chan struct{}), make(chan struct{})
	old, later := make(chan error, 1), make(chan error, 1)
	go func() {
		old <- calling(t.Context(), tablet, "ApplySchema", "1", func() { close(begun); <-end })
	}()
	<-begun
	go func() {
		later <- calling(t.Context(), tablet, "UpdateStreams", "2", func() {})
	}()
	select {
	case err := <-later:
		t.Fatalf("the later term did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(end)
	require.NoError(t, <-old)
	require.NoError(t, <-later)
	require.ErrorIs(t, calling(t.Context(), tablet, "UpdateStreams", "1", func() {}), errs.Conflict)
}
