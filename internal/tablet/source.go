package tablet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/topo"
	"braid/internal/vstream"
)

// shardSource is the Source that another shard is: its streams read from one of its tablets, of the types that are wanted.
type shardSource struct {
	t               *Tablet
	keyspace, shard string
	types           []topo.TabletType
}

func (t *Tablet) openSource(_ context.Context, keyspace, shard string, types []topo.TabletType) (vstream.Source, error) {
	return &shardSource{t, keyspace, shard, types}, nil
}

// Open implements vstream.Source: it tries one tablet after the other. A stream is open when its first items are there, so a tablet that lacks the
// position or has purged what comes next, or whose server is not fit to be read, is one that is passed over. What the last of them says counts if that is
// the primary: else another tablet may come, and the stream is tried again.
func (s *shardSource) Open(ctx context.Context, start vstream.Start) (vstream.Stream, error) {
	fit, unfit := s.candidates(start.Workflow)
	if start.FromNow && len(fit) > 0 && fit[0].Type != topo.Primary {
		position, err := s.primaryPosition(ctx)
		if err != nil {
			return nil, err
		}
		start.Position = position // what is to be copied exists there
	}
	for _, tablet := range fit {
		stream, err := s.openAt(ctx, tablet, start)
		if err == nil || ctx.Err() != nil || tablet.Type == topo.Primary {
			return stream, err
		}
		s.t.log.Info("stream cannot read from a tablet", "source", s.keyspace+"/"+s.shard, "tablet", tablet.Alias, "error", err)
		unfit = append(unfit, tablet.Alias+": "+err.Error())
	}
	if len(unfit) == 0 {
		unfit = append(unfit, "there is none")
	}
	return nil, fmt.Errorf("no tablet of %s/%s of type %s can be read, the stream goes on by itself when one can: %s", s.keyspace, s.shard, joinTypes(s.types), strings.Join(unfit, "; "))
}

func joinTypes(types []topo.TabletType) string {
	words := make([]string, len(types))
	for i, t := range types {
		words[i] = string(t)
	}
	return strings.Join(words, " or ")
}

// candidates are the tablets to try, the best first, and what is wrong with the others. The streams of a workflow find the same tablet, so that they share
// what is read; workflows are spread over the tablets of a type.
func (s *shardSource) candidates(workflow string) (fit []topo.Tablet, unfit []string) {
	for _, kind := range s.types {
		if kind == topo.Primary {
			if primary, ok := s.t.deps.Cache.PrimaryOf(s.keyspace, s.shard); ok {
				fit = append(fit, primary)
			} else {
				unfit = append(unfit, "no primary is in the topology: start one")
			}
			continue
		}
		all := s.t.deps.Cache.TabletsOf(s.keyspace, s.shard, kind)
		rank := func(t topo.Tablet) uint64 { return xxhash.Sum64String(workflow + "\x00" + t.Alias) }
		slices.SortStableFunc(all, func(a, b topo.Tablet) int { return cmp.Compare(rank(a), rank(b)) })
		for _, tablet := range all {
			if why := unfitness(tablet); why != "" {
				unfit = append(unfit, tablet.Alias+" "+why)
			} else {
				fit = append(fit, tablet)
			}
		}
	}
	return fit, unfit
}

// unfitness says why no stream is to begin on a replica. The changes that one which is far behind lacks would have to be made up for at the end.
func unfitness(t topo.Tablet) string {
	switch lag := time.Duration(t.LagMS) * time.Millisecond; {
	case !t.Serving:
		return "does not serve: " + t.Reason
	case lag < 0:
		return "does not know how far it is behind"
	case lag > timeouts.MaxLag:
		return fmt.Sprintf("is %s behind", lag)
	}
	return ""
}

// primaryPosition is what the primary has executed.
func (s *shardSource) primaryPosition(ctx context.Context) (string, error) {
	primary, ok := s.t.deps.Cache.PrimaryOf(s.keyspace, s.shard)
	if !ok {
		return "", fmt.Errorf("source %s/%s has no primary tablet in the topology: start one, the stream goes on by itself", s.keyspace, s.shard)
	}
	ctx, cancel := context.WithTimeout(ctx, timeouts.RPC)
	defer cancel()
	conn, err := s.t.deps.Dial(primary.GRPCAddr)
	if err != nil {
		return "", fmt.Errorf("primary %s: %w", primary.Alias, err)
	}
	st, err := tabletpb.NewTabletClient(conn).Status(ctx, &tabletpb.StatusRequest{})
	if err != nil {
		return "", fmt.Errorf("position of primary %s: %w", primary.Alias, errs.FromGRPC(err))
	}
	if st.Position == "" {
		return "", fmt.Errorf("primary %s does not know its position: %s", primary.Alias, st.Reason)
	}
	return st.Position, nil
}

func (s *shardSource) openAt(ctx context.Context, tablet topo.Tablet, start vstream.Start) (vstream.Stream, error) {
	conn, err := s.t.deps.Dial(tablet.GRPCAddr)
	if err != nil {
		return nil, fmt.Errorf("tablet %s at %s: %w", tablet.Alias, tablet.GRPCAddr, err)
	}
	stream, err := vstream.NewRemote(conn).Open(ctx, start)
	if err != nil {
		return nil, fmt.Errorf("tablet %s: %w", tablet.Alias, err)
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tablet %s: %w", tablet.Alias, err), stream.Close())
	}
	return &shardStream{Stream: stream, cache: s.t.deps.Cache, tablet: tablet, first: first}, nil
}

// shardStream is a stream of one tablet.
type shardStream struct {
	vstream.Stream
	cache  *topo.Cache
	tablet topo.Tablet
	first  []vstream.Item // that opening it has brought
}

// From says where the stream reads.
func (s *shardStream) From() topo.Tablet { return s.tablet }

// Recv implements vstream.Stream. A replica that does not serve any more ends the stream, so that it goes on from another tablet; a primary is waited
// for. The source's heartbeats bring this here whatever its server does.
func (s *shardStream) Recv() ([]vstream.Item, error) {
	if items := s.first; items != nil {
		s.first = nil
		return items, nil
	}
	items, err := s.Stream.Recv()
	if s.tablet.Type == topo.Primary || err != nil {
		return items, err
	}
	if now, known := s.cache.Tablet(s.tablet.Alias); known && !now.Serving {
		return nil, fmt.Errorf("tablet %s does not serve any more: %s", s.tablet.Alias, now.Reason)
	}
	return items, nil
}
