package etcd

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/topo"
	"braid/internal/topo/etcd/embedded"
	"braid/internal/topo/topotest"
)

// server is the etcd of this test binary; the tests keep apart by their roots.
var server struct {
	cfg embedded.Config
	s   *embedded.Server
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "braid-etcd-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	server.cfg = embedded.Config{Dir: dir, ClientAddr: "127.0.0.1:0"}
	startServer()
	server.cfg.ClientAddr = server.s.Addr()
	defer func() { server.s.Stop() }()
	return m.Run()
}

func startServer() {
	s, err := embedded.Start(server.cfg)
	if err != nil {
		panic(err)
	}
	server.s = s
}

var roots atomic.Int64

func open(t *testing.T, root string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{Endpoints: server.s.Endpoints(), Root: root})
	require.NoError(t, err)
	return s
}

func TestStore(t *testing.T) {
	topotest.Run(t, func(t *testing.T) topotest.Harness {
		root := fmt.Sprintf("t%d/", roots.Add(1))
		return topotest.Harness{
			Open: func(t *testing.T) topo.Store { return open(t, root) },
			Cut:  func() { server.s.Stop() },
			Heal: startServer,
			Outlast: func(topo.Store) {
				<-time.After(topotest.TTL) // the passing of time is what is tested
			},
			Kill: func(s topo.Store) { s.(*Store).die() },
		}
	})
}

// die ends the client without giving anything back.
func TestEraseLeavesOtherRootsAlone(t *testing.T) {
	mine, other := open(t, "erased/"), open(t, "kept/")
	for _, s := range []*Store{mine, other} {
		_, err := s.Write(t.Context(), "a", []byte("x"), 0)
		require.NoError(t, err)
	}
	require.NoError(t, mine.Erase(t.Context()))
	_, _, err := mine.Read(t.Context(), "a")
	require.ErrorIs(t, err, topo.ErrNotFound)
	_, _, err = other.Read(t.Context(), "a")
	require.NoError(t, err)
}

func (s *Store) die() {
	s.mute = true
	s.Close()
}
