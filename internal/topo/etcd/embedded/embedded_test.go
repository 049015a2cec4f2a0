package embedded_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
	"braid/internal/topo/etcd"
	"braid/internal/topo/etcd/embedded"
)

func start(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(cfg)
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	return s
}

func TestDataOutlivesARestart(t *testing.T) {
	cfg := embedded.Config{Dir: t.TempDir(), ClientAddr: "127.0.0.1:0"}
	s := start(t, cfg)
	store, err := etcd.Open(t.Context(), etcd.Config{Endpoints: s.Endpoints()})
	require.NoError(t, err)
	_, err = store.Write(t.Context(), "k", []byte("kept"), 0)
	require.NoError(t, err)
	require.NoError(t, store.Close())
	s.Stop()
	s.Stop()
	select {
	case err := <-s.Err():
		t.Fatalf("a stopped server reports %v", err)
	default:
	}

	s = start(t, cfg)
	store, err = etcd.Open(t.Context(), etcd.Config{Endpoints: s.Endpoints()})
	require.NoError(t, err)
	defer store.Close()
	value, _, err := store.Read(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "kept", string(value))
}

func TestPortTaken(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer lis.Close()
	dir := t.TempDir()
	_, err = embedded.Start(embedded.Config{Dir: dir, ClientAddr: lis.Addr().String()})
	require.ErrorIs(t, err, errs.PortTaken)
	require.ErrorContains(t, err, lis.Addr().String())
	_, err = embedded.Start(embedded.Config{Dir: dir, ClientAddr: "127.0.0.1:0", PeerAddr: lis.Addr().String()})
	require.ErrorIs(t, err, errs.PortTaken)
	start(t, embedded.Config{Dir: dir, ClientAddr: "127.0.0.1:0"}) // nothing is left behind
}

func TestDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	start(t, embedded.Config{Dir: dir, ClientAddr: "127.0.0.1:0"})
	begin := time.Now()
	_, err := embedded.Start(embedded.Config{Dir: dir, ClientAddr: "127.0.0.1:0"})
	require.ErrorIs(t, err, errs.DirInUse)
	require.Less(t, time.Since(begin), 2*time.Second, "said at once, not waited for")
}

func TestDirectoryThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := embedded.Start(embedded.Config{Dir: filepath.Join(file, "etcd"), ClientAddr: "127.0.0.1:0"})
	require.ErrorContains(t, err, "not a directory")
	_, err = embedded.Start(embedded.Config{Dir: t.TempDir(), ClientAddr: "nonsense"})
	require.ErrorIs(t, err, errs.BadInput)
}

func TestLogIsQuiet(t *testing.T) {
	dir := t.TempDir()
	start(t, embedded.Config{Dir: dir, ClientAddr: "127.0.0.1:0"}).Stop()
	log, err := os.ReadFile(filepath.Join(dir, "etcd.log"))
	require.NoError(t, err)
	require.Less(t, len(log), 4096, "warnings only:\n%s", log)
}
